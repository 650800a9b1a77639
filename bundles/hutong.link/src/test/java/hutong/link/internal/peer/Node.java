// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLinkListener;
import hutong.api.telemetry.Counter;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.platform.NanoClock;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/** An agent's links on an address of the loopback interface; VM n is on host n at 127.0.0.n. */
final class Node implements PeerLinkListener, Counters, EventLog, AutoCloseable {
  static final int DEADLINE_S = 30;

  final int number;
  final Identity identity;
  final PeerLinks links;
  final BlockingQueue<String> heard = new LinkedBlockingQueue<>();
  final List<String> lines = new CopyOnWriteArrayList<>();
  private final Map<String, AtomicLong> counts = new ConcurrentHashMap<>();

  Node(int number, int port, Identity identity, PeerLimits limits) throws IOException {
    this(number, new InetSocketAddress(address(number), port), identity, limits);
  }

  Node(int number, InetSocketAddress listen, Identity identity, PeerLimits limits)
      throws IOException {
    this.number = number;
    this.identity = identity;
    this.links =
        new PeerLinks(
            listen,
            listen.getPort(),
            limits,
            () -> identity,
            false,
            new PeerTally(this, this, NanoClock.SYSTEM),
            NanoClock.SYSTEM,
            new SecureRandom());
    links.addListener(this);
  }

  static PeerId id(int number) {
    return new PeerId("PC" + number, 1);
  }

  static String address(int number) {
    return "127.0.0." + number;
  }

  /** Lists this VM and the others, with their keys. */
  void members(Map<Integer, Identity> others) {
    List<Member> members = new ArrayList<>();
    members.add(member(number, identity, true));
    new TreeMap<>(others).forEach((n, other) -> members.add(member(n, other, false)));
    members(members);
  }

  void members(List<Member> members) {
    links.members(new MembershipSnapshot(1, members));
    CountDownLatch taken = new CountDownLatch(1);
    links.execute(taken::countDown);
    try {
      assertThat(taken.await(DEADLINE_S, TimeUnit.SECONDS)).isTrue();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static Member member(int n, Identity key, boolean own) {
    return new Member(
        "PC" + n, 1, "VM" + n, "", List.of(address(n)), "1", own, own, key.publicKey());
  }

  void hears(String... expected) throws InterruptedException {
    for (String one : expected) {
      assertThat(heard.poll(DEADLINE_S, TimeUnit.SECONDS)).as("log: " + lines).isEqualTo(one);
    }
  }

  void send(int peer, String text) throws IOException {
    links.send(id(peer), 1, text.getBytes());
  }

  static void await(BooleanSupplier condition) {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
    while (!condition.getAsBoolean() && System.nanoTime() - deadline < 0) {
      LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(2));
    }
    assertThat(condition.getAsBoolean()).isTrue();
  }

  long count(String name) {
    return counter(name).value();
  }

  void counts(String name, long least) {
    await(() -> count(name) >= least);
  }

  @Override
  public void onPeerMessage(PeerId from, int topic, byte[] payload) {
    heard.add(from + " " + topic + " " + new String(payload));
  }

  @Override
  public void onPeerLinkUp(PeerId peer) {
    heard.add("up " + peer);
  }

  @Override
  public void onPeerForgotten(PeerId peer) {
    heard.add("forgotten " + peer);
  }

  @Override
  public void onPeerLinkDown(PeerId peer) {
    heard.add("down " + peer);
  }

  @Override
  public Counter counter(String name) {
    AtomicLong value = counts.computeIfAbsent(name, n -> new AtomicLong());
    return new Counter() {
      @Override
      public void add(long n) {
        value.addAndGet(n);
      }

      @Override
      public long value() {
        return value.get();
      }
    };
  }

  @Override
  public Map<String, Long> snapshot() {
    Map<String, Long> all = new TreeMap<>();
    counts.forEach((name, value) -> all.put(name, value.get()));
    return all;
  }

  @Override
  public void log(Level level, String source, String message) {
    lines.add(level + " " + message);
  }

  @Override
  public List<Event> recent() {
    return List.of();
  }

  @Override
  public void close() {
    links.close();
  }
}
