// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import java.util.List;

/**
 * One VM in a host agent's list (M4.1).
 *
 * @param domid domain id on that host
 * @param name name that domain 0 gave it
 * @param mac as {@code 02:77:00:00:00:01}
 * @param addresses IPv4 and IPv6, as {@link Addresses#text} writes them, sorted
 * @param version of its agent
 * @param key its agent's public key, Base64 of the X.509 form; empty if it has none
 */
record Entry(
    int domid, String name, String mac, List<String> addresses, String version, String key) {
  Entry {
    addresses = List.copyOf(addresses);
  }
}
