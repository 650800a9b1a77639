// SPDX-License-Identifier: Apache-2.0
package hutong.api.transport;

import hutong.api.intercept.Reason;
import hutong.api.os.Fd;

/** One connection to a VM of another host. Safe for use by several threads. */
public interface Line {
  /** The segment, for the program; the caller closes it. */
  Fd segment();

  /** The doorbell that wakes the agent, for the program; the caller closes it. */
  Fd bell();

  /**
   * Why bytes go by TCP; {@link Reason#NONE} if both directions are on the light protocol, or are
   * about to go there. Never waits.
   */
  Reason reason();

  /**
   * The program's end is registered no more. What it has left behind is still delivered; then the
   * line ends by itself. Idempotent.
   */
  void programGone();
}
