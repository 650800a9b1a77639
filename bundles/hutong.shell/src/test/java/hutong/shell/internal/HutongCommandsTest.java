// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.channel.ChannelInfo;
import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.Reason;
import hutong.api.telemetry.Counter;
import hutong.api.telemetry.Counters;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class HutongCommandsTest {
  private final HutongCommands commands = new HutongCommands("VM1", "vm");

  private void withServices() {
    commands.membership =
        () ->
            new MembershipSnapshot(
                1,
                List.of(
                    new Member(
                        "PC1",
                        2,
                        "VM2",
                        "02:77:00:00:00:02",
                        List.of("10.77.0.2", "fd77::2"),
                        "0.1",
                        true,
                        false,
                        "")));
    commands.channels =
        () ->
            List.of(
                new ChannelInfo(
                    0xfff00001,
                    2,
                    "VM2",
                    "02:77:00:00:00:02",
                    7,
                    "OPEN",
                    1024,
                    4096,
                    10,
                    20,
                    List.of(5, 6)));
    commands.connections =
        () ->
            List.of(
                new ConnectionInfo(
                    9,
                    "ip\"erf",
                    1000,
                    "10.77.0.1:1",
                    "10.77.0.2:2",
                    "RING",
                    false,
                    Reason.NONE,
                    3,
                    1,
                    2,
                    30,
                    40,
                    "CHANNEL"),
                new ConnectionInfo(
                    9,
                    "nc",
                    0,
                    "10.77.0.1:3",
                    "10.77.0.3:4",
                    "TCP",
                    true,
                    Reason.INTER_HOST,
                    0,
                    5,
                    6,
                    0,
                    0,
                    "TCP"),
                new ConnectionInfo(
                    9,
                    "nc",
                    0,
                    "10.77.0.1:5",
                    "10.77.0.3:6",
                    "LIGHT",
                    true,
                    Reason.NONE,
                    0,
                    0,
                    0,
                    700,
                    800,
                    "CHANNEL"));
    commands.counters =
        new Counters() {
          @Override
          public Counter counter(String name) {
            throw new UnsupportedOperationException();
          }

          @Override
          public Map<String, Long> snapshot() {
            return Map.of("reason.3", 12L);
          }
        };
  }

  @Test
  void shouldShowConnections() {
    withServices();
    assertThat(commands.conns(false).lines().toList().get(2))
        .contains("nc", "10.77.0.1:3", "10.77.0.3:4", "TCP", "3", "another host");
    assertThat(commands.conns(true))
        .startsWith("[{\"pid\":9,\"program\":\"ip\\\"erf\",\"uid\":1000,")
        .contains("\"path\":\"RING\"", "\"reason\":0,\"reasonText\":null", "\"ringOut\":40")
        .contains("\"reason\":3,\"reasonText\":\"the peer is on another host\"");
  }

  @Test
  void shouldShowMembersAndChannels() {
    withServices();
    assertThat(commands.vms(false)).contains("VM2", "10.77.0.2,fd77::2", "PC1");
    assertThat(commands.vms(true))
        .contains("\"addresses\":[\"10.77.0.2\",\"fd77::2\"]", "\"coResident\":true");
    assertThat(commands.channels(false)).contains("4293918721", "OPEN", "5,6");
    assertThat(commands.channels(true)).contains("\"number\":4293918721", "\"pids\":[5,6]");
  }

  @Test
  void shouldShowEveryReason() {
    assertThat(commands.reasons(true)).contains("\"count\":null");
    withServices();
    assertThat(commands.reasons(false).lines()).hasSize(Reason.values().length + 1);
    assertThat(commands.reasons(true))
        .contains("{\"number\":3,\"name\":\"INTER_HOST\",\"count\":12,");
  }

  @Test
  void shouldShowStatsWithAndWithoutServices() {
    assertThat(commands.stats(true)).contains("\"members\":null", "\"counters\":null");
    withServices();
    assertThat(commands.stats(true))
        .contains(
            "\"agent\":\"VM1\"",
            "\"members\":1",
            "\"channels\":1",
            "\"ring\":1,\"light\":1,\"switching\":0,\"tcp\":1")
        .contains(
            "\"ringOut\":40,\"lightIn\":700,\"lightOut\":800", "\"counters\":{\"reason.3\":12}");
    assertThat(commands.stats(false)).contains("counters.reason.3").contains("connections.tcpIn");
  }

  @Test
  void shouldSayWhatIsAway() {
    assertThatThrownBy(() -> commands.vms(false)).hasMessageContaining("hutong.discovery");
    assertThatThrownBy(() -> commands.channels(true)).hasMessageContaining("hutong.channel");
    assertThatThrownBy(() -> commands.conns(true)).hasMessageContaining("hutong.intercept");
    assertThatThrownBy(() -> commands.log(false)).hasMessageContaining("hutong.telemetry");
  }

  @Test
  void shouldGiveUsage() {
    assertThatThrownBy(() -> commands.vms(false, "--yaml"))
        .hasMessageContaining("unknown argument --yaml")
        .hasMessageContaining("usage: hutong:vms [--json]");
  }
}
