// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.AgentConfig;
import hutong.api.NewDomid;
import hutong.api.ReadyProbe;
import hutong.api.discovery.HostControl;
import hutong.api.discovery.Membership;
import hutong.api.discovery.MembershipListener;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.discovery.VmIdentity;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.platform.Events;
import hutong.platform.NanoClock;
import hutong.platform.OsException;
import hutong.platform.Sockets;
import hutong.platform.Xen;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.SortedSet;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicReference;
import org.osgi.framework.BundleContext;
import org.osgi.framework.BundleEvent;
import org.osgi.framework.Constants;
import org.osgi.framework.FrameworkUtil;
import org.osgi.framework.ServiceRegistration;
import org.osgi.framework.SynchronousBundleListener;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Deactivate;
import org.osgi.service.component.annotations.Reference;
import org.osgi.service.component.annotations.ReferenceCardinality;
import org.osgi.service.component.annotations.ReferencePolicy;

/**
 * Discovery, in the role that this agent has. XenStore and telemetry may come and go while it runs;
 * listeners are told the current members when they come and every change after that.
 */
@Component(
    immediate = true,
    service = {Membership.class, HostControl.class})
public final class DiscoveryComponent implements Membership, HostControl {
  private static final int RANDOM_BITS = 10;

  private final AtomicReference<XenStore> store = new AtomicReference<>();
  private final AtomicReference<Counters> counters = new AtomicReference<>();
  private final AtomicReference<EventLog> log = new AtomicReference<>();
  private final Detaching detaching = new Detaching(DiscoveryComponent::epoch);
  private final Role role;
  private final SynchronousBundleListener shutdown;
  private ServiceRegistration<VmIdentity> identity;
  private ServiceRegistration<ReadyProbe> ready;
  private ServiceRegistration<NewDomid> renewal;
  private boolean closed;

  /** On the role's thread. */
  private boolean hypervisorFails;

  /** Starts the role's threads. */
  @Activate
  public DiscoveryComponent(
      BundleContext context,
      @Reference Sockets sockets,
      @Reference Events events,
      @Reference Xen xen)
      throws IOException {
    AgentConfig config = new AgentConfig(context::getProperty);
    Surroundings env =
        new Surroundings(
            config,
            sockets,
            events,
            store::get,
            new Tally(counters::get, log::get),
            NanoClock.SYSTEM,
            DiscoveryComponent::epoch,
            NetworkFacts::of,
            config.flag("hutong.xen.domains", false) ? () -> domains(xen) : Optional::empty,
            context.getBundle().getVersion().toString(),
            () -> ready(context),
            domid -> renew(context, domid));
    if (config.role() == AgentConfig.Role.HOST) {
      role = new HostRole(env);
    } else {
      VmKey key = VmKey.open(config.run().resolve("vm.key"), env.tally());
      role = new VmRole(env, key);
      identity = context.registerService(VmIdentity.class, key, null);
    }
    // Synchronous: told before the first bundle stops, while the store can still be reached.
    shutdown = this::frameworkChanged;
    context.addBundleListener(shutdown);
  }

  /**
   * Grows from start to start as long as the clock does; the random bits keep two starts in one
   * instant apart.
   */
  private static long epoch() {
    return System.currentTimeMillis() << RANDOM_BITS
        | ThreadLocalRandom.current().nextInt(1 << RANDOM_BITS);
  }

  /** The hypervisor's domains; when it does not tell, the store alone must do. */
  private Optional<? extends Set<Integer>> domains(Xen xen) {
    try {
      Optional<SortedSet<Integer>> found = Optional.of(xen.domains());
      hypervisorFails = false;
      return found;
    } catch (OsException e) {
      EventLog now = log.get();
      if (!hypervisorFails && now != null) {
        now.warn("discovery", e.getMessage());
      }
      hypervisorFails = true;
      return Optional.empty();
    }
  }

  private void frameworkChanged(BundleEvent event) {
    if (event.getType() == BundleEvent.STOPPING
        && event.getBundle().getBundleId() == Constants.SYSTEM_BUNDLE_ID) {
      role.goodbye();
    }
  }

  private synchronized void ready(BundleContext context) {
    if (!closed) {
      ready =
          context.registerService(
              ReadyProbe.class,
              new ReadyProbe() {},
              FrameworkUtil.asDictionary(Map.of(ReadyProbe.NAME, "discovery")));
    }
  }

  /** The launcher hears of it, and starts the whole agent anew. */
  private synchronized void renew(BundleContext context, int domid) {
    if (!closed) {
      renewal =
          context.registerService(
              NewDomid.class,
              new NewDomid() {},
              FrameworkUtil.asDictionary(Map.of(NewDomid.DOMID, Integer.toString(domid))));
    }
  }

  @Override
  public MembershipSnapshot current() {
    return role.membership().current();
  }

  @Override
  public void detached(String detach) {
    role.detached(detach);
  }

  @Override
  public boolean detach(String vm, int seconds) {
    try {
      return detaching.detach(hostStore(), vm, seconds);
    } catch (XenStoreException e) {
      throw new IllegalStateException(e.getMessage(), e);
    }
  }

  @Override
  public void attach(String vm) {
    try {
      detaching.attach(hostStore(), vm);
    } catch (XenStoreException e) {
      throw new IllegalStateException(e.getMessage(), e);
    }
  }

  private XenStore hostStore() {
    XenStore now = store.get();
    if (!(role instanceof HostRole)) {
      throw new IllegalStateException("this is no host's agent");
    }
    if (now == null) {
      throw new IllegalStateException("XenStore is away");
    }
    return now;
  }

  /** XenStore is there. */
  @Reference(cardinality = ReferenceCardinality.OPTIONAL, policy = ReferencePolicy.DYNAMIC)
  void setStore(XenStore service) {
    store.set(service);
    role.storeChanged();
  }

  /** XenStore is gone, or replaced. */
  void unsetStore(XenStore service) {
    if (store.compareAndSet(service, null)) {
      role.storeChanged();
    }
  }

  /** Counters are there. */
  @Reference(cardinality = ReferenceCardinality.OPTIONAL, policy = ReferencePolicy.DYNAMIC)
  void setCounters(Counters service) {
    counters.set(service);
  }

  /** Counters are gone, or replaced. */
  void unsetCounters(Counters service) {
    counters.compareAndSet(service, null);
  }

  /** The event log is there. */
  @Reference(cardinality = ReferenceCardinality.OPTIONAL, policy = ReferencePolicy.DYNAMIC)
  void setLog(EventLog service) {
    log.set(service);
  }

  /** The event log is gone, or replaced. */
  void unsetLog(EventLog service) {
    log.compareAndSet(service, null);
  }

  /** A listener has come. */
  @Reference(cardinality = ReferenceCardinality.MULTIPLE, policy = ReferencePolicy.DYNAMIC)
  void addListener(MembershipListener listener) {
    role.addListener(listener);
  }

  /** A listener has gone. */
  void removeListener(MembershipListener listener) {
    role.removeListener(listener);
  }

  /** Ends threads, sockets and watches. */
  @Deactivate
  void deactivate(BundleContext context) {
    context.removeBundleListener(shutdown);
    List<ServiceRegistration<?>> probes = new ArrayList<>();
    synchronized (this) {
      closed = true;
      probes.add(ready);
      probes.add(renewal);
      ready = null;
      renewal = null;
    }
    probes.stream().filter(Objects::nonNull).forEach(ServiceRegistration::unregister);
    if (identity != null) {
      identity.unregister();
    }
    role.close();
  }
}
