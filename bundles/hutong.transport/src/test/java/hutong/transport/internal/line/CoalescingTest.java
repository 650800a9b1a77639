// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class CoalescingTest {
  private static final long DATAGRAM = 1_500;

  private final Coalescing coalescing = new Coalescing();
  private long now = -7_000_000_000L;

  /** So many datagrams, one after each `gapNs`; what the last of them would have to wait. */
  private long come(int datagrams, long gapNs) {
    long pause = 0;
    for (int i = 0; i < datagrams; i++) {
      now += gapNs;
      pause = coalescing.pauseNs(now);
      coalescing.taken(DATAGRAM, now);
    }
    return pause;
  }

  @Test
  void nothingWaitsAtFirst() {
    assertEquals(0, coalescing.pauseNs(now));
    assertEquals(0, come(1, 1_000));
  }

  @Test
  void bulkOfAGigabitWaitsForSeveralDatagrams() {
    assertEquals(Coalescing.LONGEST_NS, come(500, 12_000));
  }

  @Test
  void aMessageOfAFewDatagramsIsNotDelayed() {
    for (int i = 0; i < 100; i++) {
      assertEquals(0, come(11, 12_000)); // 16 KiB
      now += 400_000;
    }
  }

  @Test
  void theFirstDatagramAfterARestDoesNotWait() {
    come(500, 12_000);
    now += 2 * Coalescing.SPAN_NS;
    assertEquals(0, come(1, 1_000));
  }

  @Test
  void slowBulkDoesNotWait() {
    assertEquals(0, come(500, 40_000)); // 300 Mbit/s
  }

  @Test
  void theFasterTheShorterAndAtLastNotAtAll() {
    long gigabit = come(1_000, 12_000);
    long two = come(1_000, 6_000);
    assertTrue(two < gigabit && two >= Coalescing.SHORTEST_NS, two + " of " + gigabit);
    assertEquals(0, come(1_000, 3_000));
  }

  @Test
  void aWaitTakesNoMoreThanALook() {
    for (long gap = 2_500; gap < 40_000; gap += 500) {
      long pause = come(2_000, gap);
      long bytes = pause * DATAGRAM / gap;
      assertTrue(bytes <= Coalescing.LOOK_BYTES + DATAGRAM, gap + ": " + bytes);
    }
  }
}
