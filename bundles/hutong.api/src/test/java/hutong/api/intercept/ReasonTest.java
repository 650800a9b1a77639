// SPDX-License-Identifier: Apache-2.0
package hutong.api.intercept;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

class ReasonTest {
  @Test
  void shouldBeTheHeadersReasons() throws IOException {
    String header = Files.readString(Path.of(System.getProperty("hutong.abi.header")));
    Map<Integer, String> inHeader = new TreeMap<>();
    Matcher m = Pattern.compile("HUT_R_(\\w+) = (\\d+)").matcher(header);
    while (m.find()) {
      inHeader.put(Integer.parseInt(m.group(2)), m.group(1));
    }
    Map<Integer, String> inJava = new TreeMap<>();
    for (Reason r : Reason.values()) {
      inJava.put(r.number(), r.name());
      assertThat(Reason.of(r.number())).isSameAs(r);
      assertThat(r.text()).isNotBlank();
    }
    assertThat(inJava).isEqualTo(inHeader).isNotEmpty();
  }

  @Test
  void shouldRefuseUnknownNumbers() {
    assertThat(Reason.isKnown(-1)).isFalse();
    assertThat(Reason.isKnown(Reason.values().length)).isFalse();
    assertThatThrownBy(() -> Reason.of(Integer.MIN_VALUE)).hasMessageContaining("-2147483648");
  }
}
