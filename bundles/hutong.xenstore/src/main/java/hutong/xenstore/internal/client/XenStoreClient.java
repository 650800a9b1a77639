// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.client;

import hutong.platform.EventLoop;
import hutong.platform.Events;
import hutong.platform.OsException;
import hutong.platform.Poller;
import hutong.xenstore.Permission;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.time.Duration;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.osgi.framework.BundleContext;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Deactivate;
import org.osgi.service.component.annotations.Reference;

/**
 * The client: one handle for requests and one for watches (see {@link WatchHandle} for why two).
 * Both are opened by the first request that needs them and again by the first one after they broke.
 *
 * <p>Lock order: {@code lock} (requests, opening and closing), then the monitor of {@code watches},
 * then that of the watch handle. Listeners are called without any of them, on the event loop's
 * thread.
 */
@Component(service = XenStore.class)
public final class XenStoreClient implements XenStore {
  private static final int CONFLICT_RETRIES = 20;
  private static final int EVENTS_AT_ONCE = 256;
  private static final Duration WATCH_TIMEOUT = Duration.ofSeconds(3);
  private static final System.Logger LOG = System.getLogger(XenStoreClient.class.getName());

  private final String socketPath;
  private final EventLoop loop;
  private final ReentrantLock lock = new ReentrantLock();
  private final Map<String, Watching> watches = new LinkedHashMap<>();
  private Native lib;
  private RequestHandle requests;
  private WatchHandle watcher;
  private boolean watcherStale = true;
  private boolean closed;
  private long nextToken;
  private volatile boolean available;

  /**
   * Starts the client; opens nothing yet.
   *
   * @param context {@code hutong.xenstore.socket} is the store's socket; not set means
   *     libxenstore's own choice
   * @param events the platform's
   * @throws OsException when no thread can be had to wait for events
   */
  @Activate
  public XenStoreClient(BundleContext context, @Reference Events events) throws OsException {
    this(context.getProperty("hutong.xenstore.socket"), events);
  }

  /** For tests. */
  XenStoreClient(String socketPath, Events events) throws OsException {
    this.socketPath = socketPath;
    this.loop =
        new EventLoop(
            events,
            "hutong-xenstore",
            e -> LOG.log(System.Logger.Level.WARNING, "a XenStore watch", e));
  }

  /** Closes everything. */
  @Deactivate
  public void stop() {
    WatchHandle hanging = watcher();
    if (hanging != null && lock.isLocked()) {
      // Somebody may be waiting in xs_watch; requests end by themselves.
      hanging.breakConnection();
    }
    lock.lock();
    try {
      closed = true;
      disconnect();
    } finally {
      lock.unlock();
    }
    loop.close();
  }

  @Override
  public boolean available() {
    return available;
  }

  /** A request on the open handle. */
  private interface Request<T> {
    T on(RequestHandle handle) throws XenStoreException;
  }

  private <T> T request(Request<T> request) throws XenStoreException {
    lock.lock();
    try {
      connect();
      try {
        return request.on(requests);
      } finally {
        if (requests != null && requests.broken()) {
          disconnect();
        }
      }
    } finally {
      lock.unlock();
    }
  }

  private void connect() throws XenStoreException {
    if (closed) {
      throw new XenStoreException(XenStoreException.ENOTCONN, "XenStore client is stopped");
    }
    if (lib == null) {
      lib = Native.load(socketPath);
    }
    if (requests == null) {
      requests = new RequestHandle(lib);
      watcherStale = true;
    }
    if (watcherStale) {
      renewWatcher();
    }
    available = true;
  }

  private void disconnect() {
    available = false;
    closeWatcher();
    if (requests != null) {
      requests.close();
      requests = null;
    }
  }

  /**
   * Opens the handle for watches and sets those that are wanted; a failure is tried again with the
   * next request.
   */
  private void renewWatcher() throws XenStoreException {
    closeWatcher();
    Map<String, Watching> wanted;
    synchronized (watches) {
      wanted = new HashMap<>(watches);
      watcherStale = false;
    }
    if (wanted.isEmpty()) {
      return;
    }
    WatchHandle fresh = null;
    EventLoop.Scheduled limit = null;
    try {
      // Proves that the store answers, within the time limit that this handle has and the other has
      // not.
      requests.list(0, "data");
    } catch (XenStoreException e) {
      if (requests.broken()) {
        disconnect();
        throw e;
      }
    }
    try {
      fresh = new WatchHandle(lib);
      setWatcher(fresh);
      limit = loop.schedule(WATCH_TIMEOUT, fresh::breakConnection);
      for (Map.Entry<String, Watching> entry : wanted.entrySet()) {
        fresh.watch(entry.getValue().path, entry.getKey());
      }
      WatchHandle opened = fresh;
      loop.add(fresh.pipe(), Poller.IN, ready -> deliver(opened));
    } catch (XenStoreException | OsException e) {
      LOG.log(System.Logger.Level.DEBUG, "watches cannot be set now", e);
      closeWatcher();
      watcherStale = true;
    } finally {
      if (limit != null) {
        limit.cancel();
      }
    }
  }

  private void closeWatcher() {
    WatchHandle old = watcher();
    if (old != null) {
      loop.remove(old.pipe());
      setWatcher(null);
      old.close();
    }
    watcherStale = true;
  }

  private WatchHandle watcher() {
    synchronized (watches) {
      return watcher;
    }
  }

  private void setWatcher(WatchHandle handle) {
    synchronized (watches) {
      watcher = handle;
    }
  }

  /** On the loop's thread; what stays behind makes the pipe readable again. */
  private void deliver(WatchHandle handle) {
    for (WatchHandle.Event event : handle.drain(EVENTS_AT_ONCE)) {
      Watching watching;
      synchronized (watches) {
        watching = watches.get(event.token());
      }
      if (watching != null) {
        watching.listener.accept(event.path());
      }
    }
  }

  private final class Watching implements Watch {
    private final String token;
    private final String path;
    private final Consumer<String> listener;

    Watching(String token, String path, Consumer<String> listener) {
      this.token = token;
      this.path = path;
      this.listener = listener;
    }

    /**
     * Ends the watch by closing the whole handle; the next request opens one for those that remain.
     * Unlike xs_unwatch this waits for nothing from the store. Watches are few and live long.
     */
    @Override
    public void close() {
      boolean known;
      synchronized (watches) {
        known = watches.remove(token) != null;
      }
      if (known) {
        lock.lock();
        try {
          closeWatcher();
        } finally {
          lock.unlock();
        }
      }
    }
  }

  @Override
  public Watch watch(String path, Consumer<String> listener) {
    lock.lock();
    try {
      Watching watching = new Watching("w" + nextToken++, path, listener);
      synchronized (watches) {
        watches.put(watching.token, watching);
      }
      watcherStale = true;
      try {
        connect();
      } catch (XenStoreException e) {
        LOG.log(System.Logger.Level.DEBUG, "the watch is set when the store can be reached", e);
      }
      return watching;
    } finally {
      lock.unlock();
    }
  }

  @Override
  public Optional<String> read(String path) throws XenStoreException {
    return request(handle -> handle.read(0, path));
  }

  @Override
  public List<String> list(String path) throws XenStoreException {
    return request(handle -> handle.list(0, path));
  }

  @Override
  public void write(String path, String value) throws XenStoreException {
    request(
        handle -> {
          handle.write(0, path, value);
          return null;
        });
  }

  @Override
  public void remove(String path) throws XenStoreException {
    request(
        handle -> {
          handle.remove(0, path);
          return null;
        });
  }

  @Override
  public List<Permission> permissions(String path) throws XenStoreException {
    return request(handle -> handle.permissions(0, path));
  }

  @Override
  public void setPermissions(String path, List<Permission> permissions) throws XenStoreException {
    request(
        handle -> {
          handle.setPermissions(0, path, permissions);
          return null;
        });
  }

  @Override
  public void transaction(Work work) throws XenStoreException {
    request(
        handle -> {
          for (int attempt = 0; attempt < CONFLICT_RETRIES; attempt++) {
            if (attempt(handle, work)) {
              return null;
            }
          }
          throw new XenStoreException(XenStoreException.EAGAIN, "XenStore: too many conflicts");
        });
  }

  private boolean attempt(RequestHandle handle, Work work) throws XenStoreException {
    int tx = handle.begin();
    boolean worked = false;
    try {
      work.run(new TransactionView(this, handle, tx));
      worked = true;
    } finally {
      if (!worked && !handle.broken()) {
        handle.end(tx, true);
      }
    }
    return handle.end(tx, false);
  }
}
