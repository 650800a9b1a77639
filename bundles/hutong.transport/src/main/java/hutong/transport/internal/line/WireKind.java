// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import java.util.Locale;

/** The wires there are; the ordinal travels (architecture, decision 11). */
enum WireKind {
  /** No wire: TCP. */
  NONE,
  /** The datagram rides directly on Ethernet (M3.2). */
  ETHERNET,
  /** The same datagram in UDP, for networks that drop unknown EtherTypes. */
  UDP;

  private static final WireKind[] ALL = values();

  /** The kind of a number, or {@link #NONE}. */
  static WireKind of(int number) {
    return number > 0 && number < ALL.length ? ALL[number] : NONE;
  }

  /** The name in settings and displays. */
  String text() {
    return name().toLowerCase(Locale.ROOT);
  }
}
