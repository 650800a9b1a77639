// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

import java.nio.ByteBuffer;
import java.util.zip.CRC32C;

/**
 * Computes H-sum, and adds and checks the MAC where one is configured (H-sum, D6). Confined to one
 * thread; allocates nothing with direct buffers and without a MAC.
 */
public final class Seal {
  private static final byte[] NO_SUM = new byte[Header.SEQUENCE];

  private final CRC32C crc = new CRC32C();
  private final Authenticator signer;
  private final Authenticator verifier;

  /**
   * A seal.
   *
   * @param signer for what goes out, or null for no MAC
   * @param verifier for what comes in, or null for no MAC
   */
  public Seal(Authenticator signer, Authenticator verifier) {
    this.signer = signer;
    this.verifier = verifier;
  }

  /** Bytes that {@link #close} adds behind the data. */
  public int trailer() {
    return signer == null ? 0 : Authenticator.BYTES;
  }

  /** Bytes that {@link #check} expects behind the data. */
  int expectedTrailer() {
    return verifier == null ? 0 : Authenticator.BYTES;
  }

  /**
   * Completes a datagram whose other fields and data are written.
   *
   * @param datagram position and limit are undefined afterwards
   * @param start where the header begins
   * @param length header and data
   * @return all bytes to send, the MAC among them
   */
  public int close(ByteBuffer datagram, int start, int length) {
    datagram.putInt(start + Header.SUM, sum(datagram, start, length));
    if (signer != null) {
      signer.sign(datagram, start, length);
    }
    return length + trailer();
  }

  /** Whether H-sum and MAC are right; changes nothing of the datagram, position and limit apart. */
  DropCause check(ByteBuffer datagram, int start, int length) {
    if (sum(datagram, start, length) != datagram.getInt(start + Header.SUM)) {
      return DropCause.BAD_CHECKSUM;
    }
    if (verifier != null && !verifier.verify(datagram, start, length)) {
      return DropCause.BAD_MAC;
    }
    return DropCause.NONE;
  }

  private int sum(ByteBuffer datagram, int start, int length) {
    int limit = datagram.limit();
    crc.reset();
    crc.update(NO_SUM, 0, NO_SUM.length);
    datagram.limit(start + length).position(start + Header.SEQUENCE);
    crc.update(datagram);
    datagram.limit(limit);
    return (int) crc.getValue();
  }
}
