// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

/**
 * How long to leave what comes on a wire where it is, so that one look takes several datagrams: the
 * interrupt coalescing of a network card, in our place. A program that reads a stream sleeps again
 * after each few datagrams, and the agent before it; two wake-ups, a bell and a pass through the
 * kernel then cost more than the datagrams themselves. Waits only where much comes all the time,
 * and never for longer than a part of what is under way on such a wire: a short exchange is not
 * delayed, a fast wire fills its looks by itself. Times in nanoseconds. One thread.
 */
final class Coalescing {
  /** The rate is that of the last span of so long. */
  static final long SPAN_NS = 1_000_000;

  /** Bytes in a span below which nothing waits: 400 Mbit/s. */
  static final long LEAST_BYTES = 50_000;

  /** Bytes that are worth a look: a sixteenth of the largest W. */
  static final long LOOK_BYTES = 24_000;

  /** A shorter wait costs as much as it saves. */
  static final long SHORTEST_NS = 60_000;

  /** At 1 Gbit/s a twentieth of what the largest W holds. */
  static final long LONGEST_NS = 150_000;

  private long spanAt;
  private long inSpan;
  private long inLast;

  /** So much was taken. */
  void taken(long bytes, long now) {
    roll(now);
    inSpan += bytes;
  }

  /** How long to wait before the next look; 0 for not at all. */
  long pauseNs(long now) {
    roll(now);
    long rate = Math.max(inLast, inSpan);
    if (rate < LEAST_BYTES) {
      return 0;
    }
    long ns = LOOK_BYTES * SPAN_NS / rate;
    return ns < SHORTEST_NS ? 0 : Math.min(ns, LONGEST_NS);
  }

  private void roll(long now) {
    long passed = now - spanAt;
    if (passed >= SPAN_NS || passed < 0) { // the clock begins anywhere
      inLast = passed >= 0 && passed < 2 * SPAN_NS ? inSpan * SPAN_NS / passed : 0;
      inSpan = 0;
      spanAt = now;
    }
  }
}
