// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.ChannelProvider;
import java.util.ArrayDeque;
import java.util.Queue;
import java.util.function.Consumer;

/**
 * How long memory is kept for a peer that does not take it: on Xen it is there whole, and scarce.
 * One timer serves all, and what has been taken is forgotten with the next offer, not when its time
 * would be over. On the matching's thread.
 */
final class SetupLimits {
  private record Setup(Registration registration, ChannelProvider.Part part, long untilMs) {
    boolean waits() {
      return registration.part == part;
    }
  }

  private final MatchWorld.Timers timers;
  private final long limitMs;
  private final Consumer<Registration> expired;
  private final Queue<Setup> setups = new ArrayDeque<>(); // in the order of their times
  private boolean armed;

  /**
   * Watches nothing yet.
   *
   * @param limitMs for each
   * @param expired told of each whose memory was not taken in time
   */
  SetupLimits(MatchWorld.Timers timers, long limitMs, Consumer<Registration> expired) {
    this.timers = timers;
    this.limitMs = limitMs;
    this.expired = expired;
  }

  /** Memory, {@code registration.part}, has been offered just now. */
  void offered(Registration registration) {
    forgetTaken();
    setups.add(new Setup(registration, registration.part, timers.nowMs() + limitMs));
    arm();
  }

  private void forgetTaken() {
    while (!setups.isEmpty() && !setups.peek().waits()) {
      setups.remove();
    }
  }

  private void arm() {
    if (!armed && !setups.isEmpty()) {
      armed = true;
      timers.after(setups.peek().untilMs - timers.nowMs(), this::look);
    }
  }

  private void look() {
    armed = false;
    while (!setups.isEmpty() && setups.peek().untilMs <= timers.nowMs()) {
      Setup over = setups.remove();
      if (over.waits()) {
        expired.accept(over.registration);
      }
    }
    forgetTaken();
    arm();
  }
}
