// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * What a flow tells its owner. Called on the flow's thread from within {@link Flow#receive} and
 * {@link Flow#produce}; must not call the flow, and should only note what happened.
 */
public interface FlowListener {
  /** Why {@link #wireFailed} was called. */
  enum WireFailure {
    /** Full-size probes were not answered (D5). */
    PROBES,
    /** Nothing that was sent is acknowledged any more. */
    SILENCE
  }

  /** All full-size probes were answered: data goes out now (D5). */
  void probed();

  /** The peer's stream ends at that offset, and all before it is published (rule 17). */
  void ended(long offset);

  /** The peer has this stream's END and all bytes before it (rule 17). */
  void endDelivered(long offset);

  /** The peer has all bytes before the offset given to {@link Flow#leaveSending} (D5). */
  void sendingLeft(long offset);

  /** All bytes before the offset given to {@link Flow#leaveReceiving} are published (D5). */
  void receivingLeft(long offset);

  /**
   * A new epoch holds from now on. Its values must be in the agent page before the next datagram
   * goes out, that is, before what {@link Flow#produce} wrote is sent.
   *
   * @param localChannel H-chan of this end, with its new generation
   * @param peerChannel H-chan of the peer's end, with its new generation
   */
  void resumed(int epoch, int localChannel, int peerChannel);

  /**
   * The wire no longer answers. Said once until it answers again; no byte is lost, and the flow
   * goes on trying with its longest waits.
   */
  void wireFailed(WireFailure failure);
}
