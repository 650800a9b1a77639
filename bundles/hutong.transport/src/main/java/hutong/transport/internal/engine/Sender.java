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

  private final FlowSettings settings;
  private final SendBuffer buffer;
  private final FlowCounters counters;
  private final int mostData;
  private final RoundTrip roundTrip;
  private final CongestionWindow congestion;
  private final Outstanding outstanding = new Outstanding();

  private long acknowledged;
  private long nextOffset;
  private long peerConsumed;
  private long peerRoom;
  private long leaveAt = NEVER;

  /** Number of the newest transmission, asks among them: the order in which things were sent. */
  private long order;

  private long newestAnswered;
  private int sinceRequest;

  /** Number of the last datagram that requested an acknowledgement. */
  private long lastAsked = -1;

  /** The time of the last transmission of data or of the last answer, whichever is later. */
  private long quietSince;

  private int silences;
  private boolean askedAgain;
  private int askNumber;
  private long askOrder;
  private long askSentAt;
  private boolean askOpen;

  private long creditAskAt = NEVER;
  private int creditAsks;

  /** Since when something waits for an answer without progress; NEVER when nothing does. */
  private long unansweredSince = NEVER;

  /** Number of the datagram that {@link #take} chose. */
  private long chosen;

  private boolean chosenAgain;

  Sender(FlowSettings settings, SendBuffer buffer, FlowCounters counters, int mostData) {
    this.settings = settings;
    this.buffer = buffer;
    this.counters = counters;
    this.mostData = mostData;
    this.roundTrip = new RoundTrip(settings);
    this.congestion = new CongestionWindow(settings);
  }

  /** Begins anew after a resume, with a fresh H-seq; what was sent past the offset is cut anew. */
  void restart(int firstSequence, long offset, long consumed, long room, long now) {
    boolean freed = consumed > peerConsumed;
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
    peerConsumed = consumed;
    peerRoom = room;
    sinceRequest = 0;
    lastAsked = -1;
    newestAnswered = order;
    unansweredSince = NEVER;
    creditAskAt = NEVER;
    askOpen = false;
    answered(now);
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
    long room = peerRoom - nextOffset;
    long length = Math.min(mostData, Math.min(data, room));
    if (length <= 0) {
      return 0;
    }
    if (length < Math.min(mostData, data) && room < (peerRoom - peerConsumed) / 2) {
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
    quietSince = now;
    askedAgain = false;
    creditAskAt = NEVER;
    creditAsks = 0;
    if (unansweredSince == NEVER) {
      unansweredSince = now;
    }
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
    if (stopped() && now - quietSince >= roundTrip.lostAfterNs(silences)) {
      silences++;
      counters.silences++;
      congestion.onSilence(order);
      for (long s = outstanding.first(); s < outstanding.next(); s++) {
        if (outstanding.isInFlight(s)) {
          outstanding.setLost(s);
        }
      }
      quietSince = now;
      askedAgain = false;
    }
    if (waitsForCredit() && creditAskAt == NEVER) {
      creditAskAt = now + creditWaitNs();
    }
  }

  /** Whether a request without data is due: T after a stop, or for want of credit. */
  boolean askDue(long now) {
    if (stopped()) {
      return !askedAgain && now - quietSince >= roundTrip.askAfterNs(silences);
    }
    return waitsForCredit() && now >= creditAskAt;
  }

  /** The request goes out now. */
  int ask(long now) {
    askNumber++;
    askOrder = ++order;
    askSentAt = now;
    askOpen = true;
    counters.asksOut++;
    if (stopped()) {
      askedAgain = true;
    } else {
      creditAsks++;
      creditAskAt = now + creditWaitNs();
    }
    if (unansweredSince == NEVER) {
      unansweredSince = now;
    }
    return askNumber;
  }

  /** When {@link #onTime} or {@link #askDue} changes by time alone. */
  long deadline() {
    if (stopped()) {
      long lost = quietSince + roundTrip.lostAfterNs(silences);
      return askedAgain ? lost : Math.min(lost, quietSince + roundTrip.askAfterNs(silences));
    }
    return waitsForCredit() ? creditAskAt : NEVER;
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
        || peerConsumed < acknowledged
            && buffer.end() - peerConsumed > buffer.capacity() / 4
            && leaveAt == NEVER;
  }

  private long creditWaitNs() {
    return Math.min(
        2 * FlowSettings.MOST_WAIT_NS << Math.min(creditAsks, 20), settings.longestWaitNs());
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
    congestion.onAcknowledged(ahead, flight);
    if (sample >= 0) {
      measured(sample);
    }
    answered(now);
    unansweredSince = outstanding.count() > 0 ? now : NEVER;
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
      answered(now);
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
    if (!askOpen || number != askNumber) {
      return;
    }
    askOpen = false;
    measured(now - askSentAt);
    answered(now);
    if (outstanding.count() == 0) {
      unansweredSince = NEVER;
    }
    // the ask was sent T after the last datagram: whatever it overtook is not merely late
    newestAnswered = Math.max(newestAnswered, askOrder);
    findLost(1);
  }

  /** Takes {@link Control#CREDIT}; its plausibility has been checked. */
  void onCredit(long consumed, long room) {
    if (room <= peerRoom && consumed <= peerConsumed) {
      return;
    }
    creditAskAt = NEVER;
    creditAsks = 0;
    if (outstanding.count() == 0) {
      unansweredSince = NEVER;
    }
    peerRoom = Math.max(peerRoom, room);
    if (consumed > peerConsumed) {
      peerConsumed = consumed;
      buffer.consumedByPeer(consumed);
    }
  }

  /** Whether a credit contradicts what is acknowledged, or promises more than a buffer can hold. */
  boolean plausibleCredit(long consumed, long room) {
    return consumed >= 0
        && consumed <= acknowledged
        && room >= consumed
        && room - consumed <= FlowStart.MOST_BYTES;
  }

  private void noteArrival(long sequence, long now) {
    if (outstanding.isReceived(sequence)) {
      return;
    }
    boolean ambiguous =
        outstanding.wasResent(sequence) && now - outstanding.sentAt(sequence) < roundTrip.leastNs();
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

  private void measured(long ns) {
    roundTrip.sample(ns);
    counters.roundTripNs = roundTrip.smoothNs();
  }

  private void answered(long now) {
    silences = 0;
    askedAgain = false;
    quietSince = now;
  }

  // ---------------------------------------------------------------- leaving

  /** Sends nothing from that offset on, and forgets what was sent past it (D5). */
  void leave(long offset) {
    leaveAt = offset;
    while (outstanding.count() > 0 && outstanding.offset(outstanding.next() - 1) >= offset) {
      nextOffset = outstanding.offset(outstanding.next() - 1);
      outstanding.removeLast();
    }
    if (nextOffset > offset) {
      outstanding.shortenLast((int) (offset - outstanding.offset(outstanding.next() - 1)));
      nextOffset = offset;
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
    return peerConsumed;
  }

  long unansweredSince() {
    return unansweredSince;
  }

  /** How long an answer may take before it counts as missing. */
  long patienceNs(int attempts) {
    return roundTrip.lostAfterNs(attempts);
  }

  int congestionWindow() {
    return congestion.datagrams();
  }
}
