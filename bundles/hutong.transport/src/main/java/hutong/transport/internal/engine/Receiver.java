// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.ControlWriter;
import hutong.transport.internal.datagram.Datagram;
import hutong.transport.internal.datagram.DropCause;
import java.util.Arrays;

/**
 * The receiving half of a flow: which datagrams are taken, where their bytes go, and when what must
 * be acknowledged (H-seq, H-idx, D4, D5). Bytes go to their place in the program's ring even when
 * earlier ones are missing, and are published once all before them are there.
 */
final class Receiver {
  private static final int SLOTS = FlowSettings.MOST_WINDOW;
  private static final int MASK = SLOTS - 1;

  private final ReceiveBuffer buffer;
  private final FlowCounters counters;
  private final long[] offsets = new long[SLOTS];

  /** Length of the datagram with that number; 0 where none is stored. */
  private final int[] lengths = new int[SLOTS];

  private int window;
  private long peerCapacity;

  /** The next number expected, 64 bits long. */
  private long next;

  /** One past the highest number known to have been sent. */
  private long highest;

  private long end;
  private long published;
  private long room;
  private long announcedConsumed;
  private long endOfStream = Sender.NEVER;
  private long leaveAt = Sender.NEVER;

  private boolean ackDue;
  private boolean namesDue;
  private boolean echoDue;
  private int echo;

  /** The number beyond the newest hole, until that hole is named. */
  private long holeEnd = Sender.NEVER;

  Receiver(ReceiveBuffer buffer, FlowCounters counters, long offset) {
    this.buffer = buffer;
    this.counters = counters;
    this.end = offset;
    this.published = offset;
    this.announcedConsumed = buffer.consumed();
    this.room = announcedConsumed + size();
  }

  /** Begins anew after a resume; what came too early is forgotten. */
  void restart(int firstSequence, int peerWindow) {
    start(firstSequence, peerWindow, peerCapacity);
  }

  /** Begins with the peer's first H-seq. */
  void start(int firstSequence, int peerWindow, long capacity) {
    window = peerWindow;
    peerCapacity = capacity;
    next = Integer.toUnsignedLong(firstSequence);
    highest = next;
    holeEnd = Sender.NEVER;
    Arrays.fill(lengths, 0);
    ackDue = false;
    namesDue = false;
    echoDue = false;
  }

  // ---------------------------------------------------------------- data

  /** Takes a data datagram, or says why not. */
  DropCause onData(Datagram datagram) {
    int ahead = datagram.sequence() - (int) next;
    if (ahead < -window || ahead >= window) {
      return DropCause.OUTSIDE_WINDOW;
    }
    long sequence = next + ahead;
    if (ahead < 0 || lengths[slot(sequence)] != 0) {
      ackDue = true; // its sender has not heard of it
      namesDue |= ahead >= 0;
      return DropCause.DUPLICATE;
    }
    long offset = end + (datagram.index() - (int) end);
    int length = datagram.length();
    if (!fitsBetween(sequence, offset, length)) {
      return DropCause.BAD_INDEX;
    }
    long limit = Math.min(leaveAt, endOfStream);
    if (offset >= limit || endOfStream != Sender.NEVER && offset + length > endOfStream) {
      return DropCause.PAST_END;
    }
    int taken = (int) Math.min(length, limit - offset);
    if (offset + taken > announcedRoom()) {
      return DropCause.OUTSIDE_CREDIT;
    }
    buffer.put(offset, datagram.data(taken));
    counters.dataBytesIn += taken;
    offsets[slot(sequence)] = offset;
    lengths[slot(sequence)] = taken;
    if (ahead == 0) {
      advance();
    }
    noteHighest(sequence);
    return DropCause.NONE;
  }

  /**
   * Whether a datagram agrees with its neighbours: it neither overlaps one nor lies out of order.
   */
  private boolean fitsBetween(long sequence, long offset, int length) {
    long missing = 0;
    long before = sequence - 1;
    while (before >= next && lengths[slot(before)] == 0) {
      before--;
      missing++;
    }
    long least = before < next ? end : offsets[slot(before)] + lengths[slot(before)];
    if (missing == 0 ? offset != least : offset < least + missing) {
      return false;
    }
    missing = 0;
    long after = sequence + 1;
    while (after < highest && lengths[slot(after)] == 0) {
      after++;
      missing++;
    }
    if (after >= highest) {
      return true;
    }
    long gap = offsets[slot(after)] - offset - length;
    return missing == 0 ? gap == 0 : gap >= missing;
  }

  private void advance() {
    while (lengths[slot(next)] != 0) {
      int slot = slot(next);
      end = offsets[slot] + lengths[slot];
      lengths[slot] = 0;
      next++;
    }
    if (next >= holeEnd) {
      holeEnd = Sender.NEVER;
    }
  }

  private void noteHighest(long sequence) {
    if (sequence > highest) {
      holeEnd = sequence;
    }
    highest = Math.max(highest, sequence + 1);
    if (holeEnd != Sender.NEVER && highest - holeEnd >= Sender.REORDERING) {
      holeEnd = Sender.NEVER;
      ackDue = true; // late by more than reordering explains: name it without being asked
      namesDue = true;
    }
  }

  /** Makes the contiguous bytes visible to the program. */
  void publish() {
    if (end > published) {
      published = end;
      buffer.publish(end);
    }
  }

  // ---------------------------------------------------------------- acknowledgements

  /** The peer requested an acknowledgement. */
  void onAckRequest() {
    ackDue = true;
    namesDue |= next < highest;
  }

  /** The peer asked by {@link Control#ASK}; all before its next number was sent. */
  void onAsk(int number, int nextSequence) {
    int ahead = nextSequence - (int) next;
    if (ahead > 0 && ahead <= window) {
      highest = Math.max(highest, next + ahead);
    }
    echo = number;
    echoDue = true;
    ackDue = true;
    namesDue = true;
  }

  /** Whether an acknowledgement is due that any datagram's header can carry. */
  boolean ackDue() {
    return ackDue;
  }

  /** Whether an acknowledgement is due that needs a control datagram of its own. */
  boolean controlDue() {
    return ackDue && namesDue || echoDue || creditDue();
  }

  /** A datagram with the newest H-ackseq and H-ackidx went out. */
  void headerSent() {
    if (!namesDue) {
      ackDue = false;
    }
  }

  /** Writes all that an acknowledgement says besides the header. */
  void writeAck(ControlWriter out) {
    announcedConsumed = buffer.consumed();
    room = Math.max(room, announcedConsumed + size());
    out.credit(announcedConsumed, room);
    if (next < highest) {
      writeMissing(out);
    }
    if (echoDue) {
      out.number(Control.ECHO, echo);
    }
    ackDue = false;
    namesDue = false;
    echoDue = false;
    counters.acksOut++;
  }

  private void writeMissing(ControlWriter out) {
    out.missing();
    int ranges = 0;
    long seen = highest;
    long sequence = next;
    while (sequence < highest) {
      if (lengths[slot(sequence)] != 0) {
        sequence++;
        continue;
      }
      if (ranges == Control.MOST_RANGES) {
        seen = sequence;
        break;
      }
      long first = sequence;
      while (sequence < highest && lengths[slot(sequence)] == 0) {
        sequence++;
      }
      out.range((int) (first - next), (int) (sequence - first));
      ranges++;
    }
    out.seen((int) (seen - next));
  }

  /**
   * Whether the peer must hear that the program consumed: a quarter of our buffer, or of the peer's
   * where that is smaller, since one of the two may be full.
   */
  private boolean creditDue() {
    long quarter = Math.max(1, Math.min(size(), peerCapacity) / 4);
    long consumed = buffer.consumed();
    return consumed - announcedConsumed >= quarter || consumed + size() - room >= quarter;
  }

  /** The room that was announced; more than that the peer must not use. */
  private long announcedRoom() {
    return room;
  }

  private long size() {
    return Math.min(buffer.size(), FlowStart.MOST_BYTES);
  }

  /** H-ackseq. */
  int nextSequence() {
    return (int) next;
  }

  /** End of the contiguous bytes: H-ackidx, and the offset to resume from. */
  long end() {
    return end;
  }

  long consumed() {
    return buffer.consumed();
  }

  /** Announces all the room there is, for a resume announcement. */
  long openRoom() {
    announcedConsumed = buffer.consumed();
    room = Math.max(room, announcedConsumed + size());
    return room;
  }

  // ---------------------------------------------------------------- end

  /** The peer's stream ends there (rule 17). */
  DropCause onEnd(long offset) {
    if (endOfStream != Sender.NEVER) {
      return offset == endOfStream ? DropCause.NONE : DropCause.MALFORMED_CONTROL;
    }
    if (offset < lastStored() || offset - end > FlowStart.MOST_BYTES) {
      return DropCause.MALFORMED_CONTROL;
    }
    endOfStream = offset;
    return DropCause.NONE;
  }

  private long lastStored() {
    long sequence = highest - 1;
    while (sequence >= next && lengths[slot(sequence)] == 0) {
      sequence--;
    }
    return sequence < next ? end : offsets[slot(sequence)] + lengths[slot(sequence)];
  }

  /** The END offset, or {@link Sender#NEVER}. */
  long endOfStream() {
    return endOfStream;
  }

  /** Whether the program sees all up to the END. */
  boolean ended() {
    return published == endOfStream;
  }

  /** Takes nothing from that offset on (D5). */
  void leave(long offset) {
    leaveAt = offset;
    for (long s = next; s < highest; s++) {
      int slot = slot(s);
      if (lengths[slot] != 0) {
        lengths[slot] = (int) Math.max(0, Math.min(lengths[slot], offset - offsets[slot]));
      }
    }
  }

  /** Whether the program sees all up to the offset of {@link #leave}. */
  boolean left() {
    return published >= leaveAt;
  }

  private static int slot(long sequence) {
    return (int) sequence & MASK;
  }
}
