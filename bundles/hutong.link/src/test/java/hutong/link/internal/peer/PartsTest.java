// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.link.PeerId;
import hutong.link.internal.peer.BadPeerException.Cause;
import hutong.link.internal.peer.KeySchedule.Side;
import hutong.link.internal.peer.Sealer.Kind;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.SocketOption;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.SecureRandom;
import java.security.Signature;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;

/** Hello, keys, records and queue, each by itself. */
class PartsTest {
  private static final Hello HELLO =
      new Hello(5, filled(1), filled(2), new PeerId("PC1", 1), new PeerId("PC2", 0xffff));

  private static byte[] filled(int value) {
    byte[] bytes = new byte[Hello.RANDOM_BYTES];
    Arrays.fill(bytes, (byte) value);
    return bytes;
  }

  private static void isBad(Cause cause, ThrowingCallable call) {
    assertThatThrownBy(call)
        .isInstanceOfSatisfying(BadPeerException.class, e -> assertThat(e.why()).isEqualTo(cause));
  }

  @Test
  void shouldReadWhatAHelloSays() throws Exception {
    Hello read = Hello.decode(HELLO.encode());
    assertThat(read).usingRecursiveComparison().isEqualTo(HELLO);
    String longest = "h".repeat(Hello.MAX_HOST);
    byte[] most =
        new Hello(5, filled(1), filled(2), new PeerId(longest, 1), new PeerId(longest, 2)).encode();
    assertThat(most).hasSize(Hello.MAX_BYTES);
    assertThat(Hello.decode(most).to().hostId()).isEqualTo(longest);
  }

  @Test
  void shouldKeepTheLayoutThatTheDocumentGives() {
    assertThat(HexFormat.of().formatHex(HELLO.encode()))
        .isEqualTo(
            "48555450"
                + "0001"
                + "005c"
                + "0000000000000005"
                + "01".repeat(32)
                + "02".repeat(32)
                + "000103504331"
                + "ffff03504332");
  }

  @Test
  void shouldRefuseHellosThatAreCutLongerOrMisshapen() {
    byte[] good = HELLO.encode();
    for (int length = 0; length < good.length; length++) {
      byte[] cut = Arrays.copyOf(good, length);
      isBad(Cause.MALFORMED, () -> Hello.decode(cut));
      if (length >= Hello.HEAD_BYTES) {
        cut[7] = (byte) length; // and now it says so itself
        isBad(Cause.MALFORMED, () -> Hello.decode(cut));
      }
    }
    byte[] longer = Arrays.copyOf(good, good.length + 1);
    longer[7]++;
    isBad(Cause.MALFORMED, () -> Hello.decode(longer));
    for (int at : new int[] {0, 82, 83, 88}) { // magic, a length, a character, a length
      byte[] bad = good.clone();
      bad[at] = (byte) 0xff;
      isBad(Cause.MALFORMED, () -> Hello.decode(bad));
    }
    byte[] other = good.clone();
    other[5] = 2;
    isBad(Cause.VERSION, () -> Hello.decode(other));
    isBad(Cause.MALFORMED, () -> Hello.length(ByteBuffer.wrap(Hello.versionOnly())));
  }

  @Test
  void shouldDeriveAsRfc5869Does() throws Exception {
    HexFormat hex = HexFormat.of();
    byte[] key =
        Hkdf.extract(hex.parseHex("000102030405060708090a0b0c"), hex.parseHex("0b".repeat(22)));
    assertThat(hex.formatHex(key))
        .isEqualTo("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    assertThat(hex.formatHex(Hkdf.expand(key, hex.parseHex("f0f1f2f3f4f5f6f7f8f9"), 42)))
        .isEqualTo(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  }

  @Test
  void shouldGiveBothSidesTheSameKeysAndOthersNone() throws Exception {
    SecureRandom random = new SecureRandom();
    KeyPair a = KeySchedule.freshPair(random);
    KeyPair b = KeySchedule.freshPair(random);
    byte[] encoded = a.getPublic().getEncoded();
    assertThat(KeySchedule.share(a))
        .isEqualTo(Arrays.copyOfRange(encoded, encoded.length - 32, encoded.length));
    byte[] first = {1};
    byte[] second = {2};
    KeySchedule atA = KeySchedule.derive(first, second, a, KeySchedule.share(b));
    KeySchedule atB = KeySchedule.derive(first, second, b, KeySchedule.share(a));
    assertThat(atA).usingRecursiveComparison().isEqualTo(atB);
    assertThat(atA.fromBeginner()).hasSize(16).isNotEqualTo(atA.fromAnswerer());
    KeySchedule changed = KeySchedule.derive(first, new byte[] {3}, a, KeySchedule.share(b));
    assertThat(changed.fromBeginner()).isNotEqualTo(atA.fromBeginner());
    assertThatThrownBy(() -> KeySchedule.derive(first, second, a, new byte[32]))
        .isInstanceOf(GeneralSecurityException.class);
  }

  @Test
  void shouldTakeASideSignatureForThatSideOnly() throws Exception {
    KeyPair pair = KeySchedule.freshPair(new SecureRandom());
    KeySchedule keys = KeySchedule.derive(new byte[1], new byte[1], pair, KeySchedule.share(pair));
    KeyPair signer = KeyPairGenerator.getInstance("Ed25519").generateKeyPair();
    String key = Base64.getEncoder().encodeToString(signer.getPublic().getEncoded());
    Signature signature = Signature.getInstance("Ed25519");
    signature.initSign(signer.getPrivate());
    signature.update(keys.signedBy(Side.BEGINNER));
    byte[] mark = signature.sign();
    assertThat(keys.isSignedBy(Side.BEGINNER, key, mark)).isTrue();
    assertThat(keys.isSignedBy(Side.ANSWERER, key, mark)).isFalse();
    assertThat(keys.isSignedBy(Side.BEGINNER, "AAAA", mark)).isFalse();
    assertThat(keys.isSignedBy(Side.BEGINNER, "no base64!", mark)).isFalse();
    assertThat(keys.isSignedBy(Side.BEGINNER, key, new byte[64])).isFalse();
  }

  private static Sealer.Content open(Sealer reader, byte[] record) throws Exception {
    ByteBuffer in = ByteBuffer.wrap(record);
    return reader.open(in, Sealer.length(in, Sealer.MAX_CONTENT));
  }

  private static byte[] seal(Sealer writer, int topic, byte[] content) throws Exception {
    ByteBuffer out = ByteBuffer.allocate(content.length + Sealer.OVERHEAD);
    writer.seal(Kind.DATA, topic, content, out);
    assertThat(out.hasRemaining()).isFalse();
    return out.array();
  }

  @Test
  void shouldOpenRecordsInTheirOrderOnly() throws Exception {
    Sealer writer = new Sealer(new byte[16]);
    Sealer reader = new Sealer(new byte[16]);
    for (int size : new int[] {0, 1, 1000, Sealer.MAX_CONTENT}) {
      Sealer.Content content = open(reader, seal(writer, 255, new byte[size]));
      assertThat(content.kind()).isEqualTo(Kind.DATA);
      assertThat(content.topic()).isEqualTo(255);
      assertThat(content.content()).hasSize(size);
    }
    byte[] missed = seal(writer, 1, new byte[1]);
    byte[] next = seal(writer, 1, new byte[1]);
    assertThat(missed).isNotEqualTo(next);
    isBad(Cause.UNAUTHENTIC, () -> open(reader, next));
  }

  @Test
  void shouldRefuseARecordWithAnyBitChanged() throws Exception {
    byte[] good = seal(new Sealer(new byte[16]), 3, new byte[] {1, 2, 3});
    for (int bit = 0; bit < 8 * good.length; bit++) {
      byte[] bad = good.clone();
      bad[bit / 8] ^= (byte) (1 << bit % 8);
      ByteBuffer in = ByteBuffer.wrap(bad);
      Sealer reader = new Sealer(new byte[16]);
      assertThatThrownBy(() -> reader.open(in, bad.length))
          .as("bit " + bit)
          .isInstanceOf(BadPeerException.class);
    }
    for (int length : new int[] {-1, 0, 17, Sealer.MAX_CONTENT + 19, Integer.MAX_VALUE}) {
      ByteBuffer in = ByteBuffer.allocate(4).putInt(0, length);
      isBad(Cause.MALFORMED, () -> Sealer.length(in, Sealer.MAX_CONTENT));
    }
  }

  @Test
  void shouldSetTheOptionsOfAConnection() throws Exception {
    Map<String, Object> options = new HashMap<>();
    InetAddress loopback = InetAddress.getLoopbackAddress();
    try (ServerSocket server = new ServerSocket(0, 1, loopback);
        SocketChannel channel = new Dialer(loopback, server.getLocalPort()).dial(loopback)) {
      for (SocketOption<?> option : channel.supportedOptions()) {
        options.put(option.name(), channel.getOption(option));
      }
    }
    assertThat(options)
        .containsEntry("TCP_NODELAY", true)
        .containsEntry("SO_KEEPALIVE", true)
        .containsEntry("TCP_KEEPIDLE", 5)
        .containsEntry("TCP_KEEPINTERVAL", 2)
        .containsEntry("TCP_KEEPCOUNT", 3);
  }

  @Test
  void shouldBoundTheQueue() throws Exception {
    Outbox outbox = new Outbox(1000);
    Outbox.Message message = new Outbox.Message(1, new byte[436]);
    assertThat(outbox.offer(message)).isTrue();
    assertThat(outbox.offer(message)).isTrue();
    assertThat(outbox.offer(new Outbox.Message(1, new byte[0]))).isFalse();
    assertThat(outbox.peek()).isSameAs(message);
    outbox.remove();
    assertThat(outbox.offer(message)).isTrue();
    outbox.close();
    assertThat(outbox.peek()).isNull();
    assertThatThrownBy(() -> outbox.offer(message)).isInstanceOf(IOException.class);
  }
}
