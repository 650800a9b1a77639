// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.wire;

import hutong.platform.BatchSocket;
import hutong.platform.OsException;
import hutong.platform.Platform;
import hutong.platform.Sockets;
import hutong.transport.internal.datagram.Authenticator;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.HmacAuthenticator;
import hutong.transport.internal.datagram.Seal;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowListener;
import hutong.transport.internal.engine.FlowSettings;
import hutong.transport.internal.engine.FlowStart;
import hutong.transport.internal.engine.ReceiveBuffer;
import hutong.transport.internal.engine.SendBuffer;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;

/**
 * Two ends, each on a thread of its own, send each other a stream; see {@link WireTest}. Arguments:
 * wire, MTU, whether datagrams have MACs (D6): then others send theirs on the same wires.
 */
final class WireProbe {
  private static final int ETHER_TYPE = 0x88B5;
  private static final int RING_BYTES = 1 << 20;
  private static final long STREAM_BYTES = 64L << 20;
  private static final int WINDOW = 128;

  /** Of 20 ms each: as long as silence lasts, since a JVM that begins may need most of a second. */
  private static final int PROBE_ATTEMPTS = 500;

  private WireProbe() {}

  public static void main(String[] args) throws Exception {
    int mtu = Integer.parseInt(args[1]);
    boolean sealed = Boolean.parseBoolean(args[2]);
    End a = new End(args[0], mtu, 0, sealed);
    End b = new End(args[0], mtu, 1, sealed);
    a.meet(b);
    b.meet(a);
    long begin = System.nanoTime();
    Thread other = new Thread(b::run);
    other.start();
    a.run();
    other.join();
    double seconds = (System.nanoTime() - begin) / 1e9;
    if (a.failure != null || b.failure != null) {
      throw new IllegalStateException("wrong", a.failure != null ? a.failure : b.failure);
    }
    System.out.printf(
        "both streams are right; %.0f Mbit/s each way, resent %d and %d, refused %d and %d%n",
        STREAM_BYTES * 8 / seconds / 1e6,
        a.flow.counters().resent,
        b.flow.counters().resent,
        a.wire.refused(),
        b.wire.refused());
    if (sealed && a.forgeriesDropped() && b.forgeriesDropped()) {
      System.out.println("forgeries were sent and dropped at both ends");
    }
  }

  private static byte value(int side, long offset) {
    return (byte) (offset * 131 + (offset >> 12) + side * 77);
  }

  /** One end: a program that writes as fast as it may, a program that checks what it reads. */
  private static final class End implements SendBuffer, ReceiveBuffer, FlowListener {
    private final int side;
    private final Wire wire;
    private final int port;
    private final byte[] address;
    private final FlowSettings settings;
    private final boolean sealed;
    private final List<Flow> forgers = new ArrayList<>();
    private final ByteBuffer out = ByteBuffer.allocateDirect(RING_BYTES);
    private final ByteBuffer in = ByteBuffer.allocateDirect(RING_BYTES);
    private BatchSocket.Target peer;
    private Flow flow;
    private long written;
    private long consumedThere;
    private long published;
    private long read;
    private boolean ended;
    private boolean told;
    private boolean toldEnd;
    private End other;
    private volatile boolean done;
    private volatile Exception failure;

    End(String name, int mtu, int side, boolean sealed) throws Exception {
      this.side = side;
      this.sealed = sealed;
      this.port = 7000 + side;
      if (name.equals("ethernet")) {
        String link = side == 0 ? "va" : "vb";
        address = Platform.sockets().mac(link);
        wire = Wire.ethernet(Platform.batchSockets(), link, ETHER_TYPE, mtu);
      } else {
        address = InetAddress.getByName(name.equals("udp4") ? "127.0.0.1" : "::1").getAddress();
        wire = Wire.udp(Platform.batchSockets(), address, port, mtu);
      }
      settings = patient(FlowSettings.reference(wire.datagramBytes()));
    }

    private static FlowSettings patient(FlowSettings usual) {
      return new FlowSettings(
          usual.maxDatagram(),
          usual.window(),
          usual.ackWaitNs(),
          usual.adaptive(),
          usual.congestionControl(),
          usual.firstWindow(),
          usual.longestWaitNs(),
          usual.wireTimeoutNs(),
          usual.probes(),
          PROBE_ATTEMPTS,
          usual.probeWaitNs());
    }

    void meet(End other) {
      this.other = other;
      peer = wire.target(other.address, wireHasPorts() ? other.port : 0);
      int here = 0x11110000 + side;
      int there = 0x11110000 + other.side;
      FlowStart start =
          new FlowStart(
              1, here, there, 5 + side, 5 + other.side, WINDOW, RING_BYTES, 0, RING_BYTES, 0);
      flow =
          Flow.open(
              settings,
              start,
              this,
              this,
              this,
              sealed ? new Seal(key(side), key(other.side)) : new Seal(null, null),
              new Random(side),
              System.nanoTime());
      if (sealed) { // one that has no key at all, and one that has another
        for (Authenticator key : new Authenticator[] {null, key(77)}) {
          forgers.add(forger(start, new Seal(key, null)));
        }
      }
    }

    private static Authenticator key(int of) {
      byte[] key = new byte[16];
      Arrays.fill(key, (byte) of);
      return new HmacAuthenticator(key);
    }

    /** Begins where the flow does, and never hears an answer. */
    private Flow forger(FlowStart start, Seal seal) {
      return Flow.open(
          settings.withoutProbes(),
          start,
          new Zeros(),
          this,
          Zeros.none(FlowListener.class),
          seal,
          new Random(1),
          System.nanoTime());
    }

    /** Each forger has sent data, and all that came of those at the other end was dropped. */
    boolean forgeriesDropped() {
      return other.forgers.stream().allMatch(f -> f.counters().dataBytesOut > 0)
          && flow.counters().drops(DropCause.BAD_MAC) > 0
          && flow.counters().drops(DropCause.BAD_LENGTH) > 0;
    }

    private boolean wireHasPorts() {
      return address.length != Sockets.macBytes("00:00:00:00:00:00").length;
    }

    void run() {
      try {
        while (!(ended && told) && other.failure == null) {
          work();
        }
        done = true;
        while (!other.done) { // the peer's last questions
          work();
        }
      } catch (OsException | RuntimeException e) {
        failure = e;
      } finally {
        done = true;
      }
    }

    private void work() throws OsException {
      program();
      while (wire.receive(
              (datagram, sender, waitedNs) -> {
                if (sender == peer.number()) {
                  flow.receive(datagram, System.nanoTime(), waitedNs);
                }
              })
          > 0) {
        continue;
      }
      for (Flow forger : forgers) { // first: theirs come before what they pretend to be
        while (!wire.produce(forger, peer, System.nanoTime())) {
          continue;
        }
      }
      while (!wire.produce(flow, peer, System.nanoTime())) {
        continue;
      }
      wire.flush();
    }

    private void program() {
      long last = Math.min(STREAM_BYTES, consumedThere + RING_BYTES);
      for (; written < last; written++) {
        out.put((int) (written & RING_BYTES - 1), value(side, written));
      }
      if (written == STREAM_BYTES && !toldEnd) {
        toldEnd = true;
        flow.end(STREAM_BYTES, System.nanoTime());
      }
      for (; read < published; read++) {
        if (in.get((int) (read & RING_BYTES - 1)) != value(1 - side, read)) {
          throw new IllegalStateException("wrong byte at " + read);
        }
      }
    }

    @Override
    public long end() {
      return written;
    }

    @Override
    public long capacity() {
      return RING_BYTES;
    }

    @Override
    public void copy(long offset, int length, ByteBuffer target) {
      int at = (int) (offset & RING_BYTES - 1);
      int part = Math.min(length, RING_BYTES - at);
      int to = target.position();
      target.put(to, out, at, part).put(to + part, out, 0, length - part).position(to + length);
    }

    @Override
    public void consumedByPeer(long offset) {
      consumedThere = offset;
    }

    @Override
    public long consumed() {
      return read;
    }

    @Override
    public long size() {
      return RING_BYTES;
    }

    @Override
    public void put(long offset, ByteBuffer source) {
      int length = source.remaining();
      int at = (int) (offset & RING_BYTES - 1);
      int part = Math.min(length, RING_BYTES - at);
      in.put(at, source, source.position(), part);
      in.put(0, source, source.position() + part, length - part);
    }

    @Override
    public void publish(long end) {
      published = end;
    }

    @Override
    public void probed() {}

    @Override
    public void ended(long offset) {
      ended = true;
    }

    @Override
    public void endDelivered(long offset) {
      told = true;
    }

    @Override
    public void sendingLeft(long offset) {}

    @Override
    public void receivingLeft(long offset) {}

    @Override
    public void resumed(int epoch, int localChannel, int peerChannel) {}

    @Override
    public void wireFailed(WireFailure why) {
      // Beside forgers probes may go unanswered for long.
      if (!sealed || why == WireFailure.SILENCE) {
        failure = new IllegalStateException("wrong: the wire failed, " + why);
      }
    }
  }
}
