// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

import hutong.xenstore.Permission;
import hutong.xenstore.internal.store.Node.Access;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The tree of the embedded store with its permissions, quotas and transactions; behaves as Xen
 * 4.17's xenstored does. Knows nothing of connections: the caller says which domain it acts for.
 * Single-threaded: all calls come from the server's thread.
 *
 * <p>Nodes are immutable and carry the number of the change that made them. A transaction notes the
 * number of every node it looks at; when one of these numbers differs at the end, it fails with
 * EAGAIN and leaves no trace.
 */
public final class Store {

  /** Told about every change to the tree, after it was made. */
  public interface ChangeListener {
    /**
     * A node changed, appeared or vanished.
     *
     * @param path the node
     * @param exact true when only watches on this very path are meant (a descendant of a removed
     *     node)
     * @param permittedTo tells whether a domain may learn of it
     */
    void changed(String path, boolean exact, Visibility permittedTo);
  }

  /** Who may learn of a change. */
  @FunctionalInterface
  public interface Visibility {
    /**
     * Tells whether a domain may learn of the change.
     *
     * @param domid the domain
     * @return as said
     */
    boolean to(int domid);
  }

  /** About what an entry of a transaction costs besides its path and value. */
  private static final int ENTRY_BYTES = 64;

  private final Map<String, Node> nodes = new HashMap<>();
  private final Map<Integer, Integer> ownedNodes = new HashMap<>();
  private final Map<Integer, Integer> openTransactions = new HashMap<>();
  private final Map<Integer, Long> transactionBytes = new HashMap<>();
  private final Quotas quotas;
  private final ChangeListener listener;
  private long generation;

  /**
   * Creates a store that holds the root only, which belongs to domain 0.
   *
   * @param quotas limits of the unprivileged domains
   * @param listener told about changes
   */
  public Store(Quotas quotas, ChangeListener listener) {
    this.quotas = quotas;
    this.listener = listener;
    nodes.put("/", Node.create(List.of(Permission.none(0))).withGeneration(++generation));
    ownedNodes.put(0, 1);
  }

  /** The result of a partial listing. */
  public record Listing(List<String> children, int bytes, long generation) {}

  /**
   * READ.
   *
   * @param domid caller
   * @param tx open transaction or null
   * @param path absolute, valid
   * @return the value; not to be changed
   * @throws StoreException EACCES, ENOENT, ENOSPC
   */
  public byte[] read(int domid, Transaction tx, String path) throws StoreException {
    return get(domid, tx, path, Access.READ).value();
  }

  /**
   * DIRECTORY.
   *
   * @param domid caller
   * @param tx open transaction or null
   * @param path absolute, valid
   * @return the children with the length of their list and the generation of the node
   * @throws StoreException EACCES, ENOENT, ENOSPC
   */
  public Listing list(int domid, Transaction tx, String path) throws StoreException {
    Node node = get(domid, tx, path, Access.READ);
    return new Listing(node.children(), node.childBytes(), node.generation());
  }

  /**
   * GET_PERMS.
   *
   * @param domid caller
   * @param tx open transaction or null
   * @param path absolute, valid
   * @return the entries, owner first
   * @throws StoreException EACCES, ENOENT, ENOSPC
   */
  public List<Permission> permissions(int domid, Transaction tx, String path)
      throws StoreException {
    return get(domid, tx, path, Access.READ).permissions();
  }

  /**
   * WRITE: missing parents are created.
   *
   * @param domid caller
   * @param tx open transaction or null
   * @param path absolute, valid
   * @param value kept, not copied
   * @throws StoreException EACCES, ENOSPC
   */
  public void write(int domid, Transaction tx, String path, byte[] value) throws StoreException {
    Node node = find(domid, tx, path, Access.WRITE);
    if (domid != 0 && value.length > quotas.valueBytes()) {
      throw new StoreException(StoreError.ENOSPC);
    }
    chargeTransaction(domid, tx, value.length);
    if (node == null) {
      create(domid, tx, path, value);
    } else {
      put(tx, path, node.withValue(value));
    }
    fire(tx, path, false, null);
  }

  /**
   * MKDIR: does nothing if the node exists.
   *
   * @param domid caller
   * @param tx open transaction or null
   * @param path absolute, valid
   * @throws StoreException EACCES, ENOSPC
   */
  public void makeDirectory(int domid, Transaction tx, String path) throws StoreException {
    if (find(domid, tx, path, Access.WRITE) == null) {
      create(domid, tx, path, new byte[0]);
      fire(tx, path, false, null);
    }
  }

  /**
   * RM: no error if the node does not exist but its parent does.
   *
   * @param domid caller
   * @param tx open transaction or null
   * @param path absolute, valid
   * @throws StoreException EACCES, ENOENT, EINVAL (the root)
   */
  public void remove(int domid, Transaction tx, String path) throws StoreException {
    Node node = find(domid, tx, path, Access.WRITE);
    if (node == null) {
      if (lookup(tx, Paths.parent(path)) == null) {
        throw new StoreException(StoreError.ENOENT);
      }
      return;
    }
    if (path.equals("/")) {
      throw new StoreException(StoreError.EINVAL);
    }
    String parentPath = Paths.parent(path);
    Node parent = lookup(tx, parentPath);
    if (parent == null) {
      // Only in a transaction that has seen the node before others removed all of it: it cannot be
      // committed any more.
      throw new StoreException(StoreError.ENOENT);
    }
    List<String> doomed = new ArrayList<>();
    collect(tx, path, node, doomed);
    for (int i = doomed.size() - 1; i >= 0; i--) {
      String victim = doomed.get(i);
      fire(
          tx,
          victim,
          i != 0,
          visibility(lookup(tx, victim), lookup(tx, Paths.parent(victim)), null));
      delete(tx, victim);
    }
    put(tx, parentPath, parent.withoutChild(Paths.name(path)));
  }

  /**
   * SET_PERMS.
   *
   * @param domid caller
   * @param tx open transaction or null
   * @param path absolute, valid
   * @param permissions at least one entry, owner first
   * @throws StoreException EACCES, ENOENT, EPERM (a new owner), ENOSPC
   */
  public void setPermissions(int domid, Transaction tx, String path, List<Permission> permissions)
      throws StoreException {
    if (domid != 0 && permissions.size() > quotas.permissions()) {
      throw new StoreException(StoreError.ENOSPC);
    }
    Node node = get(domid, tx, path, Access.OWN);
    if (domid != 0 && permissions.get(0).domid() != node.owner()) {
      throw new StoreException(StoreError.EPERM);
    }
    Node changed = node.withPermissions(List.copyOf(permissions));
    checkRecord(domid, changed);
    put(tx, path, changed);
    fire(
        tx, path, false, visibility(changed, lookup(null, Paths.parent(path)), node.permissions()));
  }

  /**
   * TRANSACTION_START.
   *
   * @param domid caller
   * @return the transaction
   * @throws StoreException ENOSPC
   */
  public Transaction begin(int domid) throws StoreException {
    int open = openTransactions.getOrDefault(domid, 0);
    if (domid != 0 && open >= quotas.transactions()) {
      throw new StoreException(StoreError.ENOSPC);
    }
    openTransactions.put(domid, open + 1);
    return new Transaction(domid);
  }

  /**
   * Ends a transaction without a trace.
   *
   * @param tx must not be used any more
   */
  public void abort(Transaction tx) {
    openTransactions.computeIfPresent(
        tx.domid, (id, open) -> open > 1 ? Integer.valueOf(open - 1) : null);
    transactionBytes.computeIfPresent(
        tx.domid, (id, held) -> held > tx.bytes ? Long.valueOf(held - tx.bytes) : null);
    tx.bytes = 0;
  }

  /**
   * Ends a transaction and makes its changes, all or none.
   *
   * @param tx must not be used any more, whatever comes out
   * @throws StoreException EAGAIN (conflict), ENOSPC (node quota)
   */
  public void commit(Transaction tx) throws StoreException {
    abort(tx);
    int created = 0;
    for (Map.Entry<String, Transaction.Entry> e : tx.entries.entrySet()) {
      Node now = nodes.get(e.getKey());
      if ((now == null ? 0 : now.generation()) != e.getValue().readGeneration) {
        throw new StoreException(StoreError.EAGAIN);
      }
      Node then = e.getValue().node;
      created += owned(then, tx.domid) - owned(now, tx.domid);
    }
    if (tx.domid != 0
        && created > 0
        && ownedNodes.getOrDefault(tx.domid, 0) + created > quotas.nodes()) {
      throw new StoreException(StoreError.ENOSPC);
    }
    tx.entries.forEach(
        (path, entry) -> {
          if (entry.modified && entry.node != null) {
            put(null, path, entry.node);
          } else if (entry.modified) {
            delete(null, path);
          }
        });
    tx.entries.forEach(
        (path, entry) -> {
          if (entry.fire) {
            Node parent = nodes.get(Paths.parent(path));
            fire(null, path, entry.exact, visibility(entry.node, parent, entry.oldPermissions));
          }
        });
  }

  private static int owned(Node node, int domid) {
    return node != null && node.owner() == domid ? 1 : 0;
  }

  /**
   * Nodes that a domain owns.
   *
   * @param domid the domain
   * @return their number
   */
  public int ownedBy(int domid) {
    return ownedNodes.getOrDefault(domid, 0);
  }

  /** The node, or the error that a caller with these rights is to see. */
  private Node get(int domid, Transaction tx, String path, Access access) throws StoreException {
    Node node = find(domid, tx, path, access);
    if (node == null) {
      throw new StoreException(StoreError.ENOENT);
    }
    return node;
  }

  /**
   * The node, or null if it does not exist and the caller may know that: the nearest ancestor that
   * exists grants the access asked for. Errors tell a caller nothing about nodes that it may not
   * see.
   */
  private Node find(int domid, Transaction tx, String path, Access access) throws StoreException {
    Node node = touch(domid, tx, path);
    if (node != null && node.allows(domid, access)) {
      return node;
    }
    if (node == null) {
      Node ancestor = null;
      for (String up = path; ancestor == null && !up.equals("/"); ) {
        up = Paths.parent(up);
        ancestor = touch(domid, tx, up);
      }
      if (ancestor != null && ancestor.allows(domid, access)) {
        return null;
      }
    }
    throw new StoreException(StoreError.EACCES);
  }

  private void create(int domid, Transaction tx, String path, byte[] value) throws StoreException {
    List<String> missing = new ArrayList<>();
    String up = path;
    while (touch(domid, tx, up) == null) {
      missing.add(up);
      up = Paths.parent(up);
    }
    Node parent = lookup(tx, up);
    List<Permission> inherited = new ArrayList<>(parent.permissions());
    if (domid != 0) {
      Permission first = inherited.get(0);
      inherited.set(0, new Permission(domid, first.read(), first.write()));
    }
    List<Permission> permissions = List.copyOf(inherited);
    if (domid != 0
        && tx == null
        && ownedNodes.getOrDefault(domid, 0) + missing.size() > quotas.nodes()) {
      throw new StoreException(StoreError.ENOSPC);
    }
    // Every check comes before the first change, so that a refused request leaves nothing behind.
    Node grown = parent.withChild(Paths.name(missing.get(missing.size() - 1)));
    checkRecord(domid, grown);
    for (int i = missing.size() - 1; i >= 0; i--) {
      Node node = Node.create(permissions);
      node = i == 0 ? node.withValue(value) : node.withChild(Paths.name(missing.get(i - 1)));
      checkRecord(domid, node);
    }
    put(tx, up, grown);
    for (int i = missing.size() - 1; i >= 0; i--) {
      Node node = Node.create(permissions);
      put(
          tx,
          missing.get(i),
          i == 0 ? node.withValue(value) : node.withChild(Paths.name(missing.get(i - 1))));
    }
  }

  private void checkRecord(int domid, Node node) throws StoreException {
    if (domid != 0 && node.recordBytes() >= quotas.recordBytes()) {
      throw new StoreException(StoreError.ENOSPC);
    }
  }

  private void chargeTransaction(int domid, Transaction tx, int bytes) throws StoreException {
    if (tx == null) {
      return;
    }
    long held = transactionBytes.getOrDefault(domid, 0L) + bytes;
    if (domid != 0 && held > quotas.transactionBytes()) {
      throw new StoreException(StoreError.ENOSPC);
    }
    tx.bytes += bytes;
    transactionBytes.put(domid, held);
  }

  /** Looks a node up and, in a transaction, notes that it was looked at. */
  private Node touch(int domid, Transaction tx, String path) throws StoreException {
    if (tx != null && !tx.entries.containsKey(path)) {
      if (domid != 0 && tx.entries.size() >= quotas.transactionNodes()) {
        throw new StoreException(StoreError.ENOSPC);
      }
      chargeTransaction(domid, tx, path.length() + ENTRY_BYTES);
    }
    return lookup(tx, path);
  }

  private Node lookup(Transaction tx, String path) {
    if (tx == null) {
      return nodes.get(path);
    }
    return tx.entries.computeIfAbsent(path, p -> new Transaction.Entry(nodes.get(p))).node;
  }

  private void put(Transaction tx, String path, Node node) {
    if (tx != null) {
      Transaction.Entry entry =
          tx.entries.computeIfAbsent(path, p -> new Transaction.Entry(nodes.get(p)));
      entry.node = node;
      entry.modified = true;
      return;
    }
    Node old = nodes.put(path, node.withGeneration(++generation));
    if (old == null || old.owner() != node.owner()) {
      if (old != null) {
        countOwned(old.owner(), -1);
      }
      countOwned(node.owner(), 1);
    }
  }

  private void delete(Transaction tx, String path) {
    if (tx != null) {
      Transaction.Entry entry =
          tx.entries.computeIfAbsent(path, p -> new Transaction.Entry(nodes.get(p)));
      entry.node = null;
      entry.modified = true;
      return;
    }
    Node old = nodes.remove(path);
    if (old != null) {
      countOwned(old.owner(), -1);
    }
  }

  private void countOwned(int domid, int delta) {
    ownedNodes.merge(domid, delta, (a, b) -> a + b == 0 ? null : Integer.valueOf(a + b));
  }

  /** The node and all below it, parents first. Depth is bounded by the length of a path. */
  private void collect(Transaction tx, String path, Node node, List<String> into) {
    into.add(path);
    for (String name : node.children()) {
      String child = Paths.child(path, name);
      Node childNode = lookup(tx, child);
      if (childNode != null) {
        collect(tx, child, childNode, into);
      }
    }
  }

  private void fire(Transaction tx, String path, boolean exact, Visibility visibility) {
    if (tx == null) {
      Visibility seen =
          visibility != null
              ? visibility
              : visibility(nodes.get(path), nodes.get(Paths.parent(path)), null);
      listener.changed(path, exact, seen);
      return;
    }
    Transaction.Entry entry =
        tx.entries.computeIfAbsent(path, p -> new Transaction.Entry(nodes.get(p)));
    entry.exact = entry.fire ? entry.exact && exact : exact;
    entry.fire = true;
  }

  /** Those learn of a change who may read the node, before or after it, or its parent. */
  private static Visibility visibility(Node node, Node parent, List<Permission> oldPermissions) {
    Node before = oldPermissions == null ? null : Node.create(oldPermissions);
    return domid ->
        (before != null && before.allows(domid, Access.READ))
            || (node != null && node.allows(domid, Access.READ))
            || (parent != null && parent.allows(domid, Access.READ));
  }
}
