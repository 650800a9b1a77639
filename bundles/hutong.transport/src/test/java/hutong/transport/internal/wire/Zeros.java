// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.wire;

import hutong.transport.internal.datagram.Seal;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowListener;
import hutong.transport.internal.engine.FlowSettings;
import hutong.transport.internal.engine.FlowStart;
import hutong.transport.internal.engine.ReceiveBuffer;
import hutong.transport.internal.engine.SendBuffer;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.Random;

/** A program that has written a million zeros, and whose peer takes all of them. */
public final class Zeros implements SendBuffer {
  private static final int BYTES = 1_000_000;

  /** Its flow, which sends without probing. */
  public static Flow flow(
      int maxDatagram, int channel, ReceiveBuffer in, FlowListener listener, long now) {
    return Flow.open(
        FlowSettings.reference(maxDatagram).withoutProbes(),
        new FlowStart(0, channel, channel, 1, 1, 64, 1, 0, BYTES, 0),
        new Zeros(),
        in,
        listener,
        new Seal(null, null),
        new Random(1),
        now);
  }

  /** Somebody who is told things and does nothing; his numbers are 0. */
  static <T> T none(Class<T> type) {
    return type.cast(
        Proxy.newProxyInstance(
            type.getClassLoader(),
            new Class<?>[] {type},
            (self, method, arguments) -> method.getReturnType() == long.class ? 0L : null));
  }

  @Override
  public long end() {
    return BYTES;
  }

  @Override
  public long capacity() {
    return BYTES;
  }

  @Override
  public void copy(long offset, int length, ByteBuffer target) {
    target.put(new byte[length]);
  }

  @Override
  public void consumedByPeer(long offset) {}
}
