// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** How fast it grows where nothing is lost any more (D4). */
class CongestionWindowTest {
  private static final long ROUND_NS = 8_000_000;
  private static final int WINDOWS = 30;

  /** Datagrams that are won in some windows, of which so much is spent at this end. */
  private static int growth(long roundTripNs, long hereNs) {
    CongestionWindow window = new CongestionWindow(FlowSettings.reference(1500).withWindow(256));
    for (int i = 0; i < 200; i++) {
      window.onAcknowledged(1, window.datagrams(), roundTripNs);
      window.spentHere(hereNs);
    }
    window.onLost(1, 1); // grows slowly from here on
    int before = window.datagrams();
    for (int i = 0; i < WINDOWS; i++) {
      window.onAcknowledged(window.datagrams(), window.datagrams(), roundTripNs);
    }
    return window.datagrams() - before;
  }

  @Test
  void growsAsTcpDoesHoweverLongTheNetworksQueueIs() {
    assertThat(growth(ROUND_NS, 0)).isBetween(14, 17);
    assertThat(growth(10 * ROUND_NS, 0)).isEqualTo(growth(ROUND_NS / 100, 0)).isBetween(14, 17);
  }

  @Test
  void growsFasterForTheTimeThatIsSpentHere() {
    assertThat(growth(ROUND_NS, ROUND_NS / 2)).isBetween(58, 65);
  }

  @Test
  void doesNotBelieveThatAllOfItWasSpentHere() {
    assertThat(growth(ROUND_NS, 2 * ROUND_NS)).isEqualTo(growth(ROUND_NS, ROUND_NS * 3 / 4));
  }

  @Test
  void growsWhenTheRoundTripIsNotKnown() {
    assertThat(growth(0, ROUND_NS)).isBetween(14, 17);
  }
}
