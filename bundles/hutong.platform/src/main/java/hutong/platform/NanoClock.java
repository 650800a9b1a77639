// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

/** A clock that only goes forward, replaceable in tests. */
@FunctionalInterface
public interface NanoClock {
  /** The real one. */
  NanoClock SYSTEM = System::nanoTime;

  /** Nanoseconds since an arbitrary moment. */
  long nanoTime();
}
