// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import java.util.HashMap;
import java.util.Map;

/**
 * Whether a sending direction pays on the light protocol: only bulk that goes one way, and only
 * while it is no slower than the same stream was on TCP just before. A stream that has kept TCP
 * busy for a while is tried on the light protocol for a moment; what that gave is remembered for
 * the peer, so that not every stream pays for the trial. One that becomes far slower than TCP was
 * is measured on TCP anew. One thread; times in nanoseconds, rates in bytes a second.
 */
final class PathChoice {
  /** How long TCP's rate is measured; shorter streams are left alone. */
  static final long MEASURE_NS = 200_000_000;

  /**
   * So many measurements in a row must be of bulk: a trial costs what only a long stream repays.
   */
  static final int LASTING = 5;

  /** How long a trial begins; then only what is far off ends it. */
  static final long BEGIN_NS = 100_000_000;

  /** The same for the first trial of all with a peer, whose way through the agent is cold. */
  static final long COLD_NS = 300_000_000;

  /**
   * Beside a TCP that is faster than this, which no agent is, both are so many times shorter: they
   * cost the stream nearly all that it would move meanwhile.
   */
  static final double FAST = 500e6;

  static final int HURRY = 3;

  /** How long it is looked at after that ... */
  static final long TRIAL_NS = 200_000_000;

  /** ... and how often at most, while it is narrowly slower: machines have bad moments. */
  static final int LOOKS = 3;

  /** How long the outcome of a trial holds, also for other streams to that VM, at most ... */
  static final long REMEMBER_NS = 60_000_000_000L;

  /**
   * ... and after a loss, doubled each time: an agent that has just started is slow for a while.
   * Only what is far slower than a fast TCP, twice, is not looked at again so soon.
   */
  static final long AGAIN_NS = 3_000_000_000L;

  /** Less than this much of TCP's rate is no narrow loss ... */
  private static final double FAR_OFF = 0.6;

  /** ... nor this in the beginning. */
  private static final double FAR_OFF_FIRST = 0.3;

  /** What is slower than this is not bulk, and stays where its round trips are shortest. */
  static final double BULK = 10e6;

  /**
   * A program that receives more than one byte for so many sent exchanges messages, as MPI does:
   * however large they are, it waits for answers, and round trips are shorter on TCP.
   */
  private static final int ONE_WAY = 4;

  /** Noise: a trial that gives this much of TCP's rate has not lost. */
  private static final double ENOUGH = 0.97;

  private static final long PAUSE_NS = 1_000_000_000;

  /** One sending direction. */
  static final class Stream {
    private final Object peer;
    private boolean light;
    private boolean judged;
    private int looks;
    private int worse;
    private boolean cold;
    private long since;
    private long from;
    private long receivedFrom;
    private int bulk;
    private long notBefore = Long.MIN_VALUE;
    private double tcpRate;

    Stream(Object peer) {
      this.peer = peer;
    }

    private void begin(long bytes, long received, long now) {
      since = now;
      from = bytes;
      receivedFrom = received;
    }

    private boolean oneWay(long bytes, long received) {
      return received - receivedFrom <= (bytes - from) / ONE_WAY;
    }
  }

  /** What a trial gave, and until when that holds. */
  private record Outcome(double rate, boolean lost, long holdsNs, long until) {}

  private final Map<Object, Outcome> outcomes = new HashMap<>();

  /**
   * The program has sent by TCP; called now and then while it does.
   *
   * @param bytes sent by TCP in all
   * @param received in all, by whatever way
   * @return whether the light protocol is to be tried, or is known to pay
   */
  boolean onTcp(Stream stream, long bytes, long received, long now) {
    long took = now - stream.since;
    if (stream.light || stream.since == 0 || took > 5 * MEASURE_NS) {
      stream.light = false;
      stream.bulk = 0;
      stream.begin(bytes, received, now);
      return false;
    }
    if (took < MEASURE_NS) {
      return false;
    }
    double rate = 1e9 * (bytes - stream.from) / took;
    boolean oneWay = stream.oneWay(bytes, received);
    stream.begin(bytes, received, now);
    stream.bulk = rate < BULK || !oneWay ? 0 : stream.bulk + 1;
    // of about the last ones: a moment's rate is noise
    stream.tcpRate += (rate - stream.tcpRate) / Math.max(1, Math.min(stream.bulk, LASTING));
    if (stream.bulk < LASTING || now < stream.notBefore) {
      return false;
    }
    Outcome known = outcomes.get(stream.peer);
    return known == null || now > known.until || known.rate >= ENOUGH * stream.tcpRate;
  }

  /** The direction has gone to the light protocol. */
  void onLight(Stream stream, long bytes, long received, long now) {
    stream.light = true;
    stream.judged = false;
    stream.looks = 0;
    stream.worse = 0;
    stream.cold = !outcomes.containsKey(stream.peer);
    stream.begin(bytes, received, now);
  }

  /**
   * Looks at a direction on the light protocol; called when {@link #due}.
   *
   * @param bytes carried by the light protocol in this round
   * @param received by the program in all, by whatever way
   * @return whether it is to go back to TCP
   */
  boolean onTime(Stream stream, long bytes, long received, long now) {
    if (now < due(stream)) {
      return false;
    }
    double rate = 1e9 * (bytes - stream.from) / (now - stream.since);
    boolean oneWay = stream.oneWay(bytes, received);
    stream.begin(bytes, received, now);
    if (rate < BULK || !oneWay) {
      stream.notBefore = now + PAUSE_NS; // not bulk any more, which says nothing of the path
      return true;
    }
    if (stream.judged) {
      // It has become far slower: the path, or the program? TCP shows which, and another trial.
      stream.worse = rate < FAR_OFF * stream.tcpRate ? stream.worse + 1 : 0;
      return stream.worse == LASTING;
    }
    if (stream.tcpRate == 0) {
      return true; // an earlier agent has tried it: there is nothing to compare with
    }
    boolean begins = stream.looks == 0;
    boolean farOff = rate < (begins ? FAR_OFF_FIRST : FAR_OFF) * stream.tcpRate;
    boolean lost = rate < ENOUGH * stream.tcpRate;
    stream.looks++;
    if (!farOff && (begins || lost && stream.looks <= LOOKS)) {
      return false;
    }
    stream.judged = true;
    long holds = lost ? afterLoss(stream, farOff) : REMEMBER_NS;
    outcomes.put(stream.peer, new Outcome(rate, lost, holds, now + holds));
    if (lost) {
      stream.notBefore = now + PAUSE_NS;
    }
    return lost;
  }

  private long afterLoss(Stream stream, boolean farOff) {
    Outcome before = outcomes.get(stream.peer);
    if (before == null || !before.lost) {
      return AGAIN_NS;
    }
    return farOff && stream.tcpRate > FAST
        ? REMEMBER_NS
        : Math.min(REMEMBER_NS, 2 * before.holdsNs);
  }

  /** What trials with that peer have given does not matter any more. */
  void forget(Object peer) {
    outcomes.remove(peer);
  }

  /** When {@link #onTime} wants to look. */
  long due(Stream stream) {
    if (!stream.light) {
      return Long.MAX_VALUE;
    }
    if (stream.judged || stream.looks > 0) {
      return stream.since + TRIAL_NS;
    }
    long begins = stream.cold ? COLD_NS : BEGIN_NS;
    return stream.since + (stream.tcpRate > FAST ? begins / HURRY : begins);
  }
}
