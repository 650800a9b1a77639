// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.intercept.PolicyControl.RuleSet;
import hutong.api.intercept.Reason;
import hutong.api.intercept.WhyInfo;
import hutong.api.os.Fd;
import hutong.intercept.internal.FakeShim.Answer;
import hutong.platform.Mapping;
import hutong.platform.Platform;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import hutong.platform.abi.MembersLayout;
import hutong.platform.abi.MessageLayout;
import hutong.platform.abi.PoolLayout;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a change of policy or switch does to programs, and what they are told. Needs root. */
class LivePolicyTest {
  private static void with(InterceptTest.Scenario scenario) throws Exception {
    NetNs.run(
        TwoVms.ADDRESSES,
        () -> {
          try (TwoVms vms = new TwoVms()) {
            scenario.run(vms);
          }
        });
  }

  private static long drain(Fd bell) {
    try {
      return TwoVms.EVENTS.drain(bell);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  /** Two programs with a channel between them; doorbells are quiet. */
  private static final class Pair {
    private final FakeShim a;
    private final FakeShim b;
    private final SocketChannel[] tcp;
    private final Fd table;
    private final Fd bellA;
    private final Fd bellB;

    private Pair(TwoVms vms) throws Exception {
      tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
      a = vms.program(0);
      b = vms.program(1);
      table = a.hello();
      b.hello();
      bellA = a.register(1, 1, tcp[0]);
      bellB = b.register(1, 1, tcp[1]);
      assertThat(a.await().type()).isEqualTo(Abi.MSG_CHANNEL);
      assertThat(b.await().type()).isEqualTo(Abi.MSG_CHANNEL);
      FakeShim.until(() -> drain(bellA) == 1);
      FakeShim.until(() -> drain(bellB) == 1);
    }
  }

  private static int word(FakeShim shim, int slot, int offset) {
    return shim.pool.getIntVolatile(PoolLayout.slot(slot) + offset);
  }

  private static int enabled(Fd table) throws IOException {
    try (Mapping map = Platform.memory().map(table, MembersLayout.SIZE, false)) {
      return map.getIntVolatile(MembersLayout.ENABLED);
    }
  }

  private static int remotePort(SocketChannel tcp) throws IOException {
    return ((InetSocketAddress) tcp.getRemoteAddress()).getPort();
  }

  private static Reason declined(FakeShim shim) {
    Answer answer = shim.await();
    assertThat(answer.type()).isEqualTo(Abi.MSG_DECLINED);
    return Reason.of(answer.reason());
  }

  @Test
  void theSwitchWakesEveryRegisteredProgram() throws Exception {
    with(
        vms -> {
          Pair pair = new Pair(vms);
          SocketChannel[] waiting = vms.connect(TwoVms.VM1, TwoVms.VM2);
          Fd bell = pair.a.register(2, 2, waiting[0]);
          vms.settle(0);
          assertThat(enabled(pair.table)).isOne();

          vms.policies[0].enable(false);
          assertThat(vms.vms[0].policyChanged(true)).isEqualTo(new ShimSession.Told(2, 0));
          assertThat(enabled(pair.table)).isZero();
          assertThat(drain(pair.bellA)).isOne();
          assertThat(drain(bell)).isOne();
          assertThat(drain(pair.bellB)).as("another agent's").isZero();
          pair.a.register(3, 3, vms.connect(TwoVms.VM1, TwoVms.VM2)[0]);
          assertThat(declined(pair.a)).isEqualTo(Reason.OFF);

          vms.policies[0].enable(true);
          assertThat(vms.vms[0].policyChanged(true)).isEqualTo(new ShimSession.Told(2, 0));
          assertThat(enabled(pair.table)).isOne();
          assertThat(drain(pair.bellA)).isOne();
          // What waited is matched now as if nothing had been.
          pair.b.register(2, 2, waiting[1]);
          assertThat(pair.a.await().type()).isEqualTo(Abi.MSG_CHANNEL);
          assertThat(word(pair.a, 1, EndLayout.AGENT_STOP)).isZero();
        });
  }

  @Test
  void aNewRuleStopsWhatItForbidsAndNothingElse() throws Exception {
    with(
        vms -> {
          Pair doomed = new Pair(vms);
          Pair spared = new Pair(vms);
          SocketChannel[] waiting = vms.connect(TwoVms.VM1, TwoVms.VM2);
          doomed.a.register(2, 2, waiting[0]);
          vms.settle(0);
          int port = remotePort(doomed.tcp[0]);
          String rules = "port=" + port + " port=" + remotePort(waiting[0]);
          vms.policies[0].set(RuleSet.DENY, rules);
          assertThat(vms.vms[0].policyChanged(false)).isEqualTo(new ShimSession.Told(2, 2));

          assertThat(word(doomed.a, 1, EndLayout.AGENT_STOP)).isEqualTo(Reason.POLICY.number());
          assertThat(drain(doomed.bellA)).isOne();
          assertThat(declined(doomed.a)).as("it had no channel").isEqualTo(Reason.POLICY);
          assertThat(word(doomed.a, 2, EndLayout.AGENT_STOP)).isZero();
          assertThat(word(spared.a, 1, EndLayout.AGENT_STOP)).isZero();
          assertThat(drain(spared.bellA)).isZero();
          assertThat(word(doomed.b, 1, EndLayout.AGENT_STOP)).as("another agent's").isZero();

          doomed.a.register(2, 2, waiting[0]);
          assertThat(declined(doomed.a)).isEqualTo(Reason.POLICY);
          vms.policies[0].set(RuleSet.DENY, "");
          vms.vms[0].policyChanged(false);
          doomed.a.register(2, 2, waiting[0]);
          doomed.b.register(2, 2, waiting[1]);
          assertThat(doomed.a.await().type()).isEqualTo(Abi.MSG_CHANNEL);
        });
  }

  @Test
  void aProgramIsKnownByCommandExecutableAndUser() throws Exception {
    with(
        vms -> {
          String own = Path.of("/proc/self/exe").toRealPath().getFileName().toString();
          FakeShim shim = vms.program(0);
          shim.hello();
          int slot = 10;
          for (String rule : List.of("program=" + own, "uid=0", "net=10.99.0.2,uid=0")) {
            vms.policies[0].set(RuleSet.DENY, rule);
            shim.register(slot, slot, vms.connect(TwoVms.VM1, TwoVms.VM2)[0]);
            assertThat(declined(shim)).as(rule).isEqualTo(Reason.POLICY);
            slot++;
          }
          vms.policies[0].set(RuleSet.DENY, "program=other uid=1 net=10.99.0.3");
          vms.policies[0].set(RuleSet.INCLUDE, "program=" + own + ",net=10.99.0.0/24");
          SocketChannel[] tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
          shim.register(slot, slot, tcp[0]);
          FakeShim peer = vms.program(1);
          peer.hello();
          peer.register(1, 1, tcp[1]);
          assertThat(shim.await().type()).isEqualTo(Abi.MSG_CHANNEL);
          assertThat(vms.count("reason." + Reason.POLICY.number())).isEqualTo(3);
        });
  }

  @Test
  void anEndIsToldThatItsPeersEndIsGone() throws Exception {
    with(
        vms -> {
          Pair pair = new Pair(vms);
          assertThat(word(pair.a, 1, EndLayout.AGENT_GONE)).isZero();
          pair.b.close();
          FakeShim.until(() -> word(pair.a, 1, EndLayout.AGENT_GONE) == 1);
          FakeShim.until(() -> drain(pair.bellA) == 1);
        });
  }

  @Test
  void nothingIsWrittenForASlotThatIsAnotherSocketsNow() throws Exception {
    with(
        vms -> {
          Pair pair = new Pair(vms);
          pair.a.pool.putLong(PoolLayout.slot(1) + EndLayout.COOKIE, 4711);
          vms.policies[0].set(RuleSet.DENY, "uid=0");
          vms.vms[0].policyChanged(false);
          pair.b.close();
          FakeShim.until(() -> drain(pair.bellA) >= 1);
          vms.settle(0);
          assertThat(word(pair.a, 1, EndLayout.AGENT_STOP)).isZero();
          assertThat(word(pair.a, 1, EndLayout.AGENT_GONE)).isZero();
        });
  }

  @Test
  void channelsOfAnEarlierAgentObeyTheSwitchAndThePolicyToo() throws Exception {
    with(
        vms -> {
          SocketChannel[] tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
          SocketChannel[] spared = vms.connect(TwoVms.VM1_V6, TwoVms.VM2_V6);
          FakeShim shim = vms.program(0);
          shim.hello();
          shim.register(1, 4, tcp[0]);
          shim.register(2, 5, spared[0]);
          vms.settle(0);
          for (int slot = 4; slot <= 5; slot++) {
            int at = PoolLayout.slot(slot);
            shim.pool.putInt(at + EndLayout.CHAN, 0x55550000 + slot);
            shim.pool.putIntVolatile(at + EndLayout.STATE, Abi.END_CHANNEL);
          }
          vms.vms[0].close();
          vms.policies[0].set(RuleSet.DENY, "net=" + TwoVms.VM2);
          vms.start(0);
          vms.join();
          vms.settle(0);
          assertThat(word(shim, 4, EndLayout.AGENT_STOP)).isEqualTo(Reason.POLICY.number());
          assertThat(word(shim, 5, EndLayout.AGENT_STOP)).isZero();
          vms.policies[0].enable(false);
          vms.vms[0].policyChanged(true);
          assertThat(word(shim, 5, EndLayout.AGENT_STOP)).isEqualTo(Reason.OFF.number());
        });
  }

  // ---------------------------------------------------------------- why

  private static Why why(TwoVms vms, Path root) {
    ProcFs proc = new ProcFs(root);
    Intercept vm = vms.vms[0];
    Causes causes = new Causes(proc, vms.policies[0]);
    ConnectionList list =
        new ConnectionList(
            () -> vm.ask(vm::pools),
            vm::members,
            SockDiag::connections,
            proc,
            vm.verdicts(),
            causes);
    return new Why(Platform.processes(), proc, list, vm::members, causes);
  }

  /** A /proc in which this process has the shim, and an environment. */
  private static Path disguised(Path dir, int fd, String... environment) throws IOException {
    Path real = Path.of("/proc/self");
    for (String name : List.of("self", Integer.toString(FakeShim.PID))) {
      Path own = dir.resolve(name);
      for (String link : List.of("ns/net", "fd/" + fd)) {
        Files.createDirectories(own.resolve(link).getParent());
        if (!Files.isSymbolicLink(own.resolve(link))) {
          Path target = Files.readSymbolicLink(real.resolve(link)); // of no file: "net:[123]"
          Files.createSymbolicLink(own.resolve(link), target);
        }
      }
      Files.writeString(own.resolve("comm"), "iperf3\n");
      Files.writeString(own.resolve("maps"), "7f00-7f01 r-xp 0 0:0 1 /usr/lib/libhutong.so\n");
      Files.writeString(own.resolve("environ"), String.join("\0", environment) + "\0");
    }
    return dir;
  }

  @Test
  void saysWhy() throws Exception {
    with(
        vms -> {
          Why why = why(vms, Path.of("/proc"));
          Pair pair = new Pair(vms);
          int fd = FakeShim.number(pair.tcp[0]);
          int at = PoolLayout.slot(1);
          pair.a.pool.putInt(at + EndLayout.STATE, Abi.END_CHANNEL);
          pair.a.pool.putInt(at + EndLayout.RX_PATH, Abi.PATH_RING);
          assertThat(why.of(FakeShim.PID, fd).path()).isEqualTo("SWITCHING");
          assertThat(why.of(FakeShim.PID, fd).accelerated()).isFalse();
          pair.a.pool.putInt(at + EndLayout.TX_PATH, Abi.PATH_RING);
          pair.a.pool.putLong(at + EndLayout.RING_IN, 1000);
          pair.a.pool.putLong(at + EndLayout.TCP_OUT, 7);
          WhyInfo ring = why.of(FakeShim.PID, fd);
          assertThat(ring.accelerated()).isTrue();
          assertThat(ring.reason()).isEqualTo(Reason.NONE);
          assertThat(ring.kind() + " " + ring.state() + " " + ring.path() + " " + ring.peerVm())
              .isEqualTo("TCP CHANNEL RING VM2");
          assertThat(ring.ringIn() + ring.tcpOut()).isEqualTo(1007);
          assertThat(ring.remote()).startsWith("10.99.0.2:");
          assertThat(ring.advice()).isEmpty();

          // The same with the agent at the other end of its segment: a peer on another host.
          int flags = pair.a.pool.getIntVolatile(at + EndLayout.FLAGS);
          pair.a.pool.putInt(at + EndLayout.FLAGS, flags | Abi.ENDF_REMOTE);
          WhyInfo light = why.of(FakeShim.PID, fd);
          assertThat(light.path()).isEqualTo("LIGHT");
          assertThat(light.accelerated()).isTrue();
          assertThat(light.reason()).isEqualTo(Reason.NONE);
          assertThat(light.summary()).contains("light protocol");
          assertThat(light.advice()).isEmpty();
          pair.a.pool.putInt(at + EndLayout.TX_PATH, Abi.PATH_TCP);
          assertThat(why.of(FakeShim.PID, fd).summary())
              .contains("on its way", "by the light protocol");
          pair.a.pool.putInt(at + EndLayout.REASON, Reason.PATH.number());
          WhyInfo half = why.of(FakeShim.PID, fd);
          assertThat(half.accelerated()).isFalse();
          assertThat(half.reason()).isEqualTo(Reason.PATH);
          assertThat(half.summary()).contains("One direction", "light protocol", "reason 29");
          assertThat(half.advice()).isEqualTo(Advice.of(Reason.PATH));
          pair.a.pool.putInt(at + EndLayout.REASON, Reason.PEER_STOP.number());
          assertThat(why.of(FakeShim.PID, fd).reason()).isEqualTo(Reason.PEER_STOP);
          pair.a.pool.putInt(at + EndLayout.REASON, 0);
          pair.a.pool.putInt(at + EndLayout.FLAGS, flags);

          // A connection without a shim, whoever the peer is.
          for (String[] ends :
              List.of(
                  new String[] {TwoVms.VM1, TwoVms.OUTSIDE, "NOT_MEMBER"},
                  new String[] {TwoVms.VM1, TwoVms.OTHER_HOST, "INTER_HOST"},
                  new String[] {TwoVms.VM1, TwoVms.VM1, "SAME_VM"},
                  new String[] {TwoVms.VM1_V6, TwoVms.VM2_V6, "NOT_INTERCEPTED"})) {
            int plain = FakeShim.number(vms.connect(ends[0], ends[1])[0]);
            WhyInfo info = why.of(FakeShim.PID, plain);
            assertThat(info.reason().name()).isEqualTo(ends[2]);
            assertThat(info.shim()).isFalse();
            assertThat(info.summary()).contains("on TCP, reason " + info.reason().number());
            assertThat(info.advice()).isEqualTo(Advice.of(info.reason()));
          }

          // One that waits for its peer.
          SocketChannel[] waiting = vms.connect(TwoVms.VM1, TwoVms.VM2);
          pair.a.register(2, 2, waiting[0]);
          vms.settle(0);
          int pending = FakeShim.number(waiting[0]);
          FakeShim.until(() -> why.of(FakeShim.PID, pending).reason() == Reason.PEER_SILENT);
          vms.policies[0].set(RuleSet.EXCLUDE, "net=10.99.0.0/24");
          assertThat(why.of(FakeShim.PID, pending).summary())
              .contains("reason 12", "exclude rule net=10.99.0.0/24");
          vms.policies[0].enable(false);
          assertThat(why.of(FakeShim.PID, pending).reason()).isEqualTo(Reason.OFF);
          assertThat(why.of(FakeShim.PID, pending).advice()).contains("hutong:on");
        });
  }

  @Test
  void remembersWhatTheShimForgets() throws Exception {
    with(
        vms -> {
          Why why = why(vms, Path.of("/proc"));
          FakeShim shim = vms.program(0);
          shim.hello();
          SocketChannel[] tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
          int fd = FakeShim.number(tcp[0]);
          vms.policies[0].set(RuleSet.DENY, "uid=0");
          shim.register(1, 1, tcp[0]);
          assertThat(declined(shim)).isEqualTo(Reason.POLICY);
          shim.pool.putIntVolatile(PoolLayout.slot(1) + EndLayout.STATE, Abi.END_FREE);
          assertThat(why.of(FakeShim.PID, fd).summary()).contains("reason 12", "deny rule uid=0");
          vms.policies[0].set(RuleSet.DENY, "");
          WhyInfo after = why.of(FakeShim.PID, fd);
          assertThat(after.reason()).isEqualTo(Reason.POLICY);
          assertThat(after.advice()).contains("make a new connection");

          // Registered again it is forgotten, and what a program gives as a reason is remembered.
          shim.register(2, 2, tcp[0]);
          vms.settle(0);
          FakeShim.until(() -> why.of(FakeShim.PID, fd).reason() == Reason.PEER_SILENT);
          ByteBuffer gone = FakeShim.message(Abi.MSG_GONE, 2);
          gone.putInt(MessageLayout.REASON, Reason.OPTION.number());
          Platform.sockets().send(shim.socket, gone.array(), List.of());
          shim.pool.putIntVolatile(PoolLayout.slot(2) + EndLayout.STATE, Abi.END_FREE);
          FakeShim.until(() -> why.of(FakeShim.PID, fd).reason() == Reason.OPTION);

          // A cookie that is not the program's socket's says nothing about that socket.
          SocketChannel[] other = vms.connect(TwoVms.VM1, TwoVms.VM2);
          int otherFd = FakeShim.number(other[0]);
          long cookie = Platform.processes().inspectSocket(FakeShim.PID, otherFd).cookie();
          shim.register(3, 3, fd, cookie);
          assertThat(declined(shim)).isEqualTo(Reason.NOT_OWNER);
          shim.pool.putIntVolatile(PoolLayout.slot(3) + EndLayout.STATE, Abi.END_FREE);
          assertThat(why.of(FakeShim.PID, otherFd).reason()).isEqualTo(Reason.NOT_INTERCEPTED);
        });
  }

  @Test
  void saysWhatTheProgramsEnvironmentForbids(@TempDir Path dir) throws Exception {
    with(
        vms -> {
          int fd = FakeShim.number(vms.connect(TwoVms.VM1, TwoVms.VM2)[0]);
          WhyInfo young = why(vms, disguised(dir, fd, "A=b")).of(FakeShim.PID, fd);
          assertThat(young.reason()).isEqualTo(Reason.YOUNG);
          assertThat(young.shim()).isTrue();
          assertThat(young.program()).isEqualTo("iperf3");
          assertThat(why(vms, disguised(dir, fd, "HUTONG_OFF=0")).of(FakeShim.PID, fd).reason())
              .isEqualTo(Reason.YOUNG);
          WhyInfo off = why(vms, disguised(dir, fd, "A=b", "HUTONG_OFF=1")).of(FakeShim.PID, fd);
          assertThat(off.reason()).isEqualTo(Reason.OFF);
          assertThat(off.summary()).contains("HUTONG_OFF is in its environment");
          WhyInfo excluded =
              why(vms, disguised(dir, fd, "HUTONG_EXCLUDE=program=iperf3")).of(FakeShim.PID, fd);
          assertThat(excluded.reason()).isEqualTo(Reason.POLICY);
          assertThat(excluded.summary())
              .contains("by its environment: exclude rule program=iperf3");
          assertThat(
                  why(vms, disguised(dir, fd, "HUTONG_INCLUDE=net=::/0"))
                      .of(FakeShim.PID, fd)
                      .summary())
              .contains("no rule of include matches");
          assertThat(
                  why(vms, disguised(dir, fd, "HUTONG_INCLUDE=bad")).of(FakeShim.PID, fd).summary())
              .contains("HUTONG_INCLUDE: 'bad'");
        });
  }

  @Test
  void saysWhatIsNoConnection() throws Exception {
    with(
        vms -> {
          Why why = why(vms, Path.of("/proc"));
          try (Fd bell = TwoVms.EVENTS.eventfd();
              ServerSocketChannel listener = ServerSocketChannel.open();
              SocketChannel fresh = SocketChannel.open()) {
            WhyInfo info = why.of(FakeShim.PID, bell.number());
            assertThat(info.kind()).contains("eventfd");
            assertThat(info.accelerated()).isFalse();
            assertThat(info.summary()).contains("it is no TCP socket");
            FakeShim unix = vms.program(0);
            assertThat(why.of(FakeShim.PID, unix.socket.number()).kind()).startsWith("socket:");
            listener.bind(null);
            assertThat(fresh.isOpen()).isTrue();
            List<String> found = new java.util.ArrayList<>();
            for (String name : new java.io.File("/proc/self/fd").list()) {
              try {
                WhyInfo each = why.of(FakeShim.PID, Integer.parseInt(name));
                found.add(each.kind() + ": " + each.summary());
              } catch (IllegalArgumentException e) {
                assertThat(e).hasMessageContaining("has no descriptor"); // the list's own
              }
            }
            assertThat(found).anyMatch(t -> t.startsWith("TCP: ") && t.contains("a listener"));
            assertThat(found).anyMatch(t -> t.startsWith("TCP: ") && t.contains("not connected"));
          }
          assertThatThrownBy(() -> why.of(FakeShim.PID, 1_000_000))
              .hasMessageContaining("has no descriptor 1000000");
          assertThatThrownBy(() -> why.of(0x3fffffff, 1)).hasMessageContaining("no process");
          // A child gets this thread's namespace, which is not the agent process' own.
          Process child = new ProcessBuilder("sleep", "100").start();
          try {
            assertThatThrownBy(() -> why.of((int) child.pid(), 0))
                .hasMessageContaining("does not live in this VM");
          } finally {
            child.destroyForcibly().waitFor();
          }
        });
  }
}
