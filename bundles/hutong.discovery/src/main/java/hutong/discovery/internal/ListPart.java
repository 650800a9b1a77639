// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import java.util.List;

/**
 * One datagram of a host agent's list (M4.2), without its signature.
 *
 * @param hostId the host whose agent signed it
 * @param epoch grows with each start of that agent
 * @param sequence grows with each list in an epoch; all parts of a list have the same
 * @param part number of this part, from 0
 * @param parts number of parts of the list, at least 1
 * @param validMs milliseconds after which the list is void
 * @param entries the VMs in this part
 */
record ListPart(
    String hostId,
    long epoch,
    long sequence,
    int part,
    int parts,
    int validMs,
    List<Entry> entries) {
  ListPart {
    entries = List.copyOf(entries);
  }
}
