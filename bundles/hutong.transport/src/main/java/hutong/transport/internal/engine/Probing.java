// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * Full-size probes before a wire is used (D5): one after the other, each with its time, until
 * enough are answered. When too many were sent the wire has failed; the flow goes on trying now and
 * then all the same, since its program may have closed meanwhile, and TCP carries nothing then.
 */
final class Probing {
  private final FlowSettings settings;
  private int left;
  private int sent;
  private int number;
  private long nextAt = Sender.NEVER;
  private boolean failed;

  Probing(FlowSettings settings) {
    this.settings = settings;
  }

  /** Begins a new round; with no probes configured it is over at once. */
  void begin(long now) {
    left = settings.probes();
    sent = 0;
    failed = false;
    nextAt = now;
  }

  /** Whether data has to wait. */
  boolean active() {
    return left > 0;
  }

  /** Whether the round has failed just now; says so once. */
  boolean fails(long now) {
    if (!active() || failed || now < nextAt || sent < settings.probeAttempts()) {
      return false;
    }
    failed = true;
    return true;
  }

  boolean due(long now) {
    return active() && now >= nextAt && (failed || sent < settings.probeAttempts());
  }

  /** A probe goes out now. */
  int send(long now) {
    sent++;
    nextAt = now + (failed ? settings.longestWaitNs() : settings.probeWaitNs());
    return ++number;
  }

  /** Takes an answer; only one to the newest probe, which arrived whole, counts. */
  void onAnswer(int answered, int size, long now) {
    if (active() && answered == number && size == settings.maxDatagram()) {
      left--;
      number++; // a doubled answer is to a probe that is over
      nextAt = now;
    }
  }

  long deadline() {
    return active() ? nextAt : Sender.NEVER;
  }
}
