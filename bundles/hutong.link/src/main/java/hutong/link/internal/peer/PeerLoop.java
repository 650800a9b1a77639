// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.platform.NanoClock;
import java.io.IOException;
import java.nio.channels.SelectableChannel;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.time.Duration;
import java.util.Comparator;
import java.util.PriorityQueue;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Consumer;

/**
 * One thread that waits for sockets, tasks and timers. It sleeps while there is none of these; what
 * a task or handler throws is reported and goes no further.
 */
final class PeerLoop implements AutoCloseable {
  private static final Duration AFTER_A_FAILURE = Duration.ofSeconds(1);

  private final Selector selector;
  private final NanoClock clock;
  private final Consumer<Throwable> failures;
  private final Thread thread;
  private final Queue<Runnable> tasks = new ConcurrentLinkedQueue<>();
  private final PriorityQueue<Timer> timers = new PriorityQueue<>(Comparator.<Timer>naturalOrder());
  private final long startNs;
  private volatile boolean closed;

  /**
   * Starts the thread.
   *
   * @param name of the thread
   * @param clock for the timers
   * @param failures told what tasks throw
   */
  PeerLoop(String name, NanoClock clock, Consumer<Throwable> failures) throws IOException {
    this.selector = Selector.open();
    this.clock = clock;
    this.failures = failures;
    this.startNs = clock.nanoTime();
    this.thread = new Thread(this::run, name);
    thread.setDaemon(true);
    thread.start();
  }

  /** A task that waits for its time. */
  final class Timer implements Comparable<Timer> {
    private final long atNs;
    private final Runnable task;

    private Timer(long atNs, Runnable task) {
      this.atNs = atNs;
      this.task = task;
    }

    /** Forgets the task; on the loop's thread. */
    void cancel() {
      timers.remove(this);
    }

    @Override
    public int compareTo(Timer other) {
      return Long.compare(atNs, other.atNs);
    }
  }

  private long now() {
    return clock.nanoTime() - startNs;
  }

  /** Runs a task on the thread, soon; never, once the loop is closed. */
  void execute(Runnable task) {
    if (closed) {
      return;
    }
    tasks.add(task);
    if (Thread.currentThread() != thread) {
      selector.wakeup();
    }
  }

  /** Runs a task later; on the loop's thread. */
  Timer schedule(Duration after, Runnable task) {
    Timer timer = new Timer(now() + after.toNanos(), task);
    timers.add(timer);
    return timer;
  }

  /** Watches a channel; on the loop's thread. */
  SelectionKey register(SelectableChannel channel, int ops, Runnable handler) throws IOException {
    channel.configureBlocking(false);
    return channel.register(selector, ops, handler);
  }

  private void run() {
    while (!closed) {
      try {
        select();
      } catch (IOException | RuntimeException e) {
        failures.accept(e);
        LockSupport.parkNanos(AFTER_A_FAILURE.toNanos()); // or it would fail all the time
      }
      for (Timer due = timers.peek(); due != null && due.atNs <= now(); due = timers.peek()) {
        timers.poll();
        guarded(due.task);
      }
      // Those that tasks add have their turn after the sockets'.
      for (int left = tasks.size(); left > 0; left--) {
        guarded(tasks.poll());
      }
    }
  }

  private void select() throws IOException {
    Timer next = timers.peek();
    Consumer<SelectionKey> ready = key -> guarded((Runnable) key.attachment());
    if (!tasks.isEmpty()) {
      selector.selectNow(ready);
    } else if (next == null) {
      selector.select(ready);
    } else {
      long leftNs = Math.max(0, next.atNs - now());
      selector.select(ready, TimeUnit.NANOSECONDS.toMillis(leftNs) + 1);
    }
  }

  private void guarded(Runnable task) {
    try {
      task.run();
    } catch (Throwable e) {
      failures.accept(e);
    }
  }

  /** Ends the thread and waits for it, unless called on it. Channels stay as they are. */
  @Override
  public void close() {
    closed = true;
    selector.wakeup();
    boolean interrupted = false;
    while (thread.isAlive() && Thread.currentThread() != thread) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
    try {
      selector.close();
    } catch (IOException e) {
      failures.accept(e);
    }
  }
}
