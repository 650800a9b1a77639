// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.xenstore.Permission;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Consumer;

/** A store in memory, seen by one domain; all views made from one share its contents. */
final class FakeStore implements XenStore {
  /** What the views share. */
  private static final class Contents {
    final TreeMap<String, String> values = new TreeMap<>();
    final Map<String, List<Permission>> permissions = new TreeMap<>();
    final List<Watching> watches = new CopyOnWriteArrayList<>();
    boolean down;
    int failures;
    String conflict;
  }

  private record Watching(String path, Consumer<String> listener) {}

  private final Contents contents;
  private final String home;

  private FakeStore(Contents contents, int domid) {
    this.contents = contents;
    this.home = "/local/domain/" + domid;
  }

  /** An empty store, seen by domain 0. */
  FakeStore() {
    this(new Contents(), 0);
  }

  /** The same store, seen by a guest. */
  FakeStore seenBy(int domid) {
    return new FakeStore(contents, domid);
  }

  /** What the toolstack does for a new domain. */
  void addDomain(int domid, String name) throws XenStoreException {
    write("/local/domain/" + domid, "");
    write("/local/domain/" + domid + "/name", name);
  }

  void down(boolean down) {
    synchronized (contents) {
      contents.down = down;
    }
  }

  /** How many requests have failed because it was down. */
  int failures() {
    synchronized (contents) {
      return contents.failures;
    }
  }

  /** Whether there is such a value, whatever it is if none is given; also while it is down. */
  boolean holds(String path, String value) {
    synchronized (contents) {
      String there = contents.values.get(path);
      return there != null && (value == null || value.equals(there));
    }
  }

  /** As after a restart of the daemon: nothing is left but what the toolstack puts there. */
  void clear() {
    synchronized (contents) {
      contents.values.clear();
      contents.permissions.clear();
    }
  }

  private String path(String path) throws XenStoreException {
    if (contents.down) {
      contents.failures++;
      throw new XenStoreException(XenStoreException.ENOTCONN, "down");
    }
    return path.startsWith("/") ? path : home + "/" + path;
  }

  @Override
  public boolean available() {
    return true;
  }

  @Override
  public Optional<String> read(String path) throws XenStoreException {
    synchronized (contents) {
      return Optional.ofNullable(contents.values.get(path(path)));
    }
  }

  @Override
  public List<String> list(String path) throws XenStoreException {
    synchronized (contents) {
      String prefix = path(path) + "/";
      TreeSet<String> names = new TreeSet<>();
      for (String other : contents.values.keySet()) {
        if (other.startsWith(prefix)) {
          names.add(other.substring(prefix.length()).split("/")[0]);
        }
      }
      return new ArrayList<>(names);
    }
  }

  @Override
  public void write(String path, String value) throws XenStoreException {
    synchronized (contents) {
      if (contents.conflict != null && path(path).startsWith(contents.conflict)) {
        throw new XenStoreException(XenStoreException.EAGAIN, "write");
      }
      contents.values.put(path(path), value);
    }
    fire(path(path));
  }

  @Override
  public void remove(String path) throws XenStoreException {
    String all = path(path);
    synchronized (contents) {
      contents.values.keySet().removeIf(p -> p.equals(all) || p.startsWith(all + "/"));
      contents.permissions.keySet().removeIf(p -> p.equals(all) || p.startsWith(all + "/"));
    }
    fire(all);
  }

  @Override
  public List<Permission> permissions(String path) throws XenStoreException {
    synchronized (contents) {
      return contents.permissions.getOrDefault(path(path), List.of());
    }
  }

  @Override
  public void setPermissions(String path, List<Permission> permissions) throws XenStoreException {
    synchronized (contents) {
      contents.permissions.put(path(path), permissions);
    }
    fire(path(path));
  }

  @Override
  public void transaction(Work work) throws XenStoreException {
    work.run(this);
  }

  /** From now on whatever is written below that path has a conflict; null: nothing has. */
  void conflictsWith(String path) {
    synchronized (contents) {
      contents.conflict = path;
    }
  }

  @Override
  public Watch watch(String path, Consumer<String> listener) {
    Watching watching = new Watching(path.startsWith("/") ? path : home + "/" + path, listener);
    contents.watches.add(watching);
    listener.accept(path);
    return () -> contents.watches.remove(watching);
  }

  int watches() {
    return contents.watches.size();
  }

  private void fire(String path) {
    for (Watching watching : contents.watches) {
      if (path.equals(watching.path()) || path.startsWith(watching.path() + "/")) {
        watching.listener().accept(path);
      }
    }
  }
}
