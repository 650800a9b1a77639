// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.transport.internal.engine.FlowListener;

/** Notes what a flow tells until its owner looks. */
final class FlowNotes implements FlowListener {
  boolean probed;
  boolean ended;
  long endedAt;
  WireFailure failure;
  boolean resumed;

  @Override
  public void probed() {
    probed = true;
  }

  @Override
  public void ended(long offset) {
    ended = true;
    endedAt = offset;
  }

  @Override
  public void endDelivered(long offset) {}

  @Override
  public void sendingLeft(long offset) {}

  @Override
  public void receivingLeft(long offset) {}

  @Override
  public void resumed(int epoch, int localChannel, int peerChannel) {
    resumed = true;
  }

  @Override
  public void wireFailed(WireFailure why) {
    failure = why;
  }
}
