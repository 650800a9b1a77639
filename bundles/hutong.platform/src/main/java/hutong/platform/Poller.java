// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;
import java.time.Duration;
import java.util.function.Consumer;

/**
 * Waits for descriptors (epoll, level-triggered). {@link #await} and the handlers belong to one
 * thread; the other methods may be called by any.
 */
public interface Poller extends AutoCloseable {
  /** Something can be read. */
  int IN = 1;

  /** Something can be written. */
  int OUT = 4;

  /** An error; always reported. */
  int ERR = 8;

  /** Hung up; always reported. */
  int HUP = 16;

  /** The peer closed its sending side. */
  int RDHUP = 0x2000;

  /**
   * Together with others: reported once for each time that it becomes ready, and for each write to
   * an eventfd, which then need not be read.
   */
  int EDGE = 1 << 31;

  /** Told that a descriptor is ready. */
  @FunctionalInterface
  interface Handler {
    /**
     * The descriptor is ready.
     *
     * @param events bits of {@link Poller}
     * @throws Exception what goes wrong; it is given to the error handler of {@link Poller#await}
     */
    void ready(int events) throws Exception;
  }

  /** Watches a descriptor; one that is watched already is an {@link OsException}. */
  void add(Fd fd, int interest, Handler handler) throws OsException;

  /** Changes what a watched descriptor is watched for. */
  void modify(Fd fd, int interest) throws OsException;

  /**
   * Stops watching; its handler is not called any more. No error when it was not watched. Do it
   * before closing.
   */
  void remove(Fd fd);

  /**
   * Waits once and calls the handlers of what is ready.
   *
   * @param timeout the longest wait, rounded up to milliseconds on a kernel that cannot measure it
   *     finer; null waits without a limit
   * @param onError told what handlers throw; the other handlers are called all the same
   * @return how many handlers were called; 0 after the timeout or a {@link #wakeup}
   * @throws OsException when the wait itself fails
   */
  int await(Duration timeout, Consumer<? super Throwable> onError) throws OsException;

  /** Makes the current or the next {@link #await} return. */
  void wakeup();

  @Override
  void close();
}
