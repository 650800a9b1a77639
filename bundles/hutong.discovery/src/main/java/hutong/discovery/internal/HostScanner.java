// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.xenstore.Permission;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.function.Supplier;

/**
 * The host agent's view of its XenStore (M4.1): which domains take part, and which of them are
 * alive. A domain is alive while its heartbeat changes at least every 2.5 s. Also hands each domain
 * what it has to know from domain 0.
 *
 * <p>Guests write what is read here: it is bounded and checked, and of two domains that claim the
 * same address the one that had it first keeps it. Single-threaded.
 */
final class HostScanner {
  /** What a domain publishes, below its own directory. */
  static final String PUBLISHED = "data/hutong";

  /** What domain 0 hands to a domain, below that domain's directory. */
  static final String HANDED = "hutong";

  /** How long a heartbeat may stay as it is by default. */
  static final long SILENCE_MS = 2500;

  private static final String DOMAINS = "/local/domain";
  private static final String BACKENDS = DOMAINS + "/0/backend/vif";
  private static final int MAX_DOMAINS = 1024;

  private final Tally tally;
  private final long silenceNs;
  private final Supplier<Optional<? extends Set<Integer>>> hypervisor;
  private final boolean locks;
  private final Map<Integer, Domain> domains = new TreeMap<>();
  private final Map<Integer, Handout> handed = new HashMap<>();
  private boolean disturbed;
  private boolean graceGiven;
  private long graceEndNs;

  HostScanner(Tally tally) {
    this(tally, SILENCE_MS, Optional::empty, false);
  }

  /**
   * A scanner that knows nothing yet.
   *
   * @param silenceMs how long a domain's heartbeat may stay as it is
   * @param hypervisor the domains that live by the hypervisor's word, where there is one: the store
   *     may still have what a dead one left
   * @param locks whether domains are kept from being saved, see {@link SaveLock}
   */
  HostScanner(
      Tally tally,
      long silenceMs,
      Supplier<Optional<? extends Set<Integer>>> hypervisor,
      boolean locks) {
    this.tally = tally;
    this.silenceNs = TimeUnit.MILLISECONDS.toNanos(silenceMs);
    this.hypervisor = hypervisor;
    this.locks = locks;
  }

  /** The domains that the last scan found, whether they take part or not. */
  SortedSet<Integer> present() {
    return new TreeSet<>(domains.keySet());
  }

  /**
   * What domain 0 tells a domain.
   *
   * @param hostId the host
   * @param keys of the hosts that are trusted
   * @param floor lists from before are void
   * @param domains ids of the domains of this host that live, separated by spaces; empty where no
   *     hypervisor tells
   */
  record Handout(String hostId, Map<String, String> keys, String floor, String domains) {
    Handout {
      keys = Map.copyOf(keys);
    }
  }

  private static final class Domain {
    String heartbeat;
    long seenNs;
    Entry entry;

    /** Whether its {@link SaveLock} is known to be as it is due, and how that is. */
    Optional<Boolean> locked = Optional.empty();
  }

  /** The domain whose heartbeat a watch event is about; empty for all other paths. */
  static Optional<Integer> heartbeatOf(String path) {
    String end = "/" + PUBLISHED + "/heartbeat";
    int most = path.length() - end.length();
    if (most <= DOMAINS.length() || !path.startsWith(DOMAINS + "/") || !path.endsWith(end)) {
      return Optional.empty();
    }
    return domainId(path.substring(DOMAINS.length() + 1, most));
  }

  private static Optional<Integer> domainId(String name) {
    return name.matches("[1-9][0-9]{0,4}") ? Optional.of(Integer.parseInt(name)) : Optional.empty();
  }

  /**
   * Reads a heartbeat because a watch said so; much cheaper than a scan.
   *
   * @return false if the domain is not known as alive yet, so that a scan is due
   */
  boolean heartbeat(XenStore store, int domid, long nowNs) throws XenStoreException {
    Domain domain = domains.get(domid);
    if (domain == null || domain.entry == null) {
      return false;
    }
    Optional<String> value = store.read(DOMAINS + "/" + domid + "/" + PUBLISHED + "/heartbeat");
    if (value.isEmpty()) {
      return false;
    }
    beat(domain, value.get(), nowNs);
    return true;
  }

  private static void beat(Domain domain, String value, long nowNs) {
    if (!value.equals(domain.heartbeat)) {
      domain.heartbeat = value;
      domain.seenNs = nowNs;
    }
  }

  /** Says that the store could not be reached: it may come back without its contents. */
  void storeLost() {
    disturbed = true;
    handed.clear();
    domains.values().forEach(domain -> domain.locked = Optional.empty());
  }

  /**
   * Scans the store.
   *
   * @param store to look at
   * @param nowNs now, monotonic
   * @return the domains that are alive, sorted
   * @throws XenStoreException if the store cannot be read; what was known stays
   */
  List<Entry> scan(XenStore store, long nowNs) throws XenStoreException {
    List<Integer> present = new ArrayList<>();
    for (String name : store.list(DOMAINS)) {
      domainId(name).ifPresent(present::add);
    }
    hypervisor.get().ifPresent(present::retainAll);
    if (disturbed) {
      // A store that was started anew is empty until the domains have noticed: they get the time
      // to.
      disturbed = false;
      graceGiven = true;
      graceEndNs = nowNs + silenceNs;
    }
    graceGiven &= graceEndNs - nowNs > 0;
    boolean grace = graceGiven;
    domains.keySet().removeIf(domid -> !grace && !present.contains(domid));
    handed.keySet().removeIf(domid -> !present.contains(domid));
    for (int domid : present) {
      if (domains.size() < MAX_DOMAINS || domains.containsKey(domid)) {
        Domain domain = domains.computeIfAbsent(domid, d -> new Domain());
        look(store, domid, domain, nowNs, grace);
        if (locks && domain.heartbeat != null) {
          lock(store, DOMAINS + "/" + domid, domain);
        }
      }
    }
    return alive(nowNs);
  }

  private void look(XenStore store, int domid, Domain domain, long nowNs, boolean grace)
      throws XenStoreException {
    String home = DOMAINS + "/" + domid;
    String published = home + "/" + PUBLISHED;
    if (handed.containsKey(domid) && store.read(home + "/" + HANDED + "/host").isEmpty()) {
      handed.remove(domid); // the store has lost it
      domain.locked = Optional.empty();
    }
    Optional<String> heartbeat = store.read(published + "/heartbeat");
    if (heartbeat.isEmpty()) {
      if (!grace) {
        domain.entry = null;
        domain.heartbeat = null;
      }
      return;
    }
    beat(domain, heartbeat.get(), nowNs);
    String mac =
        store.read(published + "/mac").orElse("").strip().toLowerCase(java.util.Locale.ROOT);
    if (!mac.matches("[0-9a-f]{2}(:[0-9a-f]{2}){5}") || !ownsMac(store, domid, mac)) {
      tally.count(Tally.BAD_CLAIM);
      domain.entry = null;
      return;
    }
    domain.entry =
        new Entry(
            domid,
            printable(store.read(home + "/name").orElse("domain-" + domid)),
            mac,
            addresses(store.read(published + "/addresses").orElse(""), configured(store, domid)),
            printable(store.read(published + "/version").orElse("")),
            key(store.read(published + "/key").orElse("").strip()));
  }

  /** Before it is in a list, and can share. One guest can only keep itself out of it. */
  private void lock(XenStore store, String home, Domain domain) throws XenStoreException {
    try {
      if (!domain.locked.equals(Optional.of(SaveLock.due(store, home)))) {
        store.transaction(tx -> domain.locked = Optional.of(SaveLock.settle(tx, home)));
      }
    } catch (XenStoreException e) {
      domain.locked = Optional.empty();
      if (e.errno() != XenStoreException.EAGAIN) {
        throw e;
      }
      domain.entry = null; // it writes there all the time
      tally.count(Tally.BAD_CLAIM);
    }
  }

  /**
   * On Xen domain 0 knows the MAC addresses of a domain's interfaces; without that knowledge the
   * claim stands. What counts is the backend's side: the frontend's, below the domain's own
   * directory, the guest can write.
   */
  private static boolean ownsMac(XenStore store, int domid, String mac) throws XenStoreException {
    String backend = BACKENDS + "/" + domid;
    boolean known = false;
    for (String number : store.list(backend)) {
      Optional<String> real = store.read(backend + "/" + number + "/mac");
      if (real.isPresent()) {
        known = true;
        if (real.get().equalsIgnoreCase(mac)) {
          return true;
        }
      }
    }
    return !known;
  }

  /**
   * The addresses that domain 0's administrator has configured for a domain ({@code ip=} of its
   * interfaces), as {@link Addresses#text} writes them; none if one of its interfaces may use any.
   */
  private static Optional<Set<String>> configured(XenStore store, int domid)
      throws XenStoreException {
    String backend = BACKENDS + "/" + domid;
    Set<String> addresses = new HashSet<>();
    List<String> interfaces = store.list(backend);
    for (String number : interfaces) {
      String text = store.read(backend + "/" + number + "/ip").orElse("").strip();
      if (text.isEmpty()) {
        return Optional.empty();
      }
      for (String address : text.split("[ ,]+")) {
        Addresses.parse(address.split("/")[0]).map(Addresses::text).ifPresent(addresses::add);
      }
    }
    return interfaces.isEmpty() ? Optional.empty() : Optional.of(addresses);
  }

  /** The key as it was published, or none: without one the VM is a member all the same. */
  private String key(String text) {
    if (text.isEmpty() || Ed25519.fromText(text).isPresent()) {
      return text;
    }
    tally.count(Tally.BAD_CLAIM);
    return "";
  }

  private List<String> addresses(String text, Optional<Set<String>> configured) {
    Set<String> addresses = new HashSet<>();
    for (String claim : text.split("[ ,]+")) {
      if (claim.isEmpty() || addresses.size() == ListCodec.MAX_ADDRESSES) {
        continue;
      }
      Addresses.parse(claim)
          .map(Addresses::text)
          .filter(address -> configured.map(all -> all.contains(address)).orElse(true))
          .ifPresentOrElse(addresses::add, () -> tally.count(Tally.BAD_CLAIM));
    }
    return addresses.stream().sorted().toList();
  }

  private static String printable(String text) {
    String cut = text.length() > ListCodec.MAX_TEXT ? text.substring(0, ListCodec.MAX_TEXT) : text;
    return cut.replaceAll("[^ -~]", "?");
  }

  /** The domains alive now, without those that claim what another one has had for longer. */
  private List<Entry> alive(long nowNs) {
    Map<String, Integer> holders = new HashMap<>();
    List<Map.Entry<Integer, Domain>> known = new ArrayList<>(domains.entrySet());
    List<Entry> alive = new ArrayList<>();
    known.removeIf(d -> d.getValue().entry == null || nowNs - d.getValue().seenNs >= silenceNs);
    // Those that were in the list before keep what they had; among newcomers the lower domain id
    // wins.
    previous.keySet().retainAll(known.stream().map(Map.Entry::getKey).toList());
    previous.forEach((domid, claims) -> claims.forEach(claim -> holders.putIfAbsent(claim, domid)));
    for (Map.Entry<Integer, Domain> candidate : known) {
      Entry entry = candidate.getValue().entry;
      int domid = candidate.getKey();
      List<String> claims = new ArrayList<>(entry.addresses());
      claims.add(entry.mac());
      if (claims.stream().anyMatch(claim -> holders.getOrDefault(claim, domid) != domid)) {
        tally.count(Tally.DUPLICATE);
        previous.remove(domid);
        continue;
      }
      claims.forEach(claim -> holders.put(claim, domid));
      previous.put(domid, claims);
      alive.add(entry);
    }
    return alive;
  }

  private final Map<Integer, List<String>> previous = new TreeMap<>();

  /**
   * Time until the next domain counts as silent.
   *
   * @param nowNs now
   * @return nanoseconds; negative if no domain is alive
   */
  long untilSilence(long nowNs) {
    long least = -1;
    for (Domain domain : domains.values()) {
      long left = domain.seenNs + silenceNs - nowNs;
      if (domain.entry != null && left > 0) {
        least = least < 0 ? left : Math.min(least, left);
      }
    }
    return least;
  }

  /**
   * Hands every present domain what it has to know, where it has changed. Only domain 0 can write
   * there and only the domain itself can read it.
   *
   * @param store to write to
   * @param handout the same for all
   * @throws XenStoreException if the store fails; the rest is tried again with the next call
   */
  void handOut(XenStore store, Handout handout) throws XenStoreException {
    for (int domid : Arrays.asList(domains.keySet().toArray(new Integer[0]))) {
      if (!handout.equals(handed.get(domid))) {
        handOut(store, domid, handout);
        handed.put(domid, handout);
      }
    }
  }

  private static void handOut(XenStore store, int domid, Handout handout) throws XenStoreException {
    String home = DOMAINS + "/" + domid;
    String directory = home + "/" + HANDED;
    List<Permission> permissions = List.of(Permission.none(0), Permission.readOnly(domid));
    store.transaction(
        tx -> {
          if (tx.read(home).isEmpty()) {
            return; // the domain has gone; its directory must not come back
          }
          put(tx, directory, "", permissions);
          put(tx, directory + "/host", handout.hostId(), permissions);
          put(tx, directory + "/floor", handout.floor(), permissions);
          put(tx, directory + "/domains", handout.domains(), permissions);
          put(tx, directory + "/keys", "", permissions);
          for (String old : tx.list(directory + "/keys")) {
            if (!handout.keys().containsKey(old)) {
              tx.remove(directory + "/keys/" + old);
            }
          }
          for (Map.Entry<String, String> key : handout.keys().entrySet()) {
            put(tx, directory + "/keys/" + key.getKey(), key.getValue(), permissions);
          }
        });
  }

  private static void put(XenStore tx, String path, String value, List<Permission> permissions)
      throws XenStoreException {
    if (!tx.read(path).equals(Optional.of(value))) {
      tx.write(path, value);
    }
    if (!tx.permissions(path).equals(permissions)) {
      tx.setPermissions(path, permissions);
    }
  }
}
