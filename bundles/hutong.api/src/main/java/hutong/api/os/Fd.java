// SPDX-License-Identifier: Apache-2.0
package hutong.api.os;

/**
 * An open file descriptor of this process, and the duty to close it.
 *
 * <p>Closing is idempotent and never throws. A descriptor must not be closed while another thread
 * uses it: the number may be given to somebody else at once.
 */
public interface Fd extends AutoCloseable {
  /**
   * The descriptor's number.
   *
   * @throws IllegalStateException when it was closed
   */
  int number();

  /** Whether it was not closed yet. */
  boolean isOpen();

  @Override
  void close();
}
