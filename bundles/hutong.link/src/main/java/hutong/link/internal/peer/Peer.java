// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.link.PeerId;
import java.time.Duration;

/** What is known of one peer, and the connections with it. On the loop's thread. */
final class Peer {
  final PeerId id;

  /** Somebody here wants the link. */
  boolean wanted;

  /** The connection that is the link; null while there is none. */
  Connection up;

  /** Whether everybody has been told of {@link #up}. */
  boolean announced;

  /** The one that is being begun here. */
  Connection attempt;

  /** One begun by the peer, proved, which waits for what comes of {@link #attempt}. */
  Connection spare;

  /** The next attempt. */
  PeerLoop.Timer retry;

  /** Ends the link if the peer stays away from the lists. */
  PeerLoop.Timer away;

  /** Ends what is wanted of a peer that is in no list. */
  PeerLoop.Timer forget;

  /** Pause before the next attempt but one. */
  Duration pause;

  /** Which of the peer's addresses is tried. */
  int address;

  /** The life of the peer that sent the last KEEP, and that KEEP's number. */
  long keepSession;

  long keepNumber;

  Peer(PeerId id, Duration firstPause) {
    this.id = id;
    this.pause = firstPause;
  }

  boolean isIdle() {
    return up == null && attempt == null && spare == null;
  }
}
