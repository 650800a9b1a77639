// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.os.Fd;
import hutong.platform.Mapping;

/**
 * What a line holds of the operating system.
 *
 * @param memory its segment
 * @param inode of the segment
 * @param ringSize bytes of one of its rings
 * @param overSize bytes of one of its overflows
 * @param bell the agent's doorbell, which the program rings
 * @param programBell the program's
 */
record Held(Mapping memory, long inode, int ringSize, int overSize, Fd bell, Fd programBell)
    implements AutoCloseable {
  @Override
  public void close() {
    bell.close();
    programBell.close();
    memory.close();
  }
}
