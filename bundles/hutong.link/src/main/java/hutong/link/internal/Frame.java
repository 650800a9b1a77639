// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * One record between a VM's agent and the router in the host agent. Little-endian:
 *
 * <pre>
 *    0  magic "HULK"    4  version (u16)    6  type (u16)
 *    8  domid           of the receiver on the way up, of the sender on the way down
 *   12  zero
 *   16  payload         up to 4096 bytes
 * </pre>
 *
 * @param type what it is
 * @param version the sender's version
 * @param domid see above
 * @param payload the agents' own message, or nothing
 */
record Frame(Type type, int version, int domid, byte[] payload) {
  static final int VERSION = 1;
  static final int MAX_PAYLOAD = 4096;
  static final int HEADER = 16;
  static final int MAX_BYTES = HEADER + MAX_PAYLOAD;
  static final int MAX_FDS = 4;
  private static final int MAGIC = 0x4b4c5548;

  /** Frame types; the ordinal plus one travels. */
  enum Type {
    /** Agent to router, first: the domain id it takes itself for. */
    HELLO,
    /** Router to agent, first: the domain id that its listener stands for. */
    WELCOME,
    /** Router to agent: that VM's agent can be reached. */
    UP,
    /** Router to agent: that VM's agent cannot be reached; all that was under way to it is lost. */
    DOWN,
    /** A message, possibly with descriptors. */
    DATA,
    /** Router to agent: the message to that VM was dropped, its queue is full. */
    UNDELIVERED;

    private static final Type[] ALL = values();
  }

  /** A frame of this version. */
  static Frame of(Type type, int domid, byte[] payload) {
    return new Frame(type, VERSION, domid, payload);
  }

  /** A frame without payload. */
  static Frame of(Type type, int domid) {
    return of(type, domid, new byte[0]);
  }

  /** The bytes to send. */
  byte[] encode() {
    ByteBuffer out = ByteBuffer.allocate(HEADER + payload.length).order(ByteOrder.LITTLE_ENDIAN);
    out.putInt(MAGIC)
        .putShort((short) version)
        .putShort((short) (type.ordinal() + 1))
        .putInt(domid)
        .putInt(0);
    return out.put(payload).array();
  }

  /**
   * Reads a record.
   *
   * @return the frame, or null if it is malformed
   */
  static Frame decode(byte[] data) {
    if (data.length < HEADER || data.length > MAX_BYTES) {
      return null;
    }
    ByteBuffer in = ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN);
    int magic = in.getInt();
    int version = Short.toUnsignedInt(in.getShort());
    int type = Short.toUnsignedInt(in.getShort());
    if (magic != MAGIC || type < 1 || type > Type.ALL.length) {
      return null;
    }
    return new Frame(
        Type.ALL[type - 1], version, in.getInt(), Arrays.copyOfRange(data, HEADER, data.length));
  }
}
