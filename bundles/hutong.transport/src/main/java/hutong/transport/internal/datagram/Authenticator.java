// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

import java.nio.ByteBuffer;

/**
 * Makes and checks the 16-byte MAC that stands after the data, outside H-len (D6). It covers header
 * and data. A key serves one direction of one channel for less than 2^32 datagrams: a datagram of
 * the other direction or of another channel then never verifies. Confined to one thread.
 */
public interface Authenticator {
  /** Length of the MAC. */
  int BYTES = 16;

  /**
   * Writes the MAC behind a complete datagram.
   *
   * @param datagram has {@link #BYTES} of room after it; position and limit are undefined
   *     afterwards
   * @param start where the header begins
   * @param length header and data
   */
  void sign(ByteBuffer datagram, int start, int length);

  /** Whether the bytes at {@code start + length} are the MAC. Takes the same time either way. */
  boolean verify(ByteBuffer datagram, int start, int length);
}
