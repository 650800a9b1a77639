// SPDX-License-Identifier: Apache-2.0
package hutong.api.intercept;

/**
 * Why one connection is on which path.
 *
 * @param pid the process
 * @param program its name
 * @param uid its user
 * @param fd the descriptor
 * @param kind {@code TCP} for a TCP socket, else what the descriptor is
 * @param local own address and port; null if it is no connected TCP socket
 * @param remote the peer's address and port; likewise null
 * @param peerVm name of the member that has the peer's address; null if none has
 * @param shim whether the shim is loaded in the process
 * @param state the end's state, for example {@code CHANNEL}; {@code NONE} if the agent does not
 *     know it
 * @param path see {@link ConnectionInfo}
 * @param accelerated whether both directions have left TCP
 * @param reason why it is on TCP
 * @param tcpIn bytes received over TCP, as far as the shim counted them
 * @param tcpOut bytes sent over TCP, likewise
 * @param ringIn bytes received over the ring
 * @param ringOut bytes sent over the ring
 * @param summary one sentence: what is the case
 * @param advice one sentence: what is needed for it to leave TCP; empty if it has
 */
public record WhyInfo(
    int pid,
    String program,
    int uid,
    int fd,
    String kind,
    String local,
    String remote,
    String peerVm,
    boolean shim,
    String state,
    String path,
    boolean accelerated,
    Reason reason,
    long tcpIn,
    long tcpOut,
    long ringIn,
    long ringOut,
    String summary,
    String advice) {}
