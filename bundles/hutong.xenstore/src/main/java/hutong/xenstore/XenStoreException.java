// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore;

import java.io.IOException;

/** A XenStore request failed; {@link #errno()} says why. */
public final class XenStoreException extends IOException {
  private static final long serialVersionUID = 1L;

  /** No such node. */
  public static final int ENOENT = 2;

  /** A conflicting change was made while the transaction was open: try again. */
  public static final int EAGAIN = 11;

  /** The caller's domain may not do that. */
  public static final int EACCES = 13;

  /** The store cannot be reached (no library, no socket, or the connection broke). */
  public static final int ENOTCONN = 107;

  private final int errno;

  /**
   * Creates the exception.
   *
   * @param errno Linux error number
   * @param message what was tried
   */
  public XenStoreException(int errno, String message) {
    super(message + ": errno " + errno);
    this.errno = errno;
  }

  /**
   * Returns the Linux error number.
   *
   * @return such as {@link #EACCES}
   */
  public int errno() {
    return errno;
  }
}
