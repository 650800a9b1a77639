// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.engine.FlowListener.WireFailure;

/** Tells the listener what has become true, each thing once (rule 17, D5). */
final class Reporter {
  private final FlowListener listener;
  private final Sender sender;
  private final Receiver receiver;
  private final Ending ending;
  private boolean ended;
  private boolean endDelivered;
  private boolean silent;
  private long leavesSendingAt = Sender.NEVER;
  private long leavesReceivingAt = Sender.NEVER;

  Reporter(FlowListener listener, Sender sender, Receiver receiver, Ending ending) {
    this.listener = listener;
    this.sender = sender;
    this.receiver = receiver;
    this.ending = ending;
  }

  void leavesSending(long offset) {
    leavesSendingAt = offset;
  }

  void leavesReceiving(long offset) {
    leavesReceivingAt = offset;
  }

  /** Looks at both streams; what arrived must have been published. */
  void streams() {
    if (!ended && receiver.ended()) {
      ended = true;
      listener.ended(receiver.endOfStream());
    }
    if (!endDelivered && ending.known() && sender.acknowledged() >= ending.offset()) {
      endDelivered = true;
      listener.endDelivered(ending.offset());
    }
    if (leavesSendingAt != Sender.NEVER && sender.acknowledged() >= leavesSendingAt) {
      long offset = leavesSendingAt;
      leavesSendingAt = Sender.NEVER;
      listener.sendingLeft(offset);
    }
    if (leavesReceivingAt != Sender.NEVER && receiver.left()) {
      long offset = leavesReceivingAt;
      leavesReceivingAt = Sender.NEVER;
      listener.receivingLeft(offset);
    }
  }

  /** Looks at the wire, which counts as silent from that time on. */
  void wire(long silentAt, long now) {
    if (now < silentAt) {
      silent = false;
    } else if (!silent) {
      silent = true;
      listener.wireFailed(WireFailure.SILENCE);
    }
  }

  /** Whether the wire's silence has been told. */
  boolean silent() {
    return silent;
  }
}
