// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;
import java.util.List;
import java.util.SortedSet;

/**
 * Xen: granted pages, event channels, the list of domains. Where there is none every call fails
 * with its errno, mostly {@link OsException#ENOSYS} or {@link OsException#ENOENT}. Thread-safe.
 */
public interface Xen {
  /** Whether this machine is a VM on Xen with all that channels need. */
  boolean available();

  /**
   * Makes zeroed pages that another domain may map and write.
   *
   * @param domid that domain
   * @param pages how many, in pages of 4096 bytes
   */
  Grant grant(int domid, int pages) throws OsException;

  /**
   * Prepares the mapping of pages that another domain has granted; that they are none may show only
   * when they are mapped.
   *
   * @param domid that domain
   * @param references its grant references
   * @return maps the pages in order, from its start; once at a time
   */
  Fd map(int domid, List<Integer> references) throws OsException;

  /**
   * Makes an event channel that another domain may bind.
   *
   * @param domid that domain
   */
  EventChannel event(int domid) throws OsException;

  /**
   * Binds another domain's event channel.
   *
   * @param domid that domain
   * @param remotePort the port there
   */
  EventChannel bind(int domid, int remotePort) throws OsException;

  /**
   * The domains that the hypervisor has and that are not being destroyed; for domain 0 only.
   *
   * @return their ids, domain 0 among them
   */
  SortedSet<Integer> domains() throws OsException;

  /**
   * Granted pages.
   *
   * @param memory maps them in order, from its start
   * @param references one for each page
   */
  record Grant(Fd memory, List<Integer> references) {
    /** Copies the references. */
    public Grant {
      references = List.copyOf(references);
    }
  }

  /**
   * One end of an event channel.
   *
   * @param device an open /dev/xen/evtchn that has only this port; non-blocking
   * @param port its number in this domain
   */
  record EventChannel(Fd device, int port) {}
}
