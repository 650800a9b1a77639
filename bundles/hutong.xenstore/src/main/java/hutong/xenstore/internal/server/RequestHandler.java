// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

import hutong.xenstore.Permission;
import hutong.xenstore.internal.store.Paths;
import hutong.xenstore.internal.store.Quotas;
import hutong.xenstore.internal.store.Store;
import hutong.xenstore.internal.store.StoreError;
import hutong.xenstore.internal.store.StoreException;
import hutong.xenstore.internal.store.Transaction;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Gives the requests of the wire protocol their meaning, as Xen 4.17's xenstored does. Used by the
 * server's thread only.
 */
final class RequestHandler implements Connection.Handler, Store.ChangeListener {
  private static final byte[] OK = {'O', 'K', 0};

  /** The events that are no nodes, and who besides domain 0 may watch them (nobody at first). */
  private final Map<String, List<Permission>> special = new HashMap<>();

  private final Set<Integer> domains;
  private final Quotas quotas;
  private final Store store;
  private final Set<Connection> connections = new LinkedHashSet<>();

  RequestHandler(Set<Integer> domains, Quotas quotas) {
    this.domains = domains;
    this.quotas = quotas;
    this.store = new Store(quotas, this);
    special.put("@introduceDomain", List.of(Permission.none(0)));
    special.put("@releaseDomain", List.of(Permission.none(0)));
  }

  Store store() {
    return store;
  }

  /** Takes a new connection in, unless its domain has too many. */
  boolean opened(Connection connection) {
    long open = connections.stream().filter(c -> c.domid == connection.domid).count();
    return open < quotas.connections() && connections.add(connection);
  }

  void closed(Connection connection) {
    if (connections.remove(connection)) {
      connection.transactions.values().forEach(store::abort);
      connection.transactions.clear();
    }
  }

  Iterable<Connection> connections() {
    return connections;
  }

  @Override
  public void changed(String path, boolean exact, Store.Visibility visibility) {
    for (Connection connection : connections) {
      if (!connection.watches.isEmpty() && visibility.to(connection.domid)) {
        for (Connection.Watch watch : connection.watches) {
          if (exact ? path.equals(watch.path()) : Paths.within(path, watch.path())) {
            connection.event(watch, path);
          }
        }
      }
    }
  }

  @Override
  public void handle(Connection connection, Message request) {
    MessageType type = MessageType.of(request.type());
    try {
      if (type == null) {
        throw new StoreException(StoreError.ENOSYS);
      }
      serve(connection, request, type);
    } catch (StoreException e) {
      connection.answer(MessageType.ERROR, request, Message.join(List.of(e.error().name())));
    }
  }

  private void serve(Connection c, Message m, MessageType type) throws StoreException {
    switch (type) {
      case READ ->
          reply(c, m, type, store.read(c.domid, transaction(c, m), path(c, m.oneString())));
      case DIRECTORY -> {
        Store.Listing listing = store.list(c.domid, transaction(c, m), path(c, m.oneString()));
        if (listing.bytes() > Message.PAYLOAD_MAX) {
          throw new StoreException(StoreError.E2BIG);
        }
        c.answer(type, m, Message.join(listing.children()));
      }
      case DIRECTORY_PART -> directoryPart(c, m);
      case GET_PERMS -> {
        List<Permission> entries =
            store.permissions(c.domid, transaction(c, m), path(c, m.oneString()));
        reply(c, m, type, Message.join(entries.stream().map(Permission::toString).toList()));
      }
      case WRITE -> {
        store.write(c.domid, transaction(c, m), path(c, m.firstString()), m.rest());
        c.answer(type, m, OK);
      }
      case MKDIR -> {
        store.makeDirectory(c.domid, transaction(c, m), path(c, m.oneString()));
        c.answer(type, m, OK);
      }
      case RM -> {
        store.remove(c.domid, transaction(c, m), path(c, m.oneString()));
        c.answer(type, m, OK);
      }
      case SET_PERMS -> setPermissions(c, m);
      case WATCH -> watch(c, m);
      case UNWATCH -> unwatch(c, m);
      case RESET_WATCHES -> {
        c.watches.clear();
        c.transactions.values().forEach(store::abort);
        c.transactions.clear();
        c.answer(type, m, OK);
      }
      case TRANSACTION_START -> {
        if (transaction(c, m) != null) {
          throw new StoreException(StoreError.EBUSY);
        }
        Transaction tx = store.begin(c.domid);
        int id = c.newTransactionId();
        c.transactions.put(id, tx);
        c.answer(type, m, Message.join(List.of(Integer.toUnsignedString(id))));
      }
      case TRANSACTION_END -> endTransaction(c, m);
      case GET_DOMAIN_PATH ->
          c.answer(type, m, Message.join(List.of(Paths.domain(domainId(m.oneString())))));
      case IS_DOMAIN_INTRODUCED -> {
        privileged(c);
        boolean known = domains.contains(domainId(m.oneString()));
        c.answer(type, m, Message.join(List.of(known ? "T" : "F")));
      }
      case CONTROL, INTRODUCE, RELEASE, RESUME, SET_TARGET -> {
        // Which domains there are is the configuration's business here; no hypervisor could tell
        // otherwise.
        privileged(c);
        throw new StoreException(StoreError.ENOSYS);
      }
      case WATCH_EVENT, ERROR, RESTRICT -> throw new StoreException(StoreError.ENOSYS);
    }
  }

  private static void reply(Connection c, Message m, MessageType type, byte[] body)
      throws StoreException {
    if (body.length > Message.PAYLOAD_MAX) {
      throw new StoreException(StoreError.E2BIG);
    }
    c.answer(type, m, body);
  }

  private static void privileged(Connection c) throws StoreException {
    if (c.domid != 0) {
      throw new StoreException(StoreError.EACCES);
    }
  }

  private static String path(Connection c, String path) throws StoreException {
    return Paths.resolve(c.domid, path);
  }

  private static Transaction transaction(Connection c, Message m) throws StoreException {
    if (m.transactionId() == 0) {
      return null;
    }
    Transaction tx = c.transactions.get(m.transactionId());
    if (tx == null) {
      throw new StoreException(StoreError.ENOENT);
    }
    return tx;
  }

  private static int domainId(String text) throws StoreException {
    int domid = number(text);
    if (domid > 0xffff) {
      throw new StoreException(StoreError.EINVAL);
    }
    return domid;
  }

  private static int number(String text) throws StoreException {
    if (text.isEmpty() || text.length() > 9 || !text.chars().allMatch(c -> c >= '0' && c <= '9')) {
      throw new StoreException(StoreError.EINVAL);
    }
    return Integer.parseInt(text);
  }

  /**
   * Answer: generation, NUL, as many whole names as fit from the offset on, and an empty name
   * behind the last one.
   */
  private void directoryPart(Connection c, Message m) throws StoreException {
    List<String> arguments = m.strings();
    if (arguments.size() != 2) {
      throw new StoreException(StoreError.EINVAL);
    }
    Store.Listing listing = store.list(c.domid, transaction(c, m), path(c, arguments.get(0)));
    int offset = number(arguments.get(1));
    List<String> answer = new ArrayList<>();
    answer.add(Long.toString(listing.generation()));
    int room = Message.PAYLOAD_MAX - answer.get(0).length() - 2;
    int at = 0;
    boolean complete = true;
    for (String name : listing.children()) {
      int length = name.length() + 1;
      if (at >= offset) {
        if (length > room) {
          complete = false;
          break;
        }
        answer.add(name);
        room -= length;
      }
      at += length;
    }
    if (complete) {
      answer.add("");
    }
    c.answer(MessageType.DIRECTORY_PART, m, Message.join(answer));
  }

  private void setPermissions(Connection c, Message m) throws StoreException {
    List<String> arguments = m.strings();
    if (arguments.size() < 2) {
      throw new StoreException(StoreError.EINVAL);
    }
    List<Permission> permissions = new ArrayList<>();
    try {
      arguments
          .subList(1, arguments.size())
          .forEach(text -> permissions.add(Permission.parse(text)));
    } catch (IllegalArgumentException e) {
      throw new StoreException(StoreError.EINVAL);
    }
    if (arguments.get(0).startsWith("@")) {
      privileged(c);
      if (special.replace(arguments.get(0), List.copyOf(permissions)) == null) {
        throw new StoreException(StoreError.EINVAL);
      }
    } else {
      store.setPermissions(c.domid, transaction(c, m), path(c, arguments.get(0)), permissions);
    }
    c.answer(MessageType.SET_PERMS, m, OK);
  }

  private void watch(Connection c, Message m) throws StoreException {
    Connection.Watch watch = parseWatch(c, m);
    for (Connection.Watch other : c.watches) {
      if (other.path().equals(watch.path()) && other.token().equals(watch.token())) {
        throw new StoreException(StoreError.EEXIST);
      }
    }
    if (c.domid != 0) {
      int used =
          connections.stream()
              .filter(o -> o.domid == c.domid)
              .mapToInt(o -> o.watches.size())
              .sum();
      if (used >= quotas.watches()) {
        throw new StoreException(StoreError.E2BIG);
      }
    }
    c.watches.add(watch);
    c.answer(MessageType.WATCH, m, OK);
    c.event(watch, watch.path());
  }

  private void unwatch(Connection c, Message m) throws StoreException {
    Connection.Watch watch = parseWatch(c, m);
    if (!c.watches.removeIf(
        o -> o.path().equals(watch.path()) && o.token().equals(watch.token()))) {
      throw new StoreException(StoreError.ENOENT);
    }
    c.answer(MessageType.UNWATCH, m, OK);
  }

  private static Connection.Watch parseWatch(Connection c, Message m) throws StoreException {
    List<String> arguments = m.strings();
    if (arguments.size() < 2) {
      throw new StoreException(StoreError.EINVAL);
    }
    String path = arguments.get(0);
    String token = arguments.get(1);
    if (path.startsWith("@")) {
      if (path.length() > Paths.RELATIVE_MAX) {
        throw new StoreException(StoreError.EINVAL);
      }
      return new Connection.Watch(path, token, null);
    }
    return new Connection.Watch(
        path(c, path), token, path.startsWith("/") ? null : Paths.domain(c.domid));
  }

  private void endTransaction(Connection c, Message m) throws StoreException {
    String how = m.oneString();
    if (!how.equals("T") && !how.equals("F")) {
      throw new StoreException(StoreError.EINVAL);
    }
    Transaction tx = transaction(c, m);
    if (tx == null) {
      throw new StoreException(StoreError.ENOENT);
    }
    c.transactions.remove(m.transactionId());
    if (how.equals("T")) {
      store.commit(tx);
    } else {
      store.abort(tx);
    }
    c.answer(MessageType.TRANSACTION_END, m, OK);
  }

  /** Tells those who watch a special event and may. */
  void fireSpecial(String name) {
    List<Permission> permissions = special.get(name);
    changed(
        name,
        true,
        domid -> domid == 0 || permissions.stream().anyMatch(p -> p.domid() == domid && p.read()));
  }
}
