// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.PolicyControl;
import hutong.api.telemetry.EventLog;

/** Changes the policy at run time, tells the programs, and logs it. Thread-safe. */
final class Control implements PolicyControl {
  private final LivePolicy policy;
  private final Intercept intercept;
  private final EventLog log;

  Control(LivePolicy policy, Intercept intercept, EventLog log) {
    this.policy = policy;
    this.intercept = intercept;
    this.log = log;
  }

  @Override
  public State state() {
    LivePolicy.State now = policy.now();
    return new State(
        now.enabled(),
        now.policy().list(RuleSet.INCLUDE).text(),
        now.policy().list(RuleSet.EXCLUDE).text(),
        now.policy().list(RuleSet.DENY).text(),
        now.changed(),
        now.policy().problem());
  }

  @Override
  public Change enable(boolean on) {
    return changed(() -> policy.enable(on));
  }

  @Override
  public Change set(RuleSet set, String rules) {
    return changed(() -> policy.set(set, rules));
  }

  @Override
  public Change reset() {
    return changed(policy::reset);
  }

  private Change changed(Runnable change) {
    boolean was = policy.now().enabled();
    ShimSession.Told told;
    try {
      change.run();
    } finally {
      // Also when it holds and could only not be kept.
      told = intercept.policyChanged(policy.now().enabled() != was);
    }
    State now = state();
    String line =
        "policy: %s, include [%s], exclude [%s], deny [%s]; %d connections told, %d stopped"
            .formatted(
                now.enabled() ? "on" : "off",
                now.include(),
                now.exclude(),
                now.deny(),
                told.rung(),
                told.stopped());
    // Not from here: the shell takes what its thread writes for the command's output.
    intercept.later(() -> log.info("intercept", line));
    return new Change(now, told.rung(), told.stopped());
  }
}
