// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

import java.util.Optional;

/**
 * A VM's channel table (M1.2). A number is a 16-bit index with a random 16-bit generation above it,
 * so that a message about a channel of the past meets no channel of the present (D4). Safe for use
 * by several threads.
 *
 * <p>Numbers are cheap and limited only by the index; channels and the nominal size of their
 * segments are charged to the VM's quota when a segment is set up. One user gets at most half of
 * each, so that nobody can use up all.
 */
public interface ChannelTable {
  /**
   * Reserves a number for a registered end.
   *
   * @param uid the user whose program registers
   * @param peerVm the peer's domain id
   * @return the entry, or nothing if the user has or the VM has no number left
   */
  Optional<Channel> reserve(int uid, int peerVm);

  /**
   * Takes over a channel that programs still use after a restart of their agent. It is charged even
   * beyond the quota: the memory is in use.
   *
   * @param number its number
   * @param uid the user whose program holds it
   * @param ringSize bytes of one ring
   * @param overSize bytes of one overflow
   * @return the entry, or nothing if the number's index is in use
   */
  Optional<Channel> adopt(int number, int uid, int ringSize, int overSize);

  /** How much of the VM's quota is used now. */
  Usage usage();
}
