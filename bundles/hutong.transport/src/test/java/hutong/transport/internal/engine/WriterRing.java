// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;

/** A program's send ring that holds a {@link Stream}. */
final class WriterRing implements SendBuffer {
  private final byte[] bytes;
  private final long seed;
  private final boolean counts;
  private long end;
  private long consumed;

  /** A ring whose bytes matter, or one that only counts them. */
  WriterRing(int size, long seed, long offset, boolean counts) {
    this.counts = counts;
    this.bytes = new byte[size];
    this.seed = seed;
    this.end = offset;
    this.consumed = offset;
  }

  long room() {
    return consumed + bytes.length - end;
  }

  long consumed() {
    return consumed;
  }

  void write(long count) {
    assertThat(count).isLessThanOrEqualTo(room());
    for (long o = end; !counts && o < end + count; o++) {
      bytes[(int) (o % bytes.length)] = Stream.at(seed, o);
    }
    end += count;
  }

  @Override
  public long end() {
    return end;
  }

  @Override
  public long capacity() {
    return bytes.length;
  }

  @Override
  public void copy(long offset, int length, ByteBuffer target) {
    if (offset < consumed || offset + length > end || target.remaining() != length) {
      throw new AssertionError("copy of " + offset + "+" + length);
    }
    int at = (int) (offset % bytes.length);
    int part = Math.min(length, bytes.length - at);
    target.put(bytes, at, part).put(bytes, 0, length - part);
  }

  @Override
  public void consumedByPeer(long offset) {
    if (offset <= consumed || offset > end) {
      throw new AssertionError("consumed up to " + offset + " of " + consumed + ".." + end);
    }
    consumed = offset;
  }
}
