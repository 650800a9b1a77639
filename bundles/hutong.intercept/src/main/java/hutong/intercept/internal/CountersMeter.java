// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.Reason;
import hutong.api.telemetry.Counter;
import hutong.api.telemetry.Counters;
import java.util.HashMap;
import java.util.Map;

/** The matching's counters, looked up once each. One thread. */
final class CountersMeter implements MatchWorld.Meter {
  private final Counters counters;
  private final Map<String, Counter> known = new HashMap<>();

  CountersMeter(Counters counters) {
    this.counters = counters;
  }

  @Override
  public void count(String name) {
    known.computeIfAbsent(name, counters::counter).increment();
  }

  @Override
  public void reason(Reason reason) {
    known.computeIfAbsent("reason." + reason.number(), n -> counters.reason(reason)).increment();
  }
}
