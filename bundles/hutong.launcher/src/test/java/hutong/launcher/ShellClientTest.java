// SPDX-License-Identifier: Apache-2.0
package hutong.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.StringReader;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class ShellClientTest {
  @TempDir Path dir;
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  private int run(String command, String input) throws Exception {
    return ShellClient.run(
        dir.resolve("s"),
        command,
        new BufferedReader(new StringReader(input)),
        new PrintStream(out, true, StandardCharsets.UTF_8),
        new PrintStream(err, true, StandardCharsets.UTF_8));
  }

  /** Answers "fail" with an error, "hang up" with none, and all else with an echo. */
  private CompletableFuture<Void> server() throws Exception {
    ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    server.bind(UnixDomainSocketAddress.of(dir.resolve("s")));
    return CompletableFuture.runAsync(
        () -> {
          try (server;
              SocketChannel c = server.accept();
              BufferedReader in =
                  new BufferedReader(new InputStreamReader(Channels.newInputStream(c)));
              PrintStream to = new PrintStream(Channels.newOutputStream(c), true)) {
            for (String line; (line = in.readLine()) != null && !line.equals("hang up"); ) {
              to.print(line.equals("fail") ? "error: failed\n" : "<" + line + ">\nok\n");
              to.flush();
            }
          } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
          }
        });
  }

  @Test
  void shouldRunOneCommand() throws Exception {
    CompletableFuture<Void> server = server();
    assertThat(run("hutong:vms", "")).isZero();
    server.get();
    assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("<hutong:vms>\n");
  }

  @Test
  void shouldRunCommandsFromItsInput() throws Exception {
    CompletableFuture<Void> server = server();
    assertThat(run(null, "a\n\nfail\nb\n")).isEqualTo(1);
    server.get();
    assertThat(out.toString(StandardCharsets.UTF_8)).isEqualTo("<a>\n<b>\n");
    assertThat(err.toString(StandardCharsets.UTF_8)).isEqualTo("error: failed\n");
  }

  @Test
  void shouldSayWhenTheAgentIsAway() throws Exception {
    assertThat(run("x", "")).isEqualTo(2);
    assertThat(err.toString(StandardCharsets.UTF_8)).contains("cannot reach the agent");
    CompletableFuture<Void> server = server();
    assertThat(run("hang up", "")).isEqualTo(2);
    server.get();
    assertThat(err.toString(StandardCharsets.UTF_8)).contains("closed");
  }
}
