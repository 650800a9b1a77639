// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import hutong.api.AgentConfig;
import hutong.api.ReadyProbe;
import hutong.api.link.AgentLink;
import hutong.api.link.AgentLinkListener;
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

/** The agent link: the router in a host agent, a connection to it in a VM's agent. */
@Component(
    service = {},
    immediate = true)
public final class LinkComponent {
  private final List<ServiceRegistration<?>> registrations = new ArrayList<>();
  private final Router router;
  private final VmLink link;

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
    if (config.role() == AgentConfig.Role.HOST) {
      router = new Router(sockets, events, log, counters, config.run(), config.domains().keySet());
      link = null;
    } else {
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
    }
  }

  /** Removes a listener. */
  void unbindListener(AgentLinkListener listener) {
    if (link != null) {
      link.removeListener(listener);
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
