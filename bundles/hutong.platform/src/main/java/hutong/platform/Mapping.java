// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import java.nio.ByteBuffer;

/**
 * Mapped memory, in the byte order of the host. Offsets outside it are an {@link
 * IndexOutOfBoundsException}, uses after close an {@link IllegalStateException}. Safe for use by
 * several threads, also during {@link #close}. Volatile and atomic access need natural alignment.
 */
public interface Mapping extends AutoCloseable {
  /** Bytes mapped. */
  long size();

  /** Plain read. */
  int getInt(long offset);

  /** Plain write. */
  void putInt(long offset, int value);

  /** Plain read. */
  long getLong(long offset);

  /** Plain write. */
  void putLong(long offset, long value);

  /** Read with acquire, or stronger, order. */
  int getIntVolatile(long offset);

  /** Write with release, or stronger, order. */
  void putIntVolatile(long offset, int value);

  /** Read with acquire, or stronger, order. */
  long getLongVolatile(long offset);

  /** Write with release, or stronger, order. */
  void putLongVolatile(long offset, long value);

  /** Adds and gives the value before. */
  int getAndAddInt(long offset, int delta);

  /** Copies bytes out. */
  byte[] getBytes(long offset, int length);

  /** Copies bytes in. */
  void putBytes(long offset, byte[] bytes);

  /** The memory itself. It must not be touched after {@link #close}: that kills the JVM. */
  ByteBuffer buffer();

  /** Unmaps; idempotent. */
  @Override
  void close();
}
