// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class TableTest {
  @Test
  void shouldAlign() {
    List<Map<String, Object>> rows =
        List.of(Map.of("name", "x", "bytesIn", 5L), Map.of("name", "longer", "bytesIn", 12345L));
    assertThat(Table.render(List.of("name", "bytesIn", "other"), rows, "nothing"))
        .isEqualTo(
            """
            NAME    BYTES-IN  OTHER
            x              5  -
            longer     12345  -""");
  }

  @Test
  void shouldDisarmControlCharacters() {
    List<Map<String, Object>> rows = List.of(Map.of("a", "x\ny\u001b[2J", "b", List.of("p", "q")));
    assertThat(Table.render(List.of("a", "b"), rows, "")).isEqualTo("A        B\nx?y?[2J  p,q");
  }

  @Test
  void shouldSayWhenEmpty() {
    assertThat(Table.render(List.of("a"), List.of(), "nothing")).isEqualTo("nothing");
  }
}
