// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.AgentConfig;
import hutong.api.discovery.Membership;
import hutong.api.discovery.MembershipListener;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.discovery.VmIdentity;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.platform.NanoClock;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import org.osgi.framework.BundleContext;
import org.osgi.framework.ServiceRegistration;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Deactivate;
import org.osgi.service.component.annotations.Reference;
import org.osgi.service.component.annotations.ReferenceCardinality;
import org.osgi.service.component.annotations.ReferencePolicy;

/**
 * The links to VMs on other hosts, in a VM's agent; nothing in a host agent. Discovery may come and
 * go: links that are up outlive its replacement, and end when it stays away.
 */
@Component(
    service = {},
    immediate = true)
public final class PeerLinkComponent {
  private static final int PORT = 7413;
  private static final MembershipSnapshot NOBODY = new MembershipSnapshot(0, List.of());

  private final AtomicReference<Membership> membership = new AtomicReference<>();
  private final AtomicReference<VmIdentity> identity = new AtomicReference<>();
  private final List<ServiceRegistration<?>> registrations = new ArrayList<>();
  private final PeerLinks links;

  /** Starts listening. */
  @Activate
  public PeerLinkComponent(
      BundleContext context, @Reference EventLog log, @Reference Counters counters)
      throws IOException {
    AgentConfig config = new AgentConfig(context::getProperty);
    if (config.role() == AgentConfig.Role.HOST) {
      links = null;
      return;
    }
    int port = (int) config.number("hutong.peer.port", PORT, 1, 65_535);
    links =
        new PeerLinks(
            new InetSocketAddress(port),
            port,
            PeerLimits.USUAL,
            identity::get,
            config.onXen(),
            new PeerTally(counters, log, NanoClock.SYSTEM),
            NanoClock.SYSTEM,
            new SecureRandom());
    MembershipListener listener = snapshot -> membersChanged();
    registrations.add(context.registerService(PeerLink.class, links, null));
    registrations.add(context.registerService(MembershipListener.class, listener, null));
  }

  private void membersChanged() {
    Membership service = membership.get();
    if (links != null) {
      links.members(service == null ? NOBODY : service.current());
    }
  }

  /** Discovery is there. */
  @Reference(cardinality = ReferenceCardinality.OPTIONAL, policy = ReferencePolicy.DYNAMIC)
  void setMembership(Membership service) {
    membership.set(service);
    membersChanged();
  }

  /** Discovery is gone, or replaced. */
  void unsetMembership(Membership service) {
    membership.compareAndSet(service, null);
    membersChanged();
  }

  /** This VM's key is there. */
  @Reference(cardinality = ReferenceCardinality.OPTIONAL, policy = ReferencePolicy.DYNAMIC)
  void setIdentity(VmIdentity service) {
    identity.set(service);
    if (links != null) {
      links.identityChanged();
    }
  }

  /** This VM's key is gone, or replaced. */
  void unsetIdentity(VmIdentity service) {
    identity.compareAndSet(service, null);
  }

  /** A listener has come. */
  @Reference(cardinality = ReferenceCardinality.MULTIPLE, policy = ReferencePolicy.DYNAMIC)
  void bindListener(PeerLinkListener listener) {
    if (links != null) {
      links.addListener(listener);
    }
  }

  /** A listener has gone. */
  void unbindListener(PeerLinkListener listener) {
    if (links != null) {
      links.removeListener(listener);
    }
  }

  /** Ends all links. */
  @Deactivate
  void deactivate() {
    registrations.forEach(ServiceRegistration::unregister);
    if (links != null) {
      links.close();
    }
  }
}
