// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import java.util.ArrayList;
import java.util.List;

/** A listener that writes down what it is told. */
class Notes implements FlowListener {
  final List<String> said = new ArrayList<>();
  long ended = -1;
  long endDelivered = -1;
  int failures;

  @Override
  public void probed() {
    said.add("probed");
  }

  @Override
  public void ended(long offset) {
    said.add("ended " + offset);
    ended = offset;
  }

  @Override
  public void endDelivered(long offset) {
    said.add("endDelivered " + offset);
    endDelivered = offset;
  }

  @Override
  public void sendingLeft(long offset) {
    said.add("sendingLeft " + offset);
  }

  @Override
  public void receivingLeft(long offset) {
    said.add("receivingLeft " + offset);
  }

  @Override
  public void resumed(int epoch, int localChannel, int peerChannel) {
    said.add("resumed " + epoch);
  }

  @Override
  public void wireFailed(WireFailure failure) {
    said.add("wireFailed " + failure);
    failures++;
  }
}
