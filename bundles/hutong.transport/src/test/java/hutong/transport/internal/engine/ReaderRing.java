// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import java.nio.ByteBuffer;

/**
 * A program's receive ring that checks each byte of a {@link Stream}, and that none comes twice.
 */
final class ReaderRing implements ReceiveBuffer {
  private final byte[] bytes;
  private final boolean[] filled;
  private final long seed;
  private final boolean counts;
  private long published;
  private long consumed;

  /** A ring that checks, or one that only counts. */
  ReaderRing(int size, long seed, long offset, boolean counts) {
    this.counts = counts;
    this.bytes = new byte[size];
    this.filled = new boolean[size];
    this.seed = seed;
    this.published = offset;
    this.consumed = offset;
  }

  long unread() {
    return published - consumed;
  }

  long published() {
    return published;
  }

  /** The program reads and checks. */
  void read(long count) {
    for (long o = consumed; !counts && o < consumed + count; o++) {
      int at = (int) (o % bytes.length);
      if (bytes[at] != Stream.at(seed, o) || o >= published) {
        throw new AssertionError("wrong byte at " + o);
      }
      filled[at] = false;
    }
    consumed += count;
  }

  @Override
  public long consumed() {
    return consumed;
  }

  @Override
  public long size() {
    return bytes.length;
  }

  @Override
  public void put(long offset, ByteBuffer source) {
    int length = source.remaining();
    if (offset < published || offset + length > consumed + bytes.length) {
      throw new AssertionError("put of " + offset + "+" + length + " is outside the room");
    }
    for (int i = 0; !counts && i < length; i++) {
      int at = (int) ((offset + i) % bytes.length);
      if (filled[at]) {
        throw new AssertionError("byte " + (offset + i) + " is put twice");
      }
      filled[at] = true;
      bytes[at] = source.get();
    }
  }

  /** What a restarted agent forgets: bytes that lie past the published ones. */
  void forgetUnpublished() {
    for (long o = published; o < consumed + bytes.length; o++) {
      filled[(int) (o % bytes.length)] = false;
    }
  }

  @Override
  public void publish(long end) {
    for (long o = published; !counts && o < end; o++) {
      if (!filled[(int) (o % bytes.length)]) {
        throw new AssertionError("byte " + o + " is published and was never put");
      }
    }
    published = end;
  }
}
