// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

import java.util.List;

/** The channel table, for display. Safe for use by several threads. */
public interface Channels {
  /** The channels in use now, sorted by number. */
  List<ChannelInfo> list();
}
