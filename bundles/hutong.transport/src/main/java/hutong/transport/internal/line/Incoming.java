// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.platform.abi.Abi;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowSettings;
import java.nio.ByteBuffer;

/**
 * The direction that this host's program receives, round by round: the agent is the producer of the
 * program's ring, and mirrors the rounds of the far program's writer.
 *
 * <pre>
 *   TCP     the program has not armed
 *   ARMED   it has; the far program may start
 *   LIGHT   the far program has started: the flow runs
 *   LEFT    nothing more is shown: the far program goes on by TCP from an agreed offset on; or it
 *           went away before, and the rest is shown after all
 * </pre>
 */
final class Incoming {
  /** What the direction is at. */
  enum Phase {
    /** By TCP. */
    TCP,
    /** The far program may start. */
    ARMED,
    /** By the light protocol. */
    LIGHT,
    /** Going back. */
    LEFT
  }

  private final LightLine line;
  private final LineWorld world;
  private final InRing ring;
  private final RoundFlow flow;
  private Phase phase = Phase.TCP;
  private int round;
  private boolean announced;
  private long start;
  private int opened;
  private int stopped;
  private long stoppedAt;
  private int marks;
  private boolean gone;
  private boolean ask;
  private long askedAt;
  private long askedReceived;
  private boolean told;
  private boolean cut;
  private boolean orphaned;
  private LineMessage.Sending peer;
  private LineMessage.Receiving far;
  private long doneBytes;

  Incoming(LightLine line, LineWorld world, InRing ring) {
    this.line = line;
    this.world = world;
    this.ring = ring;
    this.flow = RoundFlow.receiving(line, world, ring);
  }

  // ---------------------------------------------------------------- what the peer's agent says

  void onPeer(LineMessage.Sending said, LineMessage.Receiving receiving) {
    peer = said;
    far = receiving;
    ring.wish(said.wish());
    if (round != 0 && said.agreed() == round && phase == Phase.LEFT) {
      ring.accept(round);
    }
    boolean current = isCurrent();
    if (mayOpen()) {
      open();
    }
    if (said.leave() == round && phase == Phase.LIGHT) {
      leave();
    }
    if (said.agreed() == round && (marks & Abi.MARK_LEFT) != 0 && !owesRest(said)) {
      ring.writerIs(Abi.MARK_AGREED);
    }
    if (said.done() == round && round != 0 && phase != Phase.TCP) {
      over();
    }
    if (current && said.ended() && flow.flow() != null) {
      follow(WireKind.of(said.wire()));
    }
    if (current && said.ended() && phase == Phase.LEFT) {
      ring.unfreeze();
      flow.unpark();
    }
    tellEnd();
  }

  private boolean isCurrent() {
    return round != 0 && peer.started() == round && peer.done() != round;
  }

  /** A round that the program has stopped only if the far program has closed over it. */
  private boolean mayOpen() {
    return isCurrent()
        && flow.flow() == null
        && (phase == Phase.ARMED || phase == Phase.LEFT && peer.ended());
  }

  private void open() {
    if (peer.start() < 0 || peer.start() > Long.MAX_VALUE >>> 2) {
      throw new Hostile("a far round that starts at " + peer.start());
    }
    flow.peer(peer.channel(), peer.sequence(), peer.window(), peer.room());
    WireKind wire = WireKind.of(peer.wire());
    int most = world.datagramBytes(wire, line.spec().localAddress());
    boolean barred = line.barred() && phase == Phase.ARMED && !peer.ended();
    if (most < FlowSettings.LEAST_DATAGRAM && peer.ended()) {
      flow.openLater(); // it cannot come by TCP any more
      return;
    }
    if (most < FlowSettings.LEAST_DATAGRAM || barred) {
      refuse();
      return;
    }
    // Not more than what comes: should our own wire carry less some day, these still fit.
    int theirs = wire == WireKind.ETHERNET ? far.ethernetBytes() : far.udpBytes();
    flow.wire(wire, theirs < FlowSettings.LEAST_DATAGRAM ? most : Math.min(most, theirs));
    start = peer.start();
    ring.announce(round, start);
    announced = true;
    flow.open(round, true, start);
    if (phase == Phase.ARMED) {
      phase = Phase.LIGHT;
    }
    opened = round;
    line.changed();
  }

  // ---------------------------------------------------------------- after a restart

  /** Writes what cannot be read from the segment. */
  void save(ByteBuffer out) {
    out.putInt(phase.ordinal()).putInt(round).putLong(start).putInt(announced ? 1 : 0);
    flow.save(out);
    out.putInt(opened).putInt(stopped).putLong(stoppedAt).putInt(told ? 1 : 0);
    out.putInt(gone ? 1 : 0);
  }

  /** Goes on where an earlier agent stood. */
  void restore(ByteBuffer in) {
    phase = Phase.values()[in.getInt()];
    round = in.getInt();
    start = in.getLong();
    announced = in.getInt() != 0;
    boolean flowed = flow.restore(in);
    opened = in.getInt();
    stopped = in.getInt();
    stoppedAt = in.getLong();
    told = in.getInt() != 0 || ring.told();
    gone = in.getInt() != 0;
    if (round == 0 || ring.isDone(round)) {
      phase = Phase.TCP; // the page is older than that: what it names may be another line's by now
    }
    if (phase == Phase.TCP) {
      announced = false;
      flow.forget();
      return;
    }
    flow.reserveAgain();
    if (announced) {
      ring.resume(round, start);
    }
    if (flowed) {
      flow.resume(round, ring.tail());
    }
    if (phase != Phase.LEFT && ring.left(round) >= 0) {
      stopped = round; // by an earlier agent, who could not say so any more
      stoppedAt = ring.left(round);
      phase = Phase.LEFT;
    }
    if (phase == Phase.LEFT && ring.left(round) >= 0) {
      flow.park();
    }
  }

  /**
   * The wire carries smaller datagrams than this round's: the flow begins an epoch whose answers
   * fit. The sender sees to it that its data do.
   */
  private void shrink() {
    int now = world.datagramBytes(flow.wire(), line.spec().localAddress());
    if (now >= FlowSettings.LEAST_DATAGRAM && now < flow.most()) {
      flow.renew(round, flow.wire(), now, ring.tail());
    }
  }

  /**
   * The far program has closed, and its wire does not answer: its agent goes on with the round on
   * another (D5). Answers that are too large for that one are seen to when they are due.
   */
  private void follow(WireKind wire) {
    boolean there =
        wire != WireKind.NONE
            && world.datagramBytes(wire, line.spec().localAddress()) >= FlowSettings.LEAST_DATAGRAM;
    if (there && wire != flow.wire()) {
      flow.follow(wire);
      line.changed();
    }
  }

  // ---------------------------------------------------------------- back to TCP

  /** The wire went away between the two agents' messages: nothing was taken, TCP brings all. */
  private void refuse() {
    if (phase == Phase.LEFT) {
      return; // the far program is gone, and what it left has no way here
    }
    start = peer.start();
    ring.announce(round, start);
    announced = true;
    leave();
  }

  /** Agrees an offset from which on TCP goes on (D5). */
  private void leave() {
    stoppedAt = ring.leave(round);
    flow.park(); // what came from now on would be acknowledged, and not shown
    stopped = round;
    phase = Phase.LEFT;
    line.changed();
  }

  /** After a restart: nothing more is taken from the wire, unless the far program has closed. */
  void leaveAtOnce() {
    if (phase == Phase.LIGHT) {
      leave();
    }
  }

  /** Whether what the gone program wrote beyond the stop comes by the ring all the same. */
  private boolean owesRest(LineMessage.Sending said) {
    return said.ended() && said.done() != round && said.end() > Math.max(stoppedAt, said.start());
  }

  private void over() {
    doneBytes += announced ? Math.max(0, ring.consumed() - start) : 0;
    flow.close();
    phase = Phase.TCP;
    ring.done(round);
    line.changed(); // the page must not name a channel that is another line's soon
    look();
    line.ringProgram();
  }

  /** Says where the stream ends, once all before that is shown, or nobody is there to see it. */
  private void tellEnd() {
    if (told || peer == null || !peer.ended() && !flow.notes().ended) {
      return;
    }
    int how = peer.marks() & Abi.MARK_HALF_CLOSE;
    if (peer.ended() && peer.end() >= 0 && peer.started() == round && peer.done() != round) {
      boolean shown = announced && ring.tail() >= peer.end();
      if (!shown && (marks & Abi.MARK_GONE) == 0) {
        return;
      }
      if (!shown && (ring.marks() & Abi.MARK_GONE) == 0) {
        how |= Abi.MARK_CUT; // should somebody hold this end after all: never an end too early
      }
    } else if (!peer.ended()) {
      return; // the flow's END alone does not say what became of the far program
    }
    end(how);
  }

  private void end(int how) {
    told = true;
    ring.writerIs(how | Abi.MARK_SHUT | Abi.MARK_END);
    line.ringProgram();
    line.changed();
  }

  /** The rest will not come. */
  void cut() {
    told = true;
    cut = true;
    ring.writerIs(Abi.MARK_SHUT | Abi.MARK_END | Abi.MARK_CUT);
    line.ringProgram();
  }

  // ---------------------------------------------------------------- what the program does

  /** Looks at the segment. */
  void look() {
    if (phase == Phase.TCP && !line.barred() && ring.armed(Turn.next(round))) {
      if (flow.reserve()) {
        round = Turn.next(round);
        announced = false;
        phase = Phase.ARMED;
        line.changed();
      }
    }
    boolean closing = peer != null && peer.ended() && peer.started() == round;
    if (phase == Phase.LIGHT && !closing && ring.stopped(round)) {
      leave();
    } else if (phase == Phase.ARMED && stopped != round && ring.stopped(round)) {
      stopped = round; // before it began: nobody has taken anything
      stoppedAt = ring.stoppedAt(ring.tail());
      phase = Phase.LEFT;
      line.changed();
    }
    int now = ring.marks() | (gone ? Abi.MARK_GONE : 0);
    if ((now & (Abi.MARK_GONE | Abi.MARK_LEFT)) != marks) {
      marks = now & (Abi.MARK_GONE | Abi.MARK_LEFT);
      line.changed();
      tellEnd();
    }
    if ((now & Abi.MARK_FIN) != 0 && !ask) {
      ask = true;
      askedAt = world.now();
      askedReceived = received();
      line.changed();
      if (orphaned) {
        peerOver(false);
      }
    }
  }

  /** Nobody reads any more: the program's end is gone. */
  void readerGone() {
    gone = true;
    look();
  }

  /**
   * The peer's agent knows nothing of the line any more. In a round that no datagram was taken of
   * TCP may go on as if nothing had happened; whether something is missing then matters at its end.
   *
   * @param writes whether our program is on the ring with what it writes, of which nobody takes
   *     more: then it is to take TCP's end for a close, and not to wait for a word on that
   */
  void peerOver(boolean writes) {
    orphaned = true;
    if (told) {
      return; // as after each close: this end is known, and may still be to be read
    }
    if (isWhole()) {
      end(writes ? 0 : Abi.MARK_HALF_CLOSE); // nobody says that the far program does not read
    } else if (phase != Phase.TCP && (phase != Phase.ARMED || ask)) {
      cut();
    } else if (writes && phase == Phase.TCP) { // an armed round may have begun: FIN decides
      told = true;
      ring.writerIs(Abi.MARK_SHUT | Abi.MARK_END);
      line.ringProgram();
      line.changed();
    }
  }

  /** The peer is silent for good: not even TCP's end will come. */
  void peerLost() {
    if (!told) {
      cut();
    }
  }

  /** After a FIN: is the end overdue? */
  void onTime(long now) {
    if (!ask || told || now - askedAt < world.endPatienceNs()) {
      return;
    }
    boolean byTcp = phase == Phase.TCP; // whose end is the stream's
    if (byTcp || received() != askedReceived || announced && ring.consumed() < ring.tail()) {
      askedReceived = received();
      askedAt = now;
    } else if (isWhole()) {
      // The agents cannot speak, as without a host's list, and nothing is missing. Whether the far
      // program still reads TCP tells ours when it writes.
      end(Abi.MARK_HALF_CLOSE);
    } else {
      cut();
    }
  }

  /** Whether the flow itself has said where the stream ends, and all before that is shown. */
  private boolean isWhole() {
    return announced && flow.notes().ended && ring.tail() == flow.notes().endedAt;
  }

  // ---------------------------------------------------------------- the flow

  private long received() {
    return flow.flow() == null ? 0 : flow.flow().received();
  }

  /** Shows what came, and answers. */
  void produce(long now) {
    if (flow.takeOpenDue(now) && mayOpen()) {
      open();
    }
    if (!flow.routed()) {
      return;
    }
    if (!flow.fits()) {
      shrink();
    }
    flow.produce(now);
    if (ring.tail() - ring.consumed() >= ring.size() / 2) {
      ring.armWait();
      ring.consumed();
      if (flow.deadline(now) <= now) {
        flow.produce(now);
      }
    }
    tellEnd();
    if (phase == Phase.LIGHT && ring.stopped(round)) {
      look();
    }
  }

  /** Whether the flow has got other numbers since the last time, which belong into the page. */
  boolean takeResumed() {
    return flow.takeResumed();
  }

  /** When there is something to do again. */
  long deadline(long now) {
    long deadline = flow.deadline(now);
    return ask && !told ? Math.min(deadline, askedAt + world.endPatienceNs()) : deadline;
  }

  /** Whether the far agent leaves its program on TCP, by its own choice. */
  boolean unwanted() {
    return phase == Phase.TCP && peer != null && !peer.wish() && !peer.ended();
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
    return doneBytes + (announced && phase != Phase.TCP ? ring.consumed() - start : 0);
  }

  /** What the peer's agent is to know. */
  LineMessage.Receiving state() {
    byte[] here = line.spec().localAddress();
    return new LineMessage.Receiving(
        round,
        flow.channel(),
        flow.sequence(),
        world.window(),
        (int) ring.size(),
        world.datagramBytes(WireKind.ETHERNET, here),
        world.datagramBytes(WireKind.UDP, here),
        opened,
        stopped,
        stoppedAt,
        marks,
        ask,
        told && !cut,
        announced ? ring.consumed() : 0);
  }

  void close() {
    flow.close();
  }
}
