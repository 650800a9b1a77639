// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import java.util.function.Supplier;

/** Counts and reports what happens; both services may come and go. */
record Tally(Supplier<Counters> counters, Supplier<EventLog> log) {
  static final String RECEIVED = "discovery.list.received";
  static final String MALFORMED = "discovery.list.malformed";
  static final String UNKNOWN_HOST = "discovery.list.unknown-host";
  static final String BAD_SIGNATURE = "discovery.list.bad-signature";
  static final String REPLAY = "discovery.list.replay";
  static final String THROTTLED = "discovery.list.throttled";
  static final String DUPLICATE = "discovery.duplicate";
  static final String BAD_CLAIM = "discovery.bad-claim";
  static final String SENT = "discovery.list.sent";
  static final String STORE_ERROR = "discovery.store.error";
  private static final String SOURCE = "discovery";

  void count(String name) {
    Counters now = counters.get();
    if (now != null) {
      now.counter(name).increment();
    }
  }

  void info(String message) {
    EventLog now = log.get();
    if (now != null) {
      now.info(SOURCE, message);
    }
  }

  void warn(String message) {
    EventLog now = log.get();
    if (now != null) {
      now.warn(SOURCE, message);
    }
  }
}
