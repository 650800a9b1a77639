// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.client;

import hutong.xenstore.Permission;
import hutong.xenstore.XenStoreException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import jnr.ffi.Pointer;
import jnr.ffi.byref.IntByReference;

/**
 * A libxenstore handle for requests. It never watches, so that the library starts no reader thread
 * for it: each request is written and its answer read by the calling thread, and a broken
 * connection is an error of that request. Not thread-safe.
 */
final class RequestHandle {
  private static final int EBADF = 9;
  private static final int EPIPE = 32;
  private static final int ECONNRESET = 104;
  private static final int PERM_READ = 1;
  private static final int PERM_WRITE = 2;

  private final Native lib;
  private final Pointer handle;
  private boolean broken;

  RequestHandle(Native lib) throws XenStoreException {
    this.lib = lib;
    this.handle = open(lib);
    lib.limitWaits(handle);
  }

  static Pointer open(Native lib) throws XenStoreException {
    Pointer handle = lib.xs.xs_open(0);
    if (handle == null) {
      throw new XenStoreException(
          XenStoreException.ENOTCONN, "XenStore cannot be opened, errno " + lib.errno());
    }
    return handle;
  }

  /** Whether the connection is lost; nothing but close() makes sense then. */
  boolean broken() {
    return broken;
  }

  void close() {
    lib.xs.xs_close(handle);
  }

  Optional<String> read(int tx, String path) throws XenStoreException {
    IntByReference length = new IntByReference();
    Pointer value = lib.xs.xs_read(handle, tx, path, length);
    if (value == null) {
      XenStoreException e = failure("read", path);
      if (e.errno() == XenStoreException.ENOENT) {
        return Optional.empty();
      }
      throw e;
    }
    try {
      byte[] bytes = new byte[length.intValue()];
      value.get(0, bytes, 0, bytes.length);
      return Optional.of(new String(bytes, StandardCharsets.UTF_8));
    } finally {
      lib.free(value);
    }
  }

  List<String> list(int tx, String path) throws XenStoreException {
    IntByReference count = new IntByReference();
    Pointer names = lib.xs.xs_directory(handle, tx, path, count);
    if (names == null) {
      XenStoreException e = failure("list", path);
      if (e.errno() == XenStoreException.ENOENT) {
        return List.of();
      }
      throw e;
    }
    try {
      List<String> result = new ArrayList<>();
      for (int i = 0; i < count.intValue(); i++) {
        result.add(names.getPointer((long) i * Long.BYTES).getString(0));
      }
      return result;
    } finally {
      lib.free(names);
    }
  }

  void write(int tx, String path, String value) throws XenStoreException {
    byte[] bytes = value.getBytes(StandardCharsets.UTF_8);
    // An empty array has no address to hand over; one byte that is not sent does.
    check(
        lib.xs.xs_write(handle, tx, path, bytes.length == 0 ? new byte[1] : bytes, bytes.length),
        "write",
        path);
  }

  void remove(int tx, String path) throws XenStoreException {
    if (lib.xs.xs_rm(handle, tx, path) == 0) {
      XenStoreException e = failure("remove", path);
      if (e.errno() != XenStoreException.ENOENT) {
        throw e;
      }
    }
  }

  List<Permission> permissions(int tx, String path) throws XenStoreException {
    IntByReference count = new IntByReference();
    Pointer entries = lib.xs.xs_get_permissions(handle, tx, path, count);
    if (entries == null) {
      XenStoreException e = failure("permissions of", path);
      if (e.errno() == XenStoreException.ENOENT) {
        return List.of();
      }
      throw e;
    }
    try {
      List<Permission> result = new ArrayList<>();
      for (int i = 0; i < count.intValue(); i++) {
        int domid = entries.getInt((long) i * 2 * Integer.BYTES);
        int bits = entries.getInt((long) i * 2 * Integer.BYTES + Integer.BYTES);
        result.add(
            new Permission(domid & 0xffff, (bits & PERM_READ) != 0, (bits & PERM_WRITE) != 0));
      }
      return result;
    } finally {
      lib.free(entries);
    }
  }

  void setPermissions(int tx, String path, List<Permission> permissions) throws XenStoreException {
    int[] entries = new int[2 * permissions.size()];
    for (int i = 0; i < permissions.size(); i++) {
      Permission p = permissions.get(i);
      entries[2 * i] = p.domid();
      entries[2 * i + 1] = (p.read() ? PERM_READ : 0) | (p.write() ? PERM_WRITE : 0);
    }
    check(
        lib.xs.xs_set_permissions(handle, tx, path, entries, permissions.size()),
        "set the permissions of",
        path);
  }

  int begin() throws XenStoreException {
    int tx = lib.xs.xs_transaction_start(handle);
    if (tx == 0) {
      throw failure("start a transaction", "");
    }
    return tx;
  }

  /** Returns false on a conflict. */
  boolean end(int tx, boolean abort) throws XenStoreException {
    if (lib.xs.xs_transaction_end(handle, tx, (byte) (abort ? 1 : 0)) != 0) {
      return true;
    }
    // Here EAGAIN is the store's answer; when it was our time limit, the next request finds the
    // connection closed.
    int errno = lib.errno();
    if (errno == XenStoreException.EAGAIN) {
      return false;
    }
    throw failure(errno, "end a transaction", "");
  }

  private void check(byte done, String what, String path) throws XenStoreException {
    if (done == 0) {
      throw failure(what, path);
    }
  }

  private XenStoreException failure(String what, String path) {
    int errno = lib.errno();
    if (errno == XenStoreException.EAGAIN) {
      errno = XenStoreException.ENOTCONN; // our time limit
    }
    return failure(errno, what, path);
  }

  private XenStoreException failure(int errno, String what, String path) {
    if (errno == EBADF
        || errno == EPIPE
        || errno == ECONNRESET
        || errno == XenStoreException.ENOTCONN) {
      broken = true;
      return new XenStoreException(
          XenStoreException.ENOTCONN, "XenStore: connection lost, " + what + " " + path);
    }
    return new XenStoreException(errno, "XenStore: " + what + " " + path);
  }
}
