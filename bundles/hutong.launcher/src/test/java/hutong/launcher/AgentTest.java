// SPDX-License-Identifier: Apache-2.0
package hutong.launcher;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Hashtable;
import java.util.Map;
import java.util.Properties;
import java.util.jar.Attributes;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(60)
class AgentTest {
  @TempDir Path dir;
  private final Properties config = new Properties();
  private Agent agent;

  @BeforeEach
  void prepare() throws IOException {
    Files.createDirectories(dir.resolve("run"));
    Files.createDirectories(dir.resolve("home/bundle"));
    config.putAll(
        Map.of(
            "hutong.role", "vm",
            "hutong.name", "VM1",
            "hutong.host", "PC1",
            "hutong.domid", "1",
            "hutong.run", dir.resolve("run").toString(),
            "hutong.required.bundles", "",
            "hutong.ready.services", "one, two"));
  }

  @AfterEach
  void stop() {
    if (agent != null) {
      agent.stop();
    }
  }

  private Agent agent() throws IOException {
    agent = new Agent(config, dir.resolve("home"));
    return agent;
  }

  private void bundle(String name, String... headers) throws IOException {
    Manifest manifest = new Manifest();
    Attributes main = manifest.getMainAttributes();
    main.putValue("Manifest-Version", "1.0");
    main.putValue("Bundle-ManifestVersion", "2");
    main.putValue("Bundle-SymbolicName", name);
    for (int i = 0; i < headers.length; i += 2) {
      main.putValue(headers[i], headers[i + 1]);
    }
    try (OutputStream out = Files.newOutputStream(dir.resolve("home/bundle/" + name + ".jar"))) {
      new JarOutputStream(out, manifest).close();
    }
  }

  private void register(String name) {
    Hashtable<String, Object> properties = new Hashtable<>(Map.of(ReadyFile.PROPERTY, name));
    agent.context().registerService(Object.class, new Object(), properties);
  }

  private static String errorsOf(ThrowingRunnable body) throws Exception {
    PrintStream before = System.err;
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    System.setErr(new PrintStream(bytes, true, StandardCharsets.UTF_8));
    try {
      body.run();
    } finally {
      System.setErr(before);
    }
    return bytes.toString(StandardCharsets.UTF_8);
  }

  private interface ThrowingRunnable {
    void run() throws Exception;
  }

  @Test
  void shouldBeReadyWhenEveryPartIsThere() throws Exception {
    Path ready = dir.resolve("run/ready");
    Files.writeString(ready, "stale");
    bundle("a.bundle");
    agent().start();
    assertThat(agent.context().getProperty("hutong.name")).isEqualTo("VM1");
    assertThat(ready).doesNotExist();
    register("two");
    register("other");
    assertThat(ready).doesNotExist();
    register("one");
    assertThat(ready).content().isEqualTo(ProcessHandle.current().pid() + "\n");
    assertThat(dir.resolve("run/agent.pid")).exists();
    agent.stop();
    agent.awaitStop();
    agent.stop();
    assertThat(dir.resolve("run")).isEmptyDirectory();
  }

  @Test
  void shouldBeFollowedByOneForTheDomainThatTheVmIsNow() throws Exception {
    bundle("a.bundle");
    Agent first = agent();
    first.start();
    first
        .context()
        .registerService(
            Object.class, new Object(), new Hashtable<>(Map.of(Agent.NEW_DOMID, "27")));
    first.awaitStop();
    agent = first.successor();
    first.stop();
    agent.start();
    assertThat(agent.context().getProperty("hutong.domid")).isEqualTo("27");
    assertThat(agent.context().getProperty("hutong.name")).isEqualTo("VM1");
    assertThat(agent.context().getBundles()).anyMatch(b -> "a.bundle".equals(b.getSymbolicName()));
    agent.stop();
    agent.awaitStop();
    assertThat(agent.successor()).isNull();
    assertThat(dir.resolve("run")).isEmptyDirectory();
  }

  @Test
  void shouldGoOnWithoutABundleThatIsNotRequired() throws Exception {
    bundle("good");
    bundle("needy", "Import-Package", "no.such.thing");
    Files.writeString(dir.resolve("home/bundle/broken.jar"), "not a jar");
    String log = errorsOf(() -> agent().start());
    assertThat(log).contains("needy").contains("no.such.thing").contains("broken.jar");
    assertThat(agent.context().getBundles()).anyMatch(b -> "good".equals(b.getSymbolicName()));
  }

  @Test
  void shouldNotStartWithoutARequiredBundle() throws Exception {
    config.setProperty("hutong.required.bundles", "good,needy,absent");
    bundle("good");
    bundle("needy", "Import-Package", "no.such.thing");
    errorsOf(() -> assertThatThrownBy(() -> agent().start()).hasMessageContaining("absent, needy"));
  }

  @Test
  void shouldRefuseABadConfiguration() throws Exception {
    config.setProperty("hutong.role", "dom0");
    assertThatThrownBy(this::agent).hasMessageContaining("dom0");
    config.setProperty("hutong.role", "host");
    config.setProperty("hutong.run", dir.resolve("nowhere").toString());
    assertThatThrownBy(this::agent).hasMessageContaining("nowhere");
    config.remove("hutong.name");
    assertThatThrownBy(this::agent).hasMessageContaining("hutong.name");
  }
}
