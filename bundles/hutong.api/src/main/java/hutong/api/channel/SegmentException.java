// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

import java.io.IOException;

/** A segment that was offered is not what it must be, or is of no use to this agent. */
public final class SegmentException extends IOException {
  private static final long serialVersionUID = 1L;

  /** Says what is wrong with it. */
  public SegmentException(String message) {
    super(message);
  }
}
