// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.Packet;
import hutong.platform.Received;
import java.util.List;
import jnr.ffi.Pointer;

/**
 * sendmsg and recvmsg. The scratch memory holds, in this order, {@code struct msghdr}, one {@code
 * struct iovec}, an address, the control data and the message; the layouts are those of 64-bit
 * Linux.
 */
final class Messages {
  private static final int MSG_CTRUNC = 0x8;
  private static final int MSG_TRUNC = 0x20;
  private static final int MSG_DONTWAIT = 0x40;
  private static final int MSG_NOSIGNAL = 0x4000;
  private static final int MSG_CMSG_CLOEXEC = 0x40000000;
  private static final int SOL_SOCKET = 1;
  private static final int SCM_RIGHTS = 1;
  private static final int MAX_FDS = 253;
  private static final int MAX_BYTES = 1 << 20;

  // struct msghdr
  private static final int NAME = 0;
  private static final int NAME_LENGTH = 8;
  private static final int IOV = 16;
  private static final int IOV_LENGTH = 24;
  private static final int CONTROL = 32;
  private static final int CONTROL_LENGTH = 40;
  private static final int FLAGS = 48;
  // after it
  private static final int IOVEC = 56;
  private static final int ADDRESS = 72;
  private static final int CONTROL_DATA = 104;
  // struct cmsghdr
  private static final int CMSG_LEVEL = 8;
  private static final int CMSG_TYPE = 12;
  private static final int CMSG_DATA = 16;

  private Messages() {}

  /** Gives back how many bytes were taken: on a stream that may be less than all. */
  static int send(Fd socket, byte[] address, byte[] data, List<? extends Fd> fds)
      throws OsException {
    if (fds.size() > MAX_FDS) {
      throw new IllegalArgumentException(fds.size() + " descriptors in one message");
    }
    int control = fds.isEmpty() ? 0 : controlSpace(fds.size());
    int body = CONTROL_DATA + control;
    Pointer p = Scratch.get((long) body + data.length, body);
    p.put(body, data, 0, data.length);
    header(p, body, data.length, control);
    if (address != null) {
      p.put(ADDRESS, address, 0, address.length);
      p.putLong(NAME, p.address() + ADDRESS);
      p.putInt(NAME_LENGTH, address.length);
    }
    if (control > 0) {
      p.putLong(CONTROL_DATA, CMSG_DATA + 4L * fds.size());
      p.putInt(CONTROL_DATA + CMSG_LEVEL, SOL_SOCKET);
      p.putInt(CONTROL_DATA + CMSG_TYPE, SCM_RIGHTS);
      for (int i = 0; i < fds.size(); i++) {
        p.putInt(CONTROL_DATA + CMSG_DATA + 4L * i, fds.get(i).number());
      }
    }
    for (; ; ) {
      long n = LibC.INSTANCE.sendmsg(socket.number(), p, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n >= 0) {
        return (int) n;
      }
      int errno = LibC.errno();
      if (errno != LibC.EINTR) {
        throw LibC.failure("sendmsg", errno);
      }
    }
  }

  static Received recv(Fd socket, int maxBytes, int maxFds) throws OsException {
    if (maxFds < 0 || maxFds > MAX_FDS) {
      throw new IllegalArgumentException(maxFds + " descriptors in one message");
    }
    // room for one more than wanted: otherwise padding would let some surplus descriptors in
    // unnoticed
    int control = controlSpace(maxFds + 1);
    int body = CONTROL_DATA + control;
    Pointer p = buffer(maxBytes, body);
    header(p, body, maxBytes, control);
    long n = receive(socket, p, MSG_CMSG_CLOEXEC);
    if (n < 0) {
      return null;
    }
    List<Fd> fds = LinuxSockets.own(descriptors(p));
    boolean truncated = (p.getInt(FLAGS) & (MSG_TRUNC | MSG_CTRUNC)) != 0 || fds.size() > maxFds;
    if (truncated || n == 0) {
      fds.forEach(Fd::close);
      fds = List.of();
    }
    return new Received(bytes(p, body, n), fds, n == 0 && !truncated, truncated);
  }

  static Packet recvPacket(Fd socket, int maxBytes) throws OsException {
    Pointer p = buffer(maxBytes, CONTROL_DATA);
    header(p, CONTROL_DATA, maxBytes, 0);
    p.putLong(NAME, p.address() + ADDRESS);
    p.putInt(NAME_LENGTH, CONTROL_DATA - ADDRESS);
    long n = receive(socket, p, 0); // packet sockets refuse MSG_CMSG_CLOEXEC
    return n < 0
        ? null
        : new Packet(bytes(p, ADDRESS + 12, 6), bytes(p, CONTROL_DATA, n), p.getByte(ADDRESS + 10));
  }

  private static Pointer buffer(int maxBytes, int body) {
    if (maxBytes < 1 || maxBytes > MAX_BYTES) {
      throw new IllegalArgumentException("a message of " + maxBytes + " bytes");
    }
    return Scratch.get((long) body + maxBytes, body);
  }

  private static void header(Pointer p, int body, int length, int control) {
    p.putLong(IOVEC, p.address() + body);
    p.putLong(IOVEC + 8, length);
    p.putLong(IOV, p.address() + IOVEC);
    p.putLong(IOV_LENGTH, 1);
    if (control > 0) {
      p.putLong(CONTROL, p.address() + CONTROL_DATA);
      p.putLong(CONTROL_LENGTH, control);
    }
  }

  /** The message's length; -1 when none waits. */
  private static long receive(Fd socket, Pointer p, int flags) throws OsException {
    while (true) {
      long n = LibC.INSTANCE.recvmsg(socket.number(), p, flags | MSG_DONTWAIT);
      if (n >= 0) {
        return n;
      }
      int errno = LibC.errno();
      if (errno == OsException.EAGAIN) {
        return -1;
      }
      if (errno != LibC.EINTR) {
        throw LibC.failure("recvmsg", errno);
      }
    }
  }

  /** The numbers of all descriptors that the kernel installed. */
  private static int[] descriptors(Pointer p) {
    int[] out = new int[0];
    long end = CONTROL_DATA + p.getLong(CONTROL_LENGTH);
    for (long at = CONTROL_DATA; at + CMSG_DATA <= end; ) {
      long length = p.getLong(at);
      if (length < CMSG_DATA || at + length > end) {
        break;
      }
      if (p.getInt(at + CMSG_LEVEL) == SOL_SOCKET && p.getInt(at + CMSG_TYPE) == SCM_RIGHTS) {
        int count = (int) ((length - CMSG_DATA) / 4);
        int before = out.length;
        out = java.util.Arrays.copyOf(out, before + count);
        p.get(at + CMSG_DATA, out, before, count);
      }
      at += (length + 7) & ~7L;
    }
    return out;
  }

  private static int controlSpace(int fds) {
    return CMSG_DATA + (4 * fds + 7 & ~7);
  }

  private static byte[] bytes(Pointer p, long offset, long length) {
    byte[] out = new byte[(int) length];
    p.get(offset, out, 0, out.length);
    return out;
  }
}
