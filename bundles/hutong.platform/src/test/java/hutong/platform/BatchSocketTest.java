// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Batches over a veth pair in a network namespace of its own, in a JVM of its own. */
@Timeout(120)
class BatchSocketTest {
  @Test
  void shouldMoveManyDatagramsByOneCall() throws Exception {
    String network =
        """
        ip link set lo up
        ip link add va type veth peer name vb
        ip link set va address 02:77:00:00:00:0a
        ip link set vb address 02:77:00:00:00:0b
        ip link set va up
        ip link set vb up
        """;
    String output = Namespace.run(network, BatchSocketProbe.class);
    assertThat(output.lines())
        .containsExactly(
            "packet: 20 of 20 sent, in order, from the right address, 0 wrong",
            "packet: none to another type, none to its sender",
            "packet: too long is errno 90",
            "packet: 1 of 1 behind it, 1 refused",
            "packet: 1 of 1, 5 of 5 misdirected",
            "packet: 4000 of 4000 kept or lost, some lost, then 0",
            "packet: many wait, others are lost, then 10 of 10",
            "packet: one too long is 101 bytes",
            "packet: 1 of 1, 5 of 5 misdirected",
            "udp4: 40 bytes in 4 datagrams from 1 call, segment 10, 0 wrong",
            "udp6: 47 bytes in 5 datagrams from 1 call, segment 10, 0 wrong",
            "udp4: full after 32",
            "udp4: 32032 kept or lost, some lost, then 0",
            "udp4: one too long is 101 bytes",
            "allocated nothing");
  }
}
