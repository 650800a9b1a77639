// SPDX-License-Identifier: Apache-2.0
package hutong.api.telemetry;

/** A named count that only grows. Safe for use by several threads, and cheap. */
public interface Counter {
  /** Adds one. */
  default void increment() {
    add(1);
  }

  /**
   * Adds.
   *
   * @param n how much, not negative
   */
  void add(long n);

  /** The count now. */
  long value();
}
