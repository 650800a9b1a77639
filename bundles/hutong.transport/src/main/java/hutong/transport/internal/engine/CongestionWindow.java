// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * How many datagrams may be in flight (D4): never more than W. Grows by one for each acknowledged
 * datagram until the first loss or the reference W of M1.3, and then by 0.53 datagrams for each
 * window acknowledged; shrinks to 0.7 of itself once for each window in which datagrams were lost,
 * and to the least when nothing is answered. These are TCP cubic's own figures where its windows
 * are small (RFC 9438, 4.3), so that the two share a link evenly.
 *
 * <p>TCP takes answers in the kernel, while ours wait for the agent, and the agent for a processor.
 * So that a stream beside TCP gets its share all the same, and no more, it grows faster in the
 * square of what a round trip takes longer for that, as TCP Hybla does for distance: it needs a
 * larger window, and sooner. The network's own part, a queue among it, both have alike.
 */
final class CongestionWindow {
  static final int LEAST = 4;
  private static final double KEPT = 0.7;
  private static final double GROWTH = 3 * (1 - KEPT) / (1 + KEPT);

  /** A round trip counts for so many of the network's own at most. */
  private static final double MOST_ROUNDS = 4;

  private final boolean enabled;
  private final int most;
  private double size;
  private double threshold;
  private double hereNs;

  /** Datagrams transmitted up to this one belong to the last loss event. */
  private long recoveryOrder = -1;

  CongestionWindow(FlowSettings settings) {
    enabled = settings.congestionControl();
    most = settings.window();
    size = enabled ? settings.firstWindow() : most;
    threshold = Math.min(most, FlowSettings.REFERENCE_WINDOW);
  }

  int datagrams() {
    return (int) size;
  }

  /** So much of a round trip was spent at this end, where TCP would have spent nothing. */
  void spentHere(long ns) {
    hereNs += (ns - hereNs) / 8;
  }

  /**
   * Datagrams were acknowledged while {@code inFlight} were under way.
   *
   * @param roundTripNs as it is known; 0 when it is not
   */
  void onAcknowledged(int count, int inFlight, long roundTripNs) {
    if (!enabled || 2 * inFlight < size) {
      return; // a window that is not used says nothing about the network
    }
    if (size < threshold) {
      size += count;
    } else {
      double rounds = rounds(roundTripNs);
      size += rounds * rounds * GROWTH * count / size;
    }
    size = Math.min(size, most);
  }

  /** How many round trips of the network alone fit into one: 1 and more. */
  private double rounds(long roundTripNs) {
    double network = Math.max(roundTripNs - hereNs, roundTripNs / MOST_ROUNDS);
    return roundTripNs == 0 ? 1 : roundTripNs / network;
  }

  /**
   * A datagram is lost.
   *
   * @param order its transmission's number
   * @param newest number of the newest transmission
   * @return whether that is a new loss event
   */
  boolean onLost(long order, long newest) {
    if (order <= recoveryOrder) {
      return false;
    }
    recoveryOrder = newest;
    shrink(KEPT);
    return true;
  }

  /** Nothing was answered in time. */
  void onSilence(long newest) {
    recoveryOrder = newest;
    shrink(0.5);
    if (enabled) {
      size = LEAST;
    }
  }

  private void shrink(double kept) {
    if (enabled) {
      size = Math.max(LEAST, size * kept);
      threshold = size;
    }
  }
}
