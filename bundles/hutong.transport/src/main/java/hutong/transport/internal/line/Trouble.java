// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.transport.internal.datagram.DropCause;
import java.util.Locale;

/** What goes wrong. */
interface Trouble {
  /** Something that should not be. */
  void warn(String text);

  /** Adds to a counter. */
  void add(String name, long n);

  /** Adds one to a counter. */
  default void count(String name) {
    add(name, 1);
  }

  /** The counter of datagrams that were dropped for a cause. */
  static String dropped(DropCause cause) {
    return WirePort.DROPPED + cause.name().toLowerCase(Locale.ROOT);
  }
}
