// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.Events;
import hutong.platform.OsException;
import hutong.platform.Poller;
import java.util.function.Supplier;
import jnr.ffi.Pointer;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Deactivate;

/** {@link Events} on Linux. */
@Component(service = Events.class)
public final class LinuxEvents implements Events {
  private static final int PRIO_PROCESS = 0;

  /** Nice. */
  private static final int URGENT = -10;

  private static final int PATIENT = 5;

  private final LinuxProcesses processes = new LinuxProcesses();
  private final Object bellLock = new Object();
  private KernelBell bell;
  private boolean bellUsable = true;
  private volatile Boolean mayReturn;

  /** Gives the kernel's resources back; rings that come later still work. */
  @Deactivate
  public void close() {
    synchronized (bellLock) {
      bellUsable = false;
      if (bell != null) {
        bell.close();
      }
    }
  }

  @Override
  public Fd eventfd() throws OsException {
    return new OwnedFd(
        LibC.check("eventfd", LibC.INSTANCE.eventfd(0, LibC.O_NONBLOCK | LibC.O_CLOEXEC)));
  }

  @Override
  public boolean isEventfd(Fd fd) throws OsException {
    return processes.describe(fd).equals("anon_inode:[eventfd]");
  }

  @Override
  public void ring(Fd eventfd) throws OsException {
    KernelBell b = bell();
    if (b == null || !b.ring(eventfd)) {
      nonBlocking(eventfd);
      write(eventfd);
    }
  }

  @Override
  public long drain(Fd eventfd) throws OsException {
    nonBlocking(eventfd);
    Pointer p = Scratch.get(8);
    while (LibC.INSTANCE.read(eventfd.number(), p, 8) < 0) {
      int errno = LibC.errno();
      if (errno == OsException.EAGAIN) {
        return 0;
      }
      if (errno != LibC.EINTR) {
        throw LibC.failure("read eventfd", errno);
      }
    }
    return p.getLong(0);
  }

  @Override
  public void urgent() {
    nice(URGENT);
  }

  @Override
  public <T> T patiently(Supplier<T> work) {
    int before = LibC.INSTANCE.getpriority(PRIO_PROCESS, 0);
    if (before >= PATIENT || !mayReturnTo(before)) {
      return work.get();
    }
    nice(PATIENT);
    try {
      return work.get();
    } finally {
      nice(before); // threads that are made later inherit it
    }
  }

  /** Whether a thread that has stepped back may come forward again. */
  private boolean mayReturnTo(int before) {
    if (mayReturn == null) {
      mayReturn = nice(before - 1); // what takes the same privilege
      nice(before);
    }
    return mayReturn;
  }

  private static boolean nice(int value) {
    // 0: this thread alone, in spite of the name
    return LibC.INSTANCE.setpriority(PRIO_PROCESS, 0, value) == 0;
  }

  @Override
  public Poller openPoller() throws OsException {
    return new EpollPoller(this);
  }

  /** Rings an eventfd that is non-blocking and nobody else's. */
  static void write(Fd eventfd) throws OsException {
    Pointer p = Scratch.get(8);
    p.putLong(0, 1);
    while (LibC.INSTANCE.write(eventfd.number(), p, 8) < 0) {
      int errno = LibC.errno();
      if (errno == OsException.EAGAIN) {
        return; // full: rung already
      }
      if (errno != LibC.EINTR) {
        throw LibC.failure("write eventfd", errno);
      }
    }
  }

  /** The kernel's bell; null where there is none, for example under a seccomp filter. */
  private KernelBell bell() {
    synchronized (bellLock) {
      if (bell == null && bellUsable) {
        try {
          bell = new KernelBell();
        } catch (OsException e) {
          bellUsable = false;
        }
      }
      return bell;
    }
  }

  /** The flag belongs to the open file, which whoever made the eventfd shares: set it each time. */
  private static void nonBlocking(Fd fd) throws OsException {
    int flags = LibC.check("fcntl F_GETFL", LibC.INSTANCE.fcntl(fd.number(), LibC.F_GETFL, 0));
    if ((flags & LibC.O_NONBLOCK) == 0) {
      int wanted = flags | LibC.O_NONBLOCK;
      LibC.check("fcntl F_SETFL", LibC.INSTANCE.fcntl(fd.number(), LibC.F_SETFL, wanted));
    }
  }
}
