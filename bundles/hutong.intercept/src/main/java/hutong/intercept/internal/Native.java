// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.os.Fd;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import jnr.ffi.LibraryLoader;
import jnr.ffi.Runtime;

/** The few system calls that only the intercept needs. */
final class Native {
  private static final int SOL_SOCKET = 1;
  private static final int SO_RCVTIMEO = 20;
  private static final int SO_NETNS_COOKIE = 71;
  private static final int ENOPROTOOPT = 92;
  private static final int F_ADD_SEALS = 1033;
  private static final int F_SEAL_SEAL = 1;
  private static final int F_SEAL_FUTURE_WRITE = 16;
  private static final int AF_NETLINK = 16;
  private static final int SOCK_RAW_CLOEXEC = 3 | 02000000;
  private static final Libc LIBC = LibraryLoader.create(Libc.class).load("c");

  /** libc, as far as it is needed here. */
  public interface Libc {
    /** See fcntl(2). */
    int fcntl(int fd, int command, int argument);

    /** See getsockopt(2). */
    int getsockopt(int fd, int level, int name, ByteBuffer value, ByteBuffer length);

    /** See setsockopt(2). */
    int setsockopt(int fd, int level, int name, ByteBuffer value, int length);

    /** See socket(2). */
    int socket(int family, int type, int protocol);

    /** See send(2). */
    long send(int fd, ByteBuffer data, long length, int flags);

    /** See recv(2). */
    long recv(int fd, ByteBuffer data, long length, int flags);

    /** See close(2). */
    int close(int fd);
  }

  private Native() {}

  /**
   * Which network namespace a socket lives in.
   *
   * @return a number that is unique until the machine stops; 0 on kernels before 5.14, which do not
   *     tell
   */
  static long networkNamespace(Fd socket) throws IOException {
    ByteBuffer value = buffer(8);
    ByteBuffer length = buffer(4).putInt(0, 8);
    if (LIBC.getsockopt(socket.number(), SOL_SOCKET, SO_NETNS_COOKIE, value, length) == 0) {
      return value.getLong(0);
    }
    int errno = Runtime.getSystemRuntime().getLastError();
    if (errno == ENOPROTOOPT) {
      return 0;
    }
    throw new IOException("getsockopt SO_NETNS_COOKIE: errno " + errno);
  }

  /**
   * From now on a memfd can be written through the mappings that exist, and in no other way: also
   * not by those who open it anew through /proc, where a read-only descriptor is no obstacle.
   */
  static void sealAgainstNewWriters(Fd memfd) throws IOException {
    check(
        "F_ADD_SEALS", LIBC.fcntl(memfd.number(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL));
  }

  /** A netlink socket; answers come at once, and a missing one is an error after two seconds. */
  static final class Netlink implements AutoCloseable {
    private static final int TIMEOUT_SECONDS = 2;
    private final int fd;

    /** Opens a socket of one netlink protocol. */
    Netlink(int protocol) throws IOException {
      fd = (int) check("netlink socket", LIBC.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, protocol));
      ByteBuffer timeout = buffer(16).putLong(0, TIMEOUT_SECONDS);
      if (LIBC.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeout, 16) < 0) {
        LIBC.close(fd);
        throw new IOException("setsockopt SO_RCVTIMEO");
      }
    }

    /** Sends one request to the kernel. */
    void send(ByteBuffer request) throws IOException {
      check("netlink send", LIBC.send(fd, request, request.remaining(), 0));
    }

    /** Receives one datagram of answers into a direct buffer, and sets its limit. */
    void receive(ByteBuffer into) throws IOException {
      into.clear();
      into.limit((int) check("netlink recv", LIBC.recv(fd, into, into.capacity(), 0)));
    }

    @Override
    public void close() {
      LIBC.close(fd);
    }
  }

  /** Memory that the kernel may read and write, in its byte order. */
  static ByteBuffer buffer(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
  }

  private static long check(String call, long result) throws IOException {
    if (result < 0) {
      throw new IOException(call + ": errno " + Runtime.getSystemRuntime().getLastError());
    }
    return result;
  }
}
