// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.transport.Debt;

/** What a program's end pool says about one end; for any thread. Zero once the pool is closed. */
interface ProgramEnd {
  /** The process that uses the segment. */
  int pid();

  /** Number of its doorbell there. */
  int bell();

  /** Number of the peer's doorbell there. */
  int peerBell();

  /** Bytes that it has sent by TCP. */
  long sentByTcp();

  /** Bytes that it has received by TCP and ring. */
  long received();

  /**
   * Sends what the program owes; see {@link Payer}.
   *
   * @param cookie of the socket that is meant
   */
  boolean pay(long cookie, Debt debt);
}
