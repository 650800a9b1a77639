// SPDX-License-Identifier: Apache-2.0
package hutong.api.discovery;

import java.util.List;

/**
 * A VM of the cluster, as its host agent's signed list has it.
 *
 * @param hostId the physical host
 * @param domid the domain id on that host
 * @param name the VM's name, for display
 * @param mac the MAC address as {@code 02:77:00:00:00:01}
 * @param addresses IPv4 and IPv6 addresses in their usual text form
 * @param version the version of Hutong that it runs
 * @param coResident whether it is listed by this VM's own host agent
 * @param self whether it is this VM
 * @param key its agent's Ed25519 key, Base64 of the X.509 form; empty if it has none
 */
public record Member(
    String hostId,
    int domid,
    String name,
    String mac,
    List<String> addresses,
    String version,
    boolean coResident,
    boolean self,
    String key) {
  /** Copies the addresses. */
  public Member {
    addresses = List.copyOf(addresses);
  }
}
