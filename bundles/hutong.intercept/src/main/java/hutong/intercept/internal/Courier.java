// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.os.Fd;
import hutong.intercept.internal.PeerMessage.Type;
import java.io.IOException;
import java.util.List;
import java.util.function.BiConsumer;

/**
 * Sends the matching's messages; what met a full queue is said again a little later, if it is still
 * true then. One thread.
 */
final class Courier {
  /** Milliseconds until a message is said again. */
  static final long AGAIN_MS = 250;

  /** So many answers at most wait for a peer that asks and does not read; it loses the rest. */
  private static final int ANSWERS_MAX = 8_192;

  private final MatchWorld world;
  private final BiConsumer<Peer, PeerMessage> sayAgain;

  /**
   * Makes a courier.
   *
   * @param sayAgain sends a message again, built from the present state, or drops it
   */
  Courier(MatchWorld world, BiConsumer<Peer, PeerMessage> sayAgain) {
    this.world = world;
    this.sayAgain = sayAgain;
  }

  /** Sends a message; the descriptors stay the caller's. To a peer that is down nothing is sent. */
  void send(Peer peer, PeerMessage message, List<Fd> fds) {
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
        sayAgain.accept(peer, message);
      }
    }
  }
}
