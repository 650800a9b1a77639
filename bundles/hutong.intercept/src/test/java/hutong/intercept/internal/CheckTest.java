// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.AgentConfig;
import hutong.api.channel.Usage;
import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.intercept.CheckInfo;
import hutong.api.intercept.PolicyControl.RuleSet;
import hutong.api.intercept.Reason;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Each condition alone keeps a connection on TCP, with its own reason. */
class CheckTest {
  @TempDir Path dir;
  private final World world = new World();

  private static final class World implements Check.World {
    private final LivePolicy policy = new LivePolicy(new AgentConfig(k -> null), null, e -> {});
    private MemberView members = view("1", "1");
    private boolean linked = true;
    private boolean far;
    private Peer.State peer = Peer.State.UP;
    private final Set<Address> tunnelled = new HashSet<>();
    private Usage usage = new Usage(1, 4, 1 << 20, 16 << 20);
    private Path shim;

    @Override
    public LivePolicy.State policy() {
      return policy.now();
    }

    @Override
    public MemberView members() {
      return members;
    }

    @Override
    public boolean linked() {
      return linked;
    }

    @Override
    public Peer.State peer(int domid) {
      assertThat(domid).isEqualTo(2);
      return peer;
    }

    @Override
    public boolean far() {
      return far;
    }

    @Override
    public boolean tunnelled(Address address) {
      return tunnelled.contains(address);
    }

    @Override
    public Usage usage() {
      return usage;
    }

    @Override
    public long segment() {
      return 4 << 20;
    }

    @Override
    public Path shim() {
      return shim;
    }
  }

  private static MemberView view(String own, String other) {
    return MemberView.of(
        new MembershipSnapshot(
            1,
            List.of(
                new Member(
                    "PC1", 1, "VM1", "", List.of("10.77.0.1", "fd77::1"), own, true, true, ""),
                new Member(
                    "PC1", 2, "VM2", "", List.of("10.77.0.2", "fd77::2"), other, true, false, ""),
                new Member("PC2", 1, "VM3", "", List.of("10.77.0.3"), own, false, false, ""))));
  }

  @BeforeEach
  void aShim() throws Exception {
    world.shim = Files.createFile(dir.resolve("libhutong.so"));
    Files.setPosixFilePermissions(world.shim, PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  private CheckInfo check(String target) {
    return new Check(world, target).run();
  }

  private void assertTcp(String target, Reason reason, String step) {
    CheckInfo info = check(target);
    assertThat(info.accelerated()).isFalse();
    assertThat(info.reason()).isEqualTo(reason);
    assertThat(info.summary()).contains("would stay on TCP, reason " + reason.number());
    assertThat(info.steps())
        .filteredOn(s -> !s.good())
        .as("what is not good")
        .extracting(CheckInfo.Step::name)
        .contains(step);
  }

  @Test
  void aConnectionWouldBeAccelerated() {
    for (String target : List.of("VM2", "vm2", "10.77.0.2", "::ffff:10.77.0.2", "fd77::2")) {
      CheckInfo info = check(target);
      assertThat(info.accelerated()).as(target).isTrue();
      assertThat(info.reason()).isEqualTo(Reason.NONE);
      assertThat(info.vm()).isEqualTo("VM2");
      assertThat(info.summary()).isEqualTo("A connection to " + target + " would be accelerated.");
      assertThat(info.steps())
          .extracting(CheckInfo.Step::name)
          .containsExactly(
              "switch", "member", "host", "version", "link", "policy", "route", "quota", "shim");
    }
  }

  @Test
  void whoIsMeant() {
    assertTcp("VM3", Reason.INTER_HOST, "host");
    assertTcp("VM1", Reason.SAME_VM, "member");
    assertTcp("fd77::1", Reason.SAME_VM, "member");
    assertTcp("10.77.0.9", Reason.NOT_MEMBER, "member");
    assertTcp("elsewhere", Reason.NOT_MEMBER, "member");
    assertThat(check("10.77.0.9").vm()).isNull();
    world.members = MemberView.EMPTY;
    assertTcp("VM2", Reason.NOT_OWNER, "member");
  }

  @Test
  void betweenHosts() {
    world.far = true;
    assertTcp("VM3", Reason.PEER_AGENT, "link"); // its host lists no key
  }

  @Test
  void theSwitch() {
    world.policy.enable(false);
    assertTcp("VM2", Reason.OFF, "switch");
  }

  @Test
  void thePolicy() {
    world.policy.set(RuleSet.DENY, "net=fd77::/64");
    assertTcp("VM2", Reason.POLICY, "policy");
    assertTcp("fd77::2", Reason.POLICY, "policy");
    assertThat(check("10.77.0.2").accelerated()).isTrue();
    world.policy.set(RuleSet.DENY, "program=redis-server");
    assertThat(check("VM2").accelerated()).isTrue();
    assertThat(check("VM2").summary())
        .contains("depending on program, user and port (deny rule program=redis-server)");
  }

  @Test
  void versionsAndAgents() {
    world.members = view("1", "2");
    assertTcp("VM2", Reason.VERSION, "version");
    world.members = view("1", "1");
    world.peer = Peer.State.INCOMPATIBLE;
    assertTcp("VM2", Reason.VERSION, "link");
    world.peer = Peer.State.DOWN;
    assertTcp("VM2", Reason.PEER_AGENT, "link");
    world.peer = Peer.State.GREETING;
    assertTcp("VM2", Reason.PEER_AGENT, "link");
    world.peer = Peer.State.UP;
    world.linked = false;
    assertTcp("VM2", Reason.PEER_AGENT, "link");
  }

  @Test
  void theRoute() {
    world.tunnelled.add(Address.parse("fd77::2"));
    assertTcp("VM2", Reason.TUNNEL, "route");
    assertThat(check("10.77.0.2").accelerated()).isTrue();
  }

  @Test
  void theQuota() {
    world.usage = new Usage(4, 4, 1 << 20, 16 << 20);
    assertTcp("VM2", Reason.QUOTA, "quota");
    world.usage = new Usage(3, 4, 12 << 20, 16 << 20);
    assertThat(check("VM2").accelerated()).isTrue();
    world.usage = new Usage(3, 4, (12 << 20) + 1, 16 << 20);
    assertTcp("VM2", Reason.QUOTA, "quota");
  }

  @Test
  void theShim() throws Exception {
    Files.setPosixFilePermissions(world.shim, PosixFilePermissions.fromString("rwx------"));
    assertTcp("VM2", Reason.NOT_INTERCEPTED, "shim");
    Files.delete(world.shim);
    assertTcp("VM2", Reason.NOT_INTERCEPTED, "shim");
    world.shim = null;
    assertThat(check("VM2").accelerated()).as("not known").isTrue();
  }

  @Test
  void theFirstReasonCounts() {
    world.policy.enable(false);
    world.linked = false;
    CheckInfo info = check("VM2");
    assertThat(info.reason()).isEqualTo(Reason.OFF);
    assertThat(info.steps())
        .filteredOn(s -> !s.good())
        .extracting(CheckInfo.Step::reason)
        .containsExactly(Reason.OFF, Reason.PEER_AGENT);
  }
}
