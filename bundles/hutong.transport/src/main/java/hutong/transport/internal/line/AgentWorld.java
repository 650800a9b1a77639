// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.intercept.Reason;
import hutong.api.link.PeerId;
import hutong.platform.NanoClock;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowCounters;
import java.util.random.RandomGenerator;

/** What the lines of an agent work with: its wires, its settings, its clock. One thread. */
final class AgentWorld implements LineWorld {
  /** Who has the lines. */
  interface Owner {
    /** See {@link Unclaimed#ownersKnown}. */
    boolean ownersKnown();

    /** See {@link LineWorld#save}. */
    void save(LightLine line);

    /** A wire does not answer: what may be tried instead, or again, is to be thought over. */
    void wireFailed();
  }

  private final Owner owner;
  private final LightSettings settings;
  private final NanoClock clock;
  private final RandomGenerator random;
  private final Trouble trouble;
  private final Wires wires;
  private final ChannelEntries channels;
  private final PathChoice pathChoice = new PathChoice();

  AgentWorld(
      Owner owner,
      LightSettings settings,
      NanoClock clock,
      RandomGenerator random,
      Trouble trouble,
      Wires wires) {
    this.owner = owner;
    this.settings = settings;
    this.clock = clock;
    this.random = random;
    this.trouble = trouble;
    this.wires = wires;
    this.channels = new ChannelEntries(random);
  }

  @Override
  public void save(LightLine line) {
    owner.save(line);
  }

  /** Nothing needs to be known of that peer any more. */
  void forget(PeerId peer) {
    wires.forget(peer);
    pathChoice.forget(peer);
  }

  @Override
  public long now() {
    return clock.nanoTime();
  }

  @Override
  public RandomGenerator random() {
    return random;
  }

  @Override
  public int reserve() {
    // Pages that are still to be read have their own.
    return owner.ownersKnown() ? channels.reserve() : 0;
  }

  @Override
  public void reserve(int channel) {
    channels.reserve(channel);
  }

  @Override
  public void release(int channel) {
    channels.release(channel);
  }

  @Override
  public int datagramBytes(WireKind kind, byte[] localAddress) {
    return wires.datagramBytes(kind, localAddress);
  }

  @Override
  public FlowRoute attach(WireKind kind, LightLine line, Flow flow) {
    return wires.attach(kind, line, flow);
  }

  @Override
  public WireKind choose(LightLine line, int peerEthernetBytes, int peerUdpBytes) {
    return settings.inter() == LightSettings.Inter.TCP
        ? WireKind.NONE
        : wires.choose(line.spec(), peerEthernetBytes, peerUdpBytes, now());
  }

  @Override
  public Reason noWire() {
    return settings.inter() == LightSettings.Inter.TCP ? Reason.INTER_HOST : Reason.WIRE;
  }

  @Override
  public void noteReason(Reason reason) {
    trouble.count("reason." + reason.number());
  }

  @Override
  public PathChoice pathChoice() {
    return settings.inter() == LightSettings.Inter.AUTO ? pathChoice : null;
  }

  @Override
  public boolean probed(WireKind kind, LightLine line, int bytes) {
    return wires.probed(kind, line.spec(), bytes, now());
  }

  @Override
  public void noteProbed(WireKind kind, LightLine line, int bytes) {
    wires.noteProbed(kind, line.spec(), bytes, now());
  }

  @Override
  public void noteLeft(WireKind kind, LightLine line) {
    trouble.count("transport.wire.left");
    wires.noteLeft(kind, line.spec());
  }

  @Override
  public void noteFailed(WireKind kind, LightLine line) {
    trouble.count("transport.wire.failed");
    trouble.warn("no answer by " + kind.text() + " from " + line.spec().peer());
    wires.noteFailed(kind, line.spec(), now());
    owner.wireFailed();
  }

  @Override
  public void account(FlowCounters of) {
    trouble.add("transport.datagrams.out", of.datagramsOut);
    trouble.add("transport.datagrams.in", of.datagramsIn);
    trouble.add("transport.data.bytes.out", of.dataBytesOut);
    trouble.add("transport.data.bytes.in", of.dataBytesIn);
    trouble.add("transport.resent", of.resent);
    trouble.add("transport.silences", of.silences);
    trouble.add("transport.losses", of.lossEvents);
    for (DropCause cause : DropCause.values()) {
      if (of.drops(cause) != 0) {
        trouble.add(Trouble.dropped(cause), of.drops(cause));
      }
    }
  }

  @Override
  public int window() {
    return settings.window();
  }

  @Override
  public long waitNs() {
    return settings.waitNs();
  }

  @Override
  public boolean authenticate() {
    return settings.authenticate();
  }

  @Override
  public long endPatienceNs() {
    return settings.endPatienceNs();
  }
}
