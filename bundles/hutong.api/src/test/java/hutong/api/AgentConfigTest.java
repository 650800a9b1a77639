// SPDX-License-Identifier: Apache-2.0
package hutong.api;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AgentConfigTest {
  private static AgentConfig config(Map<String, String> values) {
    return new AgentConfig(values::get);
  }

  @Test
  void shouldReadValuesAndDefaults() {
    AgentConfig c =
        config(
            Map.of("hutong.role", "vm", "hutong.domid", " 3 ", "hutong.domains", "1:VM1, 2:VM2"));
    assertThat(c.role()).isEqualTo(AgentConfig.Role.VM);
    assertThat(c.domid()).isEqualTo(3);
    assertThat(c.domains()).containsExactly(Map.entry(1, "VM1"), Map.entry(2, "VM2"));
    assertThat(c.number("hutong.after.ms", 20, 0, 1000)).isEqualTo(20);
    assertThat(c.flag("hutong.enabled", true)).isTrue();
  }

  @Test
  void shouldNameTheKeyOfABadValue() {
    AgentConfig c =
        config(Map.of("hutong.role", "dom0", "hutong.domid", "x", "hutong.enabled", "yes"));
    assertThatThrownBy(c::role).hasMessageContaining("hutong.role").hasMessageContaining("dom0");
    assertThatThrownBy(c::domid).hasMessageContaining("hutong.domid").hasMessageContaining("x");
    assertThatThrownBy(c::name).hasMessageContaining("hutong.name");
    assertThatThrownBy(() -> c.flag("hutong.enabled", true)).hasMessageContaining("yes");
    assertThatThrownBy(() -> config(Map.of()).domid()).hasMessageContaining("hutong.domid");
  }

  @ParameterizedTest
  @ValueSource(strings = {"VM1", "1", "1:", "0:VM0", "1:a,1:b", "x:VM1", "99999:VM1"})
  void shouldRefuseMalformedDomains(String domains) {
    assertThatThrownBy(() -> config(Map.of("hutong.domains", domains)).domains())
        .hasMessageContaining(domains);
  }
}
