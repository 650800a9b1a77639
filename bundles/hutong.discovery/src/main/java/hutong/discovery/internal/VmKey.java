// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.discovery.VmIdentity;
import java.io.IOException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyPair;
import java.util.Base64;

/** A VM's own key pair. It outlives its agent in a file that only root can read. Thread-safe. */
final class VmKey implements VmIdentity {
  private final KeyPair pair;

  private VmKey(KeyPair pair) {
    this.pair = pair;
  }

  /**
   * Loads the key, or makes one. A file that holds no key is replaced: peers learn the new key from
   * the next list.
   *
   * @param file in the agent's run directory
   * @param tally told of a file that was replaced
   * @throws IOException if the file cannot be written
   */
  static VmKey open(Path file, Tally tally) throws IOException {
    try {
      try {
        return new VmKey(Ed25519.loadOrMake(file));
      } catch (IOException | GeneralSecurityException e) {
        tally.warn("made a new key, since the old one is of no use: " + e.getMessage());
        return new VmKey(Ed25519.make(file));
      }
    } catch (GeneralSecurityException e) {
      throw new IOException("no key for this VM: " + e.getMessage(), e);
    }
  }

  @Override
  public byte[] sign(byte[] data) {
    return Ed25519.sign(pair.getPrivate(), data);
  }

  @Override
  public String publicKey() {
    return Base64.getEncoder().encodeToString(pair.getPublic().getEncoded());
  }
}
