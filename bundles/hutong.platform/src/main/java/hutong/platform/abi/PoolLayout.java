// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/** The end pool of a process, {@code struct hut_pool}. */
public final class PoolLayout {
  /** 32 bits: HUT_POOL_MAGIC. */
  public static final int MAGIC = 0;

  /** 32 bits: HUT_ABI_VERSION. */
  public static final int VERSION = 4;

  /** 32 bits. */
  public static final int SLOTS = 8;

  /** 32 bits: high-water mark: slots at or above it were never used. */
  public static final int USED = 12;

  /** {@code struct hut_end}, 16383 of them. */
  public static final int END = 256;

  /** Bytes of the whole structure. */
  public static final int SIZE = 4194304;

  private PoolLayout() {}

  /**
   * Where a slot starts; its fields are those of {@link EndLayout}.
   *
   * @throws IndexOutOfBoundsException when the slot, perhaps a program's word, is none
   */
  public static int slot(int index) {
    return END + java.util.Objects.checkIndex(index, Abi.POOL_SLOTS) * EndLayout.SIZE;
  }
}
