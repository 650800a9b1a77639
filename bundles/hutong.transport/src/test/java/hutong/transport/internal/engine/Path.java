// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import java.util.random.RandomGenerator;

/** One direction of a simulated wire: what becomes of each datagram. Times in nanoseconds. */
final class Path {
  double loss;
  double duplication;
  double reordering;
  double corruption;
  long delayNs = 20_000;
  long blackFrom = Long.MAX_VALUE;
  long blackUntil = Long.MAX_VALUE;

  /** 0 for no limit. */
  long bitsPerSecond;

  /** Bytes that each datagram costs besides its own. */
  int framing = 38;

  int queueLimit = Integer.MAX_VALUE;

  /** Larger ones vanish. */
  int mtu = Integer.MAX_VALUE;

  long dropped;
  private long freeAt;

  boolean loses(RandomGenerator random, int size, long now) {
    boolean lost = size > mtu || now >= blackFrom && now < blackUntil || random.nextDouble() < loss;
    if (lost) {
      dropped++;
    }
    return lost;
  }

  /** When a datagram arrives, or -1 when the queue is full. */
  long arrival(RandomGenerator random, int size, long now) {
    long left = now;
    if (bitsPerSecond != 0) {
      long each = (size + framing) * 8 * 1_000_000_000L / bitsPerSecond;
      long start = Math.max(now, freeAt);
      if ((start - now) / Math.max(1, each) >= queueLimit) {
        dropped++;
        return -1;
      }
      freeAt = start + each;
      left = freeAt;
    }
    long extra = random.nextDouble() < reordering ? random.nextLong(10 * delayNs + 1) : 0;
    return left + delayNs + extra;
  }
}
