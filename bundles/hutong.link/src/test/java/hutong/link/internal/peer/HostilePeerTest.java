// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.link.internal.peer.Sealer.Kind;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** A node, and others that are not what they should be or come at a bad time. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class HostilePeerTest extends PeerLinksFixture {
  private static final int RECORD_OF_KEEP = 8;

  private Node node() throws IOException {
    Node one = node(1);
    identity(2);
    identity(3);
    listAll();
    return one;
  }

  private RawPeer connect(int from) throws IOException {
    return RawPeer.connect(from, 1, port);
  }

  private RawPeer linked(Node one, long session) throws Exception {
    RawPeer two = connect(2).begin(world(2, session), Node.id(1));
    two.keep();
    one.hears("up PC2/1");
    return two;
  }

  /** The node still does what it should. */
  private void stillWorks(Node one) throws Exception {
    try (RawPeer two = linked(one, 999)) {
      two.send("hello");
      one.hears("PC2/1 1 hello");
      one.send(2, "you");
      assertThat(two.read().content()).isEqualTo("you".getBytes());
    }
    one.hears("down PC2/1");
  }

  @Test
  void shouldTalkToOneWhoSpeaksTheProtocol() throws Exception {
    stillWorks(node());
  }

  @Test
  void shouldRefuseWrongKeysNamesAndAddresses() throws Exception {
    Node one = node();
    try (RawPeer thief = connect(2)) {
      FakeWorld world = new FakeWorld(Node.id(2), new Identity(), 1);
      thief.begin(world.knows(Node.id(1), one.identity), Node.id(1)).isClosed();
    }
    one.counts("link.peer.unauthentic", 1);
    try (RawPeer liar = connect(2)) { // the right key of the wrong VM
      ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
      Handshake.begin(world(3, 1), Node.id(1), out);
      liar.write(java.util.Arrays.copyOf(out.array(), out.position()));
      liar.isClosed();
    }
    one.counts("link.peer.refused", 1);
    try (RawPeer elsewhere = connect(9)) { // from an address that nobody has
      elsewhere.isClosed();
    }
    one.counts("link.peer.refused", 2);
    try (RawPeer lost = connect(2)) { // meant for somebody else
      ByteBuffer out = ByteBuffer.allocate(Handshake.MAX_BYTES);
      Handshake.begin(world(2, 1), Node.id(3), out);
      lost.write(java.util.Arrays.copyOf(out.array(), out.position()));
      lost.isClosed();
    }
    one.counts("link.peer.refused", 3);
    assertThat(one.heard).isEmpty();
    stillWorks(one);
  }

  @Test
  void shouldNotTalkToAnImpostorThatItConnectsTo() throws Exception {
    try (ServerSocket server = new ServerSocket()) {
      server.bind(new InetSocketAddress(Node.address(2), port));
      Node one = node();
      one.links.want(Node.id(2));
      try (RawPeer thief = new RawPeer(server.accept())) {
        FakeWorld world = new FakeWorld(Node.id(2), new Identity(), 1);
        org.assertj.core.api.Assertions.assertThatThrownBy(
                () -> thief.answer(world.knows(Node.id(1), one.identity)))
            .isInstanceOf(IOException.class);
      }
      one.counts("link.peer.unauthentic", 1);
      try (RawPeer two = new RawPeer(server.accept()).answer(world(2, 1))) { // it tries again
        two.keep();
        one.hears("up PC2/1");
      }
    }
  }

  @Test
  void shouldCloseOnWhatIsNotAuthenticOrOutOfPlace() throws Exception {
    Node one = node();
    List<byte[]> contents = new ArrayList<>();
    for (int at : new int[] {0, 4, 5, 20}) {
      RawPeer two = linked(one, at);
      byte[] bad = two.seal(Kind.DATA, 1, "never".getBytes());
      bad[at] ^= 1;
      two.write(bad);
      two.isClosed();
      two.close();
      one.hears("down PC2/1");
      contents.add(bad);
    }
    assertThat(one.count("link.peer.unauthentic")).isEqualTo(3);
    assertThat(one.count("link.peer.malformed")).isEqualTo(1);
    for (Kind kind : new Kind[] {Kind.KEEP, Kind.AUTH}) {
      RawPeer two = linked(one, 100);
      two.write(two.seal(kind, 0, new byte[RECORD_OF_KEEP]));
      two.isClosed();
      two.close();
      one.hears("down PC2/1");
    }
    assertThat(one.count("link.peer.malformed")).isEqualTo(3);
    stillWorks(one);
  }

  @Test
  void shouldCloseOnDataBeforeTheLinkIsUp() throws Exception {
    Node three = node(3);
    identity(1);
    listAll();
    RawPeer one = RawPeer.connect(1, 3, port).begin(world(1, 1), Node.id(3));
    one.send("too early");
    one.isClosed();
    three.counts("link.peer.malformed", 1);
    assertThat(three.heard).isEmpty();
    RawPeer again = RawPeer.connect(1, 3, port).begin(world(1, 1), Node.id(3));
    again.write(again.seal(Kind.KEEP, 0, new byte[] {0, 0, 0, 0, 0, 0, 0, 1}));
    again.send("now");
    three.hears("up PC1/1", "PC1/1 1 now");
    // KEEP with the same number comes over a connection that was given up since.
    RawPeer old = RawPeer.connect(1, 3, port).begin(world(1, 1), Node.id(3));
    old.write(old.seal(Kind.KEEP, 0, new byte[] {0, 0, 0, 0, 0, 0, 0, 1}));
    old.isClosed();
    RawPeer fresh = RawPeer.connect(1, 3, port).begin(world(1, 1), Node.id(3));
    fresh.write(fresh.seal(Kind.KEEP, 0, new byte[] {0, 0, 0, 0, 0, 0, 0, 2}));
    again.isClosed();
    three.hears("down PC1/1", "up PC1/1");
    one.close();
    again.close();
    old.close();
    fresh.close();
  }

  @Test
  void shouldSurviveGarbage() throws Exception {
    long seed = Long.getLong("hutong.seed", System.nanoTime());
    System.out.println("HostilePeerTest: repeat with -Dhutong.seed=" + seed);
    Random random = new Random(seed);
    Node one = node();
    byte[] good = new Hello(1, new byte[32], new byte[32], Node.id(2), Node.id(1)).encode();
    for (int i = 0; i < 300; i++) {
      try (RawPeer two = connect(2)) {
        byte[] bad = random.nextBoolean() ? good.clone() : new byte[1 + random.nextInt(70_000)];
        if (bad.length != good.length) {
          random.nextBytes(bad);
        }
        bad[random.nextInt(Math.min(bad.length, 8))] ^= (byte) (1 + random.nextInt(255));
        two.write(bad);
        boolean last = i % 10 == 9; // too many at a time would be turned away
        if (random.nextBoolean() || last) {
          two.socket.shutdownOutput();
        }
        if (last) {
          two.isClosed();
        }
      } catch (IOException e) {
        continue; // the node has closed it before all was written
      }
    }
    assertThat(one.count("link.peer.failed")).isZero();
    assertThat(one.heard).isEmpty();
    assertThat(one.lines.size()).as("lines in the log").isLessThan(30);
    stillWorks(one);
  }

  @Test
  void shouldRefuseHandshakesThatAreReplayedOrCutOff() throws Exception {
    Node one = node();
    byte[] sent;
    try (RawPeer two = linked(one, 1)) {
      sent = two.sent.toByteArray();
    }
    one.hears("down PC2/1");
    try (RawPeer replay = connect(2)) {
      replay.write(sent);
      replay.isClosed();
    }
    one.counts("link.peer.unauthentic", 1);
    for (int length = 0; length < sent.length; length += 7) {
      try (RawPeer cut = connect(2)) {
        cut.write(java.util.Arrays.copyOf(sent, length));
        cut.socket.shutdownOutput();
        cut.isClosed();
      }
    }
    assertThat(one.heard).isEmpty();
    stillWorks(one);
  }

  @Test
  void shouldNotWaitForSlowOnesNorTakeMany() throws Exception {
    limits = quick();
    Node one = node();
    List<RawPeer> slow = new ArrayList<>();
    Node.await(
        () -> {
          if (one.count("link.peer.throttled") > 0) {
            return true;
          }
          try { // anew: the first ones may be given up before all are there
            for (RawPeer peer : slow) {
              peer.close();
            }
            slow.clear();
            for (int i = 0; i < limits.strangers(); i++) {
              RawPeer peer = connect(2);
              slow.add(peer);
              peer.write(new byte[] {0x48, 0x55}); // and nothing more
            }
            try (RawPeer more = connect(3)) {
              more.isClosed();
            }
            return one.count("link.peer.throttled") > 0;
          } catch (IOException e) {
            return false;
          }
        });
    for (RawPeer peer : slow) {
      peer.isClosed();
      peer.close();
    }
    one.counts("link.peer.timeout", 1);
    stillWorks(one);
  }

  @Test
  void shouldSayWhichVersionItSpeaks() throws Exception {
    Node one = node();
    byte[] other = new Hello(1, new byte[32], new byte[32], Node.id(2), Node.id(1)).encode();
    other[5] = 9;
    try (RawPeer two = connect(2)) {
      two.write(other);
      assertThat(two.bytes(Hello.HEAD_BYTES)).isEqualTo(Hello.versionOnly());
      two.isClosed();
    }
    assertThat(one.count("link.peer.version")).isEqualTo(1);
    assertThat(one.lines).anyMatch(line -> line.contains("speaks version 9"));
    try (ServerSocket server = new ServerSocket()) {
      server.bind(new InetSocketAddress(Node.address(2), port));
      one.links.want(Node.id(2));
      try (RawPeer two = new RawPeer(server.accept())) {
        byte[] version = Hello.versionOnly();
        version[5] = 9;
        two.write(version);
        two.isClosed();
      }
      one.counts("link.peer.version", 2);
    }
  }

  @Test
  void shouldPreferItsOwnConnectionAsTheLowerPeer() throws Exception {
    try (ServerSocket server = new ServerSocket()) {
      server.bind(new InetSocketAddress(Node.address(2), port));
      Node one = node();
      one.links.want(Node.id(2));
      RawPeer begunByOne = new RawPeer(server.accept());
      RawPeer begunByTwo = connect(2).begin(world(2, 5), Node.id(1));
      begunByOne.answer(world(2, 5));
      assertThat(begunByOne.keep()).isPositive();
      begunByTwo.isClosed();
      one.hears("up PC2/1");
      assertThat(one.heard).isEmpty();
      begunByOne.close();
      begunByTwo.close();
    }
  }

  @Test
  void shouldTakeTheOthersConnectionWhenItsOwnComesToNothing() throws Exception {
    try (ServerSocket server = new ServerSocket()) {
      server.bind(new InetSocketAddress(Node.address(2), port));
      Node one = node();
      one.links.want(Node.id(2));
      RawPeer begunByOne = new RawPeer(server.accept());
      RawPeer begunByTwo = connect(2).begin(world(2, 5), Node.id(1));
      begunByOne.close();
      assertThat(begunByTwo.keep()).isPositive();
      one.hears("up PC2/1");
      begunByTwo.close();
      one.hears("down PC2/1");
    }
    limits = quick(); // and when it takes too long
    closeAll();
    try (ServerSocket server = new ServerSocket()) {
      server.bind(new InetSocketAddress(Node.address(2), port));
      Node one = node();
      one.links.want(Node.id(2));
      try (RawPeer begunByOne = new RawPeer(server.accept());
          RawPeer begunByTwo = connect(2).begin(world(2, 5), Node.id(1))) {
        assertThat(begunByTwo.keep()).isPositive();
        begunByOne.isClosed();
        one.hears("up PC2/1");
      }
    }
  }

  @Test
  void shouldLetARestartedPeerTakeItsPlaceAgain() throws Exception {
    Node one = node();
    RawPeer old = linked(one, 1); // its machine dies: nothing is closed
    RawPeer fresh = connect(2).begin(world(2, 2), Node.id(1));
    long number = fresh.keep();
    old.isClosed();
    one.hears("down PC2/1", "up PC2/1");
    // The same life, which has not heard of that KEEP: the link stands.
    RawPeer late = connect(2).begin(world(2, 2), Node.id(1));
    late.isClosed();
    fresh.send("still here");
    one.hears("PC2/1 1 still here");
    // The same life, which has had that KEEP and lost the connection.
    FakeWorld world = world(2, 2);
    world.lastKeep = number;
    RawPeer next = connect(2).begin(world, Node.id(1));
    assertThat(next.keep()).isGreaterThan(number);
    one.hears("down PC2/1", "up PC2/1");
    fresh.isClosed();
    for (RawPeer peer : List.of(old, fresh, late, next)) {
      peer.close();
    }
  }

  @Test
  void shouldNotQueueWithoutBoundForOneWhoDoesNotRead() throws Exception {
    Node one = node();
    RawPeer two = linked(one, 1);
    byte[] payload = new byte[60_000];
    int count = 0;
    IOException full = null;
    while (full == null) {
      try {
        payload[0] = (byte) count;
        one.links.send(Node.id(2), 1, payload);
        count++;
      } catch (IOException e) {
        full = e;
      }
      assertThat(count).isLessThan(100_000);
    }
    assertThat(full).hasMessageContaining("full");
    assertThat(one.links.up(Node.id(2))).isTrue();
    assertThat(one.count("link.peer.queue-full")).isEqualTo(1);
    for (int i = 0; i < count; i++) {
      assertThat(two.read().content()[0]).isEqualTo((byte) i);
    }
    two.close();
    one.hears("down PC2/1");
  }

  @Test
  void shouldConnectToNobodyWhoIsNotWanted() throws Exception {
    try (ServerSocket server = new ServerSocket(port, 5, InetAddress.getByName(Node.address(2)))) {
      Node one = node();
      stillWorks(one);
      server.setSoTimeout(200);
      org.assertj.core.api.Assertions.assertThatThrownBy(server::accept)
          .isInstanceOf(java.net.SocketTimeoutException.class);
      one.links.want(Node.id(2));
      server.setSoTimeout((int) TimeUnit.SECONDS.toMillis(Node.DEADLINE_S));
      server.accept().close();
    }
  }
}
