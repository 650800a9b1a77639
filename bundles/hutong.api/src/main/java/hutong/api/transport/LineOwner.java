// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

import java.util.Objects;
import java.util.function.LongSupplier;
import java.util.function.Supplier;

/**
 * Who speaks for a connection whose line an earlier agent, or an earlier version of the transport,
 * has left behind.
 *
 * @param number own channel number
 * @param cookie the socket's cookie
 * @param pid the process that uses the segment
 * @param bell number of the program's doorbell there
 * @param peerBell number of the agent's doorbell there
 * @param socket see {@link LineSpec}
 * @param sentByTcp see {@link LineSpec}
 */
public record LineOwner(
    int number,
    long cookie,
    int pid,
    int bell,
    int peerBell,
    Supplier<Holding> socket,
    LongSupplier sentByTcp) {
  /** Checks that somebody speaks. */
  public LineOwner {
    Objects.requireNonNull(socket);
    Objects.requireNonNull(sentByTcp);
  }
}
