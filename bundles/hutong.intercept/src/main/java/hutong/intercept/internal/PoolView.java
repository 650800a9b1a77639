// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.Reason;
import java.util.Map;

/**
 * A program's pool, for display.
 *
 * @param pid the program
 * @param uid its user
 * @param pool its end pool
 * @param registered what is registered, by slot
 */
record PoolView(int pid, int uid, EndPool pool, Map<Integer, Registered> registered) {
  /**
   * A registration, for display.
   *
   * @param pair the connection
   * @param cookie its socket's cookie, checked
   * @param reason why it has no channel, or why that is not used
   */
  record Registered(AddressPair pair, long cookie, Reason reason) {}
}
