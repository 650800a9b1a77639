// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.channel.Channel;
import hutong.api.intercept.Reason;
import hutong.intercept.internal.PeerMessage.Type;
import hutong.intercept.internal.Sim.End;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MatcherTest {
  private final Sim sim = new Sim(1);

  @BeforeEach
  void twoAgents() {
    startAgent(1);
    startAgent(2);
  }

  private void startAgent(int domid) {
    sim.start(domid, 100);
    sim.link(domid);
    sim.settle();
  }

  /** Both ends of a connection, registered at the same time, and all that follows. */
  private List<End> connected(int cookie) {
    List<End> ends = sim.connection(1, 2, cookie);
    ends.forEach(End::register);
    sim.drain();
    return ends;
  }

  /** The same, but no more than so many messages have been read. */
  private List<End> connected(int cookie, int messages) {
    List<End> ends = sim.connection(1, 2, cookie);
    ends.forEach(End::register);
    for (int i = 0; i < messages; i++) {
      sim.step(false);
    }
    return ends;
  }

  /** Another registration of an end whose first one is gone gets what the other end has. */
  private void assertMatchesAgain(End end, End left) {
    End again = sim.new End(end.domid, end.peer, end.pair);
    again.register();
    sim.settle();
    assertThat(again.segment).isNotNegative().isEqualTo(left.segment);
    again.unregister();
  }

  private static void assertMatched(End low, End high) {
    assertThat(low.segment).isNotNegative().isEqualTo(high.segment);
    assertThat(low.side).isZero();
    assertThat(high.side).isOne();
    assertThat(low.peerDoorbell).isEqualTo(high.doorbell.thing);
    assertThat(high.peerDoorbell).isEqualTo(low.doorbell.thing);
    assertThat(low.registration.channel.peerNumber()).isEqualTo(high.registration.channel.number());
    assertThat(high.registration.channel.peerNumber()).isEqualTo(low.registration.channel.number());
    assertThat(low.registration.peerMac).isEqualTo(0x0277_0000_0002L);
    assertThat(high.registration.peerMac).isEqualTo(0x0277_0000_0001L);
  }

  private void assertReclaimed() {
    sim.settle();
    sim.agents
        .values()
        .forEach(
            agent -> {
              assertThat(agent.table.size()).isZero();
              assertThat(agent.table.bytes()).isZero();
            });
    assertThat(sim.openFds("segment")).isZero();
    assertThat(sim.openFds("doorbell")).isZero();
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1})
  void matchesWhoeverIsFirst(int first) {
    List<End> ends = sim.connection(1, 2, 1000);
    ends.get(first).register();
    sim.settle();
    assertThat(sim.agents.get(first + 1).matcher.reason(ends.get(first).registration))
        .isEqualTo(Reason.PEER_SILENT);
    ends.get(1 - first).register();
    sim.drain();
    assertMatched(ends.get(0), ends.get(1));
    assertThat(sim.agents.get(1).matcher.reason(ends.get(0).registration)).isEqualTo(Reason.NONE);
    assertThat(sim.openFds("segment")).isZero();
    ends.forEach(End::unregister);
    assertReclaimed();
  }

  @Test
  void simultaneousOffersMakeOneChannel() {
    List<End> ends = connected(1000);
    assertMatched(ends.get(0), ends.get(1));
    assertThat(sim.counts.get("intercept.channels.opened")).isEqualTo(2);
    ends.get(1).unregister();
    sim.drain();
    assertThat(sim.agents.get(2).table.size()).as("the other end is there").isOne();
    ends.get(0).unregister();
    assertReclaimed();
  }

  /** An end that goes away after any number of messages. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 3, 4, 5, 6})
  void reclaimsWhenAnEndGoesAtAnyStep(int steps) {
    for (int who = 0; who < 2; who++) {
      List<End> ends = connected(1000 + who, steps);
      ends.get(who).unregister();
      sim.settle();
      End left = ends.get(1 - who);
      if (left.registration.in(Channel.State.PENDING)) {
        assertMatchesAgain(ends.get(who), left);
      }
      left.unregister();
      assertReclaimed();
    }
  }

  /** An agent that dies after any number of messages and comes again. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 3, 4, 5, 6})
  void survivesAnAgentsDeathAtAnyStep(int steps) {
    for (int who = 0; who < 2; who++) {
      int dead = who + 1;
      List<End> ends = connected(2000 + who, steps);
      sim.kill(dead);
      ends.get(who).doorbell.close();
      End left = ends.get(1 - who);
      Matcher other = sim.agents.get(3 - dead).matcher;
      assertThat(other.reason(left.registration))
          .isEqualTo(left.registration.in(Channel.State.OPEN) ? Reason.NONE : Reason.PEER_AGENT);
      startAgent(dead);
      if (!left.registration.in(Channel.State.OPEN)) {
        assertMatchesAgain(ends.get(who), left);
      }
      left.unregister();
      assertReclaimed();
    }
  }

  @Test
  void keepsWaitingWhileThePeersAgentIsAway() {
    sim.unlink(2);
    List<End> ends = sim.connection(1, 2, 1000);
    ends.forEach(End::register);
    sim.settle();
    assertThat(sim.agents.get(1).matcher.reason(ends.get(0).registration))
        .isEqualTo(Reason.PEER_AGENT);
    sim.link(2);
    sim.drain();
    assertMatched(ends.get(0), ends.get(1));
    ends.forEach(End::unregister);
    assertReclaimed();
  }

  @Test
  void givesUpChannelsWithAPeerThatStaysAway() {
    List<End> ends = connected(1000);
    sim.unlink(2);
    ends.get(0).unregister();
    assertThat(sim.agents.get(1).table.size()).as("the peer's end may be there").isOne();
    sim.advance(Matcher.FORGET_MS);
    assertThat(sim.agents.get(1).table.size()).isZero();
    sim.link(2);
    sim.settle();
    ends.get(1).unregister();
    assertReclaimed();
  }

  @Test
  void remembersChannelsOverAShortOutage() {
    List<End> ends = connected(1000);
    sim.unlink(2);
    ends.get(0).unregister();
    sim.advance(Matcher.FORGET_MS / 2);
    sim.link(2);
    sim.settle();
    assertThat(sim.agents.get(1).table.size()).as("the peer's end is there").isOne();
    ends.get(1).unregister();
    assertReclaimed();
  }

  @Test
  void declinesBothEndsWhenTheQuotaIsUsedUp() {
    sim.kill(2);
    sim.start(2, 2); // one for each user
    sim.link(2);
    sim.drain();
    List<End> all = new ArrayList<>();
    for (int i = 0; i < 2; i++) {
      List<End> ends = connected(1000 + i);
      all.addAll(ends);
    }
    assertMatched(all.get(0), all.get(1));
    assertThat(all.get(2).declined).isEqualTo(Reason.QUOTA);
    assertThat(all.get(3).declined).isEqualTo(Reason.QUOTA);
    assertThat(all.get(2).segment).isEqualTo(-1);
    all.get(0).unregister();
    all.get(1).unregister();
    assertReclaimed();
  }

  @Test
  void doesNotMatchAnotherVmsOffer() {
    startAgent(3);
    List<End> ends = sim.connection(1, 2, 1000);
    ends.get(0).register();
    // VM 3 claims VM 2's end of that connection.
    PeerMessage claim = PeerMessage.of(Type.OFFER, 77, 0, ends.get(1).pair, 0, 0, 0);
    sim.agents.get(1).matcher.message(3, claim.encode(), List.of());
    sim.drain();
    assertThat(ends.get(0).registration.channel.state()).isEqualTo(Channel.State.PENDING);
    ends.get(1).register();
    sim.drain();
    assertMatched(ends.get(0), ends.get(1));
    ends.forEach(End::unregister);
    assertReclaimed();
  }

  @Test
  void declinesABadSegment() {
    List<End> ends = sim.connection(1, 2, 1000);
    ends.get(1).register();
    sim.drain();
    Sim.SimFd notASegment = sim.new SimFd("file", 0);
    Sim.SimFd bell = sim.new SimFd("doorbell", 0);
    int number = ends.get(1).registration.channel.number();
    PeerMessage setup =
        PeerMessage.of(Type.SETUP, 5, number, ends.get(0).pair, 0, Sim.RING, Sim.OVER);
    sim.agents.get(2).matcher.message(1, setup.encode(), List.of(notASegment, bell));
    assertThat(ends.get(1).declined).isEqualTo(Reason.SEGMENT);
    assertThat(notASegment.isOpen() || bell.isOpen()).isFalse();
    ends.get(0).doorbell.close();
    assertReclaimed();
  }

  @Test
  void anotherVersionIsNoPeer() {
    List<End> ends = sim.connection(1, 2, 1000);
    ends.get(0).register();
    PeerMessage hello = PeerMessage.hello(Type.HELLO, 42);
    byte[] bytes = hello.encode();
    bytes[4] = 2;
    sim.agents.get(1).matcher.message(2, bytes, List.of());
    assertThat(sim.agents.get(1).matcher.reason(ends.get(0).registration))
        .isEqualTo(Reason.VERSION);
    ends.get(0).unregister();
    ends.get(1).doorbell.close();
    assertReclaimed();
  }

  @Test
  void malformedMessagesAreCountedAndTheirDescriptorsClosed() {
    Sim.SimFd fd = sim.new SimFd("file", 0);
    byte[] noise = new byte[PeerMessage.BYTES];
    sim.random.nextBytes(noise);
    sim.agents.get(1).matcher.message(2, noise, List.of(fd));
    sim.agents.get(1).matcher.message(2, new byte[3], List.of());
    assertThat(sim.counts.get("intercept.peer.malformed")).isEqualTo(2);
    assertThat(fd.isOpen()).isFalse();
  }

  @Test
  void followsAVmThatGotAnotherDomainId() {
    startAgent(3);
    List<End> ends = sim.connection(1, 2, 1000);
    ends.get(0).register();
    ends.get(1).doorbell.close();
    sim.unlink(2);
    End moved = sim.new End(3, 1, ends.get(1).pair);
    moved.register();
    sim.drain();
    sim.agents.get(1).matcher.moved(ends.get(0).registration, 3);
    sim.drain();
    assertThat(moved.segment).isNotNegative().isEqualTo(ends.get(0).segment);
    ends.get(0).unregister();
    moved.unregister();
    assertReclaimed();
  }

  @Test
  void tellsAnEndOnceThatItsPeersEndIsGone() {
    for (int who = 0; who < 2; who++) {
      List<End> ends = connected(1000 + who);
      End left = ends.get(1 - who);
      assertThat(left.peerGone).isZero();
      ends.get(who).unregister();
      sim.settle();
      assertThat(left.peerGone).isOne();
      left.unregister();
      sim.settle();
      assertThat(left.peerGone).isOne();
      assertThat(ends.get(who).peerGone).as("it went first").isZero();
      assertReclaimed();
    }
  }

  @Test
  void tellsAnEndThatItsPeersAgentForgotEverything() {
    List<End> ends = connected(1000);
    sim.kill(2);
    assertThat(ends.get(0).peerGone).isZero();
    startAgent(2);
    assertThat(ends.get(0).peerGone).isOne();
    ends.get(1).doorbell.close();
    ends.get(0).unregister();
    assertReclaimed();
  }

  @Test
  void tellsAnEndThatItsPeersAgentStaysAway() {
    List<End> ends = connected(1000);
    sim.unlink(2);
    sim.advance(Matcher.FORGET_MS - 1);
    assertThat(ends.get(0).peerGone).isZero();
    sim.advance(1);
    assertThat(ends.get(0).peerGone).isOne();
    sim.link(2);
    sim.settle();
    assertThat(ends.get(0).peerGone).isOne();
    ends.forEach(End::unregister);
    assertReclaimed();
  }

  /** The policy forbids an end after any number of messages. */
  @ParameterizedTest
  @ValueSource(ints = {0, 1, 2, 3, 4, 5, 6})
  void refusesWhatHasNoChannelYet(int steps) {
    for (int who = 0; who < 2; who++) {
      List<End> ends = connected(1000 + who, steps);
      End end = ends.get(who);
      boolean open = end.registration.in(Channel.State.OPEN);
      sim.agents.get(who + 1).matcher.refuse(end.registration, Reason.POLICY);
      assertThat(end.declined).isEqualTo(open ? null : Reason.POLICY);
      sim.settle();
      End left = ends.get(1 - who);
      if (open) {
        assertMatched(ends.get(0), ends.get(1));
        end.unregister();
      } else {
        assertThat(end.segment).isEqualTo(-1);
        // The other end has no channel, or one that it knows to be of no use.
        assertThat(left.segment >= 0 && left.peerGone == 0).isFalse();
        sim.agents.get(who + 1).matcher.refuse(end.registration, Reason.POLICY);
      }
      if (left.declined == null) {
        left.unregister();
      }
      assertReclaimed();
    }
  }

  @Test
  void losesWhatWasSharedWithADomainThatIsGone() {
    List<End> ends = connected(1000);
    Matcher matcher = sim.agents.get(1).matcher;
    matcher.alive(Set.of(1, 2));
    assertThat(ends.get(0).lost).isZero();
    matcher.alive(Set.of(1));
    matcher.alive(Set.of(1, 3));
    assertThat(ends.get(0).lost).isOne();
    ends.forEach(End::unregister);
    assertReclaimed();
  }

  /** That the peer's agent was started anew does not mean that its program has let go. */
  @Test
  void losesWhatWasSharedAlsoWhenThePeersAgentHadForgottenIt() {
    List<End> ends = connected(1000);
    sim.kill(2);
    startAgent(2);
    assertThat(ends.get(0).peerGone).isOne();
    sim.agents.get(1).matcher.alive(Set.of(1));
    sim.agents.get(1).matcher.alive(Set.of(1));
    assertThat(ends.get(0).lost).isOne();
    ends.get(0).unregister();
    ends.get(1).doorbell.close();
    assertReclaimed();
  }

  @Test
  void aConnectionThatThePeerHasClosedIsNotLost() {
    List<End> ends = connected(1000);
    ends.get(1).unregister();
    sim.drain();
    sim.agents.get(1).matcher.alive(Set.of(1));
    sim.agents.get(1).matcher.alive(Set.of(1));
    assertThat(ends.get(0).lost).as("what it sent may be unread still").isZero();
    assertThat(ends.get(0).domainGone).isOne();
    ends.get(0).unregister();
    assertReclaimed();
  }

  @Test
  void keepsNoMemoryForAnAgentThatNeverTakesIt() {
    List<End> ends = sim.connection(1, 2, 1000);
    ends.forEach(End::register);
    while (!ends.get(0).registration.in(Channel.State.SETUP)) {
      assertThat(sim.step(false)).isTrue();
    }
    sim.queue(1, 2).forEach(Sim.Packet::drop);
    sim.queue(1, 2).clear(); // as a peer that reads its messages and says nothing
    sim.drain();
    sim.advance(Matcher.SETUP_MS - 1);
    assertThat(ends.get(0).declined).isNull();
    assertThat(sim.openFds("segment")).isOne();
    sim.advance(1);
    assertThat(ends.get(0).declined).isEqualTo(Reason.PEER_AGENT);
    assertThat(sim.openFds("segment")).isZero();
    sim.drain();
    ends.get(1).unregister();
    assertReclaimed();
  }

  @Test
  void aTicketTravelsWithItsMessage() {
    PeerMessage message =
        PeerMessage.of(Type.SETUP, 5, 6, Sim.pair(1, 2, 1), 7, 4096, 4096)
            .withTicket(List.of(9, -1, 100));
    byte[] bytes = message.encode();
    assertThat(PeerMessage.decode(bytes)).isEqualTo(message);
    for (int length = 0; length < bytes.length; length++) {
      assertThat(PeerMessage.decode(Arrays.copyOf(bytes, length))).isNull();
    }
    assertThat(PeerMessage.decode(Arrays.copyOf(bytes, bytes.length + 4))).isNull();
  }
}
