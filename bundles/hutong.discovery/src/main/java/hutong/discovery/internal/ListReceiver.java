// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.discovery.Member;
import java.security.PublicKey;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/**
 * The receiving half of discovery in a VM (M4.2, M5.1): checks list datagrams and keeps what they
 * say until it expires.
 *
 * <p>Replays: a list must be newer, by epoch and sequence, than the latest one of its host. That
 * memory is lost with the process; for the own host domain 0 then tells through XenStore when its
 * list last changed (the floor), so that an older list is refused from the very first datagram on.
 * For other hosts a replay can count until their next genuine list, which is sent every second. A
 * floor of another epoch also puts right what a clock that was set back did.
 *
 * <p>Single-threaded.
 */
final class ListReceiver {
  /** Longest validity that is granted, whatever a list says. */
  private static final int MAX_VALID_MS = 10_000;

  /** Signatures checked in a second; a flood of forged lists costs no more than that. */
  private static final int CHECKS_PER_SECOND = 100;

  private final int domid;
  private final Tally tally;
  private final Map<String, HostState> hosts = new TreeMap<>();
  private Trust trust = Trust.NONE;
  private long windowStartNs;
  private int windowChecks;

  ListReceiver(int domid, Tally tally) {
    this.domid = domid;
    this.tally = tally;
  }

  /** What is known of one host. */
  private static final class HostState {
    long epoch;
    long sequence;
    boolean complete;
    ListPart[] parts;
    int missing;
    List<Entry> entries = List.of();
    long expiresNs;
    boolean alive;

    boolean isNewer(ListPart list) {
      return list.epoch() != epoch ? list.epoch() > epoch : list.sequence() > sequence;
    }

    boolean isCurrent(ListPart list) {
      return list.epoch() == epoch && list.sequence() == sequence;
    }
  }

  /** Takes over what domain 0 says. */
  void trust(Trust fresh) {
    hosts.keySet().removeIf(host -> !fresh.keys().containsKey(host));
    boolean sameHost = fresh.hostId().equals(trust.hostId());
    if (fresh.floorEpoch() > 0
        && (!sameHost
            || fresh.floorEpoch() != trust.floorEpoch()
            || fresh.floorSequence() != trust.floorSequence())) {
      HostState own = hosts.computeIfAbsent(fresh.hostId(), h -> new HostState());
      if (own.epoch != fresh.floorEpoch() || own.sequence < fresh.floorSequence() - 1) {
        own.epoch = fresh.floorEpoch();
        own.sequence = fresh.floorSequence() - 1;
        own.complete = true;
        own.parts = null;
      }
    }
    trust = fresh;
  }

  /**
   * Looks at a datagram.
   *
   * @param data what followed the Ethernet header
   * @param nowNs now, monotonic
   * @return whether a list was accepted
   */
  boolean receive(byte[] data, long nowNs) {
    ListCodec.Parsed parsed;
    try {
      parsed = ListCodec.decode(data);
    } catch (MalformedListException e) {
      tally.count(Tally.MALFORMED);
      return false;
    }
    ListPart list = parsed.list();
    PublicKey key = trust.keys().get(list.hostId());
    if (key == null) {
      tally.count(Tally.UNKNOWN_HOST);
      return false;
    }
    HostState host = hosts.get(list.hostId());
    if (host != null && !host.isNewer(list) && !awaited(host, list)) {
      tally.count(Tally.REPLAY);
      return false;
    }
    if (!mayCheck(nowNs)) {
      tally.count(Tally.THROTTLED);
      return false;
    }
    if (!Ed25519.verify(key, parsed.signed(), parsed.signature())) {
      tally.count(Tally.BAD_SIGNATURE);
      return false;
    }
    tally.count(Tally.RECEIVED);
    return accept(hosts.computeIfAbsent(list.hostId(), h -> new HostState()), list, nowNs);
  }

  private static boolean awaited(HostState host, ListPart list) {
    return !host.complete
        && host.isCurrent(list)
        && host.parts.length == list.parts()
        && host.parts[list.part()] == null;
  }

  private boolean mayCheck(long nowNs) {
    if (nowNs - windowStartNs >= TimeUnit.SECONDS.toNanos(1)) {
      windowStartNs = nowNs;
      windowChecks = 0;
    }
    return windowChecks++ < CHECKS_PER_SECOND;
  }

  private static boolean accept(HostState host, ListPart list, long nowNs) {
    if (!host.isCurrent(list) || host.complete) {
      host.epoch = list.epoch();
      host.sequence = list.sequence();
      host.complete = false;
      host.parts = new ListPart[list.parts()];
      host.missing = list.parts();
    }
    host.parts[list.part()] = list;
    if (--host.missing > 0) {
      return false;
    }
    List<Entry> entries = new ArrayList<>();
    int validMs = MAX_VALID_MS;
    for (ListPart part : host.parts) {
      entries.addAll(part.entries());
      validMs = Math.min(validMs, part.validMs());
    }
    host.entries = List.copyOf(entries);
    host.expiresNs = nowNs + TimeUnit.MILLISECONDS.toNanos(validMs);
    host.alive = true;
    host.complete = true;
    host.parts = null;
    return true;
  }

  /**
   * Time until the next list expires.
   *
   * @param nowNs now
   * @return nanoseconds, 0 if one has expired and {@link #expire} is due; negative if there is no
   *     list
   */
  long untilExpiry(long nowNs) {
    long least = -1;
    for (HostState host : hosts.values()) {
      if (host.alive) {
        long left = Math.max(0, host.expiresNs - nowNs);
        least = least < 0 ? left : Math.min(least, left);
      }
    }
    return least;
  }

  /** Forgets the lists that have expired; what was seen last is remembered against replays. */
  void expire(long nowNs) {
    for (Map.Entry<String, HostState> entry : hosts.entrySet()) {
      HostState host = entry.getValue();
      if (host.alive && host.expiresNs - nowNs <= 0) {
        host.alive = false;
        host.entries = List.of();
        tally.info("the list of host " + entry.getKey() + " has expired");
      }
    }
  }

  /**
   * The members that the lists make up. The own host's list is believed first; an entry of another
   * host that claims an address or MAC address that is taken is left out, and so is a second one
   * within a list.
   *
   * @return sorted by host id and domain id
   */
  List<Member> members() {
    List<String> order = new ArrayList<>(hosts.keySet());
    order.sort(
        Comparator.comparing((String host) -> !host.equals(trust.hostId()))
            .thenComparing(host -> host));
    Set<String> taken = new HashSet<>();
    Map<String, Set<Integer>> domids = new HashMap<>();
    List<Member> members = new ArrayList<>();
    for (String hostId : order) {
      boolean own = hostId.equals(trust.hostId());
      for (Entry entry : hosts.get(hostId).entries) {
        Set<String> claims = new HashSet<>(entry.addresses());
        claims.add(entry.mac());
        boolean first = domids.computeIfAbsent(hostId, h -> new HashSet<>()).add(entry.domid());
        if (!first || claims.stream().anyMatch(taken::contains)) {
          tally.count(Tally.DUPLICATE);
          continue;
        }
        taken.addAll(claims);
        members.add(
            new Member(
                hostId,
                entry.domid(),
                entry.name(),
                entry.mac(),
                entry.addresses(),
                entry.version(),
                own,
                own && entry.domid() == domid,
                entry.key()));
      }
    }
    members.sort(Comparator.comparing(Member::hostId).thenComparingInt(Member::domid));
    return members;
  }
}
