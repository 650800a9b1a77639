// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.transport.Holding;
import java.io.IOException;
import java.net.NetworkInterface;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/** The TCP connections of this network namespace, from the kernel by sock_diag(7). */
final class SockDiag {
  private static final int NETLINK_SOCK_DIAG = 4;
  private static final int SOCK_DIAG_BY_FAMILY = 20;
  private static final int NLM_F_REQUEST_DUMP = 0x301;
  private static final int NLMSG_ERROR = 2;
  private static final int NLMSG_DONE = 3;
  private static final int HEADER = 16;
  private static final int REQUEST = 56;
  private static final int ANSWER = 72;
  private static final int IPPROTO_TCP = 6;
  private static final int AF_INET = 2;
  private static final int AF_INET6 = 10;

  private static final int ESTABLISHED = 1;
  private static final int CLOSE_WAIT = 8;
  private static final int NLM_F_REQUEST = 1;
  private static final int ENOENT = 2;
  private static final int ESTALE = 116;

  /** ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT: where bytes may still move. */
  private static final int STATES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 8;

  /**
   * One connection.
   *
   * @param pair its addresses
   * @param cookie its cookie
   * @param uid its user
   * @param inode its inode number; never 0: those that nobody holds are left out
   */
  record Socket(AddressPair pair, long cookie, int uid, long inode) {}

  private SockDiag() {}

  /** All connections now. */
  static List<Socket> connections() throws IOException {
    List<Socket> out = new ArrayList<>();
    dump(AF_INET, out);
    dump(AF_INET6, out);
    return out;
  }

  /**
   * What has become of a socket.
   *
   * @param cookie the socket that is meant: the pair may be another's by now
   */
  static Holding holding(AddressPair pair, long cookie) throws IOException {
    Holding found = holding(pair, cookie, 0);
    if (found == Holding.GONE) {
      // One that is bound to a device (SO_BINDTODEVICE) is only found by that.
      List<NetworkInterface> devices = NetworkInterface.networkInterfaces().toList();
      for (int i = 0; i < devices.size() && found == Holding.GONE; i++) {
        found = holding(pair, cookie, devices.get(i).getIndex());
      }
    }
    return found;
  }

  private static Holding holding(AddressPair pair, long cookie, int device) throws IOException {
    boolean v4 = pair.local().v4() && pair.remote().v4();
    ByteBuffer request = Native.buffer(HEADER + REQUEST);
    request
        .putInt(HEADER + REQUEST)
        .putShort((short) SOCK_DIAG_BY_FAMILY)
        .putShort((short) NLM_F_REQUEST);
    request.putInt(1).putInt(0);
    request.put((byte) (v4 ? AF_INET : AF_INET6)).put((byte) IPPROTO_TCP).putShort((short) 0);
    request.putInt(-1);
    bigEndian(request, pair.localPort());
    bigEndian(request, pair.remotePort());
    int at = request.position();
    request.position(at).put(pair.local().raw());
    request.position(at + 16).put(pair.remote().raw());
    request
        .position(at + 32)
        .putInt(device)
        .putInt((int) cookie)
        .putInt((int) (cookie >>> 32))
        .rewind();
    ByteBuffer answer = Native.buffer(4 << 10);
    try (Native.Netlink netlink = new Native.Netlink(NETLINK_SOCK_DIAG)) {
      netlink.send(request);
      netlink.receive(answer);
    }
    if (answer.limit() < HEADER + 4) {
      throw new IOException("sock_diag answers " + answer.limit() + " bytes");
    }
    if (answer.getShort(4) == NLMSG_ERROR) {
      int errno = -answer.getInt(HEADER);
      if (errno == ENOENT || errno == ESTALE) {
        return Holding.GONE; // or another socket has the pair now
      }
      throw new IOException("sock_diag: errno " + errno);
    }
    int state = answer.get(HEADER + 1);
    if (answer.limit() < HEADER + ANSWER || answer.getInt(HEADER + 68) == 0) {
      return Holding.GONE; // without an inode: an orphan
    }
    return state == ESTABLISHED || state == CLOSE_WAIT ? Holding.OPEN : Holding.SHUT;
  }

  private static void bigEndian(ByteBuffer out, int port) {
    out.put((byte) (port >> 8)).put((byte) port);
  }

  private static void dump(int family, List<Socket> out) throws IOException {
    ByteBuffer request = Native.buffer(HEADER + REQUEST);
    request
        .putInt(HEADER + REQUEST)
        .putShort((short) SOCK_DIAG_BY_FAMILY)
        .putShort((short) NLM_F_REQUEST_DUMP);
    request.putInt(1).putInt(0);
    request.put((byte) family).put((byte) IPPROTO_TCP).putShort((short) 0).putInt(STATES).rewind();
    ByteBuffer answer = Native.buffer(64 << 10);
    try (Native.Netlink netlink = new Native.Netlink(NETLINK_SOCK_DIAG)) {
      netlink.send(request);
      do {
        netlink.receive(answer);
      } while (read(answer, out));
    }
  }

  /** Reads one datagram; false after the last one. */
  private static boolean read(ByteBuffer answer, List<Socket> out) throws IOException {
    int at = 0;
    while (at + HEADER <= answer.limit()) {
      int length = answer.getInt(at);
      int type = answer.getShort(at + 4);
      if (type == NLMSG_DONE) {
        // What has stopped a dump too early comes with its end.
        if (length >= HEADER + 4
            && at + HEADER + 4 <= answer.limit()
            && answer.getInt(at + HEADER) < 0) {
          throw new IOException("sock_diag: errno " + -answer.getInt(at + HEADER));
        }
        return false;
      }
      if (type == NLMSG_ERROR || length < HEADER + ANSWER || at + length > answer.limit()) {
        throw new IOException("sock_diag refuses");
      }
      Socket socket = socket(answer, at + HEADER);
      if (socket.inode != 0) {
        out.add(socket);
      }
      at += (length + 3) & ~3;
    }
    return true;
  }

  /** Reads a struct inet_diag_msg. */
  private static Socket socket(ByteBuffer in, int at) {
    boolean v4 = in.get(at) == AF_INET;
    AddressPair pair =
        new AddressPair(
            address(in, at + 8, v4), port(in, at + 4), address(in, at + 24, v4), port(in, at + 6));
    long cookie = Integer.toUnsignedLong(in.getInt(at + 44)) | (long) in.getInt(at + 48) << 32;
    return new Socket(pair, cookie, in.getInt(at + 64), Integer.toUnsignedLong(in.getInt(at + 68)));
  }

  private static Address address(ByteBuffer in, int at, boolean v4) {
    byte[] raw = new byte[16];
    if (v4) {
      raw[10] = -1;
      raw[11] = -1;
      in.get(at, raw, 12, 4);
    } else {
      in.get(at, raw);
    }
    return Address.read(ByteBuffer.wrap(raw));
  }

  private static int port(ByteBuffer in, int at) {
    return Short.toUnsignedInt(in.duplicate().order(ByteOrder.BIG_ENDIAN).getShort(at));
  }
}
