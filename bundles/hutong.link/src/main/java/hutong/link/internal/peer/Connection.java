// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.link.PeerId;
import hutong.link.internal.peer.KeySchedule.Side;
import hutong.link.internal.peer.Sealer.Kind;
import java.io.IOException;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.SocketChannel;
import java.security.GeneralSecurityException;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * One TCP connection: its bytes, its handshake, its records. What they mean is its {@link Owner}'s
 * business. On the loop's thread, but for {@link #offer}.
 */
final class Connection {
  private static final int BASE_BYTES = 16_384;

  /** Buffers written or read before other connections get their turn. */
  private static final int TURNS = 16;

  /** Who is told what happens. */
  interface Owner {
    /** The other side is who it says it is. */
    void proved(Connection connection);

    /** A record came, after that. */
    void received(Connection connection, Sealer.Content record) throws BadPeerException;

    /** The connection cannot go on; it is not closed yet. */
    void broken(Connection connection, Exception why);
  }

  private final SocketChannel channel;
  private final InetAddress remote;
  private final Side side;
  private final PeerId target;
  private final Handshake.World world;
  private final Owner owner;
  private final Outbox outbox;
  private final AtomicBoolean flushDue = new AtomicBoolean();

  private SelectionKey key;
  private Handshake handshake;
  private ByteBuffer in = ByteBuffer.allocate(Handshake.MAX_BYTES);
  private ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
  private boolean connected;
  private boolean proved;
  private boolean up;
  private boolean closed;
  private long keep;

  /** Cancels what is to happen if the connection does not come up; the owner's. */
  PeerLoop.Timer deadline;

  /**
   * Takes a channel.
   *
   * @param channel connected, or being connected; this object closes it
   * @param remote the other side's address
   * @param target whom this side wants to reach; null if the other side began
   */
  Connection(
      SocketChannel channel,
      InetAddress remote,
      PeerId target,
      Handshake.World world,
      Owner owner,
      int queueBytes) {
    this.channel = channel;
    this.remote = remote;
    this.target = target;
    this.side = target == null ? Side.ANSWERER : Side.BEGINNER;
    this.world = world;
    this.owner = owner;
    this.outbox = new Outbox(queueBytes);
  }

  /** Begins to talk as soon as the channel is connected. */
  void start(PeerLoop loop) throws IOException {
    connected = channel.isConnected();
    key =
        loop.register(
            channel, connected ? SelectionKey.OP_READ : SelectionKey.OP_CONNECT, this::ready);
    if (connected) {
      greet();
    }
  }

  private void greet() throws IOException {
    if (side == Side.ANSWERER) {
      handshake = Handshake.answer(world);
      return;
    }
    try {
      handshake = Handshake.begin(world, target, out);
    } catch (GeneralSecurityException e) {
      throw new IOException("no keys can be made: " + e.getMessage(), e);
    }
    flush();
  }

  private void ready() {
    if (closed || !key.isValid()) {
      return;
    }
    try {
      if (key.isConnectable()) {
        channel.finishConnect();
        connected = true;
        key.interestOps(SelectionKey.OP_READ);
        greet();
        return;
      }
      if (key.isWritable()) {
        flush();
      }
      if (key.isReadable()) {
        read();
      }
    } catch (IOException | BadPeerException | GeneralSecurityException | RuntimeException e) {
      owner.broken(this, e);
    } catch (Error e) {
      owner.broken(this, new IllegalStateException(e)); // no memory for it, for example
    }
  }

  private void read() throws IOException, BadPeerException, GeneralSecurityException {
    for (int i = 0; i < TURNS && !closed; i++) {
      int count = channel.read(in);
      if (count < 0) {
        throw new IOException("it has closed the connection");
      }
      if (count == 0) {
        return;
      }
      in.flip();
      try {
        use();
      } finally {
        in.compact();
      }
      resize();
    }
  }

  private void use() throws IOException, BadPeerException, GeneralSecurityException {
    if (!proved) {
      boolean done = handshake.step(in, out);
      flush();
      if (!done) {
        return;
      }
      proved = true;
      owner.proved(this);
    }
    while (!closed && in.remaining() >= 4) {
      int total = Sealer.length(in, up ? Sealer.MAX_CONTENT : Long.BYTES);
      if (in.remaining() < total) {
        return;
      }
      owner.received(this, handshake.reader().open(in, total));
    }
  }

  /** Gives the buffer the size that is needed next: between two calls of {@link #use}. */
  private void resize() throws BadPeerException {
    int needed = up ? BASE_BYTES : Handshake.MAX_BYTES;
    if (up && in.position() >= 4) {
      needed = Math.max(needed, Sealer.length(in.duplicate().flip(), Sealer.MAX_CONTENT));
    }
    if (needed != in.capacity() && in.position() <= needed) {
      in = ByteBuffer.allocate(needed).put(in.flip());
    }
  }

  /** Says that this connection is the link now; on the lower peer's side. */
  void sendKeep(long number) throws IOException {
    keep = number;
    byte[] content = ByteBuffer.allocate(Long.BYTES).putLong(number).array();
    seal(Kind.KEEP, 0, content);
    flush();
  }

  /** From now on messages go both ways. */
  void setUp() {
    up = true;
  }

  private void seal(Kind kind, int topic, byte[] content) throws IOException {
    try {
      handshake.writer().seal(kind, topic, content, out);
    } catch (GeneralSecurityException e) {
      throw new IOException("cannot encrypt: " + e.getMessage(), e);
    }
  }

  /**
   * Adds a message to those that are to be sent; on any thread. Whoever gets true from {@link
   * #needsFlush} afterwards has to see to {@link #flushQueue}.
   */
  boolean offer(Outbox.Message message) throws IOException {
    return outbox.offer(message);
  }

  /** Whether nobody else sees to it already; on any thread. */
  boolean needsFlush() {
    return flushDue.compareAndSet(false, true);
  }

  /** Sends what waits, as far as the network takes it. */
  void flushQueue() {
    flushDue.set(false);
    try {
      flush();
    } catch (IOException | RuntimeException e) {
      owner.broken(this, e);
    }
  }

  private void flush() throws IOException {
    if (closed || !connected) {
      return;
    }
    boolean left = fill();
    for (int i = 0; left && i < TURNS; i++) {
      out.flip();
      channel.write(out);
      out.compact();
      if (out.position() > 0) {
        break;
      }
      left = fill();
    }
    int ops = SelectionKey.OP_READ | (left ? SelectionKey.OP_WRITE : 0);
    if (key.interestOps() != ops) {
      key.interestOps(ops);
    }
  }

  /** Seals messages while there is room; returns whether something is to be written. */
  private boolean fill() throws IOException {
    while (up) {
      Outbox.Message message = outbox.peek();
      if (message == null) {
        break;
      }
      int total = message.content().length + Sealer.OVERHEAD;
      if (out.remaining() < total) {
        if (out.position() > 0) {
          break; // first what is there
        }
        out = ByteBuffer.allocate(Math.max(total, BASE_BYTES));
      }
      if (handshake.writer().isWornOut()) {
        throw new IOException("its keys have been used for as long as they may be");
      }
      seal(Kind.DATA, message.topic(), message.content());
      outbox.remove();
    }
    if (out.position() == 0 && out.capacity() > BASE_BYTES) {
      out = ByteBuffer.allocate(BASE_BYTES);
    }
    return out.position() > 0;
  }

  /** Says which version is spoken here, if the network takes it at once. */
  void sendVersion() {
    try {
      channel.write(ByteBuffer.wrap(Hello.versionOnly()));
    } catch (IOException e) {
      closed |= !channel.isOpen(); // it cannot be told, then
    }
  }

  /** Ends it; what waits is dropped. */
  void close() {
    closed = true;
    outbox.close();
    if (deadline != null) {
      deadline.cancel();
    }
    try {
      channel.close();
    } catch (IOException e) {
      up = false; // it is closed for us in any case
    }
  }

  boolean isClosed() {
    return closed;
  }

  /** Which side this is. */
  Side side() {
    return side;
  }

  InetAddress remote() {
    return remote;
  }

  /** The other side: proved, or wanted, or said; null if nothing is known. */
  PeerId peer() {
    return target != null || handshake == null ? target : handshake.peer();
  }

  boolean isProved() {
    return proved;
  }

  /** Of a connection that is proved. */
  Handshake handshake() {
    return handshake;
  }

  /** Number of the KEEP that was sent here; 0 if none was. */
  long keep() {
    return keep;
  }
}
