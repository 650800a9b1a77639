// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import java.util.List;
import java.util.function.Supplier;

/**
 * The connection that a policy is asked about. What is not known matches a rule perhaps.
 *
 * @param programs gives the names of the program; asked only if a rule names one; null if not known
 * @param uid its user as an unsigned number, {@link #UNKNOWN} if not known
 * @param peer the peer's address
 * @param localPort own port, {@link #UNKNOWN} if not known
 * @param remotePort the peer's port, likewise
 */
record Subject(
    Supplier<List<String>> programs, long uid, Address peer, int localPort, int remotePort) {
  /** Not known. */
  static final int UNKNOWN = -1;

  /** A connection of a program. */
  static Subject of(Supplier<List<String>> programs, int uid, AddressPair pair) {
    return new Subject(
        programs, Integer.toUnsignedLong(uid), pair.remote(), pair.localPort(), pair.remotePort());
  }

  /** Any connection to an address. */
  static Subject to(Address peer) {
    return new Subject(null, UNKNOWN, peer, UNKNOWN, UNKNOWN);
  }
}
