// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowSettings;
import hutong.transport.internal.engine.FlowStart;
import hutong.transport.internal.engine.ReceiveBuffer;
import hutong.transport.internal.engine.SendBuffer;
import java.nio.ByteBuffer;

/**
 * One direction's round on a wire: the numbers that the two agents have agreed, and the flow, which
 * may be off the wire for a while. One thread.
 */
final class RoundFlow {
  /**
   * Each round has epochs of its own: what is left on the wire of a former round, with the same
   * entries of the channel tables, is of an epoch that is over.
   */
  private static final int EPOCH_BITS = 12;

  /** Until a wire that is away is looked for again. */
  private static final long OPEN_AGAIN_NS = 100_000_000;

  private final LightLine line;
  private final LineWorld world;
  private final boolean outgoing;
  private final SendBuffer from;
  private final ReceiveBuffer to;
  private int epoch;
  private int channel;
  private int sequence;
  private int peerChannel;
  private int peerSequence;
  private int peerWindow;
  private int peerRoom;
  private WireKind wire = WireKind.NONE;
  private int most;
  private FlowNotes notes = new FlowNotes();
  private Flow flow;
  private LineWorld.FlowRoute route;
  private long openAt = Long.MAX_VALUE;

  private RoundFlow(
      LightLine line, LineWorld world, boolean outgoing, SendBuffer from, ReceiveBuffer to) {
    this.line = line;
    this.world = world;
    this.outgoing = outgoing;
    this.from = from;
    this.to = to;
  }

  /** For rounds whose data this host sends. */
  static RoundFlow sending(LightLine line, LineWorld world, SendBuffer from) {
    return new RoundFlow(line, world, true, from, Nothing.HERE);
  }

  /** For rounds whose data this host receives. */
  static RoundFlow receiving(LightLine line, LineWorld world, ReceiveBuffer to) {
    return new RoundFlow(line, world, false, Nothing.HERE, to);
  }

  // ---------------------------------------------------------------- what is agreed

  /** Takes an entry of the channel table and draws H-seq; false if there is no entry left. */
  boolean reserve() {
    channel = world.reserve();
    if (channel != 0) {
      sequence = world.random().nextInt();
    }
    return channel != 0;
  }

  /**
   * What the peer's agent has told.
   *
   * @param channelThere its H-chan
   * @param firstSequence its first H-seq
   * @param window its W
   * @param room bytes of its ring
   * @throws Hostile when that cannot be
   */
  void peer(int channelThere, int firstSequence, int window, int room) {
    if (window < FlowSettings.LEAST_WINDOW
        || window > FlowSettings.MOST_WINDOW
        || room < 1
        || room > FlowStart.MOST_BYTES) {
      throw new Hostile("a window of " + window + ", a ring of " + room);
    }
    peerChannel = channelThere;
    peerSequence = firstSequence;
    peerWindow = window;
    peerRoom = room;
  }

  /**
   * The wire that is to be used.
   *
   * @param bytes of its largest datagram, for both ends
   */
  void wire(WireKind kind, int bytes) {
    wire = kind;
    most = bytes;
  }

  /** The round is over: it has no wire any more. */
  void close() {
    park();
    if (flow != null) {
      world.account(flow.counters());
      flow = null;
    }
    if (channel != 0) {
      world.release(channel);
      channel = 0;
    }
  }

  int channel() {
    return channel;
  }

  int sequence() {
    return sequence;
  }

  WireKind wire() {
    return wire;
  }

  /** Bytes of the largest datagram of the round. */
  int most() {
    return most;
  }

  /** Whether datagrams can be as large as any flow's must be. */
  boolean wide() {
    return most >= FlowSettings.LEAST_DATAGRAM;
  }

  // ---------------------------------------------------------------- the flow

  /**
   * Begins it.
   *
   * @param probed whether the wire is known to carry such datagrams to the peer
   * @param offset of the stream's first byte on the wire
   */
  void open(int round, boolean probed, long offset) {
    FlowSettings settings = line.settings(most);
    notes = new FlowNotes();
    flow =
        Flow.open(
            probed ? settings.withoutProbes() : settings,
            start(round << EPOCH_BITS, offset, offset + peerRoom),
            from,
            to,
            notes,
            line.seal(round, outgoing),
            world.random(),
            world.now());
    unpark();
  }

  /**
   * Goes on in a new epoch, after a restart. The wire may have changed while nobody was there: who
   * sends probes it (D5).
   *
   * @param offset what the peer's program has consumed, or what is shown to this host's
   */
  void resume(int round, long offset) {
    if (!wide()) {
      throw new Hostile("a page with datagrams of " + most);
    }
    FlowSettings settings = line.settings(most);
    notes = new FlowNotes();
    flow =
        Flow.resume(
            outgoing ? settings : settings.withoutProbes(),
            start(epoch, offset, offset),
            from,
            to,
            notes,
            line.seal(round, outgoing),
            world.random(),
            world.now());
    unpark();
  }

  /**
   * Goes on with datagrams of another size, or on another wire: what was cut for the old size is
   * not cut anew (D4), but in an epoch of its own it is.
   *
   * @param kind of the wire from now on
   * @param bytes of its largest datagram
   * @param offset as for {@link #resume}
   */
  void renew(int round, WireKind kind, int bytes, long offset) {
    park();
    world.account(flow.counters());
    channel = flow.localChannel();
    peerChannel = flow.peerChannel();
    epoch = flow.epochNumber();
    wire(kind, bytes);
    resume(round, offset);
    world.save(line); // the new numbers, before anybody hears of them
  }

  /** The sender goes on on that wire, and says so there: it is listened to. */
  void follow(WireKind kind) {
    boolean routed = routed();
    park();
    wire = kind;
    if (routed) {
      unpark();
    }
  }

  private FlowStart start(int before, long offset, long room) {
    return new FlowStart(
        before,
        channel,
        peerChannel,
        sequence,
        peerSequence,
        peerWindow,
        outgoing ? 1 : peerRoom,
        outgoing ? offset : 0,
        outgoing ? room : 0,
        outgoing ? 0 : offset);
  }

  /** The flow; null before it begins and when it is over. */
  Flow flow() {
    return flow;
  }

  /** What it has told. */
  FlowNotes notes() {
    return notes;
  }

  /** Whether it is on the wire. */
  boolean routed() {
    return route != null;
  }

  /** Whether the wire still carries its datagrams. */
  boolean fits() {
    return route.fits();
  }

  /** Sends what there is to send. */
  void produce(long now) {
    route.produce(flow, now);
  }

  /** When there is something to do again; while it is off the wire, only to begin it later. */
  long deadline(long now) {
    return route == null ? openAt : flow.nextDeadline(now);
  }

  /** The wire is away, and nothing else can bring the round's bytes: it is to begin when it can. */
  void openLater() {
    openAt = world.now() + OPEN_AGAIN_NS;
  }

  /** Whether it is to be tried again to begin it; says so once. */
  boolean takeOpenDue(long now) {
    boolean due = openAt != Long.MAX_VALUE && now - openAt >= 0;
    if (due) {
      openAt = Long.MAX_VALUE;
    }
    return due;
  }

  /** Takes it off the wire; it may be wanted again. */
  void park() {
    if (route != null) {
      route.detach(flow);
      route = null;
    }
  }

  /** Puts it back. */
  void unpark() {
    if (flow != null && route == null) {
      route = world.attach(wire, line, flow);
    }
  }

  /** Whether it has got other numbers since the last time, which belong into the page. */
  boolean takeResumed() {
    boolean resumed = notes.resumed;
    notes.resumed = false;
    return resumed;
  }

  // ---------------------------------------------------------------- the page

  /** Writes what a later agent must know of it. */
  void save(ByteBuffer out) {
    out.putInt(flow == null ? channel : flow.localChannel());
    out.putInt(sequence);
    out.putInt(flow == null ? peerChannel : flow.peerChannel());
    out.putInt(peerSequence).putInt(peerWindow).putInt(peerRoom);
    out.putInt(wire.ordinal()).putInt(most);
    out.putInt(flow == null ? 0 : 1).putInt(flow == null ? 0 : flow.epochNumber());
  }

  /**
   * Reads that.
   *
   * @return whether there was a flow, which is to be resumed
   */
  boolean restore(ByteBuffer in) {
    channel = in.getInt();
    sequence = in.getInt();
    peerChannel = in.getInt();
    peerSequence = in.getInt();
    peerWindow = in.getInt();
    peerRoom = in.getInt();
    wire = WireKind.of(in.getInt());
    most = in.getInt();
    final boolean flowed = in.getInt() != 0;
    epoch = in.getInt();
    return flowed;
  }

  /** What was read holds: its entry of the channel table is taken. */
  void reserveAgain() {
    if (channel != 0) {
      world.reserve(channel);
    }
  }

  /** What was read is of a round that was over already, and its entry given back. */
  void forget() {
    channel = 0;
  }
}
