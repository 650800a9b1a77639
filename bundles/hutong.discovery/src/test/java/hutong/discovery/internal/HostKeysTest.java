// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.PublicKey;
import java.util.Base64;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HostKeysTest {
  private static final byte[] DATA = {1, 2, 3};

  @TempDir private Path directory;
  private Path privateFile;
  private Path trusted;

  @BeforeEach
  void files() {
    privateFile = directory.resolve("key.pem");
    trusted = directory.resolve("trusted");
  }

  private PublicKey trustedKey(String host) throws Exception {
    return Ed25519.parse(Base64.getDecoder().decode(HostKeys.trusted(trusted).get(host)));
  }

  @Test
  void shouldMakeAKeyAndUseItAgain() throws Exception {
    HostKeys made = HostKeys.open(privateFile, trusted, "PC1");
    assertThat(Files.getPosixFilePermissions(privateFile))
        .isEqualTo(PosixFilePermissions.fromString("rw-------"));
    HostKeys loaded = HostKeys.open(privateFile, trusted, "PC1");
    assertThat(loaded.sign(DATA)).isEqualTo(made.sign(DATA));
    assertThat(Ed25519.verify(trustedKey("PC1"), DATA, made.sign(DATA))).isTrue();
    assertThat(Ed25519.verify(trustedKey("PC1"), new byte[] {1, 2, 4}, made.sign(DATA))).isFalse();
    assertThat(Ed25519.verify(trustedKey("PC1"), DATA, new byte[64])).isFalse();
    assertThat(Ed25519.verify(trustedKey("PC1"), DATA, new byte[3])).isFalse();
  }

  @Test
  void shouldComputeThePublicHalfWhenItIsLostOrForeign() throws Exception {
    HostKeys keys = HostKeys.open(privateFile, trusted, "PC1");
    Files.delete(trusted.resolve("PC1.pub"));
    HostKeys.open(privateFile, trusted, "PC1");
    assertThat(Ed25519.verify(trustedKey("PC1"), DATA, keys.sign(DATA))).isTrue();

    HostKeys.open(directory.resolve("other.pem"), trusted, "PC2");
    Files.copy(
        trusted.resolve("PC2.pub"),
        trusted.resolve("PC1.pub"),
        java.nio.file.StandardCopyOption.REPLACE_EXISTING);
    HostKeys.open(privateFile, trusted, "PC1");
    assertThat(Ed25519.verify(trustedKey("PC1"), DATA, keys.sign(DATA))).isTrue();
  }

  @Test
  void shouldReadKeysMadeElsewhere() throws Exception {
    // openssl genpkey -algorithm ed25519; openssl pkey -pubout
    Files.createDirectories(trusted);
    Files.writeString(
        privateFile,
        """
        -----BEGIN PRIVATE KEY-----
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
        -----END PRIVATE KEY-----
        """);
    HostKeys keys = HostKeys.open(privateFile, trusted, "PC1");
    // RFC 8032, section 7.1, test 1: this seed's public key.
    byte[] publicKey = trustedKey("PC1").getEncoded();
    assertThat(java.util.HexFormat.of().formatHex(publicKey))
        .endsWith("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    assertThat(Ed25519.verify(trustedKey("PC1"), DATA, keys.sign(DATA))).isTrue();
  }

  @Test
  void shouldRefuseAForeignFileAsPrivateKey() throws IOException {
    for (String text :
        new String[] {"", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n", "\u0000"}) {
      Files.writeString(privateFile, text);
      assertThatThrownBy(() -> HostKeys.open(privateFile, trusted, "PC1"))
          .as(text)
          .isInstanceOf(IOException.class);
      assertThat(Files.readString(privateFile)).isEqualTo(text);
    }
  }

  @Test
  void shouldKeepAVmsKeyAndReplaceOneThatIsOfNoUse() throws Exception {
    Tally tally = new Tally(() -> null, () -> null);
    VmKey made = VmKey.open(privateFile, tally);
    assertThat(Files.getPosixFilePermissions(privateFile))
        .isEqualTo(PosixFilePermissions.fromString("rw-------"));
    assertThat(VmKey.open(privateFile, tally).publicKey()).isEqualTo(made.publicKey());
    byte[] x509 = Ed25519.fromText(made.publicKey()).orElseThrow();
    assertThat(Ed25519.verify(Ed25519.parse(x509), DATA, made.sign(DATA))).isTrue();
    Files.writeString(privateFile, "no key");
    VmKey other = VmKey.open(privateFile, tally);
    assertThat(other.publicKey()).isNotEqualTo(made.publicKey());
    assertThat(VmKey.open(privateFile, tally).publicKey()).isEqualTo(other.publicKey());
  }

  @Test
  void shouldLeaveOutWhatIsNoKey() throws IOException {
    HostKeys.open(privateFile, trusted, "PC1");
    Files.writeString(trusted.resolve("PC2.pub"), "no key");
    Files.writeString(trusted.resolve("PC3.pub"), "x".repeat(5000));
    Files.copy(trusted.resolve("PC1.pub"), trusted.resolve("a b.pub"));
    Files.copy(trusted.resolve("PC1.pub"), trusted.resolve("PC4.old"));
    Files.createDirectory(trusted.resolve("PC5.pub"));
    assertThat(HostKeys.trusted(trusted)).containsOnlyKeys("PC1");
  }
}
