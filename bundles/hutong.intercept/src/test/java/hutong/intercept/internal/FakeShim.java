// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.OsException;
import hutong.platform.Platform;
import hutong.platform.Received;
import hutong.platform.SocketFacts;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import hutong.platform.abi.MessageLayout;
import hutong.platform.abi.PoolLayout;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/** A program's end of a control connection, played in Java, message by message. */
final class FakeShim implements Closeable {
  static final int PID = (int) ProcessHandle.current().pid();
  private static final int DEADLINE_S = 30;

  final Fd socket;
  final Fd poolFd;
  final Mapping pool;
  final List<Fd> received = new ArrayList<>();
  private final List<Fd> bells = new ArrayList<>();

  FakeShim(String address) throws IOException {
    socket = Platform.sockets().unixSeqpacketConnectAbstract(address);
    poolFd = Platform.memory().memfdCreate("hutong-ends", PoolLayout.SIZE, Memory.SEAL_SIZE);
    pool = Platform.memory().map(poolFd, PoolLayout.SIZE, true);
    pool.putInt(PoolLayout.MAGIC, Abi.POOL_MAGIC);
    pool.putInt(PoolLayout.VERSION, Abi.ABI_VERSION);
    pool.putInt(PoolLayout.SLOTS, Abi.POOL_SLOTS);
  }

  /** A message of the shim. */
  static ByteBuffer message(int type, int ref) {
    ByteBuffer out = ByteBuffer.allocate(MessageLayout.SIZE).order(ByteOrder.nativeOrder());
    out.putInt(MessageLayout.TYPE, type).putInt(MessageLayout.VERSION, Abi.ABI_VERSION);
    return out.putInt(MessageLayout.REF, ref);
  }

  /** Says hello; gives back the member table. */
  Fd hello() throws IOException {
    Platform.sockets().send(socket, message(Abi.MSG_HELLO, 0).array(), List.of(poolFd));
    Answer answer = await();
    assertThat(answer.type()).isEqualTo(Abi.MSG_WELCOME);
    assertThat(answer.fds()).hasSize(1);
    return answer.fds().get(0);
  }

  /** Registers the end that a channel is; gives back its doorbell. */
  Fd register(int ref, int slot, SocketChannel tcp) throws IOException {
    int fd = number(tcp);
    return register(ref, slot, fd, Platform.processes().inspectSocket(PID, fd).cookie());
  }

  Fd register(int ref, int slot, int fd, long cookie) throws IOException {
    int at = PoolLayout.slot(slot);
    pool.putInt(at + EndLayout.OWNER_PID, PID);
    pool.putInt(at + EndLayout.FD, fd);
    pool.putLong(at + EndLayout.COOKIE, cookie);
    pool.putInt(PoolLayout.USED, Math.max(pool.getInt(PoolLayout.USED), slot + 1));
    pool.putIntVolatile(at + EndLayout.STATE, Abi.END_PENDING);
    Fd bell = Platform.events().eventfd();
    bells.add(bell);
    ByteBuffer out = message(Abi.MSG_REGISTER, ref);
    out.putInt(MessageLayout.FD, fd)
        .putLong(MessageLayout.COOKIE, cookie)
        .putInt(MessageLayout.SLOT, slot);
    Platform.sockets().send(socket, out.array(), List.of(bell));
    return bell;
  }

  /** Gives a slot back. */
  void free(int slot) {
    pool.putIntVolatile(PoolLayout.slot(slot) + EndLayout.STATE, Abi.END_FREE);
  }

  void gone(int ref) throws IOException {
    gone(ref, Reason.NONE);
  }

  void gone(int ref, Reason reason) throws IOException {
    ByteBuffer out = message(Abi.MSG_GONE, ref).putInt(MessageLayout.REASON, reason.number());
    Platform.sockets().send(socket, out.array(), List.of());
  }

  /** What the agent said. */
  record Answer(ByteBuffer data, List<Fd> fds) {
    int type() {
      return data.getInt(MessageLayout.TYPE);
    }

    int ref() {
      return data.getInt(MessageLayout.REF);
    }

    int reason() {
      return data.getInt(MessageLayout.REASON);
    }
  }

  /**
   * The next message; its descriptors are closed with this shim. Null at the end of the connection.
   */
  Answer await() {
    Received[] one = new Received[1];
    until(
        () -> {
          try {
            one[0] = Platform.sockets().recv(socket, 256, 8);
          } catch (OsException e) {
            one[0] = new Received(new byte[0], List.of(), true, false);
          }
          return one[0] != null;
        });
    received.addAll(one[0].fds());
    if (one[0].eof()) {
      return null;
    }
    assertThat(one[0].data()).hasSize(MessageLayout.SIZE);
    return new Answer(ByteBuffer.wrap(one[0].data()).order(ByteOrder.nativeOrder()), one[0].fds());
  }

  int note(int slot) {
    return pool.getIntVolatile(PoolLayout.slot(slot) + EndLayout.AGENT_NOTE);
  }

  /** The descriptor number of a connection in this JVM. */
  static int number(SocketChannel tcp) throws IOException {
    try (var links = Files.newDirectoryStream(Path.of("/proc/self/fd"))) {
      for (Path link : links) {
        int fd = Integer.parseInt(link.getFileName().toString());
        if (Files.isSymbolicLink(link)
            && Files.readSymbolicLink(link).toString().startsWith("socket:")) {
          SocketFacts facts = Platform.processes().inspectSocket(PID, fd);
          if (tcp.getLocalAddress().equals(facts.local())
              && tcp.getRemoteAddress().equals(facts.remote())) {
            return fd;
          }
        }
      }
    }
    throw new IOException("no descriptor of " + tcp);
  }

  static void until(BooleanSupplier condition) {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(DEADLINE_S);
    while (!condition.getAsBoolean()) {
      assertThat(System.nanoTime()).as("deadline").isLessThan(end);
      Thread.yield();
    }
  }

  @Override
  public void close() {
    socket.close();
    pool.close();
    poolFd.close();
    received.forEach(Fd::close);
    bells.forEach(Fd::close);
  }
}
