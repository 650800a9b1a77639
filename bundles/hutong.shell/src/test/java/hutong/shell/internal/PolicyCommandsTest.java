// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.intercept.CheckInfo;
import hutong.api.intercept.Diagnosis;
import hutong.api.intercept.PolicyControl;
import hutong.api.intercept.Reason;
import hutong.api.intercept.WhyInfo;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class PolicyCommandsTest {
  private final PolicyCommands commands = new PolicyCommands();
  private final List<String> done = new ArrayList<>();

  private final class Control implements PolicyControl {
    private final State state = new State(true, "", "port=1", "net=fd77::/64", true, null);

    @Override
    public State state() {
      return state;
    }

    @Override
    public Change enable(boolean on) {
      done.add("enable " + on);
      return new Change(state, 3, 0);
    }

    @Override
    public Change set(RuleSet set, String rules) {
      if (rules.contains("bad")) {
        throw new IllegalArgumentException("deny: 'bad' is wrong");
      }
      done.add(set + " [" + rules + "]");
      return new Change(state, 2, 2);
    }

    @Override
    public Change reset() {
      done.add("reset");
      return new Change(state, 0, 0);
    }
  }

  private final class Doctor implements Diagnosis {
    @Override
    public WhyInfo why(int pid, int fd) {
      if (pid == 1) {
        throw new IllegalArgumentException("there is no process 1");
      }
      return new WhyInfo(
          pid,
          "nc",
          0,
          fd,
          "TCP",
          "10.0.0.1:1",
          "10.0.0.2:2",
          null,
          true,
          "TCP",
          "TCP",
          false,
          Reason.QUOTA,
          5,
          6,
          7,
          8,
          "It is on TCP.",
          "Raise it.");
    }

    @Override
    public CheckInfo check(String target) {
      return new CheckInfo(
          target,
          "VM2",
          false,
          Reason.OFF,
          "It would not.",
          List.of(new CheckInfo.Step("switch", false, Reason.OFF, "the agent is off")));
    }
  }

  @BeforeEach
  void services() {
    commands.control = new Control();
    commands.diagnosis = new Doctor();
  }

  @Test
  void shouldSwitch() {
    assertThat(commands.off(false)).contains("3 connections were told");
    assertThat(commands.on(true)).startsWith("{\"enabled\":true,").contains("\"told\":3");
    assertThat(done).containsExactly("enable false", "enable true");
  }

  @Test
  void shouldShowThePolicy() {
    assertThat(commands.policy(false).lines().map(l -> l.replaceAll(" +", " ")))
        .contains("enabled true", "include -", "exclude port=1", "deny net=fd77::/64");
    assertThat(commands.policy(true))
        .isEqualTo(
            "{\"enabled\":true,\"include\":\"\",\"exclude\":\"port=1\",\"deny\":\"net=fd77::/64\","
                + "\"changed\":true,\"problem\":null}");
    assertThat(done).isEmpty();
  }

  @Test
  void shouldChangeThePolicy() {
    assertThat(commands.policy(false, "deny", "program=a,port=5", "uid=7"))
        .contains("2 of them must stay on TCP for good");
    commands.policy(false, "include", "none");
    commands.policy(false, "exclude", "program=a;program=b");
    assertThat(commands.policy(true, "reset")).contains("\"stopped\":0");
    assertThat(done)
        .containsExactly(
            "DENY [program=a,port=5 uid=7]",
            "INCLUDE []",
            "EXCLUDE [program=a;program=b]",
            "reset");
    assertThatThrownBy(() -> commands.policy(false, "deny", "bad"))
        .hasMessage("deny: 'bad' is wrong; nothing was changed");
  }

  @Test
  void shouldSayWhy() {
    assertThat(commands.why(false, "77", "5"))
        .contains("10.0.0.2:2")
        .endsWith("It is on TCP. Raise it.");
    assertThat(commands.why(true, "77", "5"))
        .startsWith("{\"pid\":77,\"program\":\"nc\",\"uid\":0,\"fd\":5,\"kind\":\"TCP\",")
        .contains("\"accelerated\":false,\"reason\":9,", "\"peerVm\":null", "\"ringOut\":8");
    assertThatThrownBy(() -> commands.why(false, "1", "5")).hasMessage("there is no process 1");
  }

  @Test
  void shouldCheck() {
    assertThat(commands.check(false, "VM2")).contains("the agent is off").endsWith("It would not.");
    assertThat(commands.check(true, "VM2"))
        .contains("\"target\":\"VM2\",\"vm\":\"VM2\",\"accelerated\":false,\"reason\":1,")
        .contains("\"steps\":[{\"name\":\"switch\",\"good\":false,\"reason\":1,\"text\":");
  }

  @Test
  void shouldGiveUsage() {
    assertThatThrownBy(() -> commands.off(false, "now")).hasMessageContaining("usage: hutong:off");
    assertThatThrownBy(() -> commands.on(false, "--yaml"))
        .hasMessageContaining("unknown argument --yaml")
        .hasMessageContaining("usage: hutong:on");
    for (Object[] words :
        List.of(
            new Object[] {"allow", "x"},
            new Object[] {"deny"},
            new Object[] {"reset", "now"},
            new Object[] {"deny", "--all"})) {
      assertThatThrownBy(() -> commands.policy(false, words))
          .hasMessageContaining("usage: hutong:policy");
    }
    for (Object[] words :
        List.of(
            new Object[] {},
            new Object[] {"1"},
            new Object[] {"1", "2", "3"},
            new Object[] {"x", "2"},
            new Object[] {"1", "99999999999"})) {
      assertThatThrownBy(() -> commands.why(false, words))
          .hasMessageContaining("usage: hutong:why");
    }
    assertThatThrownBy(() -> commands.check(false)).hasMessageContaining("usage: hutong:check");
    assertThatThrownBy(() -> commands.check(false, "a", "b"))
        .hasMessageContaining("usage: hutong:check");
  }

  @Test
  void shouldSayWhatIsAway() {
    commands.control = null;
    commands.diagnosis = null;
    for (org.assertj.core.api.ThrowableAssert.ThrowingCallable command :
        List.<org.assertj.core.api.ThrowableAssert.ThrowingCallable>of(
            () -> commands.off(false),
            () -> commands.policy(true),
            () -> commands.why(false, "1", "2"),
            () -> commands.check(true, "VM2"))) {
      assertThatThrownBy(command).hasMessageContaining(" is away: bundle hutong.intercept");
    }
  }
}
