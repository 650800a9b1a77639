// SPDX-License-Identifier: Apache-2.0
package hutong.api.discovery;

import java.util.List;

/**
 * The members at one moment.
 *
 * @param version counted up with each change, within one life of the discovery bundle
 * @param members the members, sorted by host id and domain id
 */
public record MembershipSnapshot(long version, List<Member> members) {
  /** Copies the members. */
  public MembershipSnapshot {
    members = List.copyOf(members);
  }
}
