// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import hutong.api.link.PeerId;
import hutong.link.internal.peer.Sealer.Kind;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;

/** A socket that talks to a node as a test wants. */
final class RawPeer implements AutoCloseable {
  final Socket socket;
  final ByteArrayOutputStream sent = new ByteArrayOutputStream();
  private final DataInputStream in;
  private Handshake handshake;

  RawPeer(Socket socket) throws IOException {
    this.socket = socket;
    socket.setSoTimeout((int) TimeUnit.SECONDS.toMillis(Node.DEADLINE_S));
    socket.setTcpNoDelay(true);
    this.in = new DataInputStream(socket.getInputStream());
  }

  /** Connects from 127.0.0.n to the node. */
  static RawPeer connect(int from, int to, int port) throws IOException {
    return connect(Node.address(from), Node.address(to), port);
  }

  static RawPeer connect(String from, String to, int port) throws IOException {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(Node.DEADLINE_S);
    while (true) {
      Socket socket = new Socket();
      try {
        socket.bind(new InetSocketAddress(InetAddress.getByName(from), 0));
        socket.connect(new InetSocketAddress(InetAddress.getByName(to), port));
        return new RawPeer(socket);
      } catch (IOException e) { // it does not listen yet
        socket.close();
        if (System.nanoTime() - deadline > 0) {
          throw e;
        }
      }
    }
  }

  void write(byte[] bytes) throws IOException {
    socket.getOutputStream().write(bytes);
    sent.write(bytes);
  }

  private void write(ByteBuffer out) throws IOException {
    write(Arrays.copyOf(out.array(), out.position()));
    out.clear();
  }

  /** Begins and ends a handshake. */
  RawPeer begin(FakeWorld world, PeerId peer) throws Exception {
    ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
    handshake = Handshake.begin(world, peer, out);
    write(out);
    return finish(out);
  }

  /** Answers in a handshake that the node begins. */
  RawPeer answer(FakeWorld world) throws Exception {
    handshake = Handshake.answer(world);
    return finish(ByteBuffer.allocate(Handshake.MAX_BYTES));
  }

  private RawPeer finish(ByteBuffer out) throws Exception {
    ByteBuffer bytes = ByteBuffer.allocate(Handshake.MAX_BYTES);
    boolean done = false;
    while (!done) {
      bytes.put(in.readByte()).flip();
      done = handshake.step(bytes, out);
      bytes.compact();
      write(out);
    }
    return this;
  }

  Sealer.Content read() throws Exception {
    int length = in.readInt();
    ByteBuffer record = ByteBuffer.allocate(4 + length).putInt(length);
    in.readFully(record.array(), 4, length);
    return handshake.reader().open(record.rewind(), record.limit());
  }

  /** Reads the KEEP that must be next; returns its number. */
  long keep() throws Exception {
    Sealer.Content content = read();
    if (content.kind() != Kind.KEEP) {
      throw new IOException("no KEEP but " + content.kind());
    }
    return ByteBuffer.wrap(content.content()).getLong();
  }

  byte[] seal(Kind kind, int topic, byte[] content) throws Exception {
    ByteBuffer out = ByteBuffer.allocate(content.length + Sealer.OVERHEAD);
    handshake.writer().seal(kind, topic, content, out);
    return out.array();
  }

  void send(String text) throws Exception {
    write(seal(Kind.DATA, 1, text.getBytes()));
  }

  /** Waits until the node has closed the connection. */
  void isClosed() throws IOException {
    try {
      while (in.read() >= 0) {
        continue; // what it said before
      }
    } catch (EOFException | SocketException e) {
      return;
    }
  }

  /** The next bytes, as they are. */
  byte[] bytes(int count) throws IOException {
    return in.readNBytes(count);
  }

  @Override
  public void close() throws IOException {
    socket.close();
  }
}
