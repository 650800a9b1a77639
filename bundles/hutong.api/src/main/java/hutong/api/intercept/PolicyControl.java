// SPDX-License-Identifier: Apache-2.0
package hutong.api.intercept;

/**
 * Which connections may leave TCP, and the kill switch. Changes are kept in the agent's run
 * directory and outlive a restart of the bundle or of the agent. Safe for use by several threads.
 */
public interface PolicyControl {
  /** The three lists of rules, from the weakest to the strongest. */
  enum RuleSet {
    /** If there are any, only connections that match one may leave TCP. */
    INCLUDE,
    /** Connections that match one stay on TCP. */
    EXCLUDE,
    /** The administrator's: connections that match one stay on TCP, whatever else is said. */
    DENY
  }

  /**
   * What holds now.
   *
   * @param enabled false: everything is on TCP
   * @param include the rules as text, empty for none
   * @param exclude likewise
   * @param deny likewise
   * @param changed whether something of it was set at run time, and not by the configuration
   * @param problem what is wrong with a list, which keeps everything on TCP; null when nothing is
   */
  record State(
      boolean enabled,
      String include,
      String exclude,
      String deny,
      boolean changed,
      String problem) {}

  /**
   * What a change did.
   *
   * @param state what holds now
   * @param told connections that were told to look again
   * @param stopped connections that must go back to TCP for good
   */
  record Change(State state, int told, int stopped) {}

  /** What holds now. */
  State state();

  /** The kill switch: off takes live connections back to TCP, on lets them leave it again. */
  Change enable(boolean on);

  /**
   * Replaces a list. Live connections that it forbids go back to TCP for good.
   *
   * @param rules as in {@code docs/operations.md}; blank for none
   * @throws IllegalArgumentException when that is no list of rules; nothing is changed then
   */
  Change set(RuleSet set, String rules);

  /** Takes back what was set at run time, the kill switch included: the configuration holds. */
  Change reset();
}
