// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.PolicyControl.RuleSet;
import hutong.intercept.internal.Rule.Match;
import hutong.intercept.internal.RuleList.Hit;
import java.util.EnumMap;
import java.util.Locale;
import java.util.Map;

/**
 * The administrator's rules. {@code deny} wins over {@code exclude}, which wins over {@code
 * include}; without any {@code include} everything is included. A list that cannot be read denies
 * everything: a typing error must not open what was meant to be shut.
 */
final class Policy {
  private final Map<RuleSet, RuleList> lists;

  /** What a policy says. */
  enum Outcome {
    ALLOWED,
    /** It depends on what is not known. */
    DEPENDS,
    DENIED
  }

  /**
   * An answer.
   *
   * @param outcome yes or no
   * @param why the rule that decides, in words; empty if none was needed
   */
  record Decision(Outcome outcome, String why) {
    boolean denied() {
      return outcome == Outcome.DENIED;
    }
  }

  private static final Decision FREE = new Decision(Outcome.ALLOWED, "");

  private Policy(Map<RuleSet, RuleList> lists) {
    this.lists = lists;
  }

  /** No rules: all is allowed. */
  static Policy none() {
    return new Policy(new EnumMap<>(RuleSet.class));
  }

  /** This policy with one list replaced. */
  Policy with(RuleSet set, RuleList list) {
    Map<RuleSet, RuleList> copy = new EnumMap<>(RuleSet.class);
    copy.putAll(lists);
    copy.put(set, list);
    return new Policy(copy);
  }

  RuleList list(RuleSet set) {
    return lists.getOrDefault(set, RuleList.EMPTY);
  }

  /** What is wrong with the lists, or null. */
  String problem() {
    for (RuleList list : lists.values()) {
      if (list.problem() != null) {
        return list.problem();
      }
    }
    return null;
  }

  /** Whether it says anything at all. */
  boolean isEmpty() {
    return lists.values().stream().allMatch(l -> l.rules().isEmpty() && l.problem() == null);
  }

  /** Whether a connection may leave TCP. */
  Decision decide(Subject subject) {
    if (isEmpty()) {
      return FREE;
    }
    if (problem() != null) {
      return new Decision(Outcome.DENIED, "the policy cannot be read: " + problem());
    }
    Decision depends = null;
    for (RuleSet set : new RuleSet[] {RuleSet.DENY, RuleSet.EXCLUDE}) {
      Hit hit = list(set).hit(subject);
      if (hit.match() == Match.YES) {
        return new Decision(Outcome.DENIED, named(set, hit));
      }
      if (hit.match() == Match.MAYBE && depends == null) {
        depends = new Decision(Outcome.DEPENDS, named(set, hit));
      }
    }
    if (!list(RuleSet.INCLUDE).rules().isEmpty()) {
      Hit hit = list(RuleSet.INCLUDE).hit(subject);
      if (hit.match() == Match.NO) {
        return new Decision(Outcome.DENIED, "no rule of include matches");
      }
      if (hit.match() == Match.MAYBE && depends == null) {
        depends = new Decision(Outcome.DEPENDS, named(RuleSet.INCLUDE, hit));
      }
    }
    return depends == null ? FREE : depends;
  }

  private static String named(RuleSet set, Hit hit) {
    return set.name().toLowerCase(Locale.ROOT) + " rule " + hit.rule().text();
  }
}
