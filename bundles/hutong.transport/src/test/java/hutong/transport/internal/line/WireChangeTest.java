// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static hutong.transport.internal.line.LinesTest.flow;
import static hutong.transport.internal.line.LinesTest.readAll;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** A program has closed, and its wire does not answer any more: the rest comes by another (D5). */
class WireChangeTest {
  private static final long SECOND = 1_000_000_000L;

  private final int[] outcome = {Program.AGAIN};

  /** A writer that has closed, and what it had written is in its ring. */
  private Lines closed(long seed, WireKind... dead) {
    Lines lines = new Lines(seed, false);
    readAll(lines, lines.b, outcome);
    flow(lines, lines.a, 100);
    Program writer = lines.a.program;
    assertThat(writer.rounds).isEqualTo(1);
    die(lines, dead);
    writer.write(8000, true);
    writer.shutWrite(true);
    lines.a.programGone();
    lines.after(1000, lines.a.tcpOut()::deliver);
    return lines;
  }

  private static void die(Lines lines, WireKind... dead) {
    for (Lines.End end : new Lines.End[] {lines.a, lines.b}) {
      end.dead.clear();
      end.dead.addAll(List.of(dead));
    }
  }

  private void run(Lines lines, long seconds) {
    lines.run(lines.now + seconds * SECOND, () -> outcome[0] != Program.AGAIN && outcome[0] < 0);
  }

  private void delivered(Lines lines) {
    assertThat(outcome[0]).isEqualTo(Program.EOF);
    assertThat(lines.b.program.taken).isEqualTo(lines.a.program.written).isGreaterThan(8000);
  }

  @Test
  void shouldDeliverOnTheOtherWire() {
    Lines lines = closed(1, WireKind.ETHERNET);
    run(lines, 9);
    delivered(lines);
  }

  @Test
  void shouldDeliverOnTheOtherWireWhenOnlyAnswersAreLost() {
    Lines lines = closed(2);
    lines.b.dead.add(WireKind.ETHERNET);
    run(lines, 9);
    delivered(lines);
  }

  @Test
  void shouldComeBackWhereTheOtherOneIsWorse() {
    Lines lines = closed(3, WireKind.ETHERNET, WireKind.UDP);
    lines.after(4 * SECOND, () -> die(lines, WireKind.UDP));
    run(lines, 9);
    delivered(lines);
  }

  @Test
  void shouldEndAsCutWhereNoWireAnswers() {
    Lines lines = closed(4, WireKind.ETHERNET, WireKind.UDP);
    run(lines, 60);
    assertThat(outcome[0]).isEqualTo(Program.RESET);
  }

  @Test
  void shouldChangeAcrossRestarts() {
    int restarts = 0;
    for (int i = 0; i < 60; i++) {
      outcome[0] = Program.AGAIN;
      Lines lines = closed(100 + i, WireKind.ETHERNET);
      Lines.End end = i % 2 == 0 ? lines.a : lines.b;
      // about when the wire is changed: 3 s after the last answer
      lines.after(3 * SECOND - 10_000_000 + i * 200_000, () -> end.restart(1_000_000));
      run(lines, 15);
      restarts += end.restarts;
      delivered(lines);
    }
    assertThat(restarts).isGreaterThan(20); // the other ones came too late
  }

  /** Wires come and go, one of them is there at each moment: no end of file before all is there. */
  @Test
  void shouldNeverEndTooEarly() {
    long seed = Long.getLong("hutong.seed", System.nanoTime());
    System.out.println("seed " + seed);
    int whole = 0;
    for (int i = 0; i < 60; i++) {
      outcome[0] = Program.AGAIN;
      Lines lines = closed(seed + i, WireKind.ETHERNET);
      Random random = new Random(seed + i);
      for (int k = 1; k < 30; k++) {
        WireKind dead = random.nextBoolean() ? WireKind.ETHERNET : WireKind.UDP;
        lines.after(k * SECOND / 2, () -> die(lines, dead));
        Lines.End end = random.nextBoolean() ? lines.a : lines.b;
        if (random.nextInt(8) == 0) {
          lines.after(k * SECOND / 2 + 1 + random.nextInt(1000), () -> end.restart(5_000_000));
        }
      }
      run(lines, 40);
      assertThat(outcome[0]).as("seed " + (seed + i)).isNotEqualTo(Program.AGAIN);
      if (outcome[0] == Program.EOF) {
        assertThat(lines.b.program.taken).isEqualTo(lines.a.program.written);
        whole++;
      }
    }
    assertThat(whole).isGreaterThan(50);
  }
}
