// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** Frames in, frames out: the sending rules one by one. */
class SendingTest {
  private static final int MTU = 1500;
  private static final int DATA = MTU - Header.BYTES;
  private static final long T = 500_000;

  private static FlowSettings literal(int window) {
    return FlowSettings.literal(MTU, window, T);
  }

  private static FlowSettings backingOff() {
    return new FlowSettings(
        MTU, 128, T, false, true, 64, 250_000_000, 10_000_000_000L, 0, 0, 20_000_000);
  }

  @Test
  @DisplayName("M3.A, H-*: as much as one MTU holds, all eight fields filled")
  void shouldFillDatagrams() {
    long offset = (1L << 32) - 100;
    Script s = new Script(literal(128), offset, 77, Script.RING, Script.RING);
    s.write(2 * DATA + 10);
    List<Script.Frame> frames = s.frames();
    assertThat(frames).hasSize(3);
    for (int i = 0; i < 3; i++) {
      Script.Frame f = frames.get(i);
      assertThat(f.sequence()).isEqualTo(Script.FIRST_OUT + i);
      assertThat(f.index()).isEqualTo((int) (offset + (long) i * DATA));
      assertThat(f.length()).isEqualTo(i < 2 ? DATA : 10);
      assertThat(f.bytes()).isEqualTo(i < 2 ? MTU : Header.BYTES + 10);
      assertThat(f.ackSequence()).isEqualTo(Script.FIRST_IN);
      assertThat(f.ackIndex()).isEqualTo(77);
      assertThat(f.channel()).isEqualTo(Script.PEER);
      assertThat(f.control()).isFalse();
    }
    assertThat(s.batch.run(0)).isEqualTo(3);
  }

  @Test
  @DisplayName("M3.C: each W/4-th datagram asks; at W the sender stops")
  void shouldAskEachQuarterAndStopAtWindow() {
    for (int window : new int[] {64, 128, 256}) {
      Script s = new Script(literal(window), 0, 0, Script.RING, 1 << 20);
      s.write(Script.RING);
      int quarter = window / 4;
      // a full ring holds 179 datagrams: enough for W = 64 and 128, an empty buffer before W = 256
      int expected = Math.min(window, (Script.RING + DATA - 1) / DATA);
      List<Script.Frame> frames = s.frames();
      assertThat(frames).hasSize(expected);
      for (int i = 0; i < expected; i++) {
        assertThat(frames.get(i).asks())
            .as("datagram %d of %d", i, window)
            .isEqualTo((i + 1) % quarter == 0 || i == expected - 1);
      }
      assertThat(s.flow.nextDeadline(s.now)).isEqualTo(s.now + T);
    }
  }

  @Test
  @DisplayName("M3.C: an acknowledgement in time lets the sender go on")
  void shouldGoOnAfterAcknowledgement() {
    Script s = new Script(literal(64));
    s.write(Script.RING);
    assertThat(s.frames()).hasSize(64);
    s.now += T / 2;
    s.acknowledge(Script.FIRST_OUT + 16, 16L * DATA);
    List<Script.Frame> frames = s.frames();
    assertThat(frames).hasSize(16);
    assertThat(frames.get(0).sequence()).isEqualTo(Script.FIRST_OUT + 64);
    assertThat(frames.get(15).asks()).isTrue();
  }

  @Test
  @DisplayName("M3.C: no acknowledgement: after T it asks again, after 3T all is sent again, uncut")
  void shouldAskAfterTAndResendAfter3T() {
    Script s = new Script(literal(64));
    s.write(Script.RING);
    long start = s.now;
    List<Script.Frame> first = s.frames();
    s.now = start + T - 1;
    assertThat(s.frames()).isEmpty();
    s.now = start + T;
    List<Script.Frame> again = s.frames();
    assertThat(again).hasSize(1);
    assertThat(again.get(0).control()).isTrue();
    assertThat(again.get(0).asks()).isTrue();
    assertThat(again.get(0).items()).contains("ask 1");
    s.now = start + 3 * T - 1;
    assertThat(s.frames()).isEmpty();
    s.now = start + 3 * T;
    List<Script.Frame> resent = s.frames();
    assertThat(resent).hasSize(64);
    for (int i = 0; i < 64; i++) {
      assertThat(resent.get(i).sequence()).isEqualTo(first.get(i).sequence());
      assertThat(resent.get(i).index()).isEqualTo(first.get(i).index());
      assertThat(resent.get(i).length()).isEqualTo(first.get(i).length());
    }
    assertThat(resent.get(63).asks()).isTrue();
    assertThat(s.flow.counters().resent).isEqualTo(64);
  }

  @Test
  @DisplayName("M3.D: with an empty send buffer the last datagram asks, with the same T and 3T")
  void shouldAskWithLastDatagram() {
    Script s = new Script(literal(128));
    s.write(3 * DATA);
    long start = s.now;
    assertThat(s.frames().stream().map(Script.Frame::asks)).containsExactly(false, false, true);
    assertThat(s.until(start + 3 * T - 1))
        .containsExactly("control +28 asks credit 0/262144 ask 1");
    s.now = start + 3 * T;
    assertThat(s.frames()).hasSize(3);
    s.acknowledge(Script.FIRST_OUT + 3, 3L * DATA);
    assertThat(s.flow.nextDeadline(s.now)).isEqualTo(Long.MAX_VALUE);
  }

  @Test
  @DisplayName("D4: silence doubles the waits up to their bound, and a blackout of 5 s is survived")
  void shouldBackOff() {
    Script s = new Script(FlowSettings.reference(MTU).withoutProbes());
    s.write(Script.RING);
    int burst = s.frames().size();
    assertThat(burst).isEqualTo(16);
    List<String> during = s.until(s.now + 5_000_000_000L);
    assertThat(during.size()).isBetween(50, 300);
    s.acknowledge(Script.FIRST_OUT + 16, 16L * DATA);
    assertThat(s.frames()).isNotEmpty();
    assertThat(s.notes.failures).isZero();
    assertThat(s.flow.nextDeadline(s.now)).isLessThanOrEqualTo(s.now + 1_000_000);
  }

  @Test
  @DisplayName("D4: T follows the round trip between 0.1 and 1 ms; a fixed T does not")
  void shouldAdaptT() {
    assertThat(askDelay(true, 20_000)).isEqualTo(FlowSettings.LEAST_WAIT_NS);
    assertThat(askDelay(true, 200_000)).isBetween(200_000L, 400_000L);
    assertThat(askDelay(true, 5_000_000)).isEqualTo(FlowSettings.MOST_WAIT_NS);
    assertThat(askDelay(false, 20_000)).isEqualTo(T);
  }

  private static long askDelay(boolean adaptive, long roundTrip) {
    FlowSettings base = FlowSettings.reference(MTU).withoutProbes();
    Script s =
        new Script(
            adaptive
                ? base
                : new FlowSettings(
                    MTU, 128, T, false, true, 64, 250_000_000, 10_000_000_000L, 0, 0, 1));
    for (int i = 0; i < 60; i++) {
      s.write(100);
      s.frames();
      s.now += roundTrip;
      s.acknowledge(Script.FIRST_OUT + i + 1, 100L * (i + 1));
    }
    s.write(100);
    s.frames();
    return s.flow.nextDeadline(s.now) - s.now;
  }

  @Test
  @DisplayName("D4: only what the receiver names as missing is sent again, and the window shrinks")
  void shouldResendWhatIsNamed() {
    Script s = new Script(backingOff());
    s.write(Script.RING);
    assertThat(s.frames()).hasSize(64);
    s.peerAckSequence = Script.FIRST_OUT + 3;
    s.peerAckIndex = 3 * DATA;
    s.receive(s.control(Script.FIRST_IN, 0, c -> c.missing().range(0, 1).range(5, 2).seen(29)));
    List<Script.Frame> frames = s.frames();
    assertThat(frames.stream().limit(3).map(Script.Frame::sequence))
        .containsExactly(Script.FIRST_OUT + 3, Script.FIRST_OUT + 8, Script.FIRST_OUT + 9);
    assertThat(s.flow.counters().resent).isEqualTo(3);
    assertThat(s.flow.counters().lossEvents).isEqualTo(1);
    assertThat(s.flow.congestionWindow()).isEqualTo((int) (67 * 0.7));
  }

  @Test
  @DisplayName("D4: what is late by less than three datagrams is not sent again")
  void shouldTolerateReordering() {
    Script s = new Script(backingOff());
    s.write(Script.RING);
    s.frames();
    s.receive(s.control(Script.FIRST_IN, 0, c -> c.missing().range(0, 1).seen(3)));
    s.frames();
    assertThat(s.flow.counters().resent).isZero();
    s.receive(s.control(Script.FIRST_IN, 0, c -> c.missing().range(0, 1).seen(4)));
    s.frames();
    assertThat(s.flow.counters().resent).isEqualTo(1);
  }

  @Test
  @DisplayName("D4: an ask names the tail that no later datagram shows to be lost")
  void shouldFindLostTail() {
    Script s = new Script(literal(128));
    s.write(5 * DATA);
    s.frames();
    s.now += T;
    assertThat(s.frames()).hasSize(1);
    s.peerAckSequence = Script.FIRST_OUT + 3;
    s.peerAckIndex = 3 * DATA;
    s.receive(
        s.control(
            Script.FIRST_IN, 0, c -> c.missing().range(0, 2).seen(2).number(Control.ECHO, 1)));
    assertThat(s.frames().stream().map(Script.Frame::sequence))
        .containsExactly(Script.FIRST_OUT + 3, Script.FIRST_OUT + 4);
  }

  @Test
  @DisplayName("H-ackseq, H-ackidx: what was never sent is not acknowledged")
  void shouldRefuseImpossibleAcknowledgements() {
    Script s = new Script(literal(128));
    s.write(3 * DATA);
    s.frames();
    s.peerAckSequence = Script.FIRST_OUT + 4;
    s.peerAckIndex = 3 * DATA;
    assertThat(s.receive(s.control(Script.FIRST_IN, 0, c -> {})))
        .isEqualTo(DropCause.BAD_ACKNOWLEDGEMENT);
    s.peerAckSequence = Script.FIRST_OUT + 2;
    s.peerAckIndex = 2 * DATA - 1;
    assertThat(s.receive(s.control(Script.FIRST_IN, 0, c -> {})))
        .isEqualTo(DropCause.BAD_ACKNOWLEDGEMENT);
    assertThat(s.flow.acknowledged()).isZero();
    s.peerAckIndex = 2 * DATA;
    assertThat(s.receive(s.control(Script.FIRST_IN, 0, c -> c.credit(2 * DATA + 1, 2 * DATA + 5))))
        .isEqualTo(DropCause.MALFORMED_CONTROL);
    assertThat(s.out.consumed()).isZero();
  }

  @Test
  @DisplayName("M3.1: never past the peer's room; a lost update is asked for, ever more rarely")
  void shouldKeepToCreditAndAskForIt() {
    Script s = new Script(literal(128), 0, 0, Script.RING, 1024);
    s.write(10_000);
    List<Script.Frame> frames = s.frames();
    assertThat(frames.stream().mapToInt(Script.Frame::length).sum()).isEqualTo(1024);
    s.acknowledge(Script.FIRST_OUT + 1, 1024);
    List<String> asks = s.until(s.now + 10_000_000_000L);
    assertThat(asks).hasSizeBetween(20, 60).allMatch(t -> t.contains(" ask "));
    s.receive(s.control(Script.FIRST_IN, 0, c -> c.credit(100, 1124)));
    assertThat(s.frames()).as("no crumbs").isEmpty();
    s.receive(s.control(Script.FIRST_IN, 0, c -> c.credit(600, 1624)));
    assertThat(s.frames().stream().map(Script.Frame::length)).containsExactly(600);
    assertThat(s.out.consumed()).isEqualTo(600);
  }

  @Test
  @DisplayName("M3.1: a full send buffer asks for news of the peer's program")
  void shouldAskWhenSendBufferIsFull() {
    Script s = new Script(literal(256), 0, 0, Script.RING, 1 << 20);
    s.write(Script.RING);
    int sent = s.frames().size();
    s.acknowledge(Script.FIRST_OUT + sent, Script.RING);
    s.frames();
    assertThat(s.until(s.now + 20_000_000)).isNotEmpty().allMatch(t -> t.contains(" ask "));
    s.receive(s.control(Script.FIRST_IN, 0, c -> c.credit(Script.RING, 1 << 20)));
    s.frames();
    assertThat(s.flow.nextDeadline(s.now)).isEqualTo(Long.MAX_VALUE);
  }

  @Test
  @DisplayName("D5: a wire that stops answering is reported once, and used again when it answers")
  void shouldReportSilentWire() {
    Script s = new Script(FlowSettings.reference(MTU).withoutProbes());
    s.write(1000);
    s.until(s.now + 9_900_000_000L);
    assertThat(s.notes.said).isEmpty();
    s.until(s.now + 20_000_000_000L);
    assertThat(s.notes.said).containsExactly("wireFailed SILENCE");
    s.acknowledge(Script.FIRST_OUT + 1, 1000);
    s.write(1000);
    assertThat(s.frames()).hasSize(1);
    s.until(s.now + 20_000_000_000L);
    assertThat(s.notes.failures).isEqualTo(2);
  }

  @Test
  @DisplayName("D4: the congestion window grows by one an acknowledged datagram, never past W")
  void shouldGrowToWindow() {
    Script s = new Script(FlowSettings.reference(MTU).withoutProbes(), 0, 0, Script.RING, 1 << 30);
    int sent = 0;
    for (int round = 0; round < 8; round++) {
      long room = s.out.room();
      if (room > 0) {
        s.write(room);
      }
      List<Script.Frame> frames = s.frames();
      sent += (int) IntStream.range(0, frames.size()).filter(i -> !frames.get(i).control()).count();
      s.now += 100_000;
      long offset = s.flow.sent();
      s.peerAckSequence = Script.FIRST_OUT + sent;
      s.peerAckIndex = (int) offset;
      s.receive(s.control(Script.FIRST_IN, 0, c -> c.credit(offset, offset + (1 << 29))));
    }
    assertThat(s.flow.congestionWindow()).isEqualTo(128);
  }
}
