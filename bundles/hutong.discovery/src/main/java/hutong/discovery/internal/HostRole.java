// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.discovery.Member;
import hutong.api.discovery.Membership;
import hutong.api.discovery.MembershipListener;
import hutong.platform.EventLoop;
import hutong.platform.OsException;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.LongSupplier;
import java.util.stream.Collectors;

/**
 * Discovery in a host agent: scans XenStore (M4.1), hands each domain what it has to know, and
 * broadcasts the signed list on the bridge at every change and every second (M4.2).
 *
 * <p>One thread does it all. When XenStore does not answer no list is sent, so that members expire
 * rather than stand on old knowledge.
 */
final class HostRole implements Role {
  private static final Duration TICK = Duration.ofSeconds(1);
  private static final Duration LOOK_DISTANCE = Duration.ofMillis(50);
  private static final int LOOK_SHARE = 9;
  private static final int VALID_MS = 3000;
  private static final int MAX_VALID_MS = 10_000;

  private final Surroundings env;
  private final EventLoop loop;
  private final PacketPort port;
  private final MembershipHub hub;
  private final HostScanner scanner;
  private final Path trusted;
  private final HostKeys keys;
  private final int validMs;
  private final long epoch;

  /** Domains whose heartbeat has changed; guards itself, {@link #stirred} and {@link #lookDue}. */
  private final Set<Integer> beating = new HashSet<>();

  private boolean stirred;
  private boolean lookDue;

  private long lastLookNs;
  private long distanceNs = LOOK_DISTANCE.toNanos();
  private long sequence;
  private long floorSequence = 1;
  private List<Entry> entries = List.of();
  private XenStore watchedStore;
  private XenStore.Watch watch;
  private EventLoop.Scheduled silence;
  private boolean storeFails;
  private boolean ready;

  HostRole(Surroundings env) throws IOException {
    this.env = env;
    this.trusted = Path.of(env.config().text("hutong.keys.trusted"));
    this.keys =
        HostKeys.open(
            Path.of(env.config().text("hutong.keys.private")), trusted, env.config().hostId());
    this.epoch = nextEpoch(env.config().run().resolve("discovery.epoch"), env.epochSource());
    this.validMs =
        (int) env.config().number("hutong.list.valid.ms", VALID_MS, VALID_MS, MAX_VALID_MS);
    this.scanner =
        new HostScanner(
            env.tally(),
            env.config()
                .number(
                    "hutong.silence.ms",
                    HostScanner.SILENCE_MS,
                    HostScanner.SILENCE_MS,
                    MAX_VALID_MS),
            env.hypervisor(),
            env.config().flag("hutong.xen.domains", false));
    this.loop = new EventLoop(env.events(), "hutong-discovery", env.clock(), this::failed);
    this.port =
        new PacketPort(env.sockets(), loop, env.config().networkInterface(), null, env.tally());
    this.hub = new MembershipHub(loop::execute, env.tally());
    loop.execute(this::tick);
  }

  /**
   * The epoch grows from start to start even when the clock was set back meanwhile, as long as the
   * run directory lives: receivers would take smaller ones for replays.
   */
  static long nextEpoch(Path file, LongSupplier source) throws IOException {
    long last = 0;
    if (Files.exists(file)) {
      String text = Files.readString(file, StandardCharsets.US_ASCII).strip();
      last = text.matches("[0-9]{1,18}") ? Long.parseLong(text) : 0;
    }
    long epoch = Math.max(source.getAsLong(), last + 1);
    Files.writeString(file, Long.toString(epoch) + "\n", StandardCharsets.US_ASCII);
    return epoch;
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
    execute(this::scan);
  }

  private void execute(Runnable task) {
    try {
      loop.execute(task);
    } catch (RejectedExecutionException e) {
      // Closing already.
    }
  }

  /** Every second: a full scan, whatever the watches said, and the list once more (soft state). */
  private void tick() {
    loop.schedule(TICK, this::tick);
    if (!scan()) {
      return;
    }
    broadcast();
    if (!ready) {
      ready = true;
      env.onReady().run();
    }
  }

  /** Looks at the whole store; says what has changed. Returns whether the store answered. */
  private boolean scan() {
    XenStore store = env.store().get();
    watchDomains(store);
    if (store == null) {
      return false;
    }
    try {
      take(scanner.scan(store, env.clock().nanoTime()));
      scanner.handOut(store, handout());
      if (storeFails) {
        storeFails = false;
        env.tally().info("XenStore is back");
      }
      return true;
    } catch (XenStoreException e) {
      env.tally().count(Tally.STORE_ERROR);
      scanner.storeLost();
      if (!storeFails) {
        storeFails = true;
        env.tally().warn("cannot scan: " + e.getMessage());
      }
      return false;
    }
  }

  private HostScanner.Handout handout() {
    Map<String, String> all = Map.of();
    try {
      all = HostKeys.trusted(trusted);
    } catch (IOException e) {
      env.tally().warn("trusted keys: " + e.getMessage());
    }
    return new HostScanner.Handout(
        env.config().hostId(),
        all,
        VmStore.formatFloor(epoch, floorSequence),
        env.hypervisor().get().isPresent() ? VmStore.formatDomains(scanner.present()) : "");
  }

  private void take(List<Entry> fresh) {
    if (silence != null) {
      silence.cancel();
      silence = null;
    }
    long left = scanner.untilSilence(env.clock().nanoTime());
    if (left >= 0) {
      silence = loop.schedule(Duration.ofNanos(left), this::scan);
    }
    if (fresh.equals(entries)) {
      return;
    }
    entries = List.copyOf(fresh);
    // Lists from before this change are void for whoever has read the floor.
    floorSequence = sequence + 1;
    hub.publish(entries.stream().map(this::member).toList());
    env.tally()
        .info("domains: " + entries.stream().map(Entry::name).collect(Collectors.joining(", ")));
    broadcast();
  }

  private Member member(Entry entry) {
    return new Member(
        env.config().hostId(),
        entry.domid(),
        entry.name(),
        entry.mac(),
        entry.addresses(),
        entry.version(),
        true,
        false,
        entry.key());
  }

  private void broadcast() {
    if (!port.open()) {
      return;
    }
    sequence++;
    ListPart head = new ListPart(env.config().hostId(), epoch, sequence, 0, 1, validMs, List.of());
    try {
      int most = Math.min(port.mtu(), ListCodec.MAX_BYTES);
      for (byte[] datagram : ListCodec.encode(head, entries, most, this::sign)) {
        if (port.broadcast(datagram)) {
          env.tally().count(Tally.SENT);
        }
      }
    } catch (OsException e) {
      env.tally().warn("no lists on " + env.config().networkInterface() + ": " + e.getMessage());
    }
  }

  /** Takes milliseconds, each second: a window of somebody's data that waits for that is late. */
  private byte[] sign(byte[] data) {
    return env.events().patiently(() -> keys.sign(data));
  }

  private void watchDomains(XenStore store) {
    if (store == watchedStore) {
      return;
    }
    if (watch != null) {
      watch.close();
      watch = null;
    }
    if (watchedStore != null) {
      // Another service may mean another store, and one without what was handed out.
      scanner.storeLost();
    }
    watchedStore = store;
    if (store != null) {
      watch = store.watch("/local/domain", this::changed);
    }
  }

  /**
   * On the store's thread: must not wait. Many changes between two looks cost one look, and looks
   * keep a distance, so that a guest that writes all the time does not keep this thread busy.
   */
  private void changed(String path) {
    Optional<Integer> domid = HostScanner.heartbeatOf(path);
    if (domid.isEmpty() && !path.contains("/" + HostScanner.PUBLISHED)) {
      return;
    }
    synchronized (beating) {
      domid.ifPresent(beating::add);
      stirred |= domid.isEmpty();
      if (lookDue) {
        return;
      }
      lookDue = true;
    }
    execute(this::lookSoon);
  }

  private void lookSoon() {
    long wait = lastLookNs + distanceNs - env.clock().nanoTime();
    loop.schedule(Duration.ofNanos(Math.max(0, wait)), this::lookAtChanges);
  }

  private void lookAtChanges() {
    boolean scanDue;
    Set<Integer> domids;
    synchronized (beating) {
      scanDue = stirred;
      domids = Set.copyOf(beating);
      stirred = false;
      lookDue = false;
      beating.clear();
    }
    XenStore store = env.store().get();
    if (store == null) {
      return;
    }
    long began = env.clock().nanoTime();
    for (int domid : domids) {
      scanDue |= !isKnownHeartbeat(store, domid);
    }
    if (scanDue) {
      scan();
    }
    lastLookNs = env.clock().nanoTime();
    distanceNs = distance(lastLookNs - began);
  }

  /**
   * How long to wait after a look. A guest that writes all the time must not keep this thread and
   * XenStore busy, and a look takes the longer the more domains there are: a tenth of the time at
   * most is for looks, as long as the full scan of each second would not come first.
   */
  static long distance(long tookNs) {
    return Math.max(LOOK_DISTANCE.toNanos(), Math.min(TICK.toNanos(), LOOK_SHARE * tookNs));
  }

  private boolean isKnownHeartbeat(XenStore store, int domid) {
    try {
      return scanner.heartbeat(store, domid, env.clock().nanoTime());
    } catch (XenStoreException e) {
      scanner.storeLost();
      return false;
    }
  }

  @Override
  public void goodbye() {
    // The lists expire by themselves; until then a new agent may take over unnoticed.
  }

  @Override
  public void close() {
    // The thread first: it is the one that sets watches and opens the port.
    loop.close();
    if (watch != null) {
      watch.close();
    }
    port.close();
  }
}
