// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Signature;
import java.security.interfaces.EdECPrivateKey;
import java.security.spec.NamedParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.Arrays;
import java.util.Base64;
import java.util.Optional;
import java.util.Set;

/** Ed25519 keys: in PEM files, in X.509 form, and what is done with them. */
final class Ed25519 {
  /** Length of a public key in X.509 form. */
  static final int X509_BYTES = 44;

  private static final String ALGORITHM = "Ed25519";
  private static final int MAX_FILE_BYTES = 4096;

  /** What the X.509 form of every such key begins with (RFC 8410). */
  private static final byte[] X509_HEAD = {
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00
  };

  private Ed25519() {}

  /**
   * Loads a pair, or makes it.
   *
   * @param privateFile PKCS8 PEM; readable by its owner only when it is made here
   * @throws IOException if the file cannot be read or written, or holds no such key
   */
  static KeyPair loadOrMake(Path privateFile) throws IOException, GeneralSecurityException {
    if (Files.exists(privateFile)) {
      return pairOf(readPem(privateFile));
    }
    return make(privateFile);
  }

  /** Makes a pair and puts its private half in the place of whatever was in the file. */
  static KeyPair make(Path privateFile) throws IOException, GeneralSecurityException {
    KeyPair pair = KeyPairGenerator.getInstance(ALGORITHM).generateKeyPair();
    Files.createDirectories(privateFile.toAbsolutePath().getParent());
    writePem(privateFile, "PRIVATE KEY", pair.getPrivate().getEncoded(), "rw-------");
    return pair;
  }

  /**
   * The pair of a private key. The JDK has no direct way from the private half to the public one,
   * but it makes a pair out of the seed that its source of randomness gives, and the seed is what a
   * private key consists of.
   */
  private static KeyPair pairOf(byte[] pkcs8) throws GeneralSecurityException, IOException {
    PrivateKey key =
        KeyFactory.getInstance(ALGORITHM).generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
    byte[] seed = key instanceof EdECPrivateKey ed ? ed.getBytes().orElse(null) : null;
    if (seed == null) {
      throw new IOException("not an Ed25519 private key");
    }
    KeyPairGenerator generator = KeyPairGenerator.getInstance(ALGORITHM);
    generator.initialize(NamedParameterSpec.ED25519, new FixedBytes(seed));
    KeyPair pair = generator.generateKeyPair();
    if (!Arrays.equals(pair.getPrivate().getEncoded(), key.getEncoded())) {
      throw new IOException("the public half of the private key cannot be computed with this JDK");
    }
    return pair;
  }

  /** Gives the same bytes again and again. */
  private static final class FixedBytes extends SecureRandom {
    private static final long serialVersionUID = 1L;
    private final byte[] bytes;

    FixedBytes(byte[] bytes) {
      this.bytes = bytes.clone();
    }

    @Override
    public void nextBytes(byte[] out) {
      for (int i = 0; i < out.length; i++) {
        out[i] = bytes[i % bytes.length];
      }
    }
  }

  /** Signs. */
  static byte[] sign(PrivateKey key, byte[] data) {
    try {
      Signature signature = Signature.getInstance(ALGORITHM);
      signature.initSign(key);
      signature.update(data);
      return signature.sign();
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException("Ed25519 does not work", e);
    }
  }

  /** Checks a signature; false also when it is malformed. */
  static boolean verify(PublicKey key, byte[] data, byte[] mark) {
    try {
      Signature signature = Signature.getInstance(ALGORITHM);
      signature.initVerify(key);
      signature.update(data);
      return signature.verify(mark);
    } catch (GeneralSecurityException e) {
      return false;
    }
  }

  /** A public key from its X.509 form. */
  static PublicKey parse(byte[] x509) throws GeneralSecurityException {
    return KeyFactory.getInstance(ALGORITHM).generatePublic(new X509EncodedKeySpec(x509));
  }

  /** Whether the bytes have the form of a public key. */
  static boolean isPublic(byte[] x509) {
    return x509.length == X509_BYTES
        && Arrays.equals(x509, 0, X509_HEAD.length, X509_HEAD, 0, X509_HEAD.length);
  }

  /** The bytes of a public key in Base64, if the text is exactly that. */
  static Optional<byte[]> fromText(String text) {
    if (text.length() > 2 * X509_BYTES) {
      return Optional.empty();
    }
    try {
      return Optional.of(Base64.getDecoder().decode(text)).filter(Ed25519::isPublic);
    } catch (IllegalArgumentException e) {
      return Optional.empty();
    }
  }

  /**
   * Reads a PEM file.
   *
   * @param file at most 4 KiB
   * @return the bytes
   * @throws IOException if it cannot be read or is no PEM file
   */
  static byte[] readPem(Path file) throws IOException {
    if (Files.size(file) > MAX_FILE_BYTES) {
      throw new IOException(file + " is no key");
    }
    StringBuilder base64 = new StringBuilder();
    for (String line : Files.readAllLines(file, StandardCharsets.US_ASCII)) {
      if (!line.startsWith("-----")) {
        base64.append(line.strip());
      }
    }
    try {
      return Base64.getDecoder().decode(base64.toString());
    } catch (IllegalArgumentException e) {
      throw new IOException(file + " is no PEM file", e);
    }
  }

  /** Writes a public key that everybody may read. */
  static void writePublic(Path file, byte[] x509) throws IOException {
    writePem(file, "PUBLIC KEY", x509, "rw-r--r--");
  }

  private static void writePem(Path file, String what, byte[] der, String mode) throws IOException {
    String text =
        "-----BEGIN "
            + what
            + "-----\n"
            + Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(der)
            + "\n-----END "
            + what
            + "-----\n";
    Set<PosixFilePermission> permissions = PosixFilePermissions.fromString(mode);
    Path fresh =
        file.resolveSibling("." + file.getFileName() + "." + ProcessHandle.current().pid());
    Files.deleteIfExists(fresh);
    Files.createFile(fresh, PosixFilePermissions.asFileAttribute(permissions));
    Files.writeString(fresh, text, StandardCharsets.US_ASCII);
    Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }
}
