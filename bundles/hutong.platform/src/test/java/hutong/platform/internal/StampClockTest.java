// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Instant;
import org.junit.jupiter.api.Test;

class StampClockTest {
  private static final long SECOND_NS = 1_000_000_000;

  private final StampClock clock = new StampClock();

  private long since(long stampNs, long now) {
    return clock.sinceNs((int) (stampNs / SECOND_NS), (int) (stampNs % SECOND_NS), now);
  }

  @Test
  void tellsTheAge() {
    long wall = 3_000_000_000L * SECOND_NS + 999_999_990; // seconds past 2038
    clock.look(wall, 500);
    assertThat(since(wall, 500)).isZero();
    assertThat(since(wall + 20, 1_000_520)).isEqualTo(1_000_000);
  }

  @Test
  void keepsWithinBoundsWhenTheClockIsSet() {
    long wall = 1_000 * SECOND_NS;
    clock.look(wall, 500);
    assertThat(since(wall + 3600 * SECOND_NS, 600)).isZero();
    assertThat(since(wall - 500 * SECOND_NS, 600)).isEqualTo(StampClock.OLDEST_NS);
  }

  @Test
  void looksAtTheWallClockItself() {
    long now = System.nanoTime();
    Instant wall = Instant.now();
    long age = clock.sinceNs((int) wall.getEpochSecond(), wall.getNano(), now + 5_000_000_000L);
    assertThat(age).isBetween(0L, StampClock.OLDEST_NS);
  }
}
