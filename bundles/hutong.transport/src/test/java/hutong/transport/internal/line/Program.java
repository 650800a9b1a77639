// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.platform.abi.Abi;
import hutong.platform.abi.DirLayout;
import hutong.platform.abi.SegmentLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * One end of a connection as the shim handles it, in a few lines: TCP, rounds, ring and end, by the
 * same rules as native-shim's send.c, recv.c, switch.c, stop.c and remote.c.
 */
final class Program {
  /** What a read gives. */
  static final int EOF = -1;

  static final int AGAIN = -2;
  static final int RESET = -3;

  private static final int TX = SegmentLayout.dir(OutRing.SIDE);
  private static final int RX = SegmentLayout.dir(InRing.SIDE);

  final ByteBuffer memory;
  final int ringSize;
  final int overSize;
  private final int salt;
  private final int peerSalt;
  private final Tcp out;
  private final Tcp in;
  private final Runnable ringAgent;

  // the writer
  private int txRound;
  private boolean txRing;
  private boolean txOwes;
  private long txStart;
  private long txTail;
  private long txHead;
  private long txSplit = -1;
  private boolean shut;
  long written;

  // the reader
  private int rxRound;
  private boolean armed;
  private boolean stopped;
  private boolean rxRing;
  private boolean rxSwitch;
  private long rxStart;
  private long rxHead;
  private long rxEnd = -1;
  long taken;
  long byRing;
  int rounds;

  boolean paused;
  boolean leaving;

  /**
   * An end.
   *
   * @param salt makes this end's bytes
   */
  Program(int ringSize, int overSize, int salt, int peerSalt, Tcp out, Tcp in, Runnable ringAgent) {
    this.memory =
        ByteBuffer.allocateDirect(Abi.PAGE + 2 * ringSize + 2 * overSize)
            .order(ByteOrder.nativeOrder());
    this.ringSize = ringSize;
    this.overSize = overSize;
    this.salt = salt;
    this.peerSalt = peerSalt;
    this.out = out;
    this.in = in;
    this.ringAgent = ringAgent;
    memory.putLong(TX + DirLayout.SPLIT, -1);
    memory.putLong(RX + DirLayout.SPLIT, -1);
  }

  /** One direction of the TCP connection. */
  static final class Tcp {
    private byte[] bytes = new byte[1 << 16];
    private int head;
    private int sent;
    private int arrived;
    private boolean fin;
    private boolean finArrived;
    private boolean reset;

    void send(byte b) {
      if (sent == bytes.length) {
        bytes = java.util.Arrays.copyOf(bytes, 2 * sent);
      }
      bytes[sent++] = b;
    }

    void fin() {
      fin = true;
    }

    boolean finSent() {
      return fin;
    }

    /** All that was sent until now has arrived. */
    void deliver() {
      arrived = sent;
      finArrived = fin;
    }
  }

  static byte byteAt(int salt, long offset) {
    return (byte) (offset * 31 + (offset >> 8) * 7 + salt);
  }

  private int word(int dir, int field) {
    return Words.getInt(memory, dir + field);
  }

  private long turn(int dir) {
    return Words.getLong(memory, dir + DirLayout.TURN);
  }

  private boolean move(int dir, long from, long to) {
    return Words.compareAndSet(memory, dir + DirLayout.TURN, from, to);
  }

  // ---------------------------------------------------------------- the writer

  void progressTx() {
    if (txRing && Turn.is(turn(TX), txRound, Abi.TURN_STOPPED)) {
      long turn = turn(TX);
      if (move(TX, turn, Turn.of(txRound, Abi.TURN_OWED, turn))) {
        long stop = Math.max(Turn.offset(turn, txTail), txStart);
        if (stop < txHead || stop > txTail) {
          throw new AssertionError("a stop at " + stop);
        }
        txHead = stop;
        txRing = false;
        txOwes = true;
        int marks = word(TX, DirLayout.PROD_MARK);
        Words.putInt(memory, TX + DirLayout.PROD_MARK, marks & ~Abi.MARK_BACK);
      }
    }
    if (!txRing && !txOwes && !shut && word(TX, DirLayout.CONS_ROUND) == Turn.next(txRound)) {
      int round = Turn.next(txRound);
      if (Turn.is(turn(TX), round, Abi.TURN_STOPPED)) {
        txRound = round;
        Words.putInt(memory, TX + DirLayout.PROD_DONE, round);
        ringAgent.run();
      } else if (Turn.is(turn(TX), round, Abi.TURN_OPEN) && !paused) {
        txRound = round;
        txStart = written;
        txHead = written;
        txTail = written;
        txSplit = -1;
        Words.putLong(memory, TX + DirLayout.SPLIT, -1);
        Words.putLong(memory, TX + DirLayout.START, written);
        Words.putLong(memory, TX + DirLayout.TAIL, written);
        Words.putInt(memory, TX + DirLayout.PROD_ROUND, round);
        txRing = true;
        rounds++;
        ringAgent.run();
      }
    }
  }

  /** Sends up to so many of the bytes that are owed. */
  void pay(int most) {
    while (txOwes && !shut && most-- > 0 && txHead < txTail) { // after the FIN TCP takes none
      out.send(byteAt(salt, txHead++));
    }
    if (txOwes && txHead == txTail && !shut) {
      txOwes = false;
      Words.putInt(memory, TX + DirLayout.PROD_DONE, txRound);
      ringAgent.run();
    }
  }

  int write(int most, boolean slow) {
    progressTx();
    if (txOwes || shut) {
      return 0;
    }
    if (!txRing) {
      for (int i = 0; i < most; i++) {
        out.send(byteAt(salt, written++));
      }
      return most;
    }
    int room = room(slow);
    int n = Math.min(most, room);
    for (int i = 0; i < n; i++, txTail++) {
      boolean small = txSplit < 0 || txTail < txSplit;
      int at = small ? (int) (txTail & ringSize - 1) : 2 * ringSize + (int) (txTail & overSize - 1);
      memory.put(Abi.PAGE + at, byteAt(salt, txTail));
    }
    written += n;
    Words.putLong(memory, TX + DirLayout.TAIL, txTail);
    if (Words.getAndSet(memory, TX + DirLayout.CONS_WAIT, 0) != 0) {
      ringAgent.run();
    }
    progressTx();
    return n;
  }

  private int room(boolean slow) {
    long head = Math.max(Words.getLong(memory, TX + DirLayout.HEAD), txStart);
    if (head > txTail || head < txHead) {
      throw new AssertionError("a head of " + head);
    }
    txHead = head;
    if (txSplit < 0) {
      if (txTail - head < ringSize) {
        return (int) (ringSize - (txTail - head));
      }
      if (!slow) {
        return 0;
      }
      txSplit = txTail;
      Words.putLong(memory, TX + DirLayout.SPLIT, txTail);
      return overSize;
    }
    if (head == txTail) {
      txSplit = -1;
      Words.putLong(memory, TX + DirLayout.SPLIT, -1);
      return ringSize;
    }
    return slow ? (int) (overSize - (txTail - Math.max(head, txSplit))) : 0;
  }

  void pause() {
    paused = true;
    stopRx();
    if (txRing) {
      Words.getAndOr(memory, TX + DirLayout.PROD_MARK, Abi.MARK_BACK);
    }
    progressTx();
    ringAgent.run();
  }

  void resume() {
    paused = false;
  }

  /** shutdown(SHUT_WR), or the writer's part of close(). */
  void shutWrite(boolean half) {
    if (shut) {
      return;
    }
    if (half) {
      Words.getAndOr(memory, TX + DirLayout.PROD_MARK, Abi.MARK_HALF_CLOSE);
    }
    progressTx();
    if (txRing) {
      long ended = Turn.of(txRound, Abi.TURN_ENDED, txTail);
      if (move(TX, Turn.of(txRound, Abi.TURN_OPEN, 1), ended)
          || move(TX, Turn.of(txRound, Abi.TURN_OPEN, 0), ended)) {
        Words.putInt(memory, TX + DirLayout.PROD_DONE, txRound);
        txRing = false;
      } else {
        progressTx();
      }
    }
    shut = true;
    Words.getAndOr(memory, TX + DirLayout.PROD_MARK, Abi.MARK_SHUT);
    ringAgent.run();
    out.fin();
  }

  /** Killed: nothing is said. */
  void kill() {
    shut = true;
    out.fin();
  }

  boolean isShut() {
    return shut;
  }

  // ---------------------------------------------------------------- the reader

  private void stopRx() {
    if (!armed || rxEnd >= 0) {
      return;
    }
    long at = rxRing || rxSwitch ? rxHead : taken;
    long turn = turn(RX);
    if (Turn.is(turn, rxRound, Abi.TURN_OPEN)
        && move(RX, turn, Turn.of(rxRound, Abi.TURN_STOPPED, at))) {
      stopped = true;
      armed = false;
      rxRing = false;
      rxSwitch = false;
      ringAgent.run();
    }
  }

  private boolean endOpen() {
    return rxRound != 0
        && word(RX, DirLayout.PROD_DONE) != rxRound
        && (word(RX, DirLayout.PROD_MARK) & Abi.MARK_END) == 0;
  }

  private void progressRx() {
    if (!rxRing && !rxSwitch) {
      if (!armed) {
        boolean wish = (word(RX, DirLayout.PROD_MARK) & Abi.MARK_WISH) != 0;
        if (wish && !paused && !leaving && word(RX, DirLayout.PROD_DONE) == rxRound) {
          rxRound = Turn.next(rxRound);
          rxEnd = -1;
          stopped = false;
          armed = true;
          Words.putLong(memory, RX + DirLayout.TURN, Turn.of(rxRound, Abi.TURN_OPEN, 0));
          Words.putInt(memory, RX + DirLayout.CONS_ROUND, rxRound);
          ringAgent.run();
        }
        return;
      }
      if (word(RX, DirLayout.PROD_ROUND) != rxRound) {
        return;
      }
      takeUp();
    }
    if (Turn.is(turn(RX), rxRound, Abi.TURN_ENDED) && rxEnd < 0 && (rxRing || rxSwitch)) {
      long tail = Words.getLong(memory, RX + DirLayout.TAIL);
      rxEnd = Turn.offset(turn(RX), rxHead);
      if (rxEnd < rxHead || rxEnd > tail) {
        throw new AssertionError("an end at " + rxEnd);
      }
      if (rxHead == rxEnd) {
        leaveRing();
      }
    }
  }

  private void takeUp() {
    long open = Turn.of(rxRound, Abi.TURN_OPEN, 0);
    if (move(RX, open, Turn.of(rxRound, Abi.TURN_OPEN, 1))
        || Turn.is(turn(RX), rxRound, Abi.TURN_ENDED)) {
      rxStart = Words.getLong(memory, RX + DirLayout.START);
      if (rxStart < taken) {
        throw new AssertionError("S of " + rxStart + " after " + taken);
      }
      rxHead = rxStart;
      Words.putLong(memory, RX + DirLayout.HEAD, rxHead);
      rxRing = rxStart == taken;
      rxSwitch = !rxRing;
    } else if (Turn.is(turn(RX), rxRound, Abi.TURN_OWED)) {
      stopped = true;
      armed = false;
    } else {
      throw new AssertionError("turn " + Long.toHexString(turn(RX)));
    }
  }

  private void leaveRing() {
    armed = false;
    rxRing = false;
    rxSwitch = false;
  }

  private void check(byte b) {
    if (b != byteAt(peerSalt, taken)) {
      throw new AssertionError("a wrong byte at " + taken);
    }
    taken++;
  }

  private int fromRing(int most, long end) {
    int n = (int) Math.min(most, end - rxHead);
    for (int i = 0; i < n; i++) {
      check(memory.get(Abi.PAGE + ringSize + (int) (rxHead++ & ringSize - 1)));
    }
    byRing += n;
    Words.putLong(memory, RX + DirLayout.HEAD, rxHead);
    if (Words.getAndSet(memory, RX + DirLayout.PROD_WAIT, 0) != 0) {
      ringAgent.run();
    }
    return n;
  }

  private int fromTcp(int most) {
    int n = Math.min(most, in.arrived - in.head);
    for (int i = 0; i < n; i++) {
      check(in.bytes[in.head++]);
    }
    return n;
  }

  private boolean tcpOver() {
    return in.finArrived && in.head == in.arrived;
  }

  /** Bytes taken, or one of the constants. */
  int read(int most) {
    progressRx();
    long tail = Words.getLong(memory, RX + DirLayout.TAIL);
    if (rxRing) {
      if (in.head < in.arrived && rxEnd < 0 && !Turn.is(turn(RX), rxRound, Abi.TURN_ENDED)) {
        throw new AssertionError("bytes by TCP while the ring is next, at " + taken);
      }
      int n = fromRing(most, rxEnd >= 0 ? rxEnd : tail);
      if (rxHead == rxEnd) {
        leaveRing();
      }
      if (n > 0) {
        return n;
      }
      return rxRing && tcpOver() ? end() : AGAIN;
    }
    if (rxSwitch) {
      int n = fromTcp((int) Math.min(most, rxStart - taken));
      if (taken == rxStart) {
        rxSwitch = false;
        rxRing = true;
        if (rxHead == rxEnd) {
          leaveRing();
        }
      }
      return n > 0 ? n : AGAIN;
    }
    return byTcp(most, tail);
  }

  private int byTcp(int most, long tail) {
    boolean announced = rxRound != 0 && word(RX, DirLayout.PROD_ROUND) == rxRound;
    boolean over = word(RX, DirLayout.PROD_DONE) == rxRound;
    long start = Words.getLong(memory, RX + DirLayout.START);
    if (stopped && announced && taken >= start && tail > taken) {
      long turn = turn(RX);
      if (Turn.is(turn, rxRound, Abi.TURN_STOPPED)) {
        int n = (int) Math.min(most, tail - taken);
        if (move(RX, turn, Turn.of(rxRound, Abi.TURN_STOPPED, taken + n))) {
          rxHead = taken;
          return fromRing(n, taken + n);
        }
      }
    }
    int n = fromTcp(most);
    if (n > 0) {
      return n;
    }
    if (!tcpOver()) {
      return AGAIN;
    }
    if (announced && !over) {
      if (armed) {
        return AGAIN;
      }
      if (taken >= start && tail > taken) {
        rxHead = taken;
        return fromRing(most, tail);
      }
      if (tail > rxHead) { // by TCP already: their room is wanted
        rxHead = tail;
        Words.putLong(memory, RX + DirLayout.HEAD, rxHead);
        if (Words.getAndSet(memory, RX + DirLayout.PROD_WAIT, 0) != 0) {
          ringAgent.run();
        }
      }
    }
    return end();
  }

  private int end() {
    if (endOpen()) {
      if ((Words.getAndOr(memory, RX + DirLayout.CONS_MARK, Abi.MARK_FIN) & Abi.MARK_FIN) == 0) {
        ringAgent.run();
      }
      return AGAIN;
    }
    if ((word(RX, DirLayout.PROD_MARK) & Abi.MARK_CUT) != 0) {
      return RESET;
    }
    // The mark came after the last bytes, which may be newer than our look.
    return Words.getLong(memory, RX + DirLayout.TAIL) > taken
            && word(RX, DirLayout.PROD_DONE) != rxRound
            && word(RX, DirLayout.PROD_ROUND) == rxRound
        ? AGAIN
        : EOF;
  }

  @Override
  public String toString() {
    return "written "
        + written
        + " taken "
        + taken
        + " tx "
        + txRound
        + (txRing ? " ring" : txOwes ? " owes" : " tcp")
        + " rx "
        + rxRound
        + (rxRing ? " ring" : rxSwitch ? " switch" : armed ? " armed" : " tcp")
        + (stopped ? " stopped" : "")
        + (shut ? " shut" : "")
        + " end open "
        + endOpen();
  }
}
