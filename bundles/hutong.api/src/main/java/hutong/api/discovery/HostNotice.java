// SPDX-License-Identifier: Apache-2.0
package hutong.api.discovery;

import java.util.Set;

/**
 * What domain 0 tells this VM about its host, where there is a hypervisor.
 *
 * @param domains ids of the domains of this host that live; empty while that is not known
 * @param detach names the request to let go of all memory that is shared with other VMs, since this
 *     one is to be saved; empty while there is none
 */
public record HostNotice(Set<Integer> domains, String detach) {
  /** Nothing was said. */
  public static final HostNotice NONE = new HostNotice(Set.of(), "");

  /** Copies the ids. */
  public HostNotice {
    domains = Set.copyOf(domains);
  }
}
