// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.client;

import hutong.xenstore.XenStoreException;
import java.nio.charset.StandardCharsets;
import jnr.ffi.LibraryLoader;
import jnr.ffi.Pointer;
import jnr.ffi.Runtime;
import jnr.ffi.byref.IntByReference;

/** libxenstore and the C library, loaded; with what both need to be used safely from a JVM. */
final class Native {
  private static final String PATH_VARIABLE = "XENSTORED_PATH";
  private static final int SOL_SOCKET = 1;
  private static final int SO_RCVTIMEO = 20;
  private static final int SO_SNDTIMEO = 21;
  private static final int SHUT_RDWR = 2;
  private static final int AF_UNIX = 1;

  /** Longest wait for the store in one step of a request. */
  private static final long TIMEOUT_SECONDS = 3;

  final LibXenStore xs;
  private final LibC libc;
  private final String socketPath;

  private Native(LibXenStore xs, LibC libc, String socketPath) {
    this.xs = xs;
    this.libc = libc;
    this.socketPath = socketPath;
  }

  /**
   * Loads the libraries.
   *
   * @param socketPath the store's socket; null leaves the choice to the environment and the library
   * @throws XenStoreException ENOTCONN when libxenstore is not installed
   */
  static Native load(String socketPath) throws XenStoreException {
    try {
      LibXenStore xs =
          LibraryLoader.create(LibXenStore.class).failImmediately().load("libxenstore.so.4");
      LibC libc = LibraryLoader.create(LibC.class).failImmediately().load("libc.so.6");
      // The library reads the environment. The lab sets it when it starts the JVM; this is for all
      // other ways.
      if (socketPath != null && !socketPath.equals(libc.getenv(PATH_VARIABLE))) {
        libc.setenv(PATH_VARIABLE, socketPath, 1);
      }
      return new Native(xs, libc, socketPath);
    } catch (LinkageError e) {
      throw new XenStoreException(
          XenStoreException.ENOTCONN, "libxenstore.so.4 cannot be loaded: " + e.getMessage());
    }
  }

  int errno() {
    return Runtime.getSystemRuntime().getLastError();
  }

  void free(Pointer memory) {
    libc.free(memory);
  }

  /**
   * Bounds the waits on a handle that has no reader thread, so that a store that hangs shows as an
   * error.
   *
   * <p>libxenstore has no call for this and hides the socket; in all its versions the descriptor is
   * the first field of the handle. It is touched only if it proves to be connected to the store's
   * socket, else waits stay unbounded.
   */
  void limitWaits(Pointer handle) {
    int fd = socketOf(handle);
    if (fd >= 0) {
      long[] timeval = {TIMEOUT_SECONDS, 0};
      libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, timeval, Long.BYTES * timeval.length);
      libc.setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, timeval, Long.BYTES * timeval.length);
    }
  }

  /** Breaks a handle's connection, so that a call that waits in it returns with an error. */
  void breakConnection(Pointer handle) {
    int fd = socketOf(handle);
    if (fd >= 0) {
      libc.shutdown(fd, SHUT_RDWR);
    }
  }

  private int socketOf(Pointer handle) {
    int fd = handle.getInt(0);
    byte[] address = new byte[110];
    IntByReference length = new IntByReference(address.length);
    if (socketPath == null || fd < 0 || libc.getpeername(fd, address, length) != 0) {
      return -1;
    }
    byte[] path = socketPath.getBytes(StandardCharsets.UTF_8);
    int family = (address[0] & 0xff) | (address[1] & 0xff) << 8;
    if (family != AF_UNIX || path.length > 107) {
      return -1;
    }
    for (int i = 0; i <= path.length; i++) {
      if (address[2 + i] != (i < path.length ? path[i] : 0)) {
        return -1;
      }
    }
    return fd;
  }
}
