// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.ControlReader;

/**
 * The sending half of a flow: which bytes go out next, when an acknowledgement is requested, and
 * what is lost (M3.A, M3.C, M3.D, D4). Knows nothing of datagrams' bytes.
 *
 * <p>The sender is <i>stopped</i> when something is unacknowledged and nothing may be sent: W or
 * the congestion window is full, the peer has no room, or the send buffer is empty. The last
 * datagram before a stop requests an acknowledgement; T after it one more request goes out, and
 * after 3T without any answer all unacknowledged data is lost and sent again. Each silence doubles
 * both times.
 */
final class Sender {
  /** A datagram is lost when one that was sent this many later has arrived (D4). */
  static final int REORDERING = 3;

  static final long NEVER = Long.MAX_VALUE;

  /**
   * A peer that answers nothing for less than this may just have no processor, as a program on a
   * busy machine has none for some time slices of 4 ms; it has what was sent, then. Silence that
   * lasts longer speaks of the network.
   */
  static final long PAUSE_NS = 50_000_000;

  private final FlowSettings settings;
  private final SendBuffer buffer;
  private final FlowCounters counters;
  private final int mostData;
  private final AnswerClock clock;
  private final PeerCredit credit;
  private final CongestionWindow congestion;
  private final Outstanding outstanding = new Outstanding();

  private long acknowledged;
  private long nextOffset;
  private long leaveAt = NEVER;

  /** Number of the newest transmission, asks among them: the order in which things were sent. */
  private long order;

  private long newestAnswered;
  private int sinceRequest;

  /** Number of the last datagram that requested an acknowledgement. */
  private long lastAsked = -1;

  /** Number of the datagram that {@link #take} chose. */
  private long chosen;

  private boolean chosenAgain;

  Sender(FlowSettings settings, SendBuffer buffer, FlowCounters counters, int mostData) {
    this.settings = settings;
    this.buffer = buffer;
    this.counters = counters;
    this.mostData = mostData;
    this.clock = new AnswerClock(settings, counters);
    this.credit = new PeerCredit(settings, buffer);
    this.congestion = new CongestionWindow(settings);
  }

  /** Begins anew after a resume, with a fresh H-seq; what was sent past the offset is cut anew. */
  void restart(int firstSequence, long offset, long consumed, long room, long now) {
    boolean freed = consumed > credit.consumed();
    start(firstSequence, offset, consumed, room, now);
    if (freed) {
      buffer.consumedByPeer(consumed);
    }
  }

  /** Begins with that H-seq and that offset of the stream. */
  void start(int firstSequence, long offset, long consumed, long room, long now) {
    outstanding.reset(Integer.toUnsignedLong(firstSequence));
    acknowledged = offset;
    nextOffset = offset;
    credit.start(consumed, room);
    sinceRequest = 0;
    lastAsked = -1;
    newestAnswered = order;
    clock.start(now);
  }

  // ---------------------------------------------------------------- what goes out

  /**
   * Whether a data datagram may go out now. The oldest one, when it is lost for the first time,
   * does not wait for the congestion window: all that the peer holds back waits for it.
   */
  boolean canSend() {
    long first = outstanding.first();
    if (outstanding.lost() > 0 && outstanding.isLost(first) && !outstanding.wasResent(first)) {
      return true;
    }
    if (outstanding.inFlight() >= congestion.datagrams()) {
      return false;
    }
    return outstanding.lost() > 0 || outstanding.count() < settings.window() && newLength() > 0;
  }

  /** Bytes that the next new datagram carries, 0 when none may be cut. */
  private int newLength() {
    long data = dataEnd() - nextOffset;
    long room = credit.room() - nextOffset;
    long length = Math.min(mostData, Math.min(data, room));
    if (length <= 0) {
      return 0;
    }
    if (length < Math.min(mostData, data) && room < credit.size() / 2) {
      return 0; // room in crumbs would make datagrams of crumbs; the peer announces more in time
    }
    return (int) length;
  }

  private long dataEnd() {
    return Math.min(buffer.end(), leaveAt);
  }

  /**
   * Chooses what goes out next, after {@link #canSend}: lost datagrams first, as they were cut,
   * then new data as much as one MTU holds (M3.A).
   *
   * @return its number
   */
  long take(long now) {
    order++;
    chosenAgain = outstanding.lost() > 0;
    if (chosenAgain) {
      chosen = outstanding.firstLost(outstanding.first());
      outstanding.setResent(chosen, order, now);
      counters.resent++;
    } else {
      int length = newLength();
      chosen = outstanding.add(nextOffset, length, order, now);
      nextOffset += length;
      counters.dataBytesOut += length;
    }
    clock.sent(now);
    credit.stopAsking();
    return chosen;
  }

  /**
   * Whether the datagram just taken requests an acknowledgement: each W/4-th does (M3.C), and the
   * last one before a stop. Data or the peer's room running out is such a stop (M3.D), and so is a
   * congestion window smaller than W: each acknowledgement then lets few datagrams go, and not a
   * quarter of the window in a burst that a short queue drops (D4). At W itself the requests of the
   * quarters are under way already.
   */
  boolean requestsAck() {
    sinceRequest++;
    int window = congestion.datagrams();
    boolean awaited =
        window >= settings.window()
            && lastAsked >= outstanding.first()
            && !outstanding.isReceived(lastAsked);
    boolean exhausted = outstanding.lost() == 0 && newLength() == 0;
    if (sinceRequest < window / 4 && !exhausted && (awaited || canSend())) {
      return false;
    }
    sinceRequest = 0;
    lastAsked = chosen;
    if (!chosenAgain) {
      outstanding.setAsked(chosen);
    }
    return true;
  }

  long offset(long sequence) {
    return outstanding.offset(sequence);
  }

  int length(long sequence) {
    return outstanding.length(sequence);
  }

  /** H-seq of the next new datagram, which control datagrams show without taking it (D4). */
  int nextSequence() {
    return (int) outstanding.next();
  }

  int nextIndex() {
    return (int) nextOffset;
  }

  // ---------------------------------------------------------------- time

  /** Runs the rules of T and 3T; to be called before anything is sent. */
  void onTime(long now) {
    if (stopped() && clock.lostDue(now)) {
      clock.silent(now);
      boolean pause = settings.adaptive() && clock.silentNs(now) < PAUSE_NS;
      if (!pause) {
        congestion.onSilence(order);
      }
      for (long s = outstanding.first(); s < outstanding.next(); s++) {
        if (outstanding.isInFlight(s)) {
          outstanding.setLost(s);
          if (pause) {
            break; // the oldest alone; should others be lost too, the answer will name them
          }
        }
      }
    }
    if (waitsForCredit()) {
      credit.startAsking(now);
    }
  }

  /** Whether a request without data is due: T after a stop, or for want of credit. */
  boolean askDue(long now) {
    return stopped() ? clock.askDue(now) : waitsForCredit() && now >= credit.askAt();
  }

  /** The request goes out now. */
  int ask(long now) {
    order++;
    if (!stopped()) {
      credit.asked(now);
    }
    return clock.ask(order, stopped(), now);
  }

  /** When {@link #onTime} or {@link #askDue} changes by time alone. */
  long deadline() {
    if (stopped()) {
      return clock.deadline();
    }
    return waitsForCredit() ? credit.askAt() : NEVER;
  }

  private boolean stopped() {
    return outstanding.count() > 0 && !canSend();
  }

  /**
   * Whether progress hangs on news about the peer's program alone, which may have got lost: the
   * peer has no room, or its unread bytes fill more than a quarter of our program's buffer.
   */
  private boolean waitsForCredit() {
    if (outstanding.count() > 0 || canSend()) {
      return false;
    }
    return dataEnd() > nextOffset
        || credit.consumed() < acknowledged
            && buffer.end() - credit.consumed() > buffer.capacity() / 4
            && leaveAt == NEVER;
  }

  // ---------------------------------------------------------------- what comes in

  /**
   * Whether H-ackseq and H-ackidx may be believed. Older ones than known are harmless.
   *
   * @return false when they acknowledge what was never sent
   */
  boolean plausible(int ackSequence, int ackIndex) {
    int ahead = ackSequence - (int) outstanding.first();
    if (ahead < 0) {
      return true;
    }
    if (ahead > outstanding.count()) {
      return false;
    }
    return ackIndex == (int) boundary(outstanding.first() + ahead);
  }

  /** Stream offset at which the datagram with that number begins. */
  private long boundary(long sequence) {
    return sequence == outstanding.next() ? nextOffset : outstanding.offset(sequence);
  }

  /** How much of the round trip that the next answer ends was spent at this end. */
  void spentHere(long ns) {
    congestion.spentHere(ns);
  }

  /** Takes the acknowledgement of any datagram's header. */
  void onHeader(int ackSequence, long now) {
    int ahead = ackSequence - (int) outstanding.first();
    if (ahead <= 0) {
      return;
    }
    int flight = outstanding.inFlight();
    long sample = -1;
    for (int i = 0; i < ahead; i++) {
      long s = outstanding.first();
      noteArrival(s, now);
      if (outstanding.asked(s) && !outstanding.wasResent(s) && !outstanding.isReceived(s)) {
        sample = now - outstanding.sentAt(s);
      }
      outstanding.removeFirst();
    }
    acknowledged = boundary(outstanding.first());
    congestion.onAcknowledged(ahead, flight, clock.smoothNs());
    if (sample >= 0) {
      clock.measured(sample);
    }
    clock.answered(now);
    if (outstanding.count() > 0) {
      clock.progressed(now);
    } else {
      clock.settled();
    }
    findLost(REORDERING);
  }

  /** Takes {@link Control#MISSING}: all below {@code seen} that no range names has arrived. */
  void onMissing(int ackSequence, ControlReader control, long now) {
    int behind = (int) outstanding.first() - ackSequence;
    if (behind < 0) {
      return; // it was checked before: nothing lies ahead of what is acknowledged by it
    }
    boolean news = false;
    int relative = 0;
    for (int i = 0; i <= control.rangeCount(); i++) {
      int until = i < control.rangeCount() ? control.rangeFirst(i) : control.seen();
      for (; relative < until; relative++) {
        news |= arrived(outstanding.first() + relative - behind, now);
      }
      if (i < control.rangeCount()) {
        relative = until + control.rangeLength(i);
      }
    }
    if (news) {
      clock.answered(now);
      findLost(REORDERING);
    }
  }

  private boolean arrived(long sequence, long now) {
    if (sequence < outstanding.first()
        || sequence >= outstanding.next()
        || outstanding.isReceived(sequence)) {
      return false;
    }
    noteArrival(sequence, now);
    outstanding.setReceived(sequence);
    return true;
  }

  /** Takes {@link Control#ECHO}, after the other items of the same datagram. */
  void onEcho(int number, long now) {
    if (!clock.echoed(number, now)) {
      return;
    }
    if (outstanding.count() == 0) {
      clock.settled();
    }
    // the ask was sent T after the last datagram: whatever it overtook is not merely late
    newestAnswered = Math.max(newestAnswered, clock.askOrder());
    findLost(1);
  }

  /** Takes {@link Control#CREDIT}; its plausibility has been checked. */
  void onCredit(long consumed, long room) {
    if (credit.take(consumed, room) && outstanding.count() == 0) {
      clock.settled();
    }
  }

  private void noteArrival(long sequence, long now) {
    if (outstanding.isReceived(sequence)) {
      return;
    }
    boolean ambiguous =
        outstanding.wasResent(sequence) && now - outstanding.sentAt(sequence) < clock.leastNs();
    if (!ambiguous) {
      newestAnswered = Math.max(newestAnswered, outstanding.order(sequence));
    }
  }

  private void findLost(int reordering) {
    for (long s = outstanding.first(); s < outstanding.next(); s++) {
      if (outstanding.isInFlight(s) && outstanding.order(s) + reordering <= newestAnswered) {
        if (congestion.onLost(outstanding.order(s), order)) {
          counters.lossEvents++;
        }
        outstanding.setLost(s);
      }
    }
  }

  // ---------------------------------------------------------------- leaving

  /**
   * Sends nothing from that offset on, and forgets what was sent past it (D5).
   *
   * @param delivered whether the peer is known to have all before it
   */
  void leave(long offset, boolean delivered) {
    leaveAt = offset;
    while (outstanding.count() > 0 && outstanding.offset(outstanding.next() - 1) >= offset) {
      nextOffset = outstanding.offset(outstanding.next() - 1);
      outstanding.removeLast();
    }
    if (nextOffset > offset) {
      outstanding.shortenLast((int) (offset - outstanding.offset(outstanding.next() - 1)));
      nextOffset = offset;
    }
    if (delivered) {
      while (outstanding.count() > 0) {
        outstanding.removeFirst();
      }
      nextOffset = offset;
      acknowledged = offset;
      clock.settled();
    }
  }

  /** Whether the direction leaves the wire, or has left it. */
  boolean leaves() {
    return leaveAt != NEVER;
  }

  /** First offset that the peer has not acknowledged. */
  long acknowledged() {
    return acknowledged;
  }

  /** First offset that was never sent. */
  long nextOffset() {
    return nextOffset;
  }

  /** First offset that the peer's program has not consumed, as far as is known. */
  long peerConsumed() {
    return credit.consumed();
  }

  long unansweredSince() {
    return clock.unansweredSince();
  }

  /** How long an answer may take before it counts as missing. */
  long patienceNs(int attempts) {
    return clock.patienceNs(attempts);
  }

  int congestionWindow() {
    return congestion.datagrams();
  }
}
