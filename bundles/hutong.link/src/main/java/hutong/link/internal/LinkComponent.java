// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import hutong.api.AgentConfig;
import hutong.api.ReadyProbe;
import hutong.api.discovery.MembershipListener;
import hutong.api.link.AgentLink;
import hutong.api.link.AgentLinkListener;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.platform.Events;
import hutong.platform.NanoClock;
import hutong.platform.Processes;
import hutong.platform.Sockets;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.osgi.framework.BundleContext;
import org.osgi.framework.FrameworkUtil;
import org.osgi.framework.ServiceRegistration;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Deactivate;
import org.osgi.service.component.annotations.Reference;
import org.osgi.service.component.annotations.ReferenceCardinality;
import org.osgi.service.component.annotations.ReferencePolicy;

/**
 * The agent link: the router in a host agent, a connection to it in a VM's agent; on Xen, where
 * they share no kernel, the VMs' agents reach each other by the links between VMs.
 */
@Component(
    service = {},
    immediate = true)
public final class LinkComponent {
  private final List<ServiceRegistration<?>> registrations = new ArrayList<>();
  private final Router router;
  private final VmLink link;
  private final NeighbourLink neighbours;

  /** Starts this agent's part of the link. */
  @Activate
  public LinkComponent(
      BundleContext context,
      @Reference Sockets sockets,
      @Reference Processes processes,
      @Reference Events events,
      @Reference EventLog log,
      @Reference Counters counters)
      throws IOException {
    AgentConfig config = new AgentConfig(context::getProperty);
    if (config.role() == AgentConfig.Role.VM && config.onXen()) {
      router = null;
      link = null;
      neighbours = new NeighbourLink(log);
      registrations.add(
          context.registerService(
              new String[] {
                AgentLink.class.getName(),
                PeerLinkListener.class.getName(),
                MembershipListener.class.getName()
              },
              neighbours,
              null));
    } else if (config.role() == AgentConfig.Role.HOST) {
      neighbours = null;
      router = new Router(sockets, events, log, counters, config.run(), config.domains().keySet());
      link = null;
    } else {
      neighbours = null;
      router = null;
      link =
          new VmLink(
              sockets,
              processes,
              events,
              NanoClock.SYSTEM,
              log,
              config.linkSocket(),
              config.domid());
      registrations.add(context.registerService(AgentLink.class, link, null));
    }
    registrations.add(
        context.registerService(
            ReadyProbe.class,
            new ReadyProbe() {},
            FrameworkUtil.asDictionary(Map.of(ReadyProbe.NAME, "link"))));
  }

  /** Adds a listener; in a host agent there is nothing to hear. */
  @Reference(cardinality = ReferenceCardinality.MULTIPLE, policy = ReferencePolicy.DYNAMIC)
  void bindListener(AgentLinkListener listener) {
    if (link != null) {
      link.addListener(listener);
    } else if (neighbours != null) {
      neighbours.addListener(listener);
    }
  }

  /** Removes a listener. */
  void unbindListener(AgentLinkListener listener) {
    if (link != null) {
      link.removeListener(listener);
    } else if (neighbours != null) {
      neighbours.removeListener(listener);
    }
  }

  /** The links between VMs are there. */
  @Reference(cardinality = ReferenceCardinality.OPTIONAL, policy = ReferencePolicy.DYNAMIC)
  void setPeerLink(PeerLink service) {
    if (neighbours != null) {
      neighbours.link(service);
    }
  }

  /** They are gone, or replaced. */
  void unsetPeerLink(PeerLink service) {
    if (neighbours != null) {
      neighbours.unlink(service);
    }
  }

  /** Ends threads and sockets. */
  @Deactivate
  void deactivate() {
    registrations.forEach(ServiceRegistration::unregister);
    if (link != null) {
      link.close();
    }
    if (router != null) {
      router.close();
    }
  }
}
