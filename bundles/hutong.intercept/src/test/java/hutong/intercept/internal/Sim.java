// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.channel.SegmentException;
import hutong.api.channel.Segments;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.channel.internal.MemfdProvider;
import hutong.channel.internal.Table;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.PriorityQueue;
import java.util.Random;
import java.util.TreeMap;

/**
 * Agents of one host with a link that a test controls message by message, descriptors that are
 * counted, and a clock.
 */
final class Sim {
  static final int RING = 4096;
  static final int OVER = 8192;

  final Random random;
  final Map<Integer, Agent> agents = new TreeMap<>();
  final Map<List<Integer>, ArrayDeque<Packet>> queues = new HashMap<>();
  final Map<String, Integer> counts = new HashMap<>();
  private final PriorityQueue<Task> tasks = new PriorityQueue<>();
  private final List<SimFd> fds = new ArrayList<>();
  private long nowMs;
  private int serial;

  Sim(long seed) {
    random = new Random(seed);
  }

  /** A descriptor; copies share the identity of what they mean. */
  final class SimFd implements Fd {
    final String kind;
    final int thing;
    private boolean open = true;

    SimFd(String kind, int thing) {
      this.kind = kind;
      this.thing = thing;
      fds.add(this);
    }

    @Override
    public int number() {
      assertThat(open).as("use of a closed " + kind).isTrue();
      return 0;
    }

    @Override
    public boolean isOpen() {
      return open;
    }

    @Override
    public void close() {
      open = false;
    }

    SimFd copy() {
      assertThat(open).as("copy of a closed " + kind).isTrue();
      return new SimFd(kind, thing);
    }
  }

  record Packet(byte[] payload, List<Fd> fds) {
    void drop() {
      fds.forEach(Fd::close);
    }
  }

  private record Task(long atMs, int order, Agent agent, Runnable what)
      implements Comparable<Task> {
    @Override
    public int compareTo(Task other) {
      return atMs != other.atMs
          ? Long.compare(atMs, other.atMs)
          : Integer.compare(order, other.order);
    }
  }

  /** One agent's life; a crash ends it, and another object follows. */
  final class Agent {
    final int domid;
    final Table table;
    final Matcher matcher;
    boolean alive = true;
    boolean linked;

    Agent(int domid, int maxChannels) {
      this.domid = domid;
      this.table = new Table(new Table.Quota(1L << 40, maxChannels, maxChannels), random::nextInt);
      this.matcher =
          new Matcher(
              domid,
              new MatchWorld(
                  table,
                  new MemfdProvider(new SimSegments()),
                  (to, payload, sent) -> send(this, to, payload, sent),
                  new MatchWorld.Timers() {
                    @Override
                    public long nowMs() {
                      return nowMs;
                    }

                    @Override
                    public void after(long delayMs, Runnable task) {
                      tasks.add(new Task(nowMs + delayMs, serial++, Agent.this, task));
                    }
                  },
                  fd -> ((SimFd) fd).kind.equals("doorbell"),
                  new MatchWorld.Meter() {
                    @Override
                    public void count(String name) {
                      counts.merge(name, 1, Integer::sum);
                    }

                    @Override
                    public void reason(Reason reason) {
                      counts.merge(reason.name(), 1, Integer::sum);
                    }
                  },
                  random::nextLong));
      matcher.mac(0x0277_0000_0000L + domid);
    }
  }

  private final class SimSegments implements Segments {
    @Override
    public int ringSize() {
      return RING;
    }

    @Override
    public int overSize() {
      return OVER;
    }

    @Override
    public Fd allocate() {
      return new SimFd("segment", serial++);
    }

    @Override
    public Fd allocate(int ringSize, int overSize) {
      return allocate();
    }

    @Override
    public void verify(Fd segment, int ringSize, int overSize) throws SegmentException {
      if (!((SimFd) segment).kind.equals("segment") || ringSize != RING || overSize != OVER) {
        throw new SegmentException("not a segment");
      }
    }
  }

  /** One end of a connection, as its program sees it. */
  final class End implements Registration.Owner {
    final int domid;
    final int peer;
    final AddressPair pair;
    final SimFd doorbell = new SimFd("doorbell", serial++);
    Registration registration;
    int segment = -1;
    int side = -1;
    int peerDoorbell = -1;
    Reason declined;
    int peerGone;
    int lost;
    int domainGone;

    End(int domid, int peer, AddressPair pair) {
      this.domid = domid;
      this.peer = peer;
      this.pair = pair;
    }

    boolean register() {
      registration =
          agents.get(domid).matcher.register(pair, serial++, domid, peer, doorbell, this);
      return registration != null;
    }

    void unregister() {
      agents.get(domid).matcher.unregister(registration);
      doorbell.close();
    }

    @Override
    public void onChannel(Registration r, int newSide, Fd newSegment, Fd newDoorbell) {
      assertThat(r).isSameAs(registration);
      assertThat(segment).as("a second channel for one registration").isEqualTo(-1);
      assertThat(declined).isNull();
      side = newSide;
      segment = ((SimFd) newSegment).thing;
      peerDoorbell = ((SimFd) newDoorbell).thing;
      newSegment.close();
      newDoorbell.close();
    }

    @Override
    public void onPeerGone(Registration r) {
      assertThat(r).isSameAs(registration);
      assertThat(segment).as("a peer is gone that never was there").isNotNegative();
      peerGone++;
    }

    @Override
    public void onLost(Registration r) {
      assertThat(r).isSameAs(registration);
      lost++;
    }

    @Override
    public void onDomainGone(Registration r) {
      assertThat(r).isSameAs(registration);
      domainGone++;
    }

    @Override
    public void onDeclined(Registration r, Reason reason) {
      assertThat(declined).isNull();
      declined = reason;
      doorbell.close();
    }
  }

  /** Starts, or starts anew, the agent of a VM; it is not linked yet. */
  Agent start(int domid, int maxChannels) {
    Agent agent = new Agent(domid, maxChannels);
    agents.put(domid, agent);
    return agent;
  }

  /** Kills an agent: what it knew is gone. */
  void kill(int domid) {
    Agent agent = agents.get(domid);
    unlink(domid);
    agent.alive = false;
    agent.matcher.close();
  }

  void link(int domid) {
    Agent agent = agents.get(domid);
    if (agent.linked) {
      return;
    }
    agent.linked = true;
    for (Agent other : agents.values()) {
      if (other != agent && other.linked) {
        agent.matcher.peerUp(other.domid);
        other.matcher.peerUp(domid);
      }
    }
  }

  void unlink(int domid) {
    Agent agent = agents.get(domid);
    if (!agent.linked) {
      return;
    }
    agent.linked = false;
    for (Agent other : agents.values()) {
      if (other != agent && other.linked) {
        queue(domid, other.domid).forEach(Packet::drop);
        queue(domid, other.domid).clear();
        queue(other.domid, domid).forEach(Packet::drop);
        queue(other.domid, domid).clear();
        agent.matcher.peerDown(other.domid);
        other.matcher.peerDown(domid);
      }
    }
  }

  private void send(Agent from, int to, byte[] payload, List<Fd> sent) throws IOException {
    Agent receiver = agents.get(to);
    if (!from.linked || receiver == null || !receiver.linked) {
      throw new IOException("no way");
    }
    List<Fd> copies = new ArrayList<>();
    sent.forEach(fd -> copies.add(((SimFd) fd).copy()));
    queue(from.domid, to).add(new Packet(payload, copies));
  }

  ArrayDeque<Packet> queue(int from, int to) {
    return queues.computeIfAbsent(List.of(from, to), k -> new ArrayDeque<>());
  }

  /**
   * Delivers, or drops with notice, the first message of a queue that has one; false if none has.
   */
  boolean step(boolean lossy) {
    List<List<Integer>> busy =
        queues.keySet().stream()
            .filter(k -> !queues.get(k).isEmpty())
            .sorted((a, b) -> a.toString().compareTo(b.toString()))
            .toList();
    if (busy.isEmpty()) {
      return false;
    }
    List<Integer> key = busy.get(random.nextInt(busy.size()));
    Packet packet = queues.get(key).poll();
    if (lossy && random.nextInt(10) == 0) {
      packet.drop();
      agents.get(key.get(0)).matcher.undelivered(key.get(1), packet.payload);
    } else {
      agents.get(key.get(1)).matcher.message(key.get(0), packet.payload, packet.fds);
    }
    return true;
  }

  /** Delivers everything, without losses. */
  void drain() {
    for (int steps = 0; step(false); steps++) {
      assertThat(steps).as("messages without end").isLessThan(100_000);
    }
  }

  /** Moves the clock and runs what is due. */
  void advance(long ms) {
    nowMs += ms;
    while (!tasks.isEmpty() && tasks.peek().atMs <= nowMs) {
      Task task = tasks.poll();
      if (task.agent.alive) {
        task.what.run();
      }
    }
  }

  /** Lets everything come to rest. */
  void settle() {
    drain();
    for (int i = 0; i < 50; i++) {
      advance(Courier.AGAIN_MS);
      drain();
    }
  }

  long openFds(String kind) {
    return fds.stream().filter(fd -> fd.open && fd.kind.equals(kind)).count();
  }

  static AddressPair pair(int a, int b, int port) {
    return new AddressPair(Address.parse("10.0.0." + a), port, Address.parse("10.0.0." + b), 80);
  }

  /** Both ends of a new connection. */
  List<End> connection(int a, int b, int port) {
    AddressPair pair = pair(a, b, port);
    return List.of(new End(a, b, pair), new End(b, a, pair.flipped()));
  }
}
