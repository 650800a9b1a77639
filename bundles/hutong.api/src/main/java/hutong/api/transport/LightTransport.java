// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

import hutong.api.os.Fd;
import java.io.IOException;
import java.util.List;

/**
 * Carries connections between hosts. The program's end is a segment like that of a connection
 * within a host; this VM's agent is at its other end and moves the bytes to the peer's agent. Safe
 * for use by several threads.
 */
public interface LightTransport {
  /**
   * Makes the segment for a connection whose two ends are registered (M2.3).
   *
   * @param spec the connection
   * @param programBell the program's doorbell; becomes the line's
   * @return the line; nothing moves before the program arms its receiving direction
   * @throws IOException when there is no memory or no descriptor; the doorbell is closed then
   */
  Line open(LineSpec spec, Fd programBell) throws IOException;

  /**
   * Goes on with a line that was left behind: the program has its segment still. Harmless when it
   * is carried already.
   *
   * @param owner who speaks for it now
   * @return the line
   * @throws IOException when it cannot be: nothing is known of it, or it is not what it was; then
   *     its bytes are lost, and the connection must be reset
   */
  Line resume(LineOwner owner) throws IOException;

  /**
   * All who speak for lines of before have done so: what is left of the others belongs to programs
   * that are gone, and their peers are told.
   */
  void allOwnersKnown();

  /** Whether connections between hosts are to be carried at all, as configured. */
  boolean enabled();

  /**
   * The version of what transports of two VMs say to each other: a connection whose ends have
   * different ones must stay on TCP.
   */
  int version();

  /** Bytes of one ring of a line. */
  int ringSize();

  /** Bytes of one overflow of a line. */
  int overSize();

  /** All lines now, for display, sorted by channel number. */
  List<LineInfo> lines();
}
