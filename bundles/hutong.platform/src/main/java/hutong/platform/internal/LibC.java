// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.platform.OsException;
import jnr.ffi.LastError;
import jnr.ffi.LibraryLoader;
import jnr.ffi.Pointer;
import jnr.ffi.Runtime;

/** The C library's calls. Names and meanings are those of section 2 of the manual. */
@SuppressWarnings("checkstyle:MethodName")
public interface LibC {
  /** The library; one binding for each class loader. */
  LibC INSTANCE = LibraryLoader.create(LibC.class).load("c");

  /** Needed to make pointers. */
  Runtime RUNTIME = Runtime.getRuntime(INSTANCE);

  int EINTR = 4;
  int O_RDONLY = 0;
  int O_RDWR = 2;
  int O_NONBLOCK = 0x800;
  int O_CLOEXEC = 0x80000;
  int F_GETFL = 3;
  int F_SETFL = 4;
  int F_ADD_SEALS = 1033;
  int F_GET_SEALS = 1034;
  int MFD_CLOEXEC = 1;
  int MFD_ALLOW_SEALING = 2;
  long SYS_PIDFD_OPEN = 434;
  long SYS_PIDFD_GETFD = 438;

  int close(int fd);

  int open(byte[] path, int flags, int mode);

  long read(int fd, Pointer buffer, long size);

  long write(int fd, Pointer buffer, long size);

  int socket(int domain, int type, int protocol);

  int socketpair(int domain, int type, int protocol, int[] fds);

  int bind(int fd, Pointer address, int length);

  int listen(int fd, int backlog);

  int connect(int fd, Pointer address, int length);

  int accept4(int fd, Pointer address, Pointer length, int flags);

  long sendmsg(int fd, Pointer message, int flags);

  long recvmsg(int fd, Pointer message, int flags);

  int sendmmsg(int fd, Pointer messages, int count, int flags);

  int recvmmsg(int fd, Pointer messages, int count, int flags, Pointer timeout);

  int setsockopt(int fd, int level, int name, Pointer value, int length);

  int getsockopt(int fd, int level, int name, Pointer value, Pointer length);

  int getsockname(int fd, Pointer address, Pointer length);

  int getpeername(int fd, Pointer address, Pointer length);

  int fchmod(int fd, int mode);

  int chmod(byte[] path, int mode);

  int unlink(byte[] path);

  int fcntl(int fd, int command, long argument);

  int ioctl(int fd, long request, Pointer argument);

  int memfd_create(byte[] name, int flags);

  int ftruncate(int fd, long size);

  int statx(int dir, byte[] path, int flags, int mask, Pointer result);

  // a pointer keeps JNR from its x86-64 stub for primitives, which passes the sixth of six
  // arguments wrongly
  long mmap(Pointer address, long size, int protection, int flags, int fd, long offset);

  int munmap(long address, long size);

  int eventfd(int value, int flags);

  int epoll_create1(int flags);

  int epoll_ctl(int epoll, int operation, int fd, Pointer event);

  int epoll_wait(int epoll, Pointer events, int max, int timeoutMs);

  int epoll_pwait2(int epoll, Pointer events, int max, Pointer timeout, Pointer signals);

  int setpriority(int which, int who, int priority);

  int getpriority(int which, int who);

  long readlink(byte[] path, Pointer buffer, long size);

  int if_nametoindex(byte[] name);

  long syscall(long number, long first, long second, long third);

  // as with mmap
  long syscall(long number, long first, long second, long third, Pointer fourth, Pointer fifth);

  String strerror(int errno);

  /** The thread's errno. */
  static int errno() {
    return LastError.getLastError(RUNTIME);
  }

  /** The exception for the thread's errno. */
  static OsException failure(String call) {
    return failure(call, errno());
  }

  /** The exception for an errno. */
  static OsException failure(String call, int errno) {
    return new OsException(call, errno, INSTANCE.strerror(errno));
  }

  /** The result, or the exception when it is negative. */
  static int check(String call, int result) throws OsException {
    if (result < 0) {
      throw failure(call);
    }
    return result;
  }

  /** The result, or the exception when it is negative. */
  static long check(String call, long result) throws OsException {
    if (result < 0) {
      throw failure(call);
    }
    return result;
  }

  /** A string as C has it. */
  static byte[] cstring(String text) {
    byte[] bytes = text.getBytes(java.nio.charset.StandardCharsets.UTF_8);
    for (byte b : bytes) {
      if (b == 0) {
        throw new IllegalArgumentException("a NUL in " + text);
      }
    }
    return java.util.Arrays.copyOf(bytes, bytes.length + 1);
  }
}
