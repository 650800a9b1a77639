// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * How many datagrams may be in flight (D4): never more than W. Grows by one for each acknowledged
 * datagram until the first loss or the reference W of M1.3, and then by 0.53 datagrams for each
 * window acknowledged; shrinks to 0.7 of itself once for each window in which datagrams were lost,
 * and to the least when nothing is answered. These are TCP cubic's own figures where its windows
 * are small (RFC 9438, 4.3), so that the two share a link evenly.
 *
 * <p>TCP answers in the kernel, while our peer has to wait for a processor. So that a stream beside
 * TCP gets its share all the same, it grows faster in the square of what a round trip takes longer
 * than a link's queue can explain, as TCP Hybla does: it needs a larger window, and sooner.
 */
final class CongestionWindow {
  static final int LEAST = 4;
  private static final double KEPT = 0.7;
  private static final double GROWTH = 3 * (1 - KEPT) / (1 + KEPT);

  /** What a queue explains: W of 1500 bytes at 1 Gbit/s. */
  private static final long ROUND_NS = 2_000_000;

  /** So many times that still count. */
  private static final long MOST_ROUNDS = 4;

  private final boolean enabled;
  private final int most;
  private double size;
  private double threshold;

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
      double rounds =
          (double) Math.max(ROUND_NS, Math.min(roundTripNs, MOST_ROUNDS * ROUND_NS)) / ROUND_NS;
      size += rounds * rounds * GROWTH * count / size;
    }
    size = Math.min(size, most);
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
