// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.channel.Channel;
import hutong.api.channel.ChannelTable;
import hutong.api.intercept.Reason;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.os.Fd;
import hutong.api.transport.Holding;
import hutong.api.transport.LightTransport;
import hutong.api.transport.Line;
import hutong.api.transport.LineInfo;
import hutong.api.transport.LineOwner;
import hutong.api.transport.LineSpec;
import hutong.channel.internal.Table;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import org.junit.jupiter.api.Test;

/** Two ends of a connection between hosts: what becomes of them when agents are unlike. */
class FarMatcherTest {
  private static final long COOKIE = 7;

  /** An agent with one end of the connection. */
  private static final class Agent
      implements FarMatcher.World, LightTransport, PeerLink, Registration.Owner {
    private final PeerId peer;
    private final int speaks;
    private final Table table;
    private final FarMatcher matcher = new FarMatcher(this);
    private final List<LineSpec> lines = new ArrayList<>();
    private final List<Reason> reasons = new ArrayList<>();
    private final Queue<byte[]> sent = new ArrayDeque<>();
    private Registration registration;
    private Reason declined;
    private int wanted;
    private int channels;

    Agent(String peer, int speaks, int number) {
      this.peer = new PeerId(peer, 1);
      this.speaks = speaks;
      this.table = new Table(new Table.Quota(1L << 40, 16, 16), () -> number);
    }

    void register(AddressPair pair) {
      registration = matcher.register(pair, COOKIE, 0, peer, null, null, this);
    }

    @Override
    public ChannelTable table() {
      return table;
    }

    @Override
    public LightTransport transport() {
      return this;
    }

    @Override
    public PeerLink link() {
      return this;
    }

    @Override
    public long mac(PeerId of) {
      return 5;
    }

    @Override
    public Fd duplicate(Fd doorbell) {
      return null;
    }

    @Override
    public Holding holding(AddressPair pair, long cookie) {
      return Holding.OPEN;
    }

    @Override
    public long nowMs() {
      return 0;
    }

    @Override
    public MatchWorld.Meter meter() {
      return new MatchWorld.Meter() {
        @Override
        public void count(String name) {}

        @Override
        public void reason(Reason reason) {
          reasons.add(reason);
        }
      };
    }

    @Override
    public Line open(LineSpec spec, Fd programBell) {
      lines.add(spec);
      return new Line() {
        @Override
        public Fd segment() {
          return null;
        }

        @Override
        public Fd bell() {
          return null;
        }

        @Override
        public Reason reason() {
          return Reason.WIRE;
        }

        @Override
        public void programGone() {}
      };
    }

    @Override
    public Line resume(LineOwner owner) {
      throw new AssertionError("nothing to go on with");
    }

    @Override
    public void allOwnersKnown() {}

    @Override
    public boolean enabled() {
      return true;
    }

    @Override
    public int version() {
      return speaks;
    }

    @Override
    public int ringSize() {
      return Sim.RING;
    }

    @Override
    public int overSize() {
      return Sim.OVER;
    }

    @Override
    public List<LineInfo> lines() {
      return List.of();
    }

    @Override
    public void send(PeerId to, int topic, byte[] payload) {
      assertThat(to).isEqualTo(peer);
      sent.add(payload);
    }

    @Override
    public boolean up(PeerId of) {
      return true;
    }

    @Override
    public void want(PeerId of) {
      wanted++;
    }

    @Override
    public Map<PeerId, State> list() {
      return Map.of();
    }

    @Override
    public void onChannel(Registration of, int side, Fd segment, Fd peerDoorbell) {
      channels++;
    }

    @Override
    public void onPeerGone(Registration of) {}

    @Override
    public void onDomainGone(Registration of) {
      throw new AssertionError();
    }

    @Override
    public void onLost(Registration of) {
      throw new AssertionError("lost");
    }

    @Override
    public void onDeclined(Registration of, Reason reason) {
      assertThat(declined).isNull();
      declined = reason;
    }
  }

  /** Both register, one after the other, and hear of each other. */
  private static List<Agent> meet(int first, int second) {
    Agent a = new Agent("host2", first, 17);
    Agent b = new Agent("host1", second, 34);
    AddressPair pair = Sim.pair(1, 2, 1);
    a.register(pair);
    deliver(a, b);
    b.register(pair.flipped());
    for (int i = 0; i < 10; i++) {
      deliver(b, a);
      deliver(a, b);
    }
    assertThat(a.sent).isEmpty();
    assertThat(b.sent).isEmpty();
    return List.of(a, b);
  }

  private static void deliver(Agent from, Agent to) {
    while (!from.sent.isEmpty()) {
      to.matcher.message(to.peer, from.sent.poll());
    }
  }

  @Test
  void shouldOpenALineAtBothEnds() {
    for (Agent agent : meet(2, 2)) {
      assertThat(agent.channels).isEqualTo(1);
      assertThat(agent.lines).hasSize(1);
      assertThat(agent.registration.in(Channel.State.OPEN)).isTrue();
      assertThat(agent.declined).isNull();
      assertThat(agent.matcher.reason(agent.registration)).isEqualTo(Reason.WIRE); // the line's own
    }
  }

  /** A peer that has been away for long is wanted again while programs have connections with it. */
  @Test
  void shouldWantAPeerAsLongAsThereIsBusiness() {
    Agent agent = meet(2, 2).get(0);
    int before = agent.wanted;
    agent.matcher.forgotten(new PeerId("another", 1));
    assertThat(agent.wanted).isEqualTo(before);
    agent.matcher.forgotten(agent.registration.far);
    assertThat(agent.wanted).isEqualTo(before + 1);
    agent.matcher.unregister(agent.registration);
    agent.matcher.forgotten(agent.registration.far);
    assertThat(agent.wanted).isEqualTo(before + 1);
  }

  @Test
  void shouldStayOnTcpWhenTransportsSpeakAnotherVersion() {
    for (int other : new int[] {0, 1, 3}) { // 0 is what those say who do not know of it
      for (Agent agent : meet(2, other)) {
        assertThat(agent.declined).isEqualTo(Reason.VERSION);
        assertThat(agent.reasons).containsExactly(Reason.VERSION);
        assertThat(agent.lines).isEmpty();
        assertThat(agent.matcher.registrations()).isEmpty();
      }
    }
  }
}
