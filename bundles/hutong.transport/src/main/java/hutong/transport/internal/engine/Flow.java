// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.ControlReader;
import hutong.transport.internal.datagram.Datagram;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.datagram.Seal;
import hutong.transport.internal.engine.FlowListener.WireFailure;
import java.nio.ByteBuffer;
import java.util.random.RandomGenerator;

/**
 * The light protocol of one connection, both directions (M3, H-*, D4 to D6, rule 17).
 *
 * <p>A flow has no thread, clock or socket. Its owner, on one thread, hands in what arrived ({@link
 * #receive}), then takes what is to be sent ({@link #produce}), and calls the latter again when
 * {@link #nextDeadline} is reached, when the program wrote, or when the program read. Input must be
 * drained before output is produced, or the owner's own pauses look like silence of the peer. Times
 * are nanoseconds of one clock that never goes back. In the steady state nothing is allocated.
 */
public final class Flow {
  private final FlowSettings settings;
  private final SendBuffer sendBuffer;
  private final FlowListener listener;
  private final Seal seal;
  private final FlowCounters counters = new FlowCounters();
  private final Datagram datagram = new Datagram();
  private final ControlReader control = new ControlReader();
  private final FlowWriter writer;
  private final Sender sender;
  private final Receiver receiver;
  private final Epoch epoch;
  private final Probing probing;
  private final Ending ending = new Ending();
  private final Reporter reporter;

  private int probeAnswer;
  private int probeAnswerSize;
  private boolean probeAnswerDue;
  private boolean endAckDue;

  private Flow(
      FlowSettings settings,
      FlowStart start,
      SendBuffer sendBuffer,
      ReceiveBuffer receiveBuffer,
      FlowListener listener,
      Seal seal,
      RandomGenerator random,
      long now) {
    this.settings = settings;
    this.sendBuffer = sendBuffer;
    this.listener = listener;
    this.seal = seal;
    int mostData = settings.maxDatagram() - Header.BYTES - seal.trailer();
    this.sender = new Sender(settings, sendBuffer, counters, mostData);
    this.receiver = new Receiver(receiveBuffer, counters, start.receiveOffset());
    this.epoch = new Epoch(start, random);
    this.probing = new Probing(settings);
    this.reporter = new Reporter(listener, sender, receiver, ending);
    this.writer = new FlowWriter(seal, sender, receiver, epoch, counters);
    sender.start(
        start.firstSendSequence(), start.sendOffset(), start.sendOffset(), start.peerRoom(), now);
    receiver.start(start.firstReceiveSequence(), start.peerWindow(), start.peerCapacity());
    probing.begin(now);
  }

  /**
   * A flow of a connection that was just set up (M2.3). With probes configured it sends no data
   * before they are answered (D5).
   *
   * @param random for generations and H-seq after a resume
   */
  public static Flow open(
      FlowSettings settings,
      FlowStart start,
      SendBuffer sendBuffer,
      ReceiveBuffer receiveBuffer,
      FlowListener listener,
      Seal seal,
      RandomGenerator random,
      long now) {
    return new Flow(settings, start, sendBuffer, receiveBuffer, listener, seal, random, now);
  }

  /**
   * A flow that goes on after its agent restarted (memory 3 of the switching rules). It begins the
   * epoch after {@code start.epoch()} with a new generation and a random H-seq and announces them
   * until the peer answers; only then data flows. {@link #epochNumber} and {@link #localChannel}
   * belong into the agent page before the first datagram is sent.
   *
   * @param start as the agent page has it; the H-seq in it and the peer's room do not matter
   */
  public static Flow resume(
      FlowSettings settings,
      FlowStart start,
      SendBuffer sendBuffer,
      ReceiveBuffer receiveBuffer,
      FlowListener listener,
      Seal seal,
      RandomGenerator random,
      long now) {
    Flow flow = new Flow(settings, start, sendBuffer, receiveBuffer, listener, seal, random, now);
    flow.epoch.announce(now);
    return flow;
  }

  // ---------------------------------------------------------------- input

  /**
   * Takes a datagram. Any bytes will do: what is not this flow's is counted and changes nothing.
   *
   * @param in from position to limit, of which position, limit and order are undefined afterwards
   * @return why it was not taken, or {@link DropCause#NONE}
   */
  public DropCause receive(ByteBuffer in, long now) {
    return receive(in, now, 0);
  }

  /**
   * The same, of a datagram that answers what went out.
   *
   * @param hereNs so much of the time since then has passed at this end, where datagrams wait for
   *     the agent, both ways: the network has no part in it
   */
  public DropCause receive(ByteBuffer in, long now, long hereNs) {
    DropCause cause = datagram.read(in, seal);
    if (cause == DropCause.NONE) {
      sender.spentHere(hereNs);
      cause = datagram.control() ? receiveControl(now) : receiveData(now);
    }
    if (cause == DropCause.NONE) {
      counters.datagramsIn++;
      counters.bytesIn += datagram.size();
    } else {
      counters.drop(cause);
    }
    return cause;
  }

  private DropCause receiveData(long now) {
    DropCause cause = epoch.check(datagram.channel(), false);
    if (cause != DropCause.NONE) {
      return cause;
    }
    int ackSequence = datagram.ackSequence();
    if (!sender.plausible(ackSequence, datagram.ackIndex())) {
      return DropCause.BAD_ACKNOWLEDGEMENT;
    }
    boolean asked = datagram.ackRequested();
    cause = receiver.onData(datagram);
    if (cause == DropCause.NONE || cause == DropCause.DUPLICATE) {
      sender.onHeader(ackSequence, now);
    }
    if (asked && cause == DropCause.NONE) {
      counters.ackRequestsIn++;
      receiver.onAckRequest();
    }
    return cause;
  }

  private DropCause receiveControl(long now) {
    if (!control.read(datagram)) {
      return DropCause.MALFORMED_CONTROL;
    }
    boolean announcement = control.has(Control.RESUME);
    DropCause cause = epoch.check(datagram.channel(), announcement);
    if (cause != DropCause.NONE) {
      return cause;
    }
    counters.controlsIn++;
    counters.unknownItems += control.unknown();
    return announcement ? onResume(now) : onControl(now);
  }

  private DropCause onControl(long now) {
    int ackSequence = datagram.ackSequence();
    if (!sender.plausible(ackSequence, datagram.ackIndex())) {
      return DropCause.BAD_ACKNOWLEDGEMENT;
    }
    sender.onHeader(ackSequence, now);
    if (control.has(Control.CREDIT)) {
      if (!PeerCredit.plausible(control.consumed(), control.room(), sender.acknowledged())) {
        return DropCause.MALFORMED_CONTROL;
      }
      sender.onCredit(control.consumed(), control.room());
    }
    if (control.has(Control.MISSING)) {
      sender.onMissing(ackSequence, control, now);
    }
    if (control.has(Control.ECHO)) {
      sender.onEcho(control.number(Control.ECHO), now);
    }
    if (control.has(Control.ASK)) {
      receiver.onAsk(control.number(Control.ASK), datagram.sequence());
    }
    if (datagram.ackRequested()) {
      counters.ackRequestsIn++;
      receiver.onAckRequest();
    }
    if (control.has(Control.PROBE)) {
      probeAnswer = control.number(Control.PROBE);
      probeAnswerSize = datagram.size() + seal.trailer();
      probeAnswerDue = true;
    }
    if (control.has(Control.PROBE_ANSWER)) {
      onProbeAnswer(now);
    }
    if (control.has(Control.END_ACK)) {
      ending.onAck(control.offset(Control.END_ACK));
    }
    if (control.has(Control.END)) {
      DropCause cause = receiver.onEnd(control.offset(Control.END));
      if (cause != DropCause.NONE) {
        return cause;
      }
      endAckDue = true;
    }
    return DropCause.NONE;
  }

  private void onProbeAnswer(long now) {
    if (!probing.active()) {
      return;
    }
    probing.onAnswer(control.number(Control.PROBE_ANSWER), control.probeSize(), now);
    if (!probing.active()) {
      listener.probed();
    }
  }

  private DropCause onResume(long now) {
    Epoch.Meaning meaning = epoch.meaning(control);
    if (meaning == Epoch.Meaning.STALE) {
      return DropCause.STALE_EPOCH;
    }
    if (meaning == Epoch.Meaning.REPEATED) {
      epoch.answer(control);
      return DropCause.NONE;
    }
    long sent = epoch.announcing() ? sendBuffer.end() : sender.nextOffset();
    if (!Epoch.plausible(control, sender.acknowledged(), sent, sender.peerConsumed())) {
      return DropCause.MALFORMED_CONTROL;
    }
    epoch.adopt(control);
    sender.restart(
        epoch.firstSequence(),
        control.resumeWanted(),
        control.resumeConsumed(),
        control.resumeRoom(),
        now);
    receiver.restart(control.resumeSequence(), control.resumeWindow());
    if (ending.begun()) {
      ending.repeat(now);
    }
    listener.resumed(epoch.number(), epoch.localChannel(), epoch.peerChannel());
    return DropCause.NONE;
  }

  // ---------------------------------------------------------------- output

  /**
   * Publishes what arrived and writes all that may be sent now, as far as there are slots.
   *
   * @param batch slots of at least {@link FlowSettings#maxDatagram} bytes
   * @return how many datagrams were added
   */
  public int produce(DatagramBatch batch, long now) {
    int before = batch.count();
    receiver.publish();
    boolean open = sending();
    if (open) {
      sender.onTime(now);
    }
    boolean data = open && sender.canSend();
    if (!batch.full() && controlDue(data, now)) {
      writeControl(batch, now);
    }
    if (!batch.full() && probeAnswerDue) {
      probeAnswerDue = false;
      counters.probesAnswered++;
      int size = Math.min(probeAnswerSize, settings.maxDatagram());
      writer.begin(batch).probeAnswer(probeAnswer, probeAnswerSize);
      writer.finishFull(size);
    }
    if (!batch.full() && !epoch.announcing() && probing.due(now)) {
      counters.probesOut++;
      writer.begin(batch).number(Control.PROBE, probing.send(now));
      writer.finishFull(settings.maxDatagram());
    }
    while (open && !batch.full() && sender.canSend()) {
      writer.writeData(batch, sendBuffer, now);
    }
    reporter.streams();
    if (!epoch.announcing() && probing.fails(now)) {
      listener.wireFailed(WireFailure.PROBES);
    }
    reporter.wire(silentAt(), now);
    return batch.count() - before;
  }

  private boolean sending() {
    return !epoch.announcing() && !probing.active();
  }

  private boolean controlDue(boolean data, long now) {
    if (epoch.due(now)) {
      return true;
    }
    if (epoch.announcing()) {
      return false;
    }
    return receiver.controlDue()
        || receiver.ackDue() && !data
        || endAckDue
        || sending() && (sender.askDue(now) || ending.due(now));
  }

  private void writeControl(DatagramBatch batch, long now) {
    if (epoch.due(now)) {
      writer.begin(batch);
      writer.announce(settings.window());
      epoch.sent(now, sender.patienceNs(epoch.attempts()));
      writer.finish(0);
      return;
    }
    var items = writer.begin(batch);
    receiver.writeAck(items);
    if (endAckDue) {
      endAckDue = false;
      items.offset(Control.END_ACK, receiver.endOfStream());
    }
    int flags = 0;
    if (sending() && ending.due(now)) {
      items.offset(Control.END, ending.offset());
      ending.sent(now, sender);
    }
    if (sending() && sender.askDue(now)) {
      items.number(Control.ASK, sender.ask(now));
      flags = Header.ACK_REQUESTED;
    }
    writer.finish(flags);
  }

  /** Since when the peer leaves everything unanswered; {@link Long#MAX_VALUE}: it does not. */
  public long unansweredSince() {
    long since = Math.min(epoch.unansweredSince(), ending.unansweredSince());
    return sending() ? Math.min(since, sender.unansweredSince()) : since;
  }

  private long silentAt() {
    long since = unansweredSince();
    return since == Sender.NEVER ? Sender.NEVER : since + settings.wireTimeoutNs();
  }

  /**
   * When {@link #produce} has something to do: {@code now} or earlier when at once, {@link
   * Long#MAX_VALUE} when only an event makes it so.
   */
  public long nextDeadline(long now) {
    boolean data = sending() && sender.canSend();
    if (data || probeAnswerDue || controlDue(false, now)) {
      return now;
    }
    long deadline = Math.min(epoch.deadline(), reporter.silent() ? Sender.NEVER : silentAt());
    if (!epoch.announcing()) {
      deadline = Math.min(deadline, probing.deadline());
    }
    if (sending()) {
      deadline = Math.min(deadline, Math.min(sender.deadline(), ending.deadline()));
    }
    return deadline;
  }

  // ---------------------------------------------------------------- owner's wishes

  /**
   * This end's stream ends there (rule 17): nobody can write to the socket any more.
   *
   * @param finalOffset one past the last byte, which is in the send buffer
   * @throws IllegalStateException when the direction has left the wire, or another end was told
   */
  public void end(long finalOffset, long now) {
    if (sender.leaves()) {
      throw new IllegalStateException("the direction has left the wire");
    }
    if (ending.begun() && ending.offset() != finalOffset) {
      throw new IllegalStateException("the stream ends at " + ending.offset() + " already");
    }
    if (!ending.begun()) {
      ending.begin(finalOffset, now);
    }
  }

  /**
   * Sends nothing from that offset on (D5). When it is less than what was sent already, the peer
   * must have called {@link #leaveReceiving} first.
   *
   * @param offset E, not before {@link #acknowledged}
   * @param delivered whether the peer's agent said that E is the end of what it received in order:
   *     on a dead wire no acknowledgement will tell
   * @throws IllegalArgumentException when the peer has more already, or when that cannot be
   */
  public void leaveSending(long offset, boolean delivered) {
    if (offset < sender.acknowledged()) {
      throw new IllegalArgumentException("the peer has all before " + sender.acknowledged());
    }
    if (delivered && offset > sender.nextOffset()) {
      throw new IllegalArgumentException("only " + sender.nextOffset() + " was sent");
    }
    sender.leave(offset, delivered);
    reporter.leavesSending(offset);
  }

  /**
   * Takes nothing from that offset on (D5).
   *
   * @param offset E, not before {@link #received}
   * @throws IllegalArgumentException when more was taken already
   */
  public void leaveReceiving(long offset) {
    if (offset < receiver.end()) {
      throw new IllegalArgumentException("all before " + receiver.end() + " was taken");
    }
    receiver.leave(offset);
    reporter.leavesReceiving(offset);
  }

  /** Probes the wire anew (D5); data waits until that has succeeded. */
  public void probe(long now) {
    probing.begin(now);
  }

  // ---------------------------------------------------------------- state

  /** Counters; the same object for ever. */
  public FlowCounters counters() {
    return counters;
  }

  /** First offset that the peer has not acknowledged. */
  public long acknowledged() {
    return sender.acknowledged();
  }

  /** First offset that has never been sent on this wire. */
  public long sent() {
    return sender.nextOffset();
  }

  /**
   * First offset that was not received in order; all before it is published by the next produce.
   */
  public long received() {
    return receiver.end();
  }

  /** The most bytes of a datagram. */
  public int maxDatagram() {
    return settings.maxDatagram();
  }

  /** The present epoch, for the agent page. */
  public int epochNumber() {
    return epoch.number();
  }

  /** H-chan of this end, for the agent page and the channel table. */
  public int localChannel() {
    return epoch.localChannel();
  }

  /** H-chan of the peer's end, for the agent page. */
  public int peerChannel() {
    return epoch.peerChannel();
  }

  /** Datagrams that may be in flight now (D4). */
  public int congestionWindow() {
    return sender.congestionWindow();
  }
}
