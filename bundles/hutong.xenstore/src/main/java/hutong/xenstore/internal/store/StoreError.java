// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

/** The errors of the XenStore wire protocol (xen/io/xs_wire.h); on the wire they travel by name. */
public enum StoreError {
  /** Malformed request. */
  EINVAL(22),
  /** Not permitted to the caller's domain. */
  EACCES(13),
  /** The watch exists already. */
  EEXIST(17),
  /** No such node, watch or transaction. */
  ENOENT(2),
  /** A transaction that failed half-way cannot be committed. */
  ENOMEM(12),
  /** A quota of the caller's domain is used up. */
  ENOSPC(28),
  /** Unknown or unsupported request. */
  ENOSYS(38),
  /** A transaction inside a transaction. */
  EBUSY(16),
  /** The transaction conflicts with changes made meanwhile. */
  EAGAIN(11),
  /** The answer does not fit a message, or too many watches. */
  E2BIG(7),
  /** Only the control domain may change an owner. */
  EPERM(1);

  private final int errno;

  StoreError(int errno) {
    this.errno = errno;
  }

  /**
   * Returns the Linux number of the error.
   *
   * @return errno
   */
  public int errno() {
    return errno;
  }
}
