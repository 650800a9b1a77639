// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
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
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Pattern;

/** A host agent's Ed25519 key and those of the hosts that the administrator trusts, in files. */
final class HostKeys {
  private static final String ALGORITHM = "Ed25519";

  /** A host id is a name in XenStore, too. */
  private static final Pattern HOST_ID = Pattern.compile("[A-Za-z0-9_-]{1,63}");

  private static final String SUFFIX = ".pub";
  private static final int MAX_FILE_BYTES = 4096;
  private static final int MAX_HOSTS = 256;

  private final PrivateKey key;

  private HostKeys(PrivateKey key) {
    this.key = key;
  }

  static boolean validHostId(String hostId) {
    return HOST_ID.matcher(hostId).matches();
  }

  /**
   * Loads this host's key, or makes it, and puts its public half among the trusted ones.
   *
   * @param privateFile PKCS8 PEM; readable by its owner only when it is made here
   * @param trusted directory of {@code <host id>.pub}
   * @param hostId this host
   * @throws IOException if a file cannot be read or written, or is no such key
   */
  static HostKeys open(Path privateFile, Path trusted, String hostId) throws IOException {
    try {
      Files.createDirectories(trusted);
      Path publicFile = trusted.resolve(hostId + SUFFIX);
      KeyPair pair;
      if (Files.exists(privateFile)) {
        pair = pairOf(readPem(privateFile));
      } else {
        pair = KeyPairGenerator.getInstance(ALGORITHM).generateKeyPair();
        Files.createDirectories(privateFile.toAbsolutePath().getParent());
        writePem(privateFile, "PRIVATE KEY", pair.getPrivate().getEncoded(), "rw-------");
      }
      byte[] publicKey = pair.getPublic().getEncoded();
      if (!Files.exists(publicFile) || !Arrays.equals(readPem(publicFile), publicKey)) {
        writePem(publicFile, "PUBLIC KEY", publicKey, "rw-r--r--");
      }
      return new HostKeys(pair.getPrivate());
    } catch (GeneralSecurityException e) {
      throw new IOException("keys of " + hostId + ": " + e.getMessage(), e);
    }
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
  byte[] sign(byte[] data) {
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

  /**
   * The trusted keys as they are in the directory now; files that are no keys are left out.
   *
   * @param trusted the directory
   * @return host id to X.509 form in Base64, sorted
   * @throws IOException if the directory cannot be read
   */
  static Map<String, String> trusted(Path trusted) throws IOException {
    Map<String, String> keys = new TreeMap<>();
    try (DirectoryStream<Path> files = Files.newDirectoryStream(trusted, "*" + SUFFIX)) {
      for (Path file : files) {
        String name = file.getFileName().toString();
        String hostId = name.substring(0, name.length() - SUFFIX.length());
        if (keys.size() < MAX_HOSTS && validHostId(hostId)) {
          try {
            byte[] x509 = readPem(file);
            parse(x509);
            keys.put(hostId, Base64.getEncoder().encodeToString(x509));
          } catch (IOException | GeneralSecurityException e) {
            // Being written, or no key: the next look will tell.
            keys.remove(hostId);
          }
        }
      }
    }
    return keys;
  }

  private static byte[] readPem(Path file) throws IOException {
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
