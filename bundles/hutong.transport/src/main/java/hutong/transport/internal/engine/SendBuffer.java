// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import java.nio.ByteBuffer;

/**
 * The ring into which this host's program writes (M3.1). Offsets are 64-bit offsets of the
 * connection's byte stream. Bytes stay until the peer's program has consumed them, since a STOP may
 * have to send them again by TCP. Called on the flow's thread only.
 */
public interface SendBuffer {
  /** One past the last byte that the program has written; never goes back. */
  long end();

  /** Bytes that fit at most; at most 2^30. Tells whether the program may be waiting for room. */
  long capacity();

  /**
   * Copies bytes that lie between what the peer's program consumed and {@link #end}.
   *
   * @param target gets exactly {@code length} bytes at its position
   */
  void copy(long offset, int length, ByteBuffer target);

  /** The peer's program has consumed all bytes before that offset: their room is free. */
  void consumedByPeer(long offset);
}
