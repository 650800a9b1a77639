// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.time.Duration;

/** Moves batches of datagrams, and prints what came; see {@link BatchSocketTest}. */
final class BatchSocketProbe {
  private static final int ETHER_TYPE = 0x88B5;
  private static final int SLOTS = 32;
  private static final long PATIENCE_NS = 5_000_000_000L;
  private static final byte[] LOOPBACK4 = {127, 0, 0, 1};
  private static final byte[] LOOPBACK6 = new byte[16];
  private static final BatchSockets SOCKETS = Platform.batchSockets();

  private final ByteBuffer out = ByteBuffer.allocateDirect(1 << 16);

  private BatchSocketProbe() {
    LOOPBACK6[15] = 1;
    for (int i = 0; i < out.capacity(); i++) {
      out.put(i, value(i));
    }
  }

  public static void main(String[] args) throws Exception {
    BatchSocketProbe probe = new BatchSocketProbe();
    probe.packets();
    probe.udp("udp4", LOOPBACK4, 40);
    probe.udp("udp6", LOOPBACK6, 47);
    probe.limits();
    probe.allocation();
  }

  private static byte value(int at) {
    return (byte) (at * 31 + (at >> 8));
  }

  private void packets() throws Exception {
    byte[] macOfA = Sockets.macBytes("02:77:00:00:00:0a");
    byte[] macOfB = Sockets.macBytes("02:77:00:00:00:0b");
    try (BatchSocket a = SOCKETS.openPacket("va", ETHER_TYPE, out, SLOTS, 2048);
        BatchSocket b = SOCKETS.openPacket("vb", ETHER_TYPE, out, SLOTS, 2048);
        BatchSocket other = SOCKETS.openPacket("vb", ETHER_TYPE + 1, out, SLOTS, 2048)) {
      BatchSocket.Target toB = a.target(macOfB, 0);
      BatchSocket.Target fromA = b.target(macOfA, 0);
      for (int i = 0; i < 20; i++) {
        a.add(toB, i * 1500, 1500 - i, 0);
      }
      int sent = a.flush();
      int wrong = 0;
      for (int got = 0; got < 20; ) {
        await(b);
        int n = b.receive();
        for (int i = 0; i < n; i++, got++) {
          wrong += b.sender(i) == fromA.number() && b.length(i) == 1500 - got ? 0 : 1;
          wrong += different(b, i, got * 1500, 1500 - got);
        }
      }
      System.out.println(
          "packet: " + sent + " of 20 sent, in order, from the right address, " + wrong + " wrong");
      boolean none = other.receive() == 0 && a.receive() == 0;
      System.out.println(
          "packet: " + (none ? "none" : "some") + " to another type, none to its sender");
      a.add(toB, 0, 1501, 0);
      a.add(toB, 0, 100, 0);
      try {
        a.flush();
      } catch (OsException e) {
        System.out.println("packet: too long is errno " + e.errno());
      }
      System.out.println(
          "packet: " + receive(b, 1).kept() + " of 1 behind it, " + a.refused() + " refused");
      others(a, b);
      for (int i = 0; i < 4000 / SLOTS; i++) {
        send(a, toB, SLOTS);
      }
      Fate fate = receive(b, 4000);
      System.out.println(
          "packet: "
              + (fate.kept() + fate.lost())
              + " of 4000 kept or lost, "
              + (fate.lost() > 0 ? "some" : "none")
              + " lost, then "
              + b.takeLost());
      send(a, toB, 10);
      System.out.println(
          "packet: "
              + (fate.kept() >= 900 ? "many" : fate.kept())
              + " wait, others are lost, then "
              + receive(b, 10).kept()
              + " of 10");
    }
    try (BatchSocket a = SOCKETS.openPacket("va", ETHER_TYPE, out, SLOTS, 2048);
        BatchSocket b = SOCKETS.openPacket("vb", ETHER_TYPE, out, SLOTS, 100)) {
      a.add(a.target(macOfB, 0), 0, 300, 0);
      a.flush();
      await(b);
      b.receive();
      System.out.println("packet: one too long is " + b.length(0) + " bytes");
    }
    int larger = 1 << 16; // than what the mapped memory can be cut into: without it
    try (BatchSocket a = SOCKETS.openPacket("va", ETHER_TYPE, out, SLOTS, 2048);
        BatchSocket b = SOCKETS.openPacket("vb", ETHER_TYPE, out, SLOTS, larger)) {
      others(a, b);
    }
  }

  /** What is for another station, or for many, is nobody's here. */
  private static void others(BatchSocket a, BatchSocket b) throws Exception {
    send(a, a.target(Sockets.macBytes("02:77:00:00:00:0c"), 0), 3);
    send(a, a.target(Sockets.macBytes("ff:ff:ff:ff:ff:ff"), 0), 2);
    send(a, a.target(Sockets.macBytes("02:77:00:00:00:0b"), 0), 1);
    System.out.println(
        "packet: " + receive(b, 1).kept() + " of 1, " + b.misdirected() + " of 5 misdirected");
  }

  private static void send(BatchSocket a, BatchSocket.Target to, int count) throws OsException {
    for (int i = 0; i < count; i++) {
      a.add(to, 0, 1000, 0);
    }
    a.flush();
  }

  /** What has become of datagrams. */
  private record Fate(long kept, long lost) {}

  /** Waits for so many; a busy kernel has some come a while after the call that sends them. */
  private static Fate receive(BatchSocket b, int expected) throws Exception {
    long kept = 0;
    long lost = 0;
    for (long last = System.nanoTime(); kept + lost < expected; ) {
      long before = kept + lost;
      for (int n = b.receive(); n > 0; n = b.receive()) {
        kept += n;
      }
      lost += b.takeLost();
      if (kept + lost > before) {
        last = System.nanoTime();
      } else if (System.nanoTime() - last > PATIENCE_NS) {
        break;
      } else {
        Thread.sleep(1);
      }
    }
    return new Fate(kept, lost);
  }

  private void udp(String name, byte[] address, int length) throws Exception {
    try (BatchSocket a = SOCKETS.openUdp(address, 7001, out, SLOTS, 1 << 16);
        BatchSocket b = SOCKETS.openUdp(address, 7002, out, SLOTS, 1 << 16)) {
      a.add(a.target(address, 7002), 100, length, 10);
      int calls = a.flush();
      BatchSocket.Target fromA = b.target(address, 7001);
      int datagrams = 0;
      int bytes = 0;
      int wrong = 0;
      int segment = 0;
      while (bytes < length) {
        await(b);
        int n = b.receive();
        for (int i = 0; i < n; i++) {
          wrong += b.sender(i) == fromA.number() ? 0 : 1;
          wrong += different(b, i, 100 + bytes, b.length(i));
          segment = Math.max(segment, b.segment(i));
          datagrams += (b.length(i) + b.segment(i) - 1) / b.segment(i);
          bytes += b.length(i);
        }
      }
      System.out.printf(
          "%s: %d bytes in %d datagrams from %d call, segment %d, %d wrong%n",
          name, bytes, datagrams, calls, segment, wrong);
    }
  }

  private void limits() throws Exception {
    try (BatchSocket a = SOCKETS.openUdp(LOOPBACK4, 7001, out, SLOTS, 100);
        BatchSocket b = SOCKETS.openUdp(LOOPBACK4, 7002, out, SLOTS, 100)) {
      BatchSocket.Target toB = a.target(LOOPBACK4, 7002);
      int added = 0;
      while (a.add(toB, 0, 1, 0)) {
        added++;
      }
      a.flush();
      System.out.println("udp4: full after " + added);
      for (int i = 0; i < 1000; i++) {
        send(a, toB, SLOTS);
      }
      Fate fate = receive(b, 1001 * SLOTS);
      System.out.println(
          "udp4: "
              + (fate.kept() + fate.lost())
              + " kept or lost, "
              + (fate.lost() > 0 ? "some" : "none")
              + " lost, then "
              + b.takeLost());
      a.add(toB, 0, 300, 0);
      a.flush();
      await(b);
      b.receive();
      System.out.println("udp4: one too long is " + b.length(0) + " bytes");
    }
  }

  private void allocation() throws Exception {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    try (BatchSocket a = SOCKETS.openUdp(LOOPBACK4, 7001, out, SLOTS, 2000);
        BatchSocket b = SOCKETS.openUdp(LOOPBACK4, 7002, out, SLOTS, 2000)) {
      BatchSocket.Target toB = a.target(LOOPBACK4, 7002);
      exchange(a, toB, b, 20_000); // the compiler has done with it
      long before = threads.getCurrentThreadAllocatedBytes();
      exchange(a, toB, b, 2_000);
      long each = (threads.getCurrentThreadAllocatedBytes() - before) / (2_000 * SLOTS);
      System.out.println("allocated " + (each == 0 ? "nothing" : each + " bytes a datagram"));
    }
  }

  private static void exchange(BatchSocket a, BatchSocket.Target to, BatchSocket b, int rounds)
      throws OsException {
    for (int round = 0; round < rounds; round++) {
      for (int i = 0; i < SLOTS; i++) {
        a.add(to, 0, 1000, 0);
      }
      a.flush();
      for (int got = 0, n; got < SLOTS && (n = b.receive()) > 0; got += n) {
        for (int i = 0; i < n; i++) {
          b.sender(i);
          b.segment(i);
        }
      }
    }
  }

  private static int different(BatchSocket socket, int i, int from, int length) {
    int wrong = socket.length(i) == length ? 0 : 1;
    for (int k = 0; k < length; k++) {
      wrong += socket.received().get(socket.offset(i) + k) == value(from + k) ? 0 : 1;
    }
    return wrong;
  }

  private static void await(BatchSocket socket) throws Exception {
    try (Poller poller = Platform.events().openPoller()) {
      poller.add(socket.fd(), Poller.IN, bits -> {});
      poller.await(Duration.ofSeconds(30), e -> {});
    }
  }
}
