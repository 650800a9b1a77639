// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.discovery.Member;
import hutong.api.discovery.Membership;
import hutong.api.discovery.MembershipListener;
import hutong.platform.EventLoop;
import hutong.platform.OsException;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.time.Duration;
import java.util.List;
import java.util.OptionalInt;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.Collectors;

/**
 * Discovery in a VM: publishes the VM in XenStore (M1.4) and keeps the lists that the host agents
 * broadcast (M4.2, M5.1).
 *
 * <p>Two threads: one waits for XenStore, which may hang with its daemon; the other takes lists and
 * lets them expire, and never waits for anybody.
 */
final class VmRole implements Role {
  private static final Duration TICK = Duration.ofSeconds(1);

  private final Surroundings env;
  private final EventLoop lists;
  private final EventLoop publisher;
  private final ListReceiver receiver;
  private final PacketPort port;
  private final MembershipHub hub;
  private final VmStore vmStore;
  private final AtomicBoolean ready = new AtomicBoolean();
  private final AtomicBoolean trustStale = new AtomicBoolean(true);
  private EventLoop.Scheduled expiry;
  private XenStore watchedStore;
  private XenStore.Watch watch;
  private boolean storeFails;

  /** On the publisher thread. */
  private boolean moved;

  /** What domain 0 is to be answered and could not be yet; empty if nothing. Publisher thread. */
  private String unanswered = "";

  VmRole(Surroundings env, VmKey key) throws OsException {
    this.env = env;
    this.lists = new EventLoop(env.events(), "hutong-discovery", env.clock(), this::failed);
    this.receiver = new ListReceiver(env.config().domid(), env.tally());
    this.port =
        new PacketPort(
            env.sockets(), lists, env.config().networkInterface(), this::received, env.tally());
    this.hub = new MembershipHub(lists::execute, env.tally());
    this.vmStore =
        new VmStore(
            env.config().name(),
            env.version(),
            key.publicKey(),
            env.config().onXen() ? SaveLock.XEN : "own",
            env.epochSource().getAsLong());
    try {
      this.publisher = new EventLoop(env.events(), "hutong-publisher", env.clock(), this::failed);
    } catch (OsException e) {
      lists.close();
      throw e;
    }
    lists.execute(this::tickLists);
    publisher.execute(this::tickPublisher);
  }

  private void failed(Throwable problem) {
    env.tally().warn("discovery: " + problem);
  }

  @Override
  public Membership membership() {
    return hub;
  }

  @Override
  public void addListener(MembershipListener listener) {
    hub.add(listener);
  }

  @Override
  public void removeListener(MembershipListener listener) {
    hub.remove(listener);
  }

  @Override
  public void storeChanged() {
    try {
      publisher.execute(this::publish);
    } catch (RejectedExecutionException e) {
      // Closing already.
    }
  }

  /** On the list thread, every second: the interface may have come, or come again. */
  private void tickLists() {
    lists.schedule(TICK, this::tickLists);
    port.open();
  }

  private void received(byte[] data) {
    // a signature takes milliseconds, each second: a window of data that waits for that is late
    long now = env.clock().nanoTime();
    if (env.events().patiently(() -> receiver.receive(data, now))) {
      refresh();
    }
  }

  /**
   * On the list thread: lets go what has expired, publishes what there is, and waits for the next
   * to expire.
   */
  private void refresh() {
    long now = env.clock().nanoTime();
    receiver.expire(now);
    List<Member> before = hub.current().members();
    if (hub.publish(receiver.members())) {
      report(before, hub.current().members());
    }
    if (expiry != null) {
      expiry.cancel();
      expiry = null;
    }
    long left = receiver.untilExpiry(now);
    if (left >= 0) {
      expiry = lists.schedule(Duration.ofNanos(left), this::refresh);
    }
  }

  private void report(List<Member> before, List<Member> after) {
    String names =
        after.stream()
            .map(m -> m.name() + (m.self() ? " (self)" : m.coResident() ? "" : " on " + m.hostId()))
            .collect(Collectors.joining(", "));
    env.tally()
        .info(
            "members: "
                + before.size()
                + " -> "
                + after.size()
                + (names.isEmpty() ? "" : ": " + names));
  }

  /** On the publisher thread, every second. */
  private void tickPublisher() {
    publisher.schedule(TICK, this::tickPublisher);
    publish();
  }

  private void publish() {
    XenStore store = env.store().get();
    watchTrust(store);
    if (store != null) {
      NetworkFacts facts = env.network().apply(env.config().networkInterface());
      // The keys first: publishing makes the host agent send a list, which is to be understood.
      if (trustStale.getAndSet(false)) {
        readTrust(store);
      }
      // A store that was started anew shows as one failed request; the second try finds the new
      // one.
      if (!attempt(store, facts)) {
        attempt(store, facts);
      }
    }
    if (ready.compareAndSet(false, true)) {
      env.onReady().run();
    }
  }

  /**
   * After a restore or a move this VM is another domain. Others must not hear of one that takes
   * itself for the old one.
   */
  private boolean isAnotherDomain(XenStore store) throws XenStoreException {
    if (!env.config().onXen()) {
      return false;
    }
    OptionalInt now = VmStore.domid(store);
    if (now.isEmpty() || now.getAsInt() == env.config().domid()) {
      return false;
    }
    if (!moved) {
      moved = true;
      env.tally()
          .warn("this VM is domain " + now.getAsInt() + " now, and was " + env.config().domid());
      env.onNewDomid().accept(now.getAsInt());
    }
    return true;
  }

  private boolean attempt(XenStore store, NetworkFacts facts) {
    try {
      if (!isAnotherDomain(store)) {
        vmStore.publish(store, facts);
        answer(store);
      }
      if (storeFails) {
        storeFails = false;
        trustStale.set(true);
        env.tally().info("XenStore is back");
      }
      return true;
    } catch (XenStoreException e) {
      env.tally().count(Tally.STORE_ERROR);
      if (!storeFails) {
        storeFails = true;
        env.tally().warn("cannot publish: " + e.getMessage());
      }
      return false;
    }
  }

  /** Keeps a watch on what domain 0 hands out, in the store service that there is now. */
  private void watchTrust(XenStore store) {
    if (store == watchedStore) {
      return;
    }
    if (watch != null) {
      watch.close();
      watch = null;
    }
    watchedStore = store;
    if (store != null) {
      trustStale.set(true);
      watch = store.watch(HostScanner.HANDED, path -> trustChanged());
    }
  }

  /** On the store's thread: must not wait. */
  private void trustChanged() {
    if (!trustStale.getAndSet(true)) {
      try {
        publisher.execute(
            () -> {
              XenStore store = env.store().get();
              if (store != null && trustStale.getAndSet(false)) {
                readTrust(store);
              }
            });
      } catch (RejectedExecutionException e) {
        // Closing already.
      }
    }
  }

  private void readTrust(XenStore store) {
    try {
      if (isAnotherDomain(store)) {
        return; // or another VM, which has the old one's id now, would pass for this one in a list
      }
      Trust trust = VmStore.readTrust(store);
      if (trust.hostId().isEmpty()) {
        // A store that domain 0 has not filled (yet, or again): what was known goes on to hold, and
        // the watch tells when there is more to know.
        return;
      }
      lists.execute(
          () -> {
            receiver.trust(trust);
            refresh();
            hub.notice(trust.notice());
          });
    } catch (XenStoreException e) {
      trustStale.set(true);
      env.tally().count(Tally.STORE_ERROR);
    } catch (RejectedExecutionException e) {
      // Closing already.
    }
  }

  @Override
  public void detached(String detach) {
    try {
      publisher.execute(
          () -> {
            unanswered = detach;
            XenStore store = env.store().get();
            try {
              if (store != null) {
                answer(store);
              }
            } catch (XenStoreException e) {
              env.tally().count(Tally.STORE_ERROR); // once more with the next heartbeat
            }
          });
    } catch (RejectedExecutionException e) {
      // Closing already.
    }
  }

  private void answer(XenStore store) throws XenStoreException {
    if (!unanswered.isEmpty()) {
      vmStore.acknowledge(store, unanswered);
      unanswered = "";
    }
  }

  @Override
  public void goodbye() {
    publisher.close();
    XenStore store = env.store().get();
    if (store != null) {
      try {
        vmStore.withdraw(store);
      } catch (XenStoreException e) {
        env.tally().count(Tally.STORE_ERROR);
      }
    }
  }

  @Override
  public void close() {
    publisher.close();
    if (watch != null) {
      watch.close();
    }
    lists.close();
    port.close();
  }
}
