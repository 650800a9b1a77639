// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;

/** What the matching knows of the agent of another VM of this host. */
final class Peer {
  /** How far the acquaintance goes. */
  enum State {
    /** No way to it. */
    DOWN,
    /** The way is there; its greeting is not yet. */
    GREETING,
    /** Both know each other's session. */
    UP,
    /** It speaks another version. */
    INCOMPATIBLE
  }

  final int domid;
  State state = State.DOWN;

  /** Ours with it; a new one says "I forgot what we had". */
  long ownSession;

  /** Its with us, 0 while never heard. */
  long session;

  /** Counts changes of {@link #state}, so that a timer sees whether it is still meant. */
  int changes;

  /** Registrations and closing channels with this peer, by own number. */
  final Map<Integer, Registration> entries = new HashMap<>();

  /** Messages that its full queue made the router drop; sent again a little later. */
  final Set<PeerMessage> again = new LinkedHashSet<>();

  boolean againArmed;

  Peer(int domid, long ownSession) {
    this.domid = domid;
    this.ownSession = ownSession;
  }

  void state(State newState) {
    state = newState;
    changes++;
  }
}
