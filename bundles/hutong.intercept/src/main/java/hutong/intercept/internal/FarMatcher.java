// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.Channel;
import hutong.api.channel.ChannelTable;
import hutong.api.intercept.Reason;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.os.Fd;
import hutong.api.transport.Holding;
import hutong.api.transport.LightTransport;
import hutong.api.transport.Line;
import hutong.api.transport.LineOwner;
import hutong.api.transport.LineSpec;
import hutong.intercept.internal.PeerMessage.Type;
import java.io.IOException;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Matches the two ends of connections between hosts by their address pair (D1), and exchanges the
 * channel numbers (M2.3). Neither side allocates for the other: each has its own segment, with the
 * transport of its own agent at the other end.
 *
 * <pre>
 *   register            ---- OFFER (0) ---->        (not registered: forgotten)
 *                       <--- OFFER (0) -----        register
 *   CHANNEL to program  ---- OFFER (number) -->     CHANNEL to its program
 * </pre>
 *
 * An offer names the receiver's number where the sender knows it; one that does not is answered. It
 * also says which version the sender's transport speaks: with another one there is no channel. No
 * method may be called by two threads at once.
 */
final class FarMatcher {
  /** The topic of these messages on the link between agents. */
  static final int TOPIC = 1;

  /** What it works with. */
  interface World {
    /** This VM's channel numbers and quota. */
    ChannelTable table();

    /** Carries connections, or null while nobody does. */
    LightTransport transport();

    /** The way to the other agents, or null. */
    PeerLink link();

    /** The MAC address of a VM, as the signed lists have it; 0 if it is no member now. */
    long mac(PeerId peer);

    /** Another descriptor of a doorbell. */
    Fd duplicate(Fd doorbell) throws IOException;

    /** What has become of a program's socket. */
    Holding holding(AddressPair pair, long cookie);

    /** Milliseconds of a clock that only goes forward. */
    long nowMs();

    /** Counts. */
    MatchWorld.Meter meter();
  }

  private final World world;
  private final Map<AddressPair, Registration> byPair = new HashMap<>();
  private final Map<Long, Registration> byCookie = new HashMap<>();
  private int version;

  FarMatcher(World world) {
    this.world = world;
  }

  /** The registration of a socket, or null. */
  Registration registered(long cookie) {
    return byCookie.get(cookie);
  }

  /** The registrations whose program is there. */
  Collection<Registration> registrations() {
    return Collections.unmodifiableCollection(byCookie.values());
  }

  /** Whether connections to other hosts may be registered now. */
  boolean ready() {
    LightTransport now = world.transport();
    return now != null && now.enabled();
  }

  /**
   * Registers one end; see {@link Matcher#register}.
   *
   * @param end what the program's pool says
   * @return the registration, or null if there is no channel number left
   */
  Registration register(
      AddressPair pair,
      long cookie,
      int uid,
      PeerId peer,
      ProgramEnd end,
      Fd doorbell,
      Registration.Owner owner) {
    Channel channel = world.table().reserve(uid, 0).orElse(null);
    if (channel == null) {
      return null;
    }
    Registration registration =
        new Registration(pair, cookie, uid, channel, doorbell, owner, world.nowMs());
    registration.far = peer;
    registration.end = end;
    byCookie.put(cookie, registration);
    byPair.put(pair, registration);
    world.meter().count("intercept.far.registrations");
    PeerLink link = world.link();
    if (link != null) {
      link.want(peer);
      offer(registration);
    }
    return registration;
  }

  private void offer(Registration registration) {
    Channel channel = registration.channel;
    LightTransport now = world.transport();
    version = now == null ? version : now.version(); // it may be away for a moment
    PeerMessage message =
        PeerMessage.of(
            Type.OFFER, channel.number(), channel.peerNumber(), registration.pair, 0, version, 0);
    send(registration.far, message);
  }

  private void send(PeerId peer, PeerMessage message) {
    PeerLink link = world.link();
    try {
      if (link != null && link.up(peer)) {
        link.send(peer, TOPIC, message.encode());
      }
    } catch (IOException e) {
      world.meter().count("intercept.far.unsent"); // offers are repeated, see linkUp() and again()
    }
  }

  /** The program's end is gone: withdrawn, or the program is. */
  void unregister(Registration registration) {
    if (registration.localGone) {
      return;
    }
    forget(registration);
    if (registration.line != null) {
      registration.line.programGone();
    }
    if (registration.channel.peerNumber() != 0) {
      send(
          registration.far,
          PeerMessage.about(
              Type.CLOSED_ACK,
              registration.channel.number(),
              registration.channel.peerNumber(),
              0));
    }
    registration.channel.release();
  }

  private void forget(Registration registration) {
    registration.localGone = true;
    byCookie.remove(registration.cookie, registration);
    byPair.remove(registration.pair, registration);
  }

  /** A registration that has no channel yet shall get none; the owner is told. */
  void refuse(Registration registration, Reason reason) {
    if (!registration.localGone && !registration.in(Channel.State.OPEN)) {
      forget(registration);
      registration.channel.release();
      world.meter().reason(reason);
      registration.owner.onDeclined(registration, reason);
    }
  }

  /**
   * Why a registration has no channel now, or why that is not used; {@link Reason#NONE} if it is,
   * or is about to be.
   */
  Reason reason(Registration registration) {
    if (registration.in(Channel.State.OPEN)) {
      return registration.line.reason();
    }
    PeerLink link = world.link();
    if (link == null || !link.up(registration.far)) {
      return Reason.PEER_AGENT;
    }
    return world.nowMs() - registration.sinceMs >= Matcher.SILENT_MS
        ? Reason.PEER_SILENT
        : Reason.NONE;
  }

  /** A VM has been away for long: its agent is wanted again if programs have business with it. */
  void forgotten(PeerId peer) {
    PeerLink link = world.link();
    if (link != null && byCookie.values().stream().anyMatch(r -> r.far.equals(peer))) {
      link.want(peer);
    }
  }

  /** The agent of a VM can be reached: it has heard nothing yet. */
  void linkUp(PeerId peer) {
    for (Registration registration : List.copyOf(byCookie.values())) {
      if (registration.far.equals(peer) && registration.in(Channel.State.PENDING)) {
        offer(registration);
      }
    }
  }

  /** A message came. */
  void message(PeerId from, byte[] payload) {
    PeerMessage message = PeerMessage.decode(payload);
    if (message == null || message.version() != PeerMessage.VERSION) {
      world.meter().count("intercept.peer.malformed");
      return;
    }
    if (message.type() == Type.OFFER) {
      onOffer(from, message);
    } else if (message.type() == Type.CLOSED_ACK) {
      onClosed(from, message);
    }
  }

  private void onOffer(PeerId from, PeerMessage message) {
    Registration registration = byPair.get(message.pair().flipped());
    if (registration == null || !registration.far.equals(from) || message.number() == 0) {
      world.meter().count("intercept.offers.unmatched");
      return;
    }
    Channel channel = registration.channel;
    if (registration.in(Channel.State.PENDING)) {
      LightTransport now = world.transport();
      if (now != null && message.ringSize() != now.version()) {
        offer(registration); // so that the other end knows it too
        refuse(registration, Reason.VERSION);
        return;
      }
      channel.peer(message.number(), world.mac(from));
      if (!open(registration)) {
        return;
      }
    } else if (channel.peerNumber() != message.number()) {
      return; // of another life of that agent: its program keeps what it has
    }
    if (message.peerNumber() != channel.number()) {
      offer(registration);
    }
  }

  private boolean open(Registration registration) {
    Channel channel = registration.channel;
    LightTransport transport = world.transport();
    if (transport == null || !transport.enabled()) {
      refuse(registration, Reason.INTER_HOST);
      return false;
    }
    if (!channel.charge(transport.ringSize(), transport.overSize())) {
      refuse(registration, Reason.QUOTA);
      return false;
    }
    AddressPair pair = registration.pair;
    try {
      Line line =
          transport.open(
              new LineSpec(
                  registration.far,
                  channel.number(),
                  channel.peerNumber(),
                  world.mac(registration.far),
                  pair.local().raw(),
                  pair.remote().raw(),
                  registration.cookie,
                  program(registration)),
              world.duplicate(registration.doorbell));
      registration.line = line;
      registration.ringSize = transport.ringSize();
      registration.overSize = transport.overSize();
      registration.peerMac = world.mac(registration.far);
      channel.state(Channel.State.OPEN);
      registration.opened = true;
      registration.owner.onChannel(registration, 0, line.segment(), line.bell());
      return true;
    } catch (IOException e) {
      refuse(registration, Reason.MEMORY);
      return false;
    }
  }

  /** Another transport carries connections now: it goes on with what stands. */
  void transportIs(LightTransport transport) {
    for (Registration registration : List.copyOf(byCookie.values())) {
      if (registration.in(Channel.State.OPEN)) {
        try {
          registration.line = transport.resume(owner(registration));
        } catch (IOException e) {
          world.meter().count("intercept.far.lost");
          registration.owner.onLost(registration);
        }
      }
    }
  }

  private LineOwner owner(Registration registration) {
    ProgramEnd end = registration.end;
    return new LineOwner(
        registration.channel.number(),
        registration.cookie,
        end.pid(),
        end.bell(),
        end.peerBell(),
        program(registration));
  }

  private FarProgram program(Registration registration) {
    AddressPair pair = registration.pair;
    long cookie = registration.cookie;
    return new FarProgram(cookie, () -> world.holding(pair, cookie), registration.end);
  }

  private void onClosed(PeerId from, PeerMessage message) {
    for (Registration registration : byCookie.values()) {
      if (registration.channel.number() == message.peerNumber()
          && registration.far.equals(from)
          && registration.channel.peerNumber() == message.number()) {
        registration.owner.onPeerGone(registration);
        return;
      }
    }
  }

  /** Gives everything back; what stands between programs stays. */
  void close() {
    for (Registration registration : List.copyOf(byCookie.values())) {
      forget(registration);
      registration.channel.release();
    }
  }
}
