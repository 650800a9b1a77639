// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

import java.nio.ByteBuffer;

/**
 * Layout of the 32-byte header: eight 32-bit fields in network byte order, and nothing else between
 * the link layer and the data.
 *
 * <pre>
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  +---------------------------------------------------------------+
 *  |                            H-sum                              |  0
 *  |                            H-seq                              |  4
 *  |                            H-idx                              |  8
 *  |                            H-len                              | 12
 *  |                            H-ackseq                           | 16
 *  |                            H-ackidx                           | 20
 *  |                            H-flags                            | 24
 *  |      H-chan: generation       |        H-chan: index          | 28
 *  +---------------------------------------------------------------+
 *  |                            data ...                           | 32
 * </pre>
 */
public final class Header {
  /** Bytes before the data. */
  public static final int BYTES = 32;

  /** Offset of H-sum: CRC32C over header and data with this field as zero. */
  public static final int SUM = 0;

  /**
   * Offset of H-seq. A control datagram takes no number (D4): its field holds the number that the
   * next data datagram will take.
   */
  public static final int SEQUENCE = 4;

  /** Offset of H-idx: the low 32 bits of the stream offset of the first data byte (D4). */
  public static final int INDEX = 8;

  /** Offset of H-len: bytes of data, without a MAC. */
  public static final int LENGTH = 12;

  /** Offset of H-ackseq: the next data datagram that the sender of this one expects. */
  public static final int ACK_SEQUENCE = 16;

  /** Offset of H-ackidx: low 32 bits of the end of the in-order data in the receive buffer. */
  public static final int ACK_INDEX = 20;

  /** Offset of H-flags. */
  public static final int FLAGS = 24;

  /** Offset of H-chan: the receiver's 16-bit generation, then its 16-bit index. */
  public static final int CHANNEL = 28;

  /** H-flags: answer this datagram with an acknowledgement at once (M3.C, M3.D). */
  public static final int ACK_REQUESTED = 1;

  /** H-flags: the data is control items ({@link Control}), not bytes of the stream (D4). */
  public static final int CONTROL = 2;

  /**
   * Ethernet pads a short frame up to this many bytes of payload, so this many may arrive where
   * less was sent.
   */
  public static final int PADDED = 46;

  private Header() {}

  /** H-chan of a table index and a generation, 16 bits each. */
  public static int channel(int index, int generation) {
    return generation << 16 | index & 0xffff;
  }

  /** The table index in an H-chan. */
  public static int index(int channel) {
    return channel & 0xffff;
  }

  /** The generation in an H-chan. */
  public static int generation(int channel) {
    return channel >>> 16;
  }

  /**
   * Writes a whole header with H-sum still zero; {@link Seal} fills it.
   *
   * @param out big-endian; position and limit stay
   * @param at where the header begins
   */
  public static void put(
      ByteBuffer out,
      int at,
      int sequence,
      int index,
      int length,
      int ackSequence,
      int ackIndex,
      int flags,
      int channel) {
    out.putInt(at + SUM, 0)
        .putInt(at + SEQUENCE, sequence)
        .putInt(at + INDEX, index)
        .putInt(at + LENGTH, length)
        .putInt(at + ACK_SEQUENCE, ackSequence)
        .putInt(at + ACK_INDEX, ackIndex)
        .putInt(at + FLAGS, flags)
        .putInt(at + CHANNEL, channel);
  }
}
