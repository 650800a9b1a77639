// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipListener;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.link.AgentLink;
import hutong.api.link.AgentLinkListener;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import hutong.api.os.Fd;
import hutong.api.telemetry.EventLog;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/**
 * The agent link where the VMs of a host share nothing but the bridge (on Xen): the links that also
 * lead to other hosts, encrypted and authenticated with the keys of the signed list. It passes no
 * descriptors. Thread-safe; listeners are called on the peer link's thread.
 */
final class NeighbourLink implements AgentLink, PeerLinkListener, MembershipListener {
  /** The peer link's topic for messages between the agents of one host. */
  static final int TOPIC = 3;

  private final EventLog log;
  private final List<AgentLinkListener> listeners = new CopyOnWriteArrayList<>();

  /** Guards what follows. */
  private final Object lock = new Object();

  private final TreeSet<Integer> up = new TreeSet<>();
  private PeerLink links;
  private String host;
  private List<PeerId> neighbours = List.of();

  NeighbourLink(EventLog log) {
    this.log = log;
  }

  // ---------------------------------------------------------------- service

  @Override
  public boolean connected() {
    synchronized (lock) {
      return links != null && host != null;
    }
  }

  @Override
  public void send(int receiver, byte[] payload, List<? extends Fd> fds) throws IOException {
    if (!fds.isEmpty()) {
      throw new IllegalArgumentException("descriptors do not go to another kernel");
    }
    PeerLink now;
    PeerId peer;
    synchronized (lock) {
      if (links == null || !up.contains(receiver)) {
        throw new IOException("the agent of domain " + receiver + " cannot be reached");
      }
      now = links;
      peer = new PeerId(host, receiver);
    }
    now.send(peer, TOPIC, payload);
  }

  /** Adds a listener and tells it who can be reached. */
  void addListener(AgentLinkListener listener) {
    List<Integer> known;
    synchronized (lock) {
      listeners.add(listener);
      known = List.copyOf(up);
    }
    known.forEach(domid -> tell(listener, l -> l.onPeerUp(domid)));
  }

  /** Removes a listener; a call that is under way may still reach it. */
  void removeListener(AgentLinkListener listener) {
    listeners.remove(listener);
  }

  // ---------------------------------------------------------------- what it stands on

  /** The links are there. */
  void link(PeerLink service) {
    synchronized (lock) {
      links = service;
    }
    want();
  }

  /** These links are gone. */
  void unlink(PeerLink service) {
    List<Integer> lost;
    synchronized (lock) {
      if (links != service) {
        return;
      }
      links = null;
      lost = List.copyOf(up);
      up.clear();
    }
    lost.forEach(domid -> tellAll(l -> l.onPeerDown(domid)));
  }

  /**
   * Who is a neighbour shows only once this VM knows its host: links may have come up before that,
   * and those with the neighbours on a host that it has left are of no use.
   */
  @Override
  public void membershipChanged(MembershipSnapshot snapshot) {
    List<Integer> lost = new ArrayList<>();
    List<Integer> found = new ArrayList<>();
    synchronized (lock) {
      String before = host;
      for (Member member : snapshot.members()) {
        if (member.self()) {
          host = member.hostId();
        }
      }
      if (before != null && !before.equals(host)) {
        lost.addAll(up);
        up.clear();
      }
      neighbours =
          snapshot.members().stream()
              .filter(member -> member.coResident() && !member.self())
              .map(member -> new PeerId(member.hostId(), member.domid()))
              .toList();
      for (PeerId peer : neighbours) {
        if (links != null && links.up(peer) && up.add(peer.domid())) {
          found.add(peer.domid());
        }
      }
    }
    lost.forEach(domid -> tellAll(l -> l.onPeerDown(domid)));
    found.forEach(domid -> tellAll(l -> l.onPeerUp(domid)));
    want();
  }

  private void want() {
    PeerLink now;
    List<PeerId> wanted;
    synchronized (lock) {
      now = links;
      wanted = neighbours;
    }
    if (now != null) {
      wanted.forEach(now::want);
    }
  }

  private boolean isNeighbour(PeerId peer) {
    synchronized (lock) {
      return peer.hostId().equals(host);
    }
  }

  @Override
  public void onPeerMessage(PeerId from, int topic, byte[] payload) {
    if (topic == TOPIC && isNeighbour(from)) {
      tellAll(l -> l.onMessage(from.domid(), payload, List.of()));
    }
  }

  @Override
  public void onPeerLinkUp(PeerId peer) {
    boolean added;
    synchronized (lock) {
      added = peer.hostId().equals(host) && up.add(peer.domid());
    }
    if (added) {
      tellAll(l -> l.onPeerUp(peer.domid()));
    }
  }

  @Override
  public void onPeerLinkDown(PeerId peer) {
    boolean removed;
    synchronized (lock) {
      removed = peer.hostId().equals(host) && up.remove(peer.domid());
    }
    if (removed) {
      tellAll(l -> l.onPeerDown(peer.domid()));
    }
  }

  private void tellAll(Consumer<AgentLinkListener> event) {
    listeners.forEach(listener -> tell(listener, event));
  }

  private void tell(AgentLinkListener listener, Consumer<AgentLinkListener> event) {
    try {
      event.accept(listener);
    } catch (RuntimeException e) {
      log.error("link", "listener: " + e);
    }
  }
}
