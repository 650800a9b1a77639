// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Ordered access to the shared words of a segment. */
final class Words {
  private static final VarHandle INT =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());
  private static final VarHandle LONG =
      MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.nativeOrder());

  private Words() {}

  static int getInt(ByteBuffer memory, int at) {
    return (int) INT.getAcquire(memory, at);
  }

  static void putInt(ByteBuffer memory, int at, int value) {
    INT.setRelease(memory, at, value);
  }

  static long getLong(ByteBuffer memory, int at) {
    return (long) LONG.getAcquire(memory, at);
  }

  static void putLong(ByteBuffer memory, int at, long value) {
    LONG.setRelease(memory, at, value);
  }

  static boolean compareAndSet(ByteBuffer memory, int at, long expected, long value) {
    return LONG.compareAndSet(memory, at, expected, value);
  }

  static int getAndSet(ByteBuffer memory, int at, int value) {
    return (int) INT.getAndSet(memory, at, value);
  }

  static int getAndClear(ByteBuffer memory, int at, int bits) {
    return (int) INT.getAndBitwiseAnd(memory, at, ~bits);
  }

  static int getAndOr(ByteBuffer memory, int at, int bits) {
    return (int) INT.getAndBitwiseOr(memory, at, bits);
  }
}
