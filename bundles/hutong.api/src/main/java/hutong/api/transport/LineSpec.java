// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

import hutong.api.link.PeerId;
import java.util.Objects;
import java.util.function.LongSupplier;
import java.util.function.Supplier;

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
 * @param socket what the kernel says of the socket (rule 17); called on the transport's thread,
 *     must return soon
 * @param sentByTcp bytes that the program has sent by TCP; called on the transport's thread
 */
public record LineSpec(
    PeerId peer,
    int number,
    int peerNumber,
    long peerMac,
    byte[] localAddress,
    byte[] peerAddress,
    long cookie,
    Supplier<Holding> socket,
    LongSupplier sentByTcp) {
  /** Copies the addresses. */
  public LineSpec {
    Objects.requireNonNull(peer);
    Objects.requireNonNull(socket);
    Objects.requireNonNull(sentByTcp);
    localAddress = localAddress.clone();
    peerAddress = peerAddress.clone();
  }
}
