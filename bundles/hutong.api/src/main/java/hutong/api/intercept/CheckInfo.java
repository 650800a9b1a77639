// SPDX-License-Identifier: Apache-2.0
package hutong.api.intercept;

import java.util.List;

/**
 * Whether a connection from this VM would leave TCP now.
 *
 * @param target what was asked for
 * @param vm name of the member that it is; null if it is none
 * @param accelerated whether it would; false if one step is not good
 * @param reason that of the first step that is not good
 * @param summary one sentence
 * @param steps what was looked at, in order
 */
public record CheckInfo(
    String target,
    String vm,
    boolean accelerated,
    Reason reason,
    String summary,
    List<Step> steps) {
  /**
   * One condition.
   *
   * @param name a word, for example {@code policy}
   * @param good whether it is met
   * @param reason the reason that a connection would get; {@link Reason#NONE} if it is met
   * @param text what was found, in one sentence
   */
  public record Step(String name, boolean good, Reason reason, String text) {}

  /** Copies the steps. */
  public CheckInfo {
    steps = List.copyOf(steps);
  }
}
