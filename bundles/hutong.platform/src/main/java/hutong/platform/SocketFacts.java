// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import java.net.InetSocketAddress;

/**
 * What the kernel says about a socket.
 *
 * @param family address family: 2 is IPv4, 10 is IPv6
 * @param type 1 is a stream
 * @param protocol 6 is TCP
 * @param state TCP state, 1 is ESTABLISHED; -1 when it is no TCP socket
 * @param local own address, IPv4 for a mapped one; null when it has none or the family is another
 * @param remote the peer's address; null when not connected
 * @param cookie the kernel's unique number of the socket (SO_COOKIE)
 */
public record SocketFacts(
    int family,
    int type,
    int protocol,
    int state,
    InetSocketAddress local,
    InetSocketAddress remote,
    long cookie) {
  /** IPv4. */
  public static final int AF_INET = 2;

  /** IPv6. */
  public static final int AF_INET6 = 10;

  /** The protocol number of TCP. */
  public static final int IPPROTO_TCP = 6;

  /** The TCP state of an established connection. */
  public static final int TCP_ESTABLISHED = 1;

  /** The TCP state of a connection that was reset, or never was one. */
  public static final int TCP_CLOSE = 7;

  /** Whether it is a TCP connection that stands. */
  public boolean isEstablishedTcp() {
    return protocol == IPPROTO_TCP && state == TCP_ESTABLISHED && local != null && remote != null;
  }
}
