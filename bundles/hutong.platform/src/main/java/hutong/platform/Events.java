// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;
import java.util.function.Supplier;

/** Doorbells and waiting. */
public interface Events {
  /** A new eventfd: a doorbell. Non-blocking, CLOEXEC. */
  Fd eventfd() throws OsException;

  /** Whether a descriptor, for example one that a program sent, is an eventfd. */
  boolean isEventfd(Fd fd) throws OsException;

  /**
   * Rings a doorbell. Never blocks, whatever the other holders of the eventfd do to it: one that is
   * full is rung already.
   */
  void ring(Fd eventfd) throws OsException;

  /**
   * Takes the doorbell's count. For own doorbells only: another holder could make it block.
   *
   * @return the rings since the last time, 0 when none
   */
  long drain(Fd eventfd) throws OsException;

  /**
   * The calling thread is to run soon after it is woken, before others that want the processor: its
   * work is short, and somebody waits for it. Without the privilege all stays as it is.
   */
  void urgent();

  /**
   * Does something that keeps a processor busy for milliseconds, and can wait while others want it.
   * Without the privilege to take that back it is done like everything else.
   *
   * @return what it returns
   */
  <T> T patiently(Supplier<T> work);

  /** A new poller. */
  Poller openPoller() throws OsException;
}
