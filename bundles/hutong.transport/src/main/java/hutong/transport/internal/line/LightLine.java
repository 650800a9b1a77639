// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.intercept.Reason;
import hutong.api.transport.Holding;
import hutong.api.transport.LineInfo;
import hutong.api.transport.LineSpec;
import hutong.transport.internal.datagram.Seal;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowCounters;
import hutong.transport.internal.engine.FlowSettings;
import java.nio.ByteBuffer;

/**
 * One connection to a VM of another host: the agent's end of the program's segment, both
 * directions. Never throws but {@link Hostile}, after which the line must be closed. One thread.
 */
final class LightLine {
  private static final long RETRY_NS = 2_000_000;
  private static final long LONGEST_RETRY_NS = 500_000_000;

  /** How long a line whose program is gone waits for a sign of the peer's agent. */
  private static final long LINGER_NS = 60_000_000_000L;

  private static final long UNHEARD_NS = 5_000_000_000L;

  private LineSpec spec;
  private final LineWorld world;
  private final int ringSize;
  private final int overSize;
  private final Bell bell;
  private Key key;
  private Key peerKey = Key.NONE;
  private boolean authenticate;
  private boolean sealed;
  private boolean barred;
  private boolean peerBarred;
  private volatile Reason reason = Reason.NONE;
  private final Outgoing out;
  private final Incoming in;
  private boolean changed = true;
  private boolean heard;
  private boolean known;
  private boolean answer;
  private boolean missed;
  private boolean leaving;
  private boolean gone;
  private boolean peerGone;
  private long overdueAt = Long.MAX_VALUE;
  private boolean rang;
  private boolean unheard;
  private long signAt;
  private long signIn;
  private long retryAt = Long.MAX_VALUE;
  private long retryNs = RETRY_NS;

  /**
   * A line that has moved nothing.
   *
   * @param memory the segment, in host order
   */
  LightLine(
      LineSpec spec, ByteBuffer memory, int ringSize, int overSize, Bell bell, LineWorld world) {
    this.spec = spec;
    this.world = world;
    this.ringSize = ringSize;
    this.overSize = overSize;
    this.bell = bell;
    this.key = Key.random(world.random());
    this.authenticate = world.authenticate();
    this.out =
        new Outgoing(this, world, new OutRing(memory, ringSize, overSize, this::ringProgram));
    this.in = new Incoming(this, world, new InRing(memory, ringSize, this::ringProgram));
  }

  LineSpec spec() {
    return spec;
  }

  /** Another owner speaks for the same connection. */
  void spec(LineSpec newSpec) {
    spec = newSpec;
  }

  /** Bytes of a ring of its segment. */
  int ringSize() {
    return ringSize;
  }

  /** Bytes of an overflow of its segment. */
  int overSize() {
    return overSize;
  }

  /**
   * What closes and checks the datagrams of a round: with MACs where one of the two agents wants
   * them (D6). Not before the peer's agent was heard; what holds for the first round holds for all.
   *
   * @param outgoing whether this end sends the round's data
   */
  Seal seal(int round, boolean outgoing) {
    sealed = true;
    if (!authenticate) {
      return new Seal(null, null);
    }
    if (peerKey.equals(Key.NONE)) {
      throw new Hostile("no key for what is to be authenticated");
    }
    return new Seal(
        key.ofRound(round, outgoing).authenticator(),
        peerKey.ofRound(round, !outgoing).authenticator());
  }

  /**
   * Whether the line stays on TCP from now on: an earlier agent has begun it without MACs, and they
   * are wanted now (D6). What a program had written before it closed has no other way, and still
   * comes as it was agreed.
   */
  boolean barred() {
    return barred;
  }

  /** Why bytes go by TCP; see {@link hutong.api.transport.Line#reason}. Any thread. */
  Reason reason() {
    return reason;
  }

  private Reason reasonNow() {
    if (barred || peerBarred) {
      return Reason.UNSEALED;
    }
    if (out.phase() == Outgoing.Phase.TCP) {
      return unheard && !heard ? Reason.PEER_AGENT : out.reason();
    }
    return in.unwanted() ? Reason.PATH : Reason.NONE;
  }

  private void noteReason() {
    Reason now = reasonNow();
    if (now != reason) {
      reason = now;
      if (now != Reason.NONE) {
        world.noteReason(now);
      }
    }
  }

  /** Whether datagrams of this line carry MACs. */
  boolean authenticates() {
    return authenticate;
  }

  private void onKey(LineMessage message) {
    if (!sealed) {
      peerKey = message.key();
      authenticate |= message.authenticate();
    }
  }

  FlowSettings settings(int maxDatagram) {
    FlowSettings ours = FlowSettings.reference(maxDatagram).withWindow(world.window());
    return world.waitNs() == 0 ? ours : ours.withFixedWait(world.waitNs());
  }

  boolean finSent() {
    return spec.program().socket() != Holding.OPEN;
  }

  /** Something is to be told to the peer's agent. */
  void changed() {
    changed = true;
  }

  /** Wakes the program at the end of this step. */
  void ringProgram() {
    rang = true;
  }

  // ---------------------------------------------------------------- after a restart

  /** Writes what a later agent must know, beside what is in the segment. */
  void save(ByteBuffer to) {
    to.putLong(key.hi()).putLong(key.lo()).putLong(peerKey.hi()).putLong(peerKey.lo());
    to.putInt((authenticate ? 1 : 0) | (sealed ? 2 : 0) | (known || heard ? 4 : 0));
    out.save(to);
    in.save(to);
  }

  /**
   * Goes on where an earlier agent stood.
   *
   * @param from what {@link #save} wrote
   */
  void restore(ByteBuffer from) {
    key = new Key(from.getLong(), from.getLong());
    peerKey = new Key(from.getLong(), from.getLong());
    int agreed = from.getInt();
    authenticate = (agreed & 1) != 0;
    sealed = (agreed & 2) != 0;
    barred = world.authenticate() && !authenticate;
    out.restore(from);
    in.restore(from);
    known = (agreed & 4) != 0 || out.begun() || in.begun(); // a round begins with the peer's word
    if (barred) {
      out.leaveAtOnce();
      in.leaveAtOnce();
    }
    changed = true;
    ringProgram(); // it was to be rung perhaps, when the earlier agent was killed
  }

  /** Whether the page has to be written before anything else is done. */
  boolean pageDue() {
    return out.takeResumed() | in.takeResumed() | changed;
  }

  // ---------------------------------------------------------------- input

  /** The program has rung. */
  void onBell() {
    look();
  }

  private void look() {
    in.look();
    out.look();
    if (!out.ended() && retryAt == Long.MAX_VALUE && (leaving || out.shut())) {
      retryAt = world.now() + retryNs;
    }
  }

  /** The peer's agent says something about this line. */
  void onMessage(LineMessage message) {
    if (message.fresh() || !heard) {
      answer = true;
    }
    heard = true;
    sign();
    if (message.bye()) {
      if (!peerGone) {
        overdueAt = world.now() + world.endPatienceNs();
      }
      peerGone = true;
      look();
      if (!message.bare()) {
        out.onPeer(message.receiving());
        in.onPeer(message.sending(), message.receiving());
      }
      in.peerOver(message.bare() && out.carries());
      out.peerOver();
      return;
    }
    onKey(message);
    peerBarred = message.barred();
    look();
    out.onPeer(message.receiving());
    in.onPeer(message.sending(), message.receiving());
    look();
  }

  /** Neither the wires nor the link have brought anything for as long as TCP would have tried. */
  void peerLost() {
    out.peerOver();
    in.peerLost();
  }

  /** The link to the peer's agent is new: it may have missed what was said. */
  void onLink() {
    changed = true;
    unheard = false;
  }

  /** Messages of the peer's agent may have been dropped: it is to say once more what holds. */
  void onMissed() {
    missed = true;
  }

  /** Somebody speaks for the program again. */
  void onOwner() {
    leaving = false;
  }

  /** The program's end is registered no more: as soon as nobody holds the socket it is gone. */
  void onProgramGone() {
    if (!gone) {
      leaving = true;
      sign();
      look();
      onTime(world.now());
    }
  }

  private void sign() {
    signAt = world.now();
  }

  /** Something that was put off is due. */
  void onTime(long now) {
    if (leaving || now - retryAt >= 0) {
      retryAt = Long.MAX_VALUE;
      Holding socket = spec.program().socket();
      if (socket != Holding.OPEN) {
        out.checkEnd();
      }
      if (leaving && socket == Holding.GONE && !gone) {
        gone = true;
        sign();
        in.readerGone();
      }
      if (!out.ended() || leaving && !gone) {
        retryNs = Math.min(2 * retryNs, LONGEST_RETRY_NS);
        retryAt = now + retryNs;
      } else {
        retryNs = RETRY_NS; // what is waited for next may come as soon as this did
      }
    }
    in.onTime(now);
    if (now - strandedAt() >= 0) {
      overdueAt = Long.MAX_VALUE;
      cut();
    }
  }

  /**
   * When a writer is told that nobody takes what it has on the ring. TCP's end comes before that,
   * as a rule, but not from a host that was without power: TCP has sent nothing that it could
   * refuse.
   */
  private long strandedAt() {
    return !gone && out.stranded() ? overdueAt : Long.MAX_VALUE;
  }

  /** The path may be another one now. */
  void reconsider() {
    changed = true; // what this end wishes may be another thing now
    look();
    out.arm();
  }

  /** Back to TCP. */
  void leaveWire() {
    out.leaveWire();
  }

  /** There is nobody to tell: what is new is said when the link is there. */
  void silent() {
    unheard = true;
  }

  /** Whether something is still to be told, and can be. */
  boolean hasNews() {
    return (changed || answer) && !unheard;
  }

  /** The program, or the peer, has broken the rules: the program's stream ends as by a reset. */
  void cut() {
    in.cut();
    bell.ring();
  }

  // ---------------------------------------------------------------- output

  /** Sends what there is on the wires, and wakes the program if it has to look. */
  void produce(long now) {
    in.produce(now);
    out.produce(now);
    if (gone && out.flow() != null && out.flow().counters().datagramsIn != signIn) {
      signIn = out.flow().counters().datagramsIn;
      sign();
    }
    noteReason();
    if (rang) {
      rang = false;
      bell.ring();
    }
  }

  /** The message that the peer's agent is to get, or null when there is nothing new. */
  LineMessage message() {
    if (!changed && !answer) {
      return null;
    }
    boolean asks = !heard || missed;
    changed = missed; // who does not know the line says so only where nothing is asked
    answer = false;
    missed = false;
    return new LineMessage(
        spec.number(),
        spec.peerNumber(),
        asks,
        over(),
        authenticate,
        barred,
        known || heard,
        key,
        in.state(),
        out.state());
  }

  /** When there is something to do without an event. */
  long deadline(long now) {
    long deadline = Math.min(Math.min(in.deadline(now), out.deadline(now)), strandedAt());
    return Math.min(deadline, gone ? Math.min(retryAt, signAt + lingerNs()) : retryAt);
  }

  /** A peer that was never heard has most likely withdrawn its end before it knew of ours. */
  private long lingerNs() {
    return heard || out.begun() || in.begun() ? LINGER_NS : UNHEARD_NS;
  }

  private boolean over() {
    return gone && (out.delivered() || out.ended() && peerGone);
  }

  /**
   * Whether there is something to be sent that only this agent has: the program's memory is gone.
   */
  boolean left() {
    return (leaving || gone) && out.left();
  }

  /** Whether the line may be closed: the last message has been taken. */
  boolean finished(long now) {
    return gone && now - signAt >= lingerNs() || over() && !changed && !answer;
  }

  void close() {
    in.close();
    out.close();
  }

  /** The wire that it is on; NONE if it is on TCP. */
  WireKind wire() {
    return out.flow() != null ? out.wire() : in.wire();
  }

  LineInfo info() {
    long sent = 0;
    long taken = 0;
    long resent = 0;
    long dropped = 0;
    for (Flow flow : new Flow[] {in.flow(), out.flow()}) {
      if (flow != null) {
        FlowCounters counters = flow.counters();
        sent += counters.datagramsOut;
        taken += counters.datagramsIn;
        resent += counters.resent;
        dropped += counters.drops();
      }
    }
    return new LineInfo(
        spec.number(),
        spec.peer(),
        wire().text(),
        out.phase().name(),
        in.phase().name(),
        reason,
        out.bytes(),
        in.bytes(),
        sent,
        taken,
        resent,
        dropped);
  }
}
