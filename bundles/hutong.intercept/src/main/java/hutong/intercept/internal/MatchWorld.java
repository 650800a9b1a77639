// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.ChannelProvider;
import hutong.api.channel.ChannelTable;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import java.io.IOException;
import java.util.List;
import java.util.function.LongSupplier;

/**
 * What the matching works with.
 *
 * @param table this VM's channel numbers and quota
 * @param provider makes and takes shared memory
 * @param outbox the way to the other agents
 * @param timers time
 * @param check tells doorbells
 * @param meter counts
 * @param random gives session numbers
 */
record MatchWorld(
    ChannelTable table,
    ChannelProvider provider,
    Outbox outbox,
    Timers timers,
    DoorbellCheck check,
    Meter meter,
    LongSupplier random) {
  /** The way to the other agents. */
  interface Outbox {
    /**
     * Sends a message; the descriptors stay the caller's. An exception means that the peer will not
     * get it.
     */
    void send(int domid, byte[] payload, List<Fd> fds) throws IOException;
  }

  /** Time, on the matching's thread. */
  interface Timers {
    /** Milliseconds of a clock that only goes forward. */
    long nowMs();

    /** Runs a task later. */
    void after(long delayMs, Runnable task);
  }

  /** Tells an eventfd from anything else. */
  interface DoorbellCheck {
    /** Whether a descriptor is an eventfd. */
    boolean isDoorbell(Fd fd);
  }

  /** What is counted. */
  interface Meter {
    /** Adds one to a counter of that name. */
    void count(String name);

    /** Adds one to the counter of a reason. */
    void reason(Reason reason);
  }
}
