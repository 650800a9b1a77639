// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import java.util.List;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** Frames in, frames out: the receiving rules one by one. */
class ReceivingTest {
  private static final int ASK = Header.ACK_REQUESTED;
  private static final int FIRST = Script.FIRST_IN;

  private static Script script() {
    return script(0, Script.RING);
  }

  private static Script script(long offset, int ring) {
    return new Script(FlowSettings.literal(1500, 128, 500_000), 0, offset, ring, Script.RING);
  }

  private static List<String> texts(Script s) {
    return s.frames().stream().map(Script.Frame::toString).toList();
  }

  @Test
  @DisplayName("H-ackseq, H-ackidx: in order it is published, and acknowledged when asked")
  void shouldPublishAndAcknowledge() {
    Script s = script();
    assertThat(s.receive(s.data(FIRST, 0, 100, 0))).isEqualTo(DropCause.NONE);
    assertThat(s.frames()).isEmpty();
    assertThat(s.in.published()).isEqualTo(100);
    s.receive(s.data(FIRST + 1, 100, 50, ASK));
    List<Script.Frame> frames = s.frames();
    assertThat(frames).hasSize(1);
    assertThat(frames.get(0).ackSequence()).isEqualTo(FIRST + 2);
    assertThat(frames.get(0).ackIndex()).isEqualTo(150);
    assertThat(frames.get(0).control()).isTrue();
    assertThat(frames.get(0).sequence()).as("no number taken").isEqualTo(Script.FIRST_OUT);
    s.in.read(150);
  }

  @Test
  @DisplayName("H-ackseq: data that goes out anyway carries the acknowledgement")
  void shouldPiggyback() {
    Script s = script();
    s.receive(s.data(FIRST, 0, 100, ASK));
    s.write(10);
    List<Script.Frame> frames = s.frames();
    assertThat(frames).hasSize(1);
    assertThat(frames.get(0).control()).isFalse();
    assertThat(frames.get(0).ackIndex()).isEqualTo(100);
  }

  @Test
  @DisplayName("D4: early data waits at its place, and missing ranges are named")
  void shouldNameMissingRanges() {
    Script s = script();
    s.receive(s.data(FIRST + 2, 200, 100, 0));
    s.receive(s.data(FIRST + 3, 300, 100, 0));
    assertThat(s.frames()).isEmpty();
    s.receive(s.data(FIRST + 6, 600, 100, ASK));
    assertThat(texts(s)).containsExactly("control +34 credit 0/262144 missing 0+2 4+2 of 7");
    s.receive(s.data(FIRST, 0, 100, 0));
    s.receive(s.data(FIRST + 1, 100, 100, ASK));
    assertThat(texts(s)).containsExactly("control +30 credit 0/262144 missing 0+2 of 3");
    assertThat(s.in.published()).isEqualTo(400);
    s.receive(s.data(FIRST + 5, 500, 100, 0));
    s.receive(s.data(FIRST + 4, 400, 100, ASK));
    assertThat(texts(s)).containsExactly("control +20 credit 0/262144");
    s.in.read(700);
  }

  @Test
  @DisplayName("D4: a hole that reordering does not explain is named unasked, once")
  void shouldNameHoleUnasked() {
    Script s = script();
    s.receive(s.data(FIRST + 1, 100, 100, 0));
    s.receive(s.data(FIRST + 2, 200, 100, 0));
    assertThat(s.frames()).isEmpty();
    s.receive(s.data(FIRST + 3, 300, 100, 0));
    assertThat(texts(s)).containsExactly("control +30 credit 0/262144 missing 0+1 of 4");
    s.receive(s.data(FIRST + 4, 400, 100, 0));
    assertThat(s.frames()).isEmpty();
  }

  @Test
  @DisplayName("D4: an ask is answered with all that is missing up to it")
  void shouldAnswerAsk() {
    Script s = script();
    s.receive(s.data(FIRST, 0, 100, 0));
    s.receive(s.control(FIRST + 3, ASK, c -> c.number(Control.ASK, 8)));
    assertThat(texts(s)).containsExactly("control +38 credit 0/262144 missing 0+2 of 2 echo 8");
  }

  @Test
  @DisplayName("H-seq: only within the window; duplicates are answered, not stored")
  void shouldKeepToWindow() {
    Script s = script();
    assertThat(s.receive(s.data(FIRST + 128, 5000, 10, ASK))).isEqualTo(DropCause.OUTSIDE_WINDOW);
    assertThat(s.receive(s.data(FIRST + 127, 5000, 10, 0))).isEqualTo(DropCause.NONE);
    assertThat(s.receive(s.data(FIRST + 127, 5000, 10, 0))).isEqualTo(DropCause.DUPLICATE);
    s.frames();
    s.receive(s.data(FIRST, 0, 10, 0));
    assertThat(s.frames()).isEmpty();
    assertThat(s.receive(s.data(FIRST, 0, 10, 0))).isEqualTo(DropCause.DUPLICATE);
    assertThat(s.frames()).hasSize(1);
    assertThat(s.receive(s.data(FIRST - 200, 0, 10, ASK))).isEqualTo(DropCause.OUTSIDE_WINDOW);
    assertThat(s.frames()).isEmpty();
    assertThat(s.flow.counters().drops(DropCause.DUPLICATE)).isEqualTo(2);
    assertThat(s.flow.counters().drops(DropCause.OUTSIDE_WINDOW)).isEqualTo(2);
  }

  @Test
  @DisplayName("H-idx: extended against the receiver's own offset, and checked against neighbours")
  void shouldCheckIndex() {
    long offset = (1L << 33) - 150;
    Script s = script(offset, Script.RING);
    assertThat(s.receive(s.data(FIRST, offset + 1, 100, 0))).isEqualTo(DropCause.BAD_INDEX);
    assertThat(s.receive(s.data(FIRST + 2, offset + 1, 100, 0))).isEqualTo(DropCause.BAD_INDEX);
    assertThat(s.receive(s.data(FIRST + 2, offset + 200, 100, 0))).isEqualTo(DropCause.NONE);
    assertThat(s.receive(s.data(FIRST + 1, offset + 100, 101, 0))).isEqualTo(DropCause.BAD_INDEX);
    assertThat(s.receive(s.data(FIRST + 1, offset + 100, 100, 0))).isEqualTo(DropCause.NONE);
    assertThat(s.receive(s.data(FIRST, offset, 101, 0))).isEqualTo(DropCause.BAD_INDEX);
    assertThat(s.receive(s.data(FIRST, offset, 100, 0))).isEqualTo(DropCause.NONE);
    s.frames();
    assertThat(s.in.published()).isEqualTo(offset + 300);
    s.in.read(300);
  }

  @Test
  @DisplayName("M3.1: nothing past the room; the program's reading is announced by quarters")
  void shouldKeepToRoomAndAnnounce() {
    Script s = script(0, 1024);
    assertThat(s.receive(s.data(FIRST, 0, 1025, 0))).isEqualTo(DropCause.OUTSIDE_CREDIT);
    assertThat(s.receive(s.data(FIRST, 0, 1024, 0))).isEqualTo(DropCause.NONE);
    assertThat(s.frames()).isEmpty();
    s.in.read(255);
    assertThat(s.frames()).isEmpty();
    s.in.read(1);
    assertThat(texts(s)).containsExactly("control +20 credit 256/1280");
  }

  @Test
  @DisplayName("M3.1: a peer whose send buffer is smaller than our room hears by its own quarters")
  void shouldAnnounceByThePeersQuarters() {
    Script s = script(0, 4 * Script.RING);
    int quarter = Script.RING / 4;
    for (int i = 0; i < 64; i++) {
      s.receive(s.data(FIRST + i, 1024L * i, 1024, 0));
    }
    assertThat(s.frames()).isEmpty();
    s.in.read(quarter - 1);
    assertThat(s.frames()).isEmpty();
    s.in.read(1);
    assertThat(texts(s)).containsExactly("control +20 credit 65536/1114112");
  }

  @Test
  @DisplayName("H-chan: another index or generation is not listened to")
  void shouldCheckChannel() {
    Script s = script();
    for (int channel : new int[] {Script.LOCAL + 1, Script.LOCAL + (1 << 16)}) {
      var frame = s.data(FIRST, 0, 10, 0);
      frame.putInt(Header.CHANNEL, channel);
      assertThat(s.receive(s.seal(frame.clear(), 10)))
          .isEqualTo(
              channel == Script.LOCAL + 1 ? DropCause.NO_CHANNEL : DropCause.WRONG_GENERATION);
    }
    assertThat(s.flow.received()).isZero();
  }

  @Test
  @DisplayName("D4: items of unknown kinds and longer values are ignored; cut ones are refused")
  void shouldTolerateNewerPeers() {
    Script s = script();
    s.write(10);
    s.frames();
    var frame =
        s.control(FIRST, 0, c -> c.number(77, 5).credit(0, 10).number(Control.ASK, 3).padTo(60));
    assertThat(s.receive(frame)).isEqualTo(DropCause.NONE);
    assertThat(s.flow.counters().unknownItems).isEqualTo(1);
    assertThat(texts(s)).containsExactly("control +28 credit 0/262144 echo 3");
    var longer = s.control(FIRST, 0, c -> c.number(Control.ECHO, 5).number(77, 9));
    longer.clear().putShort(Header.BYTES + 2, (short) 12);
    assertThat(s.receive(s.seal(longer, 16))).isEqualTo(DropCause.NONE);
    var cut = s.control(FIRST, 0, c -> c.credit(0, 99));
    assertThat(s.receive(s.seal(cut.clear().putInt(Header.LENGTH, 19), 19)))
        .isEqualTo(DropCause.MALFORMED_CONTROL);
    var doubled = s.control(FIRST, 0, c -> c.number(Control.ASK, 3).number(Control.ASK, 4));
    assertThat(s.receive(doubled)).isEqualTo(DropCause.MALFORMED_CONTROL);
  }
}
