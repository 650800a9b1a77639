// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

/** The syntax of paths (docs/misc/xenstore.txt of Xen). */
public final class Paths {
  /** Longest absolute path. */
  public static final int ABSOLUTE_MAX = 3072;

  /** Longest path below {@code /local/domain/<id>/}, and longest of all others. */
  public static final int RELATIVE_MAX = 2048;

  private static final String DOMAINS = "/local/domain/";

  private Paths() {}

  /**
   * The directory of a domain.
   *
   * @param domid domain
   * @return {@code /local/domain/<domid>}
   */
  public static String domain(int domid) {
    return DOMAINS + domid;
  }

  /**
   * Makes a path absolute.
   *
   * @param domid the caller, whose directory relative paths start from
   * @param path as given by the caller
   * @return a valid absolute path
   * @throws StoreException EINVAL if the path is malformed or too long
   */
  public static String resolve(int domid, String path) throws StoreException {
    String absolute = path.startsWith("/") ? path : domain(domid) + "/" + path;
    if (!valid(absolute)) {
      throw new StoreException(StoreError.EINVAL);
    }
    return absolute;
  }

  /**
   * Checks an absolute path.
   *
   * @param path to check
   * @return whether it is well-formed and not too long
   */
  public static boolean valid(String path) {
    int length = path.length();
    if (length == 0 || length > ABSOLUTE_MAX || path.charAt(0) != '/') {
      return false;
    }
    if (length > 1 && path.charAt(length - 1) == '/') {
      return false;
    }
    for (int i = 1; i < length; i++) {
      char c = path.charAt(i);
      if (c == '/') {
        if (path.charAt(i - 1) == '/') {
          return false;
        }
      } else if (!nameCharacter(c)) {
        return false;
      }
    }
    return length - domainPrefix(path) <= RELATIVE_MAX;
  }

  /** Length of the leading {@code /local/domain/<id>/}, 0 without it. */
  private static int domainPrefix(String path) {
    if (!path.startsWith(DOMAINS)) {
      return 0;
    }
    int i = DOMAINS.length();
    while (i < path.length() && path.charAt(i) >= '0' && path.charAt(i) <= '9') {
      i++;
    }
    boolean number = i > DOMAINS.length() && i <= DOMAINS.length() + 5;
    return number && i < path.length() && path.charAt(i) == '/' ? i + 1 : 0;
  }

  private static boolean nameCharacter(char c) {
    return (c >= 'a' && c <= 'z')
        || (c >= 'A' && c <= 'Z')
        || (c >= '0' && c <= '9')
        || c == '-'
        || c == '_'
        || c == '@';
  }

  /**
   * The parent of a path.
   *
   * @param path absolute and valid
   * @return the path without its last name; {@code /} for {@code /}
   */
  public static String parent(String path) {
    int slash = path.lastIndexOf('/');
    return slash <= 0 ? "/" : path.substring(0, slash);
  }

  /**
   * The last name of a path.
   *
   * @param path absolute and valid
   * @return its last name; empty for {@code /}
   */
  public static String name(String path) {
    return path.substring(path.lastIndexOf('/') + 1);
  }

  /**
   * The path of a child.
   *
   * @param path parent
   * @param name last name
   * @return the joined path
   */
  public static String child(String path, String name) {
    return path.equals("/") ? "/" + name : path + "/" + name;
  }

  /**
   * Tells whether a path is another or lies below it.
   *
   * @param path to look at
   * @param ancestor the other
   * @return as said
   */
  public static boolean within(String path, String ancestor) {
    if (ancestor.equals("/")) {
      return path.startsWith("/");
    }
    return path.startsWith(ancestor)
        && (path.length() == ancestor.length() || path.charAt(ancestor.length()) == '/');
  }
}
