// SPDX-License-Identifier: Apache-2.0
package hutong.it;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.intercept.Reason;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The commands, through Gogo and through the socket. */
class ShellTest {
  private static final VmAgent AGENT = new VmAgent();

  /** One session on the shell's socket. */
  private static final class Session implements AutoCloseable {
    private final SocketChannel channel;
    private final BufferedReader in;

    Session(Path socket) throws IOException {
      channel = SocketChannel.open(UnixDomainSocketAddress.of(socket));
      in =
          new BufferedReader(
              new InputStreamReader(Channels.newInputStream(channel), StandardCharsets.UTF_8));
    }

    List<String> ask(String command) throws IOException {
      channel.write(ByteBuffer.wrap((command + "\n").getBytes(StandardCharsets.UTF_8)));
      List<String> answer = new ArrayList<>();
      for (String line; (line = in.readLine()) != null; ) {
        answer.add(line);
        if (line.equals("ok") || line.startsWith("error: ")) {
          return answer;
        }
      }
      throw new IOException("the shell hung up after " + answer);
    }

    @Override
    public void close() throws IOException {
      channel.close();
    }
  }

  private static Session session() throws Exception {
    Path socket = AGENT.run().resolve("shell.sock");
    Await.until("the shell listens", () -> Files.exists(socket));
    return new Session(socket);
  }

  @ParameterizedTest
  @ValueSource(strings = {"vms", "channels", "conns", "reasons", "stats", "log", "policy"})
  void shouldGiveJsonTablesUsageAndHelp(String command) throws Exception {
    for (String service :
        List.of("Membership", "Channels", "Connections", "PolicyControl", "Counters", "EventLog")) {
      String name =
          VmAgent.SERVICES.values().stream()
              .flatMap(List::stream)
              .filter(s -> s.endsWith("." + service))
              .findFirst()
              .orElseThrow();
      Await.until(name, () -> AGENT.service(name) != null);
    }
    Object json = StrictJson.parse(AGENT.execute("hutong:" + command + " --json"));
    assertThat(json).isInstanceOfAny(List.class, Map.class);
    assertThat(AGENT.execute("hutong:" + command)).isNotBlank();
    assertThatThrownBy(() -> AGENT.execute("hutong:" + command + " --yaml"))
        .hasMessageContaining("--yaml")
        .hasMessageContaining("usage: hutong:" + command);
    try (Session session = session()) {
      assertThat(session.ask("help hutong:" + command))
          .anyMatch(l -> l.contains("--json"))
          .endsWith("ok");
    }
  }

  @Test
  void shouldListEveryReason() throws Exception {
    List<?> reasons = (List<?>) StrictJson.parse(AGENT.execute("hutong:reasons --json"));
    assertThat(reasons).hasSize(Reason.values().length);
    Map<?, ?> quota = (Map<?, ?>) reasons.get(Reason.QUOTA.number());
    assertThat(quota.get("name")).isEqualTo("QUOTA");
    assertThat(quota.get("text")).isEqualTo(Reason.QUOTA.text());
  }

  @Test
  void shouldServeTheSocketForRootOnly() throws Exception {
    try (Session one = session();
        Session two = session()) {
      Path socket = AGENT.run().resolve("shell.sock");
      assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(socket)))
          .isEqualTo("rw-------");
      assertThat(one.ask("x = 5")).endsWith("ok");
      assertThat(two.ask("hutong:reasons --json")).hasSize(2).endsWith("ok");
      assertThat(one.ask("echo $x")).contains("5").endsWith("ok");
      assertThat(one.ask("hutong:stats --yaml"))
          .containsExactly("usage: hutong:stats [--json]", "error: stats: unknown argument --yaml");
      assertThat(one.ask("no-such-command").get(0))
          .startsWith("error: ")
          .contains("no-such-command");
      assertThat(one.ask("((")).last().asString().startsWith("error: ");
      assertThat(one.ask("")).containsExactly("ok");
    }
  }

  @Test
  void shouldNotLetOutputForgeTheEnd() throws Exception {
    try (Session session = session()) {
      assertThat(session.ask("echo ok")).containsExactly(" ok", "ok");
      assertThat(session.ask("echo 'error: none'")).containsExactly(" error: none", "ok");
    }
  }
}
