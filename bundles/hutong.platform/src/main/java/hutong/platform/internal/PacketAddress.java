// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.platform.OsException;
import java.nio.ByteBuffer;
import jnr.ffi.Pointer;

/** {@code struct sockaddr_ll} of packet(7). */
final class PacketAddress {
  static final int AF_PACKET = 17;
  static final int BYTES = 20;

  /** What kind of packet it is: for this station, for many, for another one. */
  private static final int KIND = 10;

  private static final int PACKET_HOST = 0;

  private PacketAddress() {}

  /**
   * Writes one into zeroed memory.
   *
   * @param mac the station, or nothing for a socket's own address
   */
  static void write(Pointer name, int etherType, int interfaceIndex, byte[] mac) {
    name.putShort(0, (short) AF_PACKET);
    putBigEndian(name, 2, etherType);
    name.putInt(4, interfaceIndex);
    name.putByte(11, (byte) mac.length);
    name.put(12, mac, 0, mac.length);
  }

  /** The number of {@link hutong.platform.BatchSocket#sender} for the one that lies there. */
  static long number(ByteBuffer names, int at) {
    return (long) names.getInt(at + 12) << 16 | names.getShort(at + 16) & 0xffff;
  }

  /** The same. */
  static long number(Pointer names, long at) {
    return (long) names.getInt(at + 12) << 16 | names.getShort(at + 16) & 0xffff;
  }

  /** Whether the frame with that sender is addressed to this station alone. */
  static boolean forThisStation(ByteBuffer names, int at) {
    return names.get(at + KIND) == PACKET_HOST;
  }

  /** The same. */
  static boolean forThisStation(Pointer names, long at) {
    return names.getByte(at + KIND) == PACKET_HOST;
  }

  /** The interface's index. */
  static int index(String interfaceName) throws OsException {
    int index = LibC.INSTANCE.if_nametoindex(LibC.cstring(interfaceName));
    if (index == 0) {
      throw LibC.failure("if_nametoindex " + interfaceName);
    }
    return index;
  }

  /** Sixteen bits in network byte order. */
  static void putBigEndian(Pointer p, long offset, int value) {
    p.putByte(offset, (byte) (value >> 8));
    p.putByte(offset + 1, (byte) value);
  }
}
