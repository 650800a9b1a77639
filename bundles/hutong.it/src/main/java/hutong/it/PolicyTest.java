// SPDX-License-Identifier: Apache-2.0
package hutong.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.intercept.Reason;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.osgi.framework.Bundle;

/** The policy's commands as an administrator types them, and what outlives a restart. */
class PolicyTest {
  private static final VmAgent AGENT = new VmAgent();
  private static HostAgent host;

  @BeforeAll
  static void startHost() throws Exception {
    host = new HostAgent(AGENT.context(), AGENT.run().getParent());
    AGENT.awaitWorking();
  }

  @AfterAll
  static void stopHost() throws Exception {
    host.close();
    try (var links = Files.list(AGENT.run().resolveSibling("dist/bundle"))) {
      for (Path link : links.toList()) {
        Files.delete(link);
      }
    }
  }

  @AfterEach
  void onlyTheConfigurationHolds() throws Exception {
    AGENT.execute("hutong:policy reset");
    assertThat(Files.exists(AGENT.run().resolve("policy"))).isFalse();
  }

  private static Map<?, ?> json(String command) throws Exception {
    return (Map<?, ?>) StrictJson.parse(AGENT.execute(command + " --json"));
  }

  private static Reason reason(Map<?, ?> answer) {
    return Reason.of(((Number) answer.get("reason")).intValue());
  }

  @Test
  void shouldTakeRulesAsTheyAreTyped() throws Exception {
    json("hutong:policy include program=iperf3,net=10.77.0.0/24 port=5000-5100");
    json("hutong:policy exclude 'uid=1000;net=fd77::/64'");
    Map<?, ?> now = json("hutong:policy deny port=22");
    assertThat(now.get("include")).isEqualTo("program=iperf3,net=10.77.0.0/24 port=5000-5100");
    assertThat(now.get("exclude")).isEqualTo("uid=1000 net=fd77::/64");
    assertThat(now.get("deny")).isEqualTo("port=22");
    assertThat(now.get("changed")).isEqualTo(true);
    assertThatThrownBy(() -> AGENT.execute("hutong:policy deny port=0"))
        .hasMessageContaining("'port=0'")
        .hasMessageContaining("nothing was changed");
    assertThat(json("hutong:policy")).isEqualTo(without(now, "told", "stopped"));
    assertThat(json("hutong:policy include none").get("include")).isEqualTo("");
  }

  private static Map<?, ?> without(Map<?, ?> map, String... keys) {
    map.keySet().removeAll(List.of(keys));
    return map;
  }

  @Test
  void shouldKeepTheSwitchWhenBundlesAreReplaced() throws Exception {
    assertThat(json("hutong:off").get("enabled")).isEqualTo(false);
    json("hutong:policy deny port=22");
    for (String name : List.of("intercept", "channel")) {
      Bundle bundle = AGENT.bundle(name);
      bundle.stop();
      bundle.start();
      AGENT.awaitWorking();
      Map<?, ?> now = json("hutong:policy");
      assertThat(now.get("enabled")).as(name).isEqualTo(false);
      assertThat(now.get("deny")).isEqualTo("port=22");
    }
    assertThat(reason(json("hutong:check 10.77.0.2"))).isEqualTo(Reason.OFF);
    assertThat(json("hutong:on").get("enabled")).isEqualTo(true);
  }

  @Test
  void shouldCheck() throws Exception {
    Map<?, ?> self = json("hutong:check VM1");
    assertThat(self.get("accelerated")).isEqualTo(false);
    assertThat(reason(self)).isEqualTo(Reason.SAME_VM);
    assertThat(reason(json("hutong:check 192.0.2.1"))).isEqualTo(Reason.NOT_MEMBER);
    assertThat(AGENT.execute("hutong:check VM1")).contains("that is this VM itself");
  }

  @Test
  void shouldSayWhy() throws Exception {
    long pid = ProcessHandle.current().pid();
    InetAddress loopback = InetAddress.getLoopbackAddress();
    try (ServerSocket listener = new ServerSocket(0, 1, loopback);
        Socket socket = new Socket()) {
      socket.connect(new InetSocketAddress(loopback, listener.getLocalPort()));
      boolean found = false;
      for (String fd : Path.of("/proc/self/fd").toFile().list()) {
        try {
          Map<?, ?> why = json("hutong:why " + pid + " " + fd);
          found |=
              String.valueOf(why.get("remote")).endsWith(":" + listener.getLocalPort())
                  && reason(why) == Reason.SAME_VM
                  && why.get("accelerated").equals(false);
        } catch (RuntimeException e) {
          assertThat(e).hasMessageContaining("has no descriptor"); // the list's own
        }
      }
      assertThat(found).isTrue();
    }
    assertThatThrownBy(() -> AGENT.execute("hutong:why 999999999 1"))
        .hasMessageContaining("no process");
    assertThatThrownBy(() -> AGENT.execute("hutong:why here 1"))
        .hasMessageContaining("usage: hutong:why");
  }
}
