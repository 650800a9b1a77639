// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/** The header of a segment, {@code struct hut_segment}. */
public final class SegmentLayout {
  /** 32 bits: HUT_SEG_MAGIC. */
  public static final int MAGIC = 0;

  /** 32 bits: HUT_ABI_VERSION. */
  public static final int VERSION = 4;

  /** 32 bits. */
  public static final int RING_SIZE = 8;

  /** 32 bits. */
  public static final int OVER_SIZE = 12;

  /** {@code struct hut_dir}, 2 of them: at 128; dir[i] is produced by end i. */
  public static final int DIR = 128;

  /** Bytes of the whole structure. */
  public static final int SIZE = 640;

  private SegmentLayout() {}

  /** Where a direction starts (0 or 1); its fields are those of {@link DirLayout}. */
  public static int dir(int index) {
    return DIR + java.util.Objects.checkIndex(index, 2) * DirLayout.SIZE;
  }

  /** Bytes of a whole segment: header page, two rings, two overflow areas. */
  public static long segmentSize(long ringSize, long overflowSize) {
    return Abi.PAGE + 2 * ringSize + 2 * overflowSize;
  }
}
