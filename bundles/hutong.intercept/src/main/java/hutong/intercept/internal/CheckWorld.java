// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.Segments;
import hutong.api.channel.Usage;
import java.nio.file.Path;

/**
 * What a new connection of this VM would meet now. Thread-safe.
 *
 * @param live the policy
 * @param intercept members, link and peers
 * @param routes the kernel's routes
 * @param services the channel table and the segments
 * @param shim where programs find the shim; null if that is not known
 */
record CheckWorld(
    LivePolicy live, Intercept intercept, RouteCheck routes, Intercept.Services services, Path shim)
    implements Check.World {
  @Override
  public LivePolicy.State policy() {
    return live.now();
  }

  @Override
  public MemberView members() {
    return intercept.members();
  }

  @Override
  public boolean linked() {
    return intercept.linked();
  }

  @Override
  public Peer.State peer(int domid) {
    return intercept.ask(() -> intercept.matcher().peerState(domid));
  }

  @Override
  public boolean far() {
    return intercept.far().ready();
  }

  @Override
  public boolean tunnelled(Address address) {
    return routes.tunnelled(address);
  }

  @Override
  public Usage usage() {
    return services.table().usage();
  }

  @Override
  public long segment() {
    return Segments.bytes(services.provider().ringSize(), services.provider().overSize());
  }
}
