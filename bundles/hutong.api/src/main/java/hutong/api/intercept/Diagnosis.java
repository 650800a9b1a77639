// SPDX-License-Identifier: Apache-2.0
package hutong.api.intercept;

/** Says why a connection is, or would be, on which path. Safe for use by several threads. */
public interface Diagnosis {
  /**
   * A connection that exists.
   *
   * @param pid a process of this VM
   * @param fd one of its descriptors
   * @throws IllegalArgumentException when there is no such process or descriptor in this VM
   */
  WhyInfo why(int pid, int fd);

  /**
   * A connection that somebody might make now.
   *
   * @param target a VM's name or an IP address
   */
  CheckInfo check(String target);
}
