// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.wire;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Flows over real sockets, in a network namespace of its own, in a JVM of its own. */
@Timeout(180)
class WireTest {
  static Stream<String> wires() {
    return Stream.of("ethernet 1500", "ethernet 9000", "udp4 1500", "udp6 1500", "udp4 9000");
  }

  static Stream<String> sealed() {
    return Stream.of("udp4 1500 sealed", "udp6 9000 sealed");
  }

  /**
   * Streams with MACs (D6), beside forgers who have all but the key and send from the same port.
   */
  @ParameterizedTest
  @MethodSource("sealed")
  void shouldTakeNothingOfForgers(String wire, @TempDir Path folder) throws Exception {
    assertThat(run(wire, folder)).contains("forgeries were sent and dropped at both ends");
  }

  @ParameterizedTest
  @MethodSource("wires")
  void shouldCarryBothDirections(String wire, @TempDir Path folder) throws Exception {
    run(wire, folder);
  }

  private static String run(String wire, Path folder) throws Exception {
    Path said = folder.resolve("said");
    String mtu = wire.split(" ")[1];
    String script =
        """
        set -e
        ip link set lo up
        ip link set lo mtu MTU
        ip link add va type veth peer name vb
        ip link set va address 02:77:00:00:00:0a mtu MTU up
        ip link set vb address 02:77:00:00:00:0b mtu MTU up
        exec "$@"
        """
            .replace("MTU", mtu);
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    Process p =
        new ProcessBuilder(
                "unshare",
                "--net",
                "bash",
                "-c",
                script,
                "bash",
                java,
                "-cp",
                System.getProperty("java.class.path"),
                WireProbe.class.getName(),
                wire.split(" ")[0],
                mtu,
                Boolean.toString(wire.endsWith("sealed")))
            .redirectErrorStream(true)
            .redirectOutput(said.toFile())
            .start();
    try {
      assertThat(p.waitFor(150, TimeUnit.SECONDS)).as(Files.readString(said)).isTrue();
      String output = Files.readString(said);
      System.out.print(wire + ": " + output);
      assertThat(output).contains("both streams are right").doesNotContain("wrong");
      return output;
    } finally {
      p.destroyForcibly();
    }
  }
}
