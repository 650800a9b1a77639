// SPDX-License-Identifier: Apache-2.0
package hutong.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The tests' own JSON reader must not wave anything through. */
class StrictJsonTest {
  @Test
  void shouldRead() {
    assertThat(StrictJson.parse(" [1, -2.5e3, true, \"a\\u0041\\\\\", {}, [], {\"k\": \"v\"}] "))
        .isEqualTo(List.of(1.0, -2500.0, true, "aA\\", Map.of(), List.of(), Map.of("k", "v")));
    assertThat(StrictJson.parse("null")).isNull();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "[",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "1 2",
        "'a'",
        "\"\n\"",
        "\"\\x\"",
        "tru",
        "truex",
        "[1 2]",
        "{\"a\" 1}",
        "{\"a\":1,\"a\":2}",
        "{1:2}",
        "]",
        "\"",
        "1.",
        "-",
        "{\"a\":}",
        "[,1]"
      })
  void shouldRefuse(String text) {
    assertThatThrownBy(() -> StrictJson.parse(text)).isInstanceOf(IllegalArgumentException.class);
  }
}
