// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Test;

class AnswerStreamTest {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final AnswerStream stream = new AnswerStream(bytes);

  private String answer(String output, String end) throws IOException {
    stream.write(output.getBytes(StandardCharsets.UTF_8));
    stream.end(end);
    return bytes.toString(StandardCharsets.UTF_8);
  }

  @Test
  void shouldEndWithItsLastLine() throws IOException {
    assertThat(answer("", "ok")).isEqualTo("ok\n");
    assertThat(answer("text", "error: x")).isEqualTo("ok\ntext\nerror: x\n");
  }

  @Test
  void shouldNotLetOutputEndTheAnswer() throws IOException {
    assertThat(answer("ok\nerror: no\nokay\n ok\n", "ok"))
        .isEqualTo(" ok\n error: no\nokay\n ok\nok\n");
  }

  @Test
  void shouldPassLongLines() throws IOException {
    String big = "x".repeat(200_000);
    assertThat(answer(big + "\n" + big + "ok", "ok")).isEqualTo(big + "\n" + big + "ok\nok\n");
  }
}
