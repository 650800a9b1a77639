// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * A received datagram's fields. One object is used again and again; it takes any bytes without
 * throwing. Confined to one thread.
 */
public final class Datagram {
  private ByteBuffer bytes;
  private int start;
  private int length;

  /**
   * H-chan of a datagram that is not checked yet, to find the channel whose key checks it.
   *
   * @return H-chan, or 0 when there are too few bytes
   */
  public static int channelOf(ByteBuffer in) {
    if (in.remaining() < Header.BYTES) {
      return 0;
    }
    int at = in.position() + Header.CHANNEL;
    int channel = in.getInt(at);
    return in.order() == ByteOrder.BIG_ENDIAN ? channel : Integer.reverseBytes(channel);
  }

  /**
   * Reads and checks a datagram: length, H-sum, MAC. The fields are valid only after {@link
   * DropCause#NONE}, and as long as the bytes stay.
   *
   * @param in from position to limit; its byte order becomes big-endian, and its position is
   *     undefined afterwards
   */
  public DropCause read(ByteBuffer in, Seal seal) {
    in.order(ByteOrder.BIG_ENDIAN);
    int arrived = in.remaining();
    int overhead = Header.BYTES + seal.expectedTrailer();
    if (arrived < overhead) {
      return DropCause.TOO_SHORT;
    }
    bytes = in;
    start = in.position();
    length = in.getInt(start + Header.LENGTH);
    if (length < 0 || length > arrived - overhead) {
      return DropCause.BAD_LENGTH;
    }
    if (length < arrived - overhead && arrived > Header.PADDED) {
      return DropCause.BAD_LENGTH;
    }
    if (length == 0 && !control()) {
      return DropCause.BAD_LENGTH;
    }
    return seal.check(in, start, Header.BYTES + length);
  }

  /** H-seq. */
  public int sequence() {
    return bytes.getInt(start + Header.SEQUENCE);
  }

  /** H-idx. */
  public int index() {
    return bytes.getInt(start + Header.INDEX);
  }

  /** H-len, never negative. */
  public int length() {
    return length;
  }

  /** H-ackseq. */
  public int ackSequence() {
    return bytes.getInt(start + Header.ACK_SEQUENCE);
  }

  /** H-ackidx. */
  public int ackIndex() {
    return bytes.getInt(start + Header.ACK_INDEX);
  }

  /** H-chan. */
  public int channel() {
    return bytes.getInt(start + Header.CHANNEL);
  }

  /** Whether an acknowledgement is requested. */
  public boolean ackRequested() {
    return (bytes.getInt(start + Header.FLAGS) & Header.ACK_REQUESTED) != 0;
  }

  /** Whether the data is control items. */
  public boolean control() {
    return (bytes.getInt(start + Header.FLAGS) & Header.CONTROL) != 0;
  }

  /** Header and data, in bytes. */
  public int size() {
    return Header.BYTES + length;
  }

  /** The buffer with position and limit around the first {@code count} bytes of data. */
  public ByteBuffer data(int count) {
    int first = start + Header.BYTES;
    return bytes.limit(first + count).position(first);
  }
}
