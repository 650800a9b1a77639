// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.link.AgentLinkListener;
import hutong.api.os.Fd;
import hutong.api.telemetry.Counter;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.link.internal.Frame.Type;
import hutong.platform.Events;
import hutong.platform.NanoClock;
import hutong.platform.OsException;
import hutong.platform.Platform;
import hutong.platform.Received;
import hutong.platform.Sockets;
import java.io.IOException;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Router and agents' ends over real sockets. */
class LinkTest {
  private static final int DEADLINE_S = 30;
  private static final Events EVENTS = Platform.events();

  @TempDir Path dir;

  private final Sockets sockets = Platform.sockets();
  private final Events events = EVENTS;
  private final FakeCounters counters = new FakeCounters();
  private final List<AutoCloseable> open = new ArrayList<>();
  private List<String> fdsBefore;
  private Router router;

  private static final class FakeCounters implements Counters {
    private final Map<String, AtomicLong> values = new ConcurrentHashMap<>();

    @Override
    public Counter counter(String name) {
      AtomicLong value = values.computeIfAbsent(name, n -> new AtomicLong());
      return new Counter() {
        @Override
        public void add(long n) {
          value.addAndGet(n);
        }

        @Override
        public long value() {
          return value.get();
        }
      };
    }

    @Override
    public Map<String, Long> snapshot() {
      Map<String, Long> out = new TreeMap<>();
      values.forEach((name, value) -> out.put(name, value.get()));
      return out;
    }
  }

  private static final EventLog LOG =
      new EventLog() {
        @Override
        public void log(Level level, String source, String message) {}

        @Override
        public List<Event> recent() {
          return List.of();
        }
      };

  /** Notes what it is told, as text; answers descriptors by ringing them. */
  private final class Ear implements AgentLinkListener {
    private final BlockingQueue<String> heard = new LinkedBlockingQueue<>();

    @Override
    public void onMessage(int from, byte[] payload, List<Fd> fds) {
      try {
        for (Fd fd : fds) {
          events.ring(fd);
          fd.close();
        }
        heard.add("message " + from + " " + new String(payload) + " " + fds.size());
      } catch (OsException e) {
        heard.add(e.toString());
      }
    }

    @Override
    public void onPeerUp(int domid) {
      heard.add("up " + domid);
    }

    @Override
    public void onPeerDown(int domid) {
      heard.add("down " + domid);
    }

    @Override
    public void onUndelivered(int domid, byte[] payload) {
      heard.add("undelivered " + domid);
    }

    private void hears(String... expected) throws InterruptedException {
      for (String one : expected) {
        assertThat(heard.poll(DEADLINE_S, TimeUnit.SECONDS)).isEqualTo(one);
      }
    }
  }

  @BeforeEach
  void start() throws IOException {
    SocketChannel.open().close(); // the JDK opens a socket of its own once
    try (Fd bell = events.eventfd()) {
      events.ring(bell); // the platform a doorbell of its own
    }
    fdsBefore = openFds();
    router = router();
  }

  @AfterEach
  void nothingLeft() throws Exception {
    for (AutoCloseable closeable : open) {
      closeable.close();
    }
    router.close();
    assertThat(openFds()).as("descriptors").isEqualTo(fdsBefore);
    assertThat(Files.list(dir)).isEmpty();
    assertThat(Thread.getAllStackTraces().keySet())
        .extracting(Thread::getName)
        .noneMatch(name -> name.startsWith("hutong-link"));
  }

  /** Descriptors but for files: the JVM opens those when it likes. */
  private static List<String> openFds() throws IOException {
    List<String> out = new ArrayList<>();
    try (var links = Files.newDirectoryStream(Path.of("/proc/self/fd"))) {
      for (Path link : links) {
        String target = Files.isSymbolicLink(link) ? Files.readSymbolicLink(link).toString() : "/";
        if (!target.startsWith("/") || target.startsWith("/memfd:")) {
          out.add(target.replaceAll("socket:.*", "socket"));
        }
      }
    }
    out.sort(null);
    return out;
  }

  private Router router() throws IOException {
    return new Router(sockets, events, LOG, counters, dir, List.of(1, 2, 3));
  }

  private VmLink vm(int domid, Ear ear) throws OsException {
    VmLink link =
        new VmLink(
            sockets,
            Platform.processes(),
            events,
            NanoClock.SYSTEM,
            LOG,
            dir.resolve("link-" + domid + ".sock"),
            domid);
    open.add(link);
    link.addListener(ear);
    return link;
  }

  private Fd raw(int domid) throws OsException {
    Fd socket = sockets.unixSeqpacketConnectPath(dir.resolve("link-" + domid + ".sock"));
    open.add(socket);
    return socket;
  }

  private void hello(Fd socket, int domid) throws OsException {
    sockets.send(socket, Frame.of(Type.HELLO, domid).encode(), List.of());
    assertThat(await(socket).type()).isEqualTo(Type.WELCOME);
  }

  /** The next frame; null at the end of the stream. */
  private Frame await(Fd socket) throws OsException {
    Received[] received = new Received[1];
    until(
        () -> {
          try {
            received[0] = sockets.recv(socket, Frame.MAX_BYTES, Frame.MAX_FDS);
          } catch (OsException e) {
            received[0] = new Received(new byte[0], List.of(), true, false);
          }
          return received[0] != null;
        });
    received[0].closeFds();
    return received[0].eof() ? null : Frame.decode(received[0].data());
  }

  private static void until(BooleanSupplier condition) {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("deadline").isLessThan(end);
      Thread.onSpinWait();
      Thread.yield();
    }
  }

  @Test
  void messagesAndDescriptorsGoFromVmToVm() throws Exception {
    Ear ear1 = new Ear();
    Ear ear2 = new Ear();
    VmLink link1 = vm(1, ear1);
    until(link1::connected);
    VmLink link2 = vm(2, ear2);
    ear1.hears("up 2");
    ear2.hears("up 1");
    try (Fd bell = events.eventfd()) {
      link1.send(2, "hello".getBytes(), List.of(bell, bell));
      ear2.hears("message 1 hello 2");
      assertThat(events.drain(bell)).isEqualTo(2);
    }
    link2.send(1, "back".getBytes(), List.of());
    ear1.hears("message 2 back 0");
    assertThatThrownBy(() -> link1.send(3, new byte[1], List.of())).isInstanceOf(IOException.class);
    assertThatThrownBy(() -> link1.send(1, new byte[1], List.of())).isInstanceOf(IOException.class);
    Ear late = new Ear();
    link1.addListener(late);
    late.hears("up 2");
    link1.removeListener(late);
    link2.close();
    ear1.hears("down 2");
    assertThat(late.heard).isEmpty();
  }

  @Test
  void socketsAreForTheOwnerOnly() throws IOException {
    for (int domid = 1; domid <= 3; domid++) {
      assertThat(Files.getPosixFilePermissions(dir.resolve("link-" + domid + ".sock")))
          .isEqualTo(PosixFilePermissions.fromString("rw-------"));
    }
  }

  @Test
  void comesBackWhenTheHostAgentDoes() throws Exception {
    Ear ear1 = new Ear();
    Ear ear2 = new Ear();
    VmLink link1 = vm(1, ear1);
    vm(2, ear2);
    ear1.hears("up 2");
    ear2.hears("up 1");
    router.close();
    ear1.hears("down 2");
    ear2.hears("down 1");
    assertThat(link1.connected()).isFalse();
    router = router();
    ear1.hears("up 2");
    ear2.hears("up 1");
    link1.send(2, "again".getBytes(), List.of());
    ear2.hears("message 1 again 0");
  }

  @Test
  void aNewerConnectionReplacesTheOlder() throws Exception {
    Ear ear = new Ear();
    vm(2, ear);
    Fd first = raw(1);
    hello(first, 1);
    ear.hears("up 1");
    Fd second = raw(1);
    hello(second, 1);
    ear.hears("down 1", "up 1");
    assertThat(await(first).type()).isEqualTo(Type.UP);
    assertThat(await(first)).as("end of the older").isNull();
    sockets.send(second, Frame.of(Type.DATA, 2, "new".getBytes()).encode(), List.of());
    ear.hears("message 1 new 0");
  }

  @Test
  void theListenerIsTheIdentity() throws Exception {
    Ear ear = new Ear();
    vm(2, ear);
    Fd liar = raw(1);
    sockets.send(liar, Frame.of(Type.HELLO, 3).encode(), List.of());
    assertThat(await(liar).domid()).as("who the router takes it for").isOne();
    assertThat(await(liar)).isNull();
    assertThat(ear.heard).isEmpty();
  }

  @Test
  void oneThatDoesNotReadStallsNobody() throws Exception {
    Ear ear1 = new Ear();
    Ear ear2 = new Ear();
    VmLink link1 = vm(1, ear1);
    vm(2, ear2);
    ear1.hears("up 2");
    Fd deaf = raw(3);
    hello(deaf, 3);
    ear1.hears("up 3");
    ear2.hears("up 1", "up 3");
    byte[] big = new byte[Frame.MAX_PAYLOAD];
    try (Fd bell = events.eventfd()) {
      int sent = 0;
      // More than the socket, the router's queue for this pair and the sender's own queue hold.
      while (ear1.heard.isEmpty()) {
        try {
          link1.send(3, big, sent % 64 == 0 ? List.of(bell) : List.of());
        } catch (IOException e) {
          Thread.yield(); // the sender's own queue is full
        }
        sent++;
      }
      assertThat(ear1.heard.poll()).isEqualTo("undelivered 3");
    }
    until(
        () -> {
          try {
            link1.send(2, "through".getBytes(), List.of());
            return true;
          } catch (IOException e) {
            return false;
          }
        });
    ear2.hears("message 1 through 0");
    assertThat(counters.counter("link.undelivered").value()).isPositive();
    // What is queued arrives, in order, once it reads again.
    int got = 0;
    for (Frame frame; got < Outgoing.MAX_FRAMES; got++) {
      do {
        frame = await(deaf);
      } while (frame.type() != Type.DATA);
      assertThat(frame.domid()).isOne();
    }
  }

  @Test
  void garbageEndsOnlyItsOwnConnection() throws Exception {
    Ear ear1 = new Ear();
    Ear ear2 = new Ear();
    VmLink link1 = vm(1, ear1);
    vm(2, ear2);
    ear2.hears("up 1");
    ear1.hears("up 2");
    Random random = new Random(11);
    for (int i = 0; i < 200; i++) {
      Fd socket = raw(3);
      byte[] noise = new byte[1 + random.nextInt(64)];
      random.nextBytes(noise);
      if (i % 2 == 0) {
        hello(socket, 3);
        assertThat(ear1.heard.poll(DEADLINE_S, TimeUnit.SECONDS)).isEqualTo("up 3");
        byte[] valid = Frame.of(Type.DATA, 1, noise).encode();
        valid[random.nextInt(8)] ^= (byte) (1 + random.nextInt(255));
        noise = valid;
      }
      try (Fd bell = events.eventfd()) {
        sockets.send(socket, noise, List.of(bell));
      }
      if (i % 2 == 0) {
        String next = ear1.heard.poll(DEADLINE_S, TimeUnit.SECONDS);
        assertThat(next).as("message " + i).isEqualTo("down 3");
      }
      Frame frame;
      do {
        frame = await(socket);
      } while (frame != null);
      socket.close();
    }
    link1.send(2, "still".getBytes(), List.of());
    until(() -> ear2.heard.contains("message 1 still 0"));
  }
}
