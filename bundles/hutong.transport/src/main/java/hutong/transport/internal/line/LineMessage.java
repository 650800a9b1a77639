// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import java.nio.ByteBuffer;

/**
 * What an agent says about its end of a line: always all of it, so that a message that repeats an
 * earlier one, or comes after a lost one, means the same. Big-endian.
 *
 * <pre>
 *   0  u8 version (2)   u8 flags: 1 fresh, 2 bye, 4 authenticate, 8 barred, 16 known   u16 zero
 *   4  number           sender's channel number
 *   8  peer number      receiver's channel number
 *      The direction that the sender receives:
 *  12  armed round      16 H-chan of its receiving flow    20 first H-seq of that flow
 *  24  u16 window  u16 zero   28 bytes of its ring
 *  32  u16 largest datagram on Ethernet, 0: not offered    34 the same on UDP
 *  36  opened round     40 stopped round     44 u64 stopped at
 *  52  u8 marks    u8 1: asks for the end, 2: its program knows it    u16 zero
 *  56  u64 consumed
 *      The direction that the sender sends:
 *  64  started round    68 u64 S             76 H-chan     80 first H-seq
 *  84  u16 window  u8 wire  u8 marks         88 bytes of its ring
 *  92  leave round      96 agreed round     100 done round
 * 104  u8 1: ended, 2: wish    u8[3] zero     108 u64 end, all ones: nothing is in the ring
 * 116  16 bytes: from which the keys of the datagrams that the sender sends come (D6)
 * 132
 * </pre>
 *
 * @param fresh the sender has not heard of the receiver's end yet: an answer is wanted
 * @param authenticate the sender takes and sends authenticated datagrams only (D6)
 * @param barred the sender keeps the line on TCP: it was begun without authentication
 * @param key from which those of what it sends come
 * @param known the sender, or the agent before it, has heard of the receiver's end: if that is not
 *     there it is there no more
 * @param bye the sender's end is over, and all that it had to deliver is delivered
 */
record LineMessage(
    int number,
    int peerNumber,
    boolean fresh,
    boolean bye,
    boolean authenticate,
    boolean barred,
    boolean known,
    Key key,
    Receiving receiving,
    Sending sending) {
  static final int BYTES = 132;

  /** Also told with the offer of a connection: only ends that speak the same get a line. */
  static final int VERSION = 2;

  private static final int FRESH = 1;
  private static final int BYE = 2;
  private static final int AUTHENTICATE = 4;
  private static final int BARRED = 8;
  private static final int KNOWN =
      16; // not asked for by a version: who does not know it does not answer

  /**
   * The direction that the sender of the message receives.
   *
   * @param armed the last round that its program has armed, 0 for none
   * @param channel H-chan of its flow in that round
   * @param sequence first H-seq of its flow
   * @param window its W
   * @param room bytes of its ring
   * @param ethernetBytes largest datagram that it takes on Ethernet; 0: not offered
   * @param udpBytes the same on UDP
   * @param opened the last round for which its flow is open
   * @param stopped the last round that it has stopped
   * @param stoppedAt where
   * @param marks what its program's reader has become, {@code enum hut_cons_mark}
   * @param ask its program has seen the FIN and waits for the end (rule 17)
   * @param told its program has all bytes, and knows the end
   * @param consumed what its program has consumed of the ring
   */
  record Receiving(
      int armed,
      int channel,
      int sequence,
      int window,
      int room,
      int ethernetBytes,
      int udpBytes,
      int opened,
      int stopped,
      long stoppedAt,
      int marks,
      boolean ask,
      boolean told,
      long consumed) {}

  /**
   * The direction that the sender of the message sends.
   *
   * @param started the last round in which its program went to the ring, 0 for none
   * @param start S
   * @param channel H-chan of its flow
   * @param sequence first H-seq of its flow
   * @param window its W
   * @param wire number of a {@link WireKind}
   * @param marks what its program's writer has become, {@code enum hut_prod_mark}
   * @param room bytes of its ring
   * @param leave the round that it wants to be stopped
   * @param agreed the round whose stop its program will follow
   * @param done the last round that is over for its program
   * @param ended whether nobody can write any more
   * @param wish it wants to send that way: the receiver's program may arm
   * @param end one past the last byte in its ring; -1 when nothing there is to be delivered
   */
  record Sending(
      int started,
      long start,
      int channel,
      int sequence,
      int window,
      int wire,
      int marks,
      int room,
      int leave,
      int agreed,
      int done,
      boolean ended,
      boolean wish,
      long end) {}

  /** Whether it says goodbye, and nothing of what has been. */
  boolean bare() {
    return bye && sending.window == 0;
  }

  /**
   * Whether goodbye may be said to its sender where the line is not there: it cannot be one that is
   * to come.
   */
  boolean answerable() {
    return !bye && (!fresh || known);
  }

  /** The answer to one who speaks of a line that is over here. */
  static LineMessage goodbye(int number, int peerNumber) {
    return new LineMessage(
        number,
        peerNumber,
        false,
        true,
        false,
        false,
        true,
        Key.NONE,
        new Receiving(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false, false, 0),
        new Sending(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, false, false, -1));
  }

  byte[] encode() {
    ByteBuffer out = ByteBuffer.allocate(BYTES);
    int flags = (fresh ? FRESH : 0) | (bye ? BYE : 0);
    flags |= (authenticate ? AUTHENTICATE : 0) | (barred ? BARRED : 0) | (known ? KNOWN : 0);
    out.put((byte) VERSION).put((byte) flags).putShort((short) 0);
    out.putInt(number).putInt(peerNumber);
    Receiving r = receiving;
    out.putInt(r.armed).putInt(r.channel).putInt(r.sequence);
    out.putShort((short) r.window).putShort((short) 0).putInt(r.room);
    out.putShort((short) r.ethernetBytes).putShort((short) r.udpBytes);
    out.putInt(r.opened).putInt(r.stopped).putLong(r.stoppedAt);
    out.put((byte) r.marks)
        .put((byte) ((r.ask ? 1 : 0) | (r.told ? 2 : 0)))
        .putShort((short) 0)
        .putLong(r.consumed);
    Sending s = sending;
    out.putInt(s.started).putLong(s.start).putInt(s.channel).putInt(s.sequence);
    out.putShort((short) s.window).put((byte) s.wire).put((byte) s.marks).putInt(s.room);
    out.putInt(s.leave).putInt(s.agreed).putInt(s.done);
    out.put((byte) ((s.ended ? 1 : 0) | (s.wish ? 2 : 0)));
    out.put((byte) 0).putShort((short) 0).putLong(s.end);
    out.putLong(key.hi()).putLong(key.lo());
    return out.array();
  }

  /** The version of what another VM's agent sent; 0 of nothing. */
  static int version(byte[] payload) {
    return payload.length == 0 ? 0 : Byte.toUnsignedInt(payload[0]);
  }

  /**
   * Reads what another VM's agent sent; nothing of it is checked but its form.
   *
   * @return null if it is malformed, or of another version
   */
  static LineMessage decode(byte[] payload) {
    if (payload.length != BYTES || payload[0] != VERSION) {
      return null;
    }
    ByteBuffer in = ByteBuffer.wrap(payload, 1, BYTES - 1);
    int flags = in.get();
    in.getShort();
    int number = in.getInt();
    int peerNumber = in.getInt();
    int armed = in.getInt();
    int channel = in.getInt();
    int sequence = in.getInt();
    int window = Short.toUnsignedInt(in.getShort());
    in.getShort();
    int room = in.getInt();
    int ethernet = Short.toUnsignedInt(in.getShort());
    int udp = Short.toUnsignedInt(in.getShort());
    int opened = in.getInt();
    int stopped = in.getInt();
    long stoppedAt = in.getLong();
    int marks = in.get();
    int end = in.get();
    in.getShort();
    Receiving receiving =
        new Receiving(
            armed,
            channel,
            sequence,
            window,
            room,
            ethernet,
            udp,
            opened,
            stopped,
            stoppedAt,
            marks,
            (end & 1) != 0,
            (end & 2) != 0,
            in.getLong());
    int started = in.getInt();
    long start = in.getLong();
    int sendChannel = in.getInt();
    int sendSequence = in.getInt();
    int sendWindow = Short.toUnsignedInt(in.getShort());
    int wire = in.get();
    int sendMarks = in.get();
    int sendRoom = in.getInt();
    int leave = in.getInt();
    int agreed = in.getInt();
    int done = in.getInt();
    int more = in.get();
    in.get();
    in.getShort();
    Sending sending =
        new Sending(
            started,
            start,
            sendChannel,
            sendSequence,
            sendWindow,
            wire,
            sendMarks,
            sendRoom,
            leave,
            agreed,
            done,
            (more & 1) != 0,
            (more & 2) != 0,
            in.getLong());
    return new LineMessage(
        number,
        peerNumber,
        (flags & FRESH) != 0,
        (flags & BYE) != 0,
        (flags & AUTHENTICATE) != 0,
        (flags & BARRED) != 0,
        (flags & KNOWN) != 0,
        new Key(in.getLong(), in.getLong()),
        receiving,
        sending);
  }
}
