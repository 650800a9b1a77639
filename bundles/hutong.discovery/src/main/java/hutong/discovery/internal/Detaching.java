// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.xenstore.Permission;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.LongSupplier;

/**
 * Asks a VM through XenStore to let go of all memory that is shared with others: a key that only
 * domain 0 can write, and the VM's answer below its own {@code data/}. Used by any thread that may
 * wait.
 */
final class Detaching {
  private static final String DOMAINS = "/local/domain";
  private static final long LOOK_MS = 100;

  private final LongSupplier names;

  /**
   * Makes it.
   *
   * @param names gives a number for each request, never the same again
   */
  Detaching(LongSupplier names) {
    this.names = names;
  }

  /** The domain of that name, by the store's word. */
  static int domain(XenStore store, String vm) throws XenStoreException {
    for (String domid : store.list(DOMAINS)) {
      if (domid.matches("[1-9][0-9]{0,4}")
          && store.read(DOMAINS + "/" + domid + "/name").equals(Optional.of(vm))) {
        return Integer.parseInt(domid);
      }
    }
    throw new IllegalArgumentException("there is no VM " + vm + " on this host");
  }

  /** See {@link hutong.api.discovery.HostControl#detach}. */
  boolean detach(XenStore store, String vm, int seconds) throws XenStoreException {
    String home = DOMAINS + "/" + domain(store, vm);
    String key = home + "/" + HostScanner.HANDED + "/detach";
    String name = Long.toString(names.getAsLong());
    int domid = Integer.parseInt(home.substring(DOMAINS.length() + 1));
    store.transaction(
        tx -> {
          if (tx.read(home).isEmpty()) {
            // Its directory must not come back.
            throw new IllegalArgumentException("there is no VM " + vm + " on this host any more");
          }
          tx.write(key, name);
          tx.setPermissions(key, List.of(Permission.none(0), Permission.readOnly(domid)));
        });
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    String answer = home + "/" + HostScanner.PUBLISHED + "/detached";
    while (!store.read(answer).equals(Optional.of(name))) {
      if (System.nanoTime() - deadline >= 0) {
        return false;
      }
      pause();
    }
    store.transaction(tx -> SaveLock.settle(tx, home)); // so would the scan, in its time
    return true;
  }

  /** See {@link hutong.api.discovery.HostControl#attach}. */
  void attach(XenStore store, String vm) throws XenStoreException {
    String home = DOMAINS + "/" + domain(store, vm);
    store.transaction(
        tx -> {
          String asked = home + "/" + HostScanner.HANDED + "/detach";
          if (tx.read(asked).isPresent()) {
            tx.remove(asked);
            SaveLock.settle(tx, home); // in one step: it may share again from then on
          }
        });
  }

  private static void pause() {
    try {
      Thread.sleep(LOOK_MS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }
}
