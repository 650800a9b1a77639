// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.PolicyControl.RuleSet;
import hutong.api.intercept.Reason;
import java.util.List;
import java.util.Set;

/**
 * Finds out what is behind a reason: a rule, the switch, the environment of a program. Thread-safe.
 */
final class Causes {
  /** Reasons that may hide that the connection is switched off or forbidden. */
  private static final Set<Reason> PASSING =
      Set.of(Reason.NONE, Reason.YOUNG, Reason.PEER_SILENT, Reason.PEER_AGENT);

  private final ProcFs proc;
  private final LivePolicy policy;

  Causes(ProcFs proc, LivePolicy policy) {
    this.proc = proc;
    this.policy = policy;
  }

  /**
   * A reason with what is special about it.
   *
   * @param reason the reason
   * @param detail a few words, or nothing
   * @param advice what is needed for the connection to leave TCP
   */
  record Cause(Reason reason, String detail, String advice) {
    static Cause of(Reason reason) {
      return new Cause(reason, "", Advice.of(reason));
    }
  }

  /** Of a connection that the shim in its process does not watch, or not any more. */
  Cause unwatched(int pid, AddressPair pair) {
    Cause own = environment(pid, pair);
    if (own != null) {
      return own;
    }
    Cause agents = agent(pid, pair);
    return agents != null
        ? agents
        : new Cause(
            Reason.YOUNG,
            "or the shim has given it up",
            "Wait; or make a new one with HUTONG_LOG=1, which tells why one is given up.");
  }

  /** Of a connection that has a reason already. */
  Cause of(Reason reason, int pid, AddressPair pair) {
    boolean off = !policy.now().enabled();
    if (PASSING.contains(reason) || reason == Reason.POLICY || (reason == Reason.OFF && off)) {
      Cause agents = agent(pid, pair);
      if (agents != null && (PASSING.contains(reason) || agents.reason == reason)) {
        return agents;
      }
    }
    if (reason == Reason.POLICY || reason == Reason.OFF) {
      Cause own = environment(pid, pair);
      if (own != null && own.reason == reason) {
        return own;
      }
      return new Cause(
          reason, "when it was made, or since", "It is for good: make a new connection.");
    }
    return Cause.of(reason);
  }

  /** What the agent has against it now; null if that is nothing. */
  private Cause agent(int pid, AddressPair pair) {
    if (!policy.now().enabled()) {
      return new Cause(
          Reason.OFF, "the agent is switched off", "Switch it on: hutong:on, or hutong.enabled.");
    }
    Policy.Decision decision = policy.decide(subject(pid, pair));
    return decision.denied()
        ? new Cause(
            Reason.POLICY,
            decision.why(),
            "Change the agent's policy (hutong:policy) and make a new connection.")
        : null;
  }

  private Subject subject(int pid, AddressPair pair) {
    return Subject.of(() -> proc.names(pid), proc.uid(pid), pair);
  }

  /** What the program's environment has against it; null if that is nothing. */
  private Cause environment(int pid, AddressPair pair) {
    String off = proc.environment(pid, "HUTONG_OFF");
    if (off != null && !off.isEmpty() && !off.equals("0")) {
      return new Cause(
          Reason.OFF,
          "HUTONG_OFF is in its environment",
          "Start the program without HUTONG_OFF in its environment.");
    }
    Policy own = Policy.none();
    for (RuleSet set : List.of(RuleSet.INCLUDE, RuleSet.EXCLUDE)) {
      String name = "HUTONG_" + set.name();
      String rules = proc.environment(pid, name);
      own = own.with(set, RuleList.of(name, rules == null ? "" : rules));
    }
    Policy.Decision decision = own.decide(subject(pid, pair));
    return decision.denied()
        ? new Cause(
            Reason.POLICY,
            "by its environment: " + decision.why(),
            "Start the program with other HUTONG_INCLUDE and HUTONG_EXCLUDE.")
        : null;
  }
}
