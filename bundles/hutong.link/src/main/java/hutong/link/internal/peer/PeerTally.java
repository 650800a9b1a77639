// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.platform.NanoClock;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Counts and reports. What others can cause is logged once in 10 s for each cause at most, with the
 * number of lines left out. Thread-safe.
 */
final class PeerTally {
  static final String UP = "link.peer.up";
  static final String DOWN = "link.peer.down";
  static final String TIMEOUT = "link.peer.timeout";
  static final String THROTTLED = "link.peer.throttled";

  /** Attempts of ours that came to nothing. */
  static final String UNREACHED = "link.peer.unreached";

  /** What should not happen. */
  static final String FAILED = "link.peer.failed";

  static final String QUEUE_FULL = "link.peer.queue-full";

  /** A peer that was wanted, when as many as are kept were wanted already. */
  static final String TOO_MANY = "link.peer.too-many";

  private static final String SOURCE = "link";
  private static final long QUIET_NS = TimeUnit.SECONDS.toNanos(10);

  private final Counters counters;
  private final EventLog log;
  private final NanoClock clock;
  private final Map<String, Quiet> quiet = new HashMap<>();

  private static final class Quiet {
    private long sinceNs;
    private long leftOut;
  }

  PeerTally(Counters counters, EventLog log, NanoClock clock) {
    this.counters = counters;
    this.log = log;
    this.clock = clock;
  }

  void count(String name) {
    counters.counter(name).increment();
  }

  void info(String message) {
    log.info(SOURCE, message);
  }

  void error(String message) {
    log.error(SOURCE, message);
  }

  /** Counts, and says so if nothing of this cause has been said for a while. */
  void complain(String cause, String message) {
    count(cause);
    long now = clock.nanoTime();
    long leftOut;
    synchronized (quiet) {
      Quiet state = quiet.get(cause);
      if (state != null && now - state.sinceNs < QUIET_NS) {
        state.leftOut++;
        return;
      }
      leftOut = state == null ? 0 : state.leftOut;
      Quiet fresh = new Quiet();
      fresh.sinceNs = now;
      quiet.put(cause, fresh);
    }
    log.warn(SOURCE, message + (leftOut == 0 ? "" : " (and " + leftOut + " times before)"));
  }
}
