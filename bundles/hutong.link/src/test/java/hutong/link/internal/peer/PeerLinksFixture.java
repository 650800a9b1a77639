// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal.peer;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** Nodes on one port of several loopback addresses. */
abstract class PeerLinksFixture {
  private static final Duration LONG = Duration.ofSeconds(30);
  private static final Duration SHORT = Duration.ofMillis(50);

  final List<Node> nodes = new ArrayList<>();
  final Map<Integer, Identity> identities = new HashMap<>();
  PeerLimits limits = patient();
  int port;

  /** Limits that no slow machine reaches. */
  static PeerLimits patient() {
    return new PeerLimits(64, 64, 100_000, LONG, LONG, LONG, LONG, SHORT, SHORT, SHORT, 1 << 20);
  }

  /** Limits that are soon reached. */
  static PeerLimits quick() {
    return quick(LONG);
  }

  /** The same, where peers that are gone are forgotten after so long. */
  static PeerLimits quick(Duration forget) {
    Duration handshake = Duration.ofSeconds(2);
    return new PeerLimits(
        8, 8, 100_000, handshake, SHORT, SHORT, forget, SHORT, SHORT, SHORT, 1 << 20);
  }

  @BeforeEach
  void freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      port = socket.getLocalPort();
    }
  }

  @AfterEach
  void closeAll() {
    nodes.forEach(Node::close);
    nodes.clear();
    assertThat(Thread.getAllStackTraces().keySet())
        .extracting(Thread::getName)
        .doesNotContain("hutong-peer-link");
  }

  Identity identity(int number) {
    return identities.computeIfAbsent(number, n -> new Identity());
  }

  Node node(int number) throws IOException {
    Node node = new Node(number, port, identity(number), limits);
    nodes.add(node);
    return node;
  }

  void close(Node node) {
    nodes.remove(node);
    node.close();
  }

  /** Tells all nodes of all identities. */
  void listAll() {
    for (Node node : nodes) {
      Map<Integer, Identity> others = new HashMap<>(identities);
      others.remove(node.number);
      node.members(others);
    }
  }

  /** What somebody who plays that VM knows. */
  FakeWorld world(int number, long session) {
    FakeWorld world = new FakeWorld(Node.id(number), identity(number), session);
    identities.forEach((n, identity) -> world.knows(Node.id(n), identity));
    return world;
  }
}
