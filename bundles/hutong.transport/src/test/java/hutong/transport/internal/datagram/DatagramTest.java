// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HexFormat;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** The header's layout against bytes that were worked out by hand, and what the parser refuses. */
class DatagramTest {
  private final Seal seal = new Seal(null, null);
  private final Datagram datagram = new Datagram();

  private ByteBuffer sealed(int length, int flags, int room) {
    ByteBuffer out = ByteBuffer.allocate(room);
    Header.put(
        out,
        0,
        0x01020304,
        0x05060708,
        length,
        0x0a0b0c0d,
        0x0e0f1011,
        flags,
        Header.channel(0x1415, 0x1213));
    seal.close(out, 0, Header.BYTES + length);
    return out.clear();
  }

  @Test
  @DisplayName("H-sum to H-chan: eight 32-bit fields in network byte order, in this order")
  void shouldLayOutHeader() {
    ByteBuffer out = sealed(3, Header.ACK_REQUESTED, 35);
    byte[] bytes = out.array().clone();
    String text = HexFormat.of().formatHex(bytes);
    assertThat(text.substring(8))
        .isEqualTo(
            "01020304"
                + "05060708"
                + "00000003"
                + "0a0b0c0d"
                + "0e0f1011"
                + "00000001"
                + "12131415"
                + "000000");
    assertThat(datagram.read(out.order(ByteOrder.LITTLE_ENDIAN), seal)).isEqualTo(DropCause.NONE);
    assertThat(datagram.sequence()).isEqualTo(0x01020304);
    assertThat(datagram.index()).isEqualTo(0x05060708);
    assertThat(datagram.length()).isEqualTo(3);
    assertThat(datagram.ackSequence()).isEqualTo(0x0a0b0c0d);
    assertThat(datagram.ackIndex()).isEqualTo(0x0e0f1011);
    assertThat(datagram.ackRequested()).isTrue();
    assertThat(datagram.control()).isFalse();
    assertThat(datagram.channel()).isEqualTo(0x12131415);
  }

  @Test
  @DisplayName("H-sum: CRC32C, bit by bit, over header and data with the field as zero")
  void shouldSumWithCastagnoli() {
    byte[] bytes = sealed(300, 0, 332).array();
    int sum = ByteBuffer.wrap(bytes).getInt(0);
    int crc = ~0;
    for (int i = 0; i < bytes.length; i++) {
      crc ^= i < 4 ? 0 : bytes[i] & 0xff;
      for (int bit = 0; bit < 8; bit++) {
        crc = crc >>> 1 ^ ((crc & 1) != 0 ? 0x82f63b78 : 0);
      }
    }
    assertThat(sum).isEqualTo(~crc);
  }

  @Test
  @DisplayName("H-sum: any changed bit is found")
  void shouldFindAnyFlippedBit() {
    for (int bit = 0; bit < 40 * 8; bit++) {
      ByteBuffer out = sealed(8, 0, 40);
      out.array()[bit / 8] ^= (byte) (1 << bit % 8);
      assertThat(datagram.read(out, seal)).isIn(DropCause.BAD_CHECKSUM, DropCause.BAD_LENGTH);
    }
  }

  @Test
  @DisplayName("H-len: must agree with what arrived; Ethernet's padding of short frames is allowed")
  void shouldCheckLength() {
    assertThat(datagram.read(ByteBuffer.allocate(31), seal)).isEqualTo(DropCause.TOO_SHORT);
    assertThat(datagram.read(sealed(0, 0, 32), seal)).isEqualTo(DropCause.BAD_LENGTH);
    assertThat(datagram.read(sealed(0, Header.CONTROL, 32), seal)).isEqualTo(DropCause.NONE);
    assertThat(datagram.read(sealed(5, 0, 46), seal)).isEqualTo(DropCause.NONE);
    assertThat(datagram.read(sealed(5, 0, 47), seal)).isEqualTo(DropCause.BAD_LENGTH);
    assertThat(datagram.read(sealed(100, 0, 132).limit(131), seal)).isEqualTo(DropCause.BAD_LENGTH);
    for (int length : new int[] {-1, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
      assertThat(datagram.read(sealed(100, 0, 132).putInt(Header.LENGTH, length), seal))
          .isEqualTo(DropCause.BAD_LENGTH);
    }
  }
}
