// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/** This end's own END: repeated, with growing waits, until the peer knows it (rule 17). */
final class Ending {
  private long offset = Sender.NEVER;
  private boolean known;
  private int sent;
  private long nextAt;
  private long since;

  void begin(long finalOffset, long now) {
    offset = finalOffset;
    nextAt = now;
    since = now;
  }

  /** The peer may have forgotten it: it has restarted. */
  void repeat(long now) {
    known = false;
    sent = 0;
    nextAt = now;
    since = now;
  }

  boolean begun() {
    return offset != Sender.NEVER;
  }

  long offset() {
    return offset;
  }

  boolean due(long now) {
    return begun() && !known && now >= nextAt;
  }

  void sent(long now, Sender sender) {
    nextAt = now + sender.patienceNs(sent);
    sent++;
  }

  /** The peer knows an END; only that of this stream counts. */
  void onAck(long acknowledged) {
    known |= acknowledged == offset;
  }

  boolean known() {
    return known;
  }

  long deadline() {
    return begun() && !known ? nextAt : Sender.NEVER;
  }

  /** Since when it is not answered, or NEVER. */
  long unansweredSince() {
    return begun() && !known ? since : Sender.NEVER;
  }
}
