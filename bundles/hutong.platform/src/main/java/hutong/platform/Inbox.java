// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;

/**
 * What other agents cause a loop to do, on its way there. What comes faster than it is looked at
 * waits in this agent's memory: of each peer only so much. One that sends more has its messages
 * dropped, and is to be greeted again, which is how both find out what is true.
 *
 * @param <K> how peers are told apart
 */
public final class Inbox<K> {
  /** Bytes of a peer's messages that may wait. */
  public static final int MOST_WAITING = 8 << 20;

  /** What a message costs beside its bytes. */
  private static final int MESSAGE_COST = 256;

  private final Executor loop;
  private final Consumer<? super K> flooded;
  private final Map<K, AtomicInteger> waiting = new ConcurrentHashMap<>();

  /** Senders of which messages were dropped. */
  private final Set<K> flooding = ConcurrentHashMap.newKeySet();

  /**
   * Nothing waits.
   *
   * @param loop runs what follows
   * @param flooded told, on the loop, that messages of a peer were dropped
   */
  public Inbox(Executor loop, Consumer<? super K> flooded) {
    this.loop = loop;
    this.flooded = flooded;
  }

  /**
   * A message came; any thread.
   *
   * @param bytes of the message
   * @param task takes it, on the loop
   * @return whether the task will be run; false if there is too much of that peer already, or the
   *     loop is closed
   */
  public boolean put(K from, int bytes, Runnable task) {
    AtomicInteger already = waiting.computeIfAbsent(from, k -> new AtomicInteger());
    int cost = MESSAGE_COST + bytes;
    boolean put = false;
    try {
      if (already.addAndGet(cost) <= MOST_WAITING) {
        loop.execute(
            () -> {
              already.addAndGet(-cost);
              task.run();
            });
        put = true;
      } else if (flooding.add(from)) {
        loop.execute(
            () -> {
              flooding.remove(from);
              flooded.accept(from);
            });
      }
    } catch (RejectedExecutionException e) {
      // closing: nobody is there to look at anything
    } finally {
      if (!put) {
        already.addAndGet(-cost);
      }
    }
    return put;
  }
}
