// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.platform.NanoClock;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.SelectionKey;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Where others connect. A port that is taken is tried again and again; nothing else suffers. On the
 * loop's thread.
 */
final class Door {
  private static final int BACKLOG = 64;
  private static final int TURNS = 16;
  private static final Duration ACCEPT_AGAIN = Duration.ofSeconds(1);

  /** Takes those who come in. */
  interface Host {
    /** Whether somebody who may connect has that address. */
    boolean isPeerAddress(InetAddress remote);

    /** Takes a connection over; then {@link Door#left} must follow some time. */
    void guest(SocketChannel channel, InetAddress remote);
  }

  private final PeerLoop loop;
  private final InetSocketAddress address;
  private final PeerLimits limits;
  private final PeerTally tally;
  private final NanoClock clock;
  private final Host host;
  private final Map<InetAddress, Integer> recent = new HashMap<>();
  private final Map<InetAddress, Integer> strangers = new HashMap<>();
  private int strangersInAll;
  private long windowStartNs;
  private ServerSocketChannel server;
  private SelectionKey key;
  private boolean complained;

  /**
   * Makes a door that is still closed.
   *
   * @param address to listen on
   * @param host to whom guests go
   */
  Door(
      PeerLoop loop,
      InetSocketAddress address,
      PeerLimits limits,
      PeerTally tally,
      NanoClock clock,
      Host host) {
    this.loop = loop;
    this.address = address;
    this.limits = limits;
    this.tally = tally;
    this.clock = clock;
    this.host = host;
    this.windowStartNs = clock.nanoTime();
  }

  /** Listens, now or as soon as the port is free. */
  void open() {
    try {
      server = ServerSocketChannel.open();
      server.bind(address, BACKLOG);
      key = loop.register(server, SelectionKey.OP_ACCEPT, this::accept);
      if (complained) {
        tally.info("listening for other hosts on port " + address.getPort() + " now");
      }
    } catch (IOException | RuntimeException e) {
      close();
      if (!complained) {
        complained = true;
        tally.error(
            "cannot listen for other hosts on port " + address.getPort() + ": " + e.getMessage());
      }
      loop.schedule(limits.listenRetry(), this::open);
    }
  }

  private void accept() {
    try {
      for (int i = 0; i < TURNS; i++) {
        SocketChannel channel = server.accept();
        if (channel == null) {
          return;
        }
        admit(channel);
      }
    } catch (IOException e) {
      // Out of descriptors, most likely; the socket would stay ready all the time.
      tally.complain(PeerTally.THROTTLED, "cannot accept: " + e.getMessage());
      key.interestOps(0);
      loop.schedule(ACCEPT_AGAIN, this::acceptAgain);
    }
  }

  private void acceptAgain() {
    if (key != null && key.isValid()) {
      key.interestOps(SelectionKey.OP_ACCEPT);
    }
  }

  private static void turnAway(SocketChannel channel) {
    try {
      channel.close();
    } catch (IOException e) {
      return; // it is closed for us in any case
    }
  }

  private void admit(SocketChannel channel) {
    InetAddress remote = channel.socket().getInetAddress();
    if (remote == null) {
      turnAway(channel); // gone already
    } else if (!host.isPeerAddress(remote)) {
      tally.complain(
          BadPeerException.Cause.REFUSED.counter(),
          "refused a connection from " + remote.getHostAddress() + ", which no peer has");
      turnAway(channel);
    } else if (!hasRoom(remote)) {
      tally.complain(
          PeerTally.THROTTLED, "refused one of many connections from " + remote.getHostAddress());
      turnAway(channel);
    } else {
      strangersInAll++;
      strangers.merge(remote, 1, Integer::sum);
      host.guest(channel, remote);
    }
  }

  private boolean hasRoom(InetAddress remote) {
    long now = clock.nanoTime();
    if (now - windowStartNs >= TimeUnit.SECONDS.toNanos(1)) {
      windowStartNs = now;
      recent.clear();
    }
    return recent.merge(remote, 1, Integer::sum) <= limits.perSecond()
        && strangersInAll < limits.strangers()
        && strangers.getOrDefault(remote, 0) < limits.perAddress();
  }

  /** A guest is no stranger any more, or has gone. */
  void left(InetAddress remote) {
    strangersInAll--;
    strangers.computeIfPresent(remote, (address, n) -> n == 1 ? null : n - 1);
  }

  /** Closes the door; those inside stay. */
  void close() {
    if (server != null) {
      try {
        server.close();
      } catch (IOException e) {
        tally.error("cannot close the listening socket: " + e.getMessage());
      }
      server = null;
    }
  }
}
