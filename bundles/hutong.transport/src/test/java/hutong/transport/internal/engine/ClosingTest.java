// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.datagram.HmacAuthenticator;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** END, leaving a wire, probes, resuming and authentication. */
class ClosingTest {
  private static final FlowSettings PLAIN = FlowSettings.literal(1500, 128, 500_000);
  private static final int FIRST = Script.FIRST_IN;

  private static List<String> texts(Script s) {
    return s.frames().stream().map(Script.Frame::toString).toList();
  }

  @Test
  @DisplayName("rule 17: END is repeated until it is known, and done when all before it is there")
  void shouldRepeatEnd() {
    Script s = new Script(PLAIN);
    s.write(100);
    s.flow.end(100, s.now);
    List<String> sent = s.until(s.now + 1_000_000_000L);
    assertThat(sent.stream().filter(t -> t.contains(" end 100")).count()).isBetween(5L, 20L);
    s.receive(s.control(FIRST, 0, c -> c.offset(Control.END_ACK, 99)));
    assertThat(s.until(s.now + 1_000_000_000L)).anyMatch(t -> t.contains(" end 100"));
    s.receive(s.control(FIRST, 0, c -> c.offset(Control.END_ACK, 100)));
    assertThat(s.until(s.now + 1_000_000_000L)).noneMatch(t -> t.contains(" end 100"));
    assertThat(s.notes.endDelivered).isEqualTo(-1);
    s.acknowledge(Script.FIRST_OUT + 1, 100);
    s.frames();
    assertThat(s.notes.endDelivered).isEqualTo(100);
    assertThat(s.flow.nextDeadline(s.now)).isEqualTo(Long.MAX_VALUE);
  }

  @Test
  @DisplayName("rule 17: the end is told after all bytes before it, never without END")
  void shouldEndAfterAllBytes() {
    Script s = new Script(PLAIN);
    s.receive(s.control(FIRST + 2, 0, c -> c.offset(Control.END, 200)));
    assertThat(texts(s)).containsExactly("control +32 credit 0/262144 endAck 200");
    assertThat(s.receive(s.data(FIRST + 1, 100, 101, 0))).isEqualTo(DropCause.PAST_END);
    assertThat(s.receive(s.data(FIRST + 1, 100, 100, 0))).isEqualTo(DropCause.NONE);
    s.frames();
    assertThat(s.notes.said).isEmpty();
    assertThat(s.receive(s.control(FIRST + 2, 0, c -> c.offset(Control.END, 201))))
        .isEqualTo(DropCause.MALFORMED_CONTROL);
    s.receive(s.data(FIRST, 0, 100, 0));
    s.frames();
    assertThat(s.notes.said).containsExactly("ended 200");
    s.receive(s.control(FIRST + 2, 0, c -> c.offset(Control.END, 200)));
    assertThat(texts(s)).as("a repeated END").hasSize(1);
    assertThat(s.notes.said).hasSize(1);
  }

  @Test
  @DisplayName("rule 17: an END before bytes that are there already is refused")
  void shouldRefuseEarlyEnd() {
    Script s = new Script(PLAIN);
    s.receive(s.data(FIRST + 1, 100, 100, 0));
    assertThat(s.receive(s.control(FIRST + 2, 0, c -> c.offset(Control.END, 199))))
        .isEqualTo(DropCause.MALFORMED_CONTROL);
    assertThat(s.receive(s.control(FIRST + 2, 0, c -> c.offset(Control.END, Long.MIN_VALUE))))
        .isEqualTo(DropCause.MALFORMED_CONTROL);
    assertThat(s.receive(s.control(FIRST + 2, 0, c -> c.offset(Control.END, Long.MAX_VALUE))))
        .isEqualTo(DropCause.MALFORMED_CONTROL);
  }

  @Test
  @DisplayName("D5: the sender stops at E, and forgets what it sent past it")
  void shouldLeaveSending() {
    Script s = new Script(PLAIN);
    s.write(10_000);
    s.frames();
    s.flow.leaveSending(3000, false);
    s.write(5000);
    s.now += 1_500_000;
    assertThat(s.frames().stream().filter(f -> !f.control()).mapToInt(Script.Frame::length).sum())
        .isEqualTo(3000);
    assertThat(s.notes.said).isEmpty();
    s.acknowledge(Script.FIRST_OUT + 3, 3000);
    assertThat(s.frames()).isEmpty();
    assertThat(s.notes.said).containsExactly("sendingLeft 3000");
    assertThat(s.flow.nextDeadline(s.now)).isEqualTo(Long.MAX_VALUE);
    assertThatThrownBy(() -> s.flow.end(15_000, s.now)).isInstanceOf(IllegalStateException.class);
    assertThatThrownBy(() -> s.flow.leaveSending(2999, false))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  @DisplayName("D5: the receiver takes nothing from E on, not even what came early")
  void shouldLeaveReceiving() {
    Script s = new Script(PLAIN);
    s.receive(s.data(FIRST + 1, 100, 100, 0));
    s.receive(s.data(FIRST + 2, 200, 100, 0));
    s.flow.leaveReceiving(150);
    assertThat(s.receive(s.data(FIRST + 3, 300, 100, 0))).isEqualTo(DropCause.PAST_END);
    s.frames();
    assertThat(s.notes.said).isEmpty();
    s.receive(s.data(FIRST, 0, 100, 0));
    s.frames();
    assertThat(s.in.published()).isEqualTo(150);
    assertThat(s.notes.said).containsExactly("receivingLeft 150");
    assertThatThrownBy(() -> s.flow.leaveReceiving(149))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  @DisplayName("D5: no data before full-size probes are answered")
  void shouldProbeFirst() {
    Script s = new Script(FlowSettings.reference(9000));
    s.write(100);
    for (int i = 0; i < 3; i++) {
      List<Script.Frame> frames = s.frames();
      assertThat(frames).hasSize(1);
      assertThat(frames.get(0).bytes()).isEqualTo(9000);
      int number = Integer.parseInt(frames.get(0).items().replace(" probe ", ""));
      s.receive(s.control(FIRST, 0, c -> c.probeAnswer(number, 8999)));
      s.receive(s.control(FIRST, 0, c -> c.probeAnswer(number - 1, 9000)));
      assertThat(s.notes.said).isEmpty();
      s.receive(s.control(FIRST, 0, c -> c.probeAnswer(number, 9000)));
      s.receive(s.control(FIRST, 0, c -> c.probeAnswer(number, 9000)));
    }
    assertThat(s.notes.said).containsExactly("probed");
    assertThat(s.frames().stream().map(Script.Frame::length)).containsExactly(100);
  }

  @Test
  @DisplayName("D5: unanswered probes fail the wire, in a stated time, without data")
  void shouldGiveUpProbing() {
    Script s = new Script(FlowSettings.reference(1500));
    s.write(100);
    long start = s.now;
    List<String> sent = s.until(start + 200_000_000L - 1);
    assertThat(sent).hasSize(10).allMatch(t -> t.contains(" probe "));
    assertThat(s.notes.said).isEmpty();
    s.until(start + 200_000_000L);
    assertThat(s.notes.said).containsExactly("wireFailed PROBES");
    s.flow.probe(s.now);
    assertThat(s.frames()).hasSize(1);
  }

  @Test
  @DisplayName("D5: a wire that failed is probed on, slowly, and carries the data when it answers")
  void shouldGoOnProbing() {
    Script s = new Script(FlowSettings.reference(1500));
    s.write(100);
    List<String> sent = s.until(s.now + 10_200_000_000L);
    assertThat(sent).hasSizeBetween(48, 52).allMatch(t -> t.contains(" probe "));
    assertThat(s.notes.said).containsExactly("wireFailed PROBES");
    for (int i = 0; i < 3; i++) {
      s.now += 250_000_000;
      int number = Integer.parseInt(s.frames().get(0).items().replace(" probe ", ""));
      s.receive(s.control(FIRST, 0, c -> c.probeAnswer(number, 1500)));
    }
    assertThat(s.notes.said).containsExactly("wireFailed PROBES", "probed");
    assertThat(s.frames().stream().map(Script.Frame::length)).containsExactly(100);
  }

  @Test
  @DisplayName(
      "D5: a probe is answered as large as it came, and never larger than the wire carries")
  void shouldAnswerProbes() {
    Script s = new Script(PLAIN);
    for (int size : new int[] {100, 1500, 9000}) {
      s.receive(s.control(FIRST, 0, c -> c.number(Control.PROBE, 4).padTo(size - Header.BYTES)));
      List<Script.Frame> frames = s.frames();
      assertThat(frames).hasSize(1);
      assertThat(frames.get(0).bytes()).isEqualTo(Math.min(size, 1500));
      assertThat(frames.get(0).items()).isEqualTo(" answer 4 of " + size);
    }
  }

  @Test
  @DisplayName("memory 3: a restarted end announces a new epoch and takes nothing else meanwhile")
  void shouldAnnounceResume() {
    Script s = new Script(PLAIN, 500, 700, Script.RING, 0, null, null, true);
    s.write(1000);
    assertThat(s.flow.localChannel()).isNotEqualTo(Script.LOCAL);
    assertThat(Header.index(s.flow.localChannel())).isEqualTo(Header.index(Script.LOCAL));
    assertThat(texts(s)).containsExactly("control +44 resume 4 wanted 700");
    assertThat(s.receive(s.data(FIRST, 700, 10, 0))).isEqualTo(DropCause.NOT_RESUMED);
    assertThat(s.until(s.now + 100_000_000)).hasSizeBetween(3, 10);
    int peer = Header.channel(9, 0x4444);
    assertThat(announce(s, s.flow.localChannel(), 3, peer, 600)).isEqualTo(DropCause.STALE_EPOCH);
    assertThat(announce(s, s.flow.localChannel(), 4, peer, 1501))
        .isEqualTo(DropCause.MALFORMED_CONTROL);
    assertThat(announce(s, s.flow.localChannel(), 4, peer, 600)).isEqualTo(DropCause.NONE);
    assertThat(s.notes.said).containsExactly("resumed 4");
    List<Script.Frame> frames = s.frames();
    assertThat(frames.get(0).channel()).isEqualTo(peer);
    assertThat(frames.get(0).index()).isEqualTo(600);
    assertThat(frames.get(0).length()).isEqualTo(900);
    assertThat(s.out.consumed()).isEqualTo(550);
  }

  private static DropCause announce(Script s, int to, int epoch, int channel, long wanted) {
    return s.receive(
        s.controlTo(
            to, 1, 0, c -> c.resume(epoch, channel, 7777, 64, true, wanted, 550, 550 + 100_000)));
  }

  @Test
  @DisplayName("memory 3: the other end renews its generation, answers, and drops the old epoch")
  void shouldFollowResume() {
    Script s = new Script(PLAIN);
    s.write(3000);
    s.frames();
    s.peerAckSequence = Script.FIRST_OUT + 1;
    s.peerAckIndex = 1468;
    s.receive(s.data(FIRST, 0, 50, 0));
    var old = s.data(FIRST + 1, 50, 50, 0);
    int peer = Header.channel(9, 0x4444);
    var announcement = s.control(1, 0, c -> c.resume(5, peer, 7777, 64, false, 1468, 0, 100_000));
    byte[] copy = new byte[announcement.remaining()];
    announcement.duplicate().get(copy);
    assertThat(s.receive(announcement)).isEqualTo(DropCause.NONE);
    List<Script.Frame> frames = s.frames();
    assertThat(frames.get(0).toString()).isEqualTo("control +44 resume 5 answer wanted 50");
    assertThat(frames).allMatch(f -> f.channel() == peer);
    assertThat(frames.get(1).index()).isEqualTo(1468);
    assertThat(s.receive(old)).isEqualTo(DropCause.WRONG_GENERATION);
    assertThat(s.receive(ByteBuffer.wrap(copy))).as("answer lost").isEqualTo(DropCause.NONE);
    assertThat(texts(s)).containsExactly("control +44 resume 5 answer wanted 50");
    s.peerAckSequence = frames.get(1).sequence();
    assertThat(s.receive(s.data(7777, 50, 50, 0))).isEqualTo(DropCause.NONE);
    s.frames();
    assertThat(s.in.published()).isEqualTo(100);
  }

  @Test
  @DisplayName("D6: a MAC of 16 bytes after the data, outside H-len, checked before all else")
  void shouldAuthenticate() {
    byte[] mine = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);
    byte[] theirs = "fedcba9876543210".getBytes(StandardCharsets.US_ASCII);
    Script s =
        new Script(
            PLAIN,
            0,
            0,
            Script.RING,
            Script.RING,
            new HmacAuthenticator(mine),
            new HmacAuthenticator(theirs),
            false);
    s.write(3000);
    List<Script.Frame> frames = s.frames();
    assertThat(frames.get(0).bytes()).isEqualTo(1500);
    assertThat(frames.get(0).length()).isEqualTo(1500 - 32 - 16);
    var good = s.data(FIRST, 0, 100, 0);
    byte[] copy = new byte[good.remaining()];
    good.duplicate().get(copy);
    assertThat(copy).hasSize(32 + 100 + 16);
    for (int at : new int[] {copy.length - 1, copy.length - 16}) {
      byte[] forged = copy.clone();
      forged[at] ^= 1;
      assertThat(s.receive(ByteBuffer.wrap(forged))).isEqualTo(DropCause.BAD_MAC);
    }
    assertThat(s.flow.received()).isZero();
    assertThat(s.receive(good)).isEqualTo(DropCause.NONE);
    s.batch.clear();
    var reflected = s.batch.bytes();
    assertThat(s.receive(reflected.limit(1500).position(0))).isEqualTo(DropCause.BAD_MAC);
  }
}
