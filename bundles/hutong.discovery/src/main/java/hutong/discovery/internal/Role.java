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

  /** Ends threads, sockets and watches. */
  @Override
  void close();
}
