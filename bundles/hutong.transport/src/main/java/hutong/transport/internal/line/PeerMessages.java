// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import java.io.IOException;
import java.util.HashSet;
import java.util.Set;
import java.util.function.Supplier;

/** What is said to the peers' agents about lines, and how what they say is read. One thread. */
final class PeerMessages {
  /** The topic of line messages on the link between agents. */
  static final int TOPIC = 2;

  /** What became of a message. */
  enum Told {
    /** The link has taken it. */
    YES,
    /** The link is there, and has no room now. */
    LATER,
    /** There is no link. */
    NOBODY
  }

  private final Supplier<PeerLink> link;
  private final Trouble trouble;
  private final Set<PeerId> strangers = new HashSet<>();

  PeerMessages(Supplier<PeerLink> link, Trouble trouble) {
    this.link = link;
    this.trouble = trouble;
  }

  /** Makes the agents meet. */
  void want(PeerId peer) {
    PeerLink now = link.get();
    if (now != null) {
      now.want(peer);
    }
  }

  /** A peer is gone: should it come back with another version after all, that is news again. */
  void forget(PeerId peer) {
    strangers.remove(peer);
  }

  /** Says something about a line. */
  Told tell(PeerId peer, LineMessage message) {
    PeerLink now = link.get();
    if (now == null) {
      return Told.NOBODY;
    }
    try {
      now.send(peer, TOPIC, message.encode());
      return Told.YES;
    } catch (IOException e) {
      return now.up(peer) ? Told.LATER : Told.NOBODY;
    }
  }

  /** Says that a line is over here; false if the peer cannot be reached now: it will ask again. */
  boolean farewell(PeerId peer, LineMessage message) {
    PeerLink now = link.get();
    if (now == null || !now.up(peer)) {
      return false; // to send would make this agent want the link
    }
    boolean told = tell(peer, message) == Told.YES;
    if (!told) {
      trouble.count("transport.message.unsent");
    }
    return told;
  }

  /**
   * Reads a message; null if that cannot be: a line of such a peer is told nothing, and stays on
   * TCP.
   */
  LineMessage read(PeerId from, byte[] payload) {
    LineMessage message = LineMessage.decode(payload);
    if (message == null) {
      refuse(from, payload);
    }
    return message;
  }

  private void refuse(PeerId from, byte[] payload) {
    int version = LineMessage.version(payload);
    if (version == LineMessage.VERSION) {
      trouble.count("transport.message.malformed");
      return;
    }
    trouble.count("transport.message.version");
    if (strangers.add(from)) {
      trouble.warn(
          from
              + " speaks version "
              + version
              + " of the messages about lines, this agent "
              + LineMessage.VERSION
              + ": connections with it stay on TCP");
    }
  }
}
