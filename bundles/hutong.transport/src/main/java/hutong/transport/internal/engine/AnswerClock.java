// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

/**
 * The times of M3.C and M3.D: since when it is quiet, when to ask again (T), when silence means
 * loss (3T), and the requests without data themselves. Each silence in a row doubles both times
 * (D4).
 */
final class AnswerClock {
  /**
   * So many of the last requests may still be answered: with one alone, a peer that takes longer
   * than 3T would never be measured.
   */
  private static final int ASKS = 8;

  private final RoundTrip roundTrip;
  private final FlowCounters counters;

  /** The time of the last transmission of data or of the last answer, whichever is later. */
  private long quietSince;

  private int silences;

  /** Since when it is quiet, silences left out. */
  private long silentSince;

  private boolean askedAgain;
  private final long[] askOrders = new long[ASKS];
  private final long[] askedAt = new long[ASKS];

  /** Number of the last request. */
  private int askNumber;

  /** Number of the newest one that was answered. */
  private int askAnswered;

  /** Since when something waits for an answer without progress; NEVER when nothing does. */
  private long unansweredSince = Sender.NEVER;

  AnswerClock(FlowSettings settings, FlowCounters counters) {
    this.roundTrip = new RoundTrip(settings);
    this.counters = counters;
  }

  void start(long now) {
    askAnswered = askNumber;
    unansweredSince = Sender.NEVER;
    answered(now);
  }

  /** Data went out. */
  void sent(long now) {
    quietSince = now;
    askedAgain = false;
    waits(now);
  }

  private void waits(long now) {
    if (unansweredSince == Sender.NEVER) {
      unansweredSince = now;
    }
  }

  /** The peer answered something. */
  void answered(long now) {
    silences = 0;
    askedAgain = false;
    quietSince = now;
  }

  /** Something that was waited for has come, and more is awaited. */
  void progressed(long now) {
    unansweredSince = now;
  }

  /** Nothing is awaited any more. */
  void settled() {
    unansweredSince = Sender.NEVER;
  }

  /** After 3T: something is lost. */
  void silent(long now) {
    if (silences == 0) {
      silentSince = quietSince;
    }
    silences++;
    counters.silences++;
    quietSince = now;
    askedAgain = false;
  }

  /** How long the silences in a row have lasted. */
  long silentNs(long now) {
    return silences == 0 ? 0 : now - silentSince;
  }

  boolean askDue(long now) {
    return !askedAgain && now - quietSince >= roundTrip.askAfterNs(silences);
  }

  boolean lostDue(long now) {
    return now - quietSince >= roundTrip.lostAfterNs(silences);
  }

  long deadline() {
    long lost = quietSince + roundTrip.lostAfterNs(silences);
    return askedAgain ? lost : Math.min(lost, quietSince + roundTrip.askAfterNs(silences));
  }

  /**
   * A request without data goes out.
   *
   * @param order its place among all transmissions
   * @param stopped whether it is the one after T
   * @return its number
   */
  int ask(long order, boolean stopped, long now) {
    askNumber++;
    askOrders[askNumber & ASKS - 1] = order;
    askedAt[askNumber & ASKS - 1] = now;
    askedAgain |= stopped;
    counters.asksOut++;
    waits(now);
    return askNumber;
  }

  /** Whether that answers one of the last requests, and none after it was answered. */
  boolean echoed(int number, long now) {
    if (number - askAnswered <= 0 || number - askNumber > 0 || askNumber - number >= ASKS) {
      return false;
    }
    askAnswered = number;
    measured(now - askedAt[number & ASKS - 1]);
    answered(now);
    return true;
  }

  /** Place of the newest answered request among all transmissions. */
  long askOrder() {
    return askOrders[askAnswered & ASKS - 1];
  }

  void measured(long ns) {
    roundTrip.sample(ns);
    counters.roundTripNs = roundTrip.smoothNs();
  }

  /** The round trip, smoothed; 0 when none is known. */
  long smoothNs() {
    return roundTrip.smoothNs();
  }

  /** The shortest round trip seen. */
  long leastNs() {
    return roundTrip.leastNs();
  }

  long unansweredSince() {
    return unansweredSince;
  }

  /** How long an answer may take before it counts as missing. */
  long patienceNs(int attempts) {
    return roundTrip.lostAfterNs(attempts);
  }
}
