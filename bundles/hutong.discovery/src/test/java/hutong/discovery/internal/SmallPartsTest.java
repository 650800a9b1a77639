// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.xenstore.XenStoreException;
import java.net.InetAddress;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Addresses, the hub of listeners, and a VM's side of the store. */
class SmallPartsTest {
  private static final Tally TALLY = new Tally(() -> null, () -> null);
  private static final NetworkFacts FACTS =
      new NetworkFacts("02:77:00:00:00:01", List.of("10.77.0.1", "fd77::1"));

  @Test
  void shouldWriteAddressesTheUsualWay() throws Exception {
    for (String text :
        List.of(
            "10.77.0.1",
            "fd77::1",
            "2001:db8::1:0:0:1",
            "2001:0:0:1::2",
            "1:2:3:4:5:6:7:8",
            "2001:db8::")) {
      assertThat(Addresses.text(InetAddress.getByName(text))).isEqualTo(text);
      assertThat(Addresses.parse(text).map(Addresses::text)).contains(text);
    }
    assertThat(Addresses.parse("2001:DB8:0:0:1:0:0:1").map(Addresses::text))
        .contains("2001:db8::1:0:0:1");
    assertThat(Addresses.parse("::ffff:10.0.0.1").map(Addresses::text)).contains("10.0.0.1");
    for (String text :
        List.of(
            "", ":", "a", "1.2.3", "1.2.3.4.5", "256.1.1.1", "::1", "fe80::1", "ff02::1", "x::1")) {
      assertThat(Addresses.parse(text)).as(text).isEmpty();
    }
  }

  @Test
  void shouldTellListenersOfChangesOnly() {
    MembershipHub hub = new MembershipHub(Runnable::run, TALLY);
    List<MembershipSnapshot> seen = new ArrayList<>();
    hub.add(
        s -> {
          throw new IllegalStateException("a listener that fails harms nobody");
        });
    hub.add(seen::add);
    assertThat(seen).hasSize(1);
    Member vm1 = new Member("PC1", 1, "VM1", FACTS.mac(), FACTS.addresses(), "1", true, true, "");
    assertThat(hub.publish(List.of(vm1))).isTrue();
    assertThat(hub.publish(List.of(vm1))).isFalse();
    assertThat(seen).hasSize(2);
    assertThat(seen.get(1)).isEqualTo(hub.current());
    assertThat(seen.get(1).version()).isGreaterThan(seen.get(0).version());
    hub.publish(List.of());
    assertThat(seen).hasSize(3);
  }

  @Test
  void shouldPublishAllAtFirstAndThenBeatOnly() throws XenStoreException {
    FakeStore guest = new FakeStore().seenBy(1);
    VmStore vm = new VmStore("VM1", "1.0", "k", "xen", 7);
    vm.publish(guest, FACTS);
    assertThat(guest.list("data/hutong"))
        .containsExactlyInAnyOrder(
            "id", "mac", "addresses", "version", "key", "channels", "heartbeat");
    assertThat(guest.read("data/hutong/addresses")).contains("10.77.0.1 fd77::1");
    assertThat(guest.read("data/hutong/heartbeat")).contains("8");
    guest.remove("data/hutong/id");
    vm.publish(guest, FACTS);
    assertThat(guest.read("data/hutong/heartbeat")).contains("9");
    assertThat(guest.read("data/hutong/id")).as("only the heartbeat is written").isEmpty();
    guest.down(true);
    assertThatThrownBy(() -> vm.publish(guest, FACTS)).isInstanceOf(XenStoreException.class);
    guest.down(false);
    vm.publish(guest, FACTS);
    assertThat(guest.read("data/hutong/id")).as("all of it after a failure").contains("VM1");
    vm.publish(guest, NetworkFacts.NONE);
    assertThat(guest.list("data/hutong")).as("no interface, no member").isEmpty();
  }

  @Test
  void shouldReadTrustAndLeaveOutRubbish() throws XenStoreException {
    FakeStore guest = new FakeStore().seenBy(1);
    assertThat(VmStore.readTrust(guest)).isEqualTo(Trust.NONE);
    guest.write("hutong/host", "PC1");
    guest.write("hutong/floor", "12 x");
    guest.write("hutong/keys/PC1", "not base64!");
    guest.write("hutong/keys/PC2", "AAAA");
    Trust trust = VmStore.readTrust(guest);
    assertThat(trust.hostId()).isEqualTo("PC1");
    assertThat(trust.keys()).isEmpty();
    assertThat(trust.floorEpoch()).isZero();
    guest.write("hutong/floor", VmStore.formatFloor(12, 34));
    assertThat(VmStore.readTrust(guest).floorEpoch()).isEqualTo(12);
    assertThat(VmStore.readTrust(guest).floorSequence()).isEqualTo(34);
  }
}
