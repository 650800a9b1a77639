// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * The measured round trip and the times that follow from it: T and the time after which silence
 * means loss (M3.C, D4). With a fixed T these are T and 3T. An adaptive T is the smoothed round
 * trip and four times its deviation, within the bounds of M1.3; silence then means loss after 3T,
 * or after as long as answers were seen to take, whichever is longer.
 */
final class RoundTrip {
  private final boolean adaptive;
  private final long fixedNs;
  private final long longestNs;
  private long smoothNs;
  private long deviationNs;
  private long leastNs = Long.MAX_VALUE;

  RoundTrip(FlowSettings settings) {
    adaptive = settings.adaptive();
    fixedNs = settings.ackWaitNs();
    longestNs = settings.longestWaitNs();
  }

  /** Takes a measurement of a datagram that was sent once. */
  void sample(long ns) {
    leastNs = Math.min(leastNs, ns);
    if (smoothNs == 0) {
      smoothNs = Math.max(1, ns);
      deviationNs = ns / 2;
      return;
    }
    deviationNs += (Math.abs(ns - smoothNs) - deviationNs) / 4;
    smoothNs = Math.max(1, smoothNs + (ns - smoothNs) / 8);
  }

  /** Smoothed; 0 when none is known. */
  long smoothNs() {
    return smoothNs;
  }

  /** The shortest one seen; 0 when none is known. */
  long leastNs() {
    return smoothNs == 0 ? 0 : leastNs;
  }

  /** T, after that many silences in a row. */
  long askAfterNs(int silences) {
    return backedOff(waitNs(), silences);
  }

  /** 3T or its equivalent, after that many silences in a row. */
  long lostAfterNs(int silences) {
    long base = 3 * waitNs();
    if (adaptive && smoothNs != 0) {
      base = Math.max(base, smoothNs + 4 * deviationNs);
    }
    return backedOff(base, silences);
  }

  private long waitNs() {
    if (!adaptive || smoothNs == 0) {
      return fixedNs;
    }
    long ns = smoothNs + 4 * deviationNs;
    return Math.max(FlowSettings.LEAST_WAIT_NS, Math.min(ns, FlowSettings.MOST_WAIT_NS));
  }

  private long backedOff(long ns, int silences) {
    return Math.min(ns << Math.min(silences, 20), longestNs);
  }
}
