// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.link.PeerId;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * The first thing that either side says. Nothing in it is believed before the signature over it has
 * been checked. Big-endian; the first 8 bytes are the same in all versions.
 *
 * <pre>
 *   0  u32 magic "HUTP"
 *   4  u16 version (1)
 *   6  u16 length of the whole, at most 212; 8 says nothing but the version
 *   8  8 bytes session: random, one for each life of an agent's link
 *  16  32 bytes nonce
 *  48  32 bytes X25519 key, as in RFC 7748
 *  80  u16 sender's domain id, u8 n + n bytes host id
 *   n  u16 receiver's domain id, u8 n + n bytes host id
 * </pre>
 *
 * @param session see above
 * @param nonce see above
 * @param share see above
 * @param from who the sender says it is
 * @param to who it takes the receiver for
 */
record Hello(long session, byte[] nonce, byte[] share, PeerId from, PeerId to) {
  static final int VERSION = 1;
  static final int HEAD_BYTES = 8;
  static final int RANDOM_BYTES = 32;
  static final int MAX_HOST = 63;
  static final int MIN_BYTES = HEAD_BYTES + 8 + 2 * RANDOM_BYTES + 2 * (2 + 1 + 1);
  static final int MAX_BYTES = MIN_BYTES + 2 * (MAX_HOST - 1);
  private static final int MAGIC = 0x48555450;

  /**
   * Looks at the first 8 bytes.
   *
   * @param in at least 8 bytes from its position on; not moved
   * @return the length of the whole hello, in this version
   * @throws BadPeerException if it is none, or of another version
   */
  static int length(ByteBuffer in) throws BadPeerException {
    int at = in.position();
    if (in.getInt(at) != MAGIC) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "no hello");
    }
    int version = in.getShort(at + 4) & 0xffff;
    if (version != VERSION) {
      throw new BadPeerException(
          BadPeerException.Cause.VERSION,
          "it speaks version " + version + " of the agent link, and this agent " + VERSION);
    }
    int length = in.getShort(at + 6) & 0xffff;
    if (length < MIN_BYTES || length > MAX_BYTES) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "length of a hello");
    }
    return length;
  }

  /** What is sent to one who speaks another version: ours. */
  static byte[] versionOnly() {
    return ByteBuffer.allocate(HEAD_BYTES)
        .putInt(MAGIC)
        .putShort((short) VERSION)
        .putShort((short) HEAD_BYTES)
        .array();
  }

  /** The bytes to send. */
  byte[] encode() {
    ByteBuffer out = ByteBuffer.allocate(MAX_BYTES);
    out.putInt(MAGIC).putShort((short) VERSION).putShort((short) 0);
    out.putLong(session).put(nonce).put(share);
    put(out, from);
    put(out, to);
    out.putShort(6, (short) out.position());
    return Arrays.copyOf(out.array(), out.position());
  }

  private static void put(ByteBuffer out, PeerId id) {
    byte[] host = id.hostId().getBytes(StandardCharsets.UTF_8);
    out.putShort((short) id.domid()).put((byte) host.length).put(host);
  }

  /**
   * Takes a hello apart.
   *
   * @param bytes the whole of it, as long as {@link #length} said
   * @throws BadPeerException if it is malformed
   */
  static Hello decode(byte[] bytes) throws BadPeerException {
    ByteBuffer in = ByteBuffer.wrap(bytes);
    if (bytes.length < MIN_BYTES || length(in) != bytes.length) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "length of a hello");
    }
    in.position(HEAD_BYTES);
    long session = in.getLong();
    byte[] nonce = new byte[RANDOM_BYTES];
    byte[] share = new byte[RANDOM_BYTES];
    in.get(nonce).get(share);
    PeerId from = id(in);
    PeerId to = id(in);
    if (in.hasRemaining()) {
      throw new BadPeerException(BadPeerException.Cause.MALFORMED, "bytes after a hello");
    }
    return new Hello(session, nonce, share, from, to);
  }

  private static PeerId id(ByteBuffer in) throws BadPeerException {
    if (in.remaining() >= 3) {
      int domid = in.getShort() & 0xffff;
      int length = in.get() & 0xff;
      if (length > 0 && length <= MAX_HOST && length <= in.remaining()) {
        byte[] host = new byte[length];
        in.get(host);
        boolean printable = true;
        for (byte b : host) {
          printable &= b > ' ' && b < 127;
        }
        if (printable) {
          return new PeerId(new String(host, StandardCharsets.US_ASCII), domid);
        }
      }
    }
    throw new BadPeerException(BadPeerException.Cause.MALFORMED, "name in a hello");
  }
}
