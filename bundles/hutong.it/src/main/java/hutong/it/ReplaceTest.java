// SPDX-License-Identifier: Apache-2.0
package hutong.it;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.intercept.Reason;
import hutong.api.telemetry.Counters;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.jar.JarEntry;
import java.util.jar.JarInputStream;
import java.util.jar.JarOutputStream;
import java.util.jar.Manifest;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.osgi.framework.Bundle;

/** Each bundle can be stopped, started and updated in place while the others run. */
class ReplaceTest {
  /**
   * Who cannot work without a bundle, and goes and comes with it; everybody else must not notice.
   */
  private static final Map<String, Set<String>> DEPENDENTS =
      Map.of(
          "channel",
          Set.of("intercept", "transport"),
          "telemetry",
          Set.of("link", "channel", "intercept", "transport"));

  private static final VmAgent AGENT = new VmAgent();
  private static HostAgent host;

  @BeforeAll
  static void startHost() throws Exception {
    host = new HostAgent(AGENT.context(), AGENT.run().getParent());
  }

  @AfterAll
  static void stopHost() {
    host.close();
  }

  @BeforeEach
  void settle() throws Exception {
    AGENT.awaitWorking();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "discovery",
        "channel",
        "link",
        "intercept",
        "transport",
        "xenstore",
        "telemetry",
        "shell"
      })
  void shouldStopAndStart(String name) throws Exception {
    Map<String, Object> others = servicesOfOthers(name);
    AGENT.bundle(name).stop();
    for (String service : VmAgent.SERVICES.get(name)) {
      assertThat(AGENT.service(service)).as(service).isNull();
    }
    assertCommandsAnswer(name);
    assertUntouched(others);
    AGENT.bundle(name).start();
    AGENT.awaitWorking();
    assertUntouched(others);
    assertCommandsAnswer("");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "discovery",
        "channel",
        "link",
        "intercept",
        "transport",
        "xenstore",
        "telemetry",
        "shell"
      })
  void shouldUpdateInPlace(String name) throws Exception {
    Bundle bundle = AGENT.bundle(name);
    long id = bundle.getBundleId();
    Map<String, Object> others = servicesOfOthers(name);
    Object before = AGENT.service(VmAgent.SERVICES.get(name).get(0));
    bundle.update(new ByteArrayInputStream(nextVersion(HostAgent.jar(bundle))));
    assertThat(bundle.getState()).isEqualTo(Bundle.ACTIVE);
    assertThat(bundle.getVersion().toString()).isEqualTo("0.1.1");
    assertThat(bundle.getBundleId()).isEqualTo(id);
    AGENT.awaitWorking();
    assertThat(AGENT.service(VmAgent.SERVICES.get(name).get(0))).isNotSameAs(before);
    assertUntouched(others);
    assertCommandsAnswer("");
  }

  @Test
  void shouldKeepCountsWhenTelemetryIsReplaced() throws Exception {
    Counters before = (Counters) AGENT.service(Counters.class.getName());
    before.reason(Reason.POLICY).add(1000);
    long counted = before.reason(Reason.POLICY).value();
    AGENT.bundle("telemetry").stop();
    before.reason(Reason.POLICY).increment(); // by whoever still holds it
    AGENT.bundle("telemetry").start();
    AGENT.awaitWorking();
    Counters after = (Counters) AGENT.service(Counters.class.getName());
    assertThat(after).isNotSameAs(before);
    assertThat(after.reason(Reason.POLICY).value()).isEqualTo(counted + 1);
  }

  @Test
  void shouldFollowTheHostAgentsRestart() throws Exception {
    Path dist = AGENT.run().resolveSibling("dist/bundle");
    host.close();
    try (var links = Files.list(dist)) {
      for (Path link : links.toList()) {
        Files.delete(link);
      }
    }
    assertCommandsAnswer("");
    host = new HostAgent(AGENT.context(), AGENT.run().getParent());
    AGENT.awaitWorking();
  }

  private static Map<String, Object> servicesOfOthers(String name) throws Exception {
    Map<String, Object> out = new HashMap<>();
    for (Map.Entry<String, List<String>> part : VmAgent.SERVICES.entrySet()) {
      if (!part.getKey().equals(name)
          && !DEPENDENTS.getOrDefault(name, Set.of()).contains(part.getKey())) {
        for (String service : part.getValue()) {
          out.put(service, AGENT.service(service));
        }
      }
    }
    return out;
  }

  private static void assertUntouched(Map<String, Object> services) throws Exception {
    for (Map.Entry<String, Object> service : services.entrySet()) {
      assertThat(AGENT.service(service.getKey())).as(service.getKey()).isSameAs(service.getValue());
    }
  }

  /** Each command gives JSON, or says that the bundle which is down is away. */
  private static void assertCommandsAnswer(String down) throws Exception {
    if (down.equals("shell")) {
      assertThat(Files.exists(AGENT.run().resolve("shell.sock"))).isFalse();
      return;
    }
    for (String command : VmAgent.COMMANDS) {
      try {
        assertThat(StrictJson.parse(AGENT.execute("hutong:" + command + " --json"))).isNotNull();
      } catch (RuntimeException e) {
        assertThat(down).as(command + ": " + e).isNotEmpty();
        assertThat(e).hasMessageContaining(" is away: bundle hutong.");
      }
    }
  }

  /** The same bundle with a higher version. */
  private static byte[] nextVersion(Path jar) throws IOException {
    ByteArrayOutputStream out = new ByteArrayOutputStream();
    try (JarInputStream in = new JarInputStream(Files.newInputStream(jar))) {
      Manifest manifest = in.getManifest();
      manifest.getMainAttributes().putValue("Bundle-Version", "0.1.1");
      try (JarOutputStream to = new JarOutputStream(out, manifest)) {
        for (JarEntry entry; (entry = in.getNextJarEntry()) != null; ) {
          to.putNextEntry(new JarEntry(entry.getName()));
          in.transferTo(to);
          to.closeEntry();
        }
      }
    }
    return out.toByteArray();
  }
}
