// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

class JsonTest {
  @Test
  void shouldWriteEveryKind() {
    Map<String, Object> map = new TreeMap<>();
    map.put("a", 1);
    map.put("b", Long.MIN_VALUE);
    map.put("c", Arrays.asList(true, null, "x"));
    map.put("d", Map.of());
    map.put("e", List.of());
    assertThat(Json.write(map))
        .isEqualTo(
            "{\"a\":1,\"b\":-9223372036854775808,\"c\":[true,null,\"x\"],\"d\":{},\"e\":[]}");
  }

  @Test
  void shouldEscape() {
    assertThat(Json.write("\"\\/\b\n\r\t\0\u007f\u00e9\u2028"))
        .isEqualTo("\"\\\"\\\\/\\u0008\\u000a\\u000d\\u0009\\u0000\\u007f\\u00e9\\u2028\"");
    assertThat(Json.write(Map.of("k\"", "v"))).isEqualTo("{\"k\\\"\":\"v\"}");
  }

  @Test
  void shouldReplaceUnpairedSurrogates() {
    assertThat(Json.write("\ud83d\ude00")).isEqualTo("\"\\ud83d\\ude00\"");
    assertThat(Json.write("\ud83d")).isEqualTo("\"\\ufffd\"");
    assertThat(Json.write("\ude00x")).isEqualTo("\"\\ufffdx\"");
    assertThat(Json.write("\ud83d\ud83d\ude00")).isEqualTo("\"\\ufffd\\ud83d\\ude00\"");
  }

  @Test
  void shouldRefuseWhatHasNoJson() {
    assertThatThrownBy(() -> Json.write(new Object())).isInstanceOf(IllegalArgumentException.class);
  }
}
