// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/**
 * One message between the agents of two VMs of a host (D1, M2.3). Little-endian:
 *
 * <pre>
 *    0  magic "HUTP"        4  version (u16)       6  type (u16)
 *    8  number              sender's channel number
 *   12  peer number         receiver's channel number, 0 while not known
 *   16  reason (u16)       18  local port (u16)   20  remote port (u16)   22  MAC address of the sender's VM
 *   28  numbers of the ticket
 *   32  local address      48  remote address      both as the sender sees them
 *   64  session (u64)      72  ring size *        76  overflow size
 *   80  ticket              so many 32-bit numbers
 * </pre>
 *
 * <p>* In an OFFER between hosts: the version of what the sender's transport says.
 *
 * @param type what the message says
 * @param version the sender's version; a receiver that speaks another reads only {@code type} and
 *     {@code session}
 * @param number the sender's channel number
 * @param peerNumber the receiver's channel number, 0 while the sender does not know it
 * @param reason a number of {@code enum hut_reason}
 * @param pair the connection as the sender sees it
 * @param mac the sender's MAC address, 48 bits in the low end
 * @param session the sender's session with this receiver
 * @param ringSize bytes of one ring; between hosts, of an OFFER, the version of the transport
 * @param overSize bytes of one overflow
 * @param ticket SETUP without descriptors: what the receiver must know to take the segment
 */
record PeerMessage(
    Type type,
    int version,
    int number,
    int peerNumber,
    int reason,
    AddressPair pair,
    long mac,
    long session,
    int ringSize,
    int overSize,
    List<Integer> ticket) {
  static final int BYTES = 80;

  /** Most numbers of a ticket: a port, and a grant reference for each page of 32 MiB. */
  static final int MAX_TICKET = 8193;

  static final int VERSION = 1;
  private static final int MAGIC = 0x50545548;
  private static final int MAC_BYTES = 6;
  private static final AddressPair NOWHERE =
      new AddressPair(new Address(0, 0), 0, new Address(0, 0), 0);

  /** Message types; the ordinal plus one travels. */
  enum Type {
    /** First message to a peer whose agent came up; asks for {@link #HELLO_ACK}. */
    HELLO,
    /** Answer to {@link #HELLO}. */
    HELLO_ACK,
    /** "I have this end": pair, number, MAC. */
    OFFER,
    /**
     * Allocator to the other end: both numbers, sizes; descriptors: segment, allocator's doorbell.
     */
    SETUP,
    /** Answer to {@link #SETUP}; descriptor: doorbell. */
    SETUP_OK,
    /**
     * The receiver's part in the pair of numbers cannot be, see reason; NONE means: not known here
     * (any more).
     */
    REFUSED,
    /**
     * The sender's end of a channel is gone; answered with {@link #CLOSED_ACK} by one that does not
     * know it.
     */
    CLOSED,
    /** As {@link #CLOSED}, but never answered. */
    CLOSED_ACK;

    private static final Type[] ALL = values();
  }

  /** A message without a connection. */
  static PeerMessage hello(Type type, long session) {
    return new PeerMessage(type, VERSION, 0, 0, 0, NOWHERE, 0, session, 0, 0, List.of());
  }

  /** A message that needs no more than the two numbers and a reason. */
  static PeerMessage about(Type type, int number, int peerNumber, int reason) {
    return new PeerMessage(
        type, VERSION, number, peerNumber, reason, NOWHERE, 0, 0, 0, 0, List.of());
  }

  /** A message about one connection. */
  static PeerMessage of(
      Type type,
      int number,
      int peerNumber,
      AddressPair pair,
      long mac,
      int ringSize,
      int overSize) {
    return new PeerMessage(
        type, VERSION, number, peerNumber, 0, pair, mac, 0, ringSize, overSize, List.of());
  }

  /** The same with a ticket. */
  PeerMessage withTicket(List<Integer> numbers) {
    return new PeerMessage(
        type,
        version,
        number,
        peerNumber,
        reason,
        pair,
        mac,
        session,
        ringSize,
        overSize,
        List.copyOf(numbers));
  }

  /** The bytes to send. */
  byte[] encode() {
    ByteBuffer out =
        ByteBuffer.allocate(BYTES + Integer.BYTES * ticket.size()).order(ByteOrder.LITTLE_ENDIAN);
    out.putInt(MAGIC).putShort((short) version).putShort((short) (type.ordinal() + 1));
    out.putInt(number).putInt(peerNumber).putShort((short) reason);
    out.putShort((short) pair.localPort()).putShort((short) pair.remotePort());
    for (int i = 0; i < MAC_BYTES; i++) {
      out.put((byte) (mac >>> (40 - 8 * i)));
    }
    out.putInt(ticket.size()).put(pair.local().bytes()).put(pair.remote().bytes());
    out.putLong(session).putInt(ringSize).putInt(overSize);
    ticket.forEach(out::putInt);
    return out.array();
  }

  /**
   * Reads what another VM's agent sent.
   *
   * @return the message, or null if it is malformed
   */
  static PeerMessage decode(byte[] payload) {
    if (payload.length < BYTES || payload.length > BYTES + Integer.BYTES * MAX_TICKET) {
      return null;
    }
    ByteBuffer in = ByteBuffer.wrap(payload).order(ByteOrder.LITTLE_ENDIAN);
    int magic = in.getInt();
    int version = Short.toUnsignedInt(in.getShort());
    int type = Short.toUnsignedInt(in.getShort());
    if (magic != MAGIC || type < 1 || type > Type.ALL.length) {
      return null;
    }
    int number = in.getInt();
    int peerNumber = in.getInt();
    int reason = Short.toUnsignedInt(in.getShort());
    int localPort = Short.toUnsignedInt(in.getShort());
    int remotePort = Short.toUnsignedInt(in.getShort());
    long mac = 0;
    for (int i = 0; i < MAC_BYTES; i++) {
      mac = mac << 8 | Byte.toUnsignedInt(in.get());
    }
    int numbers = in.getInt();
    if (numbers < 0
        || numbers != (payload.length - BYTES) / Integer.BYTES
        || payload.length % 4 != 0) {
      return null;
    }
    AddressPair pair = new AddressPair(Address.read(in), localPort, Address.read(in), remotePort);
    return new PeerMessage(
        Type.ALL[type - 1],
        version,
        number,
        peerNumber,
        reason,
        pair,
        mac,
        in.getLong(),
        in.getInt(),
        in.getInt(),
        numbers(in, numbers));
  }

  private static List<Integer> numbers(ByteBuffer in, int count) {
    List<Integer> out = new ArrayList<>(count);
    for (int i = 0; i < count; i++) {
      out.add(in.getInt());
    }
    return out;
  }
}
