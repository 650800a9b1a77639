// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

import hutong.api.intercept.Reason;
import hutong.api.link.PeerId;

/**
 * A line, for display.
 *
 * @param number own channel number
 * @param peer the other VM
 * @param wire {@code ethernet} or {@code udp}
 * @param sends what the outgoing direction is at, for example {@code TCP}, {@code LIGHT}
 * @param receives what the incoming direction is at
 * @param reason see {@link Line#reason}
 * @param bytesOut bytes of this end that the peer's program has taken from its ring
 * @param bytesIn bytes that this end's program was given
 * @param datagramsOut datagrams sent
 * @param datagramsIn datagrams taken
 * @param resent datagrams sent again
 * @param dropped datagrams that were received and not taken
 */
public record LineInfo(
    int number,
    PeerId peer,
    String wire,
    String sends,
    String receives,
    Reason reason,
    long bytesOut,
    long bytesIn,
    long datagramsOut,
    long datagramsIn,
    long resent,
    long dropped) {}
