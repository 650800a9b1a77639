// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.OsException;
import jnr.ffi.Memory;
import jnr.ffi.Pointer;

/**
 * Rings eventfds that others hold too, without ever blocking. A write cannot promise that: whoever
 * shares the open file can fill it and take its O_NONBLOCK away between two of our calls. So the
 * kernel rings: an asynchronous poll of a descriptor that is always ready completes at once, and
 * its completion signals the eventfd named in the request.
 */
final class KernelBell implements AutoCloseable {
  private static final boolean X86 = System.getProperty("os.arch").equals("amd64");
  private static final long IO_SETUP = X86 ? 206 : 0;
  private static final long IO_DESTROY = X86 ? 207 : 1;
  private static final long IO_GETEVENTS = X86 ? 208 : 4;
  private static final long IO_SUBMIT = X86 ? 209 : 2;
  private static final int QUEUE = 64;
  private static final int SIZEOF_EVENT = 32;

  // struct iocb
  private static final int SIZEOF_IOCB = 64;
  private static final int OPCODE = 16;
  private static final int POLL_FD = 20;
  private static final int POLL_EVENTS = 24;
  private static final int FLAGS = 56;
  private static final int RESULT_FD = 60;
  private static final short CMD_POLL = 5;
  private static final int FLAG_RESULT_FD = 1;
  private static final int POLLIN = 1;

  private final long context;
  private final Fd alwaysReady;
  private final Pointer request = Memory.allocateDirect(LibC.RUNTIME, SIZEOF_IOCB + 8, true);
  private final Pointer events = Memory.allocateDirect(LibC.RUNTIME, QUEUE * SIZEOF_EVENT, true);
  private boolean closed;

  /** Fails where the kernel has no asynchronous I/O. */
  KernelBell() throws OsException {
    Pointer p = Scratch.get(8);
    LibC.check("io_setup", LibC.INSTANCE.syscall(IO_SETUP, QUEUE, p.address(), 0));
    context = p.getLong(0);
    try {
      alwaysReady = new OwnedFd(LibC.check("eventfd", LibC.INSTANCE.eventfd(1, LibC.O_CLOEXEC)));
    } catch (OsException e) {
      LibC.INSTANCE.syscall(IO_DESTROY, context, 0, 0);
      throw e;
    }
    request.putLong(SIZEOF_IOCB, request.address()); // io_submit takes an array of pointers
    request.putShort(OPCODE, CMD_POLL);
    request.putInt(POLL_FD, alwaysReady.number());
    request.putLong(POLL_EVENTS, POLLIN);
    request.putInt(FLAGS, FLAG_RESULT_FD);
  }

  /** Rings; false when this bell is closed. */
  synchronized boolean ring(Fd eventfd) throws OsException {
    if (closed) {
      return false;
    }
    request.putInt(RESULT_FD, eventfd.number());
    long array = request.address() + SIZEOF_IOCB;
    long submitted = LibC.INSTANCE.syscall(IO_SUBMIT, context, 1, array);
    int errno = submitted < 0 ? LibC.errno() : 0;
    // completions that nobody takes fill the queue
    LibC.INSTANCE.syscall(IO_GETEVENTS, context, 0, QUEUE, events, null);
    if (submitted < 0) {
      throw LibC.failure("io_submit to ring an eventfd", errno);
    }
    return true;
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      LibC.INSTANCE.syscall(IO_DESTROY, context, 0, 0);
      alwaysReady.close();
    }
  }
}
