// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * The datagrams that were sent and are not acknowledged: a window of sequence numbers, at most 256.
 * What was cut once stays as it is, so that a datagram that is sent again repeats H-seq, H-idx and
 * H-len (D4). Sequence numbers are 64 bits long here; their low 32 bits travel.
 */
final class Outstanding {
  private static final int SLOTS = FlowSettings.MOST_WINDOW;
  private static final int MASK = SLOTS - 1;
  private static final byte IN_FLIGHT = 1;
  private static final byte RECEIVED = 2;
  private static final byte LOST = 3;

  private final long[] offsets = new long[SLOTS];
  private final int[] lengths = new int[SLOTS];
  private final long[] sentAt = new long[SLOTS];
  private final long[] orders = new long[SLOTS];
  private final boolean[] resent = new boolean[SLOTS];
  private final boolean[] asking = new boolean[SLOTS];
  private final byte[] states = new byte[SLOTS];

  private long first;
  private long next;
  private int inFlight;
  private int lost;

  /** Begins anew with that sequence number. */
  void reset(long sequence) {
    first = sequence;
    next = sequence;
    inFlight = 0;
    lost = 0;
  }

  /** The first number that is not acknowledged. */
  long first() {
    return first;
  }

  /** The next number to be taken. */
  long next() {
    return next;
  }

  /** How many numbers are not acknowledged: what W limits. */
  int count() {
    return (int) (next - first);
  }

  /** Those of them that may still be under way. */
  int inFlight() {
    return inFlight;
  }

  /** Those of them that are to be sent again. */
  int lost() {
    return lost;
  }

  long offset(long sequence) {
    return offsets[slot(sequence)];
  }

  int length(long sequence) {
    return lengths[slot(sequence)];
  }

  long sentAt(long sequence) {
    return sentAt[slot(sequence)];
  }

  long order(long sequence) {
    return orders[slot(sequence)];
  }

  boolean wasResent(long sequence) {
    return resent[slot(sequence)];
  }

  boolean isReceived(long sequence) {
    return states[slot(sequence)] == RECEIVED;
  }

  boolean isInFlight(long sequence) {
    return states[slot(sequence)] == IN_FLIGHT;
  }

  boolean isLost(long sequence) {
    return states[slot(sequence)] == LOST;
  }

  /** Whether it asked for an acknowledgement when it was sent first. */
  boolean asked(long sequence) {
    return asking[slot(sequence)];
  }

  void setAsked(long sequence) {
    asking[slot(sequence)] = true;
  }

  /** Takes the next number for new data. */
  long add(long offset, int length, long order, long now) {
    int slot = slot(next);
    offsets[slot] = offset;
    lengths[slot] = length;
    orders[slot] = order;
    sentAt[slot] = now;
    resent[slot] = false;
    asking[slot] = false;
    states[slot] = IN_FLIGHT;
    inFlight++;
    return next++;
  }

  /** A lost one goes out again. */
  void setResent(long sequence, long order, long now) {
    int slot = slot(sequence);
    orders[slot] = order;
    sentAt[slot] = now;
    resent[slot] = true;
    states[slot] = IN_FLIGHT;
    lost--;
    inFlight++;
  }

  /** It has arrived out of order. */
  void setReceived(long sequence) {
    leave(sequence);
    states[slot(sequence)] = RECEIVED;
  }

  /** It is to be sent again. */
  void setLost(long sequence) {
    leave(sequence);
    states[slot(sequence)] = LOST;
    lost++;
  }

  /** Forgets the first one, which is acknowledged. */
  void removeFirst() {
    leave(first);
    first++;
  }

  /** Forgets the last one, which is not to be sent on this wire any more (D5). */
  void removeLast() {
    next--;
    leave(next);
  }

  /** Cuts the last one short (D5). */
  void shortenLast(int length) {
    lengths[slot(next - 1)] = length;
  }

  /** The first lost one from there on, or {@link #next()}. */
  long firstLost(long from) {
    long sequence = Math.max(from, first);
    while (sequence < next && !isLost(sequence)) {
      sequence++;
    }
    return sequence;
  }

  private void leave(long sequence) {
    switch (states[slot(sequence)]) {
      case IN_FLIGHT -> inFlight--;
      case LOST -> lost--;
      default -> {}
    }
  }

  private static int slot(long sequence) {
    return (int) sequence & MASK;
  }
}
