// SPDX-License-Identifier: Apache-2.0
package hutong.api.telemetry;

import hutong.api.intercept.Reason;
import java.util.Map;

/**
 * The agent's counters. They live in a mapped file, so that they can be read when the JVM is stuck,
 * and go on from where they were when the telemetry bundle is replaced. Safe for use by several
 * threads.
 */
public interface Counters {
  /**
   * The counter of that name, made when first asked for. Keep the result rather than ask for every
   * event.
   *
   * @param name lower case words joined by dots, for example {@code intercept.hostile}; at most 56
   *     bytes of UTF-8
   * @return the counter; one that counts in memory only when the file is full
   */
  Counter counter(String name);

  /** The counter of a reason, named {@code reason.<number>}. */
  default Counter reason(Reason reason) {
    return counter("reason." + reason.number());
  }

  /** All counters now, sorted by name. */
  Map<String, Long> snapshot();
}
