// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.PriorityQueue;
import java.util.Queue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * One thread that waits for descriptors, tasks and times, and blocks when there is nothing to do.
 * Handlers and tasks run on it one after the other; what they throw goes to the error handler and
 * does not end the loop. All methods may be called by any thread.
 */
public final class EventLoop implements AutoCloseable {
  /** A task that was scheduled. */
  public interface Scheduled {
    /** Makes sure that it does not start any more. */
    void cancel();
  }

  private final class Timer implements Scheduled, Comparable<Timer> {
    private final long dueNs;
    private final Runnable task;

    Timer(long dueNs, Runnable task) {
      this.dueNs = dueNs;
      this.task = task;
    }

    @Override
    public void cancel() {
      synchronized (lock) {
        timers.remove(this);
      }
    }

    @Override
    public int compareTo(Timer other) {
      return Long.compare(dueNs - other.dueNs, 0); // nanoTime may wrap
    }
  }

  private static final Duration NOW = Duration.ZERO;
  private static final Duration PAUSE = Duration.ofMillis(10);

  private final Poller poller;
  private final NanoClock clock;
  private final Consumer<? super Throwable> onError;
  private final Thread thread;
  private final Object lock = new Object();
  private final Queue<Runnable> tasks = new ArrayDeque<>();
  private final PriorityQueue<Timer> timers = new PriorityQueue<>();
  private boolean closed;

  /**
   * Starts the loop.
   *
   * @param events makes the poller
   * @param name the thread's name
   * @param clock for {@link #schedule}
   * @param onError told what handlers and tasks throw; must not throw
   * @throws OsException when there are no descriptors left
   */
  public EventLoop(Events events, String name, NanoClock clock, Consumer<? super Throwable> onError)
      throws OsException {
    this.poller = events.openPoller();
    this.clock = clock;
    this.onError = e -> report(onError, e);
    this.thread = new Thread(this::run, name);
    thread.setDaemon(true);
    thread.start();
  }

  /** Starts the loop on the real clock. */
  public EventLoop(Events events, String name, Consumer<? super Throwable> onError)
      throws OsException {
    this(events, name, NanoClock.SYSTEM, onError);
  }

  /** Watches a descriptor; see {@link Poller#add}. */
  public void add(Fd fd, int interest, Poller.Handler handler) throws OsException {
    poller.add(fd, interest, handler);
  }

  /** Changes what a descriptor is watched for. */
  public void modify(Fd fd, int interest) throws OsException {
    poller.modify(fd, interest);
  }

  /** Stops watching a descriptor; do it before closing. */
  public void remove(Fd fd) {
    poller.remove(fd);
  }

  /**
   * Runs a task on the loop, soon.
   *
   * @throws RejectedExecutionException when the loop is closed
   */
  public void execute(Runnable task) {
    synchronized (lock) {
      requireOpen();
      tasks.add(task);
    }
    wakeFromOutside();
  }

  /**
   * Asks something that only the loop may answer, from another thread.
   *
   * @param who for the message: whose loop it is
   * @param patience how long to wait
   * @throws IllegalStateException when there is no answer, also since the question threw, the loop
   *     is closed or this thread was interrupted
   */
  public <T> T ask(String who, Duration patience, Supplier<T> question) {
    CompletableFuture<T> answer = new CompletableFuture<>();
    try {
      execute(
          () -> {
            try {
              answer.complete(question.get());
            } catch (RuntimeException e) {
              answer.completeExceptionally(e);
            }
          });
      return answer.get(patience.toNanos(), TimeUnit.NANOSECONDS);
    } catch (RejectedExecutionException | ExecutionException | TimeoutException e) {
      throw new IllegalStateException("the " + who + " does not answer", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  /**
   * Runs a task on the loop after a delay by the loop's clock.
   *
   * @return to cancel it
   * @throws RejectedExecutionException when the loop is closed
   */
  public Scheduled schedule(Duration delay, Runnable task) {
    Timer timer = new Timer(clock.nanoTime() + delay.toNanos(), task);
    synchronized (lock) {
      requireOpen();
      timers.add(timer);
    }
    wakeFromOutside();
    return timer;
  }

  /** Looks at the clock again: for tests that move their own. */
  public void wakeup() {
    poller.wakeup();
  }

  /** Whether the caller is the loop's thread. */
  public boolean isLoopThread() {
    return Thread.currentThread() == thread;
  }

  /**
   * Ends the loop, after the task or handler that is running; from outside, waits for that.
   * Idempotent.
   */
  @Override
  public void close() {
    synchronized (lock) {
      closed = true;
    }
    poller.wakeup();
    if (isLoopThread()) {
      return;
    }
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  private static void report(Consumer<? super Throwable> onError, Throwable e) {
    try {
      onError.accept(e);
    } catch (Throwable again) {
      // Nothing can be said of it, such as when there is no memory for the words.
    }
  }

  private void requireOpen() {
    if (closed) {
      throw new RejectedExecutionException("the event loop " + thread.getName() + " is closed");
    }
  }

  private void wakeFromOutside() {
    if (!isLoopThread()) {
      poller.wakeup();
    }
  }

  private void run() {
    try (poller) {
      while (!isClosed()) {
        // no more than wait now: tasks that make tasks must not keep descriptors from their turn
        Runnable next;
        for (int n = waiting(); n > 0 && (next = nextTask()) != null; n--) {
          guarded(next);
        }
        await();
      }
    } catch (OsException e) {
      onError.accept(e); // the poller itself failed: going on would spin
    } finally {
      synchronized (lock) {
        closed = true;
      }
    }
  }

  private void await() throws OsException {
    try {
      poller.await(untilNext(), onError);
    } catch (RuntimeException | Error e) {
      onError.accept(e);
      LockSupport.parkNanos(PAUSE.toNanos()); // or what lasts would take the whole processor
    }
  }

  private boolean isClosed() {
    synchronized (lock) {
      return closed;
    }
  }

  private int waiting() {
    synchronized (lock) {
      return tasks.size() + timers.size();
    }
  }

  /** The next task or due timer, or null. */
  private Runnable nextTask() {
    synchronized (lock) {
      if (closed) {
        return null;
      }
      Timer first = timers.peek();
      if (first != null && first.dueNs - clock.nanoTime() <= 0) {
        return timers.poll().task;
      }
      return tasks.poll();
    }
  }

  /** How long to wait; null without a limit. */
  private Duration untilNext() {
    synchronized (lock) {
      if (!tasks.isEmpty() || closed) {
        return NOW;
      }
      Timer first = timers.peek();
      return first == null ? null : Duration.ofNanos(Math.max(0, first.dueNs - clock.nanoTime()));
    }
  }

  private void guarded(Runnable task) {
    try {
      task.run();
    } catch (Throwable e) { // also without memory: what the loop carries would stand still for good
      onError.accept(e);
    }
  }
}
