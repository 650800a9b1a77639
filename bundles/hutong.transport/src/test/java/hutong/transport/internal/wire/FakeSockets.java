// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.wire;

import hutong.api.os.Fd;
import hutong.platform.BatchSocket;
import hutong.platform.BatchSockets;
import hutong.platform.OsException;
import hutong.platform.Platform;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** Sockets that note what is sent, and refuse it, or fail, with errors that a test chooses. */
public final class FakeSockets implements BatchSockets {
  /** All that were opened. */
  public final List<Socket> opened = new ArrayList<>();

  @Override
  public BatchSocket openPacket(
      String interfaceName, int etherType, ByteBuffer out, int slots, int slotBytes)
      throws OsException {
    return open(slots);
  }

  @Override
  public BatchSocket openUdp(byte[] address, int port, ByteBuffer out, int slots, int slotBytes)
      throws OsException {
    return open(slots);
  }

  private BatchSocket open(int slots) throws OsException {
    Socket socket = new Socket(slots);
    opened.add(socket);
    return socket;
  }

  /** The newest one. */
  public Socket last() {
    return opened.get(opened.size() - 1);
  }

  /** One of them. */
  public static final class Socket implements BatchSocket {
    private final Fd fd = Platform.events().eventfd();
    private final int slots;
    private int waiting;
    private long refused;

    /** Frames for others. */
    public volatile long misdirected;

    /** What the kernel lost. */
    public volatile long lost;

    /** Lengths of what was added. */
    public final List<Integer> lengths = new ArrayList<>();

    /** Their segments. */
    public final List<Integer> segments = new ArrayList<>();

    /** With this {@link #flush} refuses. */
    public int refuses;

    /** With this {@link #receive} fails. */
    public volatile int fails;

    private Socket(int slots) throws OsException {
      this.slots = slots;
    }

    @Override
    public Fd fd() {
      return fd;
    }

    @Override
    public Target target(byte[] address, int port) {
      return () -> 7;
    }

    @Override
    public boolean add(Target target, int offset, int length, int segment) {
      if (waiting == slots) {
        return false;
      }
      waiting++;
      lengths.add(length);
      segments.add(segment);
      return true;
    }

    @Override
    public int waiting() {
      return waiting;
    }

    @Override
    public int flush() throws OsException {
      int count = waiting;
      waiting = 0;
      if (count > 0 && refuses != 0) {
        refused += count;
        throw new OsException("sendmmsg", refuses, "refused");
      }
      return count;
    }

    @Override
    public int receive() throws OsException {
      if (fails != 0) {
        throw new OsException("packet socket", fails, "failed");
      }
      return 0;
    }

    @Override
    public ByteBuffer received() {
      return ByteBuffer.allocate(0);
    }

    @Override
    public int offset(int i) {
      return 0;
    }

    @Override
    public int length(int i) {
      return 0;
    }

    @Override
    public int segment(int i) {
      return 0;
    }

    @Override
    public long sender(int i) {
      return 7;
    }

    @Override
    public long waitedNs(int i) {
      return 0;
    }

    @Override
    public long refused() {
      return refused;
    }

    @Override
    public long misdirected() {
      return misdirected;
    }

    @Override
    public long takeLost() {
      long was = lost;
      lost = 0;
      return was;
    }

    @Override
    public void close() {
      fd.close();
    }
  }
}
