// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.discovery.VmIdentity;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink.State;
import hutong.link.internal.peer.KeySchedule.Side;
import hutong.link.internal.peer.Sealer.Kind;
import java.io.IOException;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * All peers and the connections with them. Of two connections with one peer, the lower of the two
 * decides which one is the link, by KEEP: the one that it has begun itself, if it can have that
 * one. Neither side uses a connection before. On the loop's thread.
 */
final class PeerTable implements Door.Host {
  private final PeerLoop loop;
  private final Dialer dialer;
  private final PeerLimits limits;
  private final Supplier<VmIdentity> identity;
  private final PeerTally tally;
  private final SecureRandom random;
  private final Observer observer;
  private final long session;

  private final Map<PeerId, Peer> peers = new HashMap<>();
  private final Set<Connection> strangers = new HashSet<>();
  private final Set<Connection> all = new HashSet<>();
  private Door door;
  private Book book = Book.EMPTY;
  private PeerId self;
  private long keeps;

  /** Who is told what becomes of the links. */
  interface Observer {
    /** A connection is the link with that peer now. */
    void up(PeerId peer, Connection link);

    /** A message came over the link. */
    void message(PeerId peer, int topic, byte[] content);

    /** It is the link no more. */
    void down(PeerId peer, Connection link);

    /** The peer has been away for long: nobody wants it any more. */
    void forgotten(PeerId peer);

    /** How the peer is, for display; null if there is nothing to show. */
    void state(PeerId peer, State state);
  }

  /** Makes an empty table; it knows nobody yet. */
  PeerTable(
      PeerLoop loop,
      Dialer dialer,
      PeerLimits limits,
      Supplier<VmIdentity> identity,
      PeerTally tally,
      SecureRandom random,
      Observer observer) {
    this.loop = loop;
    this.dialer = dialer;
    this.limits = limits;
    this.identity = identity;
    this.tally = tally;
    this.random = random;
    this.observer = observer;
    this.session = random.nextLong();
  }

  /** Begins to take connections from others. */
  void open(Door entrance) {
    door = entrance;
    door.open();
  }

  /** Somebody here wants the link with that peer. */
  void want(PeerId id) {
    Peer peer = peer(id);
    peer.wanted = true;
    attempt(peer);
    note(peer);
  }

  /** Begins what can be begun now. */
  void attemptAll() {
    List.copyOf(peers.values()).forEach(this::attempt);
  }

  // Members.

  /** Takes over what the lists say now. */
  void take(Book fresh) {
    Book old = book;
    book = fresh;
    if (fresh.self() != null && !fresh.self().equals(self)) {
      self = fresh.self();
      for (Connection connection : List.copyOf(all)) {
        end(connection, "this VM is " + self + " now");
      }
    }
    for (Peer peer : List.copyOf(peers.values())) {
      Book.Entry entry = fresh.peer(peer.id);
      checkAway(peer, entry);
      if (entry != null && !entry.equals(old.peer(peer.id))) {
        peer.pause = limits.firstRetry();
        attempt(peer);
      }
      note(peer);
    }
  }

  private void checkAway(Peer peer, Book.Entry entry) {
    if (peer.up == null || isListed(peer.up, entry)) {
      cancelAway(peer);
    } else if (entry != null && !entry.key().equals(peer.up.handshake().peerKey())) {
      end(peer.up, "it has another key now");
    } else if (peer.away == null) {
      peer.away =
          loop.schedule(
              limits.away(),
              () -> {
                peer.away = null;
                end(peer.up, "it has left the lists");
              });
    }
  }

  private static void cancelRetry(Peer peer) {
    if (peer.retry != null) {
      peer.retry.cancel();
      peer.retry = null;
    }
  }

  private static void cancelAway(Peer peer) {
    if (peer.away != null) {
      peer.away.cancel();
      peer.away = null;
    }
  }

  private static boolean isListed(Connection connection, Book.Entry entry) {
    return entry != null
        && entry.key().equals(connection.handshake().peerKey())
        && entry.addresses().contains(connection.remote());
  }

  private Peer peer(PeerId id) {
    return peers.computeIfAbsent(id, i -> new Peer(i, limits.firstRetry()));
  }

  /** Shows how the peer is, and forgets it if there is nothing to remember. */
  private void note(Peer peer) {
    boolean listed = book.peer(peer.id) != null;
    forgetLater(peer, listed);
    if (!listed && !peer.wanted && peer.isIdle()) {
      peers.remove(peer.id);
      observer.state(peer.id, null);
    } else if (peer.up != null) {
      observer.state(peer.id, State.UP);
    } else if (!listed) {
      observer.state(peer.id, State.UNREACHABLE);
    } else {
      observer.state(peer.id, peer.wanted || !peer.isIdle() ? State.CONNECTING : State.IDLE);
    }
  }

  /** What is wanted of a peer that has gone for good must not stay for ever. */
  private void forgetLater(Peer peer, boolean listed) {
    boolean away = !listed && peer.wanted && peer.isIdle();
    if (!away && peer.forget != null) {
      peer.forget.cancel();
      peer.forget = null;
    } else if (away && peer.forget == null) {
      peer.forget =
          loop.schedule(
              limits.forget(),
              () -> {
                peer.forget = null;
                peer.wanted = false;
                cancelRetry(peer);
                note(peer);
                observer.forgotten(peer.id);
              });
    }
  }

  // Connections from here.

  /** Begins a connection, if one is wanted, possible and not there. */
  private void attempt(Peer peer) {
    Book.Entry entry = book.peer(peer.id);
    if (!peer.wanted || !peer.isIdle() || entry == null || identity.get() == null) {
      return;
    }
    cancelRetry(peer);
    InetAddress address = entry.addresses().get(peer.address % entry.addresses().size());
    SocketChannel channel;
    try {
      channel = dialer.dial(address);
    } catch (IOException e) {
      tally.complain(PeerTally.UNREACHED, "cannot connect to " + peer.id + ": " + e.getMessage());
      failed(peer);
      return;
    }
    Connection connection = connection(channel, address, peer.id);
    peer.attempt = connection;
    start(connection);
  }

  private void failed(Peer peer) {
    peer.address++;
    retry(peer);
  }

  private void retry(Peer peer) {
    if (peer.wanted && peer.isIdle() && peer.retry == null) {
      peer.retry =
          loop.schedule(
              peer.pause,
              () -> {
                peer.retry = null;
                attempt(peer);
                note(peer);
              });
      boolean last = peer.pause.multipliedBy(2).compareTo(limits.lastRetry()) >= 0;
      peer.pause = last ? limits.lastRetry() : peer.pause.multipliedBy(2);
    }
  }

  private Connection connection(SocketChannel channel, InetAddress remote, PeerId target) {
    Connection connection =
        new Connection(
            channel, remote, target, new World(remote), new Events(), limits.queueBytes());
    all.add(connection);
    return connection;
  }

  private void start(Connection connection) {
    connection.deadline =
        loop.schedule(
            limits.handshake(),
            () -> {
              tally.complain(PeerTally.TIMEOUT, describe(connection) + ": it took too long");
              end(connection, "it took too long");
            });
    try {
      connection.start(loop);
    } catch (IOException | RuntimeException e) {
      end(connection, e.toString());
    }
  }

  // Connections from others.

  @Override
  public boolean isPeerAddress(InetAddress remote) {
    return book.isPeerAddress(remote);
  }

  @Override
  public void guest(SocketChannel channel, InetAddress remote) {
    Connection connection = connection(channel, remote, null);
    strangers.add(connection);
    try {
      dialer.prepare(channel);
    } catch (IOException e) {
      end(connection, "it has gone already");
      return;
    }
    start(connection);
  }

  private static String describe(Connection connection) {
    return "connection "
        + (connection.side() == Side.BEGINNER ? "to " : "from ")
        + connection.remote().getHostAddress()
        + (connection.peer() == null ? "" : " (" + connection.peer() + ")");
  }

  /** What a handshake has to know. */
  private final class World implements Handshake.World {
    private final InetAddress remote;

    private World(InetAddress remote) {
      this.remote = remote;
    }

    @Override
    public PeerId self() {
      return self;
    }

    @Override
    public long session() {
      return session;
    }

    @Override
    public SecureRandom random() {
      return random;
    }

    @Override
    public byte[] sign(byte[] data) throws BadPeerException {
      VmIdentity own = identity.get();
      if (own == null) {
        throw new BadPeerException(BadPeerException.Cause.REFUSED, "this VM has no key now");
      }
      return own.sign(data);
    }

    @Override
    public String admit(PeerId peer) throws BadPeerException {
      Book.Entry entry = book.peer(peer);
      if (entry == null || !entry.addresses().contains(remote)) {
        throw new BadPeerException(
            BadPeerException.Cause.REFUSED,
            entry == null ? peer + " is no peer" : peer + " does not have that address");
      }
      return entry.key();
    }

    @Override
    public long lastKeep(PeerId id, long life) {
      Peer peer = peers.get(id);
      return peer != null && peer.keepSession == life ? peer.keepNumber : 0;
    }
  }

  // What connections tell.

  private final class Events implements Connection.Owner {
    @Override
    public void proved(Connection connection) {
      Peer peer = peer(connection.peer());
      if (isLower(peer)) {
        choose(peer, connection);
      } // else the peer says KEEP
    }

    @Override
    public void received(Connection connection, Sealer.Content record) throws BadPeerException {
      Peer peer = peer(connection.peer());
      if (record.kind() == Kind.DATA && peer.up == connection) {
        observer.message(peer.id, record.topic(), record.content());
      } else if (record.kind() == Kind.KEEP
          && !isLower(peer)
          && peer.up != connection
          && record.topic() == 0
          && record.content().length == Long.BYTES) {
        obey(peer, connection, ByteBuffer.wrap(record.content()).getLong());
      } else {
        throw new BadPeerException(BadPeerException.Cause.MALFORMED, "a record out of place");
      }
    }

    @Override
    public void broken(Connection connection, Exception why) {
      if (why instanceof BadPeerException bad) {
        tally.complain(bad.why().counter(), describe(connection) + ": " + bad.getMessage());
        if (bad.why() == BadPeerException.Cause.VERSION && connection.side() == Side.ANSWERER) {
          connection.sendVersion();
        }
      } else if (!(why instanceof IOException)) {
        tally.complain(PeerTally.FAILED, describe(connection) + ": " + why);
      } else if (connection.side() == Side.BEGINNER && !connection.isProved()) {
        tally.complain(PeerTally.UNREACHED, describe(connection) + ": " + why.getMessage());
      }
      end(connection, why.getMessage());
    }
  }

  private boolean isLower(Peer peer) {
    return self.compareTo(peer.id) < 0;
  }

  /** On the lower side: what is to become of a connection that is proved. */
  private void choose(Peer peer, Connection fresh) {
    if (fresh.side() == Side.BEGINNER) {
      keep(peer, fresh);
    } else if (peer.up != null
        && peer.up.handshake().peerSession() == fresh.handshake().peerSession()
        && peer.up.keep() != fresh.handshake().peerLastKeep()) {
      // It was begun before the peer knew of the link, which stands.
      end(fresh, "there is another one");
    } else if (peer.attempt != null) {
      if (peer.spare != null) {
        end(peer.spare, "there is another one");
      }
      peer.spare = fresh;
      loop.schedule(
          limits.precedence(),
          () -> {
            if (peer.spare == fresh) {
              keep(peer, fresh);
            }
          });
    } else {
      keep(peer, fresh);
    }
  }

  private void keep(Peer peer, Connection connection) {
    if (becomeUp(peer, connection)) {
      try {
        connection.sendKeep(++keeps);
        announce(peer);
      } catch (IOException e) {
        end(connection, e.getMessage());
      }
    }
  }

  /** On the higher side: the peer has chosen. */
  private void obey(Peer peer, Connection connection, long number) {
    long life = connection.handshake().peerSession();
    if (peer.keepSession == life && number <= peer.keepNumber) {
      end(connection, "there is another one");
      return;
    }
    peer.keepSession = life;
    peer.keepNumber = number;
    if (becomeUp(peer, connection)) {
      announce(peer);
    }
  }

  /** Makes this connection the link; the others with that peer end. */
  private boolean becomeUp(Peer peer, Connection connection) {
    if (!isListed(connection, book.peer(peer.id))) {
      end(connection, "it has left the lists");
      return false;
    }
    List<Connection> others = new ArrayList<>();
    for (Connection other : new Connection[] {peer.up, peer.attempt, peer.spare}) {
      if (other != null && other != connection) {
        others.add(other);
      }
    }
    peer.attempt = null;
    peer.spare = null;
    others.forEach(other -> end(other, "there is another one"));
    if (strangers.remove(connection)) {
      door.left(connection.remote());
    }
    if (connection.deadline != null) {
      connection.deadline.cancel();
    }
    cancelRetry(peer);
    cancelAway(peer);
    peer.pause = limits.firstRetry();
    peer.up = connection;
    connection.setUp();
    return true;
  }

  /** Tells everybody that the link is up. */
  private void announce(Peer peer) {
    note(peer);
    tally.count(PeerTally.UP);
    tally.info("link to " + peer.id + " (" + peer.up.remote().getHostAddress() + ") is up");
    peer.announced = true;
    observer.up(peer.id, peer.up);
  }

  /** Ends a connection, and the link if it was that. */
  private void end(Connection connection, String why) {
    if (!all.remove(connection)) {
      return;
    }
    connection.close();
    if (strangers.remove(connection)) {
      door.left(connection.remote());
    }
    Peer peer = connection.peer() == null ? null : peers.get(connection.peer());
    if (peer == null) {
      return;
    }
    if (peer.up == connection) {
      peer.up = null;
      cancelAway(peer);
      note(peer); // before somebody who is told looks
      if (peer.announced) {
        peer.announced = false;
        tally.count(PeerTally.DOWN);
        tally.info("link to " + peer.id + " is down: " + why);
        observer.down(peer.id, connection);
      }
      retry(peer);
    } else if (peer.attempt == connection) {
      peer.attempt = null;
      failed(peer);
      if (peer.spare != null) {
        keep(peer, peer.spare);
      }
    } else if (peer.spare == connection) {
      peer.spare = null;
    }
    note(peer);
  }

  /** Ends all; nobody is told. After the loop has ended. */
  void close() {
    List.copyOf(all).forEach(Connection::close);
    all.clear();
    if (door != null) {
      door.close();
    }
  }
}
