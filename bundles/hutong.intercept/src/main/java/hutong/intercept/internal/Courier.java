// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.Channel;
import hutong.api.channel.ChannelProvider;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.intercept.internal.PeerMessage.Type;
import java.io.IOException;
import java.util.List;

/**
 * Says what the matching has to say to its peers. What met a full queue is said again a little
 * later, built from the state of then, if it is still true. One thread.
 */
final class Courier {
  /** Milliseconds until a message is said again. */
  static final long AGAIN_MS = 250;

  /** So many answers at most wait for a peer that asks and does not read; it loses the rest. */
  private static final int ANSWERS_MAX = 8_192;

  private final MatchWorld world;
  private long mac;

  /** Makes a courier that knows no MAC address. */
  Courier(MatchWorld world) {
    this.world = world;
  }

  /** This VM's MAC address, 48 bits in the low end. */
  void mac(long newMac) {
    mac = newMac;
  }

  // ---------------------------------------------------------------- messages

  void hello(Peer peer) {
    send(peer, PeerMessage.hello(Type.HELLO, peer.ownSession), List.of());
  }

  void helloAck(Peer peer) {
    send(peer, PeerMessage.hello(Type.HELLO_ACK, peer.ownSession), List.of());
  }

  /** Says all that a peer must know that has just heard our greeting. */
  void announce(Peer peer) {
    for (Registration registration : List.copyOf(peer.entries.values())) {
      if (registration.localGone) {
        closed(peer, registration);
      } else if (registration.in(Channel.State.PENDING)) {
        offer(peer, registration);
      } else if (registration.in(Channel.State.SETUP)) {
        setup(peer, registration);
      }
    }
  }

  void offer(Peer peer, Registration registration) {
    send(peer, offerOf(registration), List.of());
  }

  /** For a peer that cannot take an offer just now. */
  void offerLater(Peer peer, Registration registration) {
    again(peer, offerOf(registration));
  }

  private PeerMessage offerOf(Registration registration) {
    return PeerMessage.of(
        Type.OFFER, registration.channel.number(), 0, registration.pair, mac, 0, 0);
  }

  void setup(Peer peer, Registration registration) {
    ChannelProvider.Part part = registration.part;
    send(
        peer,
        with(Type.SETUP, registration).withTicket(part.ticket()),
        part.doorbell() == null ? List.of(part.segment(), registration.doorbell) : List.of());
  }

  void setupOk(Peer peer, Registration registration) {
    List<Fd> fds =
        world.provider().passesDescriptors() ? List.of(registration.doorbell) : List.of();
    send(peer, with(Type.SETUP_OK, registration), fds);
  }

  private PeerMessage with(Type type, Registration registration) {
    Channel channel = registration.channel;
    return PeerMessage.of(
        type,
        channel.number(),
        channel.peerNumber(),
        registration.pair,
        mac,
        registration.ringSize,
        registration.overSize);
  }

  /** With {@link Reason#NONE}: not known here, or not any more. */
  void refuse(Peer peer, int number, int peerNumber, Reason reason) {
    send(peer, PeerMessage.about(Type.REFUSED, number, peerNumber, reason.number()), List.of());
  }

  /** This end is gone; the entry waits for the peer's. */
  void closed(Peer peer, Registration registration) {
    Channel channel = registration.channel;
    send(
        peer, PeerMessage.about(Type.CLOSED, channel.number(), channel.peerNumber(), 0), List.of());
  }

  /** This end is gone, as the peer's was before; the entry ends now. */
  void closedAck(Peer peer, Registration registration) {
    Channel channel = registration.channel;
    send(
        peer,
        PeerMessage.about(Type.CLOSED_ACK, channel.number(), channel.peerNumber(), 0),
        List.of());
  }

  /** Nothing of a channel that the peer closed is here: it need not wait. */
  void acknowledge(Peer peer, PeerMessage message) {
    if (message.type() == Type.CLOSED) {
      send(
          peer,
          PeerMessage.about(Type.CLOSED_ACK, message.peerNumber(), message.number(), 0),
          List.of());
    }
  }

  // ---------------------------------------------------------------- full queues

  /** Sends a message; the descriptors stay the caller's. To a peer that is down nothing is sent. */
  private void send(Peer peer, PeerMessage message, List<Fd> fds) {
    if (peer.state == Peer.State.DOWN && message.type() != Type.HELLO_ACK) {
      return; // all of it is said when the peer is back
    }
    try {
      world.outbox().send(peer.domid, message.encode(), fds);
    } catch (IOException e) {
      again(peer, message);
    }
  }

  /** Says a message again later. */
  void again(Peer peer, PeerMessage message) {
    boolean answer = message.type() == Type.REFUSED || message.type() == Type.CLOSED_ACK;
    if (peer.state == Peer.State.DOWN || (answer && peer.again.size() >= ANSWERS_MAX)) {
      return;
    }
    peer.again.add(message);
    if (!peer.againArmed) {
      peer.againArmed = true;
      world.timers().after(AGAIN_MS, () -> flush(peer));
    }
  }

  private void flush(Peer peer) {
    peer.againArmed = false;
    List<PeerMessage> messages = List.copyOf(peer.again);
    peer.again.clear();
    for (PeerMessage message : messages) {
      if (peer.state != Peer.State.DOWN) {
        sayAgain(peer, message);
      }
    }
  }

  /** Says again what is still true. */
  private void sayAgain(Peer peer, PeerMessage message) {
    Registration entry = peer.entries.get(message.number());
    boolean live = entry != null && !entry.localGone;
    boolean same = entry != null && entry.channel.peerNumber() == message.peerNumber();
    switch (message.type()) {
      case HELLO -> {
        if (peer.state == Peer.State.GREETING) {
          hello(peer);
        }
      }
      case HELLO_ACK -> {
        helloAck(peer);
        if (peer.state == Peer.State.UP) {
          announce(peer); // until now it did not listen
        }
      }
      case OFFER -> {
        if (live && entry.in(Channel.State.PENDING)) {
          offer(peer, entry);
        }
      }
      case SETUP -> {
        if (live && same && entry.in(Channel.State.SETUP)) {
          setup(peer, entry);
        }
      }
      case SETUP_OK -> {
        if (live && same && entry.in(Channel.State.OPEN)) {
          setupOk(peer, entry);
        }
      }
      case CLOSED -> {
        if (entry != null && entry.localGone && same) {
          closed(peer, entry);
        }
      }
      case REFUSED, CLOSED_ACK -> send(peer, message, List.of());
      default -> throw new IllegalStateException("no such type");
    }
  }
}
