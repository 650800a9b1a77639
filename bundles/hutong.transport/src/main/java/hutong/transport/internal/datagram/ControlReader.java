// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * Reads the items of a control datagram. All of them are checked for their form before the first is
 * shown. Confined to one thread; allocates nothing and never throws on any bytes.
 */
public final class ControlReader {
  /** The most datagrams that W allows to be under way (M1.3). */
  public static final int MOST_SEEN = 256;

  private final int[] places = new int[Control.RESUME + 1];
  private ByteBuffer in;
  private int rangeBytes;
  private int unknown;

  /**
   * Reads all items.
   *
   * @return whether they are well-formed; if not, nothing else may be asked
   */
  public boolean read(Datagram datagram) {
    in = datagram.data(datagram.length());
    Arrays.fill(places, -1);
    unknown = 0;
    rangeBytes = 0;
    int at = in.position();
    int end = in.limit();
    while (at < end) {
      if (end - at < Control.ITEM_HEADER) {
        return false;
      }
      int kind = u16(at);
      int length = u16(at + 2);
      at += Control.ITEM_HEADER;
      if (length > end - at || !item(kind, at, length)) {
        return false;
      }
      at += length;
    }
    return true;
  }

  private boolean item(int kind, int at, int length) {
    if (kind > Control.RESUME) {
      unknown++;
      return true;
    }
    if (kind == Control.PAD) {
      return true;
    }
    if (length < least(kind) || places[kind] >= 0) {
      return false;
    }
    places[kind] = at;
    return kind != Control.MISSING || ranges(at, length);
  }

  private static int least(int kind) {
    return switch (kind) {
      case Control.CREDIT -> Control.CREDIT_BYTES;
      case Control.MISSING -> Control.SEEN_BYTES;
      case Control.END, Control.END_ACK -> Control.OFFSET_BYTES;
      case Control.PROBE_ANSWER -> Control.ANSWER_BYTES;
      case Control.RESUME -> Control.RESUME_BYTES;
      default -> Control.NUMBER_BYTES;
    };
  }

  private boolean ranges(int at, int length) {
    rangeBytes = length - Control.SEEN_BYTES;
    if (rangeBytes % Control.RANGE_BYTES != 0) {
      return false;
    }
    int seen = u16(at);
    int past = 0;
    for (int i = 0; i < rangeCount(); i++) {
      int first = rangeFirst(i);
      if (first < past || rangeLength(i) == 0) {
        return false;
      }
      past = first + rangeLength(i);
    }
    return seen <= MOST_SEEN && past <= seen;
  }

  /** Whether an item of that kind is there. */
  public boolean has(int kind) {
    return places[kind] >= 0;
  }

  /** Items of kinds unknown to this version. */
  public int unknown() {
    return unknown;
  }

  /** The number in {@link Control#ASK}, {@link Control#ECHO}, a probe or its answer. */
  public int number(int kind) {
    return in.getInt(places[kind]);
  }

  /** The offset in {@link Control#END} or {@link Control#END_ACK}. */
  public long offset(int kind) {
    return in.getLong(places[kind]);
  }

  /** {@link Control#CREDIT}: consumed by the peer's program. */
  public long consumed() {
    return in.getLong(places[Control.CREDIT]);
  }

  /** {@link Control#CREDIT}: there is room up to here. */
  public long room() {
    return in.getLong(places[Control.CREDIT] + Long.BYTES);
  }

  /** {@link Control#PROBE_ANSWER}: bytes of the probe. */
  public int probeSize() {
    return in.getInt(places[Control.PROBE_ANSWER] + Integer.BYTES);
  }

  /** {@link Control#MISSING}: all below is known, relative to H-ackseq; at most 256. */
  public int seen() {
    return u16(places[Control.MISSING]);
  }

  /** {@link Control#MISSING}: how many ranges. */
  public int rangeCount() {
    return rangeBytes / Control.RANGE_BYTES;
  }

  /** First number of a range, relative to H-ackseq. */
  public int rangeFirst(int i) {
    return u16(places[Control.MISSING] + Control.SEEN_BYTES + i * Control.RANGE_BYTES);
  }

  /** How many numbers a range has. */
  public int rangeLength(int i) {
    return u16(places[Control.MISSING] + Control.SEEN_BYTES + i * Control.RANGE_BYTES + 2);
  }

  /** {@link Control#RESUME}: the epoch. */
  public int resumeEpoch() {
    return in.getInt(places[Control.RESUME]);
  }

  /** {@link Control#RESUME}: H-chan to use from now on. */
  public int resumeChannel() {
    return in.getInt(places[Control.RESUME] + 4);
  }

  /** {@link Control#RESUME}: the first H-seq that will come. */
  public int resumeSequence() {
    return in.getInt(places[Control.RESUME] + 8);
  }

  /** {@link Control#RESUME}: the peer's W. */
  public int resumeWindow() {
    return u16(places[Control.RESUME] + 12);
  }

  /** {@link Control#RESUME}: whether it answers ours. */
  public boolean resumeAnswer() {
    return u16(places[Control.RESUME] + 14) != 0;
  }

  /** {@link Control#RESUME}: the next offset wanted. */
  public long resumeWanted() {
    return in.getLong(places[Control.RESUME] + 16);
  }

  /** {@link Control#RESUME}: consumed by the peer's program. */
  public long resumeConsumed() {
    return in.getLong(places[Control.RESUME] + 24);
  }

  /** {@link Control#RESUME}: there is room up to here. */
  public long resumeRoom() {
    return in.getLong(places[Control.RESUME] + 32);
  }

  private int u16(int at) {
    return Short.toUnsignedInt(in.getShort(at));
  }
}
