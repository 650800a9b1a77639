// SPDX-License-Identifier: Apache-2.0
package hutong.api.telemetry;

import java.util.List;

/**
 * The agent's log: the last events in memory, and all of them on standard error, rate-limited. Safe
 * for use by several threads; never blocks for long and never throws.
 */
public interface EventLog {
  /** How grave an event is. */
  enum Level {
    /** As it should be. */
    INFO,
    /** Something is not as it should be, and was dealt with. */
    WARN,
    /** Something does not work. */
    ERROR
  }

  /**
   * One event.
   *
   * @param epochMillis when, in milliseconds since 1970 UTC
   * @param level how grave
   * @param source the bundle or part, for example {@code intercept}
   * @param message one line
   */
  record Event(long epochMillis, Level level, String source, String message) {}

  /**
   * Records an event.
   *
   * @param level how grave
   * @param source the bundle or part
   * @param message what happened; control characters are replaced
   */
  void log(Level level, String source, String message);

  /** Records an {@link Level#INFO} event. */
  default void info(String source, String message) {
    log(Level.INFO, source, message);
  }

  /** Records a {@link Level#WARN} event. */
  default void warn(String source, String message) {
    log(Level.WARN, source, message);
  }

  /** Records an {@link Level#ERROR} event. */
  default void error(String source, String message) {
    log(Level.ERROR, source, message);
  }

  /** The events kept, oldest first. */
  List<Event> recent();
}
