// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.platform.abi.Abi;

/** The word {@code turn} of a direction: round, state and the low half of an offset. */
final class Turn {
  private Turn() {}

  static long of(int round, int how, long offset) {
    return (long) (round & Abi.ROUND_MASK) << 34 | (long) how << 32 | (offset & 0xffff_ffffL);
  }

  static boolean is(long turn, int round, int how) {
    return turn >>> 32 == ((long) (round & Abi.ROUND_MASK) << 2 | how);
  }

  /** The offset with the word's low half that is nearest to a known one. */
  static long offset(long turn, long near) {
    return near + ((int) turn - (int) near);
  }

  /** The round after this one. */
  static int next(int round) {
    return round + 1 & Abi.ROUND_MASK;
  }
}
