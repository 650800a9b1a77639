// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

import hutong.api.link.PeerId;
import java.util.Objects;

/**
 * What the agents know of a connection when both ends are registered.
 *
 * @param peer the other VM
 * @param number own channel number, never 0
 * @param peerNumber the peer's channel number
 * @param peerMac the MAC address of the peer's VM, 48 bits in the low end
 * @param localAddress IP address of this end, 4 or 16 bytes
 * @param peerAddress IP address of the other end, 4 or 16 bytes
 * @param cookie the socket's cookie
 * @param program what can be found out about, and done for, the program
 */
public record LineSpec(
    PeerId peer,
    int number,
    int peerNumber,
    long peerMac,
    byte[] localAddress,
    byte[] peerAddress,
    long cookie,
    LineProgram program) {
  /** Copies the addresses. */
  public LineSpec {
    Objects.requireNonNull(peer);
    Objects.requireNonNull(program);
    localAddress = localAddress.clone();
    peerAddress = peerAddress.clone();
  }
}
