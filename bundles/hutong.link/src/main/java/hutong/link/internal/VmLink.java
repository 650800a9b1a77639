// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import hutong.api.link.AgentLink;
import hutong.api.link.AgentLinkListener;
import hutong.api.os.Fd;
import hutong.api.telemetry.EventLog;
import hutong.link.internal.Frame.Type;
import hutong.platform.EventLoop;
import hutong.platform.Events;
import hutong.platform.NanoClock;
import hutong.platform.OsException;
import hutong.platform.Poller;
import hutong.platform.Processes;
import hutong.platform.Received;
import hutong.platform.Sockets;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Consumer;

/**
 * A VM agent's end of the agent link: one connection to the router in the host agent, made again
 * with a back-off when it is lost. Thread-safe; listeners are called on the link's own thread.
 */
final class VmLink implements AgentLink, AutoCloseable {
  private static final Duration FIRST_RETRY = Duration.ofMillis(50);
  private static final Duration LAST_RETRY = Duration.ofSeconds(1);
  private static final Duration WELCOME_WITHIN = Duration.ofSeconds(5);
  private static final int BATCH = 64;

  private final Sockets sockets;
  private final EventLog log;
  private final Path path;
  private final int domid;
  private final EventLoop loop;
  private final Duplicator duplicator;
  private final List<AgentLinkListener> listeners = new CopyOnWriteArrayList<>();

  /** Guards what follows against senders on other threads; the loop's thread changes it. */
  private final Object lock = new Object();

  private final TreeSet<Integer> up = new TreeSet<>();
  private final Outgoing out = new Outgoing();
  private Fd socket;
  private boolean welcome;
  private boolean blocked;
  private boolean closed;

  private Duration retry = FIRST_RETRY;
  private boolean complained;
  private EventLoop.Scheduled welcomeLimit;

  /**
   * Starts connecting.
   *
   * @param path the router's socket for this VM
   * @param domid this VM's domain id
   * @throws OsException when there are no descriptors left
   */
  VmLink(
      Sockets sockets,
      Processes processes,
      Events events,
      NanoClock clock,
      EventLog log,
      Path path,
      int domid)
      throws OsException {
    this.sockets = sockets;
    this.log = log;
    this.path = path;
    this.domid = domid;
    this.duplicator = new Duplicator(processes);
    try {
      this.loop =
          new EventLoop(events, "hutong-link", clock, e -> log.error("link", "agent link: " + e));
    } catch (OsException e) {
      duplicator.close();
      throw e;
    }
    loop.execute(this::connect);
  }

  // ---------------------------------------------------------------- service

  @Override
  public boolean connected() {
    synchronized (lock) {
      return welcome;
    }
  }

  @Override
  public void send(int receiver, byte[] payload, List<? extends Fd> fds) throws IOException {
    if (payload.length > Frame.MAX_PAYLOAD || fds.size() > Frame.MAX_FDS) {
      throw new IllegalArgumentException(
          payload.length + " bytes and " + fds.size() + " descriptors are too many");
    }
    byte[] data = Frame.of(Type.DATA, receiver, payload).encode();
    synchronized (lock) {
      if (!welcome || !up.contains(receiver)) {
        throw new IOException("the agent of domain " + receiver + " cannot be reached");
      }
      if (!blocked) {
        try {
          sockets.send(socket, data, fds);
          return;
        } catch (OsException e) {
          if (!e.wouldBlock()) {
            throw e; // the loop sees it too, and connects anew
          }
        }
      }
      if (!out.hasRoom(receiver, fds.size())) {
        throw new IOException("the queue for domain " + receiver + " is full");
      }
      out.add(receiver, data, duplicator.duplicate(fds));
      if (!blocked) {
        blocked = true;
        loop.modify(socket, Poller.IN | Poller.OUT);
      }
    }
  }

  /** Adds a listener, which is told of the peers that are up. */
  void addListener(AgentLinkListener listener) {
    loop.execute(
        () -> {
          listeners.add(listener);
          for (int peer : List.copyOf(up)) {
            call(listener, l -> l.onPeerUp(peer));
          }
        });
  }

  /**
   * Removes a listener: what comes later it is not told. A call that is under way may still end.
   */
  void removeListener(AgentLinkListener listener) {
    if (listeners.remove(listener)) {
      return;
    }
    try { // it is about to be added
      loop.execute(() -> listeners.remove(listener));
    } catch (RejectedExecutionException e) {
      // closed before: nobody is called any more
    }
  }

  // ---------------------------------------------------------------- connection

  private void connect() {
    try {
      Fd fresh = sockets.unixSeqpacketConnectPath(path);
      synchronized (lock) {
        if (closed) {
          fresh.close();
          return;
        }
        socket = fresh;
      }
      loop.add(fresh, Poller.IN, events -> ready(fresh, events));
      sockets.send(fresh, Frame.of(Type.HELLO, domid).encode(), List.of());
      welcomeLimit = loop.schedule(WELCOME_WITHIN, () -> disconnect("no welcome"));
    } catch (OsException e) {
      disconnect(e.getMessage());
    }
  }

  private void ready(Fd from, int events) {
    try {
      if (from != socket) {
        return;
      }
      if ((events & Poller.OUT) != 0) {
        flush();
      }
      if ((events & (Poller.IN | Poller.HUP | Poller.ERR)) != 0) {
        read(from);
      }
    } catch (IOException e) {
      disconnect(e.getMessage());
    }
  }

  private void flush() throws OsException {
    synchronized (lock) {
      if (out.flush(sockets, socket)) {
        blocked = false;
        loop.modify(socket, Poller.IN);
      }
    }
  }

  private void read(Fd from) throws IOException {
    for (int i = 0; i < BATCH && from == socket; i++) {
      Received received = sockets.recv(from, Frame.MAX_BYTES, Frame.MAX_FDS);
      if (received == null) {
        return;
      }
      if (received.eof()) {
        disconnect("the host agent closed it");
        return;
      }
      receive(received);
    }
  }

  private void receive(Received received) {
    Frame frame = Frame.decode(received.data());
    if (frame == null
        || frame.version() != Frame.VERSION
        || (frame.type() == Type.WELCOME) == welcome) {
      received.closeFds();
      boolean version = frame != null && frame.version() != Frame.VERSION;
      disconnect(version ? "the host agent speaks version " + frame.version() : "malformed frame");
      return;
    }
    if (frame.type() == Type.DATA && up.contains(frame.domid())) {
      deliver(frame, received.fds());
      return;
    }
    received.closeFds();
    switch (frame.type()) {
      case WELCOME -> welcome(frame);
      case UP -> peerUp(frame.domid());
      case DOWN -> peerDown(frame.domid());
      case UNDELIVERED -> call(l -> l.onUndelivered(frame.domid(), frame.payload()));
      default -> disconnect("unexpected frame " + frame.type());
    }
  }

  private void welcome(Frame frame) {
    welcomeLimit.cancel();
    if (frame.domid() != domid) {
      disconnect(
          "the host agent takes this VM for domain " + frame.domid() + ", and it is " + domid);
      return;
    }
    synchronized (lock) {
      welcome = true;
    }
    retry = FIRST_RETRY;
    complained = false;
    log.info("link", "connected to the host agent");
  }

  private void deliver(Frame frame, List<Fd> fds) {
    List<AgentLinkListener> now = List.copyOf(listeners);
    if (now.isEmpty()) {
      fds.forEach(Fd::close);
      return;
    }
    for (int i = 0; i < now.size(); i++) {
      try {
        // Each listener closes what it gets: the last one gets the originals.
        List<Fd> own = i == now.size() - 1 ? fds : duplicator.duplicate(fds);
        call(now.get(i), l -> l.onMessage(frame.domid(), frame.payload(), own));
      } catch (OsException e) {
        log.error("link", "a message of domain " + frame.domid() + " is lost: " + e.getMessage());
      }
    }
  }

  private void peerUp(int peer) {
    boolean added;
    synchronized (lock) {
      added = up.add(peer);
    }
    if (added) {
      call(l -> l.onPeerUp(peer));
    }
  }

  private void peerDown(int peer) {
    boolean removed;
    synchronized (lock) {
      removed = up.remove(peer);
    }
    if (removed) {
      call(l -> l.onPeerDown(peer));
    }
  }

  private void disconnect(String why) {
    List<Integer> lost;
    synchronized (lock) {
      lost = new ArrayList<>(up);
      up.clear();
      out.clear();
      welcome = false;
      blocked = false;
      if (socket != null) {
        loop.remove(socket);
        socket.close();
        socket = null;
      }
      if (closed) {
        return;
      }
    }
    if (welcomeLimit != null) {
      welcomeLimit.cancel();
    }
    if (!complained) {
      complained = true; // once for each time that it is away
      log.warn("link", "no connection to the host agent at " + path + ": " + why);
    }
    loop.schedule(retry, this::connect);
    retry = retry.compareTo(LAST_RETRY.dividedBy(2)) < 0 ? retry.multipliedBy(2) : LAST_RETRY;
    for (int peer : lost) {
      call(l -> l.onPeerDown(peer));
    }
  }

  private void call(Consumer<AgentLinkListener> event) {
    listeners.forEach(l -> call(l, event));
  }

  private void call(AgentLinkListener listener, Consumer<AgentLinkListener> event) {
    try {
      event.accept(listener);
    } catch (RuntimeException e) {
      log.error("link", "listener: " + e);
    }
  }

  /** Disconnects for good; listeners are not told. */
  @Override
  public void close() {
    synchronized (lock) {
      closed = true;
    }
    loop.close();
    disconnect("stopped");
    listeners.clear();
    duplicator.close();
  }
}
