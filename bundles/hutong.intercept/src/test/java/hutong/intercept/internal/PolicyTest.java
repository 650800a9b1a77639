// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.AgentConfig;
import hutong.api.intercept.PolicyControl.RuleSet;
import hutong.intercept.internal.Policy.Outcome;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Three lists together, and how they come from configuration, file and command. */
class PolicyTest {
  private static final Subject IPERF =
      new Subject(() -> List.of("iperf3"), 0, Address.parse("10.77.0.2"), 40_000, 5201);

  @TempDir Path dir;
  private final Map<String, String> configured = new HashMap<>();
  private final List<String> errors = new ArrayList<>();

  private static Policy policy(String include, String exclude, String deny) {
    return Policy.none()
        .with(RuleSet.INCLUDE, RuleList.of("include", include))
        .with(RuleSet.EXCLUDE, RuleList.of("exclude", exclude))
        .with(RuleSet.DENY, RuleList.of("deny", deny));
  }

  @Test
  void denyWinsOverExcludeAndExcludeOverInclude() {
    assertThat(policy("", "", "").decide(IPERF).outcome()).isEqualTo(Outcome.ALLOWED);
    assertThat(policy("port=5201", "", "").decide(IPERF).outcome()).isEqualTo(Outcome.ALLOWED);
    assertThat(policy("port=1", "", "").decide(IPERF).why())
        .isEqualTo("no rule of include matches");
    assertThat(policy("port=5201", "port=5201", "").decide(IPERF).why())
        .isEqualTo("exclude rule port=5201");
    assertThat(policy("port=5201", "port=5201", "port=1 uid=0").decide(IPERF).why())
        .isEqualTo("deny rule uid=0");
    assertThat(policy("port=5201", "port=1", "uid=1").decide(IPERF).outcome())
        .isEqualTo(Outcome.ALLOWED);
  }

  @Test
  void whatIsNotKnownIsSaid() {
    Subject any = Subject.to(Address.parse("10.77.0.2"));
    assertThat(policy("program=x", "", "").decide(any).outcome()).isEqualTo(Outcome.DEPENDS);
    assertThat(policy("", "program=x", "").decide(any).why()).isEqualTo("exclude rule program=x");
    assertThat(policy("program=x", "port=5", "uid=7").decide(any).why())
        .isEqualTo("deny rule uid=7");
    assertThat(policy("program=x", "", "net=10.77.0.0/24").decide(any).outcome())
        .isEqualTo(Outcome.DENIED);
    assertThat(policy("program=x net=10.77.0.0/24", "", "").decide(any).outcome())
        .isEqualTo(Outcome.ALLOWED);
    assertThat(policy("program=x,net=10.78.0.0/24", "", "").decide(any).outcome())
        .isEqualTo(Outcome.DENIED);
  }

  @Test
  void aListThatCannotBeReadDeniesEverything() {
    for (Policy broken :
        List.of(policy("oops", "", ""), policy("", "oops", ""), policy("", "", "oops"))) {
      assertThat(broken.decide(IPERF).denied()).isTrue();
      assertThat(broken.decide(IPERF).why()).contains("'oops'");
      assertThat(broken.isEmpty()).isFalse();
    }
  }

  private LivePolicy live() {
    return new LivePolicy(new AgentConfig(configured::get), dir.resolve("policy"), errors::add);
  }

  @Test
  void comesFromTheConfiguration() {
    configured.put("hutong.policy.include", "program=iperf3; program=nc");
    configured.put("hutong.policy.deny", "port=5201");
    configured.put("hutong.enabled", "false");
    LivePolicy.State now = live().now();
    assertThat(now.enabled()).isFalse();
    assertThat(now.changed()).isFalse();
    assertThat(now.policy().list(RuleSet.INCLUDE).rules()).hasSize(2);
    assertThat(now.policy().decide(IPERF).why()).isEqualTo("deny rule port=5201");
    assertThat(errors).isEmpty();
    assertThat(dir).isEmptyDirectory();
  }

  @Test
  void anErrorInTheConfigurationIsToldAndShutsEverything() {
    configured.put("hutong.policy.exclude", "port=http");
    LivePolicy live = live();
    assertThat(errors)
        .containsExactly(
            "hutong.policy.exclude: 'port=http': no such port;"
                + " until it is mended everything stays on TCP");
    assertThat(live.decide(IPERF).denied()).isTrue();
    live.set(RuleSet.EXCLUDE, "port=80");
    assertThat(live.decide(IPERF).denied()).isFalse();
    assertThat(live.now().policy().problem()).isNull();
  }

  @Test
  void whatIsSaidAtRunTimeOutlivesARestart() {
    configured.put("hutong.policy.exclude", "port=5201");
    configured.put("hutong.policy.include", "uid=0");
    LivePolicy first = live();
    first.enable(false);
    first.set(RuleSet.EXCLUDE, " ");
    first.set(RuleSet.DENY, "net=fd77::/64");
    LivePolicy second = live();
    assertThat(second.now().enabled()).isFalse();
    assertThat(second.now().changed()).isTrue();
    assertThat(second.now().policy().list(RuleSet.EXCLUDE)).isEqualTo(RuleList.EMPTY);
    assertThat(second.now().policy().list(RuleSet.DENY).text()).isEqualTo("net=fd77::/64");
    assertThat(second.now().policy().list(RuleSet.INCLUDE).text()).isEqualTo("uid=0");
    second.reset();
    assertThat(dir).isEmptyDirectory();
    LivePolicy.State third = live().now();
    assertThat(third.enabled()).isTrue();
    assertThat(third.changed()).isFalse();
    assertThat(third.policy().decide(IPERF).why()).isEqualTo("exclude rule port=5201");
    assertThat(errors).isEmpty();
  }

  @Test
  void aWrongListIsNotTaken() {
    LivePolicy live = live();
    live.set(RuleSet.DENY, "port=5201");
    assertThatThrownBy(() -> live.set(RuleSet.DENY, "port=0"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("deny: 'port=0'");
    assertThat(live.decide(IPERF).why()).isEqualTo("deny rule port=5201");
    assertThat(live().decide(IPERF).why()).isEqualTo("deny rule port=5201");
  }

  @Test
  void aFileThatCannotBeReadShutsEverything() throws Exception {
    Files.createDirectory(dir.resolve("policy"));
    LivePolicy live = live();
    assertThat(live.decide(IPERF).denied()).isTrue();
    assertThat(errors).hasSize(1).first().asString().contains("cannot read " + dir);
  }

  @Test
  void theSwitchWorksEvenIfItCannotBeKept() throws Exception {
    LivePolicy live = live();
    Files.createDirectories(dir.resolve("policy/in-the-way"));
    assertThatThrownBy(() -> live.enable(false))
        .isInstanceOf(UncheckedIOException.class)
        .hasMessageContaining("not after a restart");
    assertThat(live.now().enabled()).isFalse();
  }
}
