// SPDX-License-Identifier: Apache-2.0
package hutong.api.link;

import java.util.Comparator;
import java.util.Objects;

/**
 * A VM of the cluster.
 *
 * @param hostId the physical host
 * @param domid the domain id on that host
 */
public record PeerId(String hostId, int domid) implements Comparable<PeerId> {
  private static final Comparator<PeerId> ORDER =
      Comparator.comparing(PeerId::hostId).thenComparingInt(PeerId::domid);

  /** Checks that there is a host. */
  public PeerId {
    Objects.requireNonNull(hostId);
  }

  /** By host id, then by domain id. */
  @Override
  public int compareTo(PeerId other) {
    return ORDER.compare(this, other);
  }

  @Override
  public String toString() {
    return hostId + "/" + domid;
  }
}
