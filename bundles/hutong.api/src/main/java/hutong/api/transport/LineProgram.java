// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

/**
 * What the agent can find out about the program of a line, and do for it. Called on the transport's
 * thread; must return soon, and never throws.
 */
public interface LineProgram {
  /** What the kernel says of the socket (rule 17). */
  Holding socket();

  /** Bytes that the program has sent by TCP. */
  long sentByTcp();

  /** Bytes that it has received, by whatever way. */
  long received();

  /**
   * Sends by TCP what the program owes, as far as that goes without waiting. For a program that
   * makes no call in which it would do so itself, while its peer waits for the bytes.
   *
   * @return whether anything has changed for the program
   */
  boolean pay(Debt debt);
}
