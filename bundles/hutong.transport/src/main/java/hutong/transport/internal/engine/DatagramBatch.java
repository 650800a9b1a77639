// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import java.nio.ByteBuffer;

/**
 * Datagrams that wait to be sent, in equal slots of one direct buffer. Full-size datagrams lie one
 * directly behind the other, so that a wire with segmentation offload can send a whole run of them
 * by one call. Confined to one thread.
 */
public final class DatagramBatch {
  private final ByteBuffer bytes;
  private final int slotBytes;
  private final int[] lengths;
  private int count;

  /**
   * An empty batch.
   *
   * @param slots most datagrams
   * @param slotBytes most bytes of one: the wire's limit
   */
  public DatagramBatch(int slots, int slotBytes) {
    this.bytes = ByteBuffer.allocateDirect(slots * slotBytes);
    this.slotBytes = slotBytes;
    this.lengths = new int[slots];
  }

  /** The bytes, big-endian; whoever uses it sets position and limit first. */
  public ByteBuffer bytes() {
    return bytes;
  }

  /** How many datagrams wait. */
  public int count() {
    return count;
  }

  /** Whether no further one fits. */
  public boolean full() {
    return count == lengths.length;
  }

  /** Where a datagram begins. */
  public int offset(int i) {
    return i * slotBytes;
  }

  /** Its length in bytes. */
  public int length(int i) {
    return lengths[i];
  }

  /** The most bytes of one datagram. */
  public int slotBytes() {
    return slotBytes;
  }

  /**
   * How many datagrams, from this one on, lie without a gap and may go out by one segmented send:
   * all of slot size but the last, which may be shorter.
   */
  public int run(int from) {
    int i = from;
    while (i < count - 1 && lengths[i] == slotBytes) {
      i++;
    }
    return i - from + 1;
  }

  /** Position and limit around a datagram. */
  public ByteBuffer datagram(int i) {
    return bytes.limit(offset(i) + lengths[i]).position(offset(i));
  }

  /** Forgets all datagrams. */
  public void clear() {
    count = 0;
  }

  /** Where the next datagram is to be written; there must be room. */
  int next() {
    bytes.clear();
    return offset(count);
  }

  /** Adds what was written at {@link #next}. */
  void add(int length) {
    lengths[count++] = length;
  }
}
