// SPDX-License-Identifier: Apache-2.0
package hutong.xenstore.internal.server;

import hutong.xenstore.internal.store.Transaction;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SelectionKey;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * One client's connection: framing, its watches and transactions, and what waits to be sent. Used
 * by the server's thread only.
 *
 * <p>A client that does not read its answers is not read from either (back-pressure), so that it
 * holds a bounded amount of memory and delays nobody. Watch events come unasked: equal ones that
 * wait are merged, and a client that leaves too many different ones unread is disconnected.
 */
final class Connection {
  /** Requests served in one turn, so that a busy client leaves room for the others. */
  private static final int REQUESTS_PER_TURN = 32;

  /** Answers that may wait before the client is no longer read from. */
  private static final int OUTPUT_PAUSE_BYTES = 32 * 1024;

  /** Events that may wait before the client is disconnected. */
  private static final int EVENTS_MAX_BYTES = 256 * 1024;

  /** A watch: where, and what the client wants to be told. */
  record Watch(String path, String token, String relativeTo) {
    /** The path as the client named it. */
    String asSeen(String changed) {
      if (relativeTo == null) {
        return changed;
      }
      return changed.length() > relativeTo.length()
          ? changed.substring(relativeTo.length() + 1)
          : "";
    }
  }

  private record Outgoing(ByteBuffer bytes, String event) {}

  final int domid;
  final List<Watch> watches = new ArrayList<>();
  final Map<Integer, Transaction> transactions = new HashMap<>();
  private final SocketChannel channel;
  private final SelectionKey key;
  private final ByteBuffer header =
      ByteBuffer.allocate(Message.HEADER_BYTES).order(ByteOrder.nativeOrder());
  private final Deque<Outgoing> output = new ArrayDeque<>();
  private final Set<String> waitingEvents = new HashSet<>();
  private ByteBuffer payload;
  private int outputBytes;
  private int eventBytes;
  private int nextTransaction = 1;
  private boolean overflowed;

  Connection(int domid, SocketChannel channel, SelectionKey key) {
    this.domid = domid;
    this.channel = channel;
    this.key = key;
  }

  /**
   * Serves what has arrived; returns false at the end of the connection or after a violation of the
   * protocol.
   */
  boolean receive(Handler handler) throws IOException {
    for (int served = 0; served < REQUESTS_PER_TURN; ) {
      if (outputBytes > OUTPUT_PAUSE_BYTES) {
        break;
      }
      if (payload == null) {
        if (channel.read(header) < 0) {
          return false;
        }
        if (header.hasRemaining()) {
          break;
        }
        int length = header.getInt(12);
        if (length < 0 || length > Message.PAYLOAD_MAX) {
          return false;
        }
        payload = ByteBuffer.allocate(length);
      }
      if (payload.hasRemaining() && channel.read(payload) < 0) {
        return false;
      }
      if (payload.hasRemaining()) {
        break;
      }
      Message message =
          new Message(header.getInt(0), header.getInt(4), header.getInt(8), payload.array());
      header.clear();
      payload = null;
      served++;
      handler.handle(this, message);
    }
    return flush();
  }

  void answer(MessageType type, Message request, byte[] body) {
    enqueue(Message.encode(type, request.requestId(), request.transactionId(), body), null);
  }

  /** Queues an event unless the same one waits already. */
  void event(Watch watch, String changed) {
    String path = watch.asSeen(changed);
    String identity = path + '\0' + watch.token();
    byte[] body = Message.join(List.of(path, watch.token()));
    if (body.length > Message.PAYLOAD_MAX || overflowed || !waitingEvents.add(identity)) {
      return;
    }
    eventBytes += body.length + Message.HEADER_BYTES;
    if (eventBytes > EVENTS_MAX_BYTES) {
      overflowed = true;
    }
    enqueue(Message.encode(MessageType.WATCH_EVENT, 0, 0, body), identity);
  }

  private void enqueue(ByteBuffer bytes, String event) {
    output.add(new Outgoing(bytes, event));
    outputBytes += bytes.remaining();
  }

  /** Sends what the socket takes; returns false if the connection is to be closed. */
  boolean flush() throws IOException {
    while (!output.isEmpty()) {
      Outgoing first = output.peek();
      int sent = channel.write(first.bytes());
      outputBytes -= sent;
      if (first.bytes().hasRemaining()) {
        break;
      }
      output.remove();
      if (first.event() != null) {
        waitingEvents.remove(first.event());
        eventBytes -= first.bytes().limit();
      }
    }
    if (overflowed && !output.isEmpty()) {
      return false;
    }
    int read = outputBytes > OUTPUT_PAUSE_BYTES ? 0 : SelectionKey.OP_READ;
    key.interestOps(read | (output.isEmpty() ? 0 : SelectionKey.OP_WRITE));
    return true;
  }

  boolean hasOutput() {
    return !output.isEmpty();
  }

  /** An identifier for a transaction that this connection does not use now; never 0. */
  int newTransactionId() {
    while (nextTransaction == 0 || transactions.containsKey(nextTransaction)) {
      nextTransaction++;
    }
    return nextTransaction++;
  }

  void close() {
    key.cancel();
    try {
      channel.close();
    } catch (IOException e) {
      // Nothing is left to be done for a channel that cannot even be closed.
    }
  }

  /** Serves one request. */
  interface Handler {
    void handle(Connection connection, Message message);
  }
}
