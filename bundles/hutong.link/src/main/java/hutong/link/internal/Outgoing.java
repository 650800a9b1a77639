// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.Sockets;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * What waits to be written to one socket, in order, with a bound for each source, so that one
 * source cannot keep the others out. Used by one thread at a time.
 */
final class Outgoing {
  /** The source of the router's own frames; not bounded here. */
  static final int OWN = -1;

  /** Most frames of one source. */
  static final int MAX_FRAMES = 1024;

  /** Most descriptors of one source. */
  static final int MAX_FDS = 128;

  private record Item(int source, byte[] data, List<Fd> fds) {}

  private static final class Share {
    private int frames;
    private int fds;
  }

  private final ArrayDeque<Item> queue = new ArrayDeque<>();
  private final Map<Integer, Share> shares = new HashMap<>();
  private int fdsHeld;

  /** Whether the source may add a frame with so many descriptors. */
  boolean hasRoom(int source, int fds) {
    Share share = shares.get(source);
    return share == null || (share.frames < MAX_FRAMES && share.fds + fds <= MAX_FDS);
  }

  /** Adds a frame; the descriptors become the queue's. */
  void add(int source, byte[] data, List<Fd> fds) {
    queue.add(new Item(source, data, fds));
    Share share = shares.computeIfAbsent(source, s -> new Share());
    share.frames++;
    share.fds += fds.size();
    fdsHeld += fds.size();
  }

  /** Writes what the socket takes; true if nothing is left. */
  boolean flush(Sockets sockets, Fd socket) throws OsException {
    while (!queue.isEmpty()) {
      Item item = queue.peek();
      try {
        sockets.send(socket, item.data, item.fds);
      } catch (OsException e) {
        if (e.wouldBlock()) {
          return false;
        }
        throw e;
      }
      drop(queue.poll());
    }
    return true;
  }

  private void drop(Item item) {
    item.fds.forEach(Fd::close);
    Share share = shares.get(item.source);
    share.fds -= item.fds.size();
    fdsHeld -= item.fds.size();
    if (--share.frames == 0) {
      shares.remove(item.source);
    }
  }

  /** Frames that wait. */
  int size() {
    return queue.size();
  }

  /** Descriptors that wait. */
  int fdsHeld() {
    return fdsHeld;
  }

  /** Drops all. */
  void clear() {
    while (!queue.isEmpty()) {
      drop(queue.poll());
    }
  }
}
