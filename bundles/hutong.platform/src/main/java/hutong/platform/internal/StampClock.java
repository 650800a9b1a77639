// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import java.time.Instant;

/**
 * Tells how long ago a time stamp of the kernel was, which is of the wall clock (CLOCK_REALTIME).
 * That clock is looked at once a second: a look allocates. One that is set in between makes ages
 * wrong for so long, and they are kept within bounds. One thread.
 */
final class StampClock {
  private static final long LOOK_AGAIN_NS = 1_000_000_000;
  private static final long SECOND_NS = 1_000_000_000;

  /** An older stamp says that the clock was set. */
  static final long OLDEST_NS = 250_000_000;

  private long lookedAt;
  private long aheadNs;
  private boolean looked;

  /**
   * The age of a stamp in nanoseconds, 0 to {@link #OLDEST_NS}.
   *
   * @param seconds its lower 32 bits
   * @param nanoseconds of the second
   * @param now {@link System#nanoTime}
   */
  long sinceNs(int seconds, int nanoseconds, long now) {
    if (!looked || now - lookedAt >= LOOK_AGAIN_NS) {
      Instant wall = Instant.now();
      // After the look, which may take long: an age too small does no harm, unlike one too large.
      look(wall.getEpochSecond() * SECOND_NS + wall.getNano(), System.nanoTime());
    }
    long stamp = (seconds & 0xffffffffL) * SECOND_NS + nanoseconds;
    return Math.max(0, Math.min(now + aheadNs - stamp, OLDEST_NS));
  }

  /** What the wall clock says now. */
  void look(long wallNs, long now) {
    looked = true;
    lookedAt = now;
    aheadNs = wallNs - now;
  }
}
