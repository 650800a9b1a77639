// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.RejectedExecutionException;
import org.junit.jupiter.api.Test;

/** What waits of the messages of other agents: of each only so much. */
class InboxTest {
  private static final String NOISY = "noisy";
  private static final String QUIET = "quiet";
  private static final int LARGE = 1 << 16;
  private static final int TOO_MANY = Inbox.MOST_WAITING / LARGE + 1;

  private final Queue<Runnable> loop = new ArrayDeque<>();
  private final List<String> taken = new ArrayList<>();
  private final List<String> flooded = new ArrayList<>();
  private final Inbox<String> inbox = new Inbox<>(loop::add, flooded::add);

  private void run() {
    while (!loop.isEmpty()) {
      loop.remove().run();
    }
  }

  private boolean put(String from, int bytes) {
    return inbox.put(from, bytes, () -> taken.add(from + " " + bytes));
  }

  private boolean fill(String from) {
    boolean all = true;
    for (int i = 0; i < TOO_MANY; i++) {
      all &= put(from, LARGE);
    }
    return all;
  }

  @Test
  void shouldHandOverInOrder() {
    assertThat(put(NOISY, 1)).isTrue();
    assertThat(put(QUIET, 2)).isTrue();
    assertThat(put(NOISY, 3)).isTrue();
    assertThat(taken).isEmpty();
    run();
    assertThat(taken).containsExactly("noisy 1", "quiet 2", "noisy 3");
    assertThat(flooded).isEmpty();
  }

  @Test
  void shouldDropWhatIsTooMuchAndSaySoOnce() {
    assertThat(fill(NOISY)).isFalse();
    assertThat(put(NOISY, LARGE)).isFalse();
    assertThat(put(QUIET, 2)).isTrue();
    run();
    assertThat(taken.size()).isLessThan(TOO_MANY);
    assertThat(taken).contains("quiet 2");
    assertThat(flooded).containsExactly(NOISY);
  }

  @Test
  void shouldCountWhatCostsNothingButItsNumber() {
    boolean all = true;
    for (int i = 0; i < Inbox.MOST_WAITING / 128; i++) {
      all &= put(NOISY, 0);
    }
    assertThat(all).isFalse();
  }

  @Test
  void shouldTakeAgainWhenThatHasBeenLookedAt() {
    fill(NOISY);
    run();
    taken.clear();
    assertThat(put(NOISY, 1)).isTrue();
    fill(NOISY);
    run();
    assertThat(taken).startsWith("noisy 1");
    assertThat(flooded).containsExactly(NOISY, NOISY);
  }

  @Test
  void shouldTakeNothingWhenTheLoopIsClosed() {
    Inbox<String> closed =
        new Inbox<>(
            task -> {
              throw new RejectedExecutionException();
            },
            flooded::add);
    assertThat(closed.put(NOISY, 1, () -> taken.add("never"))).isFalse();
    assertThat(taken).isEmpty();
  }
}
