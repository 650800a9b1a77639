// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

/** Rule 21 against the kernel. Needs root. */
class RouteCheckTest {
  private final RouteCheck routes = new RouteCheck();

  private boolean tunnelled(String address) {
    return routes.tunnelled(Address.parse(address));
  }

  /** Runs ip(8); false if this kernel has no such thing. */
  private static boolean ip(String command) throws Exception {
    return new ProcessBuilder(command.split(" ")).inheritIO().start().waitFor() == 0;
  }

  @Test
  void plainRoutesAreNoTunnels() throws Exception {
    NetNs.run(
        TwoVms.ADDRESSES,
        () -> {
          assertThat(tunnelled(TwoVms.VM2)).isFalse();
          assertThat(tunnelled(TwoVms.VM2_V6)).isFalse();
          assertThat(tunnelled("192.0.2.1")).as("no route").isTrue();
        });
  }

  @Test
  void aTunDeviceIsATunnel() throws Exception {
    NetNs.run(
        TwoVms.ADDRESSES,
        () -> {
          assumeTrue(ip("ip tuntap add dev tun9 mode tun"), "a kernel with tun devices");
          assertThat(ip("ip addr add 10.98.0.1/24 dev tun9") && ip("ip link set tun9 up")).isTrue();
          assertThat(tunnelled("10.98.0.7")).isTrue();
          assertThat(tunnelled(TwoVms.VM2)).isFalse();
        });
  }

  @Test
  void anXfrmPolicyKeepsConnectionsOnTcp() throws Exception {
    NetNs.run(
        TwoVms.ADDRESSES,
        () -> {
          String policy = "src " + TwoVms.VM1 + "/32 dst " + TwoVms.VM2 + "/32 dir out";
          boolean added = ip("ip xfrm policy add " + policy + " tmpl proto esp mode transport");
          assumeTrue(added, "a kernel with XFRM");
          assertThat(tunnelled(TwoVms.VM2)).isTrue();
          assertThat(ip("ip xfrm policy delete " + policy)).isTrue();
          assertThat(tunnelled(TwoVms.VM2)).isFalse();
        });
  }

  @Test
  void addressesAreTheSameInEveryForm() {
    assertThat(Address.parse("::ffff:10.0.0.1")).isEqualTo(Address.parse("10.0.0.1"));
    assertThat(Address.parse("10.0.0.1")).hasToString("10.0.0.1");
    assertThat(Address.parse("fd77::1")).hasToString("fd77:0:0:0:0:0:0:1");
    assertThat(List.of(Address.parse("127.3.2.1").loopback(), Address.parse("::1").loopback()))
        .containsOnly(true);
    assertThat(Address.parse("10.127.0.1").loopback()).isFalse();
    for (String bad : List.of("host", "1.2.3", "1.2.3.4.5", "fe80::1%eth0", "", "12:zz::")) {
      org.assertj.core.api.Assertions.assertThatThrownBy(() -> Address.parse(bad))
          .as(bad)
          .isInstanceOf(IllegalArgumentException.class);
    }
  }
}
