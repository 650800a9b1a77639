// SPDX-License-Identifier: Apache-2.0
package hutong.api.discovery;

/**
 * Service in a VM's agent: the key that this VM proves itself with. Its public half is in the
 * signed lists ({@link Member#key}); the private half never leaves the provider. Safe for use by
 * several threads.
 */
public interface VmIdentity {
  /**
   * Signs with Ed25519. The bytes must begin with a label that says what the signature is for, so
   * that none can be used for something else.
   *
   * @param data what to sign
   * @return 64 bytes
   */
  byte[] sign(byte[] data);

  /** The public key: Base64 of its X.509 form, as it is in {@link Member#key}. */
  String publicKey();
}
