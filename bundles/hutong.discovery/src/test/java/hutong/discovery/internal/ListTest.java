// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.discovery.HostNotice;
import hutong.api.discovery.Member;
import java.io.IOException;
import java.nio.file.Path;
import java.security.PublicKey;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** List datagrams: their form, and what a VM believes of them (M4.2, M5.1). */
class ListTest {
  private static final int MTU = 1500;
  private static final int VALID_MS = 3000;
  private static final String KEY = "MCowBQYDK2VwAyEA" + "A".repeat(43) + "=";

  @TempDir Path dir;
  private HostKeys pc1;
  private HostKeys pc2;
  private HostKeys stranger;
  private Map<String, PublicKey> trusted;
  private final ListReceiver receiver = new ListReceiver(1, new Tally(() -> null, () -> null));

  @BeforeEach
  void keys() throws Exception {
    pc1 = HostKeys.open(dir.resolve("1/key.pem"), dir.resolve("trusted"), "PC1");
    pc2 = HostKeys.open(dir.resolve("2/key.pem"), dir.resolve("trusted"), "PC2");
    stranger = HostKeys.open(dir.resolve("3/key.pem"), dir.resolve("elsewhere"), "PC1");
    trusted = new HashMap<>();
    for (Map.Entry<String, String> key : HostKeys.trusted(dir.resolve("trusted")).entrySet()) {
      trusted.put(key.getKey(), Ed25519.parse(Base64.getDecoder().decode(key.getValue())));
    }
    receiver.trust(new Trust("PC1", trusted, 0, 0, HostNotice.NONE));
  }

  private static Entry vm(int domid, String... addresses) {
    return new Entry(
        domid,
        "VM" + domid,
        "02:77:00:00:00:%02x".formatted(domid),
        List.of(addresses),
        "1.0",
        KEY);
  }

  private static List<byte[]> list(
      HostKeys keys, String host, long epoch, long sequence, List<Entry> entries) {
    ListPart head = new ListPart(host, epoch, sequence, 0, 1, VALID_MS, List.of());
    return ListCodec.encode(head, entries, MTU, keys::sign);
  }

  private boolean take(List<byte[]> datagrams, long nowNs) {
    boolean accepted = false;
    for (byte[] datagram : datagrams) {
      accepted = receiver.receive(datagram, nowNs);
    }
    return accepted;
  }

  private List<String> names() {
    return receiver.members().stream().map(Member::name).toList();
  }

  @Test
  void shouldCarryEntriesUnchanged() throws Exception {
    List<Entry> entries = List.of(vm(1, "10.0.0.1", "fd00::1"), vm(2, "10.0.0.2"));
    ListCodec.Parsed parsed = ListCodec.decode(list(pc1, "PC1", 7, 9, entries).get(0));
    assertThat(parsed.list().entries()).isEqualTo(entries);
    assertThat(parsed.list().epoch()).isEqualTo(7);
    assertThat(parsed.list().sequence()).isEqualTo(9);
    assertThat(parsed.list().validMs()).isEqualTo(VALID_MS);
  }

  @Test
  void shouldUnderstandVersionOneAndNoOther() throws Exception {
    Entry withoutKey = new Entry(1, "VM1", "02:77:00:00:00:01", List.of("10.0.0.1"), "1.0", "");
    byte[] second = list(pc1, "PC1", 7, 9, List.of(withoutKey)).get(0);
    // Version 1 lacks the last byte, the length of the key.
    int length = second.length - ListCodec.SIGNATURE_BYTES - 1;
    byte[] body = Arrays.copyOf(second, length);
    body[4] = 1;
    body[28] = (byte) (length >> 8);
    body[29] = (byte) length;
    byte[] first = Arrays.copyOf(body, length + ListCodec.SIGNATURE_BYTES);
    System.arraycopy(pc1.sign(body), 0, first, length, ListCodec.SIGNATURE_BYTES);
    assertThat(ListCodec.decode(first).list().entries()).containsExactly(withoutKey);
    assertThat(receiver.receive(first, 0)).isTrue();
    assertThat(receiver.members()).extracting(Member::key).containsExactly("");
    for (int version : new int[] {0, 2, 3, 255}) {
      first[4] = (byte) version;
      assertThatThrownBy(() -> ListCodec.decode(first)).isInstanceOf(MalformedListException.class);
    }
  }

  @Test
  void shouldRefuseWhatIsNoKey() throws Exception {
    byte[] list = list(pc1, "PC1", 7, 9, List.of(vm(1, "10.0.0.1"))).get(0);
    int key = list.length - ListCodec.SIGNATURE_BYTES - Ed25519.X509_BYTES;
    assertThat(ListCodec.decode(list).list().entries().get(0).key()).isEqualTo(KEY);
    for (int at = key - 1; at < key + 12; at++) {
      byte[] bad = list.clone();
      bad[at]++;
      assertThatThrownBy(() -> ListCodec.decode(bad))
          .as("byte " + at)
          .isInstanceOf(MalformedListException.class);
    }
  }

  @Test
  void shouldSayWhoIsNearAndWhoIsSelf() {
    assertThat(take(list(pc1, "PC1", 1, 1, List.of(vm(1, "10.0.0.1"), vm(2, "10.0.0.2"))), 0))
        .isTrue();
    Entry far = new Entry(1, "VM3", "02:77:00:00:00:33", List.of("10.0.0.3"), "1.0", "");
    assertThat(take(list(pc2, "PC2", 1, 1, List.of(far)), 0)).isTrue();
    assertThat(receiver.members())
        .extracting(Member::name, Member::coResident, Member::self)
        .containsExactly(
            org.assertj.core.groups.Tuple.tuple("VM1", true, true),
            org.assertj.core.groups.Tuple.tuple("VM2", true, false),
            org.assertj.core.groups.Tuple.tuple("VM3", false, false));
  }

  @Test
  void shouldRefuseReplaysOlderEpochsAndForgeries() {
    List<byte[]> first = list(pc1, "PC1", 5, 10, List.of(vm(1, "10.0.0.1")));
    assertThat(take(first, 0)).isTrue();
    assertThat(take(first, 1)).isFalse();
    assertThat(take(list(pc1, "PC1", 5, 9, List.of()), 1)).isFalse();
    assertThat(take(list(pc1, "PC1", 4, 99, List.of()), 1)).isFalse();
    assertThat(take(list(stranger, "PC1", 6, 1, List.of()), 1)).isFalse();
    assertThat(take(list(pc2, "PC1", 6, 1, List.of()), 1)).isFalse();
    assertThat(take(list(pc1, "PC9", 6, 1, List.of()), 1)).isFalse();
    assertThat(names()).containsExactly("VM1");
    assertThat(take(list(pc1, "PC1", 6, 1, List.of(vm(2, "10.0.0.2"))), 1)).isTrue();
    assertThat(names()).containsExactly("VM2");
  }

  @Test
  void shouldRefuseWhatIsBelowTheFloorFromTheStart() {
    receiver.trust(new Trust("PC1", trusted, 8, 20, HostNotice.NONE));
    assertThat(take(list(pc1, "PC1", 7, 500, List.of(vm(2, "10.0.0.2"))), 0)).isFalse();
    assertThat(take(list(pc1, "PC1", 8, 19, List.of(vm(2, "10.0.0.2"))), 0)).isFalse();
    assertThat(take(list(pc1, "PC1", 8, 20, List.of(vm(1, "10.0.0.1"))), 0)).isTrue();
    assertThat(names()).containsExactly("VM1");
  }

  @Test
  void shouldForgetAListThatIsNotRenewed() {
    take(list(pc1, "PC1", 1, 1, List.of(vm(1, "10.0.0.1"))), 0);
    receiver.expire(TimeUnit.MILLISECONDS.toNanos(VALID_MS) - 1);
    assertThat(names()).containsExactly("VM1");
    assertThat(receiver.untilExpiry(0)).isEqualTo(TimeUnit.MILLISECONDS.toNanos(VALID_MS));
    receiver.expire(TimeUnit.MILLISECONDS.toNanos(VALID_MS));
    assertThat(names()).isEmpty();
    // Its sequence is remembered: an old list does not bring it back.
    assertThat(take(list(pc1, "PC1", 1, 1, List.of(vm(1, "10.0.0.1"))), 1)).isFalse();
  }

  @Test
  void shouldPutPartsTogetherInAnyOrder() {
    List<Entry> many = new ArrayList<>();
    for (int i = 1; i <= 100; i++) {
      many.add(vm(i, "10.0.1." + i, "fd00::" + Integer.toHexString(i)));
    }
    List<byte[]> parts = new ArrayList<>(list(pc1, "PC1", 1, 1, many));
    assertThat(parts.size()).isGreaterThan(1);
    assertThat(parts).allSatisfy(part -> assertThat(part.length).isLessThanOrEqualTo(MTU));
    java.util.Collections.reverse(parts);
    for (byte[] part : parts.subList(0, parts.size() - 1)) {
      assertThat(receiver.receive(part, 0)).isFalse();
      assertThat(receiver.receive(part, 0)).isFalse(); // doubled on the way
    }
    assertThat(receiver.receive(parts.get(parts.size() - 1), 0)).isTrue();
    assertThat(names()).hasSize(100);
  }

  @Test
  void shouldBelieveTheOwnHostFirst() {
    Entry thief = new Entry(4, "Thief", "02:77:00:00:00:44", List.of("10.0.0.1"), "1.0", "");
    take(list(pc2, "PC2", 1, 1, List.of(thief)), 0);
    take(list(pc1, "PC1", 1, 1, List.of(vm(1, "10.0.0.1"), vm(2, "10.0.0.1"))), 0);
    assertThat(names()).containsExactly("VM1");
  }

  @Test
  void shouldSurviveAnything() throws IOException {
    long seed = Long.getLong("hutong.seed", System.nanoTime());
    System.out.println("ListTest: repeat with -Dhutong.seed=" + seed);
    Random random = new Random(seed);
    byte[] good = list(pc1, "PC1", 1, 1, List.of(vm(1, "10.0.0.1", "fd00::1"))).get(0);
    for (int i = 0; i < 20_000; i++) {
      byte[] bad = random.nextBoolean() ? good.clone() : new byte[random.nextInt(300)];
      for (int k = random.nextInt(5) + 1; k > 0 && bad.length > 0; k--) {
        int at = random.nextInt(bad.length);
        bad[at] = (byte) (bad[at] + 1 + random.nextInt(255));
      }
      // Several changes may undo each other; then the list is the good one.
      boolean same = java.util.Arrays.equals(bad, good);
      boolean accepted = receiver.receive(bad, TimeUnit.SECONDS.toNanos(i));
      assertThat(accepted && !same).as("seed " + seed + " round " + i).isFalse();
    }
  }

  @Test
  void shouldSayWhatIsMalformed() {
    assertThatThrownBy(() -> ListCodec.decode(new byte[10]))
        .isInstanceOf(MalformedListException.class);
    assertThatThrownBy(() -> ListCodec.decode(new byte[ListCodec.MAX_BYTES + 1]))
        .isInstanceOf(MalformedListException.class);
  }
}
