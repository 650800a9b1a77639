// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

import java.util.List;

/**
 * What the holder of a channel can tell about its use, for display. Safe for use by several
 * threads.
 */
public interface ChannelUse {
  /** A channel that nobody uses. */
  ChannelUse NONE =
      new ChannelUse() {
        @Override
        public long bytesIn() {
          return 0;
        }

        @Override
        public long bytesOut() {
          return 0;
        }

        @Override
        public List<Integer> pids() {
          return List.of();
        }
      };

  /** Bytes that the local end took from the rings. */
  long bytesIn();

  /** Bytes that the local end put into the rings. */
  long bytesOut();

  /** The local processes known to hold the end. */
  List<Integer> pids();
}
