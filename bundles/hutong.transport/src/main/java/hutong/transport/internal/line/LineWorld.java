// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.intercept.Reason;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowCounters;
import java.util.random.RandomGenerator;

/** What a line works with. */
interface LineWorld {
  /** Nanoseconds of a clock that never goes back. */
  long now();

  /** For channel generations and sequence numbers. */
  RandomGenerator random();

  /**
   * Reserves an entry of the channel table of flows.
   *
   * @return an H-chan, never 0; 0 if there is none left
   */
  int reserve();

  /** Takes an entry that an earlier agent had reserved. */
  void reserve(int channel);

  /**
   * Writes what a later agent must know of a line; done before a step that cannot be told from the
   * segment, or undone.
   */
  void save(LightLine line);

  /** Gives an entry back. */
  void release(int channel);

  /** The largest datagram on a wire of this VM to or from an address; 0: no such wire now. */
  int datagramBytes(WireKind kind, byte[] localAddress);

  /** Puts a flow on a wire: from now on the line is told of its datagrams. */
  FlowRoute attach(WireKind kind, LightLine line, Flow flow);

  /** Which wire to begin with, {@link WireKind#NONE} for TCP; as configured and as found out. */
  WireKind choose(LightLine line, int peerEthernetBytes, int peerUdpBytes);

  /** Why {@link #choose} finds none. */
  Reason noWire();

  /** The reason of a line is another one than before, and not {@link Reason#NONE}. */
  void noteReason(Reason reason);

  /** What decides about the path, or null where the configuration has decided. */
  PathChoice pathChoice();

  /** Whether probes of that size, or larger, have succeeded on that wire to that VM (D5). */
  boolean probed(WireKind kind, LightLine line, int bytes);

  /** They have. */
  void noteProbed(WireKind kind, LightLine line, int bytes);

  /** A flow has left a wire that did not answer for a while; it may be tried again soon. */
  void noteLeft(WireKind kind, LightLine line);

  /** A wire does not answer. */
  void noteFailed(WireKind kind, LightLine line);

  /** A flow is over: what it has counted. */
  void account(FlowCounters counters);

  /** W of this end. */
  int window();

  /** T of this end, 0 where it adapts. */
  long waitNs();

  /** Whether datagrams must be authenticated (D6). */
  boolean authenticate();

  /** How long a FIN waits for the end of its stream. */
  long endPatienceNs();

  /** The way of a flow to its peer. */
  interface FlowRoute {
    /** Takes all that the flow has to send. */
    void produce(Flow flow, long now);

    /** Whether the wire still carries datagrams as large as the flow's; what it has not is lost. */
    boolean fits();

    /** Takes the flow off the wire. */
    void detach(Flow flow);
  }
}
