// SPDX-License-Identifier: Apache-2.0
package hutong.link.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.link.AgentLinkListener;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.os.Fd;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class NeighbourLinkTest {
  private static final PeerId VM2 = new PeerId("PC1", 2);
  private static final PeerId VM3 = new PeerId("PC2", 1);

  private final List<String> seen = new ArrayList<>();
  private final List<PeerId> wanted = new ArrayList<>();
  private final List<PeerId> linked = new ArrayList<>();
  private final NeighbourLink link = new NeighbourLink(null);

  private final PeerLink links =
      new PeerLink() {
        @Override
        public void send(PeerId peer, int topic, byte[] payload) {
          seen.add("sent to " + peer + " on " + topic + ": " + payload.length);
        }

        @Override
        public boolean up(PeerId peer) {
          return linked.contains(peer);
        }

        @Override
        public void want(PeerId peer) {
          wanted.add(peer);
        }

        @Override
        public Map<PeerId, State> list() {
          return Map.of();
        }
      };

  private final AgentLinkListener listener =
      new AgentLinkListener() {
        @Override
        public void onMessage(int fromDomid, byte[] payload, List<Fd> fds) {
          seen.add("message of " + fromDomid + ": " + payload.length);
        }

        @Override
        public void onPeerUp(int domid) {
          seen.add("up " + domid);
        }

        @Override
        public void onPeerDown(int domid) {
          seen.add("down " + domid);
        }
      };

  private static Member member(PeerId id, boolean coResident, boolean self) {
    return new Member(
        id.hostId(), id.domid(), "x", "02:00:00:00:00:01", List.of(), "1", coResident, self, "");
  }

  private void members() {
    link.membershipChanged(
        new MembershipSnapshot(
            1,
            List.of(
                member(new PeerId("PC1", 1), true, true),
                member(VM2, true, false),
                member(VM3, false, false))));
  }

  @Test
  void wantsNeighboursAndNobodyElse() {
    link.link(links);
    assertThat(link.connected()).isFalse();
    members();
    assertThat(wanted).containsExactly(VM2);
    assertThat(link.connected()).isTrue();
  }

  @Test
  void tellsOfNeighboursOnly() throws IOException {
    members();
    link.link(links);
    link.addListener(listener);
    link.onPeerLinkUp(VM3);
    link.onPeerLinkUp(VM2);
    link.onPeerLinkUp(VM2);
    link.onPeerMessage(VM3, NeighbourLink.TOPIC, new byte[1]);
    link.onPeerMessage(VM2, NeighbourLink.TOPIC + 1, new byte[1]);
    link.onPeerMessage(VM2, NeighbourLink.TOPIC, new byte[3]);
    link.send(2, new byte[5], List.of());
    link.onPeerLinkDown(VM2);
    assertThat(seen)
        .containsExactly(
            "up 2", "message of 2: 3", "sent to PC1/2 on " + NeighbourLink.TOPIC + ": 5", "down 2");
    assertThatThrownBy(() -> link.send(2, new byte[1], List.of())).isInstanceOf(IOException.class);
  }

  @Test
  void tellsOfLinksThatCameUpBeforeTheHostWasKnown() {
    link.link(links);
    link.addListener(listener);
    linked.add(VM2);
    link.onPeerLinkUp(VM2);
    assertThat(seen).isEmpty();
    members();
    members();
    assertThat(seen).containsExactly("up 2");
  }

  @Test
  void leavesItsNeighboursBehindWhenItMovesToAnotherHost() {
    members();
    link.link(links);
    link.addListener(listener);
    link.onPeerLinkUp(VM2);
    PeerId neighbour = new PeerId("PC2", 2);
    linked.add(neighbour);
    link.membershipChanged(
        new MembershipSnapshot(
            2,
            List.of(
                member(VM2, false, false),
                member(VM3, true, true),
                member(neighbour, true, false))));
    link.onPeerLinkDown(VM2);
    assertThat(seen).containsExactly("up 2", "down 2", "up 2");
  }

  @Test
  void saysThatAllAreGoneWithTheLinks() {
    members();
    link.link(links);
    link.onPeerLinkUp(VM2);
    link.addListener(listener);
    link.unlink(links);
    link.unlink(links);
    assertThat(seen).containsExactly("up 2", "down 2");
    assertThat(link.connected()).isFalse();
  }
}
