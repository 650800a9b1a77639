// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Packet sockets, over a veth pair in a network namespace of its own, in a JVM of its own. */
@Timeout(120)
class PacketTest {
  @Test
  void shouldExchangeFrames() throws Exception {
    String network =
        """
        ip link add va type veth peer name vb
        ip link set va address 02:77:00:00:00:0a
        ip link set vb address 02:77:00:00:00:0b mtu 1400
        ip link set va up
        ip link set vb up
        """;
    String output = Namespace.run(network, PacketProbe.class);
    assertThat(output.lines())
        .containsExactly(
            "b has MTU 1400 and MAC 02:77:00:00:00:0b",
            "b got 3 bytes [1, 2, 3] from 02:77:00:00:00:0a, type 1",
            "a got 1400 bytes from 02:77:00:00:00:0b, type 0",
            "b cut to 5 bytes",
            "too long: errno 90",
            "nothing more",
            "down: true");
  }
}
