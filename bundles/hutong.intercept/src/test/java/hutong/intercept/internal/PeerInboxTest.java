// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.os.Fd;
import hutong.platform.Platform;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.RejectedExecutionException;
import org.junit.jupiter.api.Test;

/** What waits of the messages of other agents: of each only so much. */
class PeerInboxTest {
  private static final int NOISY = 3;
  private static final int QUIET = 4;

  private final Queue<Runnable> loop = new ArrayDeque<>();
  private final List<String> taken = new ArrayList<>();
  private final List<Integer> flooded = new ArrayList<>();
  private final PeerInbox inbox =
      new PeerInbox(
          loop::add, (from, payload, fds) -> taken.add(from + " " + payload.length), flooded::add);

  private void run() {
    while (!loop.isEmpty()) {
      loop.remove().run();
    }
  }

  private void fill(int from) {
    for (int i = 0; i <= PeerInbox.MOST_WAITING >>> 16; i++) {
      inbox.put(from, new byte[1 << 16], List.of());
    }
  }

  @Test
  void shouldHandOverInOrder() {
    inbox.put(NOISY, new byte[1], List.of());
    inbox.put(QUIET, new byte[2], List.of());
    inbox.put(NOISY, new byte[3], List.of());
    assertThat(taken).isEmpty();
    run();
    assertThat(taken).containsExactly("3 1", "4 2", "3 3");
    assertThat(flooded).isEmpty();
  }

  @Test
  void shouldDropWhatIsTooMuchAndSaySoOnce() throws Exception {
    fill(NOISY);
    Fd fd = Platform.events().eventfd();
    inbox.put(NOISY, new byte[1 << 16], List.of(fd));
    inbox.put(QUIET, new byte[2], List.of());
    assertThat(fd.isOpen()).isFalse();
    run();
    assertThat(taken.size()).isLessThanOrEqualTo((PeerInbox.MOST_WAITING >>> 16) + 1);
    assertThat(taken).contains("4 2");
    assertThat(flooded).containsExactly(NOISY);
  }

  @Test
  void shouldTakeAgainWhenThatHasBeenLookedAt() {
    fill(NOISY);
    run();
    taken.clear();
    fill(NOISY);
    run();
    assertThat(taken).isNotEmpty();
    assertThat(flooded).containsExactly(NOISY, NOISY);
  }

  @Test
  void shouldCloseDescriptorsWhenTheLoopIsClosed() throws Exception {
    PeerInbox closed =
        new PeerInbox(
            task -> {
              throw new RejectedExecutionException();
            },
            (from, payload, fds) -> taken.add("never"),
            flooded::add);
    Fd fd = Platform.events().eventfd();
    closed.put(NOISY, new byte[1], List.of(fd));
    assertThat(fd.isOpen()).isFalse();
    assertThat(taken).isEmpty();
  }
}
