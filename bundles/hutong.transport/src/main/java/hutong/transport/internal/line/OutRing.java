// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.transport.Debt;
import hutong.platform.abi.Abi;
import hutong.platform.abi.DirLayout;
import hutong.platform.abi.SegmentLayout;
import hutong.transport.internal.engine.SendBuffer;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;

/**
 * The direction that the program writes: the agent is its consumer. Room is given back only for
 * what the far program has consumed, so that the near one can send the rest again by TCP (rule 7).
 * The program writes these words too: each is loaded once and bounded before it is used.
 */
final class OutRing implements SendBuffer {
  /** The direction's number in the segment: the program is at side 0. */
  static final int SIDE = 0;

  private static final int DIR = SegmentLayout.dir(SIDE);

  private final ByteBuffer memory;
  private final ByteBuffer bytes;
  private final int ringSize;
  private final int overSize;
  private final int ringAt;
  private final int overAt;
  private final Bell bell;
  private long start;
  private long head;
  private long tail;
  private long limit = Long.MAX_VALUE;

  /**
   * Stands at a fresh segment.
   *
   * @param memory all of it, in host order
   */
  OutRing(ByteBuffer memory, int ringSize, int overSize, Bell bell) {
    this.memory = memory;
    this.bytes = memory.duplicate();
    this.ringSize = ringSize;
    this.overSize = overSize;
    this.ringAt = Abi.PAGE + SIDE * ringSize;
    this.overAt = Abi.PAGE + 2 * ringSize + SIDE * overSize;
    this.bell = bell;
  }

  // ---------------------------------------------------------------- rounds

  /** Lets the program go to the ring in that round (rule 4). */
  void arm(int round) {
    // Nobody else moves the word now: the last round is over for both.
    Words.putLong(memory, DIR + DirLayout.TURN, Turn.of(round, Abi.TURN_OPEN, 0));
    // Release: the word before the program may rely on it.
    Words.putInt(memory, DIR + DirLayout.CONS_ROUND, round);
  }

  /** The same for a round that was stopped before: the program passes it over. */
  void armStopped(int round, long offset) {
    if (!armed(round)) { // else by an earlier agent, and the program may have passed it over
      Words.putLong(memory, DIR + DirLayout.TURN, Turn.of(round, Abi.TURN_STOPPED, offset));
      Words.putInt(memory, DIR + DirLayout.CONS_ROUND, round); // release, as above
    }
    limit = offset;
  }

  /** Whether the program has gone to the ring in that round. */
  boolean announced(int round) {
    return Words.getInt(memory, DIR + DirLayout.PROD_ROUND) == round;
  }

  /** Whether the round is over for the program, and all that it owed was sent by TCP. */
  boolean done(int round) {
    return Words.getInt(memory, DIR + DirLayout.PROD_DONE) == round;
  }

  /**
   * Takes a round up that was announced (rule 5).
   *
   * @return S
   */
  long takeUp(int round) {
    // Either this, or the program has closed already: the bytes are to be taken in both cases.
    Words.compareAndSet(
        memory,
        DIR + DirLayout.TURN,
        Turn.of(round, Abi.TURN_OPEN, 0),
        Turn.of(round, Abi.TURN_OPEN, 1));
    start = Words.getLong(memory, DIR + DirLayout.START);
    if (start < tail || start > Long.MAX_VALUE >>> 2) {
      throw new Hostile("a round that starts at " + start);
    }
    head = start;
    tail = start;
    limit = Long.MAX_VALUE;
    Words.putLong(memory, DIR + DirLayout.HEAD, head);
    look();
    return start;
  }

  /**
   * Stops the program there (rule 7).
   *
   * @return false when it has closed before: all that it wrote is to be delivered
   */
  boolean stop(int round, long offset) {
    long turn = Words.getLong(memory, DIR + DirLayout.TURN);
    boolean stopped =
        Turn.is(turn, round, Abi.TURN_OPEN)
            && Words.compareAndSet(
                memory, DIR + DirLayout.TURN, turn, Turn.of(round, Abi.TURN_STOPPED, offset));
    if (stopped || turnIs(round, Abi.TURN_STOPPED) || turnIs(round, Abi.TURN_OWED)) {
      limit = offset; // also one that was stopped by an earlier agent
      return true;
    }
    return false;
  }

  /** Stands where an earlier agent stood in that round; see {@link #takeUp}. */
  void resume(long s) {
    start = s;
    long at = Words.getLong(memory, DIR + DirLayout.HEAD);
    long end = Words.getLong(memory, DIR + DirLayout.TAIL);
    if (at < s || end < at || end - at > (long) ringSize + overSize) {
      throw new Hostile("a head of " + at + " and a tail of " + end + " after " + s);
    }
    head = at;
    tail = end;
  }

  /** Whether that round is armed, or a later one. */
  boolean armed(int round) {
    return Words.getInt(memory, DIR + DirLayout.CONS_ROUND) == round;
  }

  boolean turnIs(int round, int how) {
    return Turn.is(Words.getLong(memory, DIR + DirLayout.TURN), round, how);
  }

  /** What the program owes when it was stopped in that round. */
  Debt debt(int round) {
    return new Debt() {
      @Override
      public int round() {
        return round;
      }

      @Override
      public long most() {
        return (long) ringSize + overSize;
      }

      @Override
      public long accept() {
        long turn = Words.getLong(memory, DIR + DirLayout.TURN);
        if (Turn.is(turn, round, Abi.TURN_STOPPED)) {
          // Nobody else moves it: the program does so under the lock that the caller holds.
          Words.compareAndSet(
              memory, DIR + DirLayout.TURN, turn, Turn.of(round, Abi.TURN_OWED, turn));
        } else if (!Turn.is(turn, round, Abi.TURN_OWED)) { // by an agent that died over it
          return -1;
        }
        Words.getAndClear(memory, DIR + DirLayout.PROD_MARK, Abi.MARK_BACK);
        return Turn.offset(turn, tail);
      }

      @Override
      public void copy(long offset, int length, ByteBuffer target) {
        OutRing.this.copy(offset, length, target);
      }

      @Override
      public void paid() {
        // Release: nobody needs the ring's bytes any more.
        Words.putInt(memory, DIR + DirLayout.PROD_DONE, round);
      }
    };
  }

  /** Nothing more is sent until a {@link #stop} says how far. */
  void hold() {
    limit = head;
  }

  /** After all: what the program left in the ring when it went away is to be delivered. */
  void unlimited() {
    limit = Long.MAX_VALUE;
    look();
  }

  // ---------------------------------------------------------------- marks

  /** {@code enum hut_prod_mark} bits of the program. */
  int marks() {
    return Words.getInt(memory, DIR + DirLayout.PROD_MARK);
  }

  /** Says what the far program's reader has become; {@code enum hut_cons_mark} bits. */
  void readerIs(int marks) {
    if ((Words.getAndOr(memory, DIR + DirLayout.CONS_MARK, marks) & marks) != marks) {
      bell.ring();
    }
  }

  /** Asks for a ring when there is more; {@link #look} must follow. */
  void armWait() {
    Words.putInt(memory, DIR + DirLayout.CONS_WAIT, 1);
    // Orders the flag before the look at the tail; pairs with the program's fence (rule 13).
    VarHandle.fullFence();
  }

  // ---------------------------------------------------------------- bytes

  /** Looks how far the program has written; true if there is more than before. */
  boolean look() {
    long now = Words.getLong(memory, DIR + DirLayout.TAIL);
    if (now == tail) {
      return false;
    }
    if (now < tail || now - head > (long) ringSize + overSize) {
      throw new Hostile("a tail of " + now + " after " + tail);
    }
    tail = now;
    return true;
  }

  /** What the last look saw, whatever the limit. */
  long tail() {
    return tail;
  }

  /** First byte that the far program has not consumed. */
  long head() {
    return head;
  }

  @Override
  public long end() {
    return Math.min(tail, limit);
  }

  @Override
  public long capacity() {
    return ringSize;
  }

  @Override
  public void copy(long offset, int length, ByteBuffer target) {
    // Only moved when all before it was consumed: as new as the bytes that were looked at.
    long split = Words.getLong(memory, DIR + DirLayout.SPLIT);
    for (long at = offset; length > 0; ) {
      boolean small = split == Abi.NO_SPLIT || at < split;
      int size = small ? ringSize : overSize;
      int from = (int) (at & size - 1);
      int part = Math.min(length, size - from);
      if (small && split != Abi.NO_SPLIT) {
        part = (int) Math.min(part, split - at);
      }
      int base = (small ? ringAt : overAt) + from;
      target.put(bytes.limit(base + part).position(base));
      at += part;
      length -= part;
    }
  }

  @Override
  public void consumedByPeer(long offset) {
    if (offset <= head) {
      return;
    }
    head = Math.min(offset, tail);
    // Release: our copies out are over before the room is used again.
    Words.putLong(memory, DIR + DirLayout.HEAD, head);
    // Orders our cursor before the look at the flag; pairs with the program's (rule 13).
    VarHandle.fullFence();
    if (Words.getInt(memory, DIR + DirLayout.PROD_WAIT) == 0) {
      return;
    }
    long left = Words.getLong(memory, DIR + DirLayout.TAIL) - head;
    boolean over = Words.getLong(memory, DIR + DirLayout.SPLIT) != Abi.NO_SPLIT;
    if (left <= (over ? overSize / 2 : ringSize / 2)
        && Words.getAndSet(memory, DIR + DirLayout.PROD_WAIT, 0) != 0) {
      bell.ring();
    }
  }
}
