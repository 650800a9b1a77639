// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.client;

import jnr.ffi.Pointer;
import jnr.ffi.byref.IntByReference;
import jnr.ffi.types.u_int32_t;
import jnr.ffi.types.u_int64_t;

/**
 * The calls of libxenstore.so.4 that are used here. A C {@code bool} is one byte wide, hence the
 * byte results: the rest of the register is undefined. What is returned as a pointer is freed by
 * the caller.
 */
public interface LibXenStore {
  Pointer xs_open(@u_int64_t long flags);

  void xs_close(Pointer handle);

  Pointer xs_directory(
      Pointer handle, @u_int32_t int transaction, String path, IntByReference count);

  Pointer xs_read(Pointer handle, @u_int32_t int transaction, String path, IntByReference length);

  byte xs_write(
      Pointer handle, @u_int32_t int transaction, String path, byte[] value, @u_int32_t int length);

  byte xs_rm(Pointer handle, @u_int32_t int transaction, String path);

  Pointer xs_get_permissions(
      Pointer handle, @u_int32_t int transaction, String path, IntByReference count);

  byte xs_set_permissions(
      Pointer handle,
      @u_int32_t int transaction,
      String path,
      int[] permissions,
      @u_int32_t int count);

  byte xs_watch(Pointer handle, String path, String token);

  int xs_fileno(Pointer handle);

  Pointer xs_check_watch(Pointer handle);

  @u_int32_t
  int xs_transaction_start(Pointer handle);

  byte xs_transaction_end(Pointer handle, @u_int32_t int transaction, byte abort);
}
