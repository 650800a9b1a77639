// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

import java.util.List;

/**
 * One entry of the channel table, for display.
 *
 * @param number own channel number: 16-bit index, 16-bit random generation above it (D4)
 * @param peerVm domain id of the peer's VM
 * @param peerName name of the peer's VM
 * @param peerMac MAC address of the peer's VM (M2.3)
 * @param peerNumber the peer's channel number, 0 while unknown
 * @param state what the channel is at, for example {@code SETUP}, {@code OPEN}, {@code CLOSING}
 * @param ringSize bytes of one ring
 * @param overflowSize bytes of one overflow area
 * @param bytesIn bytes that this end took from the rings
 * @param bytesOut bytes that this end put into the rings
 * @param pids the local processes that hold this end
 */
public record ChannelInfo(
    int number,
    int peerVm,
    String peerName,
    String peerMac,
    int peerNumber,
    String state,
    long ringSize,
    long overflowSize,
    long bytesIn,
    long bytesOut,
    List<Integer> pids) {
  /** Copies the process ids. */
  public ChannelInfo {
    pids = List.copyOf(pids);
  }
}
