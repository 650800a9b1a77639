// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.transport.internal.datagram.Authenticator;
import hutong.transport.internal.datagram.HmacAuthenticator;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.random.RandomGenerator;

/**
 * A key of 128 bits for what one end of a line sends (D6), from which those of its rounds come; it
 * travels on the link between the agents only, which is encrypted.
 *
 * @param hi first half
 * @param lo second half
 */
record Key(long hi, long lo) {
  /** No key. */
  static final Key NONE = new Key(0, 0);

  private static final int BYTES = 16;
  private static final byte[] ROUND = "hutong line 2, round".getBytes(StandardCharsets.US_ASCII);

  /** A new key. */
  static Key random(RandomGenerator random) {
    return new Key(random.nextLong(), random.nextLong());
  }

  /**
   * The key of one round's flow. Entries and H-seq of a round may come again in a later one, and
   * epochs begin anew in each: with a key of its own nothing of an earlier round verifies.
   *
   * @param round its number
   * @param data whether the owner of this key sends the round's data; else it acknowledges
   */
  Key ofRound(int round, boolean data) {
    ByteBuffer text = ByteBuffer.allocate(ROUND.length + Integer.BYTES + 1 + BYTES);
    text.put(ROUND).putInt(round).put((byte) (data ? 1 : 2));
    int length = text.position();
    authenticator().sign(text, 0, length);
    return new Key(text.getLong(length), text.getLong(length + Long.BYTES));
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
