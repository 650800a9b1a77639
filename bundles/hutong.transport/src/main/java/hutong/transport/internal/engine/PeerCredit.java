// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * What is known of the peer's program: how much it consumed, and up to where there is room for it;
 * and when to ask for news of that because an announcement may have got lost.
 */
final class PeerCredit {
  private static final long FIRST_WAIT_NS = 2 * FlowSettings.MOST_WAIT_NS;

  private final SendBuffer buffer;
  private final long longestWaitNs;
  private long consumed;
  private long room;
  private long askAt = Sender.NEVER;
  private int asks;

  PeerCredit(FlowSettings settings, SendBuffer buffer) {
    this.buffer = buffer;
    this.longestWaitNs = settings.longestWaitNs();
  }

  void start(long consumedAlready, long roomUpTo) {
    consumed = consumedAlready;
    room = roomUpTo;
    stopAsking();
  }

  /** First offset that the peer's program has not consumed. */
  long consumed() {
    return consumed;
  }

  /** Offset up to which the peer has room. */
  long room() {
    return room;
  }

  /** Bytes of the peer's buffer, as far as this end knows. */
  long size() {
    return room - consumed;
  }

  /** Whether a credit contradicts what is acknowledged, or promises more than a buffer can hold. */
  static boolean plausible(long consumed, long room, long acknowledged) {
    return consumed >= 0
        && consumed <= acknowledged
        && room >= consumed
        && room - consumed <= FlowStart.MOST_BYTES;
  }

  /** Takes a credit. Returns whether it is news; an older one than known changes nothing. */
  boolean take(long newConsumed, long newRoom) {
    if (newRoom <= room && newConsumed <= consumed) {
      return false;
    }
    stopAsking();
    room = Math.max(room, newRoom);
    if (newConsumed > consumed) {
      consumed = newConsumed;
      buffer.consumedByPeer(newConsumed);
    }
    return true;
  }

  void stopAsking() {
    askAt = Sender.NEVER;
    asks = 0;
  }

  /** Everything hangs on news: asks after a while, if it does not yet. */
  void startAsking(long now) {
    if (askAt == Sender.NEVER) {
      askAt = now + waitNs();
    }
  }

  void asked(long now) {
    asks++;
    askAt = now + waitNs();
  }

  /** When the next request is due. */
  long askAt() {
    return askAt;
  }

  private long waitNs() {
    return Math.min(FIRST_WAIT_NS << Math.min(asks, 20), longestWaitNs);
  }
}
