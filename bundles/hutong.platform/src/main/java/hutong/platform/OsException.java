// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import java.io.IOException;

/** A system call failed. */
public final class OsException extends IOException {
  private static final long serialVersionUID = 1L;

  /** errno values that callers tell apart. */
  public static final int EPERM = 1;

  /** No such file. */
  public static final int ENOENT = 2;

  /** No such process. */
  public static final int ESRCH = 3;

  /** The device cannot do it. */
  public static final int EIO = 5;

  /** Bad descriptor. */
  public static final int EBADF = 9;

  /** Would block. */
  public static final int EAGAIN = 11;

  /** Invalid argument. */
  public static final int EINVAL = 22;

  /** The other end is closed. */
  public static final int EPIPE = 32;

  /** The descriptor is no socket. */
  public static final int ENOTSOCK = 88;

  /** Larger than what can be sent at once. */
  public static final int EMSGSIZE = 90;

  /** The address is in use. */
  public static final int EADDRINUSE = 98;

  /** The connection was reset. */
  public static final int ECONNRESET = 104;

  /** Not connected. */
  public static final int ENOTCONN = 107;

  /** Nobody listens. */
  public static final int ECONNREFUSED = 111;

  private final String call;
  private final int errno;

  /**
   * Makes the exception.
   *
   * @param call the system call, with what it was about
   * @param errno its error number
   * @param text the error's text
   */
  public OsException(String call, int errno, String text) {
    super(call + ": " + text + " (errno " + errno + ")");
    this.call = call;
    this.errno = errno;
  }

  /** The error number. */
  public int errno() {
    return errno;
  }

  /** The system call that failed, with what it was about. */
  public String call() {
    return call;
  }

  /** Whether the call would have blocked: try again when the descriptor is ready. */
  public boolean wouldBlock() {
    return errno == EAGAIN;
  }
}
