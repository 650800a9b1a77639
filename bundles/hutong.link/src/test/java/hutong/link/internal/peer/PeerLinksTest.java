// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.discovery.Member;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Links between agents that are what they should be. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class PeerLinksTest extends PeerLinksFixture {
  /** Nodes 1 and 2, listed to each other, have a link; 1 has wanted it. */
  private void joined(Node one, Node two) throws Exception {
    listAll();
    one.links.want(Node.id(2));
    one.hears("up PC2/1");
    two.hears("up PC1/1");
  }

  @Test
  void shouldCarryMessagesBothWaysInOrder() throws Exception {
    Node one = node(1);
    Node two = node(2);
    Node three = node(3);
    listAll();
    assertThatThrownBy(() -> one.send(2, "early")).isInstanceOf(IOException.class);
    one.hears("up PC2/1");
    two.hears("up PC1/1");
    assertThat(three.links.list()).as("nobody wants it").doesNotContainValue(PeerLink.State.UP);
    three.links.want(Node.id(2));
    three.hears("up PC2/1");
    two.hears("up PC3/1");
    for (int i = 0; i < 300; i++) {
      one.send(2, "a" + i);
      two.send(1, "b" + i);
      three.send(2, "c" + i);
    }
    for (int i = 0; i < 300; i++) {
      one.hears("PC2/1 1 b" + i);
    }
    int a = 0;
    int c = 0;
    for (int i = 0; i < 600; i++) {
      String heard = two.heard.poll(Node.DEADLINE_S, TimeUnit.SECONDS);
      assertThat(heard).isIn("PC1/1 1 a" + a, "PC3/1 1 c" + c);
      a += heard.startsWith("PC1") ? 1 : 0;
      c += heard.startsWith("PC3") ? 1 : 0;
    }
    assertThat(one.links.up(Node.id(2))).isTrue();
    assertThat(one.links.up(Node.id(3))).isFalse();
    assertThat(two.links.list()).containsOnlyKeys(Node.id(1), Node.id(3));
  }

  @Test
  void shouldCountPeersBeyondThoseThatItKeeps() throws Exception {
    Node one = node(1);
    Node two = node(2);
    for (int vm = 3; vm < 3 + 4096; vm++) {
      one.links.want(Node.id(vm));
    }
    one.links.want(Node.id(3));
    assertThat(one.count("link.peer.too-many")).isZero();
    one.links.want(Node.id(2));
    assertThat(one.count("link.peer.too-many")).isEqualTo(1);
    listAll();
    two.links.want(Node.id(1));
    two.hears("up PC1/1");
  }

  @Test
  void shouldCarryMessagesOfAllSizes() throws Exception {
    Node one = node(1);
    Node two = node(2);
    BlockingQueue<Integer> sizes = new LinkedBlockingQueue<>();
    two.links.addListener(
        new PeerLinkListener() {
          @Override
          public void onPeerMessage(hutong.api.link.PeerId from, int topic, byte[] payload) {
            boolean right = topic == 255;
            for (int i = 0; i < payload.length; i++) {
              right &= payload[i] == (byte) i;
            }
            sizes.add(right ? payload.length : -1);
          }

          @Override
          public void onPeerLinkUp(hutong.api.link.PeerId peer) {}

          @Override
          public void onPeerLinkDown(hutong.api.link.PeerId peer) {}
        });
    listAll();
    one.links.want(Node.id(2));
    one.hears("up PC2/1");
    int[] all = {0, 1, 15_000, 16_384, 16_385, 30_000, 65_535, 65_536, 3};
    for (int round = 0; round < 5; round++) {
      for (int size : all) {
        byte[] payload = new byte[size];
        for (int i = 0; i < size; i++) {
          payload[i] = (byte) i;
        }
        one.links.send(Node.id(2), 255, payload);
      }
      for (int size : all) {
        assertThat(sizes.poll(Node.DEADLINE_S, TimeUnit.SECONDS)).isEqualTo(size);
      }
    }
    assertThatThrownBy(() -> one.links.send(Node.id(2), 1, new byte[65_537]))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> one.links.send(Node.id(2), 256, new byte[0]))
        .isInstanceOf(IllegalArgumentException.class);
  }

  @Test
  void shouldAgreeOnOneConnectionWhenBothBegin() throws Exception {
    for (int round = 0; round < 20; round++) {
      Node one = node(1);
      Node two = node(2);
      one.links.want(Node.id(2));
      two.links.want(Node.id(1));
      listAll();
      one.hears("up PC2/1");
      two.hears("up PC1/1");
      for (int i = 0; i < 50; i++) {
        one.send(2, "x" + i);
        two.send(1, "y" + i);
      }
      for (int i = 0; i < 50; i++) {
        two.hears("PC1/1 1 x" + i);
        one.hears("PC2/1 1 y" + i);
      }
      assertThat(one.count("link.peer.down") + two.count("link.peer.down")).isZero();
      closeAll();
    }
  }

  @Test
  void shouldComeBackAfterARestartOfEitherSide() throws Exception {
    Node one = node(1);
    Node two = node(2);
    joined(one, two);
    close(two);
    one.hears("down PC2/1");
    assertThat(one.links.up(Node.id(2))).isFalse();
    Node again = node(2);
    listAll();
    one.hears("up PC2/1");
    again.hears("up PC1/1");
    close(one);
    again.hears("down PC1/1");
    Node first = node(1);
    listAll();
    again.links.want(Node.id(1));
    again.hears("up PC1/1");
    first.hears("up PC2/1");
    again.send(1, "hello");
    first.hears("PC2/1 1 hello");
  }

  @Test
  void shouldTellANewListenerWhatIsUp() throws Exception {
    Node one = node(1);
    Node two = node(2);
    joined(one, two);
    one.links.removeListener(one);
    one.links.addListener(one);
    one.hears("up PC2/1");
    two.links.removeListener(two);
    two.links.addListener(
        new PeerLinkListener() {
          @Override
          public void onPeerMessage(hutong.api.link.PeerId from, int topic, byte[] payload) {
            throw new IllegalStateException("a listener that fails harms nobody");
          }

          @Override
          public void onPeerLinkUp(hutong.api.link.PeerId peer) {}

          @Override
          public void onPeerLinkDown(hutong.api.link.PeerId peer) {}
        });
    two.links.addListener(two);
    two.hears("up PC1/1");
    one.send(2, "x");
    two.hears("PC1/1 1 x");
  }

  @Test
  void shouldEndALinkWhosePeerStaysAway() throws Exception {
    limits = quick();
    Node one = node(1);
    Node two = node(2);
    joined(one, two);
    one.members(Map.of());
    one.hears("down PC2/1");
    two.hears("down PC1/1");
    assertThat(one.links.list()).containsEntry(Node.id(2), PeerLink.State.UNREACHABLE);
    listAll();
    one.hears("up PC2/1");
    two.hears("up PC1/1");
  }

  @Test
  void shouldForgetPeersThatAreGone() throws Exception {
    limits = quick(Duration.ofMillis(50));
    Node one = node(1);
    Node two = node(2);
    joined(one, two);
    one.members(Map.of());
    one.hears("down PC2/1", "forgotten PC2/1");
    assertThat(one.links.list()).isEmpty();
    // Nobody wants it any more, wherever it comes from; who does may say so again.
    two.hears("down PC1/1");
    two.members(Map.of());
    listAll();
    assertThat(one.links.list()).isEmpty();
    one.links.want(Node.id(2));
    one.hears("up PC2/1");
    assertThat(one.heard).isEmpty();
  }

  /** VMs come and go, and never come back: more of them than can be wanted at one time. */
  @Test
  void shouldWantOthersAfterManyThatAreGone() throws Exception {
    limits = quick(Duration.ofMillis(1));
    Node one = node(1);
    Node two = node(2);
    listAll();
    for (int i = 0; i < 5000; i++) {
      one.links.want(new PeerId("PC9", i));
    }
    Node.await(() -> one.heard.stream().filter(h -> h.startsWith("forgotten")).count() >= 4096);
    one.links.want(Node.id(2));
    two.hears("up PC1/1");
    Node.await(() -> one.heard.contains("up PC2/1"));
  }

  @Test
  void shouldBearAListThatFlaps() throws Exception {
    Node one = node(1);
    Node two = node(2);
    joined(one, two);
    for (int i = 0; i < 20; i++) {
      one.members(Map.of());
      two.members(Map.of());
      one.send(2, "m" + i);
      two.hears("PC1/1 1 m" + i);
      listAll();
    }
    assertThat(one.heard).isEmpty();
  }

  @Test
  void shouldEndALinkAtOnceWhenThePeersKeyIsAnother() throws Exception {
    Node one = node(1);
    Node two = node(2);
    listAll();
    one.links.want(Node.id(2));
    one.hears("up PC2/1");
    one.members(Map.of(2, new Identity()));
    one.hears("down PC2/1");
    one.counts("link.peer.unauthentic", 1);
    assertThat(one.links.up(Node.id(2))).isFalse();
    one.members(Map.of(2, two.identity));
    one.hears("up PC2/1");
  }

  @Test
  void shouldTakeIpv4AndIpv6OnOneSocket() throws Exception {
    Assumptions.assumeTrue(
        NetworkInterface.getByInetAddress(InetAddress.getByName("::1")) != null, "no IPv6 here");
    identity(2);
    Node one = new Node(1, new InetSocketAddress(port), identity(1), limits);
    nodes.add(one);
    Member own = new Member("PC1", 1, "VM1", "", List.of(), "1", true, true, "");
    String key = identity(2).publicKey();
    List<String> addresses = List.of("127.0.0.2", "::1");
    Member two = new Member("PC2", 1, "VM2", "", addresses, "1", false, false, key);
    one.members(List.of(own, two));
    identity(1);
    for (String address : List.of("::1", "127.0.0.2")) {
      String to = address.equals("::1") ? "::1" : "127.0.0.1";
      try (RawPeer peer = RawPeer.connect(address, to, port).begin(world(2, 1), Node.id(1))) {
        peer.keep();
        one.hears("up PC2/1");
      }
      one.hears("down PC2/1");
    }
  }

  @Test
  void shouldWaitForItsPort() throws Exception {
    Node one;
    try (ServerSocket other = new ServerSocket()) {
      other.bind(new InetSocketAddress(Node.address(1), port));
      one = node(1);
      Node two = node(2);
      joined(one, two);
      Node.await(() -> one.lines.stream().anyMatch(l -> l.startsWith("ERROR cannot listen")));
    }
    Node.await(() -> one.lines.stream().anyMatch(l -> l.contains("listening for other hosts")));
    Node three = node(3);
    listAll();
    three.links.want(Node.id(1));
    three.hears("up PC1/1");
    assertThat(one.lines.stream().filter(l -> l.startsWith("ERROR"))).hasSize(1);
  }
}
