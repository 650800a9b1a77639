// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.platform.EventLoop;
import java.time.Duration;
import java.util.concurrent.RejectedExecutionException;

/**
 * The matching's time, on the intercept's loop.
 *
 * @param loop the loop
 */
record LoopTimers(EventLoop loop) implements MatchWorld.Timers {
  @Override
  public long nowMs() {
    return System.nanoTime() / 1_000_000;
  }

  @Override
  public void after(long delayMs, Runnable task) {
    try {
      loop.schedule(Duration.ofMillis(delayMs), task);
    } catch (RejectedExecutionException e) {
      // closing: there is no later
    }
  }
}
