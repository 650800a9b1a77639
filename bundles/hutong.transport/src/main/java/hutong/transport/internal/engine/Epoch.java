// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.ControlReader;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import java.util.random.RandomGenerator;

/**
 * Which datagrams belong to the present epoch (H-chan, memory 3 of the switching rules). Each end
 * draws a new generation of its entry in the channel table for each epoch and announces it, so that
 * datagrams of older epochs fail the check of the generation that all datagrams go through, and the
 * header needs no field for the epoch.
 */
final class Epoch {
  /** What an announcement means. */
  enum Meaning {
    /** The epoch that holds already: the peer may lack our answer. */
    REPEATED,
    /** A new one for this end too. */
    NEWER,
    /** The peer's answer to ours, or its own announcement of the same epoch. */
    AGREED,
    /** An epoch that is over. */
    STALE
  }

  private final RandomGenerator random;
  private int number;
  private int localChannel;
  private int peerChannel;
  private int firstSequence;
  private boolean announcing;
  private boolean answerDue;
  private int sent;
  private long nextAt;
  private long since;

  Epoch(FlowStart start, RandomGenerator random) {
    this.random = random;
    number = start.epoch();
    localChannel = start.localChannel();
    peerChannel = start.peerChannel();
    firstSequence = start.firstSendSequence();
  }

  /** Begins the epoch after the one that held before this end restarted. */
  void announce(long now) {
    number++;
    renew();
    announcing = true;
    nextAt = now;
    since = now;
  }

  private void renew() {
    int generation;
    do {
      generation = random.nextInt() & 0xffff;
    } while (generation == Header.generation(localChannel));
    localChannel = Header.channel(Header.index(localChannel), generation);
    firstSequence = random.nextInt();
  }

  Meaning meaning(ControlReader control) {
    int order = Integer.compareUnsigned(control.resumeEpoch(), number);
    if (Header.index(control.resumeChannel()) != Header.index(peerChannel) || order < 0) {
      return Meaning.STALE;
    }
    if (order > 0) {
      // What this end has announced it has written down before: an answer to more than that is to
      // another line of before, whose entries of the two tables were the same.
      return control.resumeAnswer() ? Meaning.STALE : Meaning.NEWER;
    }
    if (announcing) {
      return Meaning.AGREED;
    }
    return control.resumeChannel() == peerChannel ? Meaning.REPEATED : Meaning.STALE;
  }

  /**
   * Whether an announcement agrees with what was sent: it wants nothing that the peer had already,
   * and nothing that was never sent.
   */
  static boolean plausible(ControlReader control, long acknowledged, long sent, long peerConsumed) {
    long wanted = control.resumeWanted();
    long consumed = control.resumeConsumed();
    return wanted >= acknowledged
        && wanted <= sent
        && consumed >= peerConsumed
        && control.resumeRoom() >= wanted
        && PeerCredit.plausible(consumed, control.resumeRoom(), wanted)
        && control.resumeWindow() >= FlowSettings.LEAST_WINDOW
        && control.resumeWindow() <= FlowSettings.MOST_WINDOW;
  }

  /** Takes over the peer's announcement, whose meaning is NEWER or AGREED. */
  void adopt(ControlReader control) {
    if (control.resumeEpoch() != number) {
      number = control.resumeEpoch();
      renew();
    }
    peerChannel = control.resumeChannel();
    announcing = false;
    sent = 0;
    answer(control);
  }

  /** Answers an announcement that is no answer itself. */
  void answer(ControlReader control) {
    answerDue |= !control.resumeAnswer();
  }

  /**
   * Whether that H-chan may be listened to. An announcement may come with any generation: an end
   * that was restarted more than once knows of none that holds, and neither may its peer. What it
   * says is judged by its epoch.
   */
  DropCause check(int channel, boolean announcement) {
    if (Header.index(channel) != Header.index(localChannel)) {
      return DropCause.NO_CHANNEL;
    }
    if (announcement) {
      return DropCause.NONE;
    }
    if (channel != localChannel) {
      return DropCause.WRONG_GENERATION;
    }
    return announcing ? DropCause.NOT_RESUMED : DropCause.NONE;
  }

  boolean due(long now) {
    return answerDue || announcing && now >= nextAt;
  }

  /** An announcement or answer goes out now. */
  void sent(long now, long waitNs) {
    answerDue = false;
    sent++;
    nextAt = now + waitNs;
  }

  long deadline() {
    if (answerDue) {
      return Long.MIN_VALUE;
    }
    return announcing ? nextAt : Sender.NEVER;
  }

  boolean announcing() {
    return announcing;
  }

  long unansweredSince() {
    return announcing ? since : Sender.NEVER;
  }

  int attempts() {
    return sent;
  }

  int number() {
    return number;
  }

  int localChannel() {
    return localChannel;
  }

  int peerChannel() {
    return peerChannel;
  }

  int firstSequence() {
    return firstSequence;
  }
}
