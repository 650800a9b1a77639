// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.intercept.Reason;
import hutong.platform.abi.Abi;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowSettings;
import java.nio.ByteBuffer;

/**
 * The direction that this host's program sends, round by round: the agent is the consumer of the
 * program's ring, and mirrors the rounds of the far program's reader.
 *
 * <pre>
 *   TCP      the far program has not armed, or the path is not wanted
 *   ARMED    this host's program may go to the ring
 *   STARTED  it has; the peer is told S and opens its flow
 *   LIGHT    the flow runs
 *   STOPPED  the program goes back to TCP from an agreed offset on; the flow waits, in case that it
 *            goes away before it has sent what it owes
 * </pre>
 */
final class Outgoing {
  /** What the direction is at. */
  enum Phase {
    /** By TCP. */
    TCP,
    /** The program may start. */
    ARMED,
    /** S is told. */
    STARTED,
    /** By the light protocol. */
    LIGHT,
    /** Going back. */
    STOPPED
  }

  /** How long a stopped program has to send what it owes before the agent does so. */
  private static final long PAY_NS = 20_000_000;

  /** How long until more is paid, where TCP has taken some ... */
  private static final long PAY_MORE_NS = 2_000_000;

  /** ... and where it takes nothing, at most. */
  private static final long LONGEST_PAY_NS = 160_000_000;

  /** How long a closed program's wire may leave all unanswered when there is another one. */
  private static final long CHANGE_NS = 3_000_000_000L;

  /** As long as TCP sends again what nobody answers (tcp_retries2 of tcp(7): 924.6 s). */
  private static final long GIVE_UP_NS = 924_600_000_000L;

  /**
   * After so many datagrams with a MAC a round ends, long before H-seq comes round: the one before
   * that has the same number, and with equal lengths the same H-idx, would be taken again (D6).
   */
  static final long MOST_SEALED = 1L << 31;

  private final LightLine line;
  private final LineWorld world;
  private final OutRing ring;
  private final RoundFlow flow;
  private Phase phase = Phase.TCP;
  private int round;
  private LineMessage.Receiving peer;
  private long start;
  private int started;
  private int leave;
  private int agreed;
  private int done;
  private int marks;
  private boolean ended;
  private long end = -1;
  private boolean delivered;
  private boolean smaller;
  private long doneBytes;
  private final PathChoice choice;
  private final PathChoice.Stream stream;
  private Reason reason = Reason.NONE;
  private boolean pays;
  private boolean leaves;
  private long payAt = Long.MAX_VALUE;
  private long payNs;
  private boolean peerOver;
  private long changedAt = Long.MIN_VALUE;
  private long failedAt = Long.MAX_VALUE;
  private long untakenSince = Long.MAX_VALUE;

  Outgoing(LightLine line, LineWorld world, OutRing ring) {
    this.line = line;
    this.world = world;
    this.ring = ring;
    this.flow = RoundFlow.sending(line, world, ring);
    this.choice = world.pathChoice();
    this.stream = new PathChoice.Stream(line.spec().peer());
  }

  // ---------------------------------------------------------------- what the peer's agent says

  void onPeer(LineMessage.Receiving said) {
    peer = said;
    ring.readerIs(said.marks() & (Abi.MARK_GONE | Abi.MARK_LEFT));
    arm();
    if (mayOpen()) {
      open();
    }
    if (round != 0 && said.stopped() == round && phase != Phase.TCP) {
      stop(said.stoppedAt());
    }
    if (flow.flow() != null
        && theirBytes(flow.wire()) > 0
        && theirBytes(flow.wire()) < flow.most()) {
      smaller = true; // their interface has got another MTU
    }
    if (started == round && isStarted() && said.armed() == round && said.consumed() > ring.head()) {
      ring.consumedByPeer(said.consumed());
    }
    if (said.ask()) {
      checkEnd();
    }
    if (said.told() && ended && !delivered) {
      delivered = true;
      line.changed();
    }
  }

  /** Whether our program is on the ring, and nobody has stopped it there. */
  boolean carries() {
    return started == round && (phase == Phase.STARTED || phase == Phase.LIGHT) && !ended;
  }

  /** Whether our program has bytes on the ring that nobody takes any more. */
  boolean stranded() {
    long taken = flow.flow() == null ? start : flow.flow().acknowledged();
    return peerOver && carries() && ring.tail() > taken;
  }

  /** The far program is gone: nobody reads any more. */
  void peerOver() {
    peerOver = true;
    ring.readerIs(Abi.MARK_GONE);
  }

  private boolean mayOpen() {
    return peer.opened() == round && flow.flow() == null && started == round && isStarted();
  }

  private boolean isStarted() {
    return phase == Phase.STARTED || phase == Phase.LIGHT || phase == Phase.STOPPED;
  }

  /** The far program has armed: does ours get to the ring? Also called when the path may change. */
  void arm() {
    if (phase != Phase.TCP || ended || peer == null || peerOver) {
      return;
    }
    WireKind wire = way();
    int next = Turn.next(round);
    if (peer.armed() != next) {
      return;
    }
    if (peer.stopped() == next) {
      passOver(next);
      return;
    }
    if (wire == WireKind.NONE) {
      return;
    }
    if (peer.room() < Abi.PAGE) {
      throw new Hostile("a ring of " + peer.room());
    }
    flow.peer(peer.channel(), peer.sequence(), peer.window(), peer.room());
    if (!flow.reserve()) {
      return;
    }
    flow.wire(wire, mostNow(wire));
    round = next;
    phase = Phase.ARMED;
    world.save(line); // what is armed, an agent after us must not arm again
    ring.arm(round);
    ring.armWait();
    look();
  }

  /**
   * The peer's program has stopped the round before ours had heard of it, maybe long ago: its agent
   * has nothing more to say, and waits for its end. Ours never gets there.
   */
  private void passOver(int next) {
    ring.armStopped(next, Math.max(peer.stoppedAt(), start));
    round = next;
    phase = Phase.STOPPED;
    settleStop();
  }

  /** The wire to go to now; if there is none, {@link #reason} says why. */
  private WireKind way() {
    WireKind wire = WireKind.NONE;
    if (line.barred()) {
      reason = Reason.UNSEALED;
    } else if (choice != null && !pays) {
      reason = Reason.PATH;
    } else {
      wire = world.choose(line, peer.ethernetBytes(), peer.udpBytes());
      reason = wire == WireKind.NONE ? world.noWire() : Reason.NONE;
    }
    return wire;
  }

  /** What keeps the direction on TCP; {@link Reason#NONE} if it is about to move. */
  Reason reason() {
    return reason;
  }

  private void open() {
    flow.wire(flow.wire(), mostNow(flow.wire()));
    if (!flow.wide() && ended) {
      flow.openLater(); // TCP takes nothing any more: it must go there
      return;
    }
    if (!flow.wide() || !ended && (line.barred() || !isWanted())) {
      leave = round; // the wire went away meanwhile, or is not to be used
      line.changed();
      return;
    }
    flow.open(round, world.probed(flow.wire(), line, flow.most()), start);
    if (phase == Phase.STARTED) {
      phase = Phase.LIGHT;
    }
    world.save(line); // an agent after us must not open it anew
    if (choice != null) {
      choice.onLight(stream, start, received(), world.now());
    }
    if (ended && end >= 0) {
      flow.flow().end(end, world.now());
    }
  }

  /** Whether there is a wire that may be used. */
  private boolean isWanted() {
    return world.choose(line, peer.ethernetBytes(), peer.udpBytes()) != WireKind.NONE;
  }

  /** The largest datagram that the peer's agent offers on a wire. */
  private int theirBytes(WireKind wire) {
    return wire == WireKind.ETHERNET ? peer.ethernetBytes() : peer.udpBytes();
  }

  private int mostNow(WireKind wire) {
    return Math.min(world.datagramBytes(wire, line.spec().localAddress()), theirBytes(wire));
  }

  /**
   * The wire carries smaller datagrams than this round's. What was cut for the old size is not cut
   * anew (D4): the program goes back to TCP. What a closed one has left cannot; for that the flow
   * begins an epoch with the smaller size, as after a restart.
   */
  private void shrink() {
    if (!ended) {
      leaveWire();
      return;
    }
    int now = peer == null ? 0 : mostNow(flow.wire());
    if (now < FlowSettings.LEAST_DATAGRAM) {
      return; // there is no wire at all now
    }
    smaller = false;
    if (now < flow.most()) {
      flow.renew(round, flow.wire(), now, ring.head());
      onResumed();
    }
  }

  /**
   * What a closed program has left cannot go by TCP: where its wire does not answer, and there is
   * another, it goes there, in an epoch of its own (D5). Sooner than a wire is given up, for the
   * reader does not wait much longer than that.
   */
  private void change(long now) {
    if (now < changeAt()) {
      return;
    }
    changedAt = now;
    failedAt = Long.MAX_VALUE;
    boolean ethernet = flow.wire() == WireKind.ETHERNET;
    WireKind other =
        world.choose(line, ethernet ? 0 : peer.ethernetBytes(), ethernet ? peer.udpBytes() : 0);
    int bytes = other == WireKind.NONE ? 0 : mostNow(other);
    if (bytes >= FlowSettings.LEAST_DATAGRAM) {
      world.noteLeft(flow.wire(), line);
      flow.renew(round, other, bytes, ring.head());
      onResumed();
      line.changed();
    }
  }

  /** When that is due: no answer, and the other wire was not tried just before. */
  private long changeAt() {
    if (!ended || peer == null || peerOver || !flow.routed()) {
      return Long.MAX_VALUE;
    }
    long since = Math.min(flow.flow().unansweredSince(), failedAt);
    return since == Long.MAX_VALUE ? since : Math.max(since, changedAt) + CHANGE_NS;
  }

  // ---------------------------------------------------------------- after a restart

  /** Writes what cannot be read from the segment. */
  void save(ByteBuffer out) {
    out.putInt(phase.ordinal()).putInt(round).putInt(started).putLong(start);
    flow.save(out);
    out.putInt(leave).putInt(agreed).putInt(done).putInt(ended ? 1 : 0).putLong(end);
  }

  /** Goes on where an earlier agent stood. */
  void restore(ByteBuffer in) {
    phase = Phase.values()[in.getInt()];
    round = in.getInt();
    started = in.getInt();
    start = in.getLong();
    boolean flowed = flow.restore(in);
    flow.reserveAgain();
    leave = in.getInt();
    agreed = in.getInt();
    done = in.getInt();
    ended = in.getInt() != 0;
    end = in.getLong();
    if (phase == Phase.ARMED && !ring.armed(round)) {
      ring.arm(round);
    }
    if (started == round && isStarted()) {
      ring.resume(start);
    }
    if (flowed) {
      flow.resume(round, ring.head());
      onResumed();
    }
    if (agreed == round && round != 0 && !ended) {
      agreed = 0; // the peer says the offset again; until then nothing more is sent
      ring.hold();
      flow.park();
    }
  }

  private long received() {
    return line.spec().program().received();
  }

  private void onResumed() {
    if (choice != null) {
      choice.onLight(stream, ring.head(), received(), world.now());
    }
    if (ended && end >= 0) {
      flow.flow().end(end, world.now());
    }
  }

  // ---------------------------------------------------------------- back to TCP

  private void stop(long offset) {
    if (agreed == round) {
      return;
    }
    if (ended || !ring.stop(round, Math.max(offset, start))) {
      return; // it has closed: all of it is delivered, whatever the reader has said
    }
    phase = Phase.STOPPED;
    flow.park();
    settleStop();
  }

  /** The program is to send by TCP what it owes. */
  private void settleStop() {
    agreed = round;
    payNs = PAY_NS;
    payAt = world.now() + payNs;
    line.ringProgram();
    line.changed();
  }

  /** The program has been told, and has not sent all that it owes: it may make no call for long. */
  private void pay(long now) {
    if (phase != Phase.STOPPED || ended || now < payAt) {
      return;
    }
    boolean paid = !ring.done(round) && line.spec().program().pay(ring.debt(round));
    if (paid) {
      line.ringProgram(); // who sleeps must look again
    }
    payNs = paid ? PAY_MORE_NS : Math.min(2 * payNs, LONGEST_PAY_NS);
    payAt = now + payNs;
    if (ring.done(round)) {
      over();
    }
  }

  // ---------------------------------------------------------------- what the program does

  /** Looks at the segment. */
  void look() {
    if (phase == Phase.ARMED && ring.announced(round)) {
      begin();
      phase = Phase.STARTED;
    }
    if (started == round && isStarted()) {
      ring.look();
    }
    if (phase == Phase.STOPPED && ring.done(round)) {
      over();
    }
    if (choice != null && phase == Phase.TCP) {
      long sent = line.spec().program().sentByTcp();
      boolean now = choice.onTcp(stream, sent, received(), world.now());
      if (now && !pays) {
        pays = true;
        line.changed();
      }
      arm();
    }
    int said = ring.marks();
    if ((said & Abi.MARK_BACK) != 0 && isStarted() && phase != Phase.STOPPED && leave != round) {
      leaveWire();
    }
    if ((said & (Abi.MARK_SHUT | Abi.MARK_HALF_CLOSE)) != marks) {
      marks = said & (Abi.MARK_SHUT | Abi.MARK_HALF_CLOSE);
      line.changed();
    }
    if ((marks & Abi.MARK_SHUT) != 0) {
      checkEnd();
    }
  }

  private void begin() {
    start = ring.takeUp(round);
    started = round;
    line.changed();
  }

  /**
   * What has not arrived when the program is stopped, it sends at its next call: we go only when
   * there is nothing of that, or so much that the next call is under way. What its peer's program
   * has read does not matter, and may not be known.
   */
  private boolean atRestOrBusy() {
    return flow.flow().acknowledged() == ring.tail()
        || ring.tail() - ring.head() >= ring.capacity() / 2;
  }

  /** Wants the program back on TCP. */
  void leaveWire() {
    if (isStarted() && phase != Phase.STOPPED && !ended && leave != round) {
      leave = round;
      line.changed();
    }
  }

  /** The same, and nothing more is sent or believed on the wire until the far end has stopped. */
  void leaveAtOnce() {
    leaveWire();
    if (flow.flow() != null && leave == round && !ended && phase != Phase.STOPPED) {
      ring.hold();
      flow.park();
    }
  }

  private void over() {
    done = round;
    smaller = false;
    pays = false;
    leaves = false;
    doneBytes += flow.flow() == null ? 0 : Math.max(0, ring.head() - start);
    flow.close();
    phase = Phase.TCP;
    line.changed();
    arm();
  }

  /** Can anybody write still? If not, what is in the ring now is all. */
  void checkEnd() {
    if (ended || !line.finSent()) {
      return;
    }
    ended = true;
    changedAt = world.now(); // what was silent before says nothing of the wire now
    failedAt = Long.MAX_VALUE;
    if (phase == Phase.ARMED || phase == Phase.STOPPED) {
      // It may have started just before it closed, or have been stopped in that moment.
      if (started != round && ring.announced(round)) {
        begin();
        phase = Phase.STARTED;
      }
    }
    // A round that the program has ended is over for it at once, but its bytes are in the ring.
    if (started == round && (ring.turnIs(round, Abi.TURN_ENDED) || !ring.done(round))) {
      ring.unlimited(); // also what it owed to TCP
      flow.unpark();
      end = ring.tail();
      if (flow.flow() != null) {
        flow.flow().end(end, world.now());
      }
    }
    if (peer != null && mayOpen()) {
      flow.openLater(); // it was refused while TCP could have taken the bytes
    }
    line.changed();
  }

  // ---------------------------------------------------------------- the flow

  /** Sends what there is, and notes what the flow has told. */
  void produce(long now) {
    pay(now);
    if (flow.takeOpenDue(now) && mayOpen()) {
      open();
    }
    awaitPeer(now);
    if (!flow.routed()) {
      return;
    }
    if (smaller || !flow.fits()) {
      shrink();
    }
    ring.look();
    flow.produce(now);
    if (!ended && flow.flow().sent() >= ring.end()) {
      ring.armWait();
      if (ring.look()) {
        flow.produce(now);
      }
    }
    if (choice != null
        && now >= choice.due(stream)
        && choice.onTime(stream, flow.flow().acknowledged(), received(), now)) {
      leaves = true;
    }
    if (leaves && atRestOrBusy()) {
      leaves = false;
      leaveWire();
    }
    FlowNotes notes = flow.notes();
    if (notes.probed) {
      notes.probed = false;
      failedAt = Long.MAX_VALUE;
      world.noteProbed(flow.wire(), line, flow.most());
    }
    if (notes.failure != null) {
      notes.failure = null;
      world.noteFailed(flow.wire(), line);
      leaveWire();
      failedAt = now - CHANGE_NS;
    }
    change(now);
    long silentSince = flow.flow().unansweredSince();
    if (!peerOver && silentSince != Long.MAX_VALUE && now - silentSince >= GIVE_UP_NS) {
      line.peerLost();
    }
    if (line.authenticates() && flow.flow().counters().datagramsOut > MOST_SEALED) {
      leaveWire();
    }
  }

  /** The program is on the ring, and the peer's agent has not said yet that it takes the round. */
  private void awaitPeer(long now) {
    boolean waits = phase == Phase.STARTED && flow.flow() == null && ring.tail() > start;
    untakenSince = waits && !peerOver ? Math.min(untakenSince, now) : Long.MAX_VALUE;
    if (untakenSince != Long.MAX_VALUE && now - untakenSince >= GIVE_UP_NS) {
      line.peerLost();
    }
  }

  /** Whether the flow has got other numbers since the last time, which belong into the page. */
  boolean takeResumed() {
    return flow.takeResumed();
  }

  /** When there is something to do again. */
  long deadline(long now) {
    if (!flow.routed()) {
      long deadline = phase == Phase.STOPPED && !ended ? payAt : flow.deadline(now);
      long since = untakenSince;
      return since == Long.MAX_VALUE ? deadline : Math.min(deadline, since + GIVE_UP_NS);
    }
    long deadline = Math.min(flow.deadline(now), changeAt());
    return choice == null ? deadline : Math.min(deadline, choice.due(stream));
  }

  /** Whether bytes of a closed program have not come to the far agent. */
  boolean left() {
    return ended && flow.flow() != null && flow.flow().acknowledged() < end;
  }

  /** Whether nothing more is to be delivered. */
  boolean delivered() {
    return ended && delivered;
  }

  boolean ended() {
    return ended;
  }

  /** Whether the program has said that its FIN follows. */
  boolean shut() {
    return (marks & Abi.MARK_SHUT) != 0;
  }

  /** Whether there ever was a round. */
  boolean begun() {
    return round != 0;
  }

  Phase phase() {
    return phase;
  }

  WireKind wire() {
    return flow.wire();
  }

  Flow flow() {
    return flow.flow();
  }

  long bytes() {
    return doneBytes + (flow.flow() == null ? 0 : Math.max(0, ring.head() - start));
  }

  private boolean wish() {
    if (ended || line.barred()) {
      return false;
    }
    return choice == null ? peer == null || isWanted() : pays;
  }

  /** What the peer's agent is to know. */
  LineMessage.Sending state() {
    return new LineMessage.Sending(
        started,
        start,
        flow.channel(),
        flow.sequence(),
        world.window(),
        flow.wire().ordinal(),
        marks,
        (int) ring.capacity(),
        leave,
        agreed,
        done,
        ended,
        wish(),
        end);
  }

  void close() {
    flow.close();
  }
}
