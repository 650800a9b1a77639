// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import jnr.ffi.Memory;
import jnr.ffi.Pointer;

/**
 * An array of {@code struct mmsghdr} with an {@code iovec}, an address and control data for each;
 * the layouts are those of 64-bit Linux. Made once, so that a call allocates nothing.
 */
final class MessageBatch {
  private static final int HEADER_BYTES = 64;
  private static final int IOVEC_BYTES = 16;
  static final int NAME_BYTES = 32;
  static final int CONTROL_BYTES = 32;

  // struct mmsghdr
  private static final int NAME = 0;
  private static final int NAME_LENGTH = 8;
  private static final int IOV = 16;
  private static final int IOV_LENGTH = 24;
  private static final int CONTROL = 32;
  private static final int CONTROL_LENGTH = 40;
  private static final int FLAGS = 48;
  private static final int LENGTH = 56;

  private final Pointer headers;
  private final Pointer iovecs;
  private final Pointer names;
  private final Pointer controls;

  MessageBatch(int count) {
    headers = zeroed(count * HEADER_BYTES);
    iovecs = zeroed(count * IOVEC_BYTES);
    names = zeroed(count * NAME_BYTES);
    controls = zeroed(count * CONTROL_BYTES);
    for (int i = 0; i < count; i++) {
      headers.putLong(at(i) + IOV, iovecs.address() + (long) i * IOVEC_BYTES);
      headers.putLong(at(i) + IOV_LENGTH, 1);
    }
  }

  private static Pointer zeroed(int bytes) {
    return Memory.allocateDirect(LibC.RUNTIME, bytes, true);
  }

  private static long at(int i) {
    return (long) i * HEADER_BYTES;
  }

  Pointer headers() {
    return headers;
  }

  /** The headers from the i-th on. */
  Pointer headers(int i) {
    return i == 0 ? headers : headers.slice(at(i));
  }

  void data(int i, long address, long length) {
    iovecs.putLong((long) i * IOVEC_BYTES, address);
    iovecs.putLong((long) i * IOVEC_BYTES + 8, length);
  }

  /** Uses an address that lies elsewhere. */
  void name(int i, long address, int length) {
    headers.putLong(at(i) + NAME, address);
    headers.putInt(at(i) + NAME_LENGTH, length);
  }

  /** Makes room for an address to be received. */
  void ownName(int i) {
    name(i, names.address() + (long) i * NAME_BYTES, NAME_BYTES);
  }

  Pointer names() {
    return names;
  }

  static long nameAt(int i) {
    return (long) i * NAME_BYTES;
  }

  /** So many bytes of control data are valid, or may be filled; 0: none. */
  void control(int i, int bytes) {
    headers.putLong(
        at(i) + CONTROL, bytes == 0 ? 0 : controls.address() + (long) i * CONTROL_BYTES);
    headers.putLong(at(i) + CONTROL_LENGTH, bytes);
  }

  long controlLength(int i) {
    return headers.getLong(at(i) + CONTROL_LENGTH);
  }

  Pointer controls() {
    return controls;
  }

  static long controlAt(int i) {
    return (long) i * CONTROL_BYTES;
  }

  int flags(int i) {
    return headers.getInt(at(i) + FLAGS);
  }

  int length(int i) {
    return headers.getInt(at(i) + LENGTH);
  }
}
