// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.os.Fd;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(60)
class EventLoopTest {
  private final Events events = Platform.events();
  private final AtomicLong now =
      new AtomicLong(Long.MAX_VALUE - 10); // nanoTime may be about to wrap
  private final BlockingQueue<Throwable> errors = new LinkedBlockingQueue<>();
  private final BlockingQueue<String> seen = new LinkedBlockingQueue<>();
  private EventLoop loop;

  @BeforeEach
  void start() throws Exception {
    loop = new EventLoop(events, "test-loop", now::get, errors::add);
  }

  @AfterEach
  void stop() {
    loop.close();
  }

  private String next() throws InterruptedException {
    return seen.poll(30, TimeUnit.SECONDS);
  }

  /** Everything that was due before this call is done when it returns. */
  private void settle() throws Exception {
    CompletableFuture<Void> done = new CompletableFuture<>();
    loop.execute(() -> loop.execute(() -> done.complete(null)));
    done.get(30, TimeUnit.SECONDS);
  }

  @Test
  void shouldAnswerFromItsThread() {
    Duration patience = Duration.ofSeconds(30);
    assertThat(loop.ask("test", patience, loop::isLoopThread)).isTrue();
    assertThatThrownBy(
            () ->
                loop.ask(
                    "test",
                    patience,
                    () -> {
                      throw new IllegalArgumentException("no");
                    }))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("the test does not answer")
        .hasRootCauseMessage("no");
    loop.close();
    assertThatThrownBy(() -> loop.ask("test", patience, () -> 1))
        .isInstanceOf(IllegalStateException.class);
  }

  @Test
  void shouldCallHandlersOnItsThread() throws Exception {
    List<Fd> pair = Platform.sockets().unixSeqpacketPair();
    try (Fd a = pair.get(0);
        Fd b = pair.get(1)) {
      loop.add(
          b,
          Poller.IN,
          bits ->
              seen.add(
                  loop.isLoopThread()
                      + " "
                      + new String(Platform.sockets().recv(b, 10, 0).data())));
      Platform.sockets().send(a, "x".getBytes(), List.of());
      assertThat(next()).isEqualTo("true x");
      loop.remove(b);
      Platform.sockets().send(a, "y".getBytes(), List.of());
      settle();
      assertThat(seen).isEmpty();
    }
  }

  @Test
  void shouldReportHangUp() throws Exception {
    List<Fd> pair = Platform.sockets().unixSeqpacketPair();
    try (Fd b = pair.get(1)) {
      AtomicReference<Integer> bits = new AtomicReference<>();
      loop.add(
          b,
          0,
          e -> {
            bits.set(e);
            loop.remove(b);
            seen.add("hup");
          });
      pair.get(0).close();
      assertThat(next()).isEqualTo("hup");
      assertThat(bits.get() & Poller.HUP).isNotZero();
    }
  }

  @Test
  void shouldSurviveWhatHandlersThrow() throws Exception {
    try (Fd bell = events.eventfd()) {
      loop.add(
          bell,
          Poller.IN,
          bits -> {
            events.drain(bell);
            throw new OsException("handler", 5, "of the test");
          });
      events.ring(bell);
      assertThat(errors.poll(30, TimeUnit.SECONDS)).hasMessageContaining("of the test");
      loop.execute(
          () -> {
            throw new IllegalStateException("task");
          });
      assertThat(errors.poll(30, TimeUnit.SECONDS)).hasMessage("task");
      settle();
      loop.remove(bell);
    }
  }

  @Test
  void shouldRunTimersInOrderByItsClock() throws Exception {
    loop.schedule(Duration.ofSeconds(2), () -> seen.add("two"));
    loop.schedule(Duration.ofSeconds(1), () -> seen.add("one"));
    loop.schedule(Duration.ofSeconds(1), () -> seen.add("never")).cancel();
    settle();
    assertThat(seen).isEmpty();
    now.addAndGet(Duration.ofSeconds(3).toNanos());
    loop.wakeup();
    assertThat(next()).isEqualTo("one");
    assertThat(next()).isEqualTo("two");
    settle();
    assertThat(seen).isEmpty();
  }

  /** A turn of the loop costs the same, however many timers wait. */
  @Test
  void shouldNotLookAtAllTimersInEachTurn() throws Exception {
    AtomicLong looks = new AtomicLong();
    EventLoop counted = new EventLoop(events, "test-loop-2", looks::incrementAndGet, errors::add);
    try {
      for (int i = 0; i < 1000; i++) {
        counted.schedule(Duration.ofDays(1), () -> seen.add("early"));
      }
      CompletableFuture<Long> before = new CompletableFuture<>();
      CompletableFuture<Long> after = new CompletableFuture<>();
      counted.execute(() -> before.complete(looks.get()));
      before.get(30, TimeUnit.SECONDS);
      counted.execute(() -> counted.execute(() -> after.complete(looks.get())));
      assertThat(after.get(30, TimeUnit.SECONDS) - before.get()).isLessThan(100);
    } finally {
      counted.close();
    }
    assertThat(seen).isEmpty();
  }

  @Test
  void shouldServeDescriptorsBesidesEndlessTasks() throws Exception {
    Runnable[] again = new Runnable[1];
    again[0] = () -> loop.execute(again[0]);
    loop.execute(again[0]);
    try (Fd bell = events.eventfd()) {
      loop.add(
          bell,
          Poller.IN,
          bits -> {
            loop.remove(bell);
            seen.add("served");
          });
      events.ring(bell);
      assertThat(next()).isEqualTo("served");
    }
    again[0] = () -> {};
    settle();
  }

  @Test
  void shouldCloseFromBothSides() throws Exception {
    loop.close();
    assertThatThrownBy(() -> loop.execute(() -> {})).isInstanceOf(RejectedExecutionException.class);
    EventLoop other = new EventLoop(events, "test-loop-2", errors::add);
    other.execute(other::close);
    other.close();
    assertThat(errors).isEmpty();
  }

  @Test
  void shouldNotCallAHandlerRemovedInTheSameBatch() throws Exception {
    try (Poller poller = events.openPoller();
        Fd a = events.eventfd();
        Fd b = events.eventfd()) {
      poller.add(a, Poller.IN, bits -> poller.remove(b));
      poller.add(b, Poller.IN, bits -> poller.remove(a));
      events.ring(a);
      events.ring(b);
      assertThat(poller.await(null, errors::add)).isEqualTo(1);
      assertThat(poller.await(Duration.ZERO, errors::add)).isLessThanOrEqualTo(1);
      poller.wakeup();
      poller.modify(a.isOpen() && isWatched(poller, a) ? a : b, 0);
      assertThat(poller.await(null, errors::add)).isZero();
    }
    assertThat(errors).isEmpty();
  }

  private static boolean isWatched(Poller poller, Fd fd) throws OsException {
    try {
      poller.modify(fd, Poller.IN);
      return true;
    } catch (IllegalStateException e) {
      return false;
    }
  }

  @Test
  void shouldTellDoorbellsFromOthers() throws Exception {
    try (Fd bell = events.eventfd()) {
      assertThat(events.isEventfd(bell)).isTrue();
      assertThat(events.drain(bell)).isZero();
      events.ring(bell);
      events.ring(bell);
      assertThat(events.drain(bell)).isEqualTo(2);
    }
    List<Fd> pair = Platform.sockets().unixSeqpacketPair();
    assertThat(events.isEventfd(pair.get(0))).isFalse();
    pair.forEach(Fd::close);
  }
}
