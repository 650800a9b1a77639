// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

/** Wakes a line's program. */
@FunctionalInterface
interface Bell {
  /** Rings; never waits, never throws. */
  void ring();
}
