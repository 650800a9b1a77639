// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.platform.BatchSocket;
import hutong.platform.EventLoop;
import hutong.platform.OsException;
import hutong.platform.Poller;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.engine.DatagramBatch;
import hutong.transport.internal.engine.Flow;
import hutong.transport.internal.engine.FlowTable;
import hutong.transport.internal.wire.Wire;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.RejectedExecutionException;

/**
 * One socket with the flows that use it. An interface that goes away is looked for again, also when
 * no flow has anything to send: one that only receives would never hear of its return. Until it is
 * there the flows find that nothing answers. One thread.
 */
final class WirePort implements AutoCloseable {
  /** Opens the socket. */
  @FunctionalInterface
  interface Opener {
    /** Opens it, or throws when that cannot be now. */
    Wire open() throws OsException;
  }

  /** Told of a line that has to look at its flows. */
  @FunctionalInterface
  interface Touched {
    /** Datagrams for it have come. */
    void touched(LightLine line);
  }

  /**
   * A count that only grows while the socket lives, and what of it is in the agent's counters.
   * Nothing is told, and nothing allocated, while it stands still.
   */
  private static final class Told {
    private final String counter;
    private long told;

    Told(String counter) {
      this.counter = counter;
    }

    void is(long now, Trouble trouble) {
      if (now != told) {
        trouble.add(counter, now - told);
        told = now;
      }
    }
  }

  /** What the names of such counters begin with. */
  static final String DROPPED = "transport.dropped.";

  private static final DropCause[] BEFORE_FLOWS = {
    DropCause.TOO_SHORT, DropCause.NO_CHANNEL, DropCause.WRONG_PEER
  };

  /** Between two tries to open the socket. */
  private static final long TRY_NS = 50_000_000;

  /** The same, while flows wait for it. */
  private static final Duration AGAIN = Duration.ofMillis(200);

  /** How long after input the kernel is asked whether some was lost: a system call. */
  private static final Duration ASK_AGAIN = Duration.ofMillis(100);

  private static final int LARGEST = 65_536;

  private final EventLoop loop;
  private final Opener opener;
  private final Poller.Handler onInput;
  private final Touched touched;
  private final FlowTable table = new FlowTable();
  private final Wire.Taker taker = this::take;
  private final Trouble trouble;
  private final Coalescing coalescing = new Coalescing();
  private final Told[] beforeFlows = new Told[BEFORE_FLOWS.length];
  private final Told unsent = new Told(DROPPED + "no_socket");
  private Told refused = new Told(DROPPED + "refused");
  private Told cut = new Told(DROPPED + "cut");
  private Told misdirected = new Told(DROPPED + "misdirected");
  private LightLine[] lines = new LightLine[64];
  private Wire wire;
  private int generation;
  private long now;
  private long nextTry = Long.MIN_VALUE;
  private DatagramBatch nowhere;
  private final Set<Route> routes = new HashSet<>();
  private boolean opensAgain;
  private boolean asksAgain;
  private long lostHere;

  WirePort(
      EventLoop loop, Opener opener, Poller.Handler onInput, Touched touched, Trouble trouble) {
    this.loop = loop;
    this.opener = opener;
    this.onInput = onInput;
    this.touched = touched;
    this.trouble = trouble;
    for (int i = 0; i < BEFORE_FLOWS.length; i++) {
      beforeFlows[i] = new Told(Trouble.dropped(BEFORE_FLOWS[i]));
    }
  }

  /** Opens the socket if it is not open; false when that cannot be now. */
  boolean open() {
    if (wire != null) {
      return true;
    }
    if (now() < nextTry) {
      return false;
    }
    nextTry = now() + TRY_NS;
    try {
      Wire opened = opener.open();
      try {
        loop.add(opened.fd(), Poller.IN, onInput);
      } catch (OsException e) {
        opened.close();
        return false;
      }
      wire = opened;
      generation++;
      // Who only receives does nothing before something has come, and that from a known sender.
      routes.forEach(Route::refresh);
      return true;
    } catch (OsException e) {
      return false;
    }
  }

  private static long now() {
    return System.nanoTime();
  }

  private void openAgain() {
    if (routes.isEmpty() || opensAgain) {
      return;
    }
    try {
      loop.schedule(
          AGAIN,
          () -> {
            opensAgain = false;
            if (!open()) {
              openAgain();
            }
          });
      opensAgain = true;
    } catch (RejectedExecutionException e) {
      // the loop is being closed
    }
  }

  /** The interface carries datagrams of another size than before. */
  void renew() {
    if (wire != null) {
      wire.flush(); // what still fits need not be sent again
      shut();
      nextTry = Long.MIN_VALUE;
      if (!open()) {
        openAgain();
      }
    }
  }

  /** Whether flows are attached. */
  boolean isUsed() {
    return !routes.isEmpty();
  }

  /** The largest datagram; 0 while the socket cannot be opened. */
  int datagramBytes() {
    return open() ? wire.datagramBytes() : 0;
  }

  /** Puts a flow on the wire. */
  LineWorld.FlowRoute attach(LightLine line, Flow flow, byte[] address, int port) {
    Route route = new Route(flow, address, port);
    boolean open = route.refresh();
    table.open(flow, route.number);
    routes.add(route);
    if (!open) {
      openAgain();
    }
    int index = Header.index(flow.localChannel());
    if (index >= lines.length) {
      lines = Arrays.copyOf(lines, Integer.highestOneBit(index) << 1);
    }
    lines[index] = line;
    return route;
  }

  /**
   * Takes some of what has come; the caller answers before it calls again, since the peer may wait
   * for that.
   *
   * @return whether there may be more
   */
  boolean receive(long time) {
    now = time;
    try {
      return wire != null && wire.receive(taker) > 0;
    } catch (OsException e) {
      lose();
      return false;
    }
  }

  /** How long to leave what has come where it is; 0 for not at all. */
  long pauseNs(long time) {
    return coalescing.pauseNs(time);
  }

  private void take(ByteBuffer datagram, long sender, long waitedNs) {
    coalescing.taken(datagram.remaining(), now);
    int index =
        datagram.remaining() < Header.BYTES
            ? -1
            : Header.index(datagram.getInt(datagram.position() + Header.CHANNEL));
    DropCause cause = table.receive(datagram, sender, now, waitedNs + wire.sendingNs());
    if (cause == DropCause.NONE || cause == DropCause.DUPLICATE) {
      touched.touched(lines[index]);
    }
  }

  /**
   * Sends what was taken from the flows.
   *
   * @return false when the interface has refused some for their size
   */
  boolean flush() {
    if (wire == null) {
      return true;
    }
    wire.flush();
    reportSent();
    return !wire.takeTooLarge();
  }

  private void reportSent() {
    refused.is(wire.refused(), trouble);
    OsException why = wire.takeFailure();
    if (why != null) {
      trouble.count(DROPPED + "refused.errno" + why.errno());
    }
  }

  /**
   * Counts what was dropped, since the last time, before it reached a flow. What the kernel dropped
   * is asked for a moment later: it may drop more while this goes on.
   */
  void report() {
    for (int i = 0; i < BEFORE_FLOWS.length; i++) {
      beforeFlows[i].is(table.drops(BEFORE_FLOWS[i]), trouble);
    }
    if (wire == null) {
      return;
    }
    cut.is(wire.cut(), trouble);
    misdirected.is(wire.misdirected(), trouble);
    if (!asksAgain) {
      try {
        loop.schedule(ASK_AGAIN, this::reportLost);
        asksAgain = true;
      } catch (RejectedExecutionException e) {
        // the loop is being closed
      }
    }
  }

  private void reportLost() {
    asksAgain = false;
    long lost = wire == null ? 0 : wire.takeLost();
    if (lost != 0) {
      trouble.add(DROPPED + "queue_full", lost);
    }
  }

  /** There is no socket: what a flow sends is lost, as on a wire without a cable. */
  private void lose(Flow flow, long time) {
    if (nowhere == null) {
      nowhere = new DatagramBatch(4, LARGEST);
    }
    do {
      nowhere.clear();
      flow.produce(nowhere, time);
      lostHere += nowhere.count();
    } while (nowhere.full());
    unsent.is(lostHere, trouble);
  }

  private void lose() {
    shut();
    openAgain();
  }

  private void shut() {
    if (wire != null) {
      loop.remove(wire.fd());
      report();
      reportSent();
      reportLost();
      wire.close();
      wire = null;
      refused = new Told(DROPPED + "refused");
      cut = new Told(DROPPED + "cut");
      misdirected = new Told(DROPPED + "misdirected");
    }
  }

  @Override
  public void close() {
    shut();
  }

  /** A flow's way. */
  private final class Route implements LineWorld.FlowRoute {
    private final Flow of;
    private final byte[] address;
    private final int port;
    private BatchSocket.Target target;
    private long number;
    private int made;

    Route(Flow of, byte[] address, int port) {
      this.of = of;
      this.address = address;
      this.port = port;
    }

    /** The target of the socket that there is now. */
    boolean refresh() {
      if (!open()) {
        return false;
      }
      if (made != generation) {
        target = wire.target(address, port);
        number = target.number();
        made = generation;
        table.peer(of, number);
      }
      return true;
    }

    @Override
    public void produce(Flow flow, long time) {
      if (!refresh() || !fits()) {
        lose(flow, time);
        return;
      }
      while (!wire.produce(flow, target, time)) {
        // the batch was full
      }
    }

    @Override
    public boolean fits() {
      return wire == null || of.maxDatagram() <= wire.datagramBytes();
    }

    @Override
    public void detach(Flow flow) {
      routes.remove(this);
      table.close(flow);
    }
  }
}
