// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.transport.internal.datagram.Authenticator;
import hutong.transport.internal.datagram.HmacAuthenticator;
import java.nio.ByteBuffer;
import java.util.random.RandomGenerator;

/**
 * A key of 128 bits for what one end of a line sends (D6); it travels on the link between the
 * agents only, which is encrypted.
 *
 * @param hi first half
 * @param lo second half
 */
record Key(long hi, long lo) {
  /** No key. */
  static final Key NONE = new Key(0, 0);

  private static final int BYTES = 16;

  /** A new key. */
  static Key random(RandomGenerator random) {
    return new Key(random.nextLong(), random.nextLong());
  }

  /** What makes and checks MACs with it. */
  Authenticator authenticator() {
    return new HmacAuthenticator(ByteBuffer.allocate(BYTES).putLong(hi).putLong(lo).array());
  }

  /** Not the key itself: it might get into a log. */
  @Override
  public String toString() {
    return equals(NONE) ? "no key" : "a key";
  }
}
