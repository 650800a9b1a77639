// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.MessageDigest;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.interfaces.XECPublicKey;
import java.security.spec.NamedParameterSpec;
import java.security.spec.X509EncodedKeySpec;
import java.security.spec.XECPublicKeySpec;
import java.util.Arrays;
import java.util.Base64;
import javax.crypto.KeyAgreement;

/**
 * What two hellos and a shared secret make: the bytes that both sides sign, and a key for each
 * direction.
 *
 * <pre>
 * transcript = SHA-256("hutong peer link 1" 0x00 hello of the beginner, hello of the answerer)
 * signed     = "hutong peer link 1, beginner" or "..., answerer", 0x00, transcript
 * secret     = HKDF-Extract(salt = transcript, X25519(own share, the other's share))
 * key        = HKDF-Expand(secret, "hutong peer link 1, from the beginner" or "... answerer", 16)
 * </pre>
 *
 * @param transcript see above
 * @param fromBeginner AES-128 key of what the beginner of the connection sends
 * @param fromAnswerer AES-128 key of what the other one sends
 */
record KeySchedule(byte[] transcript, byte[] fromBeginner, byte[] fromAnswerer) {
  static final int KEY_BYTES = 16;
  static final int SIGNATURE_BYTES = 64;
  private static final String NAME = "hutong peer link 1";
  private static final String XDH = "X25519";

  /** The two sides of a connection. */
  enum Side {
    BEGINNER,
    ANSWERER;

    Side other() {
      return this == BEGINNER ? ANSWERER : BEGINNER;
    }

    private String label() {
      return this == BEGINNER ? "beginner" : "answerer";
    }
  }

  /** A fresh pair for one connection. */
  static KeyPair freshPair(SecureRandom random) throws GeneralSecurityException {
    KeyPairGenerator generator = KeyPairGenerator.getInstance(XDH);
    generator.initialize(NamedParameterSpec.X25519, random);
    return generator.generateKeyPair();
  }

  /** A public key as RFC 7748 writes it: 32 bytes, the least one first. */
  static byte[] share(KeyPair pair) {
    byte[] big = ((XECPublicKey) pair.getPublic()).getU().toByteArray();
    byte[] out = new byte[Hello.RANDOM_BYTES];
    for (int i = 0; i < out.length && i < big.length; i++) {
      out[i] = big[big.length - 1 - i];
    }
    return out;
  }

  /**
   * Derives all.
   *
   * @param beginner the hello of the one that began the connection, as it was on the wire
   * @param answerer the other hello
   * @param own this side's pair
   * @param othersShare the other side's share
   * @throws GeneralSecurityException if the share is one of those that give no secret
   */
  static KeySchedule derive(byte[] beginner, byte[] answerer, KeyPair own, byte[] othersShare)
      throws GeneralSecurityException {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    digest.update(NAME.getBytes(StandardCharsets.US_ASCII));
    digest.update((byte) 0);
    digest.update(beginner); // hellos say how long they are: there is one way to take these apart
    byte[] transcript = digest.digest(answerer);

    KeyAgreement agreement = KeyAgreement.getInstance(XDH);
    agreement.init(own.getPrivate());
    agreement.doPhase(publicKey(othersShare), true);
    byte[] secret = Hkdf.extract(transcript, agreement.generateSecret());
    return new KeySchedule(
        transcript,
        Hkdf.expand(secret, NAME + ", from the beginner", KEY_BYTES),
        Hkdf.expand(secret, NAME + ", from the answerer", KEY_BYTES));
  }

  private static PublicKey publicKey(byte[] share) throws GeneralSecurityException {
    byte[] big = new byte[share.length];
    for (int i = 0; i < big.length; i++) {
      big[i] = share[share.length - 1 - i];
    }
    big[0] &= 0x7f; // RFC 7748: the topmost bit does not count
    return KeyFactory.getInstance(XDH)
        .generatePublic(new XECPublicKeySpec(NamedParameterSpec.X25519, new BigInteger(1, big)));
  }

  /** The key of what that side sends. */
  byte[] keyOf(Side side) {
    return side == Side.BEGINNER ? fromBeginner : fromAnswerer;
  }

  /** What that side signs. */
  byte[] signedBy(Side side) {
    byte[] label = (NAME + ", " + side.label() + "\0").getBytes(StandardCharsets.US_ASCII);
    byte[] out = Arrays.copyOf(label, label.length + transcript.length);
    System.arraycopy(transcript, 0, out, label.length, transcript.length);
    return out;
  }

  /**
   * Checks a side's signature.
   *
   * @param side whose
   * @param key Base64 of the X.509 form of an Ed25519 key
   * @param signature what it sent
   * @return false also when key or signature are malformed
   */
  boolean isSignedBy(Side side, String key, byte[] signature) {
    try {
      X509EncodedKeySpec form = new X509EncodedKeySpec(Base64.getDecoder().decode(key));
      Signature check = Signature.getInstance("Ed25519");
      check.initVerify(KeyFactory.getInstance("Ed25519").generatePublic(form));
      check.update(signedBy(side));
      return check.verify(signature);
    } catch (GeneralSecurityException | IllegalArgumentException e) {
      return false;
    }
  }
}
