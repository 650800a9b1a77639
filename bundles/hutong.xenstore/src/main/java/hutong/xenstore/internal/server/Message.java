// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

import hutong.xenstore.internal.store.StoreError;
import hutong.xenstore.internal.store.StoreException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * One request. Layout on the wire, in the host's byte order: u32 type, u32 request id, u32
 * transaction id, u32 length, then so many bytes, at most 4096.
 *
 * @param type number of the type, as sent
 * @param requestId echoed in the answer
 * @param transactionId 0 outside a transaction
 * @param payload what follows the header
 */
record Message(int type, int requestId, int transactionId, byte[] payload) {
  static final int HEADER_BYTES = 16;
  static final int PAYLOAD_MAX = 4096;

  static ByteBuffer encode(MessageType type, int requestId, int transactionId, byte[] payload) {
    ByteBuffer buffer =
        ByteBuffer.allocate(HEADER_BYTES + payload.length).order(ByteOrder.nativeOrder());
    buffer
        .putInt(type.ordinal())
        .putInt(requestId)
        .putInt(transactionId)
        .putInt(payload.length)
        .put(payload);
    return buffer.flip();
  }

  /** The payload, which must be one string with its NUL at the very end. */
  String oneString() throws StoreException {
    if (payload.length == 0 || indexOfNul(0) != payload.length - 1) {
      throw new StoreException(StoreError.EINVAL);
    }
    return text(0, payload.length - 1);
  }

  /** The NUL-terminated strings of the payload; what follows the last NUL is left out. */
  List<String> strings() {
    List<String> strings = new ArrayList<>();
    int start = 0;
    for (int nul = indexOfNul(0); nul >= 0; nul = indexOfNul(start)) {
      strings.add(text(start, nul));
      start = nul + 1;
    }
    return strings;
  }

  /** The first string. */
  String firstString() throws StoreException {
    int nul = indexOfNul(0);
    if (nul < 0) {
      throw new StoreException(StoreError.EINVAL);
    }
    return text(0, nul);
  }

  /** The bytes after the first string. */
  byte[] rest() {
    return Arrays.copyOfRange(payload, indexOfNul(0) + 1, payload.length);
  }

  private String text(int from, int to) {
    // One char for each byte: what is not ASCII fails the path check, and tokens come back as they
    // were.
    return new String(payload, from, to - from, StandardCharsets.ISO_8859_1);
  }

  private int indexOfNul(int from) {
    for (int i = from; i < payload.length; i++) {
      if (payload[i] == 0) {
        return i;
      }
    }
    return -1;
  }

  /** Strings in their wire form: each followed by a NUL. */
  static byte[] join(List<String> strings) {
    int length = 0;
    for (String string : strings) {
      length += string.length() + 1;
    }
    byte[] bytes = new byte[length];
    int at = 0;
    for (String string : strings) {
      byte[] raw = string.getBytes(StandardCharsets.ISO_8859_1);
      System.arraycopy(raw, 0, bytes, at, raw.length);
      at += raw.length + 1;
    }
    return bytes;
  }
}
