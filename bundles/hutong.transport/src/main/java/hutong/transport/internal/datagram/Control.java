// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

/**
 * The items in a control datagram's data (D4): each a 16-bit kind, a 16-bit length of its value,
 * and the value, in network byte order and without alignment. A reader skips kinds that it does not
 * know and bytes after the part of a value that it knows, and counts the former: a newer peer may
 * send more. An item that is cut short makes the whole datagram malformed, before any of it is
 * believed.
 */
public final class Control {
  /** Bytes before an item's value. */
  public static final int ITEM_HEADER = 4;

  /** Filling without meaning, which makes a probe full-size. */
  public static final int PAD = 0;

  /** u64 consumed by the program, u64 offset up to which there is room: end-to-end credit. */
  public static final int CREDIT = 1;

  /**
   * What has not arrived: u16 seen, then (u16 first, u16 count) ascending. All are relative to
   * H-ackseq. Every number below {@code seen} that no range names has arrived.
   */
  public static final int MISSING = 2;

  /** u32 number: name what is missing up to this datagram's H-seq, with {@link #ECHO}. */
  public static final int ASK = 3;

  /** u32 number of the last {@link #ASK}. */
  public static final int ECHO = 4;

  /** u64 final offset of the sender's stream (rule 17). */
  public static final int END = 5;

  /** u64 final offset that was announced, and is known now. */
  public static final int END_ACK = 6;

  /** u32 number: answer with as large a datagram as this one (D5). */
  public static final int PROBE = 7;

  /** u32 number, u32 bytes of the probe as it arrived. */
  public static final int PROBE_ANSWER = 8;

  /**
   * A new epoch: u32 epoch, u32 H-chan of the sender's entry, u32 its first H-seq, u16 its window
   * W, u16 1 when it answers the receiver's own, u64 next offset wanted, u64 consumed, u64 room up
   * to.
   */
  public static final int RESUME = 9;

  static final int CREDIT_BYTES = 16;
  static final int NUMBER_BYTES = 4;
  static final int OFFSET_BYTES = 8;
  static final int ANSWER_BYTES = 8;
  static final int RESUME_BYTES = 40;
  static final int RANGE_BYTES = 4;
  static final int SEEN_BYTES = 2;

  /** The most ranges one datagram names; what lies beyond is named next time. */
  public static final int MOST_RANGES = 64;

  /** The largest set of items that goes out together, probes and their filling apart. */
  public static final int MOST_BYTES =
      8 * ITEM_HEADER
          + CREDIT_BYTES
          + SEEN_BYTES
          + MOST_RANGES * RANGE_BYTES
          + 2 * NUMBER_BYTES
          + 2 * OFFSET_BYTES
          + ANSWER_BYTES
          + RESUME_BYTES;

  private Control() {}
}
