// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

/**
 * How much of a VM's quota is used. One user gets at most half of each.
 *
 * @param channels channels with a segment now
 * @param maxChannels how many there may be
 * @param bytes their nominal size
 * @param maxBytes how much it may be
 */
public record Usage(int channels, int maxChannels, long bytes, long maxBytes) {
  /** Whether one more segment of that size fits. */
  public boolean fits(long more) {
    return channels < maxChannels && bytes + more <= maxBytes;
  }
}
