// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import java.net.InetSocketAddress;

/**
 * The identity of a TCP connection (D1) as one of its ends sees it.
 *
 * @param local this end's address
 * @param localPort this end's port
 * @param remote the other end's address
 * @param remotePort the other end's port
 */
record AddressPair(Address local, int localPort, Address remote, int remotePort) {
  /** The pair of a connected socket; both addresses must be resolved. */
  static AddressPair of(InetSocketAddress local, InetSocketAddress remote) {
    return new AddressPair(
        Address.of(local.getAddress()),
        local.getPort(),
        Address.of(remote.getAddress()),
        remote.getPort());
  }

  /** The same connection as the other end sees it. */
  AddressPair flipped() {
    return new AddressPair(remote, remotePort, local, localPort);
  }

  /** Local end for people: {@code 10.77.0.1:5201} or {@code [fd77::1]:5201}. */
  String localText() {
    return text(local, localPort);
  }

  /** Remote end for people. */
  String remoteText() {
    return text(remote, remotePort);
  }

  private static String text(Address address, int port) {
    String ip = address.toString();
    return (ip.indexOf(':') >= 0 ? "[" + ip + "]" : ip) + ":" + port;
  }
}
