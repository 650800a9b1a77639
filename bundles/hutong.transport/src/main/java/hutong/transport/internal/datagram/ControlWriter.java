// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

import java.nio.ByteBuffer;

/** Writes control items one after the other. Confined to one thread; allocates nothing. */
public final class ControlWriter {
  private ByteBuffer out;
  private int first;
  private int at;
  private int rangesAt;

  /** Begins the items at that place of a big-endian buffer, whose position and limit stay. */
  public ControlWriter begin(ByteBuffer buffer, int place) {
    out = buffer;
    first = place;
    at = place;
    return this;
  }

  /** Bytes written since {@link #begin}. */
  public int length() {
    return at - first;
  }

  /** {@link Control#CREDIT}. */
  public ControlWriter credit(long consumed, long room) {
    item(Control.CREDIT, Control.CREDIT_BYTES);
    return u64(consumed).u64(room);
  }

  /** {@link Control#MISSING}, without ranges yet; {@link #range} adds them, {@link #seen} ends. */
  public ControlWriter missing() {
    rangesAt = at;
    item(Control.MISSING, 0);
    return u16(0);
  }

  /** A range of {@link Control#MISSING}. */
  public ControlWriter range(int relative, int count) {
    return u16(relative).u16(count);
  }

  /** Completes {@link Control#MISSING}. */
  public ControlWriter seen(int relative) {
    out.putShort(rangesAt + 2, (short) (at - rangesAt - Control.ITEM_HEADER));
    out.putShort(rangesAt + Control.ITEM_HEADER, (short) relative);
    return this;
  }

  /** {@link Control#ASK} or {@link Control#ECHO} or {@link Control#PROBE}. */
  public ControlWriter number(int kind, int number) {
    item(kind, Control.NUMBER_BYTES);
    return u32(number);
  }

  /** {@link Control#END} or {@link Control#END_ACK}. */
  public ControlWriter offset(int kind, long offset) {
    item(kind, Control.OFFSET_BYTES);
    return u64(offset);
  }

  /** {@link Control#PROBE_ANSWER}. */
  public ControlWriter probeAnswer(int number, int size) {
    item(Control.PROBE_ANSWER, Control.ANSWER_BYTES);
    return u32(number).u32(size);
  }

  /** {@link Control#RESUME}. */
  public ControlWriter resume(
      int epoch,
      int channel,
      int firstSequence,
      int window,
      boolean answer,
      long wanted,
      long consumed,
      long room) {
    item(Control.RESUME, Control.RESUME_BYTES);
    u32(epoch).u32(channel).u32(firstSequence).u16(window).u16(answer ? 1 : 0);
    return u64(wanted).u64(consumed).u64(room);
  }

  /**
   * {@link Control#PAD} up to exactly that length of all items, as far as an item can be so short.
   */
  public ControlWriter padTo(int length) {
    int value = length - length() - Control.ITEM_HEADER;
    if (value < 0) {
      return this;
    }
    item(Control.PAD, value);
    for (int end = at + value; at < end; at++) {
      out.put(at, (byte) 0);
    }
    return this;
  }

  private void item(int kind, int length) {
    u16(kind).u16(length);
  }

  private ControlWriter u16(int value) {
    out.putShort(at, (short) value);
    at += Short.BYTES;
    return this;
  }

  private ControlWriter u32(int value) {
    out.putInt(at, value);
    at += Integer.BYTES;
    return this;
  }

  private ControlWriter u64(long value) {
    out.putLong(at, value);
    at += Long.BYTES;
    return this;
  }
}
