// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore;

import java.util.List;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * The XenStore as this process's domain sees it (M1.4, M4.1). Paths are absolute, or relative to
 * the caller's {@code /local/domain/<domid>}.
 *
 * <p>Every request waits for its answer, at most a few seconds; requests of several threads are
 * served one after another. A store that is not there (no library, no socket, host agent stopped)
 * is no fault of this service: requests fail with {@link XenStoreException#ENOTCONN} and the
 * service reopens the connection by itself.
 */
public interface XenStore {

  /**
   * Tells whether the connection stood when it was last used.
   *
   * @return false while requests fail with ENOTCONN
   */
  boolean available();

  /**
   * Reads a value.
   *
   * @param path node
   * @return its value, empty if there is no such node
   * @throws XenStoreException EACCES, ENOTCONN, ...
   */
  Optional<String> read(String path) throws XenStoreException;

  /**
   * Lists the children of a node.
   *
   * @param path node
   * @return the names of its children; empty also if there is no such node
   * @throws XenStoreException EACCES, ENOTCONN, ...
   */
  List<String> list(String path) throws XenStoreException;

  /**
   * Writes a value and creates the node, and its parents, if they are missing.
   *
   * @param path node
   * @param value new value, at most 2048 bytes for an unprivileged domain
   * @throws XenStoreException EACCES, ENOSPC (quota), ENOTCONN, ...
   */
  void write(String path, String value) throws XenStoreException;

  /**
   * Removes a node and everything below it; no error if it does not exist.
   *
   * @param path node
   * @throws XenStoreException EACCES, ENOTCONN, ...
   */
  void remove(String path) throws XenStoreException;

  /**
   * Reads the permissions of a node.
   *
   * @param path node
   * @return the entries, owner first; empty if there is no such node
   * @throws XenStoreException EACCES, ENOTCONN, ...
   */
  List<Permission> permissions(String path) throws XenStoreException;

  /**
   * Replaces the permissions of a node.
   *
   * @param path node
   * @param permissions the entries, owner first; at least one
   * @throws XenStoreException EACCES, EPERM, ENOENT, ENOTCONN, ...
   */
  void setPermissions(String path, List<Permission> permissions) throws XenStoreException;

  /**
   * Makes several changes that others see all at once. The work is run again when another client
   * made a conflicting change meanwhile, so it must have no effect but on the store.
   *
   * @param work the changes, made through the {@code XenStore} that it is given and in the calling
   *     thread
   * @throws XenStoreException the first error of a request; EAGAIN when there was a conflict too
   *     many times
   */
  void transaction(Work work) throws XenStoreException;

  /**
   * Watches a node and all below it. The listener is called once at the start, after each change,
   * and after each new connection to the store, with the path that changed; it may be called
   * without a change. Calls come from the service's own thread: the listener must not block, and
   * may close the watch.
   *
   * @param path node, need not exist
   * @param listener told the path that changed
   * @return closing it ends the watch
   */
  Watch watch(String path, Consumer<String> listener);

  /** The body of a transaction. */
  @FunctionalInterface
  interface Work {
    /**
     * Makes the changes.
     *
     * @param store the store inside the transaction
     * @throws XenStoreException passed on to the caller, after a rollback
     */
    void run(XenStore store) throws XenStoreException;
  }

  /** A watch that was set. */
  interface Watch extends AutoCloseable {
    /**
     * Ends the watch; the listener is not called any more, except for a call that is under way.
     * Idempotent.
     */
    @Override
    void close();
  }
}
