// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import com.kenai.jffi.MemoryIO;
import hutong.platform.Mapping;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * A mapping. All access is synchronized, so that a display thread that comes too late gets an
 * exception where it would otherwise touch unmapped memory and kill the JVM; the control path can
 * afford it.
 */
final class MappedMemory implements Mapping {
  private static final VarHandle INT =
      MethodHandles.byteBufferViewVarHandle(int[].class, ByteOrder.nativeOrder());
  private static final VarHandle LONG =
      MethodHandles.byteBufferViewVarHandle(long[].class, ByteOrder.nativeOrder());

  private final long address;
  private final int size;
  private final boolean writable;
  private ByteBuffer memory;

  MappedMemory(long address, int size, boolean writable) {
    this.address = address;
    this.size = size;
    this.writable = writable;
    this.memory =
        MemoryIO.getInstance().newDirectByteBuffer(address, size).order(ByteOrder.nativeOrder());
  }

  @Override
  public long size() {
    return size;
  }

  @Override
  public synchronized int getInt(long offset) {
    return open().getInt(index(offset));
  }

  @Override
  public synchronized void putInt(long offset, int value) {
    toWrite().putInt(index(offset), value);
  }

  @Override
  public synchronized long getLong(long offset) {
    return open().getLong(index(offset));
  }

  @Override
  public synchronized void putLong(long offset, long value) {
    toWrite().putLong(index(offset), value);
  }

  @Override
  public synchronized int getIntVolatile(long offset) {
    return (int) INT.getVolatile(open(), index(offset));
  }

  @Override
  public synchronized void putIntVolatile(long offset, int value) {
    INT.setVolatile(toWrite(), index(offset), value);
  }

  @Override
  public synchronized long getLongVolatile(long offset) {
    return (long) LONG.getVolatile(open(), index(offset));
  }

  @Override
  public synchronized void putLongVolatile(long offset, long value) {
    LONG.setVolatile(toWrite(), index(offset), value);
  }

  @Override
  public synchronized int getAndAddInt(long offset, int delta) {
    return (int) INT.getAndAdd(toWrite(), index(offset), delta);
  }

  @Override
  public synchronized byte[] getBytes(long offset, int length) {
    byte[] out = new byte[length];
    open().get(index(offset), out);
    return out;
  }

  @Override
  public synchronized void putBytes(long offset, byte[] bytes) {
    toWrite().put(index(offset), bytes);
  }

  @Override
  public synchronized ByteBuffer buffer() {
    ByteBuffer b = open();
    return (writable ? b.duplicate() : b.asReadOnlyBuffer()).order(ByteOrder.nativeOrder());
  }

  @Override
  public synchronized void close() {
    if (memory != null) {
      memory = null;
      LibC.INSTANCE.munmap(address, size);
    }
  }

  private ByteBuffer open() {
    if (memory == null) {
      throw new IllegalStateException("the memory is not mapped any more");
    }
    return memory;
  }

  /** Writing to a read-only mapping would kill the JVM. */
  private ByteBuffer toWrite() {
    if (!writable) {
      throw new java.nio.ReadOnlyBufferException();
    }
    return open();
  }

  private static int index(long offset) {
    if (offset < 0 || offset > Integer.MAX_VALUE) {
      throw new IndexOutOfBoundsException("offset " + offset);
    }
    return (int) offset;
  }
}
