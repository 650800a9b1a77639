// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.discovery.Membership;
import hutong.platform.EventLoop;
import java.time.Duration;
import java.util.Collection;

/**
 * Domain 0's request to share no memory with other VMs, since this one is to be saved or moved: all
 * programs let go of theirs, and domain 0 is told when the last one has.
 */
final class Detaching {
  private static final Duration LOOK_AGAIN = Duration.ofMillis(100);

  private final EventLoop loop;
  private final Collection<ShimSession> sessions;
  private final Survivors survivors;
  private boolean scanned;
  private volatile Membership membership;

  /** The request, empty while there is none. */
  private String request = "";

  /**
   * Nothing is asked yet.
   *
   * @param sessions all there are, at any time
   * @param survivors programs of before this agent
   */
  Detaching(EventLoop loop, Collection<ShimSession> sessions, Survivors survivors) {
    this.loop = loop;
    this.sessions = sessions;
    this.survivors = survivors;
  }

  /** The survivors are known; on the loop. */
  void scanned() {
    scanned = true;
    if (on()) {
      survivors.detach();
    }
  }

  /** That is asked now, or nothing if it is empty; on the loop. */
  void asked(String now) {
    request = now;
    if (!now.isEmpty()) {
      sessions.forEach(ShimSession::detach);
      survivors.detach();
      answer(now);
    }
  }

  /** Whether this VM may share no memory with others now; on the loop. */
  boolean on() {
    return !request.isEmpty();
  }

  /** Answers domain 0 as soon as no program has memory of a channel any more. */
  private void answer(String wanted) {
    Membership now = membership;
    if (!wanted.equals(request)) {
      return; // taken back, or another request
    }
    boolean shares =
        !scanned
            || survivors.shareMemory()
            || sessions.stream().anyMatch(ShimSession::sharesMemory);
    if (now != null && !shares) {
      now.detached(wanted);
      return;
    }
    loop.schedule(LOOK_AGAIN, () -> answer(wanted));
  }

  /** Whom to tell domain 0 through; any thread. */
  void membership(Membership service) {
    membership = service;
  }

  /** That one is gone; any thread. */
  void forgetMembership(Membership service) {
    if (membership == service) {
      membership = null;
    }
  }
}
