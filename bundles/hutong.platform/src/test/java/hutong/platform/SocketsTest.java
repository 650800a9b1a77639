// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.os.Fd;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SocketsTest {
  private final Sockets sockets = Platform.sockets();
  private final Events events = Platform.events();

  private static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  private static int openDescriptors() throws Exception {
    try (Stream<Path> fds = Files.list(Path.of("/proc/self/fd"))) {
      return (int) fds.count();
    }
  }

  @Test
  void shouldPassMessagesAndDescriptors() throws Exception {
    List<Fd> pair = sockets.unixSeqpacketPair();
    try (Fd a = pair.get(0);
        Fd b = pair.get(1);
        Fd bell = events.eventfd()) {
      assertThat(sockets.recv(b, 64, 4)).isNull();
      sockets.send(a, bytes("one"), List.of());
      sockets.send(a, bytes("two"), List.of(bell, bell));
      Received one = sockets.recv(b, 64, 4);
      assertThat(one.data()).isEqualTo(bytes("one"));
      assertThat(one.fds()).isEmpty();
      Received two = sockets.recv(b, 64, 2);
      assertThat(two.fds()).hasSize(2);
      assertThat(two.truncated()).isFalse();
      events.ring(two.fds().get(1));
      assertThat(events.drain(bell)).isEqualTo(1);
      two.closeFds();
      assertThat(two.fds().get(0).isOpen()).isFalse();
      assertThat(bell.isOpen()).isTrue();
    }
  }

  @Test
  void shouldCloseEveryDescriptorOfATruncatedMessage() throws Exception {
    List<Fd> pair = sockets.unixSeqpacketPair();
    try (Fd a = pair.get(0);
        Fd b = pair.get(1);
        Fd bell = events.eventfd()) {
      sockets.recv(b, 64, 1); // loads classes, so that they open no files below
      int before = openDescriptors();
      for (int given = 2; given < 6; given++) {
        sockets.send(a, bytes("too many"), java.util.Collections.nCopies(given, bell));
        Received r = sockets.recv(b, 64, 1);
        assertThat(r.truncated()).isTrue();
        assertThat(r.fds()).isEmpty();
        assertThat(r.eof()).isFalse();
      }
      sockets.send(a, bytes("too long"), List.of(bell));
      Received cut = sockets.recv(b, 4, 1);
      assertThat(cut.truncated()).isTrue();
      assertThat(cut.fds()).isEmpty();
      sockets.send(a, bytes("unwanted"), List.of(bell));
      assertThat(sockets.recv(b, 64, 0).truncated()).isTrue();
      assertThat(openDescriptors()).isEqualTo(before);
    }
  }

  @Test
  void shouldTellEndOfStreamFromNothing() throws Exception {
    List<Fd> pair = sockets.unixSeqpacketPair();
    try (Fd b = pair.get(1)) {
      sockets.send(pair.get(0), bytes("last"), List.of());
      pair.get(0).close();
      assertThat(sockets.recv(b, 64, 0).data()).isEqualTo(bytes("last"));
      assertThat(sockets.recv(b, 64, 0).eof()).isTrue();
      assertThatThrownBy(() -> sockets.send(b, bytes("x"), List.of()))
          .isInstanceOfSatisfying(
              OsException.class, e -> assertThat(e.errno()).isEqualTo(OsException.EPIPE));
    }
  }

  @Test
  void shouldSayWhenASendWouldBlock() throws Exception {
    List<Fd> pair = sockets.unixSeqpacketPair();
    try (Fd a = pair.get(0);
        Fd b = pair.get(1)) {
      byte[] big = new byte[8192];
      assertThatThrownBy(
              () -> {
                for (int i = 0; i < 1_000_000; i++) {
                  sockets.send(a, big, List.of());
                }
              })
          .isInstanceOfSatisfying(OsException.class, e -> assertThat(e.wouldBlock()).isTrue());
      assertThat(sockets.recv(b, 8192, 0).data()).hasSize(8192);
      sockets.send(a, big, List.of());
    }
  }

  @Test
  void shouldListenAtAPathWithItsMode(@TempDir Path dir) throws Exception {
    Path path = dir.resolve("s.sock");
    for (int round = 0; round < 2; round++) { // the second replaces the stale socket
      try (Fd listener = sockets.unixSeqpacketListenPath(path, 0600, 8)) {
        assertThat(PosixFilePermissions.toString(Files.getPosixFilePermissions(path)))
            .isEqualTo("rw-------");
        assertThat(sockets.accept(listener)).isNull();
        try (Fd client = sockets.unixSeqpacketConnectPath(path);
            Fd server = sockets.accept(listener)) {
          PeerCred cred = sockets.peerCred(server);
          assertThat((long) cred.pid()).isEqualTo(ProcessHandle.current().pid());
          assertThat(cred.uid()).isEqualTo(Files.getAttribute(Path.of("/proc/self"), "unix:uid"));
          sockets.send(client, bytes("hello"), List.of());
          assertThat(sockets.recv(server, 16, 0).data()).isEqualTo(bytes("hello"));
        }
      }
    }
    assertThatThrownBy(() -> sockets.unixSeqpacketConnectPath(path))
        .isInstanceOfSatisfying(
            OsException.class, e -> assertThat(e.errno()).isEqualTo(OsException.ECONNREFUSED));
    Path tooLong = dir.resolve("x".repeat(120));
    assertThatThrownBy(() -> sockets.unixSeqpacketListenPath(tooLong, 0600, 1))
        .hasMessageContaining("107");
  }

  @Test
  void shouldListenAtAnAbstractAddress() throws Exception {
    String name = "hutong-test-" + ProcessHandle.current().pid();
    try (Fd listener = sockets.unixSeqpacketListenAbstract(name, 8);
        Fd client = sockets.unixSeqpacketConnectAbstract(name);
        Fd server = sockets.accept(listener)) {
      assertThat(Files.readString(Path.of("/proc/net/unix"))).contains("@" + name + "\n");
      sockets.send(server, bytes("x"), List.of());
      assertThat(sockets.recv(client, 16, 0).data()).hasSize(1);
      assertThatThrownBy(() -> sockets.unixSeqpacketListenAbstract(name, 8))
          .isInstanceOfSatisfying(
              OsException.class, e -> assertThat(e.errno()).isEqualTo(OsException.EADDRINUSE));
    }
  }

  @Test
  void shouldRefuseMalformedArguments() {
    assertThatThrownBy(() -> Sockets.macBytes("02:77")).hasMessageContaining("02:77");
    assertThat(Sockets.macText(Sockets.macBytes("02:77:AB:00:0f:03")))
        .isEqualTo("02:77:ab:00:0f:03");
    assertThatThrownBy(() -> sockets.mtu("no-such-if")).isInstanceOf(OsException.class);
    assertThatThrownBy(() -> sockets.packetOpen("no-such-if", 0x88B6))
        .isInstanceOf(OsException.class);
    assertThatThrownBy(() -> sockets.mac("a-name-that-is-far-too-long"))
        .hasMessageContaining("15 bytes");
  }

  @Test
  void shouldKnowAnInterface() throws Exception {
    assertThat(sockets.mtu("lo"))
        .isEqualTo(Integer.parseInt(Files.readString(Path.of("/sys/class/net/lo/mtu")).trim()));
    assertThat(sockets.mac("lo")).isEqualTo(new byte[6]);
  }

  @Test
  void shouldPullASocketOutOfAnotherProcess() throws Exception {
    Processes processes = Platform.processes();
    try (ServerSocketChannel server = ServerSocketChannel.open()) {
      server.bind(new InetSocketAddress(InetAddress.getByName("127.0.0.1"), 0));
      int port = ((InetSocketAddress) server.getLocalAddress()).getPort();
      Process child =
          new ProcessBuilder("bash", "-c", "exec 9<>/dev/tcp/127.0.0.1/" + port + "; echo up; read")
              .start();
      try (SocketChannel accepted = server.accept()) {
        assertThat(child.getInputStream().read()).isEqualTo('u');
        SocketFacts facts = processes.inspectSocket((int) child.pid(), 9);
        assertThat(facts.isEstablishedTcp()).isTrue();
        assertThat(facts.family()).isEqualTo(SocketFacts.AF_INET);
        assertThat(facts.local()).isEqualTo(accepted.getRemoteAddress());
        assertThat(facts.remote()).isEqualTo(server.getLocalAddress());
        assertThat(facts.cookie()).isNotZero();
        assertThat(processes.inspectSocket((int) child.pid(), 9)).isEqualTo(facts);
        assertThatThrownBy(() -> processes.inspectSocket((int) child.pid(), 77))
            .isInstanceOfSatisfying(
                OsException.class, e -> assertThat(e.errno()).isEqualTo(OsException.EBADF));
        assertThatThrownBy(() -> processes.inspectSocket((int) child.pid(), 0))
            .isInstanceOfSatisfying(
                OsException.class, e -> assertThat(e.errno()).isEqualTo(OsException.ENOTSOCK));
      } finally {
        child.destroyForcibly().waitFor();
      }
      assertThatThrownBy(() -> processes.pidfdOpen((int) child.pid()))
          .isInstanceOfSatisfying(
              OsException.class, e -> assertThat(e.errno()).isEqualTo(OsException.ESRCH));
    }
  }

  @Test
  void shouldReadFactsOfOtherSockets() throws Exception {
    try (Fd unix = sockets.unixSeqpacketPair().get(0);
        Fd bell = events.eventfd()) {
      SocketFacts facts = sockets.tcpFacts(unix);
      assertThat(facts.state()).isEqualTo(-1);
      assertThat(facts.local()).isNull();
      assertThat(facts.isEstablishedTcp()).isFalse();
      assertThatThrownBy(() -> sockets.tcpFacts(bell)).isInstanceOf(OsException.class);
    }
  }

  @Test
  void shouldCloseADescriptorOnce() throws Exception {
    Fd first = events.eventfd();
    int number = first.number();
    first.close();
    assertThatThrownBy(first::number).isInstanceOf(IllegalStateException.class);
    List<Fd> others = new ArrayList<>();
    try {
      Fd second;
      do { // until the number that is free now is given out again; others below it may be, too
        second = events.eventfd();
        others.add(second);
      } while (second.number() < number);
      assertThat(second.number()).isEqualTo(number);
      first.close();
      events.ring(second);
    } finally {
      others.forEach(Fd::close);
    }
  }
}
