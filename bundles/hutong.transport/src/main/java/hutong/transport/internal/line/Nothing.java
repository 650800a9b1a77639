// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.transport.internal.engine.ReceiveBuffer;
import hutong.transport.internal.engine.SendBuffer;
import java.nio.ByteBuffer;

/** The direction that a flow of one direction does not use: nothing to send, no room. */
final class Nothing implements SendBuffer, ReceiveBuffer {
  static final Nothing HERE = new Nothing();

  private Nothing() {}

  @Override
  public long end() {
    return 0;
  }

  @Override
  public long capacity() {
    return 1;
  }

  @Override
  public void copy(long offset, int length, ByteBuffer target) {
    throw new IllegalStateException("there is nothing to send");
  }

  @Override
  public void consumedByPeer(long offset) {}

  @Override
  public long consumed() {
    return 0;
  }

  @Override
  public long size() {
    return 0; // data that a peer sends all the same is outside the room
  }

  @Override
  public void put(long offset, ByteBuffer source) {
    throw new Hostile("data in a direction that carries none");
  }

  @Override
  public void publish(long end) {}
}
