// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import hutong.api.os.Fd;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.link.internal.Frame.Type;
import hutong.platform.EventLoop;
import hutong.platform.Events;
import hutong.platform.OsException;
import hutong.platform.Poller;
import hutong.platform.Received;
import hutong.platform.Sockets;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The router in the host agent: takes messages and descriptors of one VM's agent to another's
 * (architecture, decision 5). A VM is known by the socket that it came in by, never by what it
 * says. Queues are bounded, and nobody waits for anybody: a frame for a full queue is dropped and
 * its sender told.
 */
final class Router implements AutoCloseable {
  /** Frames taken from one link before the others get their turn. */
  private static final int BATCH = 32;

  /**
   * A link whose own queue is longer is not read: what it sends only makes answers that it does not
   * take.
   */
  private static final int PAUSE_AT = 512;

  /**
   * A link with so many frames waiting is cut: its agent gets the present picture when it comes
   * back.
   */
  private static final int CUT_AT = 16_384;

  /** Descriptors that may wait in all queues together. */
  private static final int MAX_FDS = 4096;

  /** Connections of one VM that have not said hello. */
  private static final int MAX_STRANGERS = 4;

  private static final Duration ACCEPT_AGAIN = Duration.ofSeconds(1);
  private static final int SOCKET_MODE = 0600;

  private final Sockets sockets;
  private final EventLog log;
  private final Counters counters;
  private final EventLoop loop;
  private final List<Listener> listeners = new ArrayList<>();
  private final Map<Integer, Link> live = new TreeMap<>();
  private final Map<Integer, List<Link>> strangers = new HashMap<>();

  /**
   * Starts listening.
   *
   * @param directory where the sockets are: {@code link-<domid>.sock}
   * @param domids the VMs
   * @throws IOException when a socket cannot be made; nothing is left open then
   */
  Router(
      Sockets sockets,
      Events events,
      EventLog log,
      Counters counters,
      Path directory,
      Iterable<Integer> domids)
      throws IOException {
    this.sockets = sockets;
    this.log = log;
    this.counters = counters;
    this.loop = new EventLoop(events, "hutong-link-router", e -> log.error("link", "router: " + e));
    try {
      for (int domid : domids) {
        Path path = directory.resolve("link-" + domid + ".sock");
        Listener listener =
            new Listener(domid, path, sockets.unixSeqpacketListenPath(path, SOCKET_MODE, 8));
        listeners.add(listener);
        loop.add(listener.socket, Poller.IN, ready -> accept(listener));
      }
    } catch (IOException e) {
      close();
      throw e;
    }
  }

  private record Listener(int domid, Path path, Fd socket) {}

  /** One connection of a VM's agent. */
  private final class Link {
    private final int domid;
    private final Fd socket;
    private final Outgoing out = new Outgoing();
    private boolean greeted;
    private boolean closed;
    private boolean blocked;
    private int watched = Poller.IN;

    private Link(int domid, Fd socket) {
      this.domid = domid;
      this.socket = socket;
    }

    private void ready(int events) {
      try {
        if ((events & Poller.OUT) != 0) {
          flush();
        }
        boolean hungUp = (events & (Poller.HUP | Poller.ERR)) != 0;
        if (hungUp && out.size() >= PAUSE_AT) {
          end(this, "closed"); // it would not be read, and reported for ever
        } else if (hungUp || (events & Poller.IN) != 0) {
          read();
        }
      } catch (IOException e) {
        end(this, e.getMessage());
      } catch (RuntimeException e) {
        end(this, "router: " + e);
      }
    }

    private void read() throws IOException {
      for (int i = 0; i < BATCH && !closed && out.size() < PAUSE_AT; i++) {
        Received received = sockets.recv(socket, Frame.MAX_BYTES, Frame.MAX_FDS);
        if (received == null) {
          return;
        }
        if (received.eof()) {
          end(this, "closed");
          return;
        }
        receive(this, received);
      }
    }

    /** Adds a frame of the router's own. */
    private void tell(Frame frame) {
      if (!closed) {
        push(Outgoing.OWN, frame.encode(), List.of());
      }
    }

    private void push(int source, byte[] data, List<Fd> fds) {
      out.add(source, data, fds);
      try {
        if (blocked) {
          watch();
        } else {
          flush();
        }
      } catch (IOException e) {
        // Not from here: whoever caused this frame is in the middle of something.
        loop.execute(() -> end(this, e.getMessage()));
      }
      if (out.size() > CUT_AT) {
        loop.execute(() -> end(this, "does not read"));
      }
    }

    private void flush() throws OsException {
      blocked = !out.flush(sockets, socket);
      watch();
    }

    private void watch() throws OsException {
      int interest = (out.size() < PAUSE_AT ? Poller.IN : 0) | (blocked ? Poller.OUT : 0);
      if (interest != watched) {
        watched = interest;
        loop.modify(socket, interest);
      }
    }
  }

  private void accept(Listener listener) {
    try {
      for (Fd socket; (socket = sockets.accept(listener.socket)) != null; ) {
        admit(listener.domid, socket);
      }
    } catch (IOException e) {
      log.warn("link", "accept for domain " + listener.domid + ": " + e.getMessage());
      pause(listener);
    }
  }

  /** Without descriptors the listener would be reported for ever. */
  private void pause(Listener listener) {
    try {
      loop.modify(listener.socket, 0);
      loop.schedule(
          ACCEPT_AGAIN,
          () -> {
            try {
              loop.modify(listener.socket, Poller.IN);
            } catch (OsException e) {
              log.error("link", "listener of domain " + listener.domid + ": " + e.getMessage());
            }
          });
    } catch (OsException e) {
      log.error("link", "listener of domain " + listener.domid + ": " + e.getMessage());
    }
  }

  private void admit(int domid, Fd socket) {
    Link link = new Link(domid, socket);
    List<Link> waiting = strangers.computeIfAbsent(domid, d -> new ArrayList<>());
    while (waiting.size() >= MAX_STRANGERS) {
      end(waiting.get(0), "too many connections without hello");
    }
    waiting.add(link);
    try {
      loop.add(socket, Poller.IN, link::ready);
    } catch (IOException e) {
      end(link, e.getMessage());
    }
  }

  private void receive(Link link, Received received) {
    boolean taken = false;
    try {
      Frame frame = Frame.decode(received.data());
      if (frame == null || !expected(link, frame)) {
        counters.counter("link.malformed").increment();
        end(link, "malformed frame");
      } else if (!link.greeted) {
        greet(link, frame);
      } else if (received.truncated()) {
        // Too many descriptors, or this process has none left for them.
        undelivered(link, frame);
      } else {
        taken = route(link, frame, received.fds());
      }
    } finally {
      if (!taken) {
        received.closeFds();
      }
    }
  }

  /** A greeting may be of another version, to be told so. */
  private static boolean expected(Link link, Frame frame) {
    return link.greeted
        ? frame.type() == Type.DATA && frame.version() == Frame.VERSION
        : frame.type() == Type.HELLO;
  }

  private void greet(Link link, Frame hello) {
    strangers.get(link.domid).remove(link);
    if (hello.version() != Frame.VERSION || hello.domid() != link.domid) {
      link.tell(Frame.of(Type.WELCOME, link.domid));
      end(
          link,
          "domain " + hello.domid() + " version " + hello.version() + " does not belong here");
      return;
    }
    Link older = live.get(link.domid);
    if (older != null) {
      end(older, "replaced by a newer connection");
    }
    link.greeted = true;
    link.tell(Frame.of(Type.WELCOME, link.domid));
    for (Link other : live.values()) {
      link.tell(Frame.of(Type.UP, other.domid));
      other.tell(Frame.of(Type.UP, link.domid));
    }
    live.put(link.domid, link);
    log.info("link", "domain " + link.domid + " is connected");
  }

  /** Passes a frame on; true if its descriptors were taken. */
  private boolean route(Link from, Frame frame, List<Fd> fds) {
    Link to = live.get(frame.domid());
    if (to == null || to == from) {
      return false; // the sender has been told, or will be at once
    }
    if (!to.out.hasRoom(from.domid, fds.size())
        || (!fds.isEmpty() && fdsHeld() + fds.size() > MAX_FDS)) {
      undelivered(from, frame);
      return false;
    }
    counters.counter("link.frames").increment();
    to.push(from.domid, Frame.of(Type.DATA, from.domid, frame.payload()).encode(), fds);
    return true;
  }

  private int fdsHeld() {
    int sum = 0;
    for (Link link : live.values()) {
      sum += link.out.fdsHeld();
    }
    return sum;
  }

  private void undelivered(Link from, Frame frame) {
    counters.counter("link.undelivered").increment();
    from.tell(Frame.of(Type.UNDELIVERED, frame.domid(), frame.payload()));
  }

  private void end(Link link, String why) {
    if (link.closed) {
      return;
    }
    link.closed = true;
    loop.remove(link.socket);
    link.socket.close();
    link.out.clear();
    strangers.getOrDefault(link.domid, List.of()).remove(link);
    if (live.remove(link.domid, link)) {
      log.info("link", "domain " + link.domid + " is disconnected: " + why);
      for (Link other : live.values()) {
        other.tell(Frame.of(Type.DOWN, link.domid));
      }
    }
  }

  /** Ends all connections and removes the sockets. */
  @Override
  public void close() {
    loop.close();
    for (List<Link> waiting : strangers.values()) {
      List.copyOf(waiting).forEach(link -> end(link, "stopped"));
    }
    List<Link> links = List.copyOf(live.values());
    live.clear(); // nobody is told that somebody else went away
    links.forEach(link -> end(link, "stopped"));
    for (Listener listener : listeners) {
      listener.socket.close();
      try {
        Files.deleteIfExists(listener.path);
      } catch (IOException e) {
        log.warn("link", "cannot remove " + listener.path + ": " + e.getMessage());
      }
    }
  }
}
