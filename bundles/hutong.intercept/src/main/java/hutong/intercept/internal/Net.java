// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

/**
 * A network: the first bits of an address. IPv4 and IPv6 are apart, whatever the number of bits: a
 * mapped address is IPv4.
 *
 * @param base an address of it
 * @param bits how many of the 128 bits count; an IPv4 network has 96 more than it says
 */
record Net(Address base, int bits) {
  private static final int MAPPED = 96;
  private static final String OCTET = "(?:0|[1-9]\\d{0,2})";

  /**
   * Parses {@code ADDRESS} or {@code ADDRESS/BITS}; names are never looked up.
   *
   * @throws IllegalArgumentException if it is none
   */
  static Net parse(String text) {
    int slash = text.indexOf('/');
    String address = slash < 0 ? text : text.substring(0, slash);
    boolean dotted = address.indexOf(':') < 0;
    int most = dotted ? 32 : 128;
    // Some take an octet with leading zeros for octal.
    if (dotted && !address.matches(OCTET + "(?:\\." + OCTET + "){3}")) {
      throw new IllegalArgumentException("not an IP address: " + address);
    }
    int bits = slash < 0 ? most : (int) Rule.number(text.substring(slash + 1), 0, most);
    return new Net(Address.parse(address), dotted ? bits + MAPPED : bits);
  }

  private boolean v4() {
    return bits >= MAPPED && base.v4();
  }

  boolean contains(Address address) {
    if (v4() != address.v4()) {
      return false;
    }
    return same(base.hi(), address.hi(), Math.min(bits, 64))
        && same(base.lo(), address.lo(), Math.max(bits - 64, 0));
  }

  private static boolean same(long a, long b, int bits) {
    return bits == 0 || (a ^ b) >>> (64 - bits) == 0;
  }
}
