// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

import hutong.xenstore.Permission;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * An open transaction: the nodes that it has read (to find conflicts by their generation) and those
 * that it has changed, laid over the tree. Owned by one connection; used by the store's thread
 * only.
 */
public final class Transaction {
  final int domid;
  final Map<String, Entry> entries = new LinkedHashMap<>();

  /** Bytes of values that only this transaction holds. */
  long bytes;

  Transaction(int domid) {
    this.domid = domid;
  }

  /** One node touched by the transaction. */
  static final class Entry {
    /** Generation when it was first read; 0 if it did not exist. */
    final long readGeneration;

    /**
     * Permissions before the transaction, for those who may lose sight of the node; null if it did
     * not exist.
     */
    final List<Permission> oldPermissions;

    /** State inside the transaction; null if it does not exist. */
    Node node;

    boolean modified;
    boolean fire;

    /** Only watches on this very path are fired. */
    boolean exact;

    Entry(Node node) {
      this.node = node;
      this.readGeneration = node == null ? 0 : node.generation();
      this.oldPermissions = node == null ? null : node.permissions();
    }
  }
}
