// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.platform.Sockets;
import java.net.InetAddress;
import java.net.InterfaceAddress;
import java.net.NetworkInterface;
import java.net.SocketException;
import java.util.List;

/**
 * What a VM's interface is like now.
 *
 * @param mac its MAC address; empty if the interface is missing
 * @param addresses its IPv4 and its global and unique local IPv6 addresses, sorted
 */
record NetworkFacts(String mac, List<String> addresses) {
  static final NetworkFacts NONE = new NetworkFacts("", List.of());

  NetworkFacts {
    addresses = List.copyOf(addresses);
  }

  /**
   * Looks at an interface.
   *
   * @param name such as eth0
   * @return its facts; {@link #NONE} if there is no such interface
   */
  static NetworkFacts of(String name) {
    try {
      NetworkInterface network = NetworkInterface.getByName(name);
      byte[] mac = network == null ? null : network.getHardwareAddress();
      if (mac == null || mac.length != 6) {
        return NONE;
      }
      List<String> addresses =
          network.getInterfaceAddresses().stream()
              .map(InterfaceAddress::getAddress)
              .filter(Addresses::usable)
              .map((InetAddress address) -> Addresses.text(address))
              .distinct()
              .sorted()
              .limit(ListCodec.MAX_ADDRESSES)
              .toList();
      return new NetworkFacts(Sockets.macText(mac), addresses);
    } catch (SocketException e) {
      return NONE;
    }
  }
}
