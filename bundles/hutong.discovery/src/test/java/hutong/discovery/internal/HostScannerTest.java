// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.xenstore.Permission;
import hutong.xenstore.XenStoreException;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class HostScannerTest {
  private static final String MAC1 = "02:77:00:00:00:01";
  private static final String MAC2 = "02:77:00:00:00:02";

  private final FakeStore store = new FakeStore();
  private final HostScanner scanner = new HostScanner(new Tally(() -> null, () -> null));
  private long nowNs = -TimeUnit.HOURS.toNanos(1);
  private final VmStore vm = new VmStore("VM1", "1.2.3", "", "xen", 0);
  private int beats;

  @BeforeEach
  void domains() throws XenStoreException {
    store.addDomain(0, "PC1");
    store.addDomain(1, "VM1");
    store.addDomain(2, "VM2");
  }

  private void publish(int domid, String mac, String addresses) throws XenStoreException {
    FakeStore guest = store.seenBy(domid);
    guest.write("data/hutong/id", "VM" + domid);
    guest.write("data/hutong/mac", mac);
    guest.write("data/hutong/addresses", addresses);
    guest.write("data/hutong/version", "1.2.3");
    beat(domid);
  }

  private void beat(int domid) throws XenStoreException {
    store.seenBy(domid).write("data/hutong/heartbeat", Integer.toString(++beats));
  }

  private List<Entry> scan() throws XenStoreException {
    return scanner.scan(store, nowNs);
  }

  private void after(long ms) {
    nowNs += TimeUnit.MILLISECONDS.toNanos(ms);
  }

  private static Handing handing(FakeStore store, int domid) {
    return new Handing(store, "/local/domain/" + domid + "/hutong");
  }

  private record Handing(FakeStore store, String directory) {
    String value(String name) throws XenStoreException {
      return store.read(directory + "/" + name).orElse(null);
    }
  }

  @Test
  void shouldListThoseThatTakePart() throws XenStoreException {
    assertThat(scan()).isEmpty();
    publish(1, "02:77:00:00:00:0A", "fd77:0:0::1 10.77.0.1");
    assertThat(scan())
        .containsExactly(
            new Entry(1, "VM1", "02:77:00:00:00:0a", List.of("10.77.0.1", "fd77::1"), "1.2.3", ""));
  }

  @Test
  void shouldDropTheSilentAndTakeThemBack() throws XenStoreException {
    publish(1, MAC1, "10.77.0.1");
    publish(2, MAC2, "10.77.0.2");
    assertThat(scan()).hasSize(2);
    after(2000);
    beat(2);
    assertThat(scanner.heartbeat(store, 2, nowNs)).isTrue();
    assertThat(scan()).hasSize(2);
    assertThat(scanner.untilSilence(nowNs)).isEqualTo(TimeUnit.MILLISECONDS.toNanos(500));
    after(500);
    assertThat(scan()).extracting(Entry::domid).containsExactly(2);
    beat(1);
    assertThat(scan()).hasSize(2);
  }

  @Test
  void shouldDropAtOnceWhatVanishes() throws XenStoreException {
    publish(1, MAC1, "10.77.0.1");
    publish(2, MAC2, "10.77.0.2");
    assertThat(scan()).hasSize(2);
    store.seenBy(1).remove("data/hutong");
    assertThat(scanner.heartbeat(store, 1, nowNs)).isFalse();
    assertThat(scan()).extracting(Entry::domid).containsExactly(2);
    store.remove("/local/domain/2");
    assertThat(scan()).isEmpty();
    assertThat(scanner.untilSilence(nowNs)).isNegative();
  }

  @Test
  void shouldGiveDomainsTimeAfterARestartOfTheStore() throws XenStoreException {
    publish(1, MAC1, "10.77.0.1");
    assertThat(scan()).hasSize(1);
    store.down(true);
    assertThatThrownBy(this::scan).isInstanceOf(XenStoreException.class);
    scanner.storeLost();
    store.down(false);
    store.clear();
    domains();
    assertThat(scan()).as("not yet noticed by the domain").hasSize(1);
    after(2500);
    assertThat(scan()).as("it never came back").isEmpty();
  }

  @Test
  void shouldLetTheFirstHolderKeepAnAddress() throws XenStoreException {
    publish(2, MAC2, "10.77.0.2");
    assertThat(scan()).hasSize(1);
    publish(1, MAC1, "10.77.0.1 10.77.0.2");
    assertThat(scan()).extracting(Entry::domid).containsExactly(2);
    publish(1, MAC2, "10.77.0.1");
    assertThat(scan()).extracting(Entry::domid).containsExactly(2);
    publish(1, MAC1, "10.77.0.1");
    assertThat(scan()).extracting(Entry::domid).containsExactly(1, 2);
  }

  @Test
  void shouldNotBelieveNonsense() throws XenStoreException {
    publish(1, "no mac", "10.77.0.1");
    publish(2, MAC2, "10.77.0.2 localhost 127.0.0.1 fe80::1 224.0.0.1 0.0.0.0 1.2 ::zz 300.1.1.1");
    assertThat(scan()).extracting(Entry::addresses).containsExactly(List.of("10.77.0.2"));
    store.write("/local/domain/2/name", "evil\nname" + "x".repeat(100));
    assertThat(scan())
        .singleElement()
        .satisfies(e -> assertThat(e.name()).hasSize(63).startsWith("evil?name"));
    store.write("/local/domain/x", "");
    store.write("/local/domain/99999999999", "");
    assertThat(scan()).hasSize(1);
  }

  @Test
  void shouldTakeAKeyAndNothingElseForOne() throws XenStoreException {
    String head = "MCowBQYDK2VwAyEA";
    publish(1, MAC1, "10.77.0.1");
    for (String bad :
        List.of(
            "x", "AAAA", head, head + "A".repeat(44), head + "A".repeat(100_000), "A".repeat(60))) {
      store.seenBy(1).write("data/hutong/key", bad);
      assertThat(scan()).as(bad).extracting(Entry::key).containsExactly("");
    }
    String good = head + "A".repeat(43) + "=";
    store.seenBy(1).write("data/hutong/key", good);
    assertThat(scan()).extracting(Entry::key).containsExactly(good);
  }

  @Test
  void shouldHoldAGuestToTheMacThatDomainZeroKnows() throws XenStoreException {
    store.write("/local/domain/0/backend/vif/1/0/mac", "02:77:00:00:00:01");
    publish(1, MAC2, "10.77.0.1");
    assertThat(scan()).isEmpty();
    store.seenBy(1).write("device/vif/0/mac", MAC2); // which on Xen a guest may write
    assertThat(scan()).isEmpty();
    publish(1, MAC1, "10.77.0.1");
    assertThat(scan()).hasSize(1);
  }

  @Test
  void shouldHoldAGuestToTheAddressesThatDomainZeroHasConfigured() throws XenStoreException {
    publish(1, MAC1, "10.77.0.1 10.77.0.50 fd77::1");
    String backend = "/local/domain/0/backend/vif/1/0";
    store.write(backend + "/mac", MAC1);
    assertThat(scan().get(0).addresses()).containsExactly("10.77.0.1", "10.77.0.50", "fd77::1");
    store.write(backend + "/ip", "10.77.0.1 FD77:0::1");
    assertThat(scan().get(0).addresses()).containsExactly("10.77.0.1", "fd77::1");
    store.write(backend + "/ip", "10.77.0.0/x 10.77.0.50/24");
    assertThat(scan().get(0).addresses()).containsExactly("10.77.0.50");
    store.write("/local/domain/0/backend/vif/1/1/mac", MAC2); // another interface, free to use any
    assertThat(scan().get(0).addresses()).hasSize(3);
  }

  @Test
  void shouldHandOutWhatOnlyTheDomainMayRead() throws XenStoreException {
    scan();
    scanner.handOut(
        store, new HostScanner.Handout("PC1", Map.of("PC1", "k1", "PC2", "k2"), "5 1", ""));
    Handing first = handing(store, 1);
    assertThat(first.value("host")).isEqualTo("PC1");
    assertThat(first.value("keys/PC2")).isEqualTo("k2");
    assertThat(store.permissions("/local/domain/1/hutong/keys/PC1"))
        .containsExactly(Permission.none(0), Permission.readOnly(1));
    scanner.handOut(store, new HostScanner.Handout("PC1", Map.of("PC1", "k1"), "5 2", ""));
    assertThat(first.value("keys/PC2")).isNull();
    assertThat(first.value("floor")).isEqualTo("5 2", "");
    store.remove("/local/domain/2");
    scanner.handOut(store, new HostScanner.Handout("PC1", Map.of("PC1", "k1"), "5 3", ""));
    assertThat(store.list("/local/domain")).containsExactly("0", "1");
  }

  @Test
  void shouldRecogniseHeartbeats() {
    assertThat(HostScanner.heartbeatOf("/local/domain/12/data/hutong/heartbeat")).contains(12);
    for (String path :
        List.of(
            "/local/domain/12/data/hutong/mac",
            "/local/domain/x/data/hutong/heartbeat",
            "/local/domain/0/data/hutong/heartbeat",
            "/local/domain/1/data/data/hutong/heartbeat",
            "/local/domain/data/hutong/heartbeat",
            "/data/hutong/heartbeat")) {
      assertThat(HostScanner.heartbeatOf(path)).as(path).isEmpty();
    }
  }

  @Test
  void forgetsADomainThatTheHypervisorDoesNotHave() throws XenStoreException {
    Set<Integer> live = new TreeSet<>(Set.of(0, 1, 2));
    HostScanner own =
        new HostScanner(
            new Tally(() -> null, () -> null),
            HostScanner.SILENCE_MS,
            () -> Optional.of(live),
            false);
    publish(1, MAC1, "10.0.0.1");
    publish(2, MAC2, "10.0.0.2");
    assertThat(own.scan(store, nowNs)).hasSize(2);
    assertThat(own.present()).containsExactly(1, 2);
    live.remove(2);
    assertThat(own.scan(store, nowNs)).extracting(Entry::domid).containsExactly(1);
    assertThat(own.present()).containsExactly(1);
  }

  private static final String LOCK = "/local/domain/%d/device/suspend/event-channel";

  private boolean locked(int domid) throws XenStoreException {
    return store.read(LOCK.formatted(domid)).equals(Optional.of("0"));
  }

  /** Else its kernel would be left with mappings and event channels that are not there any more. */
  @Test
  void keepsTheToolstackFromSavingADomainThatMayShareMemory() throws XenStoreException {
    HostScanner own = onXen(Set.of(1, 2));
    Detaching detaching = new Detaching(() -> 42);
    own.scan(store, nowNs);
    assertThat(locked(1)).as("takes no part").isFalse();
    publish(1, MAC1, "10.0.0.1");
    publish(2, MAC2, "10.0.0.2");
    store.seenBy(2).write("data/hutong/channels", "own");
    own.scan(store, nowNs);
    assertThat(locked(1)).as("of an agent that does not say").isTrue();
    assertThat(store.permissions(LOCK.formatted(1))).containsExactly(Permission.none(0));
    assertThat(locked(2)).as("shares nothing with other domains").isFalse();
    store.seenBy(1).write("data/hutong/channels", "xen");
    own.scan(store, nowNs);
    assertThat(locked(1)).isTrue();
    assertThat(detaching.detach(store, "VM1", 0)).isFalse();
    own.scan(store, nowNs);
    assertThat(locked(1)).as("has not answered").isTrue();
    vm.acknowledge(store.seenBy(1), "41");
    own.scan(store, nowNs);
    assertThat(locked(1)).as("an answer of before").isTrue();
    vm.acknowledge(store.seenBy(1), "42");
    own.scan(store, nowNs);
    assertThat(locked(1)).as("answers late").isFalse();
    detaching.attach(store, "VM1");
    assertThat(locked(1)).as("at once").isTrue();
    own.scan(store, nowNs);
    assertThat(locked(1)).isTrue();
    assertThat(detaching.detach(store, "VM1", 0)).isTrue();
    assertThat(locked(1)).as("at once").isFalse();
    own.scan(store, nowNs);
    assertThat(locked(1)).isFalse();
  }

  @Test
  void locksAgainInAStoreThatWasStartedAnew() throws XenStoreException {
    HostScanner own = onXen(Set.of(1));
    publish(1, MAC1, "10.0.0.1");
    own.scan(store, nowNs);
    store.remove(LOCK.formatted(1));
    own.scan(store, nowNs);
    assertThat(locked(1)).as("whoever takes it away knows what he does").isFalse();
    own.storeLost();
    own.scan(store, nowNs);
    assertThat(locked(1)).isTrue();
  }

  @Test
  void locksNothingWithoutAHypervisor() throws XenStoreException {
    publish(1, MAC1, "10.0.0.1");
    scan();
    assertThat(locked(1)).isFalse();
  }

  private static HostScanner onXen(Set<Integer> live) {
    return new HostScanner(
        new Tally(() -> null, () -> null), HostScanner.SILENCE_MS, () -> Optional.of(live), true);
  }

  /** It may not share unlocked, and nobody else is to suffer from it. */
  @Test
  void aGuestThatWritesAllTheTimeKeepsOnlyItselfOut() throws XenStoreException {
    HostScanner own = onXen(Set.of(1, 2));
    publish(1, MAC1, "10.0.0.1");
    publish(2, MAC2, "10.0.0.2");
    store.conflictsWith("/local/domain/1/device/");
    assertThat(own.scan(store, nowNs)).extracting(Entry::domid).containsExactly(2);
    store.conflictsWith(null);
    assertThat(own.scan(store, nowNs)).extracting(Entry::domid).containsExactly(1, 2);
    assertThat(locked(1)).isTrue();
  }

  @Test
  void locksAlsoWhileTheHypervisorDoesNotTell() throws XenStoreException {
    HostScanner own =
        new HostScanner(
            new Tally(() -> null, () -> null), HostScanner.SILENCE_MS, Optional::empty, true);
    publish(1, MAC1, "10.0.0.1");
    own.scan(store, nowNs);
    assertThat(locked(1)).isTrue();
  }

  /** All that a VM has published goes with its interface; its answer is still true then. */
  @Test
  void aDetachedDomainThatPublishesAnewIsNotLockedAgain() throws XenStoreException {
    HostScanner own = onXen(Set.of(1));
    FakeStore guest = store.seenBy(1);
    NetworkFacts facts = new NetworkFacts(MAC1, List.of("10.0.0.1"));
    vm.publish(guest, facts);
    assertThat(new Detaching(() -> 42).detach(store, "VM1", 0)).isFalse();
    vm.acknowledge(guest, "42");
    own.scan(store, nowNs);
    assertThat(locked(1)).isFalse();
    vm.publish(guest, NetworkFacts.NONE);
    own.scan(store, nowNs);
    vm.publish(guest, facts);
    own.scan(store, nowNs);
    assertThat(locked(1)).isFalse();
  }

  @Test
  void aDomainThatEndsWhileItIsToBeAskedStaysGone() throws XenStoreException {
    Detaching detaching =
        new Detaching(
            () -> {
              try {
                store.remove("/local/domain/2");
              } catch (XenStoreException e) {
                throw new IllegalStateException(e);
              }
              return 42;
            });
    assertThatThrownBy(() -> detaching.detach(store, "VM2", 0))
        .isInstanceOf(IllegalArgumentException.class);
    assertThat(store.list("/local/domain")).doesNotContain("2");
  }

  @Test
  void aDomainThatIsAskedToDetachAnswers() throws XenStoreException {
    Detaching detaching = new Detaching(() -> 42);
    assertThat(detaching.detach(store, "VM2", 0)).isFalse();
    FakeStore guest = store.seenBy(2);
    assertThat(guest.read("hutong/detach")).contains("42");
    assertThat(VmStore.readTrust(guest).notice().detach()).isEqualTo("42");
    vm.acknowledge(guest, "42");
    assertThat(detaching.detach(store, "VM2", 0)).isTrue();
    detaching.attach(store, "VM2");
    assertThat(guest.read("hutong/detach")).isEmpty();
    assertThatThrownBy(() -> detaching.attach(store, "VM9"))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void domainsTravelAsText() {
    assertThat(VmStore.parseDomains(VmStore.formatDomains(List.of(1, 22)))).containsExactly(1, 22);
    assertThat(VmStore.formatDomains(Collections.nCopies(341, 10_000))).hasSize(2045);
    assertThat(VmStore.formatDomains(Collections.nCopies(342, 10_000))).isEmpty();
    for (String bad : List.of("", " ", "1  2", "x", "123456", "-1")) {
      assertThat(VmStore.parseDomains(bad)).isEmpty();
    }
  }
}
