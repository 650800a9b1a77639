// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static hutong.transport.internal.line.LinesTest.begin;
import static hutong.transport.internal.line.LinesTest.flow;
import static hutong.transport.internal.line.LinesTest.readAll;
import static org.assertj.core.api.Assertions.assertThat;

import hutong.platform.abi.Abi;
import hutong.platform.abi.DirLayout;
import hutong.platform.abi.SegmentLayout;
import hutong.transport.internal.datagram.Header;
import org.junit.jupiter.api.Test;

/** What an agent that was killed leaves to the next one, and to the peer's. */
class LeftBehindTest {
  /** A round is over, and the line idle; its entry of the channel table is another line's now. */
  @Test
  void shouldNotTakeAnEntryThatWasGivenBack() {
    Lines lines = new Lines(6, false);
    readAll(lines, lines.b, new int[1]);
    flow(lines, lines.a, 300);
    final int entry = Header.index(lines.b.flow().localChannel());
    lines.a.wanted = false;
    lines.a.step(lines.a.line::leaveWire);
    flow(lines, lines.a, 300);
    assertThat(lines.b.flow()).isNull();
    lines.b.taken.set(entry);
    lines.b.restart(1_000_000);
    flow(lines, lines.a, 300);
    assertThat(lines.b.restarts).isEqualTo(1);
    assertThat(lines.b.program.taken).isGreaterThan(lines.a.program.written - 1000);
  }

  /** The far agent had no wire when the program went to the ring: TCP brought all. */
  @Test
  void shouldGoOnAfterARoundThatWasRefused() {
    Lines lines = new Lines(5, false);
    readAll(lines, lines.b, new int[1]);
    lines.a.wanted = false;
    flow(lines, lines.a, 300); // more than a ring, by TCP
    assertThat(lines.a.program.rounds).isZero();
    lines.a.wanted = true;
    lines.a.step(lines.a.line::reconsider);
    begin(lines, lines.a.program);
    assertThat(lines.a.program.rounds).isEqualTo(1);
    lines.b.away = true;
    lines.a.wanted = false;
    flow(lines, lines.a, 300);
    assertThat(lines.b.flow()).isNull();
    lines.b.restart(1_000_000);
    flow(lines, lines.a, 300);
    assertThat(lines.b.restarts).isEqualTo(1);
    assertThat(lines.b.program.taken).isGreaterThan(lines.a.program.written - 1000);
  }

  /** The reader has stopped a round before the writer's agent armed it, and nobody speaks again. */
  @Test
  void shouldEndARoundThatWasStoppedBeforeItWasArmed() {
    for (boolean later : new boolean[] {false, true}) {
      Lines lines = new Lines(8, false);
      lines.a.wanted = false; // but the first message, before anything is known, has the wish
      readAll(lines, lines.b, new int[1]);
      flow(lines, lines.a, 100);
      assertThat(word(lines, DirLayout.CONS_ROUND)).isEqualTo(1); // armed
      assertThat(lines.a.program.rounds).isZero();
      if (later) {
        lines.a.line.onLink(); // what was said stays unsaid: the stop comes with the next message
        lines.a.peer.program.pause();
        lines.a.wanted = true;
      } else {
        lines.b.program.pause();
      }
      flow(lines, lines.a, 100);
      assertThat(word(lines, DirLayout.PROD_DONE)).isEqualTo(1);
      lines.a.wanted = true;
      lines.a.step(lines.a.line::reconsider);
      flow(lines, lines.a, 300);
      lines.b.program.resume();
      flow(lines, lines.a, 300);
      assertThat(lines.b.program.taken).isGreaterThan(lines.a.program.written - 1000);
      assertThat(lines.a.program.rounds).isEqualTo(1); // the second one
    }
  }

  /** The peer's end has come and gone while this agent was away: who writes must hear of it. */
  @Test
  void shouldHearOfAPeerThatWentWhileTheAgentWasAway() {
    for (boolean forth : new boolean[] {true, false}) {
      Lines lines = new Lines(11, false);
      Lines.End writer = forth ? lines.a : lines.b;
      readAll(lines, writer.peer, new int[1]);
      flow(lines, writer, 100);
      assertThat(writer.program.rounds).isEqualTo(1);
      writer.restart(90_000_000_000L);
      writer.peer.program.kill();
      writer.peer.programGone();
      lines.run(lines.now + 80_000_000_000L, () -> false);
      assertThat(writer.peer.removed).isTrue();
      lines.run(lines.now + 20_000_000_000L, () -> false);
      assertThat(writer.restarts).isEqualTo(1);
      assertThat(gone(writer)).isTrue();
    }
  }

  /** The agents cannot speak, as without a host's list; the wire has brought all, and its end. */
  @Test
  void shouldEndAWholeStreamWithoutTheLink() {
    assertThat(endWithoutLink(true, false)).isEqualTo(Program.EOF);
    assertThat(endWithoutLink(false, false)).isEqualTo(Program.RESET);
  }

  /** The same for a peer's agent that knows nothing of the line any more. */
  @Test
  void shouldEndAWholeStreamWhosePeerForgotTheLine() {
    assertThat(endWithoutLink(true, true)).isEqualTo(Program.EOF);
    assertThat(endWithoutLink(false, true)).isEqualTo(Program.RESET);
  }

  private static int endWithoutLink(boolean whole, boolean forgotten) {
    Lines lines = new Lines(13, false);
    int[] outcome = {Program.AGAIN};
    readAll(lines, lines.b, outcome);
    flow(lines, lines.a, 100);
    assertThat(lines.a.program.rounds).isEqualTo(1);
    lines.cutLink(Long.MAX_VALUE / 2);
    lines.a.program.write(1000, false);
    lines.run(lines.now + 100_000_000L, () -> false);
    lines.a.wireDown = !whole;
    lines.b.wireDown = !whole;
    lines.a.program.write(whole ? 0 : 100, false);
    lines.a.program.shutWrite(true);
    lines.after(1000, lines.a.tcpOut()::deliver);
    lines.run(lines.now + 100_000_000L, () -> false);
    assertThat(outcome[0]).isEqualTo(Program.AGAIN);
    if (forgotten) {
      LineMessage goodbye = LineMessage.goodbye(lines.b.number, lines.a.number);
      lines.b.step(() -> lines.b.line.onMessage(goodbye));
    }
    long end = lines.now + (forgotten ? 100_000_000L : 3 * lines.patience);
    lines.run(end, () -> outcome[0] < 0 && outcome[0] != Program.AGAIN);
    if (whole) {
      assertThat(lines.b.program.taken).isEqualTo(lines.a.program.written);
    }
    return outcome[0];
  }

  /** Nobody has a socket any more, and somebody reads all the same: a reset, not an early end. */
  @Test
  void shouldNotEndAStreamTooEarlyForSomebodyUnknown() {
    Lines lines = new Lines(17, false);
    Program reader = lines.b.program;
    for (int i = 0; i < 200; i++) {
      flow(lines, lines.a, 1);
      reader.read(200);
    }
    assertThat(lines.a.program.rounds).isEqualTo(1);
    while (lines.a.program.write(1000, true) > 0) {
      lines.run(lines.now + 1_000_000, () -> false); // as much as the ring and what is behind hold
    }
    lines.a.program.shutWrite(true);
    lines.a.programGone();
    lines.after(1000, lines.a.tcpOut()::deliver);
    lines.run(lines.now + 1_000_000_000L, () -> false);
    lines.b.programGone();
    lines.run(lines.now + 1_000_000_000L, () -> false);
    int[] outcome = {Program.AGAIN};
    readAll(lines, lines.b, outcome);
    lines.run(lines.now + 10_000_000_000L, () -> false);
    assertThat(reader.taken).isLessThan(lines.a.program.written);
    assertThat(outcome[0]).isEqualTo(Program.RESET);
  }

  /** A host that was without power knows nothing, and TCP has sent nothing that it could refuse. */
  @Test
  void shouldTellAWriterWhosePeerForgotTheLine() {
    for (boolean waits : new boolean[] {true, false}) {
      Lines lines = new Lines(18, false);
      readAll(lines, lines.b, new int[1]);
      flow(lines, lines.a, 100);
      lines.run(lines.now + 100_000_000L, () -> false);
      assertThat(lines.a.program.rounds).isEqualTo(1);
      lines.b.wireDown = true;
      lines.b.removed = true;
      LineMessage goodbye = LineMessage.goodbye(lines.a.number, lines.b.number);
      lines.a.step(() -> lines.a.line.onMessage(goodbye));
      lines.a.program.write(waits ? 500 : 0, false);
      lines.run(lines.now + 2 * lines.patience, () -> false);
      int written = SegmentLayout.dir(InRing.SIDE) + DirLayout.PROD_MARK;
      int mark = lines.a.program.memory.getInt(written);
      assertThat((mark & Abi.MARK_CUT) != 0).isEqualTo(waits);
    }
  }

  /** A host without power: TCP would give up after a quarter of an hour, and so do we. */
  @Test
  void shouldGiveUpAPeerThatIsSilentForVeryLong() {
    Lines lines = new Lines(12, false);
    readAll(lines, lines.b, new int[1]);
    flow(lines, lines.a, 100);
    assertThat(lines.a.program.rounds).isEqualTo(1);
    lines.cutLink(Long.MAX_VALUE / 2);
    lines.a.wireDown = true;
    lines.b.wireDown = true;
    lines.a.program.write(500, false);
    lines.run(lines.now + 920_000_000_000L, () -> false);
    assertThat(gone(lines.a)).isFalse();
    lines.run(lines.now + 10_000_000_000L, () -> false);
    assertThat(gone(lines.a)).isTrue();
  }

  /** The same where it has never said that it takes the round that the writer has gone to. */
  @Test
  void shouldGiveUpAPeerThatNeverTakesARound() {
    for (boolean waits : new boolean[] {true, false}) {
      Lines lines = new Lines(20, false);
      readAll(lines, lines.b, new int[1]);
      lines.a.program.paused = true; // it does not know of the ring
      lines.run(1_000_000, () -> false);
      assertThat(word(lines, DirLayout.CONS_ROUND)).isEqualTo(1); // armed
      lines.cutLink(Long.MAX_VALUE / 2);
      lines.a.wireDown = true;
      lines.b.wireDown = true;
      lines.a.program.resume();
      lines.a.program.write(waits ? 500 : 0, false);
      lines.run(lines.now + 920_000_000_000L, () -> false);
      assertThat(lines.a.program.rounds).isEqualTo(1);
      assertThat(lines.a.flow()).isNull();
      assertThat(gone(lines.a)).isFalse();
      lines.run(lines.now + 10_000_000_000L, () -> false);
      assertThat(gone(lines.a)).isEqualTo(waits);
    }
  }

  /** Whether the writer can hear of it: that nobody reads, and what TCP's end is, if it comes. */
  private static boolean gone(Lines.End writer) {
    int read = SegmentLayout.dir(OutRing.SIDE) + DirLayout.CONS_MARK;
    int written = SegmentLayout.dir(InRing.SIDE) + DirLayout.PROD_MARK;
    return (writer.program.memory.getInt(read) & Abi.MARK_GONE) != 0
        && (writer.program.memory.getInt(written) & Abi.MARK_END) != 0;
  }

  /** A goodbye follows each close, when the line speaks once more: what has come is still read. */
  @Test
  void shouldKeepWhatAPeerHasLeftThatClosed() {
    for (int i = 0; i < 3; i++) {
      Lines lines = new Lines(14 + i, false);
      Lines.End reader = lines.a;
      readAll(lines, lines.b, new int[1]);
      flow(lines, reader, 100); // its writer is on the ring, and stays there
      for (int k = 0; k < 100; k++, lines.now += 100_000) {
        lines.b.program.write(100, false);
        lines.b.tcpOut().deliver();
        reader.program.read(50);
        lines.run(lines.now, () -> false);
      }
      assertThat(lines.b.program.rounds).isEqualTo(1);
      lines.b.program.shutWrite(false);
      lines.b.programGone();
      lines.b.tcpOut().deliver();
      lines.run(lines.now + 2_000_000_000L, () -> false);
      assertThat(lines.b.removed).isTrue();
      if (i == 0) {
        reader.step(reader.line::onLink);
      } else if (i == 1) {
        reader.step(reader.line::leaveWire);
      } else {
        reader.restart(1_000_000);
      }
      lines.run(lines.now + 1_000_000_000L, () -> false);
      int[] outcome = {Program.AGAIN};
      readAll(lines, reader, outcome);
      lines.run(lines.now + 10_000_000_000L, () -> outcome[0] == Program.EOF);
      assertThat(outcome[0]).as("way " + i).isEqualTo(Program.EOF);
      assertThat(reader.program.taken).isEqualTo(lines.b.program.written).isGreaterThan(5000);
    }
  }

  private static int word(Lines lines, int at) {
    return lines.b.program.memory.getInt(SegmentLayout.dir(InRing.SIDE) + at);
  }

  /** The far agent was killed before its program had heard of the line: both programs live. */
  @Test
  void shouldStayOnTcpWithoutAPeerWhereNothingHasMoved() {
    Lines lines = new Lines(5, false);
    int[] outcome = {Program.AGAIN};
    readAll(lines, lines.b, outcome);
    lines.a.program.paused = true; // it does not know of the ring
    lines.run(1_000_000, () -> false);
    assertThat(word(lines, DirLayout.CONS_ROUND)).isEqualTo(1); // armed
    lines.b.step(() -> lines.b.line.onMessage(LineMessage.goodbye(lines.b.number, lines.a.number)));
    lines.a.removed = true; // its program goes on by TCP
    for (int i = 0; i < 300; i++, lines.now += 100_000) {
      lines.a.tcpOut().deliver();
      lines.a.program.write(100, false);
      lines.run(lines.now, () -> false);
    }
    lines.run(lines.now + 1_000_000, () -> false);
    lines.a.tcpOut().deliver();
    lines.run(lines.now + 1_000_000, () -> false);
    assertThat(lines.a.program.rounds).isZero();
    assertThat(word(lines, DirLayout.PROD_MARK) & Abi.MARK_CUT).isZero();
    assertThat(outcome[0]).isNotEqualTo(Program.RESET);
    assertThat(lines.b.program.taken).isEqualTo(lines.a.program.written).isEqualTo(30_000);
  }

  /** What the peer's agent said of the end was dropped here, where too much waited. */
  @Test
  void shouldAskForWhatWasDropped() {
    Lines lines = new Lines(8, false);
    int[] outcome = {Program.AGAIN};
    readAll(lines, lines.b, outcome);
    flow(lines, lines.a, 100);
    assertThat(lines.a.program.rounds).isEqualTo(1);
    lines.a.speaks = LineMessage.VERSION - 1; // not understood, which is as good as dropped
    lines.a.program.write(1000, true);
    lines.a.program.shutWrite(true);
    lines.a.programGone();
    lines.after(1000, lines.a.tcpOut()::deliver);
    lines.run(lines.now + 1_000_000_000L, () -> outcome[0] < 0 && outcome[0] != Program.AGAIN);
    assertThat(outcome[0]).isNotEqualTo(Program.EOF);
    lines.a.speaks = LineMessage.VERSION;
    lines.b.step(
        () -> {
          lines.b.line.onMissed();
          lines.b.line.onLink();
        });
    lines.run(lines.now + 1_000_000_000L, () -> outcome[0] < 0 && outcome[0] != Program.AGAIN);
    assertThat(outcome[0]).isEqualTo(Program.EOF);
    assertThat(lines.b.program.taken).isEqualTo(lines.a.program.written);
  }

  /**
   * The writer agreed that the reader has left, and closed before it was heard of: what it owed
   * comes by the ring, and who leaves for good must not go without that.
   */
  @Test
  void shouldNotLetAReaderGoWhoseRestComesByTheRing() {
    Lines lines = new Lines(19, false);
    int[] outcome = {Program.AGAIN};
    readAll(lines, lines.b, outcome);
    flow(lines, lines.a, 100);
    assertThat(lines.a.program.rounds).isEqualTo(1);
    lines.a.wireDown = true;
    lines.a.program.write(500, false);
    lines.a.speaks = LineMessage.VERSION - 1; // not understood, which is as good as dropped
    int left = SegmentLayout.dir(InRing.SIDE) + DirLayout.CONS_MARK;
    Words.getAndOr(lines.b.program.memory, left, Abi.MARK_LEFT);
    lines.b.program.pause();
    lines.run(lines.now + 1_000_000, () -> false);
    lines.a.program.shutWrite(false);
    lines.a.programGone();
    lines.after(1000, lines.a.tcpOut()::deliver);
    lines.run(lines.now + 1_000_000, () -> false);
    lines.a.speaks = LineMessage.VERSION;
    lines.b.step(
        () -> {
          lines.b.line.onMissed();
          lines.b.line.onLink();
        });
    lines.run(lines.now + 10_000_000, () -> false);
    assertThat(lines.b.program.taken).isLessThan(lines.a.program.written);
    assertThat(word(lines, DirLayout.PROD_MARK) & Abi.MARK_AGREED).isZero();
    lines.a.wireDown = false;
    lines.run(lines.now + 10_000_000_000L, () -> outcome[0] < 0 && outcome[0] != Program.AGAIN);
    assertThat(outcome[0]).isEqualTo(Program.EOF);
    assertThat(lines.b.program.taken).isEqualTo(lines.a.program.written);
  }
}
