// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.security.PrivateKey;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;

/** A host agent's Ed25519 key and those of the hosts that the administrator trusts, in files. */
final class HostKeys {
  /** A host id is a name in XenStore, too. */
  private static final Pattern HOST_ID = Pattern.compile("[A-Za-z0-9_-]{1,63}");

  private static final String SUFFIX = ".pub";
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
      KeyPair pair = Ed25519.loadOrMake(privateFile);
      byte[] publicKey = pair.getPublic().getEncoded();
      if (!Files.exists(publicFile) || !Arrays.equals(Ed25519.readPem(publicFile), publicKey)) {
        Ed25519.writePublic(publicFile, publicKey);
      }
      return new HostKeys(pair.getPrivate());
    } catch (GeneralSecurityException e) {
      throw new IOException("keys of " + hostId + ": " + e.getMessage(), e);
    }
  }

  /** Signs. */
  byte[] sign(byte[] data) {
    return Ed25519.sign(key, data);
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
            byte[] x509 = Ed25519.readPem(file);
            Ed25519.parse(x509);
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
}
