/* SPDX-License-Identifier: Apache-2.0 */

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/**
 * Echo on a Selector, one thread; what is sent is the same as in evecho.c (see pattern.h).
 *
 * <p>{@code NioEcho server PORT CONNECTIONS} echoes, and answers each end of stream with the sum, 8 bytes. {@code
 * NioEcho client ADDRESS PORT CONNECTIONS BYTES SEED} checks every byte and the sums. Both end with the line
 * connections=N bytes=N sum=...
 */
public final class NioEcho {
  private static final int BUFFER = 64 << 10;
  private static final long SUM_START = 0xcbf29ce484222325L;

  private final Selector selector;
  private final int connections;
  private int accepted;
  private int open;
  private long totalBytes;
  private long totalSum;

  private NioEcho(int connections) throws IOException {
    this.selector = Selector.open();
    this.connections = connections;
  }

  /** Runs one end; exits with 1 when a byte is wrong. */
  public static void main(String[] args) throws IOException {
    if (args.length == 3 && args[0].equals("server")) {
      new NioEcho(Integer.parseInt(args[2])).serve(Integer.parseInt(args[1]));
    } else if (args.length == 6 && args[0].equals("client")) {
      var to = new InetSocketAddress(args[1], Integer.parseInt(args[2]));
      new NioEcho(Integer.parseInt(args[3])).ask(to, Long.parseLong(args[4]), Long.parseLong(args[5]));
    } else {
      System.err.println("usage: NioEcho server PORT CONNECTIONS | client ADDRESS PORT CONNECTIONS BYTES SEED");
      System.exit(2);
    }
  }

  private static final class Pattern {
    private long state;
    private int used = 8;

    Pattern(long seed, int connection) {
      state = (seed + connection * 0x9e3779b97f4a7c15L) | 1;
    }

    byte next() {
      if (used == 8) {
        state ^= state << 13;
        state ^= state >>> 7;
        state ^= state << 17;
        used = 0;
      }
      return (byte) (state >>> (8 * used++));
    }

    int unsigned() {
      return next() & 0xff;
    }

    int piece() {
      int kind = unsigned() % 4;
      return 1 + unsigned() * (kind == 0 ? 1 : kind == 1 ? 16 : kind == 2 ? 151 : 400);
    }
  }

  private static long add(long sum, byte value) {
    return (sum ^ (value & 0xff)) * 1099511628211L;
  }

  private interface Stream {
    /** Moves what can be moved; false when the connection is done and closed. */
    boolean ready(SelectionKey key) throws IOException;
  }

  /** Runs until all connections have come and gone. */
  private void loop() throws IOException {
    while (accepted < connections || open > 0) {
      selector.select();
      var keys = selector.selectedKeys().iterator();
      while (keys.hasNext()) {
        SelectionKey key = keys.next();
        keys.remove();
        if (key.isAcceptable()) {
          accept(key);
        } else if (!((Stream) key.attachment()).ready(key)) {
          key.channel().close();
          open--;
        }
      }
    }
    System.out.printf("connections=%d bytes=%d sum=%016x%n", accepted, totalBytes, totalSum);
  }

  // ---- server

  private void serve(int port) throws IOException {
    try (var listener = ServerSocketChannel.open()) {
      listener.bind(new InetSocketAddress(port), 512);
      listener.configureBlocking(false);
      listener.register(selector, SelectionKey.OP_ACCEPT);
      loop();
    }
  }

  private void accept(SelectionKey key) throws IOException {
    SocketChannel channel = ((ServerSocketChannel) key.channel()).accept();
    if (channel != null) {
      accepted++;
      open++;
      channel.configureBlocking(false);
      channel.register(selector, SelectionKey.OP_READ, new Echo());
    }
  }

  private final class Echo implements Stream {
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(BUFFER);
    private long sum = SUM_START;
    private boolean ended;

    @Override
    public boolean ready(SelectionKey key) throws IOException {
      SocketChannel channel = (SocketChannel) key.channel();
      if (key.isReadable() && !ended) {
        int from = buffer.position();
        int count = channel.read(buffer);
        for (int i = from; i < buffer.position(); i++) {
          sum = add(sum, buffer.get(i));
        }
        totalBytes += Math.max(0, count);
        ended = count < 0;
        if (ended) {
          // The echo of the rest leaves first, so that there is room for the sum.
          key.interestOps(SelectionKey.OP_WRITE);
        }
      }
      buffer.flip();
      channel.write(buffer);
      buffer.compact();
      if (ended && buffer.position() == 0) {
        return answer(channel);
      }
      if (!ended) {
        int read = buffer.hasRemaining() ? SelectionKey.OP_READ : 0;
        key.interestOps(read | (buffer.position() > 0 ? SelectionKey.OP_WRITE : 0));
      }
      return true;
    }

    private boolean answer(SocketChannel channel) throws IOException {
      buffer.order(ByteOrder.LITTLE_ENDIAN).putLong(sum).flip();
      // Its client reads all the time, so this spins shortly if at all.
      while (buffer.hasRemaining()) {
        channel.write(buffer);
      }
      totalSum += sum;
      return false;
    }
  }

  // ---- client

  private void ask(InetSocketAddress to, long bytes, long seed) throws IOException {
    for (; accepted < connections; accepted++, open++) {
      var channel = SocketChannel.open();
      channel.setOption(StandardSocketOptions.TCP_NODELAY, accepted % 2 == 0);
      channel.configureBlocking(false);
      int interest = channel.connect(to) ? SelectionKey.OP_READ | SelectionKey.OP_WRITE : SelectionKey.OP_CONNECT;
      channel.register(selector, interest, new Asker(bytes, seed, accepted));
    }
    loop();
  }

  private final class Asker implements Stream {
    private final Pattern out;
    private final Pattern in;
    private final Pattern sizes;
    private final ByteBuffer got = ByteBuffer.allocateDirect(BUFFER);
    // On the heap and in two parts: the JDK copies them and makes one gathering write.
    private final ByteBuffer[] parts = {ByteBuffer.allocate(1 << 16), ByteBuffer.allocate(1 << 16)};
    private long left;
    private long expected;
    private long sum = SUM_START;
    private long answer;
    private int answered;

    Asker(long bytes, long seed, int number) {
      out = new Pattern(seed, number);
      in = new Pattern(seed, number);
      sizes = new Pattern(~seed, number);
      left = bytes / 2 + (number * 7919L) % bytes;
      expected = left;
      parts[0].limit(0);
      parts[1].limit(0);
    }

    @Override
    public boolean ready(SelectionKey key) throws IOException {
      SocketChannel channel = (SocketChannel) key.channel();
      if (key.isConnectable() && channel.finishConnect()) {
        key.interestOps(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
      }
      if (key.isWritable()) {
        write(key, channel);
      }
      return !key.isReadable() || read(channel);
    }

    private void write(SelectionKey key, SocketChannel channel) throws IOException {
      if (!parts[0].hasRemaining() && !parts[1].hasRemaining()) {
        if (left == 0) {
          channel.shutdownOutput();
          key.interestOps(SelectionKey.OP_READ);
          return;
        }
        int piece = (int) Math.min(sizes.piece(), left);
        fill(parts[0], piece / 2);
        fill(parts[1], piece - piece / 2);
        left -= piece;
      }
      channel.write(parts);
    }

    private void fill(ByteBuffer part, int bytes) {
      part.clear();
      for (int i = 0; i < bytes; i++) {
        byte value = out.next();
        sum = add(sum, value);
        part.put(value);
      }
      part.flip();
    }

    private boolean read(SocketChannel channel) throws IOException {
      got.clear();
      int count = channel.read(got);
      got.flip();
      while (got.hasRemaining()) {
        byte value = got.get();
        if (expected > 0) {
          check(value == in.next(), "a wrong byte");
          expected--;
          totalBytes++;
        } else {
          check(answered < 8, "more bytes than were sent");
          answer |= (value & 0xffL) << (8 * answered++);
        }
      }
      if (count < 0) {
        check(expected == 0 && answered == 8, "the end came early");
        check(answer == sum, "the server's sum is another one");
        totalSum += sum;
      }
      return count >= 0;
    }
  }

  private static void check(boolean good, String otherwise) {
    if (!good) {
      System.err.println("NioEcho: " + otherwise);
      System.exit(1);
    }
  }
}
