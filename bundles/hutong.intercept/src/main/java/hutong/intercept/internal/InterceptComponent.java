// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.AgentConfig;
import hutong.api.ReadyProbe;
import hutong.api.channel.ChannelProvider;
import hutong.api.channel.ChannelTable;
import hutong.api.discovery.HostNotice;
import hutong.api.discovery.Membership;
import hutong.api.discovery.MembershipListener;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.intercept.CheckInfo;
import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.Connections;
import hutong.api.intercept.Diagnosis;
import hutong.api.intercept.PolicyControl;
import hutong.api.intercept.WhyInfo;
import hutong.api.link.AgentLink;
import hutong.api.link.AgentLinkListener;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import hutong.api.os.Fd;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.api.transport.LightTransport;
import hutong.platform.Events;
import hutong.platform.Memory;
import hutong.platform.Processes;
import hutong.platform.Sockets;
import hutong.platform.abi.Abi;
import java.io.IOException;
import java.nio.file.Path;
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
import org.osgi.service.component.annotations.ReferencePolicyOption;

/**
 * The intercept of a VM's agent. It outlives the agent link's and discovery's updates; in a host
 * agent it does nothing: programs on the host itself are not part of the cluster.
 */
@Component(
    immediate = true,
    service = {
      Connections.class,
      AgentLinkListener.class,
      PeerLinkListener.class,
      MembershipListener.class,
      PolicyControl.class,
      Diagnosis.class
    })
public final class InterceptComponent
    implements Connections,
        AgentLinkListener,
        PeerLinkListener,
        MembershipListener,
        PolicyControl,
        Diagnosis {
  private final Intercept intercept;
  private final ConnectionList list;
  private final PolicyControl control;
  private final Diagnosis diagnosis;
  private ServiceRegistration<ReadyProbe> ready;
  private boolean closed;

  /** Starts listening for programs. */
  @Activate
  public InterceptComponent(
      BundleContext context,
      @Reference Sockets sockets,
      @Reference Processes processes,
      @Reference Events events,
      @Reference Memory memory,
      @Reference ChannelTable table,
      @Reference ChannelProvider provider,
      @Reference Counters counters,
      @Reference EventLog log)
      throws IOException {
    AgentConfig config = new AgentConfig(context::getProperty);
    if (config.role() == AgentConfig.Role.HOST) {
      intercept = null;
      list = null;
      control = null;
      diagnosis = null;
      return;
    }
    MemberTable.Settings programs =
        new MemberTable.Settings(
            (int) config.number("hutong.after.bytes", 8 << 20, 0, Integer.MAX_VALUE),
            (int) config.number("hutong.after.ms", 20, 0, Integer.MAX_VALUE),
            (int) config.number("hutong.spin.us", 50, 0, 1_000_000));
    LivePolicy policy =
        new LivePolicy(
            config, config.run().resolve("policy"), text -> log.error("intercept", text));
    Intercept.Services services =
        new Intercept.Services(sockets, processes, events, memory, table, provider, counters, log);
    RouteCheck routes = new RouteCheck();
    intercept =
        new Intercept(
            services,
            new Intercept.Config(Abi.AGENT_NAME, config.domid(), programs, policy),
            routes);
    ProcFs proc = new ProcFs(Path.of("/proc"));
    Causes causes = new Causes(proc, policy);
    list =
        new ConnectionList(
            () -> intercept.ask(intercept::pools),
            intercept::members,
            SockDiag::connections,
            proc,
            intercept.verdicts(),
            causes);
    control = new Control(policy, intercept, log);
    String shim = config.text("hutong.shim", "");
    diagnosis =
        new Doctor(
            new Why(processes, proc, list, intercept::members, causes),
            new CheckWorld(
                policy, intercept, routes, services, shim.isEmpty() ? null : Path.of(shim)));
    intercept.start(() -> listening(context));
  }

  private synchronized void listening(BundleContext context) {
    if (!closed) {
      ready =
          context.registerService(
              ReadyProbe.class,
              new ReadyProbe() {},
              FrameworkUtil.asDictionary(Map.of(ReadyProbe.NAME, "intercept")));
    }
  }

  /** Sends to the peers' agents from now on. */
  @Reference(cardinality = ReferenceCardinality.OPTIONAL, policy = ReferencePolicy.DYNAMIC)
  void setLink(AgentLink link) {
    if (intercept != null) {
      intercept.link(link);
    }
  }

  /** The link is gone, or replaced. */
  void unsetLink(AgentLink link) {
    if (intercept != null) {
      intercept.unlink(link);
    }
  }

  /** Reaches the agents of other hosts from now on. */
  @Reference(
      cardinality = ReferenceCardinality.OPTIONAL,
      policy = ReferencePolicy.DYNAMIC,
      policyOption = ReferencePolicyOption.GREEDY)
  void setPeerLink(PeerLink link) {
    if (intercept != null) {
      intercept.peerLink(link);
    }
  }

  /** That way is gone. */
  void unsetPeerLink(PeerLink link) {
    if (intercept != null) {
      intercept.peerLink(null);
    }
  }

  /** Connections between hosts can be carried from now on. */
  @Reference(
      cardinality = ReferenceCardinality.OPTIONAL,
      policy = ReferencePolicy.DYNAMIC,
      policyOption = ReferencePolicyOption.GREEDY)
  void setTransport(LightTransport transport) {
    if (intercept != null) {
      intercept.transport(transport);
    }
  }

  /** New ones cannot any more. */
  void unsetTransport(LightTransport transport) {
    if (intercept != null) {
      intercept.transport(null);
    }
  }

  @Override
  public void onPeerMessage(PeerId from, int topic, byte[] payload) {
    if (intercept != null) {
      intercept.onPeerMessage(from, topic, payload);
    }
  }

  @Override
  public void onPeerForgotten(PeerId peer) {
    if (intercept != null) {
      intercept.onPeerForgotten(peer);
    }
  }

  @Override
  public void onPeerLinkUp(PeerId peer) {
    if (intercept != null) {
      intercept.onPeerLinkUp(peer);
    }
  }

  @Override
  public void onPeerLinkDown(PeerId peer) {
    if (intercept != null) {
      intercept.onPeerLinkDown(peer);
    }
  }

  @Override
  public List<ConnectionInfo> list() {
    return list == null ? List.of() : list.list();
  }

  private <T> T ofVm(T service) {
    if (service == null) {
      throw new IllegalStateException("a host's agent moves no connections: ask a VM's");
    }
    return service;
  }

  @Override
  public State state() {
    return ofVm(control).state();
  }

  @Override
  public Change enable(boolean on) {
    return ofVm(control).enable(on);
  }

  @Override
  public Change set(RuleSet set, String rules) {
    return ofVm(control).set(set, rules);
  }

  @Override
  public Change reset() {
    return ofVm(control).reset();
  }

  @Override
  public WhyInfo why(int pid, int fd) {
    return ofVm(diagnosis).why(pid, fd);
  }

  @Override
  public CheckInfo check(String target) {
    return ofVm(diagnosis).check(target);
  }

  @Override
  public void membershipChanged(MembershipSnapshot snapshot) {
    if (intercept != null) {
      intercept.membershipChanged(snapshot);
    }
  }

  /** Discovery is there. */
  @Reference(cardinality = ReferenceCardinality.OPTIONAL, policy = ReferencePolicy.DYNAMIC)
  void setMembership(Membership service) {
    if (intercept != null) {
      intercept.detaching().membership(service);
    }
  }

  /** Discovery is gone, or replaced. */
  void unsetMembership(Membership service) {
    if (intercept != null) {
      intercept.detaching().forgetMembership(service);
    }
  }

  @Override
  public void hostChanged(HostNotice notice) {
    if (intercept != null) {
      intercept.hostChanged(notice);
    }
  }

  @Override
  public void onMessage(int fromDomid, byte[] payload, List<Fd> fds) {
    if (intercept == null) {
      fds.forEach(Fd::close);
    } else {
      intercept.onMessage(fromDomid, payload, fds);
    }
  }

  @Override
  public void onPeerUp(int domid) {
    if (intercept != null) {
      intercept.onPeerUp(domid);
    }
  }

  @Override
  public void onPeerDown(int domid) {
    if (intercept != null) {
      intercept.onPeerDown(domid);
    }
  }

  @Override
  public void onUndelivered(int domid, byte[] payload) {
    if (intercept != null) {
      intercept.onUndelivered(domid, payload);
    }
  }

  /** Ends threads and sockets; the programs' connections stay as they are. */
  @Deactivate
  void deactivate() {
    ServiceRegistration<ReadyProbe> probe;
    synchronized (this) {
      closed = true;
      probe = ready;
      ready = null;
    }
    if (probe != null) {
      probe.unregister();
    }
    if (intercept != null) {
      intercept.close();
    }
  }
}
