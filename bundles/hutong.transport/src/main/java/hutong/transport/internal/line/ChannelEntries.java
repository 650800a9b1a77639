// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.transport.internal.datagram.Header;
import java.util.BitSet;
import java.util.random.RandomGenerator;

/**
 * Which entries of this host's channel table (H-chan) lines have. They are given out in turn: what
 * is still on its way to an entry is not to find another line there. One thread.
 */
final class ChannelEntries {
  /** The index has 16 bits, and 0 is no entry. */
  static final int MOST = 1 << 16;

  /** So many are given out before one comes again, unless more are in use. */
  static final int IN_TURN = 1 << 12;

  private final RandomGenerator random;
  private final BitSet used = new BitSet();
  private int last;

  ChannelEntries(RandomGenerator random) {
    this.random = random;
    this.last = random.nextInt(IN_TURN); // not those of before a restart
  }

  /** An entry with a new generation, as H-chan has it; 0 if none is left. */
  int reserve() {
    int index = used.nextClearBit(last + 1);
    if (index >= IN_TURN) {
      index = used.nextClearBit(1);
    }
    if (index >= MOST) {
      return 0;
    }
    last = index;
    used.set(index);
    return Header.channel(index, random.nextInt() & 0xffff);
  }

  /** The entry of that H-chan is an earlier agent's line's, which goes on. */
  void reserve(int channel) {
    used.set(Header.index(channel));
  }

  /** It is free again. */
  void release(int channel) {
    used.clear(Header.index(channel));
  }
}
