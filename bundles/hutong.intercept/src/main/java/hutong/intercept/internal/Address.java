// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;

/**
 * An IP address as 128 bits; IPv4 is kept as {@code ::ffff:a.b.c.d}, so that an IPv4 socket and a
 * dual-stack IPv6 socket of the same connection have the same address (switching rules, D1).
 *
 * @param hi first eight bytes, network order
 * @param lo last eight bytes, network order
 */
record Address(long hi, long lo) implements Comparable<Address> {
  private static final long V4_PREFIX = 0xffffL << 32;
  private static final int V6_BYTES = 16;

  /** The normalised form of an address. */
  static Address of(InetAddress address) {
    byte[] raw = address.getAddress();
    ByteBuffer bytes = ByteBuffer.wrap(raw);
    if (raw.length == V6_BYTES) {
      return new Address(bytes.getLong(), bytes.getLong());
    }
    return new Address(0, V4_PREFIX | Integer.toUnsignedLong(bytes.getInt()));
  }

  /**
   * Parses a literal; names are never looked up.
   *
   * @throws IllegalArgumentException if {@code text} is no address literal
   */
  static Address parse(String text) {
    boolean v6 = text.indexOf(':') >= 0;
    if (!(v6 ? text.matches("[0-9a-fA-F:.]+") : text.matches("\\d{1,3}(\\.\\d{1,3}){3}"))) {
      throw new IllegalArgumentException("not an IP address: " + text);
    }
    try {
      return of(InetAddress.getByName(text));
    } catch (UnknownHostException e) {
      throw new IllegalArgumentException("not an IP address: " + text, e);
    }
  }

  /** Reads 16 bytes at the buffer's position, network order whatever the buffer's order is. */
  static Address read(ByteBuffer buffer) {
    byte[] raw = new byte[V6_BYTES];
    buffer.get(raw);
    ByteBuffer bytes = ByteBuffer.wrap(raw);
    return new Address(bytes.getLong(), bytes.getLong());
  }

  /** The 16 bytes in network order. */
  byte[] bytes() {
    return ByteBuffer.allocate(V6_BYTES).putLong(hi).putLong(lo).array();
  }

  /** The address as the network has it: 4 bytes, or 16. */
  byte[] raw() {
    return v4() ? ByteBuffer.allocate(Integer.BYTES).putInt((int) lo).array() : bytes();
  }

  /** True for an address of the loopback network, which never leaves its VM. */
  boolean loopback() {
    return hi == 0 && (lo == 1 || (lo >>> 24) == ((V4_PREFIX | 0x7f000000L) >>> 24));
  }

  /** True for an IPv4 address. */
  boolean v4() {
    return hi == 0 && lo >>> 32 == V4_PREFIX >>> 32;
  }

  /** memcmp order, as the member table is sorted. */
  @Override
  public int compareTo(Address other) {
    int order = Long.compareUnsigned(hi, other.hi);
    return order != 0 ? order : Long.compareUnsigned(lo, other.lo);
  }

  @Override
  public String toString() {
    try {
      // For a mapped address the JDK gives back the IPv4 form.
      return InetAddress.getByAddress(bytes()).getHostAddress();
    } catch (UnknownHostException e) {
      throw new IllegalStateException(e);
    }
  }
}
