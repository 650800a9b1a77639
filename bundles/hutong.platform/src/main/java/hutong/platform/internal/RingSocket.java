// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.BatchSocket;
import hutong.platform.Mapping;
import hutong.platform.OsException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import jnr.ffi.Memory;
import jnr.ffi.Pointer;

/**
 * A packet socket whose frames the kernel puts into memory that is mapped here (PACKET_RX_RING of
 * packet(7), TPACKET_V2), so that receiving takes no system call. It sends as {@link MmsgSocket}
 * does.
 */
final class RingSocket implements BatchSocket {
  private static final VarHandle INT =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());

  private static final int SOL_SOCKET = 1;
  private static final int SO_ERROR = 4;
  private static final int SOL_PACKET = 263;
  private static final int PACKET_RX_RING = 5;
  private static final int PACKET_VERSION = 10;
  private static final int TPACKET_V2 = 1;
  private static final int SIZEOF_TPACKET_REQ = 16;

  // struct tpacket2_hdr, and the struct sockaddr_ll behind it
  private static final int STATUS = 0;
  private static final int LENGTH = 4;
  private static final int KEPT = 8;
  private static final int NET = 14;
  private static final int SECONDS = 16;
  private static final int NANOSECONDS = 20;
  private static final int ADDRESS = 32;
  private static final int STATUS_KERNEL = 0;
  private static final int STATUS_USER = 1;

  /** What the kernel puts before the data at most: both of these, and room for a link header. */
  private static final int BEFORE_DATA = 96;

  private static final int BLOCK_BYTES = 1 << 16;

  /** Waiting frames: some windows; what comes then is lost as on a link whose queue is full. */
  private static final int MOST_BYTES = 2 << 20;

  private static final int LEAST_FRAMES = 512;

  private final Fd socket;
  private final MmsgSocket sending;
  private final Mapping mapping;
  private final ByteBuffer ring;
  private final ByteBuffer data;
  private final int frameBytes;
  private final int framesOfBlock;
  private final int frames;
  private final int slotBytes;
  private final int[] places;
  private final Pointer error = Memory.allocateDirect(LibC.RUNTIME, 4, true);
  private final KernelDrops drops;
  private final Pointer errorBytes = Memory.allocateDirect(LibC.RUNTIME, 4, true);
  private final StampClock stamps = new StampClock();
  private long takenAt;
  private int next;
  private int received;
  private long misdirected;

  private RingSocket(
      Fd socket, MmsgSocket sending, Mapping mapping, int frameBytes, int slots, int slotBytes) {
    this.socket = socket;
    this.sending = sending;
    this.mapping = mapping;
    this.ring = mapping.buffer();
    this.data = mapping.buffer().order(ByteOrder.BIG_ENDIAN);
    this.frameBytes = frameBytes;
    this.framesOfBlock = BLOCK_BYTES / frameBytes;
    this.frames = framesOfBlock * (int) (mapping.size() / BLOCK_BYTES);
    this.slotBytes = slotBytes;
    this.places = new int[slots];
    this.drops = new KernelDrops(socket, true);
  }

  /**
   * Gives a socket such memory; before it is bound.
   *
   * @param sending sends by the same socket
   * @param slots most frames that one {@link #receive} takes
   * @param slotBytes most bytes of one
   * @throws OsException when the kernel cannot, or has no room
   */
  static RingSocket of(Fd socket, MmsgSocket sending, int slots, int slotBytes) throws OsException {
    int frameBytes = slotBytes + BEFORE_DATA + 15 & ~15;
    int framesOfBlock = BLOCK_BYTES / frameBytes;
    if (framesOfBlock == 0) {
      throw LibC.failure("frames of " + slotBytes + " bytes", OsException.EINVAL);
    }
    int blocks =
        Math.max(MOST_BYTES / BLOCK_BYTES, (LEAST_FRAMES + framesOfBlock - 1) / framesOfBlock);
    LinuxBatchSockets.set(socket, SOL_PACKET, PACKET_VERSION, TPACKET_V2);
    Pointer request = Scratch.get(SIZEOF_TPACKET_REQ);
    request.putInt(0, BLOCK_BYTES);
    request.putInt(4, blocks);
    request.putInt(8, frameBytes);
    request.putInt(12, blocks * framesOfBlock);
    LibC.check(
        "setsockopt PACKET_RX_RING",
        LibC.INSTANCE.setsockopt(
            socket.number(), SOL_PACKET, PACKET_RX_RING, request, SIZEOF_TPACKET_REQ));
    Mapping mapping = new LinuxMemory().map(socket, (long) blocks * BLOCK_BYTES, true);
    return new RingSocket(socket, sending, mapping, frameBytes, slots, slotBytes);
  }

  @Override
  public Fd fd() {
    return socket;
  }

  @Override
  public Target target(byte[] address, int port) {
    return sending.target(address, port);
  }

  @Override
  public boolean add(Target target, int offset, int length, int segment) {
    return sending.add(target, offset, length, segment);
  }

  @Override
  public int waiting() {
    return sending.waiting();
  }

  @Override
  public int flush() throws OsException {
    return sending.flush();
  }

  @Override
  public int receive() throws OsException {
    for (int i = 0; i < received; i++) {
      // Release: the kernel may fill it again once we have read it.
      INT.setRelease(ring, places[i] + STATUS, STATUS_KERNEL);
    }
    int count = 0;
    // Not more than the memory holds: what is for others must not keep us here for ever.
    for (int seen = 0; count < places.length && seen < frames; seen++) {
      int at = next / framesOfBlock * BLOCK_BYTES + next % framesOfBlock * frameBytes;
      // Acquire: the status before all that it says is there.
      if (((int) INT.getAcquire(ring, at + STATUS) & STATUS_USER) == 0) {
        break;
      }
      next = next + 1 == frames ? 0 : next + 1;
      if (PacketAddress.forThisStation(ring, at + ADDRESS)) {
        places[count++] = at;
      } else {
        misdirected++;
        INT.setRelease(ring, at + STATUS, STATUS_KERNEL);
      }
    }
    received = count;
    if (count == 0) {
      check();
    } else {
      takenAt = System.nanoTime();
    }
    return count;
  }

  /** An interface that goes down is told by an error, which would keep a poller awake. */
  private void check() throws OsException {
    errorBytes.putInt(0, 4);
    LibC.check(
        "getsockopt SO_ERROR",
        LibC.INSTANCE.getsockopt(socket.number(), SOL_SOCKET, SO_ERROR, error, errorBytes));
    int errno = error.getInt(0);
    if (errno != 0) {
      throw LibC.failure("packet socket", errno);
    }
  }

  @Override
  public ByteBuffer received() {
    return data;
  }

  @Override
  public int offset(int i) {
    return places[i] + (ring.getShort(places[i] + NET) & 0xffff);
  }

  @Override
  public int length(int i) {
    int length = ring.getInt(places[i] + LENGTH);
    return length > slotBytes || length != ring.getInt(places[i] + KEPT) ? slotBytes + 1 : length;
  }

  @Override
  public int segment(int i) {
    return length(i);
  }

  @Override
  public long sender(int i) {
    return PacketAddress.number(ring, places[i] + ADDRESS);
  }

  @Override
  public long waitedNs(int i) {
    return stamps.sinceNs(
        ring.getInt(places[i] + SECONDS), ring.getInt(places[i] + NANOSECONDS), takenAt);
  }

  @Override
  public long refused() {
    return sending.refused();
  }

  @Override
  public long misdirected() {
    return misdirected;
  }

  @Override
  public long takeLost() {
    return drops.take();
  }

  @Override
  public void close() {
    received = 0;
    mapping.close();
    socket.close();
  }
}
