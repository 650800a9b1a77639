// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.Arrays;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** HKDF with SHA-256 (RFC 5869). */
final class Hkdf {
  private static final String HMAC = "HmacSHA256";
  private static final int HASH_BYTES = 32;

  private Hkdf() {}

  /**
   * The first step.
   *
   * @param salt not empty
   * @param secret the input keying material
   * @return the pseudorandom key
   */
  static byte[] extract(byte[] salt, byte[] secret) throws GeneralSecurityException {
    return mac(salt).doFinal(secret);
  }

  /**
   * The second step.
   *
   * @param key the pseudorandom key
   * @param info what the result is for
   * @param length of the result, at most 8160
   */
  static byte[] expand(byte[] key, byte[] info, int length) throws GeneralSecurityException {
    Mac mac = mac(key);
    byte[] out = new byte[(length + HASH_BYTES - 1) / HASH_BYTES * HASH_BYTES];
    byte[] block = new byte[0];
    for (int i = 0; i * HASH_BYTES < length; i++) {
      mac.update(block);
      mac.update(info);
      block = mac.doFinal(new byte[] {(byte) (i + 1)});
      System.arraycopy(block, 0, out, i * HASH_BYTES, HASH_BYTES);
    }
    return Arrays.copyOf(out, length);
  }

  /** {@link #expand(byte[], byte[], int)} for a label. */
  static byte[] expand(byte[] key, String label, int length) throws GeneralSecurityException {
    return expand(key, label.getBytes(StandardCharsets.US_ASCII), length);
  }

  private static Mac mac(byte[] key) throws GeneralSecurityException {
    Mac mac = Mac.getInstance(HMAC);
    mac.init(new SecretKeySpec(key, HMAC));
    return mac;
  }
}
