// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.platform.abi.Abi;
import hutong.platform.abi.DirLayout;
import hutong.platform.abi.SegmentLayout;
import hutong.transport.internal.engine.ReceiveBuffer;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;

/**
 * The direction that the program reads: the agent is its producer. The program writes these words
 * too: each is loaded once and bounded before it is used.
 */
final class InRing implements ReceiveBuffer {
  /** The direction's number in the segment. */
  static final int SIDE = 1;

  private static final int DIR = SegmentLayout.dir(SIDE);

  private final ByteBuffer memory;
  private final ByteBuffer bytes;
  private final int ringSize;
  private final int ringAt;
  private final Bell bell;
  private long start;
  private long head;
  private long tail;
  private long ready;
  private boolean frozen;

  /** Stands at a fresh segment. */
  InRing(ByteBuffer memory, int ringSize, Bell bell) {
    this.memory = memory;
    this.bytes = memory.duplicate();
    this.ringSize = ringSize;
    this.ringAt = Abi.PAGE + SIDE * ringSize;
    this.bell = bell;
  }

  // ---------------------------------------------------------------- rounds

  /** Whether the program has armed that round. */
  boolean armed(int round) {
    return Words.getInt(memory, DIR + DirLayout.CONS_ROUND) == round;
  }

  /** Announces a round: bytes from S on come by the ring (rule 5). */
  void announce(int round, long s) {
    if (s < tail) {
      throw new Hostile("a far round that starts at " + s + " before " + tail);
    }
    start = s;
    head = s;
    tail = s;
    ready = s;
    frozen = false;
    Words.putLong(memory, DIR + DirLayout.SPLIT, Abi.NO_SPLIT);
    Words.putLong(memory, DIR + DirLayout.START, s);
    // Release: a tail beyond the old round's is for a reader that has seen the start.
    Words.putLong(memory, DIR + DirLayout.TAIL, s);
    // Release: all of them are valid once the round is announced.
    Words.putInt(memory, DIR + DirLayout.PROD_ROUND, round);
    bell.ring();
  }

  /** Stands where an earlier agent stood in that round, which was announced. */
  void resume(int round, long s) {
    start = s;
    long at = Words.getLong(memory, DIR + DirLayout.HEAD);
    long end = Words.getLong(memory, DIR + DirLayout.TAIL);
    if (end < s || at > end || end - Math.max(at, s) > ringSize) {
      throw new Hostile("a head of " + at + " and a tail of " + end + " after " + s);
    }
    head = Math.max(at, s);
    tail = end;
    ready = end;
    frozen = left(round) >= 0;
  }

  /** Where an agent has left the ring in that round; -1 if none has. */
  long left(int round) {
    long turn = Words.getLong(memory, DIR + DirLayout.TURN);
    return Turn.is(turn, round, Abi.TURN_OWED) || Turn.is(turn, round, Abi.TURN_ENDED)
        ? Turn.offset(turn, Words.getLong(memory, DIR + DirLayout.TAIL))
        : -1;
  }

  /** Whether an agent has said that the round is over. */
  boolean isDone(int round) {
    return Words.getInt(memory, DIR + DirLayout.PROD_DONE) == round;
  }

  /** Whether the program has stopped in that round, and nobody has accepted it. */
  boolean stopped(int round) {
    return Turn.is(Words.getLong(memory, DIR + DirLayout.TURN), round, Abi.TURN_STOPPED);
  }

  /**
   * Accepts a stop of the program before the round was announced.
   *
   * @return where it stands
   */
  long stoppedAt(long near) {
    return Turn.offset(Words.getLong(memory, DIR + DirLayout.TURN), near);
  }

  /**
   * Leaves the ring for TCP: the program takes nothing at or after the offset that is given back.
   * From now on what arrives is not shown.
   */
  long leave(int round) {
    frozen = true;
    for (; ; ) {
      long turn = Words.getLong(memory, DIR + DirLayout.TURN);
      long end;
      int how;
      if (Turn.is(turn, round, Abi.TURN_STOPPED)) {
        end = Turn.offset(turn, tail);
        how = Abi.TURN_OWED;
      } else if (turn == Turn.of(round, Abi.TURN_OPEN, 1)) {
        end = tail;
        how = Abi.TURN_ENDED;
      } else if (turn == Turn.of(round, Abi.TURN_OPEN, 0)) {
        end = start; // not come to the ring: TCP brings all
        how = Abi.TURN_OWED;
      } else if (left(round) >= 0) {
        return left(round); // by an earlier agent
      } else {
        throw new Hostile("the turn " + Long.toHexString(turn));
      }
      if (end < start && how == Abi.TURN_OWED) {
        end = start;
      }
      if (end < start || end > tail) {
        throw new Hostile("a stop at " + end + ", not in " + start + " to " + tail);
      }
      if (Words.compareAndSet(memory, DIR + DirLayout.TURN, turn, Turn.of(round, how, end))) {
        bell.ring();
        return end;
      }
    }
  }

  /**
   * The far program will send by TCP what the program did not take: what comes by the ring after
   * all is behind that, and must not be taken first.
   */
  void accept(int round) {
    long turn = Words.getLong(memory, DIR + DirLayout.TURN);
    while (Turn.is(turn, round, Abi.TURN_STOPPED)
        && !Words.compareAndSet(
            memory, DIR + DirLayout.TURN, turn, Turn.of(round, Abi.TURN_OWED, turn))) {
      turn = Words.getLong(memory, DIR + DirLayout.TURN);
    }
  }

  /** The round is over: the program may arm the next one. */
  void done(int round) {
    // Release: nothing of this round is touched any more.
    Words.putInt(memory, DIR + DirLayout.PROD_DONE, round);
  }

  /** After all: the far program went away, and what it left comes by the ring. */
  void unfreeze() {
    if (frozen) {
      frozen = false;
      publish(ready);
    }
  }

  // ---------------------------------------------------------------- marks

  /** {@code enum hut_cons_mark} bits of the program. */
  int marks() {
    return Words.getInt(memory, DIR + DirLayout.CONS_MARK);
  }

  /** Says what the far program's writer has become; {@code enum hut_prod_mark} bits. */
  void writerIs(int marks) {
    if ((Words.getAndOr(memory, DIR + DirLayout.PROD_MARK, marks) & marks) != marks) {
      bell.ring();
    }
  }

  /** Whether the program was told where the stream ends. */
  boolean told() {
    return (Words.getInt(memory, DIR + DirLayout.PROD_MARK) & Abi.MARK_END) != 0;
  }

  /** Says whether the program may arm; it is woken to do so. */
  void wish(boolean on) {
    int at = DIR + DirLayout.PROD_MARK;
    if (on && (Words.getAndOr(memory, at, Abi.MARK_WISH) & Abi.MARK_WISH) == 0) {
      bell.ring();
    } else if (!on) {
      Words.getAndClear(memory, at, Abi.MARK_WISH);
    }
  }

  /** Asks for a ring when there is room; {@link #consumed} must follow. */
  void armWait() {
    Words.putInt(memory, DIR + DirLayout.PROD_WAIT, 1);
    // Orders the flag before the look at the head; pairs with the program's fence (rule 13).
    VarHandle.fullFence();
  }

  // ---------------------------------------------------------------- bytes

  @Override
  public long consumed() {
    long now = Words.getLong(memory, DIR + DirLayout.HEAD);
    if (now <= head) {
      return head; // below S while the program has not come to this round
    }
    if (now > tail) {
      throw new Hostile("a head of " + now + " beyond " + tail);
    }
    head = now;
    return head;
  }

  @Override
  public long size() {
    return ringSize;
  }

  @Override
  public void put(long offset, ByteBuffer source) {
    int length = source.remaining();
    for (long at = offset; length > 0; ) {
      int to = (int) (at & ringSize - 1);
      int part = Math.min(length, ringSize - to);
      bytes.put(ringAt + to, source, source.position(), part);
      source.position(source.position() + part);
      at += part;
      length -= part;
    }
  }

  @Override
  public void publish(long end) {
    ready = end;
    if (frozen || end == tail) {
      return;
    }
    tail = end;
    // Release: the bytes before the cursor.
    Words.putLong(memory, DIR + DirLayout.TAIL, end);
    // Orders our cursor before the look at the flag; pairs with the program's (rule 13).
    VarHandle.fullFence();
    if (Words.getInt(memory, DIR + DirLayout.CONS_WAIT) != 0
        && Words.getAndSet(memory, DIR + DirLayout.CONS_WAIT, 0) != 0) {
      bell.ring();
    }
  }

  /** What the program was shown. */
  long tail() {
    return tail;
  }
}
