// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

import java.nio.ByteBuffer;

/**
 * What a program owes to TCP after its writer was stopped at an offset of the stream (rule 7): the
 * bytes from there to what it had written. Used by {@link LineProgram#pay}, on the transport's
 * thread, and not kept.
 */
public interface Debt {
  /** The round that was stopped. */
  int round();

  /** No more than this can be owed: what the program's ring and its overflow area hold. */
  long most();

  /**
   * Accepts the stop in the program's place. Only for who holds the program's sending lock.
   *
   * @return the offset from which on TCP carries the stream; -1 if the round is not stopped
   */
  long accept();

  /** Copies bytes of the program's ring into a buffer. */
  void copy(long offset, int length, ByteBuffer target);

  /** Everything was sent: the round is over for the program. */
  void paid();
}
