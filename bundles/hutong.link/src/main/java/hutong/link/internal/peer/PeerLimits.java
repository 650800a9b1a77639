// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import java.time.Duration;

/**
 * What bounds the links.
 *
 * @param strangers connections of others that are not up yet
 * @param perAddress the same, from one address
 * @param perSecond connections taken from one address in a second
 * @param handshake time from the beginning of a connection until it is up
 * @param precedence how long a connection begun by the higher peer waits for one that is begun here
 * @param away time for which a peer may be missing in the lists
 * @param forget time after which a peer that is in no list and has no link is wanted no more
 * @param firstRetry first pause between attempts
 * @param lastRetry longest pause between attempts; each is twice the one before
 * @param listenRetry pause between attempts to listen
 * @param queueBytes what may wait for one peer
 */
record PeerLimits(
    int strangers,
    int perAddress,
    int perSecond,
    Duration handshake,
    Duration precedence,
    Duration away,
    Duration forget,
    Duration firstRetry,
    Duration lastRetry,
    Duration listenRetry,
    int queueBytes) {
  static final PeerLimits USUAL =
      new PeerLimits(
          64,
          8,
          20,
          Duration.ofSeconds(5),
          Duration.ofSeconds(1),
          Duration.ofSeconds(10),
          Duration.ofMinutes(1),
          Duration.ofMillis(250),
          Duration.ofSeconds(5),
          Duration.ofSeconds(5),
          4 << 20);
}
