// SPDX-License-Identifier: Apache-2.0
package hutong.channel.internal;

import hutong.api.channel.SegmentException;
import hutong.api.channel.Segments;
import hutong.api.os.Fd;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.OsException;
import hutong.platform.abi.Abi;
import hutong.platform.abi.DirLayout;
import hutong.platform.abi.SegmentLayout;
import java.io.IOException;

/** Segments as sealed memfds: for VMs that share a kernel. */
public final class MemfdSegments implements Segments {
  /** The smallest ring or overflow. */
  static final int MIN_SIZE = 4096;

  /** The largest ring. */
  static final int MAX_RING = 1 << 26;

  /** The largest overflow; the shim refuses larger ones, as it does larger rings. */
  static final int MAX_OVER = 1 << 26;

  /** F_SEAL_FUTURE_WRITE: new mappings may not be written. */
  private static final int SEAL_FUTURE_WRITE = 16;

  private final Memory memory;
  private final int ringSize;
  private final int overSize;

  /**
   * Makes segments of one geometry.
   *
   * @throws IllegalArgumentException when a size is no power of two or out of bounds
   */
  public MemfdSegments(Memory memory, int ringSize, int overSize) {
    checkSizes(ringSize, overSize);
    this.memory = memory;
    this.ringSize = ringSize;
    this.overSize = overSize;
  }

  /** Checks a configured geometry. */
  static void checkSizes(int ringSize, int overSize) {
    if (!fits(ringSize, MAX_RING) || !fits(overSize, MAX_OVER)) {
      throw new IllegalArgumentException(
          "ring and overflow must be powers of two from "
              + MIN_SIZE
              + " to "
              + MAX_RING
              + " and "
              + MAX_OVER
              + " and are "
              + ringSize
              + " and "
              + overSize);
    }
  }

  /** Checks the geometry that another VM's agent tells. */
  static void verifySizes(int ring, int over) throws SegmentException {
    if (!fits(ring, MAX_RING) || !fits(over, MAX_OVER)) {
      throw new SegmentException("ring of " + ring + " and overflow of " + over + " bytes");
    }
  }

  /** Fills in the header of a zeroed segment. */
  static void fillIn(Mapping header, int ring, int over) {
    header.putInt(SegmentLayout.VERSION, Abi.ABI_VERSION);
    header.putInt(SegmentLayout.RING_SIZE, ring);
    header.putInt(SegmentLayout.OVER_SIZE, over);
    for (int i = 0; i < 2; i++) {
      header.putLong(SegmentLayout.dir(i) + DirLayout.SPLIT, Abi.NO_SPLIT);
    }
    header.putIntVolatile(SegmentLayout.MAGIC, Abi.SEG_MAGIC);
  }

  private static boolean fits(int size, int max) {
    return size >= MIN_SIZE && size <= max && Integer.bitCount(size) == 1;
  }

  @Override
  public int ringSize() {
    return ringSize;
  }

  @Override
  public int overSize() {
    return overSize;
  }

  @Override
  public Fd allocate() throws IOException {
    return allocate(ringSize, overSize);
  }

  @Override
  public Fd allocate(int ring, int over) throws IOException {
    if (!fits(ring, MAX_RING) || !fits(over, MAX_OVER)) {
      throw new IllegalArgumentException("ring of " + ring + " and overflow of " + over + " bytes");
    }
    Fd segment = memory.memfdCreate("hutong-segment", Segments.bytes(ring, over), Memory.SEAL_SIZE);
    try (Mapping header = memory.map(segment, Abi.PAGE, true)) {
      fillIn(header, ring, over);
      return segment;
    } catch (OsException | RuntimeException e) {
      segment.close();
      throw e;
    }
  }

  @Override
  public void verify(Fd segment, int ring, int over) throws IOException {
    verifySizes(ring, over);
    int seals;
    try {
      seals = memory.seals(segment);
    } catch (OsException e) {
      throw new SegmentException("not a memfd: " + e.getMessage());
    }
    if ((seals & Memory.SEAL_SIZE) != Memory.SEAL_SIZE) {
      throw new SegmentException("its size can change: seals " + seals);
    }
    if ((seals & (Memory.SEAL_WRITE | SEAL_FUTURE_WRITE)) != 0) {
      throw new SegmentException("it cannot be written: seals " + seals);
    }
    long size = memory.size(segment);
    if (size != Segments.bytes(ring, over)) {
      throw new SegmentException(size + " bytes instead of " + Segments.bytes(ring, over));
    }
    try (Mapping header = memory.map(segment, Abi.PAGE, false)) {
      if (header.getInt(SegmentLayout.MAGIC) != Abi.SEG_MAGIC
          || header.getInt(SegmentLayout.VERSION) != Abi.ABI_VERSION
          || header.getInt(SegmentLayout.RING_SIZE) != ring
          || header.getInt(SegmentLayout.OVER_SIZE) != over) {
        throw new SegmentException("its header is not that of a segment of this version and size");
      }
    }
  }
}
