// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.Channel;
import hutong.api.channel.ChannelProvider;
import hutong.api.channel.SegmentException;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.intercept.internal.PeerMessage.Type;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Matches the two ends of connections by their address pair (D1) and exchanges MAC address and
 * channel number with the agents of the other VMs of this host (M2.3). Of two agents, the one with
 * the lower domain id allocates.
 *
 * <pre>
 *   lower domain id (allocates)                     higher domain id
 *   register: PENDING   ---- OFFER ---->            (not registered: forgotten)
 *                       <--- OFFER -----            register: PENDING
 *   SETUP               ---- SETUP [segment, doorbell] ---->
 *                       <--- SETUP_OK [doorbell] ---        OPEN, CHANNEL to its program
 *   OPEN, CHANNEL to its program
 * </pre>
 *
 * An offer that meets no registration need not be kept: whoever registers later offers, and meets
 * the earlier one. The higher one answers an offer that meets its registration with its own, so
 * that the lower one learns its number.
 *
 * <p>No method may be called by two threads at once. A message may be lost only where the link says
 * so ({@link #undelivered}), or when the peer or the way to it goes down; then both start again
 * from their greetings. A session number tells whether the other one still knows what was before.
 */
final class Matcher {
  /** Milliseconds after which a registration without a match is called silent. */
  static final long SILENT_MS = 1_000;

  /** Milliseconds a peer's agent may be away before what was shared with it is given up. */
  static final long FORGET_MS = 10_000;

  /**
   * After so many no more is offered for that connection: each costs work, and on Xen memory that a
   * peer may keep.
   */
  private static final int MOST_TURNED_DOWN = 8;

  /** Milliseconds a peer's agent that is there may take to answer a set-up. */
  static final long SETUP_MS = 30_000;

  private final MatchWorld world;
  private final Courier courier;
  private final SetupLimits setups;
  private final int self;
  private final Map<AddressPair, Registration> byPair = new HashMap<>();
  private final Map<Long, Registration> byCookie = new HashMap<>();
  private final Map<Integer, Peer> peers = new HashMap<>();

  /**
   * A matching without peers or registrations.
   *
   * @param self this VM's domain id
   * @param world what it works with
   */
  Matcher(int self, MatchWorld world) {
    this.self = self;
    this.world = world;
    this.courier = new Courier(world);
    this.setups =
        new SetupLimits(world.timers(), SETUP_MS, late -> refuse(late, Reason.PEER_AGENT));
  }

  /** This VM's MAC address, 48 bits in the low end; 0 while unknown. */
  void mac(long newMac) {
    courier.mac(newMac);
  }

  // ---------------------------------------------------------------- programs

  /** The registration of a socket, or null. */
  Registration registered(long cookie) {
    return byCookie.get(cookie);
  }

  /**
   * Registers one end. The caller has checked that the socket belongs to the program and the VM,
   * and that it is not registered. Answers come through the owner, possibly before this returns.
   *
   * @param doorbell the program's doorbell; stays the caller's, who keeps it open until the
   *     registration is over
   * @return the registration, or null if there is no channel number left; then the caller declines
   */
  Registration register(
      AddressPair pair, long cookie, int uid, int peerVm, Fd doorbell, Registration.Owner owner) {
    Channel channel = world.table().reserve(uid, peerVm).orElse(null);
    if (channel == null) {
      return null;
    }
    Registration registration =
        new Registration(pair, cookie, uid, channel, doorbell, owner, world.timers().nowMs());
    byCookie.put(cookie, registration);
    // Only one socket of a pair can be alive: the newest one is.
    byPair.put(pair, registration);
    Peer peer = peer(peerVm);
    peer.entries.put(channel.number(), registration);
    world.meter().count("intercept.registrations");
    if (peer.state == Peer.State.UP) {
      courier.offer(peer, registration);
    }
    return registration;
  }

  /** The program's end is gone: withdrawn, or the program is. */
  void unregister(Registration registration) {
    if (registration.localGone) {
      return;
    }
    dropLocal(registration);
    Channel.State was = registration.channel.state();
    if (was == Channel.State.PENDING) {
      release(registration);
    } else if (registration.remoteGone) {
      // The peer waits for this; nothing is left here to say it again from, hence the kind that is
      // kept as it is.
      courier.closedAck(peer(registration.channel.peerVm()), registration);
      release(registration);
    } else {
      registration.channel.state(Channel.State.CLOSING);
      courier.closed(peer(registration.channel.peerVm()), registration);
    }
  }

  /**
   * A registration that has no channel yet shall get none; the owner is told. One that has a
   * channel is left alone.
   */
  void refuse(Registration registration, Reason reason) {
    if (registration.localGone || registration.in(Channel.State.OPEN)) {
      return;
    }
    Channel channel = registration.channel;
    if (registration.in(Channel.State.SETUP)) {
      refuseBoth(peer(channel.peerVm()), registration, channel.peerNumber(), reason);
    } else {
      decline(registration, reason);
    }
  }

  /** The channel of an address has a new domain id: the VM there was started anew. */
  void moved(Registration registration, int peerVm) {
    Channel channel = registration.channel;
    if (registration.localGone
        || channel.state() != Channel.State.PENDING
        || channel.peerVm() == peerVm) {
      return;
    }
    peer(channel.peerVm()).entries.remove(channel.number());
    channel.peerVm(peerVm);
    Peer peer = peer(peerVm);
    peer.entries.put(channel.number(), registration);
    if (peer.state == Peer.State.UP) {
      courier.offer(peer, registration);
    }
  }

  /** The registrations whose program is there. */
  Collection<Registration> registrations() {
    return Collections.unmodifiableCollection(byCookie.values());
  }

  /** Why a registration has no channel now; {@link Reason#NONE} if it has, or is being matched. */
  Reason reason(Registration registration) {
    if (registration.in(Channel.State.OPEN)) {
      return Reason.NONE;
    }
    Peer.State state = peer(registration.channel.peerVm()).state;
    if (state == Peer.State.INCOMPATIBLE) {
      return Reason.VERSION;
    }
    if (state != Peer.State.UP) {
      return Reason.PEER_AGENT;
    }
    return world.timers().nowMs() - registration.sinceMs >= SILENT_MS
        ? Reason.PEER_SILENT
        : Reason.NONE;
  }

  /** How far the acquaintance with the agent of a VM goes. */
  Peer.State peerState(int domid) {
    return peer(domid).state;
  }

  /** Gives everything back; nothing is sent. */
  void close() {
    for (Peer peer : peers.values()) {
      for (Registration registration : List.copyOf(peer.entries.values())) {
        dropLocal(registration);
        release(registration);
      }
      peer.state(Peer.State.DOWN);
    }
  }

  /**
   * These domains of the host live, by the hypervisor's word. Memory that was shared with another
   * one brings nothing any more, and TCP would never tell: the connections are lost. One whose
   * other end has been closed before, or taken back to TCP, is not: only its memory is let go of.
   */
  void alive(Set<Integer> domids) {
    for (Registration registration : List.copyOf(byCookie.values())) {
      if (!registration.in(Channel.State.OPEN)
          || registration.domainGone
          || domids.contains(registration.channel.peerVm())) {
        continue;
      }
      registration.domainGone = true;
      if (registration.remoteGone && !registration.remoteForgotten) {
        registration.owner.onDomainGone(registration);
      } else {
        registration.remoteGone = true;
        world.meter().count("intercept.channels.lost");
        registration.owner.onLost(registration);
      }
    }
  }

  // ---------------------------------------------------------------- the link

  /** The agent of a VM can be reached. */
  void peerUp(int domid) {
    if (domid == self) {
      return;
    }
    Peer peer = peer(domid);
    if (peer.state == Peer.State.UP) {
      return; // its greeting was quicker
    }
    peer.state(Peer.State.GREETING);
    courier.hello(peer);
  }

  /** The agent of a VM cannot be reached. */
  void peerDown(int domid) {
    Peer peer = peer(domid);
    if (peer.state == Peer.State.DOWN) {
      return;
    }
    peer.state(Peer.State.DOWN);
    peer.again.clear();
    int change = peer.changes;
    world
        .timers()
        .after(
            FORGET_MS,
            () -> {
              if (peer.changes == change) {
                forget(peer);
                peer.ownSession = newSession();
              }
            });
  }

  /** There is no link. */
  void allDown() {
    List.copyOf(peers.keySet()).forEach(this::peerDown);
  }

  /** A message of ours met a full queue. */
  void undelivered(int domid, byte[] payload) {
    PeerMessage message = PeerMessage.decode(payload);
    if (message != null && message.version() == PeerMessage.VERSION) {
      world.meter().count("intercept.undelivered");
      courier.again(peer(domid), message);
    }
  }

  /**
   * A message came.
   *
   * @param from the sender's domain id, as the router says
   * @param payload what it sent
   * @param received the descriptors that came with it; become the matching's
   */
  void message(int from, byte[] payload, List<Fd> received) {
    List<Fd> fds = new ArrayList<>(received); // what a step hands on, it takes out of here
    try {
      PeerMessage message = PeerMessage.decode(payload);
      if (message == null || from == self || from == 0) {
        world.meter().count("intercept.peer.malformed");
        return;
      }
      Peer peer = peer(from);
      if (message.type() == Type.HELLO || message.type() == Type.HELLO_ACK) {
        onHello(peer, message);
      } else if (peer.state == Peer.State.UP && message.version() == PeerMessage.VERSION) {
        dispatch(peer, message, fds);
      }
    } finally {
      fds.forEach(Fd::close);
    }
  }

  private void dispatch(Peer peer, PeerMessage message, List<Fd> fds) {
    switch (message.type()) {
      case OFFER -> onOffer(peer, message);
      case SETUP -> onSetup(peer, message, fds);
      case SETUP_OK -> onSetupOk(peer, message, fds);
      case REFUSED -> onRefused(peer, message);
      case CLOSED, CLOSED_ACK -> onClosed(peer, message);
      default -> throw new IllegalStateException("greeting");
    }
  }

  private void onHello(Peer peer, PeerMessage message) {
    boolean known = peer.session == message.session();
    if (!known && peer.session != 0) {
      forget(peer);
    }
    peer.session = message.session();
    if (message.type() == Type.HELLO) {
      courier.helloAck(peer);
    }
    if (message.version() != PeerMessage.VERSION) {
      peer.state(Peer.State.INCOMPATIBLE);
      return;
    }
    if (message.type() == Type.HELLO_ACK && peer.state == Peer.State.UP && known) {
      return;
    }
    peer.state(Peer.State.UP);
    courier.announce(peer);
  }

  private void onOffer(Peer peer, PeerMessage message) {
    Registration registration = byPair.get(message.pair().flipped());
    if (registration == null
        || registration.channel.peerVm() != peer.domid
        || message.number() == 0) {
      world.meter().count("intercept.offers.unmatched");
      return;
    }
    if (!registration.in(Channel.State.PENDING)) {
      return; // a repeated offer: the set-up is under way
    }
    if (self > peer.domid) {
      courier.offer(peer, registration);
      return;
    }
    registration.ringSize = world.provider().ringSize();
    registration.overSize = world.provider().overSize();
    if (!registration.channel.charge(registration.ringSize, registration.overSize)) {
      refuseBoth(peer, registration, message.number(), Reason.QUOTA);
      return;
    }
    try {
      registration.part = world.provider().share(peer.domid);
    } catch (IOException e) {
      refuseBoth(peer, registration, message.number(), Reason.MEMORY);
      return;
    }
    registration.channel.peer(message.number(), message.mac());
    registration.peerMac = message.mac();
    registration.channel.state(Channel.State.SETUP);
    courier.setup(peer, registration);
    setups.offered(registration);
  }

  private void onSetup(Peer peer, PeerMessage message, List<Fd> fds) {
    Registration registration = local(peer, message);
    if (registration == null
        || peer.domid > self
        || message.number() == 0
        || !registration.pair.equals(message.pair().flipped())) {
      courier.refuse(peer, message.peerNumber(), message.number(), Reason.NONE);
      return;
    }
    if (registration.in(Channel.State.OPEN)) {
      if (registration.channel.peerNumber() == message.number()) {
        courier.setupOk(peer, registration); // it did not see our answer
      } else {
        courier.refuse(peer, message.peerNumber(), message.number(), Reason.NONE);
      }
      return;
    }
    ChannelProvider.Part part = take(peer, message, fds);
    Reason wrong = part == null ? Reason.SEGMENT : Reason.NONE;
    if (part != null && !registration.channel.charge(message.ringSize(), message.overSize())) {
      wrong = Reason.QUOTA;
    }
    if (wrong != Reason.NONE) {
      if (part != null) {
        part.close();
      }
      refuseBoth(peer, registration, message.number(), wrong);
      return;
    }
    fds.remove(part.segment());
    fds.remove(part.doorbell());
    registration.port = part.port();
    registration.ringSize = message.ringSize();
    registration.overSize = message.overSize();
    opened(registration, message);
    courier.setupOk(peer, registration);
    registration.owner.onChannel(registration, 1, part.segment(), part.doorbell());
  }

  /** This VM's part of what the peer shares; null when it is not what it must be. */
  private ChannelProvider.Part take(Peer peer, PeerMessage message, List<Fd> fds) {
    boolean passed = world.provider().passesDescriptors();
    if (passed && (fds.size() != 2 || !world.check().isDoorbell(fds.get(1)))) {
      return null;
    }
    try {
      return world
          .provider()
          .take(peer.domid, message.ringSize(), message.overSize(), message.ticket(), fds);
    } catch (SegmentException e) {
      world.meter().count("intercept.segments.bad");
      return null;
    } catch (IOException e) {
      return null;
    }
  }

  private void onSetupOk(Peer peer, PeerMessage message, List<Fd> fds) {
    Registration registration = local(peer, message);
    if (registration == null
        || !registration.in(Channel.State.SETUP)
        || registration.channel.peerNumber() != message.number()) {
      return; // late, or repeated; an end that went away in between has said so itself
    }
    ChannelProvider.Part part = registration.part;
    boolean passed = part.doorbell() == null;
    if (fds.size() != (passed ? 1 : 0) || (passed && !world.check().isDoorbell(fds.get(0)))) {
      refuseBoth(peer, registration, message.number(), Reason.SEGMENT);
      return;
    }
    opened(registration, message);
    registration.part = null;
    registration.port = part.port();
    registration.owner.onChannel(
        registration, 0, part.segment(), passed ? fds.remove(0) : part.doorbell());
  }

  private void onRefused(Peer peer, PeerMessage message) {
    Registration entry = peer.entries.get(message.peerNumber());
    if (entry == null) {
      return;
    }
    if (message.reason() == 0) {
      if (entry.channel.peerNumber() != message.number()) {
        return; // about an earlier try
      }
      if (entry.localGone) {
        release(entry);
      } else if (entry.in(Channel.State.SETUP) && ++entry.turnedDown == MOST_TURNED_DOWN) {
        decline(entry, Reason.SEGMENT);
      } else if (entry.in(Channel.State.SETUP)) {
        backToPending(entry);
        courier.offerLater(peer, entry);
      }
      return;
    }
    boolean meant =
        entry.in(Channel.State.PENDING) || entry.channel.peerNumber() == message.number();
    if (entry.localGone && meant) {
      release(entry);
    } else if (meant && !entry.in(Channel.State.OPEN)) {
      decline(
          entry, Reason.isKnown(message.reason()) ? Reason.of(message.reason()) : Reason.SEGMENT);
    } else if (meant) {
      remoteGone(entry);
    }
  }

  private void onClosed(Peer peer, PeerMessage message) {
    Registration entry = peer.entries.get(message.peerNumber());
    if (entry == null
        || entry.in(Channel.State.PENDING)
        || entry.channel.peerNumber() != message.number()) {
      courier.acknowledge(peer, message);
      return;
    }
    if (entry.localGone) {
      courier.acknowledge(peer, message); // what was said before may have met a full queue
      release(entry);
    } else if (entry.in(Channel.State.SETUP)) {
      // It had opened and its program went away, but its SETUP_OK was lost: this end may match a
      // later one, whose offer may have come already.
      courier.acknowledge(peer, message);
      backToPending(entry);
      courier.offerLater(peer, entry);
    } else {
      remoteGone(entry);
    }
  }

  // ---------------------------------------------------------------- steps

  /** The live registration that a message's second number means, if it is one with this peer. */
  private static Registration local(Peer peer, PeerMessage message) {
    Registration entry = peer.entries.get(message.peerNumber());
    return entry == null || entry.localGone ? null : entry;
  }

  private void opened(Registration registration, PeerMessage message) {
    registration.peerMac = message.mac();
    registration.channel.peer(message.number(), message.mac());
    registration.channel.state(Channel.State.OPEN);
    registration.opened = true;
    world.meter().count("intercept.matches");
    world.meter().count("intercept.channels.opened");
  }

  /** Both programs get the same reason; the peer's agent is told. */
  private void refuseBoth(Peer peer, Registration registration, int peerNumber, Reason reason) {
    int number = registration.channel.number();
    decline(registration, reason);
    courier.refuse(peer, number, peerNumber, reason);
  }

  private void decline(Registration registration, Reason reason) {
    dropLocal(registration);
    release(registration);
    world.meter().reason(reason);
    registration.owner.onDeclined(registration, reason);
  }

  private static void remoteGone(Registration registration) {
    if (!registration.remoteGone) {
      registration.remoteGone = true;
      registration.owner.onPeerGone(registration);
    }
  }

  private void backToPending(Registration registration) {
    registration.closePart();
    registration.channel.refund();
    registration.channel.peer(0, 0);
    registration.channel.state(Channel.State.PENDING);
  }

  /** The program's part of a registration ends. */
  private void dropLocal(Registration registration) {
    if (!registration.localGone) {
      registration.localGone = true;
      byCookie.remove(registration.cookie, registration);
      byPair.remove(registration.pair, registration);
      registration.closePart();
    }
  }

  /** Both ends are gone: the number may be used again. */
  private void release(Registration registration) {
    Channel channel = registration.channel;
    if (peer(channel.peerVm()).entries.remove(channel.number(), registration)) {
      if (registration.opened) {
        world.meter().count("intercept.channels.closed");
      }
      channel.release();
    }
  }

  /** The peer knows nothing of what was before: its ends are gone. */
  private void forget(Peer peer) {
    for (Registration registration : new ArrayList<>(peer.entries.values())) {
      if (registration.localGone) {
        release(registration);
      } else if (registration.in(Channel.State.SETUP)) {
        backToPending(registration);
      } else if (registration.in(Channel.State.OPEN) && !registration.remoteGone) {
        registration.remoteForgotten = true;
        remoteGone(registration);
      }
    }
  }

  private Peer peer(int domid) {
    return peers.computeIfAbsent(domid, d -> new Peer(d, newSession()));
  }

  private long newSession() {
    long session;
    do {
      session = world.random().getAsLong();
    } while (session == 0);
    return session;
  }
}
