// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.os.Fd;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntConsumer;

/**
 * Messages of the other agents on this host, on their way to the loop. What comes faster than it is
 * looked at waits in this agent's memory: of each peer only so much. One that sends more has its
 * messages dropped, and the two greet each other again, which is how both find out what is true.
 */
final class PeerInbox {
  /** Bytes of a peer's messages that may wait. */
  static final int MOST_WAITING = 8 << 20;

  /** What a message costs beside its bytes. */
  private static final int MESSAGE_COST = 256;

  /** Takes a message. */
  @FunctionalInterface
  interface Taker {
    /** A message, with descriptors that become the taker's. */
    void message(int fromDomid, byte[] payload, List<Fd> fds);
  }

  private final Executor loop;
  private final Taker taker;
  private final IntConsumer flooded;
  private final Map<Integer, AtomicInteger> waiting = new ConcurrentHashMap<>();

  /** Senders of which messages were dropped. */
  private final Set<Integer> flooding = ConcurrentHashMap.newKeySet();

  /**
   * Nothing waits.
   *
   * @param loop runs what follows
   * @param taker takes the messages, on the loop
   * @param flooded told, on the loop, that messages of a peer were dropped
   */
  PeerInbox(Executor loop, Taker taker, IntConsumer flooded) {
    this.loop = loop;
    this.taker = taker;
    this.flooded = flooded;
  }

  /** A message came; any thread. */
  void put(int fromDomid, byte[] payload, List<Fd> fds) {
    AtomicInteger bytes = waiting.computeIfAbsent(fromDomid, d -> new AtomicInteger());
    int cost = MESSAGE_COST + payload.length;
    boolean fits = bytes.addAndGet(cost) <= MOST_WAITING;
    try {
      if (fits) {
        loop.execute(
            () -> {
              bytes.addAndGet(-cost);
              taker.message(fromDomid, payload, fds);
            });
        return;
      }
      if (flooding.add(fromDomid)) {
        loop.execute(
            () -> {
              flooding.remove(fromDomid);
              flooded.accept(fromDomid);
            });
      }
    } catch (RejectedExecutionException e) {
      // closing: nobody is there to look at anything
    }
    bytes.addAndGet(-cost);
    fds.forEach(Fd::close);
  }
}
