// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.platform.OsException;
import hutong.platform.SocketFacts;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.util.OptionalLong;
import jnr.ffi.Pointer;

/** Reads what the kernel knows of a socket. */
final class SocketReader {
  private static final int SOL_SOCKET = 1;
  private static final int SO_TYPE = 3;
  private static final int SO_PROTOCOL = 38;
  private static final int SO_DOMAIN = 39;
  private static final int SO_COOKIE = 57;
  private static final int TCP_INFO = 11;
  private static final int SIZE = 128; // of struct sockaddr_storage
  private static final int TCP_INFO_SIZE = 128; // as far as it is needed here
  private static final int BYTES_ACKED = 120;
  private static final long SIOCOUTQ = 0x5411;
  private static final int ESTABLISHED = 1;
  private static final int CLOSE_WAIT = 8;

  private SocketReader() {}

  static SocketFacts read(int fd) throws OsException {
    int family = (int) option(fd, SOL_SOCKET, SO_DOMAIN, 4, "SO_DOMAIN");
    int type = (int) option(fd, SOL_SOCKET, SO_TYPE, 4, "SO_TYPE");
    int protocol = (int) option(fd, SOL_SOCKET, SO_PROTOCOL, 4, "SO_PROTOCOL");
    boolean internet = family == SocketFacts.AF_INET || family == SocketFacts.AF_INET6;
    boolean tcp = internet && protocol == SocketFacts.IPPROTO_TCP;
    // tcpi_state is the first byte of struct tcp_info
    int state = tcp ? (int) option(fd, SocketFacts.IPPROTO_TCP, TCP_INFO, 1, "TCP_INFO") : -1;
    long cookie = option(fd, SOL_SOCKET, SO_COOKIE, 8, "SO_COOKIE");
    InetSocketAddress local = null;
    InetSocketAddress remote = null;
    if (internet) {
      Pointer p = addressBuffer();
      LibC.check("getsockname", LibC.INSTANCE.getsockname(fd, p, p.slice(SIZE)));
      local = address(p);
      p = addressBuffer();
      if (LibC.INSTANCE.getpeername(fd, p, p.slice(SIZE)) == 0) {
        remote = address(p);
      } else if (LibC.errno() != OsException.ENOTCONN) {
        throw LibC.failure("getpeername");
      }
    }
    return new SocketFacts(family, type, protocol, state, local, remote, cookie);
  }

  static OptionalLong sent(int fd) throws OsException {
    int before = unacknowledged(fd);
    Pointer p = Scratch.get(TCP_INFO_SIZE + 8);
    p.putInt(TCP_INFO_SIZE, TCP_INFO_SIZE);
    LibC.check(
        "getsockopt TCP_INFO",
        LibC.INSTANCE.getsockopt(fd, SocketFacts.IPPROTO_TCP, TCP_INFO, p, p.slice(TCP_INFO_SIZE)));
    int state = p.getByte(0);
    long acknowledged = p.getLong(BYTES_ACKED);
    return (state == ESTABLISHED || state == CLOSE_WAIT) && unacknowledged(fd) == before
        ? OptionalLong.of(acknowledged + before)
        : OptionalLong.empty();
  }

  private static int unacknowledged(int fd) throws OsException {
    Pointer p = Scratch.get(4);
    LibC.check("ioctl SIOCOUTQ", LibC.INSTANCE.ioctl(fd, SIOCOUTQ, p));
    return p.getInt(0);
  }

  private static long option(int fd, int level, int name, int size, String label)
      throws OsException {
    Pointer p = Scratch.get(16);
    p.putInt(8, size);
    LibC.check("getsockopt " + label, LibC.INSTANCE.getsockopt(fd, level, name, p, p.slice(8)));
    return size == 8 ? p.getLong(0) : size == 4 ? p.getInt(0) : p.getByte(0);
  }

  private static Pointer addressBuffer() {
    Pointer p = Scratch.get(SIZE + 8);
    p.putInt(SIZE, SIZE);
    return p;
  }

  private static InetSocketAddress address(Pointer p) {
    int family = p.getShort(0);
    int port = (p.getByte(2) & 0xff) << 8 | p.getByte(3) & 0xff;
    byte[] bytes = new byte[family == SocketFacts.AF_INET ? 4 : 16];
    p.get(family == SocketFacts.AF_INET ? 4 : 8, bytes, 0, bytes.length);
    try {
      return new InetSocketAddress(InetAddress.getByAddress(bytes), port); // unmaps ::ffff:a.b.c.d
    } catch (UnknownHostException e) {
      throw new IllegalStateException(e); // only for a wrong length
    }
  }
}
