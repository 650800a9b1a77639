// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/** Bytes of a test stream, each a function of its offset and the stream's seed. */
final class Stream {
  private Stream() {}

  static byte at(long seed, long offset) {
    long x = (offset + seed) * 0x9e3779b97f4a7c15L;
    return (byte) (x >>> 56 ^ x >>> 40);
  }
}
