// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.AgentConfig;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LightSettingsTest {
  private static LightSettings of(String... keysAndValues) {
    Map<String, String> values = new HashMap<>(Map.of("hutong.interface", "eth0"));
    for (int i = 0; i < keysAndValues.length; i += 2) {
      values.put(keysAndValues[i], keysAndValues[i + 1]);
    }
    return LightSettings.of(new AgentConfig(values::get));
  }

  @Test
  void theReferenceIsTheDefault() {
    LightSettings settings = of();
    assertThat(settings.window()).isEqualTo(128);
    assertThat(settings.waitNs()).isZero();
    assertThat(settings.inter()).isEqualTo(LightSettings.Inter.AUTO);
    assertThat(settings.wire()).isEqualTo(WireKind.NONE);
  }

  @Test
  void boundsOfWindowAndWait() {
    assertThat(of("hutong.wait.us", "100").waitNs()).isEqualTo(100_000);
    assertThat(of("hutong.wait.us", "1000").waitNs()).isEqualTo(1_000_000);
    assertThat(of("hutong.wait.us", "auto").waitNs()).isZero();
    assertThat(of("hutong.window", "64").window()).isEqualTo(64);
    assertThat(of("hutong.window", "256").window()).isEqualTo(256);
  }

  @ParameterizedTest
  @CsvSource({
    "hutong.wait.us, 99",
    "hutong.wait.us, 1001",
    "hutong.wait.us, -1",
    "hutong.wait.us, 0",
    "hutong.wait.us, 99999999999999999999",
    "hutong.wait.us, fast",
    "hutong.window, 63",
    "hutong.window, 257",
    "hutong.inter.ring.size, 16777216",
    "hutong.inter.overflow.size, 262144",
    "hutong.inter.ring.size, 65537",
    "hutong.inter.overflow.size, 3145728",
    "hutong.inter, never",
    "hutong.wire, token-ring"
  })
  void whatIsWrongIsNamed(String key, String value) {
    assertThatThrownBy(() -> of(key, value))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining(key)
        .hasMessageContaining(value);
  }
}
