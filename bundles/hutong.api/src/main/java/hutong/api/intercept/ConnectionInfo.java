// SPDX-License-Identifier: Apache-2.0
package hutong.api.intercept;

/**
 * One end of an intercepted connection, for display.
 *
 * @param pid the process that owns the end
 * @param program its name
 * @param uid its user id
 * @param local own address and port
 * @param remote the peer's address and port
 * @param path the path: {@code RING}, {@code LIGHT} (between hosts), {@code TCP}, or {@code
 *     SWITCHING} while its two directions are on different ones
 * @param far whether the peer is on another host: what went over the ring went by the light
 *     protocol then
 * @param reason why it is on TCP, or a direction of it; {@link Reason#NONE} if none is
 * @param channel own channel number, 0 without a channel
 * @param tcpIn bytes received over TCP
 * @param tcpOut bytes sent over TCP
 * @param ringIn bytes received over the ring
 * @param ringOut bytes sent over the ring
 * @param state the end's state, for example {@code CHANNEL}
 */
public record ConnectionInfo(
    int pid,
    String program,
    int uid,
    String local,
    String remote,
    String path,
    boolean far,
    Reason reason,
    int channel,
    long tcpIn,
    long tcpOut,
    long ringIn,
    long ringOut,
    String state) {
  /** Whether both directions have left TCP. */
  public boolean accelerated() {
    return path.equals("RING") || path.equals("LIGHT");
  }
}
