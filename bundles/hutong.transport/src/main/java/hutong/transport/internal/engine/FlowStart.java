// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * Where a flow begins: what the agents exchanged at set-up (M2.3), or, after a restart, what the
 * agent page and the segment hold.
 *
 * @param epoch the epoch; 0 at set-up
 * @param localChannel H-chan of this end: index and random generation
 * @param peerChannel H-chan of the peer's end
 * @param firstSendSequence first H-seq of this end, random
 * @param firstReceiveSequence first H-seq of the peer
 * @param peerWindow the peer's W
 * @param peerCapacity size of the peer's send buffer in bytes; decides how soon it must hear that
 *     its bytes were consumed
 * @param sendOffset first stream offset to send; all before it are consumed by the peer's program,
 *     or were sent on another path
 * @param peerRoom stream offset up to which the peer has room
 * @param receiveOffset first stream offset to be received
 */
public record FlowStart(
    int epoch,
    int localChannel,
    int peerChannel,
    int firstSendSequence,
    int firstReceiveSequence,
    int peerWindow,
    long peerCapacity,
    long sendOffset,
    long peerRoom,
    long receiveOffset) {
  /** Checks what a peer could have got wrong. */
  public FlowStart {
    if (peerWindow < FlowSettings.LEAST_WINDOW || peerWindow > FlowSettings.MOST_WINDOW) {
      throw new IllegalArgumentException("a peer's window of " + peerWindow);
    }
    if (sendOffset < 0 || receiveOffset < 0 || peerCapacity < 1) {
      throw new IllegalArgumentException("negative offsets or no capacity");
    }
    if (peerRoom - sendOffset < 0 || peerRoom - sendOffset > MOST_BYTES) {
      throw new IllegalArgumentException("a peer's room of " + (peerRoom - sendOffset) + " bytes");
    }
  }

  /** Most bytes of a buffer, so that less than 2^31 are in flight (D4). */
  public static final long MOST_BYTES = 1 << 30;
}
