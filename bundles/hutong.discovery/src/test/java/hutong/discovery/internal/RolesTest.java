// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.AgentConfig;
import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipListener;
import hutong.api.discovery.MembershipSnapshot;
import hutong.platform.NanoClock;
import hutong.platform.Platform;
import hutong.xenstore.XenStore;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Two hosts and their VMs in one process, on a link and stores in memory; the rest is real. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class RolesTest {
  @TempDir private Path directory;
  private final FakeEthernet link = new FakeEthernet();
  private final FakeStore store1 = new FakeStore();
  private final FakeStore store2 = new FakeStore();
  private final AtomicLong epoch = new AtomicLong(1000);
  private final Map<String, NetworkFacts> networks = new ConcurrentHashMap<>();
  private final List<Role> open = new ArrayList<>();
  private final List<Integer> newDomids = new CopyOnWriteArrayList<>();
  private String provider = "memfd";

  @BeforeEach
  void domains() throws IOException {
    store1.addDomain(1, "VM1");
    store1.addDomain(2, "VM2");
    store2.addDomain(1, "VM3");
    for (int i = 1; i <= 3; i++) {
      networks.put(
          "VM" + i,
          new NetworkFacts("02:77:00:00:00:0" + i, List.of("10.77.0." + i, "fd77::" + i)));
    }
  }

  @AfterEach
  void close() {
    open.forEach(Role::close);
    assertThat(link.openPorts()).isZero();
    assertThat(store1.watches() + store2.watches()).isZero();
    assertThat(Thread.getAllStackTraces().keySet())
        .extracting(Thread::getName)
        .doesNotContain("hutong-discovery", "hutong-publisher");
  }

  private Surroundings surroundings(String name, String host, int domid, XenStore store)
      throws IOException {
    Path run = Files.createDirectories(directory.resolve(name));
    Map<String, String> config = new HashMap<>();
    config.put("hutong.name", name);
    config.put("hutong.host", host);
    config.put("hutong.domid", Integer.toString(domid));
    config.put("hutong.run", run.toString());
    config.put("hutong.interface", name);
    config.put("hutong.channel.provider", provider);
    config.put("hutong.keys.private", run.resolve("key.pem").toString());
    config.put("hutong.keys.trusted", directory.resolve("trusted").toString());
    return new Surroundings(
        new AgentConfig(config::get),
        link.sockets(),
        Platform.events(),
        () -> store,
        new Tally(() -> null, () -> null),
        NanoClock.SYSTEM,
        epoch::incrementAndGet,
        networks::get,
        Optional::empty,
        "1.0",
        () -> {},
        newDomids::add);
  }

  private Role host(String name, FakeStore store) throws IOException {
    Role role = new HostRole(surroundings(name, name, 0, store));
    open.add(role);
    return role;
  }

  private Role vm(String name, String host, int domid, FakeStore store) throws IOException {
    Role role =
        new VmRole(
            surroundings(name, host, domid, store.seenBy(domid)),
            VmKey.open(directory.resolve(name + ".key"), new Tally(() -> null, () -> null)));
    open.add(role);
    return role;
  }

  private String key(String name) throws IOException {
    return VmKey.open(directory.resolve(name + ".key"), new Tally(() -> null, () -> null))
        .publicKey();
  }

  private void stop(Role role) {
    open.remove(role);
    role.close();
  }

  private static String members(Role role) {
    StringBuilder text = new StringBuilder();
    for (Member m : role.membership().current().members()) {
      text.append(m.hostId())
          .append('/')
          .append(m.name())
          .append(m.self() ? "*" : m.coResident() ? "+" : "");
      text.append(' ');
    }
    return text.toString().strip();
  }

  private static List<String> addresses(Role role, String name) {
    return role.membership().current().members().stream()
        .filter(m -> m.name().equals(name))
        .flatMap(m -> m.addresses().stream())
        .toList();
  }

  private static void await(String expected, Role role) {
    await(expected, () -> members(role));
  }

  private static <T> void await(T expected, Supplier<T> what) {
    AtomicReference<T> last = new AtomicReference<>();
    await(
        () -> {
          last.set(what.get());
          return last.get().equals(expected);
        });
    assertThat(last.get()).isEqualTo(expected);
  }

  private static void await(BooleanSupplier condition) {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
    while (!condition.getAsBoolean() && System.nanoTime() - deadline < 0) {
      LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(5));
    }
  }

  @Test
  void shouldTellEveryVmOfAllAndNoticeComingAndGoing() throws IOException {
    Role host1 = host("PC1", store1);
    Role vm1 = vm("VM1", "PC1", 1, store1);
    Role vm2 = vm("VM2", "PC1", 2, store1);
    await("PC1/VM1* PC1/VM2+", vm1);
    await("PC1/VM1+ PC1/VM2*", vm2);
    await("PC1/VM1+ PC1/VM2+", host1);

    await(
        List.of(key("VM1"), key("VM2")),
        () -> vm1.membership().current().members().stream().map(Member::key).toList());

    host("PC2", store2);
    Role vm3 = vm("VM3", "PC2", 1, store2);
    await("PC1/VM1* PC1/VM2+ PC2/VM3", vm1);
    await("PC1/VM1 PC1/VM2 PC2/VM3*", vm3);

    networks.put("VM2", new NetworkFacts("02:77:00:00:00:02", List.of("10.77.0.22")));
    await(List.of("10.77.0.22"), () -> addresses(vm1, "VM2"));

    // As after kill -9: nothing is withdrawn, the heartbeat just stops.
    stop(vm2);
    await("PC1/VM1* PC2/VM3", vm1);
    await("PC1/VM1 PC2/VM3*", vm3);

    // The host agent dies: nothing is co-resident any more, others stand; then it comes back.
    stop(host1);
    await("PC2/VM3", vm1);
    await("PC2/VM3*", vm3);
    host("PC1", store1);
    await("PC1/VM1* PC2/VM3", vm1);
  }

  @Test
  void shouldSayGoodbyeWhenTheAgentGoesDown() throws IOException {
    Role host = host("PC1", store1);
    Role vm1 = vm("VM1", "PC1", 1, store1);
    await("PC1/VM1+", host);
    vm1.goodbye();
    stop(vm1);
    assertThat(store1.seenBy(1).list("data/hutong")).isEmpty();
    await("", host);
  }

  @Test
  void shouldNoticeThatItIsAnotherDomainNow() throws IOException {
    provider = "xen";
    store1.write("/local/domain/2/domid", "2");
    Role host = host("PC1", store1);
    vm("VM2", "PC1", 2, store1);
    await("PC1/VM2+", host);
    assertThat(newDomids).isEmpty();
    store1.write("/local/domain/2/domid", "5"); // the guest's own paths lead to its new home
    await(() -> !newDomids.isEmpty());
    await("", host);
    assertThat(newDomids).containsExactly(5);
  }

  @Test
  void shouldAnswerDomainZeroWhenTheStoreIsBack() throws IOException {
    Role vm1 = vm("VM1", "PC1", 1, store1);
    String published = "/local/domain/1/data/hutong";
    await(() -> store1.holds(published + "/heartbeat", null));
    store1.down(true);
    vm1.detached("42");
    int failed = store1.failures();
    // More than one heartbeat's, which come after the answer's.
    await(() -> store1.failures() > failed + 4);
    store1.down(false);
    await(() -> store1.holds(published + "/detached", "42"));
  }

  @Test
  void shouldOutliveARestartOfTheStore() throws IOException {
    host("PC1", store1);
    Role vm1 = vm("VM1", "PC1", 1, store1);
    Role vm2 = vm("VM2", "PC1", 2, store1);
    await("PC1/VM1* PC1/VM2+", vm1);
    List<MembershipSnapshot> seen = new CopyOnWriteArrayList<>();
    MembershipListener listener = seen::add;
    vm1.addListener(listener);
    await(() -> !seen.isEmpty());
    store1.down(true);
    store1.clear();
    store1.down(false);
    store1.addDomain(1, "VM1");
    store1.addDomain(2, "VM2");
    networks.put("VM2", new NetworkFacts("02:77:00:00:00:02", List.of("10.77.0.99")));
    await(
        () ->
            members(vm1).contains("VM2")
                && vm1.membership().current().version() > seen.get(0).version());
    await("PC1/VM1* PC1/VM2+", vm1);
    await("PC1/VM1+ PC1/VM2*", vm2);
    assertThat(seen).isSortedAccordingTo((a, b) -> Long.compare(a.version(), b.version()));
    vm1.removeListener(listener);
  }

  @Test
  void shouldSpendATenthOfItsTimeOnLooksAtMost() {
    assertThat(HostRole.distance(0)).isEqualTo(50_000_000);
    assertThat(HostRole.distance(5_000_000)).isEqualTo(50_000_000);
    assertThat(HostRole.distance(20_000_000)).isEqualTo(180_000_000);
    assertThat(HostRole.distance(500_000_000)).as("the next scan").isEqualTo(1_000_000_000);
  }

  @Test
  void shouldCountEpochsUpWhenTheClockGoesBack() throws IOException {
    Path file = directory.resolve("epoch");
    assertThat(HostRole.nextEpoch(file, () -> 100)).isEqualTo(100);
    assertThat(HostRole.nextEpoch(file, () -> 50)).isEqualTo(101);
    assertThat(HostRole.nextEpoch(file, () -> 200)).isEqualTo(200);
    Files.writeString(file, "garbage");
    assertThat(HostRole.nextEpoch(file, () -> 300)).isEqualTo(300);
  }
}
