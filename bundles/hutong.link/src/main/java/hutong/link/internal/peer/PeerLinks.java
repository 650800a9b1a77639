// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.discovery.MembershipSnapshot;
import hutong.api.discovery.VmIdentity;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import hutong.platform.NanoClock;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.security.SecureRandom;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Consumer;
import java.util.function.Supplier;

/** The links with all peers, as users see them. */
final class PeerLinks implements PeerLink, AutoCloseable {
  private static final int MAX_WANTED = 4096;
  private static final int MAX_TOPIC = 255;

  private final PeerTally tally;
  private final boolean neighbours;
  private final PeerLoop loop;
  private final PeerTable table;
  private final List<PeerLinkListener> listeners = new CopyOnWriteArrayList<>();
  private final Map<PeerId, Connection> links = new ConcurrentHashMap<>();
  private final Map<PeerId, State> states = new ConcurrentHashMap<>();
  private final Set<PeerId> wanted = ConcurrentHashMap.newKeySet();

  /**
   * Starts the thread; nothing is connected before the members are known.
   *
   * @param listen where to listen; unless it is the wildcard address, connections go out from it
   * @param peerPort where peers listen
   * @param identity this VM's key, or null while it is not there
   * @param neighbours whether VMs of the own host are peers too
   * @param random for nonces, shares and the name of this life
   */
  PeerLinks(
      InetSocketAddress listen,
      int peerPort,
      PeerLimits limits,
      Supplier<VmIdentity> identity,
      boolean neighbours,
      PeerTally tally,
      NanoClock clock,
      SecureRandom random)
      throws IOException {
    this.tally = tally;
    this.neighbours = neighbours;
    this.loop =
        new PeerLoop(
            "hutong-peer-link", clock, e -> tally.complain(PeerTally.FAILED, "peer link: " + e));
    Dialer dialer = new Dialer(listen.getAddress(), peerPort);
    this.table = new PeerTable(loop, dialer, limits, identity, tally, random, new Events());
    Door door = new Door(loop, listen, limits, tally, clock, table);
    loop.execute(() -> table.open(door));
  }

  // What users call.

  @Override
  public void send(PeerId peer, int topic, byte[] payload) throws IOException {
    if (topic < 0 || topic > MAX_TOPIC || payload.length > MAX_MESSAGE) {
      throw new IllegalArgumentException("topic " + topic + ", " + payload.length + " bytes");
    }
    Connection link = links.get(peer);
    if (link == null) {
      want(peer);
      throw new IOException("no link to " + peer);
    }
    if (!link.offer(new Outbox.Message(topic, payload.clone()))) {
      tally.count(PeerTally.QUEUE_FULL);
      throw new IOException("the queue for " + peer + " is full");
    }
    if (link.needsFlush()) {
      loop.execute(link::flushQueue);
    }
  }

  @Override
  public boolean up(PeerId peer) {
    return links.containsKey(peer);
  }

  @Override
  public void want(PeerId peer) {
    if (wanted.contains(peer)) {
      return;
    }
    if (wanted.size() >= MAX_WANTED) {
      tally.complain(PeerTally.TOO_MANY, "no link with " + peer + ": too many are wanted");
    } else if (wanted.add(peer)) {
      loop.execute(() -> table.want(peer));
    }
  }

  @Override
  public Map<PeerId, State> list() {
    return new TreeMap<>(states);
  }

  /** Adds a listener and tells it of the links that are up. */
  void addListener(PeerLinkListener listener) {
    loop.execute(
        () -> {
          listeners.add(listener);
          new TreeMap<>(links).keySet().forEach(id -> tell(listener, l -> l.onPeerLinkUp(id)));
        });
  }

  /**
   * Removes a listener: what comes later it is not told. A call that is under way may still end.
   */
  void removeListener(PeerLinkListener listener) {
    if (listeners.remove(listener)) {
      return;
    }
    try { // it is about to be added
      loop.execute(() -> listeners.remove(listener));
    } catch (RejectedExecutionException e) {
      // closed before: nobody is called any more
    }
  }

  /** Takes over what the lists say now. */
  void members(MembershipSnapshot snapshot) {
    loop.execute(() -> table.take(Book.of(snapshot, neighbours)));
  }

  /** This VM's key is there, or another one. */
  void identityChanged() {
    loop.execute(table::attemptAll);
  }

  /** What happens on the links; on the loop's thread. */
  private final class Events implements PeerTable.Observer {
    @Override
    public void up(PeerId peer, Connection link) {
      links.put(peer, link);
      tell(l -> l.onPeerLinkUp(peer));
    }

    @Override
    public void message(PeerId peer, int topic, byte[] content) {
      tell(l -> l.onPeerMessage(peer, topic, content));
    }

    @Override
    public void down(PeerId peer, Connection link) {
      links.remove(peer, link);
      tell(l -> l.onPeerLinkDown(peer));
    }

    @Override
    public void forgotten(PeerId peer) {
      wanted.remove(peer); // first: who is told may want it again
      tell(l -> l.onPeerForgotten(peer));
    }

    @Override
    public void state(PeerId peer, State state) {
      if (state == null) {
        states.remove(peer);
      } else {
        states.put(peer, state);
      }
    }
  }

  private void tell(Consumer<PeerLinkListener> event) {
    listeners.forEach(listener -> tell(listener, event));
  }

  private void tell(PeerLinkListener listener, Consumer<PeerLinkListener> event) {
    try {
      event.accept(listener);
    } catch (RuntimeException | LinkageError e) {
      tally.complain(PeerTally.FAILED, "a listener failed: " + e);
    }
  }

  /** Runs a task on the loop's thread, after all that was asked for before. For tests. */
  void execute(Runnable task) {
    loop.execute(task);
  }

  /** Ends all links; listeners are not told. */
  @Override
  public void close() {
    loop.close();
    links.clear();
    table.close();
  }
}
