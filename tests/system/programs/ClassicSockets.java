/* SPDX-License-Identifier: Apache-2.0 */

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.channels.SocketChannel;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;

/**
 * Blocking sockets with a thread for each: streams, timeouts, half-close, and closing while another thread reads.
 *
 * <p>{@code ClassicSockets server PORT CONNECTIONS}, {@code ClassicSockets client ADDRESS PORT SEED}. The client prints
 * one line for each scenario; they are the same in every run. The server echoes frames (a zero byte, the
 * length, bytes); after a frame of the byte 77 it answers a half-close; after the frame "R" it drops the connection
 * without reading the rest.
 */
public final class ClassicSockets {
  private static final int THREADS = 4;
  private static final int FRAMES = 60;
  private static final int MOST = 96 << 10;
  private static final byte HALF = 77;

  private final String address;
  private final int port;
  private final long seed;

  private ClassicSockets(String address, int port, long seed) {
    this.address = address;
    this.port = port;
    this.seed = seed;
  }

  /** Runs one end. */
  public static void main(String[] args) throws Exception {
    if (args.length == 3 && args[0].equals("server")) {
      serve(Integer.parseInt(args[1]), Integer.parseInt(args[2]));
    } else if (args.length == 4 && args[0].equals("client")) {
      new ClassicSockets(args[1], Integer.parseInt(args[2]), Long.parseLong(args[3])).all();
    } else {
      System.err.println("usage: ClassicSockets server PORT CONNECTIONS | client ADDRESS PORT SEED");
      System.exit(2);
    }
  }

  // ---- server

  private static void serve(int port, int connections) throws Exception {
    var threads = new Thread[connections];
    try (var listener = new ServerSocket(port)) {
      for (int i = 0; i < connections; i++) {
        Socket socket = listener.accept();
        threads[i] = new Thread(() -> one(socket));
        threads[i].start();
      }
      for (Thread thread : threads) {
        thread.join();
      }
    }
    System.out.println("served " + connections);
  }

  private static void one(Socket socket) {
    try (socket) {
      socket.setTcpNoDelay(true);
      var in = new DataInputStream(socket.getInputStream());
      var out = new DataOutputStream(socket.getOutputStream());
      boolean answer = false;
      while (in.read() >= 0) {
        byte[] frame = in.readNBytes(in.readInt());
        answer = frame.length == 1 && frame[0] == HALF;
        out.writeInt(frame.length);
        out.write(frame);
        if (frame.length == 1 && frame[0] == 'R') {
          // What follows is never read, and the close is a reset.
          while (in.available() == 0) {
            Thread.sleep(1);
          }
          socket.setSoLinger(true, 0);
          return;
        }
      }
      /*
       * A half-close: say so, and end. Only where it was announced: Java's close() begins with a half-close too, and a
       * thread that still reads then may get the answer, on any path that is quick enough.
       */
      if (answer) {
        out.writeInt(-1);
      }
    } catch (IOException e) {
      // The client closes in the middle of things: meant.
      return;
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  // ---- client

  private interface Scenario {
    String run() throws Exception;
  }

  private void all() throws Exception {
    say("frames", this::frames);
    say("half-close", this::halfClose);
    say("timeout", this::timeout);
    say("close while another reads", this::closeWhileRead);
    say("shutdownInput while another reads", this::shutdownWhileRead);
    say("interrupt a channel's reader", this::interrupt);
    say("close a channel while another reads", this::closeChannel);
    say("close while another writes", this::closeWhileWrite);
    say("reset", this::reset);
  }

  private static void say(String name, Scenario scenario) throws Exception {
    System.out.println(name + ": " + scenario.run());
  }

  /** A connection on which enough has happened for it to have left its youth. */
  private Socket open() throws Exception {
    var socket = new Socket(address, port);
    socket.setTcpNoDelay(true);
    var random = new Random(seed);
    for (int i = 0; i < 8; i++) {
      exchange(socket, random, 32 << 10);
      Thread.sleep(10);
    }
    return socket;
  }

  private static long exchange(Socket socket, Random random, int length) throws IOException {
    byte[] frame = new byte[length];
    random.nextBytes(frame);
    var out = new DataOutputStream(socket.getOutputStream());
    // One call for the head, one for the body, as programs do.
    out.write(0);
    out.writeInt(length);
    out.write(frame);
    var in = new DataInputStream(socket.getInputStream());
    if (in.readInt() != length) {
      throw new IOException("a wrong length came back");
    }
    byte[] back = in.readNBytes(length);
    long sum = 0;
    for (int i = 0; i < length; i++) {
      if (i >= back.length || back[i] != frame[i]) {
        throw new IOException("a wrong byte came back at " + i);
      }
      sum = sum * 31 + back[i];
    }
    return sum;
  }

  private String frames() throws Exception {
    var tasks = new FutureTask<?>[THREADS];
    long sum = 0;
    for (int i = 0; i < THREADS; i++) {
      var random = new Random(seed + i);
      var task =
          new FutureTask<>(
              () -> {
                long mine = 0;
                try (Socket socket = open()) {
                  for (int n = 0; n < FRAMES; n++) {
                    mine += exchange(socket, random, 1 + random.nextInt(MOST));
                  }
                }
                return mine;
              });
      tasks[i] = task;
      new Thread(task).start();
    }
    for (FutureTask<?> task : tasks) {
      sum += (Long) task.get();
    }
    return "sum " + Long.toHexString(sum);
  }

  private String halfClose() throws Exception {
    try (Socket socket = open()) {
      socket.getOutputStream().write(new byte[] {0, 0, 0, 0, 1, HALF});
      socket.shutdownOutput();
      var in = new DataInputStream(socket.getInputStream());
      return in.readInt() + " " + in.read() + " " + in.readInt() + " " + in.read();
    }
  }

  private String timeout() throws Exception {
    try (Socket socket = open()) {
      socket.setSoTimeout(50);
      String said = "nothing";
      try {
        socket.getInputStream().read();
      } catch (SocketTimeoutException e) {
        said = e.getMessage();
      }
      socket.setSoTimeout(0);
      return said + ", then " + Long.toHexString(exchange(socket, new Random(seed), MOST));
    }
  }

  /** What a thread gets from a call that blocks, while `meanwhile` is done to the connection by this one. */
  private static String blocked(Callable<Object> call, Scenario meanwhile) throws Exception {
    var task =
        new FutureTask<>(
            () -> {
              try {
                return "returned " + call.call();
              } catch (AsynchronousCloseException | SocketException e) {
                return e.getClass().getName() + ": " + e.getMessage();
              }
            });
    var thread = new Thread(task);
    thread.start();
    Thread.sleep(150);
    meanwhile.run();
    return task.get();
  }

  private String closeWhileRead() throws Exception {
    Socket socket = open();
    return blocked(
        () -> socket.getInputStream().read(),
        () -> {
          socket.close();
          return "";
        });
  }

  private String shutdownWhileRead() throws Exception {
    try (Socket socket = open()) {
      return blocked(
          () -> socket.getInputStream().read(),
          () -> {
            socket.shutdownInput();
            return "";
          });
    }
  }

  /** A blocking channel that has carried as much as open() does. */
  private SocketChannel channel() throws Exception {
    var channel = SocketChannel.open(new InetSocketAddress(address, port));
    ByteBuffer frame = ByteBuffer.allocateDirect(5 + (32 << 10));
    for (int i = 0; i < 8; i++) {
      frame.clear();
      frame.put(0, (byte) 0).putInt(1, 32 << 10);
      while (frame.hasRemaining()) {
        channel.write(frame);
      }
      frame.clear().limit(4 + (32 << 10));
      while (frame.hasRemaining()) {
        if (channel.read(frame) < 0) {
          throw new IOException("the end came early");
        }
      }
      Thread.sleep(10);
    }
    return channel;
  }

  private String interrupt() throws Exception {
    var channel = channel();
    var reader = new Thread[1];
    String said =
        blocked(
            () -> {
              reader[0] = Thread.currentThread();
              try {
                return channel.read(ByteBuffer.allocate(10));
              } catch (ClosedByInterruptException e) {
                return "to an interrupt";
              }
            },
            () -> {
              reader[0].interrupt();
              return "";
            });
    return said + ", open: " + channel.isOpen();
  }

  private String closeChannel() throws Exception {
    var channel = channel();
    return blocked(
        () -> channel.read(ByteBuffer.allocate(10)),
        () -> {
          channel.close();
          return "";
        });
  }

  private String closeWhileWrite() throws Exception {
    Socket socket = open();
    // Answers are not read, so the server stops reading, and sooner or later this blocks.
    return blocked(
        () -> {
          byte[] frame = new byte[5 + MOST];
          ByteBuffer.wrap(frame).putInt(1, MOST);
          for (; ; ) {
            socket.getOutputStream().write(frame);
          }
        },
        () -> {
          Thread.sleep(500);
          socket.close();
          return "";
        });
  }

  private String reset() throws Exception {
    try (Socket socket = open()) {
      socket.getOutputStream().write(new byte[] {0, 0, 0, 0, 1, 'R', 0, 1, 2, 3});
      var in = new DataInputStream(socket.getInputStream());
      int length = in.readInt();
      int value = in.read();
      try {
        return length + " " + value + ", then " + in.read();
      } catch (SocketException e) {
        return length + " " + value + ", then " + e.getMessage();
      }
    }
  }
}
