// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import java.io.IOException;
import java.util.ArrayDeque;

/** The messages that wait for one connection, bounded. Thread-safe. */
final class Outbox {
  /** What a message costs besides its bytes, so that empty ones are bounded as well. */
  private static final int COST = 64;

  /** One message. */
  record Message(int topic, byte[] content) {}

  private final ArrayDeque<Message> queue = new ArrayDeque<>();
  private final int most;
  private int bytes;
  private boolean closed;

  /**
   * Makes an empty one.
   *
   * @param most bytes that may wait
   */
  Outbox(int most) {
    this.most = most;
  }

  /**
   * Adds a message.
   *
   * @return whether it was added; false if there is no room
   * @throws IOException if nothing will be sent any more
   */
  synchronized boolean offer(Message message) throws IOException {
    if (closed) {
      throw new IOException("the link is down");
    }
    int cost = COST + message.content().length;
    if (bytes + cost > most) {
      return false;
    }
    bytes += cost;
    queue.add(message);
    return true;
  }

  /** The oldest message, which stays; null if there is none. */
  synchronized Message peek() {
    return queue.peek();
  }

  /** Takes the oldest message out. */
  synchronized void remove() {
    bytes -= COST + queue.remove().content().length;
  }

  /** Drops all and takes nothing any more. */
  synchronized void close() {
    closed = true;
    queue.clear();
    bytes = 0;
  }
}
