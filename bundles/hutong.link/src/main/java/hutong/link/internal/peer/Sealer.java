// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import java.nio.ByteBuffer;
import java.security.GeneralSecurityException;
import javax.crypto.AEADBadTagException;
import javax.crypto.Cipher;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.SecretKeySpec;

/**
 * One direction of a connection: records, each encrypted and authenticated with AES-128-GCM. One
 * object writes or reads, not both. Big-endian; single-threaded.
 *
 * <pre>
 *  0  u32 length of what follows, 18 to 65554; authenticated with it
 *  4  encrypted: u8 kind, u8 topic, content
 *  n  16 bytes tag
 * </pre>
 *
 * <p>The nonce is 4 zero bytes and the u64 number of the record, from 0: a record that is missing,
 * doubled or moved does not verify.
 */
final class Sealer {
  /** Bytes of a record that are not content. */
  static final int OVERHEAD = 4 + 2 + 16;

  static final int MAX_CONTENT = 65_536;

  /** Records under one key; after that the connection has to be made anew. */
  static final long MAX_RECORDS = 1L << 32;

  private static final int LENGTH_BYTES = 4;
  private static final int TAG_BYTES = 16;

  private final SecretKeySpec key;
  private final Cipher cipher;
  private long number;

  /**
   * A record's inside.
   *
   * @param kind see {@link Kind}
   * @param topic for {@link Kind#DATA} only, else 0
   * @param content the rest
   */
  record Content(Kind kind, int topic, byte[] content) {}

  /** What a record is; the ordinal plus one travels. */
  enum Kind {
    /** The first one each way: 64 bytes signature, then u64 number of the last KEEP that came. */
    AUTH,
    /** From the lower peer to the higher: u64 number. This connection is the link from now on. */
    KEEP,
    /** A user's message. */
    DATA;

    private static final Kind[] ALL = values();
  }

  /** Begins a direction with its key. */
  Sealer(byte[] key) throws GeneralSecurityException {
    this.key = new SecretKeySpec(key, "AES");
    this.cipher = Cipher.getInstance("AES/GCM/NoPadding");
  }

  private void init(int mode, byte[] length) throws GeneralSecurityException {
    byte[] nonce = ByteBuffer.allocate(12).putInt(0).putLong(number++).array();
    cipher.init(mode, key, new GCMParameterSpec(8 * TAG_BYTES, nonce));
    cipher.updateAAD(length);
  }

  /** Whether the key has been used for as long as it may be. */
  boolean isWornOut() {
    return number >= MAX_RECORDS;
  }

  /** Writes a record to where there is room for it. */
  void seal(Kind kind, int topic, byte[] content, ByteBuffer out) throws GeneralSecurityException {
    byte[] plain = new byte[2 + content.length];
    plain[0] = (byte) (kind.ordinal() + 1);
    plain[1] = (byte) topic;
    System.arraycopy(content, 0, plain, 2, content.length);
    byte[] length = ByteBuffer.allocate(LENGTH_BYTES).putInt(plain.length + TAG_BYTES).array();
    init(Cipher.ENCRYPT_MODE, length);
    out.put(length).put(cipher.doFinal(plain));
  }

  /**
   * The length of the record that begins here, all in all.
   *
   * @param in at least 4 bytes from its position on; not moved
   * @param most bytes of content that may come now
   * @throws BadPeerException if it is longer, or too short
   */
  static int length(ByteBuffer in, int most) throws BadPeerException {
    int length = in.getInt(in.position());
    if (length < 2 + TAG_BYTES || length > 2 + most + TAG_BYTES) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "length of a record");
    }
    return LENGTH_BYTES + length;
  }

  /**
   * Reads a record.
   *
   * @param in a whole one from its position on; moved past it
   * @param total its length, from {@link #length}
   * @throws BadPeerException if it is not what the other side sent as its next one
   */
  Content open(ByteBuffer in, int total) throws BadPeerException, GeneralSecurityException {
    byte[] length = new byte[LENGTH_BYTES];
    byte[] sealed = new byte[total - LENGTH_BYTES];
    in.get(length).get(sealed);
    if (isWornOut()) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "too many records");
    }
    init(Cipher.DECRYPT_MODE, length);
    byte[] plain;
    try {
      plain = cipher.doFinal(sealed);
    } catch (AEADBadTagException e) {
      throw new BadPeerException(BadPeerException.Cause.UNAUTHENTIC, "a record is not authentic");
    }
    int kind = plain[0];
    if (kind < 1 || kind > Kind.ALL.length) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "kind of a record");
    }
    byte[] content = new byte[plain.length - 2];
    System.arraycopy(plain, 2, content, 0, content.length);
    return new Content(Kind.ALL[kind - 1], plain[1] & 0xff, content);
  }
}
