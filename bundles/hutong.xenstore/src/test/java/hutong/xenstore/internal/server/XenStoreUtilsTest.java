// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.xenstore.internal.store.Quotas;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** The distribution's own tools (package xenstore-utils) as conformance clients. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class XenStoreUtilsTest {
  @TempDir private Path directory;
  private XenStoreServer server;

  private record Result(int status, String out, String err) {}

  @BeforeEach
  void start() throws IOException {
    server = new XenStoreServer(directory, "PC1", Map.of(1, "VM1", 2, "VM2"), Quotas.DEFAULT);
  }

  @AfterEach
  void stop() {
    server.close();
  }

  private ProcessBuilder tool(int domid, String... command) {
    List<String> arguments = new ArrayList<>(Arrays.asList(command));
    arguments.set(0, "xenstore-" + command[0]);
    ProcessBuilder builder = new ProcessBuilder(arguments);
    builder
        .environment()
        .put("XENSTORED_PATH", directory.resolve("xenstore-" + domid + ".sock").toString());
    return builder;
  }

  private Result run(int domid, String... command) throws IOException, InterruptedException {
    Process process = tool(domid, command).start();
    process.getOutputStream().close();
    String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    String err = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
    return new Result(process.waitFor(), out, err);
  }

  private String ok(int domid, String... command) throws IOException, InterruptedException {
    Result result = run(domid, command);
    assertThat(result.status()).as("%s: %s", String.join(" ", command), result.err()).isZero();
    return result.out();
  }

  private void refused(String why, int domid, String... command)
      throws IOException, InterruptedException {
    Result result = run(domid, command);
    assertThat(result.status()).as("%s: %s", String.join(" ", command), result).isNotZero();
    assertThat(result.err()).contains(why);
  }

  @Test
  void shouldServeReadWriteListExistsRemove() throws Exception {
    ok(1, "write", "data/hutong/id", "VM1", "data/hutong/mac", "02:77:00:00:00:01");
    assertThat(ok(1, "read", "data/hutong/id")).isEqualTo("VM1\n");
    assertThat(ok(0, "read", "/local/domain/1/data/hutong/mac")).isEqualTo("02:77:00:00:00:01\n");
    assertThat(ok(1, "list", "data/hutong")).isEqualTo("id\nmac\n");
    ok(1, "exists", "data/hutong/id");
    assertThat(run(1, "exists", "data/nothing").status()).isNotZero();
    ok(1, "rm", "data/hutong");
    assertThat(run(1, "exists", "data/hutong/id").status()).isNotZero();
  }

  @Test
  void shouldListTheTreeWithPermissions() throws Exception {
    ok(2, "write", "data/k", "v");
    String tree = ok(0, "ls", "-f", "-p");
    assertThat(tree)
        .containsPattern("/local/domain/0/name = \"PC1\" +[ .]*\\(n0\\)")
        .containsPattern("/local/domain/1/name = \"VM1\" +[ .]*\\(n0,r1\\)")
        .containsPattern("/local/domain/2/data/k = \"v\" +[ .]*\\(n2\\)");
    assertThat(ok(1, "ls", "-f", "-p", "/local/domain/1"))
        .contains("/local/domain/1/data")
        .doesNotContain("domain/2");
    refused("Permission denied", 1, "ls", "/local/domain");
  }

  @Test
  void shouldRefuseWritesOutsideTheOwnDomain() throws Exception {
    for (String path :
        List.of("/local/domain/2/data/x", "/local/domain/1/own", "/foo", "/local/domain/0/x")) {
      Result result = run(1, "write", path, "1");
      assertThat(result.status()).as(path).isNotZero();
      assertThat(run(0, "exists", path).status()).as(path).isNotZero();
    }
    assertThat(run(1, "rm", "/local/domain/2/data").status()).isNotZero();
    ok(0, "exists", "/local/domain/2/data");
  }

  @Test
  void shouldChangePermissions() throws Exception {
    ok(1, "write", "data/k", "shared");
    assertThat(run(2, "read", "/local/domain/1/data/k").status()).isNotZero();
    ok(1, "chmod", "data/k", "n1", "r2");
    assertThat(ok(2, "read", "/local/domain/1/data/k")).isEqualTo("shared\n");
    refused("Permission denied", 2, "chmod", "/local/domain/1/data/k", "b2");
  }

  @Test
  void shouldServeWatches() throws Exception {
    Process watch = tool(0, "watch", "-n", "3", "/local/domain/1/data").start();
    try (var out = watch.inputReader(StandardCharsets.UTF_8)) {
      assertThat(out.readLine()).isEqualTo("/local/domain/1/data");
      ok(1, "write", "data/first", "1");
      assertThat(out.readLine()).isEqualTo("/local/domain/1/data/first");
      ok(1, "rm", "data/first");
      assertThat(out.readLine()).isEqualTo("/local/domain/1/data/first");
      assertThat(watch.waitFor()).isZero();
    } finally {
      watch.destroyForcibly();
    }
  }

  @Test
  void shouldServeManyToolsAtOnce() throws Exception {
    List<Process> writers = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      writers.add(tool(1, "write", "data/n" + i, Integer.toString(i)).start());
    }
    for (Process writer : writers) {
      assertThat(writer.waitFor()).isZero();
    }
    assertThat(ok(0, "list", "/local/domain/1/data").lines()).hasSize(8);
  }
}
