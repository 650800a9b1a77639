// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.wire;

import hutong.api.os.Fd;
import hutong.platform.BatchSocket;
import hutong.platform.BatchSockets;
import hutong.platform.OsException;
import hutong.transport.internal.engine.DatagramBatch;
import hutong.transport.internal.engine.Flow;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * A socket on which all flows of an agent send and receive (architecture, decision 11): Ethernet
 * frames as they stand (M3.2), or the same datagrams in UDP, many of them cut from one send by the
 * kernel. What the kernel refuses is lost like what a link loses; the flows find out. Confined to
 * one thread; allocates nothing for a datagram.
 */
public final class Wire implements AutoCloseable {
  /** Takes received datagrams. */
  @FunctionalInterface
  public interface Taker {
    /**
     * A datagram.
     *
     * @param datagram from position to limit, big-endian; valid until this returns
     * @param sender see {@link BatchSocket#sender}
     * @param waitedNs see {@link BatchSocket#waitedNs}
     */
    void take(ByteBuffer datagram, long sender, long waitedNs);
  }

  /**
   * Datagrams of one call: a quarter of the largest W, so that the peer works on some, or answers
   * some, while we work on others.
   */
  private static final int SLOTS = 64;

  /** About as many, where the kernel has put them together. */
  private static final int MERGED_SLOTS = 2;

  private static final int MERGED_BYTES = 1 << 16;
  private static final int IPV4_AND_UDP_BYTES = 28;
  private static final int IPV6_AND_UDP_BYTES = 48;

  /** Limits of UDP_SEGMENT: datagrams, and bytes of all of them. */
  private static final int MOST_SEGMENTS = 64;

  private static final int MOST_SEGMENTED_BYTES = 65_487;

  private final BatchSocket socket;
  private final DatagramBatch batch;
  private final ByteBuffer received;
  private final int slotBytes;
  private int mostSegments;
  private long cut;
  private OsException failure;
  private boolean tooLarge;
  private long sendingNs;

  private Wire(BatchSocket socket, DatagramBatch batch, int slotBytes, int mostSegments) {
    this.socket = socket;
    this.slotBytes = slotBytes;
    this.batch = batch;
    this.mostSegments = mostSegments;
    this.received = socket.received().duplicate().order(ByteOrder.BIG_ENDIAN);
  }

  /**
   * Ethernet (M3.2).
   *
   * @param interfaceName the interface
   * @param etherType for example 0x88B5
   * @param mtu its MTU in bytes, all of which a datagram may fill
   */
  public static Wire ethernet(BatchSockets sockets, String interfaceName, int etherType, int mtu)
      throws OsException {
    DatagramBatch batch = new DatagramBatch(SLOTS, mtu);
    return new Wire(
        sockets.openPacket(interfaceName, etherType, batch.bytes(), SLOTS, mtu), batch, mtu, 1);
  }

  /**
   * UDP, with DF.
   *
   * @param address local IP address, 4 or 16 bytes
   * @param port local port; 0: any
   * @param mtu of the path in bytes, of which IP and UDP take their part
   */
  public static Wire udp(BatchSockets sockets, byte[] address, int port, int mtu)
      throws OsException {
    int room = mtu - (address.length == 4 ? IPV4_AND_UDP_BYTES : IPV6_AND_UDP_BYTES);
    DatagramBatch batch = new DatagramBatch(SLOTS, room);
    int segments = Math.max(1, Math.min(MOST_SEGMENTS, MOST_SEGMENTED_BYTES / room));
    return new Wire(
        sockets.openUdp(address, port, batch.bytes(), MERGED_SLOTS, MERGED_BYTES),
        batch,
        MERGED_BYTES,
        segments);
  }

  /** The most bytes of a datagram. */
  public int datagramBytes() {
    return batch.slotBytes();
  }

  /** To be watched for input. */
  public Fd fd() {
    return socket.fd();
  }

  /** A peer's address; see {@link BatchSocket#target}. */
  public BatchSocket.Target target(byte[] address, int port) {
    return socket.target(address, port);
  }

  /**
   * Takes what a flow has to send. It goes out with the next {@link #flush}, or at once when there
   * is much.
   *
   * @return false when the flow may have more
   */
  public boolean produce(Flow flow, BatchSocket.Target target, long now) {
    int first = batch.count();
    flow.produce(batch, now);
    for (int i = first; i < batch.count(); ) {
      int run = Math.min(batch.run(i), mostSegments);
      int last = i + run - 1;
      int length = batch.offset(last) - batch.offset(i) + batch.length(last);
      if (!socket.add(target, batch.offset(i), length, run > 1 ? batch.slotBytes() : 0)) {
        send();
        continue;
      }
      i += run;
    }
    if (!batch.full()) {
      return true;
    }
    flush();
    return false;
  }

  /** Sends what was taken. */
  public void flush() {
    send();
    batch.clear();
  }

  private void send() {
    if (socket.waiting() == 0) {
      return;
    }
    long from = System.nanoTime();
    try {
      socket.flush();
    } catch (OsException e) {
      failure = e;
      int errno = e.errno();
      tooLarge |= errno == OsException.EMSGSIZE;
      if (tooLarge || errno == OsException.EINVAL || errno == OsException.EIO) {
        mostSegments = 1; // this kernel or interface cannot cut; a lost route says nothing of that
      }
    }
    sendingNs += (System.nanoTime() - from - sendingNs) / 8;
  }

  /**
   * How long it takes to send what goes out together, in nanoseconds, smoothed: the kernel carries
   * it a good part of its way at once, and what else comes that way.
   */
  public long sendingNs() {
    return sendingNs;
  }

  /** Whether the interface has refused a datagram for its size since the last time. */
  public boolean takeTooLarge() {
    boolean was = tooLarge;
    tooLarge = false;
    return was;
  }

  /**
   * Hands over what has come, one call's worth.
   *
   * @return how many datagrams; 0 when none is there
   * @throws OsException when the interface is gone or down
   */
  public int receive(Taker taker) throws OsException {
    int count = 0;
    int messages = socket.receive();
    for (int i = 0; i < messages; i++) {
      int length = socket.length(i);
      if (length > slotBytes) {
        cut++;
        continue;
      }
      int end = socket.offset(i) + length;
      int segment = Math.max(1, socket.segment(i));
      for (int at = socket.offset(i); at < end; at += segment) {
        received.limit(Math.min(end, at + segment)).position(at).order(ByteOrder.BIG_ENDIAN);
        taker.take(received, socket.sender(i), socket.waitedNs(i));
        received.clear();
        count++;
      }
    }
    return count;
  }

  /** Sends, of one datagram or a run, that the kernel did not take. */
  public long refused() {
    return socket.refused();
  }

  /** Received datagrams that were larger than the wire's own. */
  public long cut() {
    return cut;
  }

  /** Frames that were for other stations, or for many. */
  public long misdirected() {
    return socket.misdirected();
  }

  /** Datagrams that came too fast for the kernel to keep them, since the last call: it is asked. */
  public long takeLost() {
    return socket.takeLost();
  }

  /**
   * The last reason for which the kernel refused a datagram, since the last call; null if it has
   * refused none, or for want of room only.
   */
  public OsException takeFailure() {
    OsException was = failure;
    failure = null;
    return was;
  }

  @Override
  public void close() {
    socket.close();
  }
}
