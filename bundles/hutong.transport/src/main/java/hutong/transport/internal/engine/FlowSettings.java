// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.Authenticator;
import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.Header;

/**
 * How a flow behaves. Times are in nanoseconds, windows in datagrams.
 *
 * @param maxDatagram most bytes of a datagram with header and MAC: what the wire's MTU holds (M3.A)
 * @param window W, 64 to 256: most datagrams unacknowledged (M1.3)
 * @param ackWaitNs T, 100,000 to 1,000,000: how long to wait for an acknowledgement (M1.3); where
 *     it adapts, only until the first round trip is known
 * @param adaptive whether T follows the measured round trip within the bounds of M1.3, and 3T is
 *     stretched to what the round trip takes (D4)
 * @param congestionControl whether the sender backs off when datagrams are lost (D4); without it
 *     the window is always W
 * @param firstWindow the congestion window to begin with
 * @param longestWaitNs bound of the exponential back-off
 * @param wireTimeoutNs how long a wire may leave all unanswered before it is reported
 * @param probes full-size probes that must be answered before data goes out; 0 for none (D5)
 * @param probeAttempts probes sent for that until the wire counts as failed; then one after each
 *     longest wait
 * @param probeWaitNs how long to wait for an answer
 */
public record FlowSettings(
    int maxDatagram,
    int window,
    long ackWaitNs,
    boolean adaptive,
    boolean congestionControl,
    int firstWindow,
    long longestWaitNs,
    long wireTimeoutNs,
    int probes,
    int probeAttempts,
    long probeWaitNs) {
  /** Bounds of W (M1.3). */
  public static final int LEAST_WINDOW = 64;

  /** Bounds of W (M1.3). */
  public static final int MOST_WINDOW = 256;

  /** W of the reference run (M1.3). */
  public static final int REFERENCE_WINDOW = 128;

  /** Bounds of T (M1.3). */
  public static final long LEAST_WAIT_NS = 100_000;

  /** Bounds of T (M1.3). */
  public static final long MOST_WAIT_NS = 1_000_000;

  /** The least that a wire must carry: any control datagram, and the MAC. */
  public static final int LEAST_DATAGRAM = Header.BYTES + Control.MOST_BYTES + Authenticator.BYTES;

  /** Checks the bounds. */
  public FlowSettings {
    within("window", window, LEAST_WINDOW, MOST_WINDOW);
    within("ackWaitNs", ackWaitNs, LEAST_WAIT_NS, MOST_WAIT_NS);
    within("maxDatagram", maxDatagram, LEAST_DATAGRAM, 65_507);
    within("firstWindow", firstWindow, CongestionWindow.LEAST, window);
    within("longestWaitNs", longestWaitNs, MOST_WAIT_NS, Long.MAX_VALUE / 4);
    within("wireTimeoutNs", wireTimeoutNs, longestWaitNs, Long.MAX_VALUE / 4);
    within("probes", probes, 0, probeAttempts);
    within("probeWaitNs", probeWaitNs, 1, longestWaitNs);
  }

  /** The reference values: W = 128, T = 0.5 ms (M1.3), with what D4 and D5 add. */
  public static FlowSettings reference(int maxDatagram) {
    return new FlowSettings(
        maxDatagram,
        REFERENCE_WINDOW,
        500_000,
        true,
        true,
        16,
        250_000_000,
        10_000_000_000L,
        3,
        10,
        20_000_000);
  }

  /** The patent's own rules: fixed T, always W, no back-off on loss and no probes. */
  public static FlowSettings literal(int maxDatagram, int window, long ackWaitNs) {
    return new FlowSettings(
        maxDatagram,
        window,
        ackWaitNs,
        false,
        false,
        window,
        250_000_000,
        10_000_000_000L,
        0,
        0,
        20_000_000);
  }

  /** The same with another W. */
  public FlowSettings withWindow(int newWindow) {
    return new FlowSettings(
        maxDatagram,
        newWindow,
        ackWaitNs,
        adaptive,
        congestionControl,
        Math.min(firstWindow, newWindow),
        longestWaitNs,
        wireTimeoutNs,
        probes,
        probeAttempts,
        probeWaitNs);
  }

  /** The same with a T that does not adapt: it and 3T are waited as they stand (M1.3, M3.C). */
  public FlowSettings withFixedWait(long newAckWaitNs) {
    return new FlowSettings(
        maxDatagram,
        window,
        newAckWaitNs,
        false,
        congestionControl,
        firstWindow,
        longestWaitNs,
        wireTimeoutNs,
        probes,
        probeAttempts,
        probeWaitNs);
  }

  /** The same, with data going out at once: for a wire that was probed already (D5). */
  public FlowSettings withoutProbes() {
    return new FlowSettings(
        maxDatagram,
        window,
        ackWaitNs,
        adaptive,
        congestionControl,
        firstWindow,
        longestWaitNs,
        wireTimeoutNs,
        0,
        0,
        probeWaitNs);
  }

  private static void within(String name, long value, long least, long most) {
    if (value < least || value > most) {
      throw new IllegalArgumentException(
          name + " is " + value + ", not within " + least + " to " + most);
    }
  }
}
