// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

import hutong.xenstore.Permission;
import hutong.xenstore.internal.store.Paths;
import hutong.xenstore.internal.store.Store;
import hutong.xenstore.internal.store.StoreException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.UUID;

/**
 * What the toolstack of a real Xen host would have put into the store before its guests run, as far
 * as guests and the usual tools look at it.
 */
final class InitialTree {
  /** Directories of its own that a guest may write to at any depth; it may create no others. */
  private static final List<String> GUEST_WRITABLE =
      List.of("data", "attr", "error", "feature", "drivers");

  private final Store store;

  private InitialTree(Store store) {
    this.store = store;
  }

  /**
   * Fills a fresh store.
   *
   * @param store holds the root only
   * @param hostName name of domain 0
   * @param domains domain id to name, of the guests
   */
  static void create(Store store, String hostName, Map<Integer, String> domains) {
    InitialTree tree = new InitialTree(store);
    try {
      tree.put("/tool/xenstored", "", List.of(Permission.none(0)));
      tree.put("/vm", "", List.of(Permission.none(0)));
      tree.domain(0, hostName, new UUID(0, 0));
      for (Map.Entry<Integer, String> domain : new TreeMap<>(domains).entrySet()) {
        byte[] seed =
            ("hutong:" + hostName + ":" + domain.getValue()).getBytes(StandardCharsets.UTF_8);
        tree.domain(domain.getKey(), domain.getValue(), UUID.nameUUIDFromBytes(seed));
      }
    } catch (StoreException e) {
      throw new IllegalStateException("the store refuses its own tree", e);
    }
  }

  private void domain(int domid, String name, UUID uuid) throws StoreException {
    // Domain 0 owns everything here; the guest may read it (n0,r<domid>) or, in its own
    // directories, owns it.
    List<Permission> readable =
        domid == 0
            ? List.of(Permission.none(0))
            : List.of(Permission.none(0), Permission.readOnly(domid));
    String home = Paths.domain(domid);
    put(home, "", readable);
    put(home + "/name", name, readable);
    put(home + "/domid", Integer.toString(domid), readable);
    if (domid == 0) {
      return;
    }
    String vm = "/vm/" + uuid;
    put(vm, "", readable);
    put(vm + "/name", name, readable);
    put(vm + "/uuid", uuid.toString(), readable);
    put(home + "/vm", vm, readable);
    for (String directory : List.of("device", "control", "memory")) {
      put(home + "/" + directory, "", readable);
    }
    for (String directory : GUEST_WRITABLE) {
      put(home + "/" + directory, "", List.of(Permission.none(domid)));
    }
  }

  private void put(String path, String value, List<Permission> permissions) throws StoreException {
    store.write(0, null, path, value.getBytes(StandardCharsets.UTF_8));
    store.setPermissions(0, null, path, permissions);
  }
}
