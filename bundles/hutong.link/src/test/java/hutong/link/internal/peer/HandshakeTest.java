// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.link.PeerId;
import hutong.link.internal.peer.BadPeerException.Cause;
import hutong.link.internal.peer.Sealer.Kind;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Two sides of a handshake, and somebody between them. */
class HandshakeTest {
  private static final PeerId A = new PeerId("PC1", 1);
  private static final PeerId B = new PeerId("PC2", 1);
  private final Identity keyA = new Identity();
  private final Identity keyB = new Identity();
  private final FakeWorld worldA = new FakeWorld(A, keyA, 11).knows(B, keyB);
  private final FakeWorld worldB = new FakeWorld(B, keyB, 22).knows(A, keyA);
  private Handshake a;
  private Handshake b;
  private byte[] first;

  @BeforeEach
  void begin() throws Exception {
    ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
    a = Handshake.begin(worldA, B, out);
    b = Handshake.answer(worldB);
    first = Arrays.copyOf(out.array(), out.position());
  }

  private static byte[] step(Handshake side, byte[] bytes, boolean done) throws Exception {
    ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
    ByteBuffer in = ByteBuffer.wrap(bytes);
    assertThat(side.step(in, out)).isEqualTo(done);
    return Arrays.copyOf(out.array(), out.position());
  }

  private static boolean isRefused(Handshake side, byte[] bytes) throws Exception {
    try {
      ByteBuffer in = ByteBuffer.wrap(bytes);
      return !side.step(in, ByteBuffer.allocate(Handshake.MAX_BYTES));
    } catch (BadPeerException e) {
      return true;
    }
  }

  @Test
  void shouldAgreeAndTalk() throws Exception {
    worldA.lastKeep = 7;
    worldB.lastKeep = 8;
    byte[] last = step(a, step(b, first, false), true);
    assertThat(step(b, last, true)).isEmpty();
    assertThat(a.peer()).isEqualTo(B);
    assertThat(b.peer()).isEqualTo(A);
    assertThat(a.peerSession()).isEqualTo(22);
    assertThat(b.peerSession()).isEqualTo(11);
    assertThat(a.peerLastKeep()).isEqualTo(8);
    assertThat(b.peerLastKeep()).isEqualTo(7);
    assertThat(a.peerKey()).isEqualTo(keyB.publicKey());
    ByteBuffer record = ByteBuffer.allocate(100);
    a.writer().seal(Kind.DATA, 3, new byte[] {1}, record);
    record.flip();
    assertThat(b.reader().open(record, record.limit()).topic()).isEqualTo(3);
  }

  @Test
  void shouldManageWithOneByteAtATime() throws Exception {
    ByteBuffer toB = ByteBuffer.allocate(1000).put(first).flip();
    ByteBuffer toA = ByteBuffer.allocate(1000);
    ByteBuffer in = ByteBuffer.allocate(1000);
    while (toB.hasRemaining()) {
      in.put(toB.get()).flip();
      assertThat(b.step(in, toA)).isFalse();
      in.compact();
    }
    toA.flip();
    toB.clear();
    boolean done = false;
    in.clear();
    while (toA.hasRemaining()) {
      in.put(toA.get()).flip();
      done = a.step(in, toB);
      in.compact();
    }
    assertThat(done).isTrue();
    toB.flip();
    assertThat(b.step(toB, ByteBuffer.allocate(0))).isTrue();
  }

  @Test
  void shouldNoticeAnyByteThatWasChangedOnTheWay() throws Exception {
    Random random = new Random(1);
    int answerLength = step(b, first, false).length;
    int lastLength = 4 + 2 + 72 + 16;
    for (int at = 0; at < first.length + answerLength + lastLength; at++) {
      begin();
      byte[][] flights = {first, null, null};
      int change = 1 + random.nextInt(255);
      boolean refused = false;
      int offset = at;
      for (int i = 0; i < 3 && !refused; i++) {
        if (offset >= 0 && offset < flights[i].length) {
          flights[i][offset] ^= (byte) change;
        }
        offset -= flights[i].length;
        Handshake side = i == 1 ? a : b;
        ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
        try {
          boolean done = side.step(ByteBuffer.wrap(flights[i]), out);
          refused = done != (i > 0); // it waits for more bytes
        } catch (BadPeerException e) {
          refused = true;
        }
        if (i < 2) {
          flights[i + 1] = Arrays.copyOf(out.array(), out.position());
        }
      }
      assertThat(refused).as("byte " + at).isTrue();
    }
  }

  @Test
  void shouldRefuseAWrongKeyOnEitherSide() throws Exception {
    Handshake thief = Handshake.answer(new FakeWorld(B, new Identity(), 1).knows(A, keyA));
    byte[] answer = step(thief, first, false);
    assertThatThrownBy(() -> step(a, answer, true))
        .isInstanceOfSatisfying(
            BadPeerException.class, e -> assertThat(e.why()).isEqualTo(Cause.UNAUTHENTIC));

    ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
    Handshake other = Handshake.begin(new FakeWorld(A, new Identity(), 1).knows(B, keyB), B, out);
    byte[] last = step(other, step(b, Arrays.copyOf(out.array(), out.position()), false), true);
    assertThatThrownBy(() -> step(b, last, true))
        .isInstanceOfSatisfying(
            BadPeerException.class, e -> assertThat(e.why()).isEqualTo(Cause.UNAUTHENTIC));
  }

  @Test
  void shouldRefuseStrangersAndTheWrongOne() throws Exception {
    PeerId c = new PeerId("PC3", 1);
    assertThat(isRefused(Handshake.answer(new FakeWorld(c, keyB, 1).knows(A, keyA)), first))
        .as("meant for somebody else")
        .isTrue();
    assertThat(isRefused(Handshake.answer(new FakeWorld(B, keyB, 1)), first))
        .as("not in the lists")
        .isTrue();
    worldA.knows(c, keyB);
    ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
    Handshake toC = Handshake.begin(worldA, c, out);
    Handshake atB = Handshake.answer(worldB);
    byte[] hello = Hello.decode(Arrays.copyOf(out.array(), out.position())).encode();
    assertThat(isRefused(atB, hello)).isTrue();
    assertThat(isRefused(toC, step(b, first, false))).as("B answers instead of C").isTrue();
  }

  @Test
  void shouldNotBeFooledByReplaysAndReflections() throws Exception {
    byte[] answer = step(b, first, false);
    byte[] last = step(a, answer, true);
    step(b, last, true);
    Handshake again = Handshake.answer(worldB);
    step(again, first, false);
    assertThat(isRefused(again, last)).as("the same bytes for a second time").isTrue();
    begin();
    assertThat(isRefused(a, answer)).as("an old answer").isTrue();
    begin();
    assertThat(isRefused(a, first)).as("its own hello").isTrue();
  }
}
