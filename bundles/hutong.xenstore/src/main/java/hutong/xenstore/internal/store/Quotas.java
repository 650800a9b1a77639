// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.store;

/**
 * What an unprivileged domain may use; domain 0 has no limits here. The defaults are those of Xen
 * 4.17's xenstored. A directory's list of children counts as part of its record, which is why a
 * guest on real Xen (and here) comes to an end after about 420 keys in one directory.
 *
 * @param nodes nodes owned by one domain
 * @param valueBytes length of a value
 * @param recordBytes length of a node's record without its value
 * @param permissions entries of one node's permissions
 * @param watches watches of one domain
 * @param transactions open transactions of one domain
 * @param transactionNodes nodes touched by one transaction
 * @param transactionBytes memory of paths and written values in one domain's open transactions
 * @param connections open connections of one domain
 */
public record Quotas(
    int nodes,
    int valueBytes,
    int recordBytes,
    int permissions,
    int watches,
    int transactions,
    int transactionNodes,
    int transactionBytes,
    int connections) {

  /** The limits of a guest. */
  public static final Quotas DEFAULT =
      new Quotas(1000, 2048, 2048, 5, 128, 10, 1024, 512 * 1024, 32);
}
