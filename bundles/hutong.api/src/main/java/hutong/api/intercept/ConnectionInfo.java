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
 * @param path the path: {@code RING}, {@code TCP} or {@code SWITCHING}
 * @param reason why it is on TCP, {@link Reason#NONE} on the ring
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
    Reason reason,
    int channel,
    long tcpIn,
    long tcpOut,
    long ringIn,
    long ringOut,
    String state) {}
