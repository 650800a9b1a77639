// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.intercept.Reason;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.engine.FlowSettings;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Connections between hosts: rounds, ways back and ends that two agents agree, byte by byte. */
class LinesTest {
  private static final long SECOND = 1_000_000_000L;

  /** Sizes of datagrams that an interface may carry. */
  private static final int[] SIZES = {600, 530, FlowSettings.LEAST_DATAGRAM};

  /** What a random run is like. */
  private record Mix(
      double loss,
      boolean pauses,
      boolean leaves,
      boolean linkCuts,
      boolean kills,
      boolean restarts,
      boolean wireCuts,
      boolean mtus) {}

  /** One program's behaviour: writes so much, reads till the end, then closes. */
  private static final class Driver {
    private final Lines lines;
    private final Lines.End end;
    private final Mix mix;
    private final long toWrite;
    private final Random random;
    private boolean ended;
    private boolean gone;
    private int outcome = Program.AGAIN;

    Driver(Lines lines, Lines.End end, Mix mix, Random random) {
      this.lines = lines;
      this.end = end;
      this.mix = mix;
      this.random = random;
      this.toWrite = random.nextInt(120_000);
      schedule();
    }

    private void schedule() {
      lines.after(1 + random.nextInt(100_000), this::act);
    }

    private void act() {
      if (gone) {
        return;
      }
      Program program = end.program;
      if (mix.pauses && random.nextInt(60) == 0) {
        if (program.paused) {
          program.resume();
        } else {
          program.pause();
        }
      }
      if (mix.leaves && random.nextInt(80) == 0) {
        end.wanted = random.nextBoolean();
        end.step(end.wanted ? end.line::reconsider : end.line::leaveWire);
      }
      if (mix.linkCuts && random.nextInt(300) == 0) {
        lines.cutLink(random.nextInt(5_000_000));
      }
      if (mix.restarts && random.nextInt(150) == 0) {
        end.restart(1 + random.nextInt(3_000_000));
      }
      if (mix.wireCuts && random.nextInt(150) == 0) {
        lines.cutWire(random.nextInt(4) == 0 ? random.nextLong(20 * SECOND) : 300_000_000);
      }
      if (mix.mtus && random.nextInt(100) == 0) {
        end.mtu(SIZES[random.nextInt(SIZES.length)]);
      }
      program.progressTx();
      program.pay(random.nextInt(4000));
      if (program.written < toWrite) {
        long left = toWrite - program.written;
        program.write((int) Math.min(left, 1 + random.nextInt(6000)), random.nextInt(4) == 0);
      } else if (!program.isShut()) {
        if (mix.kills && random.nextInt(3) == 0) {
          program.kill();
        } else {
          program.shutWrite(true);
        }
      }
      Program.Tcp tcp = end.tcpOut();
      lines.after(5_000 + random.nextInt(100_000), tcp::deliver);
      if (!ended && random.nextInt(3) != 0) {
        outcome = program.read(1 + random.nextInt(5000));
        ended = outcome == Program.EOF || outcome == Program.RESET;
      }
      if (ended && program.isShut()) {
        gone = true;
        end.programGone();
        return;
      }
      schedule();
    }
  }

  private static String run(long seed, Mix mix, long[] byRing) {
    Lines lines = new Lines(seed, seed % 8 == 0);
    if (mix.restarts && seed % 8 == 1) {
      lines.after(20_000_000, () -> lines.authenticated = true); // as of the next restart
    }
    lines.loss = mix.loss;
    lines.probed = seed % 3 != 0;
    lines.patience = mix.wireCuts ? 60 * SECOND : lines.patience;
    Random random = new Random(seed ^ 0x5eed);
    Driver a = new Driver(lines, lines.a, mix, random);
    Driver b = new Driver(lines, lines.b, mix, random);
    try {
      lines.run(600 * SECOND, () -> lines.a.removed && lines.b.removed);
    } catch (AssertionError | RuntimeException e) {
      throw new AssertionError(
          "seed " + seed + " " + mix + "\na " + lines.a.program + "\nb " + lines.b.program, e);
    }
    byRing[0] += lines.a.program.byRing + lines.b.program.byRing;
    byRing[1] += lines.a.program.taken + lines.b.program.taken;
    byRing[2] += lines.a.program.rounds + lines.b.program.rounds;
    boolean all =
        a.outcome == Program.EOF
            && b.outcome == Program.EOF
            && lines.a.program.taken == b.toWrite
            && lines.b.program.taken == a.toWrite
            && lines.a.removed
            && lines.b.removed;
    return all
        ? ""
        : "seed "
            + seed
            + " "
            + mix
            + "\na "
            + a.outcome
            + " of "
            + b.toWrite
            + " "
            + lines.a.program
            + " "
            + lines.a.line.info()
            + lines.a.removed
            + "\nb "
            + b.outcome
            + " of "
            + a.toWrite
            + " "
            + lines.b.program
            + " "
            + lines.b.line.info()
            + lines.b.removed
            + " restarts "
            + lines.a.restarts
            + " "
            + lines.b.restarts
            + lines.a.drops()
            + lines.b.drops();
  }

  private static void many(Mix mix, int times) {
    long seed = Long.getLong("hutong.seed", System.nanoTime());
    System.out.println("seed " + seed + " " + mix);
    long[] byRing = new long[3];
    for (int i = 0; i < times; i++) {
      assertThat(run(seed + i, mix, byRing)).isEmpty();
    }
    System.out.println(byRing[0] + " of " + byRing[1] + " bytes by the ring, rounds " + byRing[2]);
    assertThat(byRing[0]).as("bytes by the ring").isGreaterThan(byRing[1] / 20);
  }

  @Test
  void shouldCarryAllBytesAndTheEnd() {
    many(new Mix(0, false, false, false, false, false, false, false), 300);
  }

  @Test
  void shouldSurviveABadWire() {
    many(new Mix(0.05, false, false, false, false, false, false, false), 200);
  }

  @Test
  void shouldGoBackAndForthAsProgramsWish() {
    many(new Mix(0.01, true, false, false, false, false, false, false), 1000);
  }

  @Test
  void shouldGoBackAndForthAsAgentsWish() {
    many(new Mix(0.01, false, true, false, false, false, false, false), 1000);
  }

  @Test
  void shouldSurviveALinkThatFails() {
    many(new Mix(0.01, true, true, true, false, false, false, false), 1000);
  }

  @Test
  void shouldSurviveAWireThatFails() {
    many(new Mix(0.01, true, false, true, true, false, true, false), 500);
  }

  @Test
  void shouldSurviveAWireThatFailsWhileAgentsRestart() {
    many(new Mix(0.01, true, true, true, true, true, true, false), 500);
  }

  @Test
  void shouldFollowInterfacesThatCarryOtherSizes() {
    many(new Mix(0.01, false, false, false, true, false, false, true), 500);
  }

  @Test
  void shouldFollowInterfacesInTheMiddleOfAnything() {
    many(new Mix(0.01, true, true, true, true, true, false, true), 1000);
  }

  @Test
  void shouldGoOnAfterAnAgentsRestart() {
    many(new Mix(0.01, false, false, false, false, true, false, false), 500);
  }

  @Test
  void shouldGoOnAfterRestartsInTheMiddleOfAnything() {
    many(
        new Mix(0.01, true, true, true, true, true, false, false),
        Integer.getInteger("hutong.lines.runs", 2000));
  }

  @Test
  void shouldDeliverWhatAKilledProgramHasWritten() {
    many(
        new Mix(0.02, true, true, true, true, false, false, false),
        Integer.getInteger("hutong.lines.runs", 2000));
  }

  /** Reads all that comes, until the end. */
  static void readAll(Lines lines, Lines.End end, int[] outcome) {
    outcome[0] = end.program.read(5000);
    if (outcome[0] != Program.EOF && outcome[0] != Program.RESET) {
      lines.after(50_000, () -> readAll(lines, end, outcome));
    }
  }

  /** A program that was cheated must not be believed to notice that itself: it is left alone. */
  @Test
  void shouldEndLinesOfPeersThatLie() {
    long seed = Long.getLong("hutong.seed", System.nanoTime());
    System.out.println("seed " + seed);
    Mix mix = new Mix(0.01, true, true, false, false, false, false, false);
    int cut = 0;
    for (int i = 0; i < 300; i++) {
      Lines lines = new Lines(seed + i, i % 8 == 0);
      lines.b.hostile = true;
      lines.loss = mix.loss;
      Random random = new Random(seed + i);
      new Driver(lines, lines.a, mix, random);
      new Driver(lines, lines.b, mix, random);
      try {
        lines.run(3 * SECOND, () -> lines.a.removed);
      } catch (AssertionError e) {
        continue; // it is a program that finds it out
      } catch (RuntimeException e) {
        throw new AssertionError("seed " + (seed + i), e);
      }
      cut += lines.a.removed ? 1 : 0;
    }
    assertThat(cut).isPositive();
  }

  @Test
  void shouldEndARoundBeforeItsNumbersComeRound() {
    Lines lines = new Lines(3, true);
    Program writer = lines.a.program;
    readAll(lines, lines.b, new int[1]);
    for (; lines.now < SECOND / 2; lines.now += 100_000) {
      writer.write(100, false);
      writer.pay(1000);
      lines.a.tcpOut().deliver();
      lines.run(lines.now, () -> false);
      if (writer.rounds == 1 && lines.a.flow() != null) {
        lines.a.flow().counters().datagramsOut = Outgoing.MOST_SEALED + 1;
      }
    }
    assertThat(writer.rounds).isGreaterThan(1);
    assertThat(lines.b.program.taken).isGreaterThan(writer.written / 2);
  }

  /** One program writes, the other one reads all, for some time. */
  static void flow(Lines lines, Lines.End from, int steps) {
    for (int i = 0; i < steps; i++, lines.now += 100_000) {
      from.program.write(100, false);
      from.program.pay(1000);
      from.tcpOut().deliver();
      lines.run(lines.now, () -> false);
    }
  }

  /** Until the writer has gone to the ring. */
  static void begin(Lines lines, Program writer) {
    for (; writer.rounds == 0 && lines.now < 100_000_000; lines.now += 100_000) {
      writer.progressTx();
      lines.run(lines.now, () -> false);
    }
  }

  @Test
  void shouldStayOnTcpWithAPeerOfAnotherVersion() {
    Lines lines = new Lines(7, false);
    lines.a.speaks = LineMessage.VERSION - 1;
    lines.b.speaks = LineMessage.VERSION + 1;
    Mix mix = new Mix(0, false, false, false, false, false, false, false);
    Driver a = new Driver(lines, lines.a, mix, new Random(7));
    Driver b = new Driver(lines, lines.b, mix, new Random(8));
    lines.run(600 * SECOND, () -> lines.a.removed && lines.b.removed);
    assertThat(lines.a.program.rounds + lines.b.program.rounds).isZero();
    assertThat(lines.b.program.taken).isEqualTo(a.toWrite).isPositive();
    assertThat(lines.a.program.taken).isEqualTo(b.toWrite).isPositive();
    assertThat(a.outcome).isEqualTo(Program.EOF);
    assertThat(b.outcome).isEqualTo(Program.EOF);
    assertThat(lines.a.removed && lines.b.removed).isTrue();
  }

  /** MACs are wanted since a restart of the agent: what was begun without them goes back to TCP. */
  @Test
  void shouldLeaveTheWireWhenAnAgentWantsMacsNow() {
    for (boolean sender : new boolean[] {true, false}) {
      Lines lines = new Lines(8, false);
      Lines.End from = sender ? lines.a : lines.b;
      Lines.End to = sender ? lines.b : lines.a;
      readAll(lines, to, new int[1]);
      flow(lines, from, 300);
      assertThat(from.program.rounds).isEqualTo(1);
      assertThat(from.flow()).isNotNull();
      lines.authenticated = true; // at a
      lines.a.restart(1_000_000);
      flow(lines, from, 1000);
      assertThat(lines.a.restarts).isEqualTo(1);
      assertThat(from.flow()).isNull();
      assertThat(to.flow()).isNull();
      assertThat(from.program.rounds).isEqualTo(1);
      assertThat(to.program.taken).isGreaterThan(from.program.written - 10_000);
      long byRing = to.program.byRing;
      flow(lines, from, 100);
      assertThat(to.program.byRing).isEqualTo(byRing);
      // Both agents can say why.
      assertThat(lines.a.line.reason()).isEqualTo(Reason.UNSEALED);
      assertThat(lines.b.line.reason()).isEqualTo(Reason.UNSEALED);
      assertThat(lines.a.reasons).containsOnlyOnce(Reason.UNSEALED);
      assertThat(lines.b.reasons).containsOnlyOnce(Reason.UNSEALED);
    }
  }

  /** An agent that finds no wire says so, until it does. */
  @Test
  void shouldSayWhyTheProgramsStayOnTcp() {
    Lines lines = new Lines(9, false);
    lines.a.wanted = false;
    readAll(lines, lines.b, new int[1]);
    flow(lines, lines.a, 100);
    assertThat(lines.a.line.reason()).isEqualTo(Reason.WIRE);
    assertThat(lines.a.line.info().reason()).isEqualTo(Reason.WIRE);
    lines.a.wanted = true;
    lines.a.step(lines.a.line::reconsider);
    flow(lines, lines.a, 100);
    assertThat(lines.a.program.rounds).isEqualTo(1);
    assertThat(lines.a.line.reason()).isNotEqualTo(Reason.WIRE);
    lines.a.wanted = false;
    lines.a.step(lines.a.line::leaveWire);
    flow(lines, lines.a, 100);
    assertThat(lines.a.line.reason()).isEqualTo(Reason.WIRE);
    assertThat(lines.a.reasons).filteredOn(Reason.WIRE::equals).hasSize(2);
  }

  /** Somebody records a round and plays it back in a later one, which has the same entries (D6). */
  @Test
  void shouldTakeNothingOfAnEarlierRound() {
    Lines lines = new Lines(6, true);
    Program writer = lines.a.program;
    readAll(lines, lines.b, new int[1]);
    lines.a.captured = new ArrayList<>();
    lines.b.captured = new ArrayList<>();
    flow(lines, lines.a, 300);
    final int first = lines.b.flow().epochNumber();
    lines.a.restart(1_000_000);
    flow(lines, lines.a, 300);
    assertThat(lines.b.flow().epochNumber()).isEqualTo(first + 1); // an announcement is among them
    List<byte[]> forth = List.copyOf(lines.a.captured);
    List<byte[]> back = List.copyOf(lines.b.captured);
    final int channel = Header.index(lines.b.flow().localChannel());
    lines.a.step(lines.a.line::leaveWire);
    flow(lines, lines.a, 100);
    assertThat(writer.rounds).isEqualTo(2);
    assertThat(Header.index(lines.b.flow().localChannel())).isEqualTo(channel);
    final int later = lines.b.flow().epochNumber();
    for (int i = 0; i < forth.size(); i++) {
      lines.b.arrive(forth.get(i).clone());
    }
    for (int i = 0; i < back.size(); i++) {
      lines.a.arrive(back.get(i).clone());
    }
    flow(lines, lines.a, 300);
    assertThat(lines.b.flow().epochNumber()).isEqualTo(later);
    assertThat(lines.b.program.taken).isGreaterThan(writer.written - 10_000);
    assertThat(lines.b.flow().counters().drops(DropCause.BAD_MAC)).isEqualTo(forth.size());
    assertThat(lines.a.flow().counters().drops(DropCause.BAD_MAC)).isEqualTo(back.size());
    assertThat(writer.rounds).isEqualTo(2);
  }

  /**
   * A program has gone to the ring and closed; then an interface is away when the flow is to begin.
   */
  @Test
  void shouldOpenTheFlowOfAClosedProgramWhenTheInterfaceIsBack() {
    for (boolean sender : new boolean[] {true, false}) {
      Lines lines = new Lines(5, false);
      lines.a.wireDown = true; // so that nothing is probed, or sent, before
      Program writer = lines.a.program;
      int[] outcome = {Program.AGAIN};
      readAll(lines, lines.b, outcome);
      begin(lines, writer);
      assertThat(writer.write(3000, false)).isEqualTo(3000);
      Lines.End gone = sender ? lines.a : lines.b;
      gone.away = true;
      writer.shutWrite(true);
      lines.after(100_000, lines.a.tcpOut()::deliver);
      lines.after(300_000_000, () -> gone.away = false);
      lines.after(300_000_000, () -> lines.a.wireDown = false);
      lines.run(lines.now + 9 * SECOND, () -> outcome[0] < 0 && outcome[0] != Program.AGAIN);
      assertThat(lines.b.program.taken).isEqualTo(3000);
      assertThat(outcome[0]).isEqualTo(Program.EOF);
    }
  }

  /** The earlier agent may have been killed between what it has shown and the bell for it. */
  @Test
  void shouldRingTheProgramAfterARestart() {
    Lines lines = new Lines(4, false);
    readAll(lines, lines.b, new int[1]);
    flow(lines, lines.a, 300);
    lines.run(lines.now + 100_000_000, () -> false); // all is told, and nothing is under way
    int before = lines.b.rung;
    lines.b.restart(1_000_000);
    lines.run(lines.now + 2_000_000, () -> false);
    assertThat(lines.b.restarts).isEqualTo(1);
    assertThat(lines.b.rung).isEqualTo(before + 1);
  }

  /** What an agent announced in a former round, of the same entries, comes late. */
  @Test
  void shouldNotTakeUpAnEpochOfAFormerRound() {
    Lines lines = new Lines(6, false);
    readAll(lines, lines.b, new int[1]);
    flow(lines, lines.a, 300);
    lines.a.captured = new ArrayList<>();
    lines.a.restart(1_000_000);
    flow(lines, lines.a, 300);
    List<byte[]> old = List.copyOf(lines.a.captured);
    final int epoch = lines.b.flow().epochNumber();
    lines.a.step(lines.a.line::leaveWire);
    flow(lines, lines.a, 100);
    assertThat(lines.a.program.rounds).isEqualTo(2);
    final int fresh = lines.b.flow().epochNumber();
    assertThat(fresh).isGreaterThan(epoch);
    for (byte[] datagram : old) {
      lines.b.arrive(datagram.clone());
    }
    assertThat(lines.b.flow().epochNumber()).isEqualTo(fresh);
    long taken = lines.b.program.taken;
    flow(lines, lines.a, 300);
    assertThat(lines.b.program.taken).isGreaterThan(taken);
    assertThat(lines.a.program.rounds).isEqualTo(2);
  }

  @Test
  void shouldProbeTheWireAgainAfterARestart() {
    Lines lines = new Lines(4, false);
    Program writer = lines.a.program;
    readAll(lines, lines.b, new int[1]);
    for (int i = 0; i < 1000; i++, lines.now += 100_000) {
      writer.write(100, false);
      lines.a.tcpOut().deliver();
      lines.run(lines.now, () -> false);
      if (i == 300) {
        assertThat(lines.a.flow().counters().probesOut).isZero(); // known from another line
        lines.a.restart(1_000_000);
      }
    }
    assertThat(lines.a.flow().counters().probesOut).isEqualTo(3);
    assertThat(writer.rounds).isEqualTo(1);
    assertThat(lines.b.program.taken).isGreaterThan(writer.written - 10_000);
  }

  @Test
  void shouldDeliverWhatWasWrittenBeforeAWireCouldNotBeProbed() {
    Lines lines = new Lines(Long.getLong("hutong.seed", 5), false);
    lines.probed = false;
    lines.a.wireDown = true;
    lines.b.wireDown = true;
    Program writer = lines.a.program;
    int[] outcome = {Program.AGAIN};
    readAll(lines, lines.b, outcome);
    begin(lines, writer);
    assertThat(writer.rounds).isEqualTo(1);
    assertThat(writer.write(3000, false)).isEqualTo(3000);
    writer.shutWrite(true);
    lines.after(100_000, lines.a.tcpOut()::deliver);
    lines.after(2 * SECOND, () -> lines.a.wireDown = false);
    lines.after(2 * SECOND, () -> lines.b.wireDown = false);
    lines.run(lines.now + 9 * SECOND, () -> outcome[0] != Program.AGAIN && outcome[0] < 0);
    assertThat(lines.b.program.taken).isEqualTo(3000);
    assertThat(outcome[0]).isEqualTo(Program.EOF);
  }

  /**
   * A program has closed, and one of the two interfaces carries smaller datagrams before all is
   * there, for good.
   */
  private static void deliversWithSmallerDatagrams(boolean atSender) {
    Lines lines = new Lines(Long.getLong("hutong.seed", 9), false);
    Program writer = lines.a.program;
    int[] outcome = {Program.AGAIN};
    readAll(lines, lines.b, outcome);
    flow(lines, lines.a, 100);
    assertThat(writer.rounds).isEqualTo(1);
    lines.a.wireDown = true; // this is under way when it happens
    writer.write(8000, true);
    writer.shutWrite(true);
    lines.a.programGone();
    lines.after(1000, lines.a.tcpOut()::deliver);
    lines.after(100_000, () -> (atSender ? lines.a : lines.b).mtu(FlowSettings.LEAST_DATAGRAM));
    lines.after(200_000, () -> lines.a.wireDown = false);
    lines.run(lines.now + 9 * SECOND, () -> outcome[0] != Program.AGAIN && outcome[0] < 0);
    assertThat(lines.b.program.taken).isEqualTo(writer.written).isGreaterThan(8000);
    assertThat(outcome[0]).isEqualTo(Program.EOF);
  }

  @Test
  void shouldDeliverWithSmallerDatagramsAfterTheProgramHasClosed() {
    deliversWithSmallerDatagrams(true);
  }

  @Test
  void shouldDeliverWithSmallerDatagramsThatTheReaderNeedsNow() {
    deliversWithSmallerDatagrams(false);
  }

  /** Writes and, after a while, does not read any more; then it closes, whatever has come. */
  private static void closeUnread(Lines lines, Lines.End end, Random random, int acts) {
    Program program = end.program;
    program.progressTx();
    program.pay(4000);
    program.write(1 + random.nextInt(6000), true);
    if (acts > 200) {
      program.read(1 + random.nextInt(6000));
    }
    lines.after(5_000 + random.nextInt(100_000), end.tcpOut()::deliver);
    if (acts > 0) {
      lines.after(1 + random.nextInt(100_000), () -> closeUnread(lines, end, random, acts - 1));
    } else {
      if (random.nextBoolean()) {
        program.shutWrite(false);
      } else {
        program.kill();
      }
      end.programGone();
    }
  }

  @Test
  void shouldNotWaitForReadersThatAreGone() {
    long seed = Long.getLong("hutong.seed", System.nanoTime());
    for (int i = 0; i < 200; i++) {
      Lines lines = new Lines(seed + i, i % 8 == 0);
      lines.loss = i % 2 == 0 ? 0 : 0.02;
      Random random = new Random(seed + i);
      closeUnread(lines, lines.a, random, 300 + random.nextInt(200));
      closeUnread(lines, lines.b, random, 300 + random.nextInt(200));
      lines.run(30 * SECOND, () -> lines.a.removed && lines.b.removed);
      assertThat(lines.a.removed && lines.b.removed)
          .as("seed %s: %s %s", seed + i, lines.a.line.info(), lines.b.line.info())
          .isTrue();
    }
  }
}
