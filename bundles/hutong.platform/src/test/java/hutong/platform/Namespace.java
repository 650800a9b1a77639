// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

/** Runs a program of the tests in a network namespace of its own, in a JVM of its own. */
final class Namespace {
  private Namespace() {}

  /**
   * Runs it to its end.
   *
   * @param setUp shell commands that make the network
   * @param program has a main method
   * @return all that it printed
   */
  static String run(String setUp, Class<?> program) throws Exception {
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    Process p =
        new ProcessBuilder(
                "unshare",
                "--net",
                "bash",
                "-c",
                "set -e\n" + setUp + "exec \"$@\"",
                "bash",
                java,
                "-cp",
                System.getProperty("java.class.path"),
                program.getName())
            .redirectErrorStream(true)
            .start();
    try {
      String output = new String(p.getInputStream().readAllBytes());
      assertThat(p.waitFor(60, TimeUnit.SECONDS)).isTrue();
      return output;
    } finally {
      p.destroyForcibly();
    }
  }
}
