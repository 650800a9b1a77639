// SPDX-License-Identifier: Apache-2.0
package hutong.api.discovery;

/** The members as known now. Safe for use by several threads. */
public interface Membership {
  /** The latest snapshot; empty, never null, before the first list came. */
  MembershipSnapshot current();

  /**
   * Tells domain 0 that this VM shares no memory with others any more.
   *
   * @param detach the request that this answers, see {@link HostNotice#detach}
   */
  default void detached(String detach) {}
}
