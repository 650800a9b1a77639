// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import jnr.ffi.Memory;
import jnr.ffi.Pointer;

/**
 * A thread's own native memory for arguments of system calls; grows to the largest size asked for.
 */
final class Scratch {
  private static final int START = 4096;
  private static final ThreadLocal<Scratch> OF_THREAD = ThreadLocal.withInitial(Scratch::new);

  private Pointer memory = Memory.allocateDirect(LibC.RUNTIME, START, true);

  private Scratch() {}

  /**
   * At least that many bytes, with the leading {@code zeroed} ones zero; valid until the thread's
   * next call.
   */
  static Pointer get(long size, long zeroed) {
    Scratch s = OF_THREAD.get();
    if (s.memory.size() < size) {
      s.memory = Memory.allocateDirect(LibC.RUNTIME, (int) size, false);
    }
    s.memory.setMemory(0, zeroed, (byte) 0);
    return s.memory;
  }

  /** That many zeroed bytes. */
  static Pointer get(long size) {
    return get(size, size);
  }
}
