// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

import hutong.xenstore.internal.store.Quotas;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.CancelledKeyException;
import java.nio.channels.ClosedSelectorException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/**
 * The embedded XenStore daemon (architecture, decision 9): the wire protocol on one Unix socket for
 * each domain. The socket that a client connects to <em>is</em> its identity. One thread serves
 * all; it sleeps while nothing happens.
 */
public final class XenStoreServer implements AutoCloseable {
  private static final int BACKLOG = 16;
  private static final System.Logger LOG = System.getLogger(XenStoreServer.class.getName());

  private final Selector selector;
  private final RequestHandler handler;
  private final List<Path> paths = new ArrayList<>();
  private final List<ServerSocketChannel> listeners = new ArrayList<>();
  private final Thread thread;
  private volatile boolean stopping;

  /**
   * Starts the daemon.
   *
   * @param directory where the sockets {@code xenstore-<domid>.sock} are put; stale ones are
   *     replaced
   * @param hostName name of domain 0
   * @param domains domain id to name of the guests
   * @param quotas limits of the guests
   * @throws IOException if a socket cannot be made
   */
  public XenStoreServer(
      Path directory, String hostName, Map<Integer, String> domains, Quotas quotas)
      throws IOException {
    Map<Integer, String> guests = new LinkedHashMap<>(domains);
    guests.remove(0);
    TreeSet<Integer> all = new TreeSet<>(guests.keySet());
    all.add(0);
    handler = new RequestHandler(all, quotas);
    InitialTree.create(handler.store(), hostName, guests);
    selector = Selector.open();
    try {
      for (int domid : all) {
        listen(domid, directory.resolve("xenstore-" + domid + ".sock"));
      }
    } catch (IOException | RuntimeException e) {
      release();
      throw e;
    }
    thread = new Thread(this::run, "hutong-xenstored");
    thread.setDaemon(true);
    thread.start();
  }

  private void listen(int domid, Path path) throws IOException {
    Files.deleteIfExists(path);
    ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    listeners.add(listener);
    listener.bind(UnixDomainSocketAddress.of(path), BACKLOG);
    paths.add(path);
    Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rw-------"));
    listener.configureBlocking(false);
    listener.register(selector, SelectionKey.OP_ACCEPT, domid);
  }

  private void run() {
    try {
      while (!stopping) {
        selector.select();
        for (SelectionKey key : selector.selectedKeys()) {
          serve(key);
        }
        selector.selectedKeys().clear();
        flush();
      }
    } catch (ClosedSelectorException e) {
      // Closed by close().
    } catch (IOException e) {
      LOG.log(System.Logger.Level.ERROR, "embedded XenStore died", e);
    } finally {
      release();
    }
  }

  private void serve(SelectionKey key) {
    if (key.attachment() instanceof Connection connection) {
      boolean alive;
      try {
        alive = connection.receive(handler);
      } catch (IOException | CancelledKeyException e) {
        alive = false;
      } catch (RuntimeException e) {
        // A fault of ours: it costs this client its connection and nobody else anything.
        LOG.log(
            System.Logger.Level.ERROR,
            "embedded XenStore: a request of domain " + connection.domid,
            e);
        alive = false;
      }
      if (!alive) {
        drop(connection);
      }
    } else {
      accept((ServerSocketChannel) key.channel(), (Integer) key.attachment());
    }
  }

  private void accept(ServerSocketChannel listener, int domid) {
    SocketChannel channel = null;
    try {
      channel = listener.accept();
      if (channel == null) {
        return;
      }
      channel.configureBlocking(false);
      SelectionKey key = channel.register(selector, SelectionKey.OP_READ);
      Connection connection = new Connection(domid, channel, key);
      key.attach(connection);
      if (!handler.opened(connection)) {
        connection.close();
      }
    } catch (IOException e) {
      // Out of descriptors, or the client has gone: nothing is owed to it.
      if (channel != null) {
        try {
          channel.close();
        } catch (IOException ignored) {
          // As above.
        }
      }
    }
  }

  /** Sends the events that the requests of this round have caused for other clients. */
  private void flush() {
    List<Connection> dead = new ArrayList<>();
    for (Connection connection : handler.connections()) {
      try {
        if (connection.hasOutput() && !connection.flush()) {
          dead.add(connection);
        }
      } catch (IOException | CancelledKeyException e) {
        dead.add(connection);
      }
    }
    dead.forEach(this::drop);
  }

  private void drop(Connection connection) {
    handler.closed(connection);
    connection.close();
  }

  private void release() {
    for (Connection connection : handler.connections()) {
      connection.close();
    }
    for (ServerSocketChannel listener : listeners) {
      try {
        listener.close();
      } catch (IOException e) {
        // Nothing can be done about it.
      }
    }
    for (Path path : paths) {
      try {
        Files.deleteIfExists(path);
      } catch (IOException e) {
        // The next start replaces it.
      }
    }
    try {
      selector.close();
    } catch (IOException e) {
      // Nothing can be done about it.
    }
  }

  /** Stops the daemon, closes all connections and removes the sockets. Idempotent. */
  @Override
  public void close() {
    stopping = true;
    if (selector.isOpen()) {
      selector.wakeup();
    }
    boolean interrupted = false;
    while (thread.isAlive()) {
      try {
        thread.join();
      } catch (InterruptedException e) {
        // The thread needs no long; leaving it behind would leave the sockets behind.
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
