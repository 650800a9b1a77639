// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.link.PeerId;
import hutong.api.transport.LineSpec;
import hutong.platform.EventLoop;
import hutong.platform.OsException;
import hutong.platform.Platform;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.datagram.Seal;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowSettings;
import hutong.transport.internal.wire.FakeSockets;
import hutong.transport.internal.wire.Zeros;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** The sockets of an agent: what becomes of them, and of flows, when the interface changes. */
@Timeout(30)
class WiresTest {
  private static final int ENETDOWN = 100;
  private static final byte[] HERE = new byte[4];
  private static final PeerId PEER = new PeerId("host2", 1);
  private static final PeerId OTHER = new PeerId("host3", 1);

  private final FakeSockets sockets = new FakeSockets();
  private final List<Throwable> errors = Collections.synchronizedList(new ArrayList<>());
  private final LightLine line = new Lines(1, false).a.line;
  private final Map<String, Long> counted = new ConcurrentHashMap<>();
  private EventLoop loop;
  private Wires wires;
  private int mtu = 9000;
  private int changes;

  @BeforeEach
  void open() throws Exception {
    loop = new EventLoop(Platform.events(), "wires", errors::add);
    LightSettings settings =
        new LightSettings(
            LightSettings.Inter.LIGHT,
            WireKind.NONE,
            "eth0",
            0x88B5,
            7414,
            64,
            0,
            1 << 16,
            1 << 16,
            false,
            1_000_000_000L);
    wires =
        onLoop(
            () ->
                new Wires(
                    loop,
                    sockets,
                    settings,
                    port -> {
                      port.receive(System.nanoTime());
                      port.report();
                    },
                    touched -> {},
                    new Trouble() {
                      @Override
                      public void warn(String text) {
                        throw new AssertionError(text);
                      }

                      @Override
                      public void add(String name, long n) {
                        counted.merge(name, n, Long::sum);
                      }
                    },
                    () -> changes++,
                    known -> mtu));
  }

  @AfterEach
  void close() {
    loop.close();
    wires.close();
    assertThat(errors).isEmpty();
  }

  private <T> T onLoop(Callable<T> what) throws Exception {
    CompletableFuture<T> answer = new CompletableFuture<>();
    loop.execute(
        () -> {
          try {
            answer.complete(what.call());
          } catch (Exception | AssertionError e) {
            answer.completeExceptionally(e);
          }
        });
    return answer.get(20, TimeUnit.SECONDS);
  }

  private Flow sender(int maxDatagram) {
    return Zeros.flow(maxDatagram, 0x10001, Nothing.HERE, new FlowNotes(), System.nanoTime());
  }

  @Test
  void shouldOpenTheSocketAgainForFlowsThatOnlyReceive() throws Exception {
    onLoop(() -> wires.attach(WireKind.ETHERNET, line, sender(1500)));
    FakeSockets.Socket first = sockets.last();
    first.fails = ENETDOWN;
    Platform.events().ring(first.fd());
    while (onLoop(() -> sockets.opened.size()) == 1) {
      Thread.sleep(5);
    }
    assertThat(first.fd().isOpen()).isFalse();
    assertThat(sockets.last().fd().isOpen()).isTrue();
  }

  @Test
  void shouldNotOpenASocketThatNoFlowWaitsFor() throws Exception {
    onLoop(
        () -> {
          Flow flow = sender(1500);
          wires.attach(WireKind.ETHERNET, line, flow).detach(flow);
          return null;
        });
    sockets.last().fails = ENETDOWN;
    Platform.events().ring(sockets.last().fd());
    while (sockets.last().fd().isOpen()) {
      Thread.sleep(5);
    }
    Thread.sleep(500);
    assertThat(onLoop(() -> sockets.opened.size())).isEqualTo(1);
  }

  @Test
  void shouldFollowTheInterfacesMtu() throws Exception {
    assertThat(onLoop(() -> wires.datagramBytes(WireKind.ETHERNET, HERE))).isEqualTo(9000);
    Flow flow = sender(9000);
    LineWorld.FlowRoute route = onLoop(() -> wires.attach(WireKind.ETHERNET, line, flow));
    FakeSockets.Socket first = sockets.last();
    onLoop(
        () -> {
          Thread.sleep(30); // here: the loop would look at the interface itself in between
          assertThat(route.fits()).isTrue();
          first.refuses = OsException.EMSGSIZE;
          mtu = 1500;
          route.produce(flow, System.nanoTime());
          wires.flush();
          assertThat(first.lengths).contains(9000);
          assertThat(route.fits()).isFalse();
          return null;
        });
    assertThat(first.fd().isOpen()).isFalse();
    assertThat(onLoop(() -> wires.datagramBytes(WireKind.ETHERNET, HERE))).isEqualTo(1500);
    onLoop(
        () -> {
          route.produce(flow, System.nanoTime() + 1_000_000_000L);
          wires.flush();
          return null;
        });
    assertThat(sockets.last().lengths).as("what would not fit into the slots").isEmpty();
  }

  @Test
  void shouldSeeTheMtuThoughFlowsOnlyReceive() throws Exception {
    LineWorld.FlowRoute route = onLoop(() -> wires.attach(WireKind.ETHERNET, line, sender(9000)));
    onLoop(() -> mtu = 1500);
    while (onLoop(() -> changes) == 0) {
      Thread.sleep(5);
    }
    assertThat(onLoop(route::fits)).isFalse();
    assertThat(onLoop(() -> changes)).isEqualTo(1);
  }

  @Test
  void shouldCountWhatTheKernelRefusesOrLoses() throws Exception {
    Flow flow = sender(1500);
    LineWorld.FlowRoute route = onLoop(() -> wires.attach(WireKind.ETHERNET, line, flow));
    FakeSockets.Socket socket = sockets.last();
    onLoop(
        () -> {
          route.produce(flow, System.nanoTime());
          wires.flush();
          assertThat(counted).isEmpty();
          socket.refuses = ENETDOWN;
          route.produce(flow, System.nanoTime() + 1_000_000_000L);
          wires.flush();
          return null;
        });
    assertThat(counted.get("transport.dropped.refused")).isPositive();
    assertThat(counted).containsEntry("transport.dropped.refused.errno100", 1L);
    socket.misdirected = 3;
    socket.lost = 5;
    Platform.events().ring(socket.fd());
    while (!counted.containsKey("transport.dropped.queue_full")) {
      Thread.sleep(5);
    }
    assertThat(counted)
        .containsEntry("transport.dropped.queue_full", 5L)
        .containsEntry("transport.dropped.misdirected", 3L);
  }

  @Test
  void shouldCountWhatASocketHadWhenItIsGone() throws Exception {
    Flow flow = sender(1500);
    LineWorld.FlowRoute route = onLoop(() -> wires.attach(WireKind.ETHERNET, line, flow));
    FakeSockets.Socket first = sockets.last();
    first.misdirected = 1;
    first.lost = 2;
    onLoop(
        () -> {
          mtu = 1400;
          first.refuses = OsException.EMSGSIZE;
          Thread.sleep(30);
          route.produce(flow, System.nanoTime());
          wires.flush();
          assertThat(first.fd().isOpen()).isFalse();
          route.produce(flow, System.nanoTime() + 1_000_000_000L);
          return null;
        });
    assertThat(counted)
        .containsEntry("transport.dropped.misdirected", 1L)
        .containsEntry("transport.dropped.queue_full", 2L)
        .containsKeys("transport.dropped.refused", "transport.dropped.no_socket");
  }

  /** A line to that peer, of the peer's address with that number. */
  private LineSpec spec(PeerId peer, int address) {
    LineSpec of = line.spec();
    return new LineSpec(
        peer,
        of.number(),
        of.peerNumber(),
        of.peerMac(),
        of.localAddress(),
        new byte[] {10, 0, 0, (byte) address},
        of.cookie(),
        of.program());
  }

  @Test
  void shouldTrustProbesOfThatSizeOnly() throws Exception {
    wires.noteProbed(WireKind.UDP, spec(PEER, 1), 1472, 0);
    assertThat(wires.probed(WireKind.UDP, spec(PEER, 1), 1472, 1)).isTrue();
    assertThat(wires.probed(WireKind.UDP, spec(PEER, 1), 8972, 1)).isFalse();
    assertThat(wires.probed(WireKind.ETHERNET, spec(PEER, 1), 1472, 1)).isFalse();
  }

  /** By UDP, routers may be between two addresses, and none between two others. */
  @Test
  void shouldTrustProbesOfThatPathAndForSomeTimeOnly() throws Exception {
    wires.noteProbed(WireKind.UDP, spec(PEER, 1), 1472, 0);
    wires.noteProbed(WireKind.ETHERNET, spec(PEER, 1), 1500, 0);
    assertThat(wires.probed(WireKind.UDP, spec(PEER, 2), 1472, 1)).isFalse();
    assertThat(wires.probed(WireKind.ETHERNET, spec(PEER, 2), 1500, 1)).isTrue();
    assertThat(wires.probed(WireKind.UDP, spec(PEER, 1), 1472, Wires.PROBED_NS)).isFalse();
    assertThat(wires.probed(WireKind.ETHERNET, spec(PEER, 1), 1500, Wires.PROBED_NS)).isFalse();
  }

  @Test
  void shouldLeaveWiresAloneThatCarryTooLittle() throws Exception {
    int least = FlowSettings.LEAST_DATAGRAM;
    onLoop(
        () -> {
          assertThat(wires.choose(spec(PEER, 1), least - 1, least, 0)).isEqualTo(WireKind.UDP);
          assertThat(wires.choose(spec(PEER, 1), least, least, 0)).isEqualTo(WireKind.ETHERNET);
          assertThat(wires.choose(spec(PEER, 1), least - 1, 1, 0)).isEqualTo(WireKind.NONE);
          return null;
        });
  }

  @Test
  void shouldTryEachWireAgainThatHasFailed() {
    assertThat(wires.retryAt(0)).isEqualTo(Long.MAX_VALUE);
    wires.noteFailed(WireKind.ETHERNET, spec(PEER, 1), 0);
    wires.noteFailed(WireKind.ETHERNET, spec(OTHER, 1), 1_000_000_000L);
    assertThat(wires.retryAt(2_000_000_000L)).isEqualTo(Wires.FAILED_NS);
    assertThat(wires.retryAt(Wires.FAILED_NS)).isEqualTo(Wires.FAILED_NS + 1_000_000_000L);
    assertThat(wires.retryAt(2 * Wires.FAILED_NS)).isEqualTo(Long.MAX_VALUE);
  }

  @Test
  void shouldDropDataInADirectionThatCarriesNone() {
    Flow flow = sender(1500);
    ByteBuffer datagram = ByteBuffer.allocate(Header.BYTES + 1);
    Header.put(datagram, 0, 1, 0, 1, 1, 0, 0, flow.localChannel());
    new Seal(null, null).close(datagram, 0, Header.BYTES + 1);
    assertThat(flow.receive(datagram.clear(), System.nanoTime()))
        .isEqualTo(DropCause.OUTSIDE_CREDIT);
  }

  @Test
  void shouldForgetPeersThatAreGone() throws Exception {
    onLoop(
        () -> {
          wires.noteProbed(WireKind.UDP, spec(PEER, 1), 1400, 0);
          wires.noteProbed(WireKind.UDP, spec(OTHER, 1), 1400, 0);
          wires.noteFailed(WireKind.ETHERNET, spec(PEER, 1), 0);
          wires.forget(PEER);
          assertThat(wires.probed(WireKind.UDP, spec(PEER, 1), 1400, 1)).isFalse();
          assertThat(wires.probed(WireKind.UDP, spec(OTHER, 1), 1400, 1)).isTrue();
          assertThat(wires.retryAt(0)).isEqualTo(Long.MAX_VALUE);
          return null;
        });
  }
}
