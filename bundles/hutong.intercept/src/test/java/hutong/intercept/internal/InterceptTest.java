// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.channel.Segments;
import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.intercept.internal.FakeShim.Answer;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.OsException;
import hutong.platform.Platform;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import hutong.platform.abi.MemberLayout;
import hutong.platform.abi.MembersLayout;
import hutong.platform.abi.MessageLayout;
import hutong.platform.abi.PoolLayout;
import hutong.platform.abi.SegmentLayout;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * Programs played in Java, real TCP connections between them, and the agents of two VMs. Needs
 * root.
 */
class InterceptTest {
  interface Scenario {
    void run(TwoVms vms) throws Exception;
  }

  @BeforeAll
  static void openWhatIsOpenedOnce() throws IOException {
    SocketChannel.open().close();
    try (Fd bell = TwoVms.EVENTS.eventfd()) {
      TwoVms.EVENTS.ring(bell);
    }
    try (Fd bell = Platform.events().eventfd()) {
      assertThat(bell.isOpen()).isTrue();
    }
  }

  static void with(Scenario scenario) throws Exception {
    List<String> before = TwoVms.openFds();
    NetNs.run(
        TwoVms.ADDRESSES,
        () -> {
          try (TwoVms vms = new TwoVms()) {
            scenario.run(vms);
          }
        });
    assertThat(TwoVms.openFds()).as("descriptors").isEqualTo(before);
    assertThat(Thread.getAllStackTraces().keySet())
        .extracting(Thread::getName)
        .noneMatch(name -> name.startsWith("hutong-"));
  }

  private static void channel(TwoVms vms, String from, String to) throws Exception {
    SocketChannel[] tcp = vms.connect(from, to);
    FakeShim a = vms.program(0);
    FakeShim b = vms.program(1);
    a.hello();
    b.hello();
    Fd bellA = a.register(7, 3, tcp[0]);
    Fd bellB = b.register(7, 5, tcp[1]);
    Answer toA = a.await();
    Answer toB = b.await();
    for (Answer answer : List.of(toA, toB)) {
      assertThat(answer.type()).isEqualTo(Abi.MSG_CHANNEL);
      assertThat(answer.ref()).isEqualTo(7);
      assertThat(answer.data().getInt(MessageLayout.RING_SIZE)).isEqualTo(TwoVms.RING);
      assertThat(answer.data().getInt(MessageLayout.OVER_SIZE)).isEqualTo(TwoVms.OVER);
    }
    assertThat(toA.data().getInt(MessageLayout.SIDE)).isZero();
    assertThat(toB.data().getInt(MessageLayout.SIDE)).isOne();
    assertThat(toA.data().getInt(MessageLayout.CHAN))
        .isEqualTo(toB.data().getInt(MessageLayout.PEER_CHAN));
    assertThat(toB.data().getInt(MessageLayout.CHAN))
        .isEqualTo(toA.data().getInt(MessageLayout.PEER_CHAN));
    assertThat(toA.data().get(MessageLayout.PEER_MAC)).isEqualTo((byte) 2);
    assertThat(toA.data().get(MessageLayout.PEER_MAC + 5)).isEqualTo((byte) 2);
    assertThat(toB.data().get(MessageLayout.PEER_MAC + 5)).isEqualTo((byte) 1);
    long size = Segments.bytes(TwoVms.RING, TwoVms.OVER);
    try (Mapping mapA = Platform.memory().map(toA.fds().get(0), size, true);
        Mapping mapB = Platform.memory().map(toB.fds().get(0), size, true)) {
      assertThat(mapB.getInt(SegmentLayout.MAGIC)).isEqualTo(Abi.SEG_MAGIC);
      mapA.putLong(8192, 0x1122334455667788L);
      assertThat(mapB.getLong(8192)).isEqualTo(0x1122334455667788L);
    }
    FakeShim.until(() -> a.note(3) == 1 && b.note(5) == 1);
    FakeShim.until(() -> drain(bellA) == 1);
    FakeShim.until(() -> drain(bellB) == 1);
    TwoVms.EVENTS.ring(toA.fds().get(1));
    assertThat(drain(bellB)).isOne();
    TwoVms.EVENTS.ring(toB.fds().get(1));
    assertThat(drain(bellA)).isOne();
    assertThat(vms.tables[0].bytes()).isEqualTo(size);
    a.gone(7);
    vms.settle(0);
    b.close(); // killed
    FakeShim.until(() -> vms.tables[0].size() == 0 && vms.tables[1].size() == 0);
    assertThat(vms.tables[0].bytes()).isZero();
    assertThat(vms.tables[1].bytes()).isZero();
  }

  static long drain(Fd bell) {
    try {
      return TwoVms.EVENTS.drain(bell);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void givesBothEndsTheSameSegment() throws Exception {
    with(
        vms -> {
          channel(vms, TwoVms.VM1, TwoVms.VM2);
          channel(vms, TwoVms.VM1_V6, TwoVms.VM2_V6);
          assertThat(vms.count("intercept.matches")).isEqualTo(4);
        });
  }

  @Test
  void declinesWithAReason() throws Exception {
    with(
        vms -> {
          FakeShim shim = vms.program(0);
          shim.hello();
          declined(shim, vms.connect(TwoVms.VM1, TwoVms.VM1)[0], Reason.SAME_VM);
          declined(shim, vms.connect(TwoVms.VM1, TwoVms.OTHER_HOST)[0], Reason.INTER_HOST);
          declined(shim, vms.connect(TwoVms.VM1, TwoVms.OUTSIDE)[0], Reason.NOT_MEMBER);
          SocketChannel[] tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
          declined(shim, tcp[1], Reason.SAME_VM); // VM2's end: its peer is VM1 itself
          declined(shim, vms.connect(TwoVms.OUTSIDE, TwoVms.VM2)[0], Reason.NOT_OWNER);
          int fd = FakeShim.number(tcp[0]);
          long cookie = Platform.processes().inspectSocket(FakeShim.PID, fd).cookie();
          declined(shim, fd, cookie + 1, Reason.NOT_OWNER);
          declined(shim, 100_000, cookie, Reason.NOT_OWNER);
          declined(shim, shim.poolFd.number(), cookie, Reason.NOT_OWNER);
          SocketChannel[] closing = vms.connect(TwoVms.VM1, TwoVms.VM2);
          int closingFd = FakeShim.number(closing[0]);
          long closingCookie = Platform.processes().inspectSocket(FakeShim.PID, closingFd).cookie();
          closing[0].shutdownOutput();
          declined(shim, closingFd, closingCookie, Reason.STATE);
          // One registration for a socket.
          shim.register(50, 50, fd, cookie);
          FakeShim.until(() -> vms.tables[0].size() == 1);
          FakeShim second = vms.program(0);
          second.hello();
          declined(second, fd, cookie, Reason.SHARED);
          shim.gone(50);
          FakeShim.until(() -> vms.tables[0].size() == 0);
          assertThat(vms.count("reason." + Reason.NOT_OWNER.number())).isEqualTo(4);
        });
  }

  /** A program of the first VM with registrations 3 and 4, in the slots 1 and 2. */
  private static FakeShim withTwoRegistered(TwoVms vms) throws Exception {
    FakeShim shim = vms.program(0);
    shim.hello();
    shim.register(3, 1, vms.connect(TwoVms.VM1, TwoVms.VM2)[0]);
    shim.register(4, 2, vms.connect(TwoVms.VM1, TwoVms.VM2)[0]);
    FakeShim.until(() -> vms.tables[0].size() == 2);
    return shim;
  }

  /** A program that had no room for its GONE, and has no further business with the agent. */
  @Test
  void noticesWhatAProgramHasGivenBackWithoutAWord() throws Exception {
    with(
        vms -> {
          FakeShim shim = withTwoRegistered(vms);
          CompletableFuture<Integer> after = new CompletableFuture<>();
          vms.vms[0]
              .loop()
              .execute(
                  () -> { // at once: it sweeps by itself, too
                    shim.free(1);
                    vms.vms[0].sweep();
                    after.complete(vms.tables[0].size());
                  });
          assertThat(after.get(30, TimeUnit.SECONDS)).as("a GONE may be under way").isEqualTo(2);
          vms.vms[0].loop().execute(vms.vms[0]::sweep);
          vms.settle(0);
          assertThat(vms.tables[0].size()).isEqualTo(1);
          shim.gone(3);
          shim.gone(4);
          FakeShim.until(() -> vms.tables[0].size() == 0);
        });
  }

  private static void declined(FakeShim shim, SocketChannel tcp, Reason reason) throws IOException {
    int fd = FakeShim.number(tcp);
    declined(shim, fd, Platform.processes().inspectSocket(FakeShim.PID, fd).cookie(), reason);
  }

  private static void declined(FakeShim shim, int fd, long cookie, Reason reason)
      throws IOException {
    int note = shim.note(9);
    Fd bell = shim.register(9, 9, fd, cookie);
    Answer answer = shim.await();
    assertThat(answer.type()).isEqualTo(Abi.MSG_DECLINED);
    assertThat(answer.ref()).isEqualTo(9);
    assertThat(Reason.of(answer.reason())).isEqualTo(reason);
    FakeShim.until(() -> shim.note(9) == note + 1);
    FakeShim.until(() -> drain(bell) == 1);
  }

  /** Users may make namespaces with any address. */
  @Test
  void declinesASocketOfAnotherNamespace() throws Exception {
    with(
        vms -> {
          List<SocketChannel> foreign = new ArrayList<>();
          NetNs.run(
              TwoVms.ADDRESSES,
              () -> {
                try (ServerSocketChannel listener = ServerSocketChannel.open()) {
                  listener.bind(new InetSocketAddress(TwoVms.VM2, 0));
                  SocketChannel active = SocketChannel.open();
                  active.bind(new InetSocketAddress(TwoVms.VM1, 0));
                  active.connect(listener.getLocalAddress());
                  foreign.add(active);
                  foreign.add(listener.accept());
                }
              });
          try (SocketChannel active = foreign.get(0);
              SocketChannel passive = foreign.get(1);
              FakeShim shim = vms.program(0)) {
            shim.hello();
            int fd = FakeShim.number(active);
            long cookie = Platform.processes().inspectSocket(FakeShim.PID, fd).cookie();
            Fd bell = shim.register(1, 1, fd, cookie);
            Answer answer = shim.await();
            // The listener of that namespace is closed: what the kernel says of the state comes
            // second.
            assertThat(Reason.of(answer.reason())).isEqualTo(Reason.NOT_OWNER);
            assertThat(passive.isOpen() && bell.isOpen()).isTrue();
          }
        });
  }

  @Test
  void hostileProgramsAreCutOffAndHarmNobody() throws Exception {
    with(
        vms -> {
          SocketChannel[] tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
          FakeShim good = vms.program(0);
          good.hello();
          Random random = new Random(2026);
          for (int i = 0; i < 300; i++) {
            try (FakeShim shim = new FakeShim(TwoVms.address(0))) {
              if (i % 3 != 0) {
                shim.hello();
              }
              provoke(shim, random);
            }
          }
          assertThat(vms.count("intercept.hostile")).isPositive();
          good.register(1, 1, tcp[0]);
          FakeShim peer = vms.program(1);
          peer.hello();
          peer.register(1, 1, tcp[1]);
          assertThat(good.await().type()).isEqualTo(Abi.MSG_CHANNEL);
          assertThat(peer.await().type()).isEqualTo(Abi.MSG_CHANNEL);
        });
  }

  /**
   * Random messages, nearly right ones among them, until the agent has had enough, or all are sent.
   */
  private static void provoke(FakeShim shim, Random random) throws IOException {
    Fd[] kinds = {
      shim.poolFd,
      shim.socket,
      Platform.events().eventfd(),
      Platform.memory().memfdCreate("small", 4096, Memory.SEAL_SIZE),
      Platform.memory().memfdCreate("open", PoolLayout.SIZE, 0),
      Platform.memory().memfdCreate("blank", PoolLayout.SIZE, Memory.SEAL_SIZE),
    };
    try {
      for (int i = 0; i < 20; i++) {
        ByteBuffer message = FakeShim.message(1 + random.nextInt(7), random.nextInt(4));
        message.putInt(
            MessageLayout.SLOT, random.nextInt(3) == 0 ? random.nextInt() : random.nextInt(4));
        message.putInt(MessageLayout.FD, random.nextInt(40));
        byte[] data = message.array();
        int shape = random.nextInt(8);
        if (shape == 0) {
          data = new byte[1 + random.nextInt(200)];
          random.nextBytes(data);
        } else if (shape == 1) {
          data[random.nextInt(data.length)] ^= (byte) (1 << random.nextInt(8));
        }
        List<Fd> fds = new ArrayList<>();
        for (int n = random.nextInt(4); n > 0; n--) {
          fds.add(kinds[random.nextInt(kinds.length)]);
        }
        Platform.sockets().send(shim.socket, data, fds);
      }
    } catch (OsException e) {
      assertThat(e.errno()).isIn(32, 104, 11); // cut off, or not read for now
    } finally {
      for (int i = 2; i < kinds.length; i++) {
        kinds[i].close();
      }
    }
  }

  @Test
  void aProgramThatDoesNotReadStallsNobody() throws Exception {
    with(
        vms -> {
          FakeShim deaf = vms.program(0);
          deaf.hello();
          int sent = 0;
          try (Fd bell = TwoVms.EVENTS.eventfd()) {
            ByteBuffer message = FakeShim.message(Abi.MSG_REGISTER, 1);
            message.putInt(MessageLayout.FD, 100_000).putInt(MessageLayout.SLOT, 1);
            while (true) {
              Platform.sockets().send(deaf.socket, message.array(), List.of(bell));
              sent++;
              assertThat(sent).as("queued without end").isLessThan(100_000);
            }
          } catch (OsException e) {
            assertThat(e.wouldBlock()).as(e.getMessage()).isTrue(); // the agent has stopped reading
          }
          channel(vms, TwoVms.VM1, TwoVms.VM2);
          for (int i = 0; i < sent; i++) {
            assertThat(Reason.of(deaf.await().reason())).isEqualTo(Reason.NOT_OWNER);
          }
          FakeShim.until(() -> deaf.note(1) > 0);
        });
  }

  @Test
  void programsCannotWriteTheMemberTable() throws Exception {
    with(
        vms -> {
          FakeShim shim = vms.program(0);
          Fd table = shim.hello();
          assertThatThrownBy(() -> Platform.memory().map(table, MembersLayout.SIZE, true))
              .isInstanceOf(IOException.class);
          assertThatThrownBy(
                  () -> {
                    try (RandomAccessFile file =
                        new RandomAccessFile("/proc/self/fd/" + table.number(), "rw")) {
                      file.write(1);
                    }
                  })
              .isInstanceOf(IOException.class);
          vms.settle(0);
          try (Mapping map = Platform.memory().map(table, MembersLayout.SIZE, false)) {
            assertThat(map.getInt(MembersLayout.MAGIC)).isEqualTo(Abi.MEMBERS_MAGIC);
            assertThat(map.getInt(MembersLayout.SEQ) % 2).isZero();
            assertThat(map.getInt(MembersLayout.COUNT)).isEqualTo(5);
            assertThat(map.getInt(MembersLayout.ENABLED)).isOne();
            assertThat(map.getInt(MembersLayout.AFTER_BYTES)).isEqualTo(65_536);
            List<String> entries = new ArrayList<>();
            for (int i = 0; i < 5; i++) {
              int at = MembersLayout.member(i);
              Address address =
                  Address.read(ByteBuffer.wrap(map.getBytes(at + MemberLayout.ADDR, 16)));
              entries.add(address + " " + map.getInt(at + MemberLayout.FLAGS));
            }
            assertThat(entries)
                .containsExactly(
                    "10.99.0.1 3",
                    "10.99.0.2 1",
                    "10.99.0.3 0",
                    "fd99:0:0:0:0:0:0:1 3",
                    "fd99:0:0:0:0:0:0:2 1");
          }
        });
  }

  private static ConnectionList list(TwoVms vms, int i) {
    return new ConnectionList(
        () -> {
          List<List<PoolView>> out = new ArrayList<>();
          vms.vms[i]
              .loop()
              .execute(
                  () -> {
                    synchronized (out) {
                      out.add(vms.vms[i].pools());
                    }
                  });
          FakeShim.until(
              () -> {
                synchronized (out) {
                  return !out.isEmpty();
                }
              });
          return out.get(0);
        },
        vms.vms[i]::members,
        SockDiag::connections,
        new ProcFs(Path.of("/proc")),
        vms.vms[i].verdicts(),
        new Causes(new ProcFs(Path.of("/proc")), vms.policies[i]));
  }

  private static ConnectionInfo find(ConnectionList list, SocketChannel tcp) {
    try {
      InetSocketAddress local = (InetSocketAddress) tcp.getLocalAddress();
      InetSocketAddress remote = (InetSocketAddress) tcp.getRemoteAddress();
      AddressPair pair = AddressPair.of(local, remote);
      return list.list().stream()
          .filter(c -> c.local().equals(pair.localText()) && c.remote().equals(pair.remoteText()))
          .findFirst()
          .orElse(null);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  @Test
  void listsEveryConnectionWithItsReason() throws Exception {
    with(
        vms -> {
          ConnectionList list = list(vms, 0);
          assertThat(find(list, vms.connect(TwoVms.VM1, TwoVms.OUTSIDE)[0]).reason())
              .isEqualTo(Reason.NOT_MEMBER);
          assertThat(find(list, vms.connect(TwoVms.VM1, TwoVms.OTHER_HOST)[0]).reason())
              .isEqualTo(Reason.INTER_HOST);
          assertThat(find(list, vms.connect(TwoVms.VM1, TwoVms.VM1)[0]).reason())
              .isEqualTo(Reason.SAME_VM);
          SocketChannel[] tcp = vms.connect(TwoVms.VM1_V6, TwoVms.VM2_V6);
          ConnectionInfo plain = find(list, tcp[0]);
          assertThat(plain.reason()).isEqualTo(Reason.NOT_INTERCEPTED);
          assertThat(plain.path()).isEqualTo("TCP");
          assertThat(plain.pid()).isEqualTo(FakeShim.PID);
          FakeShim shim = vms.program(0);
          shim.hello();
          shim.register(1, 2, tcp[0]);
          vms.settle(0);
          FakeShim.until(() -> find(list, tcp[0]).reason() == Reason.PEER_SILENT);
          assertThat(find(list, tcp[0]).state()).isEqualTo("PENDING");
          int at = PoolLayout.slot(2);
          shim.pool.putInt(at + EndLayout.STATE, Abi.END_CHANNEL);
          shim.pool.putInt(at + EndLayout.RX_PATH, Abi.PATH_RING);
          shim.pool.putInt(at + EndLayout.TX_PATH, Abi.PATH_RING);
          shim.pool.putInt(at + EndLayout.CHAN, 77);
          shim.pool.putLong(at + EndLayout.RING_IN, 1000);
          shim.pool.putLong(at + EndLayout.RING_OUT, 2000);
          ConnectionInfo ring = find(list, tcp[0]);
          assertThat(ring.path()).isEqualTo("RING");
          assertThat(ring.reason()).isEqualTo(Reason.NONE);
          assertThat(List.of(ring.ringIn(), ring.ringOut(), (long) ring.channel()))
              .containsExactly(1000L, 2000L, 77L);
          // What a program writes there is shown, whatever it is, and harms nobody.
          shim.pool.putInt(at + EndLayout.STATE, 4711);
          shim.pool.putInt(at + EndLayout.REASON, -3);
          shim.pool.putInt(PoolLayout.USED, -1);
          assertThat(find(list, tcp[0]).path()).isEqualTo("TCP");
        });
  }

  @Test
  void aNewAgentFindsTheChannelsOfTheOldOne() throws Exception {
    with(
        vms -> {
          SocketChannel[] tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
          FakeShim shim = vms.program(0);
          shim.hello();
          shim.register(1, 4, tcp[0]);
          vms.settle(0);
          int at = PoolLayout.slot(4);
          shim.pool.putInt(at + EndLayout.CHAN, 0x55550009);
          shim.pool.putLong(at + EndLayout.RING_IN, 123);
          shim.pool.putIntVolatile(at + EndLayout.STATE, Abi.END_CHANNEL);
          vms.vms[0].close();
          vms.start(0);
          vms.join();
          ConnectionInfo found = find(list(vms, 0), tcp[0]);
          assertThat(found.channel()).isEqualTo(0x55550009);
          assertThat(found.ringIn()).isEqualTo(123);
          assertThat(found.state()).isEqualTo("CHANNEL");
          assertThat(vms.tables[0].list(vm -> ""))
              .extracting(c -> c.number())
              .containsExactly(0x55550009);
          assertThat(vms.tables[0].bytes()).isPositive();
          FakeShim.until(() -> vms.tables[0].list(vm -> "VM" + vm).get(0).peerName().equals("VM2"));
          shim.pool.putIntVolatile(at + EndLayout.STATE, Abi.END_FREE);
          FakeShim.until(() -> vms.tables[0].size() == 0);
          assertThat(find(list(vms, 0), tcp[0]).reason()).isEqualTo(Reason.NOT_INTERCEPTED);
          // And programs can register with it.
          FakeShim again = vms.program(0);
          again.hello();
          again.register(1, 1, tcp[0]);
          FakeShim peer = vms.program(1);
          peer.hello();
          peer.register(1, 1, tcp[1]);
          assertThat(again.await().type()).isEqualTo(Abi.MSG_CHANNEL);
        });
  }

  @Test
  void countsAStormOnce() throws Exception {
    with(
        vms -> {
          FakeShim shim = withTwoRegistered(vms);
          String counter = "reason." + Reason.STORM.number();
          shim.pool.putIntVolatile(PoolLayout.slot(1) + EndLayout.FLAGS, Abi.ENDF_STORM);
          for (int i = 0; i < 2; i++) {
            vms.vms[0].loop().execute(vms.vms[0]::sweep);
            vms.settle(0);
            assertThat(vms.count(counter)).isOne();
          }
          shim.gone(3, Reason.STORM);
          shim.gone(4, Reason.STORM);
          FakeShim.until(() -> vms.tables[0].size() == 0);
          assertThat(vms.count(counter)).isEqualTo(2);
        });
  }

  @Test
  void aPeerThatFloodsFillsNoMemoryAndIsGreetedAgain() throws Exception {
    with(
        vms -> {
          CountDownLatch busy = new CountDownLatch(1);
          vms.vms[0]
              .loop()
              .execute(
                  () -> {
                    try {
                      busy.await();
                    } catch (InterruptedException e) {
                      throw new IllegalStateException(e);
                    }
                  });
          for (int i = 0; i < 20_000; i++) {
            vms.vms[0].onMessage(2, new byte[30_000], List.of()); // of which the heap has no 600 MB
          }
          busy.countDown();
          FakeShim.until(() -> vms.count("intercept.peer.floods") == 1);
          assertThat(vms.count("intercept.peer.malformed")).isBetween(250L, 300L);
          channel(vms, TwoVms.VM1, TwoVms.VM2);
        });
  }

  @Test
  void aPoolWithMoreChannelsThanConnectionsTakesNoNumbers() throws Exception {
    with(
        vms -> {
          SocketChannel[] tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
          FakeShim shim = vms.program(0);
          shim.hello();
          shim.register(1, 0, tcp[0]);
          vms.settle(0);
          long cookie = shim.pool.getLong(PoolLayout.slot(0) + EndLayout.COOKIE);
          for (int i = 0; i < Abi.POOL_SLOTS; i++) {
            int at = PoolLayout.slot(i);
            shim.pool.putInt(at + EndLayout.CHAN, i + 1);
            shim.pool.putLong(at + EndLayout.COOKIE, i % 2 == 0 ? cookie : -i);
            shim.pool.putIntVolatile(at + EndLayout.STATE, Abi.END_CHANNEL);
          }
          shim.pool.putInt(PoolLayout.USED, -1);
          vms.vms[0].close();
          vms.start(0);
          assertThat(vms.tables[0].list(vm -> "")).extracting(c -> c.number()).containsExactly(1);
        });
  }
}
