// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.os.Fd;
import hutong.api.transport.Debt;
import hutong.platform.Platform;
import hutong.platform.Processes;
import hutong.platform.SocketFacts;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A real socket of this process, which plays the program; its slot and its ring are made up. */
final class PayerTest {
  private static final int ROUND = 3;
  private static final int WROTE = 900_000;
  private static final int STOPPED_AT = 1000;

  private final Payer payer = new Payer(Platform.processes(), Platform.sockets(), 7);
  private final ByteBuffer end =
      ByteBuffer.allocateDirect(EndLayout.SIZE).order(ByteOrder.nativeOrder());
  private Fd process;
  private Payer.Purse purse;
  private SocketChannel program;
  private SocketChannel peer;
  private long cookie;

  /** What of the ring is asked for, and what became of the debt. */
  private class FakeDebt implements Debt {
    private long at = STOPPED_AT;
    private boolean paid;

    @Override
    public int round() {
      return ROUND;
    }

    @Override
    public long most() {
      return 1 << 20;
    }

    @Override
    public long accept() {
      return at;
    }

    @Override
    public void copy(long offset, int length, ByteBuffer target) {
      for (int i = 0; i < length; i++) {
        target.put(byteAt(offset + i));
      }
    }

    @Override
    public void paid() {
      paid = true;
    }
  }

  private static byte byteAt(long offset) {
    return (byte) (offset * 7 + (offset >> 8));
  }

  @BeforeEach
  void connect() throws IOException {
    try (ServerSocketChannel listener = ServerSocketChannel.open()) {
      listener.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
      program = SocketChannel.open();
      program.setOption(StandardSocketOptions.SO_SNDBUF, 64 << 10);
      program.connect(listener.getLocalAddress());
      peer = listener.accept();
    }
    process = Platform.processes().pidfdOpen(FakeShim.PID);
    purse = new Payer.Purse(process, FakeShim.PID, new Payer.Closing());
    int number = FakeShim.number(program);
    cookie = Platform.processes().inspectSocket(FakeShim.PID, number).cookie();
    end.putInt(EndLayout.OWNER_PID, FakeShim.PID).putInt(EndLayout.FD, number);
    end.putLong(EndLayout.COOKIE, cookie).putInt(EndLayout.STATE, Abi.END_CHANNEL);
    end.putInt(EndLayout.TX_ROUND, ROUND).putInt(EndLayout.TX_PATH, Abi.PATH_RING);
    end.putLong(EndLayout.TX_TAIL, WROTE).putLong(EndLayout.RING_OUT, WROTE);
  }

  @AfterEach
  void close() throws IOException {
    program.close();
    peer.close();
    process.close();
    payer.close();
  }

  /** Reads, on blocking channels, what must come, and that nothing else has. */
  private void reads(long from, long to) throws IOException {
    ByteBuffer got = ByteBuffer.allocate((int) (to - from));
    while (got.hasRemaining()) {
      assertThat(peer.read(got)).isPositive();
    }
    for (int i = 0; i < got.position(); i++) {
      if (got.get(i) != byteAt(from + i)) {
        assertThat(from + i).as("offset of a wrong byte").isNegative();
      }
    }
    nothingMore();
  }

  private void nothingMore() throws IOException {
    peer.configureBlocking(false);
    assertThat(peer.read(ByteBuffer.allocate(1))).isZero();
    peer.configureBlocking(true);
  }

  private void untouched() throws IOException {
    assertThat(end.getInt(EndLayout.TX_PATH)).isEqualTo(Abi.PATH_RING);
    assertThat(end.getLong(EndLayout.TX_HEAD)).isZero();
    assertThat(end.getLong(EndLayout.RING_OUT)).isEqualTo(WROTE);
    nothingMore();
  }

  @Test
  void paysInPartsAsTcpTakesThem() throws Exception {
    FakeDebt debt = new FakeDebt();
    for (long at = STOPPED_AT; at < WROTE; ) {
      FakeShim.until(() -> payer.pay(end, purse, cookie, debt)); // the last copy may be closing yet
      long head = end.getLong(EndLayout.TX_HEAD);
      assertThat(head).isGreaterThan(at);
      assertThat(end.getInt(EndLayout.TX_PATH)).isEqualTo(Abi.PATH_DRAIN);
      assertThat(end.getLong(EndLayout.RING_OUT)).isEqualTo(STOPPED_AT);
      assertThat(end.getLong(EndLayout.TCP_OUT)).isEqualTo(head - STOPPED_AT);
      assertThat(end.getInt(EndLayout.TX_LOCK)).isZero();
      assertThat(end.getInt(EndLayout.FLAGS)).isZero();
      assertThat(debt.paid).isEqualTo(head == WROTE);
      reads(at, head);
      at = head;
    }
    assertThat(debt.paid).isTrue();
  }

  /** It was killed between a byte's way out and the note of it, at any of the stores between. */
  @Test
  void countsWhatADeadAgentHasSent() throws Exception {
    ByteBuffer sent = ByteBuffer.allocate(500);
    new FakeDebt().copy(STOPPED_AT, 500, sent);
    program.write(sent.flip());
    end.putInt(EndLayout.TX_PATH, Abi.PATH_DRAIN).putLong(EndLayout.RING_OUT, STOPPED_AT);
    end.putLong(EndLayout.TX_HEAD, STOPPED_AT + 500); // and TCP_OUT not yet
    end.putLong(EndLayout.TX_TAIL, STOPPED_AT + 700);
    end.putInt(EndLayout.FLAGS, Abi.ENDF_PAYER | Abi.ENDF_ACTIVE);
    FakeDebt debt = new FakeDebt();
    FakeShim.until(() -> payer.pay(end, purse, cookie, debt)); // acknowledgements may come in
    assertThat(debt.paid).isTrue();
    assertThat(end.getLong(EndLayout.TX_HEAD)).isEqualTo(STOPPED_AT + 700);
    assertThat(end.getLong(EndLayout.TCP_OUT)).isEqualTo(700);
    assertThat(end.getInt(EndLayout.FLAGS)).isEqualTo(Abi.ENDF_ACTIVE);
    reads(STOPPED_AT, STOPPED_AT + 700);
  }

  /** It was killed when it had taken the stop on, and not said so yet. */
  @Test
  void takesTheStopOnOnceMore() throws Exception {
    end.putLong(EndLayout.TX_HEAD, STOPPED_AT).putLong(EndLayout.RING_OUT, STOPPED_AT);
    end.putLong(EndLayout.TX_TAIL, STOPPED_AT + 10);
    assertThat(payer.pay(end, purse, cookie, new FakeDebt())).isTrue();
    assertThat(end.getLong(EndLayout.RING_OUT)).isEqualTo(STOPPED_AT);
    assertThat(end.getLong(EndLayout.TCP_OUT)).isEqualTo(10);
    reads(STOPPED_AT, STOPPED_AT + 10);
  }

  /** A program that has its last close wait for an hour keeps nobody else from being paid. */
  @Test
  @Timeout(60)
  void doesNotWaitInTheProgramsPlace() throws Exception {
    FakeDebt debt =
        new FakeDebt() {
          @Override
          public void copy(long offset, int length, ByteBuffer target) {
            super.copy(offset, length, target);
            if (program.isOpen() && offset > STOPPED_AT) {
              try {
                program.setOption(StandardSocketOptions.SO_LINGER, 3600);
                program.close();
              } catch (IOException e) {
                throw new AssertionError(e);
              }
            }
          }
        };
    while (program.isOpen()) {
      payer.pay(end, purse, cookie, debt);
    }
    assertThat(payer.pay(end, purse, cookie, debt)).isFalse();
    assertThat(end.getInt(EndLayout.TX_LOCK)).isZero();
    peer.close(); // ends the wait
  }

  /** Nor is it held by each of many sockets whose closes wait. */
  @Test
  @Timeout(60)
  void doesNotWaitForManyCloses() throws Exception {
    List<SocketChannel> others = new ArrayList<>();
    for (int i = 0; i < 500; i++) {
      others.add(SocketChannel.open());
    }
    program.close(); // the one that is looked for is not there
    Payer slow = new Payer(closedBy(() -> Thread.sleep(100)), Platform.sockets(), 7);
    try {
      long before = System.nanoTime();
      assertThat(slow.pay(end, purse, cookie, new FakeDebt())).isFalse();
      assertThat(System.nanoTime() - before)
          .isLessThan(5_000_000_000L); // 20 ms for each would be 10 s
    } finally {
      slow.close();
      for (SocketChannel other : others) {
        other.close();
      }
    }
  }

  /** Another program is paid while the close of the first one's socket waits. */
  @Test
  @Timeout(60)
  void paysOthersMeanwhile() throws Exception {
    CountDownLatch over = new CountDownLatch(1);
    Payer slow = new Payer(closedBy(over::await), Platform.sockets(), 7);
    try {
      end.putLong(EndLayout.TX_TAIL, STOPPED_AT + 10);
      assertThat(slow.pay(end, purse, cookie, new FakeDebt())).isTrue();
      end.putInt(EndLayout.TX_PATH, Abi.PATH_DRAIN);
      end.putLong(EndLayout.TX_TAIL, STOPPED_AT + 20);
      assertThat(slow.pay(end, purse, cookie, new FakeDebt())).as("of that program").isFalse();
      Payer.Purse others = new Payer.Purse(process, FakeShim.PID, new Payer.Closing());
      assertThat(slow.pay(end, others, cookie, new FakeDebt())).as("of another one").isTrue();
      reads(STOPPED_AT, STOPPED_AT + 20);
    } finally {
      over.countDown();
      slow.close();
    }
  }

  /** What a close waits for, as with SO_LINGER. */
  private interface Wait {
    void await() throws InterruptedException;
  }

  /** Copies of descriptors whose close takes a while. */
  private static Processes closedBy(Wait wait) {
    Processes real = Platform.processes();
    return (Processes)
        Proxy.newProxyInstance(
            Processes.class.getClassLoader(),
            new Class<?>[] {Processes.class},
            (self, method, arguments) -> {
              if (!method.getName().equals("pidfdGetfd")) {
                throw new AssertionError(method);
              }
              Fd copy = real.pidfdGetfd((Fd) arguments[0], (int) arguments[1]);
              return Proxy.newProxyInstance(
                  Fd.class.getClassLoader(),
                  new Class<?>[] {Fd.class},
                  (fd, called, none) -> {
                    if (called.getName().equals("close")) {
                      wait.await();
                    }
                    return called.invoke(copy, none);
                  });
            });
  }

  @Test
  void leavesWhatIsNotItsBusiness() throws Exception {
    FakeDebt debt = new FakeDebt();
    assertThat(payer.pay(end, purse, cookie + 1, debt)).isFalse();
    untouched();
    end.putInt(EndLayout.TX_LOCK, 1234); // the program is just doing it
    assertThat(payer.pay(end, purse, cookie, debt)).isFalse();
    assertThat(end.getInt(EndLayout.TX_LOCK)).isEqualTo(1234);
    untouched();
    end.putInt(EndLayout.TX_LOCK, 0);
    end.putInt(EndLayout.TX_ROUND, ROUND + 1);
    assertThat(payer.pay(end, purse, cookie, debt)).isFalse();
    untouched();
    end.putInt(EndLayout.TX_ROUND, ROUND);
    debt.at = -1; // not stopped
    assertThat(payer.pay(end, purse, cookie, debt)).isFalse();
    untouched();
    end.putInt(EndLayout.STATE, Abi.END_TCP);
    debt.at = STOPPED_AT;
    assertThat(payer.pay(end, purse, cookie, debt)).isFalse();
    untouched();
    assertThat(debt.paid).isFalse();
  }

  /** What a program says is bounded before it is used. */
  @Test
  void believesNoCursorBeyondTheTail() throws Exception {
    FakeDebt debt = new FakeDebt();
    for (long at : new long[] {WROTE + 1, Long.MAX_VALUE}) {
      debt.at = at;
      assertThat(payer.pay(end, purse, cookie, debt)).isFalse();
      untouched();
    }
    end.putInt(EndLayout.TX_PATH, Abi.PATH_DRAIN);
    for (long head : new long[] {WROTE + 1, WROTE - (1L << 40), Long.MIN_VALUE}) {
      end.putLong(EndLayout.TX_HEAD, head);
      assertThat(payer.pay(end, purse, cookie, debt)).isFalse();
      assertThat(end.getLong(EndLayout.TX_HEAD)).isEqualTo(head);
      nothingMore();
    }
    assertThat(end.getInt(EndLayout.TX_LOCK)).isZero();
  }

  /** The registered number may be closed, or another socket's, while a copy is in use. */
  @Test
  void findsTheSocketUnderAnotherNumber() throws Exception {
    end.putInt(EndLayout.FD, FakeShim.number(peer));
    end.putLong(EndLayout.TX_TAIL, STOPPED_AT + 10);
    FakeDebt debt = new FakeDebt();
    FakeShim.until(() -> payer.pay(end, purse, cookie, debt)); // as above
    reads(STOPPED_AT, STOPPED_AT + 10);
    assertThat(debt.paid).isTrue();
  }

  /** An error of a socket is told once. */
  @Test
  void leavesTheErrorOfResetToTheProgram() throws Exception {
    peer.setOption(StandardSocketOptions.SO_LINGER, 0);
    peer.close(); // a reset
    FakeShim.until(this::dead);
    FakeDebt debt = new FakeDebt();
    assertThat(payer.pay(end, purse, cookie, debt)).isFalse();
    assertThat(end.getLong(EndLayout.TCP_OUT)).isZero();
    assertThat(end.getInt(EndLayout.TX_PATH)).isEqualTo(Abi.PATH_RING);
    assertThat(end.getInt(EndLayout.FLAGS) & Abi.ENDF_PAYER).isZero();
    assertThat(end.getInt(EndLayout.TX_LOCK)).isZero();
    assertThat(debt.paid).isFalse();
    assertThatThrownBy(() -> program.read(ByteBuffer.allocate(1))).isInstanceOf(IOException.class);
  }

  private boolean dead() {
    try {
      int number = end.getInt(EndLayout.FD);
      return Platform.processes().inspectSocket(FakeShim.PID, number).state()
          == SocketFacts.TCP_CLOSE;
    } catch (IOException e) {
      return false;
    }
  }

  @Test
  void unlocksWhatAnotherAgentHasLocked() {
    int other = Abi.LOCK_AGENT | 8;
    int own = Abi.LOCK_AGENT | 7;
    for (int[] lock : new int[][] {{other, 0}, {own, own}, {1234, 1234}, {0, 0}}) {
      end.putInt(EndLayout.TX_LOCK, lock[0]);
      payer.unlock(end);
      assertThat(end.getInt(EndLayout.TX_LOCK)).isEqualTo(lock[1]);
    }
  }
}
