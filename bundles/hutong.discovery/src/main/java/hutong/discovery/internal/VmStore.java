// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.discovery.HostNotice;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.security.GeneralSecurityException;
import java.security.PublicKey;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * A VM's side of XenStore: publishes what the VM is (M1.4) and reads what domain 0 hands it. Used
 * by one thread, which may have to wait for the store.
 */
final class VmStore {
  private static final String PUBLISHED = HostScanner.PUBLISHED;
  private static final String HANDED = HostScanner.HANDED;
  private static final String DETACHED = PUBLISHED + "/detached";
  private static final int MAX_HOSTS = 256;

  /** Bytes that a value of XenStore holds. */
  private static final int MAX_VALUE = 2048;

  private final String id;
  private final String version;
  private final String key;
  private final String channels;
  private String detached = "";
  private NetworkFacts published;
  private long heartbeat;

  /**
   * Creates the publisher.
   *
   * @param id the VM's id
   * @param version of this agent
   * @param key this agent's public key, Base64
   * @param channels which sort of channels the VM may have, {@link SaveLock#XEN} or another one
   * @param firstHeartbeat differs from that of an earlier life, so that the host sees a change at
   *     once
   */
  VmStore(String id, String version, String key, String channels, long firstHeartbeat) {
    this.id = id;
    this.version = version;
    this.key = key;
    this.channels = channels;
    this.heartbeat = firstHeartbeat;
  }

  /**
   * Says that the VM is alive, and what it is if that has changed or the store has lost it.
   *
   * @param store where to
   * @param facts the interface as it is now
   * @throws XenStoreException if the store fails; all is published anew next time
   */
  void publish(XenStore store, NetworkFacts facts) throws XenStoreException {
    boolean done = false;
    try {
      heartbeat++;
      // The store may have been started anew without a request of ours failing: look each time.
      boolean there =
          facts.equals(published)
              && store.read(PUBLISHED + "/mac").equals(Optional.of(facts.mac()));
      if (there) {
        store.write(PUBLISHED + "/heartbeat", Long.toString(heartbeat));
      } else if (facts.mac().isEmpty()) {
        store.remove(PUBLISHED); // without an interface the VM is no member
      } else {
        store.transaction(
            tx -> {
              tx.write(PUBLISHED + "/id", id);
              tx.write(PUBLISHED + "/mac", facts.mac());
              tx.write(PUBLISHED + "/addresses", String.join(" ", facts.addresses()));
              tx.write(PUBLISHED + "/version", version);
              tx.write(PUBLISHED + "/key", key);
              tx.write(PUBLISHED + "/" + SaveLock.CHANNELS, channels);
              if (!detached.isEmpty()) {
                tx.write(DETACHED, detached); // what was published was taken back, or lost
              }
              tx.write(PUBLISHED + "/heartbeat", Long.toString(heartbeat));
            });
      }
      done = true;
    } finally {
      published = done && !facts.mac().isEmpty() ? facts : null;
    }
  }

  /** Which domain this is by domain 0's word; none where the store does not say. */
  static OptionalInt domid(XenStore store) throws XenStoreException {
    String text = store.read("domid").orElse("").strip();
    return text.matches("[1-9][0-9]{0,4}")
        ? OptionalInt.of(Integer.parseInt(text))
        : OptionalInt.empty();
  }

  /** Takes back what was published. */
  void withdraw(XenStore store) throws XenStoreException {
    published = null;
    store.remove(PUBLISHED);
  }

  /**
   * Reads what domain 0 says.
   *
   * @param store where from
   * @return the own host, the trusted keys, the floor; what is missing or malformed is left out
   * @throws XenStoreException if the store fails
   */
  static Trust readTrust(XenStore store) throws XenStoreException {
    String host = store.read(HANDED + "/host").orElse("");
    Map<String, PublicKey> keys = new HashMap<>();
    for (String name : store.list(HANDED + "/keys")) {
      if (keys.size() == MAX_HOSTS || !HostKeys.validHostId(name)) {
        continue;
      }
      try {
        String text = store.read(HANDED + "/keys/" + name).orElse("");
        keys.put(name, Ed25519.parse(Base64.getDecoder().decode(text)));
      } catch (IllegalArgumentException | GeneralSecurityException e) {
        // No key of that host, then: its lists do not count.
        keys.remove(name);
      }
    }
    long[] floor = parseFloor(store.read(HANDED + "/floor").orElse(""));
    HostNotice notice =
        new HostNotice(
            parseDomains(store.read(HANDED + "/domains").orElse("")),
            store.read(HANDED + "/detach").orElse(""));
    return new Trust(host, keys, floor[0], floor[1], notice);
  }

  /** Nothing is said of more domains than go into one value. */
  static String formatDomains(Collection<Integer> domids) {
    String text = domids.stream().map(String::valueOf).collect(Collectors.joining(" "));
    return text.length() <= MAX_VALUE ? text : "";
  }

  /** What {@link #formatDomains} made; nothing where domain 0 does not say, or says nonsense. */
  static Set<Integer> parseDomains(String text) {
    if (!text.matches("[0-9]{1,5}( [0-9]{1,5}){0,1023}")) {
      return Set.of();
    }
    return Arrays.stream(text.split(" ")).map(Integer::valueOf).collect(Collectors.toSet());
  }

  /** Tells domain 0 that nothing is shared any more, as it has asked by that name. */
  void acknowledge(XenStore store, String detach) throws XenStoreException {
    store.write(DETACHED, detach);
    detached = detach;
  }

  static String formatFloor(long epoch, long sequence) {
    return epoch + " " + sequence;
  }

  private static long[] parseFloor(String text) {
    String[] parts = text.split(" ");
    if (parts.length == 2 && parts[0].matches("[0-9]{1,18}") && parts[1].matches("[0-9]{1,18}")) {
      return new long[] {Long.parseLong(parts[0]), Long.parseLong(parts[1])};
    }
    return new long[] {0, 0};
  }
}
