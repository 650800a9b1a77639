// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore;

/**
 * One entry of a XenStore node's permissions. The first entry of a node names its owner, who may
 * always do everything, and says what all domains without an entry of their own may do.
 *
 * @param domid the domain that the entry is about, 0 to 65535
 * @param read whether it may read the value and list the children
 * @param write whether it may change the value and create children
 */
public record Permission(int domid, boolean read, boolean write) {

  /** Checks the range of the domain id. */
  public Permission {
    if (domid < 0 || domid > 0xffff) {
      throw new IllegalArgumentException("domain id out of range: " + domid);
    }
  }

  /**
   * An entry that grants nothing; as the first entry it names the owner of a private node.
   *
   * @param domid the domain
   * @return the entry {@code n<domid>}
   */
  public static Permission none(int domid) {
    return new Permission(domid, false, false);
  }

  /**
   * An entry that grants reading.
   *
   * @param domid the domain
   * @return the entry {@code r<domid>}
   */
  public static Permission readOnly(int domid) {
    return new Permission(domid, true, false);
  }

  /**
   * Reads the wire form: one of the letters n, r, w, b and the decimal domain id.
   *
   * @param text such as {@code r3}
   * @return the entry
   * @throws IllegalArgumentException if the text is not of that form
   */
  public static Permission parse(String text) {
    if (text.length() < 2 || text.length() > 6) {
      throw new IllegalArgumentException("not a permission: " + text);
    }
    int domid = 0;
    for (int i = 1; i < text.length(); i++) {
      int digit = text.charAt(i) - '0';
      if (digit < 0 || digit > 9) {
        throw new IllegalArgumentException("not a permission: " + text);
      }
      domid = domid * 10 + digit;
    }
    return switch (text.charAt(0)) {
      case 'n' -> new Permission(domid, false, false);
      case 'r' -> new Permission(domid, true, false);
      case 'w' -> new Permission(domid, false, true);
      case 'b' -> new Permission(domid, true, true);
      default -> throw new IllegalArgumentException("not a permission: " + text);
    };
  }

  /** Returns the wire form, such as {@code r3}. */
  @Override
  public String toString() {
    char letter = read ? (write ? 'b' : 'r') : (write ? 'w' : 'n');
    return letter + Integer.toString(domid);
  }
}
