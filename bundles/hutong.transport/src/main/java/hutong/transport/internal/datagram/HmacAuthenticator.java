// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

import java.nio.ByteBuffer;
import java.security.GeneralSecurityException;
import javax.crypto.Mac;
import javax.crypto.ShortBufferException;
import javax.crypto.spec.SecretKeySpec;

/** HMAC-SHA256 cut to 128 bits (D6). The provider allocates about 100 bytes for each datagram. */
public final class HmacAuthenticator implements Authenticator {
  private static final String ALGORITHM = "HmacSHA256";
  private static final int FULL_BYTES = 32;

  private final Mac mac;
  private final byte[] full = new byte[FULL_BYTES];

  /**
   * An authenticator of one direction.
   *
   * @param key at least 16 random bytes; copied
   * @throws IllegalArgumentException when the key is shorter
   */
  public HmacAuthenticator(byte[] key) {
    if (key.length < BYTES) {
      throw new IllegalArgumentException("a key of " + key.length + " bytes is too short");
    }
    try {
      mac = Mac.getInstance(ALGORITHM);
      mac.init(new SecretKeySpec(key, ALGORITHM));
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException("every Java platform has " + ALGORITHM, e);
    }
  }

  @Override
  public void sign(ByteBuffer datagram, int start, int length) {
    compute(datagram, start, length);
    for (int i = 0; i < BYTES; i++) {
      datagram.put(start + length + i, full[i]);
    }
  }

  @Override
  public boolean verify(ByteBuffer datagram, int start, int length) {
    compute(datagram, start, length);
    int difference = 0;
    for (int i = 0; i < BYTES; i++) {
      difference |= full[i] ^ datagram.get(start + length + i);
    }
    return difference == 0;
  }

  private void compute(ByteBuffer datagram, int start, int length) {
    int limit = datagram.limit();
    datagram.limit(start + length).position(start);
    mac.update(datagram);
    datagram.limit(limit);
    try {
      mac.doFinal(full, 0);
    } catch (ShortBufferException e) {
      throw new IllegalStateException("the MAC is longer than SHA-256", e);
    }
  }
}
