// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.ChannelUse;
import java.util.List;

/**
 * The use of a channel, as the program's end pool has it; nothing once the program is gone.
 *
 * @param pool the program's pool
 * @param slot the end's slot
 * @param pid the program
 */
record SlotUse(EndPool pool, int slot, int pid) implements ChannelUse {
  @Override
  public long bytesIn() {
    try {
      return pool.slot(slot).ringIn();
    } catch (IllegalStateException e) {
      return 0;
    }
  }

  @Override
  public long bytesOut() {
    try {
      return pool.slot(slot).ringOut();
    } catch (IllegalStateException e) {
      return 0;
    }
  }

  @Override
  public List<Integer> pids() {
    return List.of(pid);
  }
}
