// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

import java.io.EOFException;
import java.io.IOException;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;

/** A client that speaks the wire protocol byte by byte, for tests. */
final class WireClient implements AutoCloseable {
  /** An answer or event. */
  record Reply(int type, int requestId, int transactionId, String body) {
    boolean is(MessageType expected) {
      return type == expected.ordinal();
    }
  }

  final SocketChannel channel;
  final Deque<String> events = new ArrayDeque<>();
  private int nextId = 1;

  WireClient(Path socket) throws IOException {
    channel = SocketChannel.open(UnixDomainSocketAddress.of(socket));
  }

  /** Sends a request and returns its answer's body, or the name of the error. */
  String call(MessageType type, int tx, String body) throws IOException {
    int id = nextId++;
    send(type.ordinal(), id, tx, body);
    while (true) {
      Reply reply = receive();
      if (reply.is(MessageType.WATCH_EVENT)) {
        events.add(reply.body());
        continue;
      }
      if (reply.requestId() != id || reply.transactionId() != tx) {
        throw new IOException("answer to another request: " + reply);
      }
      if (!reply.is(type) && !reply.is(MessageType.ERROR)) {
        throw new IOException("answer of another type: " + reply);
      }
      return reply.body();
    }
  }

  String nextEvent() throws IOException {
    while (events.isEmpty()) {
      Reply reply = receive();
      if (!reply.is(MessageType.WATCH_EVENT)) {
        throw new IOException("unexpected " + reply);
      }
      events.add(reply.body());
    }
    return events.remove();
  }

  void send(int type, int id, int tx, String body) throws IOException {
    byte[] bytes = body.getBytes(StandardCharsets.ISO_8859_1);
    ByteBuffer buffer = ByteBuffer.allocate(16 + bytes.length).order(ByteOrder.nativeOrder());
    buffer.putInt(type).putInt(id).putInt(tx).putInt(bytes.length).put(bytes).flip();
    write(buffer);
  }

  void write(ByteBuffer buffer) throws IOException {
    while (buffer.hasRemaining()) {
      channel.write(buffer);
    }
  }

  Reply receive() throws IOException {
    ByteBuffer header = read(16);
    ByteBuffer body = read(header.getInt(12));
    return new Reply(
        header.getInt(0),
        header.getInt(4),
        header.getInt(8),
        new String(body.array(), StandardCharsets.ISO_8859_1));
  }

  private ByteBuffer read(int length) throws IOException {
    ByteBuffer buffer = ByteBuffer.allocate(length).order(ByteOrder.nativeOrder());
    while (buffer.hasRemaining()) {
      if (channel.read(buffer) < 0) {
        throw new EOFException();
      }
    }
    return buffer;
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
