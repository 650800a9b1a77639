// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.client;

import jnr.ffi.Pointer;
import jnr.ffi.byref.IntByReference;

/** The calls of the C library that dealing with libxenstore needs. */
public interface LibC {
  void free(Pointer memory);

  String getenv(String name);

  int setenv(String name, String value, int overwrite);

  int getpeername(int fd, byte[] address, IntByReference length);

  int setsockopt(int fd, int level, int option, long[] value, int length);

  int shutdown(int fd, int how);
}
