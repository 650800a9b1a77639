// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.discovery.Membership;
import hutong.api.discovery.MembershipListener;

/** What discovery does in one kind of agent; lives from its creation until it is closed. */
interface Role extends AutoCloseable {
  Membership membership();

  void addListener(MembershipListener listener);

  void removeListener(MembershipListener listener);

  /** A XenStore service has come or gone. */
  void storeChanged();

  /** Answers domain 0, see {@link Membership#detached}. */
  default void detached(String detach) {}

  /**
   * The whole agent goes down: says so where others look, instead of leaving it to them to notice.
   * Not called when only this bundle stops, which is back before its silence is noticed. Only
   * {@link #close} may follow.
   */
  void goodbye();

  /** Ends threads, sockets and watches. */
  @Override
  void close();
}
