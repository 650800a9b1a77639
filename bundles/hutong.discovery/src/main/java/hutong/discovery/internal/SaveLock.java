// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.xenstore.Permission;
import hutong.xenstore.XenStore;
import hutong.xenstore.XenStoreException;
import java.util.List;
import java.util.Optional;

/**
 * Keeps {@code xl save} and {@code xl migrate} from a domain that may share memory with others.
 * Linux guests cannot be saved so: restored, their kernels end the programs that hold such mappings
 * and event channels, and trip over the mappings themselves.
 *
 * <p>The toolstack asks a domain to suspend by the event channel that is named in {@code
 * device/suspend/event-channel}, where there is one. Port 0 is none, so the toolstack fails before
 * it has touched the domain (libxl, {@code xc_suspend_evtchn_init_exclusive}). The key is taken
 * away once the domain has answered that it shares nothing, see {@link Detaching}.
 */
final class SaveLock {
  /** Below {@code data/hutong}: which sort of channels the VM may have. */
  static final String CHANNELS = "channels";

  /** The sort that needs no lock is any other one. */
  static final String XEN = "xen";

  private static final String KEY = "/device/suspend/event-channel";
  private static final String NO_PORT = "0";

  private SaveLock() {}

  /**
   * Whether a domain may share memory: it takes part, and has not answered the latest request to
   * let go of all. Former agents do not say which sort of channels they have.
   */
  static boolean due(XenStore store, String home) throws XenStoreException {
    String published = home + "/" + HostScanner.PUBLISHED;
    Optional<String> asked = store.read(home + "/" + HostScanner.HANDED + "/detach");
    return store.read(published + "/" + CHANNELS).orElse(XEN).equals(XEN)
        && (asked.isEmpty() || !store.read(published + "/detached").equals(asked));
  }

  /**
   * Locks a domain or lets go of it, as it is due.
   *
   * @param tx a transaction: else the domain's answer could come in between
   * @param home the domain's directory
   * @return whether it is locked
   */
  static boolean settle(XenStore tx, String home) throws XenStoreException {
    boolean locked = due(tx, home);
    if (!locked && tx.read(home + KEY).equals(Optional.of(NO_PORT))) {
      tx.remove(home + KEY);
    } else if (locked && tx.read(home).isPresent()) { // or the directory would come back
      tx.write(home + KEY, NO_PORT);
      tx.setPermissions(home + KEY, List.of(Permission.none(0)));
    }
    return locked;
  }
}
