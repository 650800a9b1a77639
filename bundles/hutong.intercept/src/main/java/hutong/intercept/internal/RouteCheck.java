// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Rule 21: a connection is left alone where the administrator has put a tunnel or IPsec on its way.
 * Asks the kernel by netlink: whether this network namespace has any XFRM policy, and by which kind
 * of device the route leaves.
 *
 * <p>Known gap: tunnels that look like Ethernet (VXLAN, GRETAP, MACsec) are not told from Ethernet;
 * and with any XFRM policy at all every connection is declined, whether it applies or not.
 */
class RouteCheck {
  private static final int NETLINK_ROUTE = 0;
  private static final int NETLINK_XFRM = 6;
  private static final int NLM_F_REQUEST = 1;
  private static final int NLMSG_HEADER = 16;
  private static final int NLMSG_ERROR = 2;
  private static final int RTM_NEWLINK = 16;
  private static final int RTM_GETLINK = 18;
  private static final int IFINFOMSG = 16;
  private static final int RTM_NEWROUTE = 24;
  private static final int RTM_GETROUTE = 26;
  private static final int RTMSG = 12;
  private static final int RTA_DST = 1;
  private static final int RTA_OIF = 4;
  private static final int XFRM_MSG_NEWSPDINFO = 0x24;
  private static final int XFRM_MSG_GETSPDINFO = 0x25;
  private static final int XFRMA_SPD_INFO = 1;
  private static final int AF_INET = 2;
  private static final int AF_INET6 = 10;
  private static final int ARPHRD_ETHER = 1;
  private static final int ARPHRD_INFINIBAND = 32;
  private static final int ARPHRD_LOOPBACK = 772;

  /** Whether connections to an address must stay on TCP; true also when the kernel does not say. */
  boolean tunnelled(Address remote) {
    try {
      return policies() || !plainDevice(remote);
    } catch (IOException | IndexOutOfBoundsException e) {
      return true;
    }
  }

  /** Whether there is any XFRM policy, in or out; no XFRM in the kernel means none. */
  private static boolean policies() throws IOException {
    ByteBuffer answer;
    try {
      ByteBuffer request = header(XFRM_MSG_GETSPDINFO, 4);
      request.putInt(0).flip();
      answer = ask(NETLINK_XFRM, request);
    } catch (IOException e) {
      return Files.exists(Path.of("/proc/self/net/xfrm_stat"));
    }
    if (answer.getShort(4) != XFRM_MSG_NEWSPDINFO) {
      throw new IOException("no answer about XFRM policies");
    }
    int at = attribute(answer, NLMSG_HEADER + 4, XFRMA_SPD_INFO);
    // struct xfrmu_spdinfo: incnt, outcnt, fwdcnt, and the same of the sockets' own policies
    return at < 0 || answer.getInt(at) != 0 || answer.getInt(at + 4) != 0;
  }

  private static boolean plainDevice(Address remote) throws IOException {
    byte[] bytes = remote.bytes();
    boolean v4 = remote.toString().indexOf(':') < 0;
    int length = v4 ? 4 : 16;
    ByteBuffer request = header(RTM_GETROUTE, RTMSG + 4 + length);
    request.put((byte) (v4 ? AF_INET : AF_INET6)).put((byte) (8 * length));
    request.position(NLMSG_HEADER + RTMSG);
    request
        .putShort((short) (4 + length))
        .putShort((short) RTA_DST)
        .put(bytes, 16 - length, length)
        .flip();
    ByteBuffer answer = ask(NETLINK_ROUTE, request);
    int at =
        answer.getShort(4) == RTM_NEWROUTE ? attribute(answer, NLMSG_HEADER + RTMSG, RTA_OIF) : -1;
    if (at < 0) {
      throw new IOException("no route to " + remote);
    }
    int kind = deviceType(answer.getInt(at));
    return kind == ARPHRD_ETHER || kind == ARPHRD_INFINIBAND || kind == ARPHRD_LOOPBACK;
  }

  /** The hardware type of a device; /sys would tell it of the network namespace that mounted it. */
  private static int deviceType(int index) throws IOException {
    ByteBuffer request = header(RTM_GETLINK, IFINFOMSG);
    request.putInt(0).putInt(index).putInt(0).putInt(0).flip();
    ByteBuffer answer = ask(NETLINK_ROUTE, request);
    if (answer.getShort(4) != RTM_NEWLINK) {
      throw new IOException("no device " + index);
    }
    return Short.toUnsignedInt(answer.getShort(NLMSG_HEADER + 2));
  }

  private static ByteBuffer header(int type, int body) {
    ByteBuffer out = Native.buffer(NLMSG_HEADER + body);
    return out.putInt(NLMSG_HEADER + body)
        .putShort((short) type)
        .putShort((short) NLM_F_REQUEST)
        .putInt(1)
        .putInt(0);
  }

  private static ByteBuffer ask(int protocol, ByteBuffer request) throws IOException {
    try (Native.Netlink netlink = new Native.Netlink(protocol)) {
      netlink.send(request);
      ByteBuffer answer = Native.buffer(8192);
      netlink.receive(answer);
      if (answer.limit() < NLMSG_HEADER || answer.getShort(4) == NLMSG_ERROR) {
        throw new IOException("netlink refuses");
      }
      return answer;
    }
  }

  /** Where the value of an attribute starts, or -1. */
  private static int attribute(ByteBuffer answer, int from, int wanted) {
    int end = Math.min(answer.getInt(0), answer.limit());
    for (int at = from; at + 4 <= end; ) {
      int length = Short.toUnsignedInt(answer.getShort(at));
      if (length < 4) {
        return -1;
      }
      if (answer.getShort(at + 2) == wanted) {
        return at + 4;
      }
      at += (length + 3) & ~3;
    }
    return -1;
  }
}
