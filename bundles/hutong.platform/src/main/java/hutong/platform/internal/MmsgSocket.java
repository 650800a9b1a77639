// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.BatchSocket;
import hutong.platform.OsException;
import java.nio.ByteBuffer;
import jnr.ffi.Memory;
import jnr.ffi.Pointer;

/** {@link BatchSocket} by sendmmsg(2) and recvmmsg(2). */
final class MmsgSocket implements BatchSocket {
  static final int SOL_UDP = 17;
  static final int UDP_SEGMENT = 103;
  static final int UDP_GRO = 104;

  private static final int ENOBUFS = 105;
  private static final int MSG_TRUNC = 0x20;
  private static final int MSG_DONTWAIT = 0x40;
  private static final int MSG_NOSIGNAL = 0x4000;

  // struct cmsghdr, with one 16-bit or 32-bit value
  private static final int CMSG_LEVEL = 8;
  private static final int CMSG_TYPE = 12;
  private static final int CMSG_DATA = 16;
  private static final int CMSG_BYTES = 24;

  /** How addresses of a family lie in a {@code struct sockaddr}. */
  interface Family {
    /** Writes the whole sockaddr and gives its length. */
    int write(Pointer name, byte[] address, int port);

    /** The number of {@link BatchSocket#sender} for the sockaddr that lies there. */
    long number(Pointer names, long at);

    /** Whether sockets of it are packet sockets. */
    default boolean packets() {
      return false;
    }

    /** Whether what came with that sockaddr is for this socket alone. */
    default boolean forThisStation(Pointer names, long at) {
      return true;
    }
  }

  private static final class Destination implements Target {
    private final Pointer name = Memory.allocateDirect(LibC.RUNTIME, MessageBatch.NAME_BYTES, true);
    private final int length;
    private final long number;

    Destination(Family family, byte[] address, int port) {
      length = family.write(name, address, port);
      number = family.number(name, 0);
    }

    @Override
    public long number() {
      return number;
    }
  }

  private final Fd socket;
  private final Family family;
  private final long outAddress;
  private final int outBytes;
  private final ByteBuffer in;
  private final int slots;
  private final int inSlots;
  private final int slotBytes;
  private final MessageBatch sending;
  private final MessageBatch receiving;
  private final int[] places;
  private final Destination[] named; // the kernel is given raw addresses: not to be freed before
  private final KernelDrops drops;
  private int waiting;
  private int received;
  private long refused;
  private long misdirected;

  /**
   * Takes a socket over.
   *
   * @param out send memory
   * @param slots most that one call sends
   * @param inSlots most that one call receives
   * @param slotBytes most bytes of one that is received
   */
  MmsgSocket(Fd socket, Family family, ByteBuffer out, int slots, int inSlots, int slotBytes) {
    if (!out.isDirect() || slots < 1 || inSlots < 1 || slotBytes < 1) {
      throw new IllegalArgumentException("send memory must be direct, slots positive");
    }
    this.socket = socket;
    this.family = family;
    this.outAddress = Pointer.wrap(LibC.RUNTIME, out).address();
    this.outBytes = out.capacity();
    this.slots = slots;
    this.inSlots = inSlots;
    this.slotBytes = slotBytes;
    this.in = ByteBuffer.allocateDirect(inSlots * slotBytes);
    this.places = new int[inSlots];
    this.named = new Destination[slots];
    this.drops = new KernelDrops(socket, family.packets());
    this.sending = new MessageBatch(slots);
    this.receiving = new MessageBatch(inSlots);
    long inAddress = Pointer.wrap(LibC.RUNTIME, in).address();
    for (int i = 0; i < inSlots; i++) {
      receiving.data(i, inAddress + (long) i * slotBytes, slotBytes);
      rearm(i);
    }
  }

  @Override
  public Fd fd() {
    return socket;
  }

  @Override
  public Target target(byte[] address, int port) {
    return new Destination(family, address, port);
  }

  @Override
  public boolean add(Target target, int offset, int length, int segment) {
    if (offset < 0 || length < 0 || length > outBytes - offset) {
      throw new IndexOutOfBoundsException(length + " bytes at " + offset);
    }
    if (waiting == slots) {
      return false;
    }
    int i = waiting++;
    Destination to = (Destination) target;
    named[i] = to;
    sending.name(i, to.name.address(), to.length);
    sending.data(i, outAddress + offset, length);
    if (segment == 0 || segment >= length) {
      sending.control(i, 0);
      return true;
    }
    long at = MessageBatch.controlAt(i);
    Pointer control = sending.controls();
    control.putLong(at, CMSG_DATA + 2);
    control.putInt(at + CMSG_LEVEL, SOL_UDP);
    control.putInt(at + CMSG_TYPE, UDP_SEGMENT);
    control.putShort(at + CMSG_DATA, (short) segment);
    sending.control(i, CMSG_BYTES);
    return true;
  }

  @Override
  public int waiting() {
    return waiting;
  }

  @Override
  public int flush() throws OsException {
    int count = waiting;
    int sent = 0;
    int reason = 0;
    waiting = 0;
    while (sent < count) {
      int n =
          LibC.INSTANCE.sendmmsg(
              socket.number(), sending.headers(sent), count - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) {
        sent += n;
        continue;
      }
      int errno = LibC.errno();
      if (errno == OsException.EAGAIN || errno == ENOBUFS) {
        break;
      }
      if (errno != LibC.EINTR) {
        reason = errno; // the last of them: the others may go elsewhere
        refused++;
        sent++;
      }
    }
    refused += count - sent;
    if (reason != 0) {
      throw LibC.failure("sendmmsg", reason);
    }
    return sent;
  }

  @Override
  public int receive() throws OsException {
    for (int i = 0; i < received; i++) {
      rearm(i);
    }
    received = 0;
    while (true) {
      int n =
          LibC.INSTANCE.recvmmsg(socket.number(), receiving.headers(), inSlots, MSG_DONTWAIT, null);
      if (n >= 0) {
        received = n;
        return keep(n);
      }
      int errno = LibC.errno();
      if (errno == OsException.EAGAIN) {
        return 0;
      }
      if (errno != LibC.EINTR) {
        throw LibC.failure("recvmmsg", errno);
      }
    }
  }

  /** Finds those that are for this station; gives how many. */
  private int keep(int count) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
      if (family.forThisStation(receiving.names(), MessageBatch.nameAt(i))) {
        places[kept++] = i;
      }
    }
    misdirected += count - kept;
    return kept;
  }

  /** The kernel has written the lengths of what it filled in. */
  private void rearm(int i) {
    receiving.ownName(i);
    receiving.control(i, MessageBatch.CONTROL_BYTES);
  }

  @Override
  public ByteBuffer received() {
    return in;
  }

  @Override
  public int offset(int i) {
    return places[i] * slotBytes;
  }

  @Override
  public int length(int i) {
    int place = places[i];
    return (receiving.flags(place) & MSG_TRUNC) != 0 ? slotBytes + 1 : receiving.length(place);
  }

  @Override
  public int segment(int i) {
    long at = MessageBatch.controlAt(places[i]);
    Pointer control = receiving.controls();
    if (receiving.controlLength(places[i]) >= CMSG_DATA + 4
        && control.getInt(at + CMSG_LEVEL) == SOL_UDP
        && control.getInt(at + CMSG_TYPE) == UDP_GRO) {
      int segment = control.getInt(at + CMSG_DATA);
      return segment > 0 ? segment : length(i);
    }
    return length(i);
  }

  @Override
  public long sender(int i) {
    return family.number(receiving.names(), MessageBatch.nameAt(places[i]));
  }

  @Override
  public long waitedNs(int i) {
    return 0; // not asked for: it would be one more item of control data for each
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
    return drops.take();
  }

  @Override
  public void close() {
    socket.close();
  }
}
