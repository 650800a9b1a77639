// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.intercept.internal.Rule.Match;
import java.util.ArrayList;
import java.util.List;

/**
 * Rules, of which one is enough, or a text that is none.
 *
 * @param text the rules as they are shown: one space between two
 * @param rules the rules
 * @param problem what is wrong with the text; null if it is right
 */
record RuleList(String text, List<Rule> rules, String problem) {
  /** No rules. */
  static final RuleList EMPTY = new RuleList("", List.of(), null);

  /** Which rule matches, if one does. */
  record Hit(Match match, Rule rule) {
    private static final Hit NONE = new Hit(Match.NO, null);
  }

  RuleList {
    rules = List.copyOf(rules);
  }

  /**
   * Reads rules that are separated by {@code ;} or blanks. Never throws.
   *
   * @param name what it is called in the message about an error
   */
  static RuleList of(String name, String text) {
    List<Rule> rules = new ArrayList<>();
    List<String> shown = new ArrayList<>();
    for (String word : text.split("[; \t\r\n]+")) {
      if (!word.isEmpty()) {
        try {
          rules.add(Rule.parse(word));
        } catch (IllegalArgumentException e) {
          return new RuleList(text.strip(), List.of(), name + ": " + e.getMessage());
        }
        shown.add(word);
      }
    }
    return new RuleList(String.join(" ", shown), rules, null);
  }

  /** The first rule that matches, else the first that may. */
  Hit hit(Subject subject) {
    Hit best = Hit.NONE;
    for (Rule rule : rules) {
      Match match = rule.match(subject);
      if (match == Match.YES) {
        return new Hit(match, rule);
      }
      if (match == Match.MAYBE && best.match == Match.NO) {
        best = new Hit(match, rule);
      }
    }
    return best;
  }
}
