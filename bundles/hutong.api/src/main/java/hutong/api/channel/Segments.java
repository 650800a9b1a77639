// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

import hutong.api.os.Fd;
import java.io.IOException;

/**
 * Makes and checks the shared memory of connections (M5.3, rule 3 of the switching rules).
 * Thread-safe.
 */
public interface Segments {
  /** Bytes of one ring of a segment made here; a power of two. */
  int ringSize();

  /** Bytes of one overflow of a segment made here; a power of two. */
  int overSize();

  /**
   * Makes a segment: zeroed whole pages, allocated when first touched, sealed against any change of
   * size, its header filled in.
   *
   * @return the memfd; the caller closes it
   * @throws IOException when there is no memory or no descriptor
   */
  Fd allocate() throws IOException;

  /**
   * The same with other sizes, both powers of two.
   *
   * @param ringSize bytes of one ring
   * @param overSize bytes of one overflow
   */
  Fd allocate(int ringSize, int overSize) throws IOException;

  /**
   * Checks a segment that another VM's agent offers, before a program gets it: kind, seals, exact
   * size, header.
   *
   * @param segment the descriptor; stays the caller's
   * @param ringSize bytes of one ring, as the offer has it
   * @param overSize bytes of one overflow, as the offer has it
   * @throws SegmentException when it is not what it must be
   * @throws IOException when it cannot be looked at
   */
  void verify(Fd segment, int ringSize, int overSize) throws IOException;

  /** The size of a segment in bytes: one page of header, two rings, two overflows. */
  static long bytes(int ringSize, int overSize) {
    return 4096L + 2L * ringSize + 2L * overSize;
  }
}
