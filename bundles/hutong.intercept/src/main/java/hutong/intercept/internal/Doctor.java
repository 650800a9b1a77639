// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.CheckInfo;
import hutong.api.intercept.Diagnosis;
import hutong.api.intercept.WhyInfo;

/**
 * Answers questions about connections. Thread-safe.
 *
 * @param why about one that exists
 * @param world what a new one would meet
 */
record Doctor(Why why, Check.World world) implements Diagnosis {
  @Override
  public WhyInfo why(int pid, int fd) {
    return why.of(pid, fd);
  }

  @Override
  public CheckInfo check(String target) {
    return new Check(world, target).run();
  }
}
