// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.Events;
import hutong.platform.OsException;
import hutong.platform.Poller;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.function.Consumer;
import jnr.ffi.Memory;
import jnr.ffi.Pointer;

/** {@link Poller} on epoll. */
final class EpollPoller implements Poller {
  private static final int CTL_ADD = 1;
  private static final int CTL_DEL = 2;
  private static final int CTL_MOD = 3;
  private static final int BATCH = 64;

  /** struct epoll_event is packed on x86-64 only. */
  private static final boolean PACKED = System.getProperty("os.arch").equals("amd64");

  private static final int EVENT_SIZE = PACKED ? 12 : 16;
  private static final int EVENT_DATA = PACKED ? 4 : 8;

  private static final int TIMESPEC_SIZE = 16;
  private static final int ENOSYS = 38;
  private static final int EPERM = 1;

  private record Watch(Fd fd, int number, long token, Handler handler) {}

  private final Events events;
  private final Fd epoll;
  private final Fd wake;
  private final Pointer ready = Memory.allocateDirect(LibC.RUNTIME, BATCH * EVENT_SIZE, true);
  private final Pointer wait = Memory.allocateDirect(LibC.RUNTIME, TIMESPEC_SIZE, true);
  private boolean fine = true;
  // by token, never by number: an event of a descriptor closed in the same batch must not reach its
  // number's next owner
  private final Map<Long, Watch> byToken = new HashMap<>();
  private final Map<Fd, Watch> byFd = new HashMap<>();
  private long nextToken = 1; // 0 is the wake-up

  EpollPoller(Events events) throws OsException {
    this.events = events;
    this.epoll =
        new OwnedFd(LibC.check("epoll_create1", LibC.INSTANCE.epoll_create1(LibC.O_CLOEXEC)));
    try {
      this.wake = events.eventfd();
      control(CTL_ADD, wake.number(), IN, 0);
    } catch (OsException e) {
      epoll.close();
      throw e;
    }
  }

  @Override
  public synchronized void add(Fd fd, int interest, Handler handler) throws OsException {
    Watch watch = new Watch(fd, fd.number(), nextToken++, handler);
    control(CTL_ADD, watch.number, interest, watch.token);
    byToken.put(watch.token, watch);
    byFd.put(fd, watch);
  }

  @Override
  public synchronized void modify(Fd fd, int interest) throws OsException {
    Watch watch = byFd.get(fd);
    if (watch == null) {
      throw new IllegalStateException(fd + " is not watched");
    }
    control(CTL_MOD, watch.number, interest, watch.token);
  }

  @Override
  public synchronized void remove(Fd fd) {
    Watch watch = byFd.remove(fd);
    if (watch != null) {
      byToken.remove(watch.token);
      if (fd.isOpen() && epoll.isOpen()) {
        LibC.INSTANCE.epoll_ctl(epoll.number(), CTL_DEL, watch.number, Scratch.get(EVENT_SIZE));
      }
    }
  }

  @Override
  public int await(Duration timeout, Consumer<? super Throwable> onError) throws OsException {
    int n = waitFor(timeout);
    if (n < 0) {
      int errno = LibC.errno();
      if ((errno == ENOSYS || errno == EPERM) && fine) { // an old kernel, or seccomp's rules of one
        fine = false;
        return 0;
      }
      if (errno == LibC.EINTR) {
        return 0;
      }
      throw LibC.failure("epoll_wait", errno);
    }
    int called = 0;
    for (int i = 0; i < n; i++) {
      int bits = ready.getInt((long) i * EVENT_SIZE);
      long token = ready.getLong((long) i * EVENT_SIZE + EVENT_DATA);
      if (token == 0) {
        events.drain(wake);
        continue;
      }
      Watch watch;
      synchronized (this) {
        watch = byToken.get(token);
      }
      if (watch != null) {
        called++;
        call(watch.handler, bits, onError);
      }
    }
    return called;
  }

  /** To the nanosecond where the kernel (5.11) and the C library (2.35) can. */
  private int waitFor(Duration timeout) {
    if (fine && timeout != null && !timeout.isZero()) {
      wait.putLong(0, timeout.getSeconds());
      wait.putLong(8, timeout.getNano());
      try {
        return LibC.INSTANCE.epoll_pwait2(epoll.number(), ready, BATCH, wait, null);
      } catch (LinkageError e) {
        fine = false;
      }
    }
    return LibC.INSTANCE.epoll_wait(epoll.number(), ready, BATCH, millis(timeout));
  }

  @Override
  public synchronized void wakeup() {
    if (wake.isOpen()) {
      try {
        LinuxEvents.write(wake);
      } catch (OsException e) {
        throw new IllegalStateException("an own eventfd does not work", e);
      }
    }
  }

  @Override
  public synchronized void close() {
    byToken.clear();
    byFd.clear();
    wake.close();
    epoll.close();
  }

  private static void call(Handler handler, int bits, Consumer<? super Throwable> onError) {
    try {
      handler.ready(bits);
    } catch (Throwable e) {
      onError.accept(e);
    }
  }

  private static int millis(Duration timeout) {
    if (timeout == null) {
      return -1;
    }
    long ms = timeout.plusNanos(999_999).toMillis(); // never early: that would spin
    return (int) Math.min(Math.max(ms, 0), Integer.MAX_VALUE);
  }

  private void control(int operation, int fd, int interest, long token) throws OsException {
    Pointer p = Scratch.get(EVENT_SIZE);
    p.putInt(0, interest);
    p.putLong(EVENT_DATA, token);
    LibC.check("epoll_ctl", LibC.INSTANCE.epoll_ctl(epoll.number(), operation, fd, p));
  }
}
