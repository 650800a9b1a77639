// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

import java.util.Objects;

/**
 * Who speaks for a connection whose line an earlier agent, or an earlier version of the transport,
 * has left behind.
 *
 * @param number own channel number
 * @param cookie the socket's cookie
 * @param pid the process that uses the segment
 * @param bell number of the program's doorbell there
 * @param peerBell number of the agent's doorbell there
 * @param program see {@link LineSpec}
 */
public record LineOwner(
    int number, long cookie, int pid, int bell, int peerBell, LineProgram program) {
  /** Checks that somebody speaks. */
  public LineOwner {
    Objects.requireNonNull(program);
  }
}
