// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import java.nio.ByteBuffer;

/**
 * The ring from which this host's program reads (M3.1). Datagrams that come too early are put at
 * their place at once; a byte is put once at most in an epoch. Called on the flow's thread only.
 */
public interface ReceiveBuffer {
  /**
   * Offset up to which the program has consumed; never goes back, never passes what is published.
   */
  long consumed();

  /**
   * Bytes that fit at most, 1 to 2^30; may grow, and may shrink only while room that was announced
   * stays there.
   */
  long size();

  /**
   * Puts bytes at their place, which lies between what is published and {@code consumed() +
   * size()}.
   *
   * @param source all its remaining bytes
   */
  void put(long offset, ByteBuffer source);

  /** All bytes before that offset are there: the program may see them. */
  void publish(long end);
}
