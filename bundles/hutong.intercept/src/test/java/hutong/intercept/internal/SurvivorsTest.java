// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.discovery.HostNotice;
import hutong.api.discovery.Membership;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import hutong.platform.abi.PoolLayout;
import java.nio.channels.SocketChannel;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Channels that programs still use when their VM's agent has been started anew. Needs root. */
class SurvivorsTest {
  @BeforeAll
  static void openWhatIsOpenedOnce() throws Exception {
    InterceptTest.openWhatIsOpenedOnce();
  }

  private static final class Answers implements Membership {
    private volatile String detached = "";

    @Override
    public MembershipSnapshot current() {
      return new MembershipSnapshot(0, List.of());
    }

    @Override
    public void detached(String detach) {
      detached = detach;
    }
  }

  /** A channel of program 0 in slot 4, whose agent is then another one; gives back its doorbell. */
  private static Fd survivor(TwoVms vms, FakeShim shim) throws Exception {
    return survivor(vms, shim, 0x55550009);
  }

  private static Fd survivor(TwoVms vms, FakeShim shim, int number) throws Exception {
    shim.hello();
    Fd bell = shim.register(1, 4, vms.connect(TwoVms.VM1, TwoVms.VM2)[0]);
    vms.settle(0);
    int at = PoolLayout.slot(4);
    shim.pool.putInt(at + EndLayout.CHAN, number);
    shim.pool.putInt(at + EndLayout.BELL_FD, bell.number());
    shim.pool.putIntVolatile(at + EndLayout.STATE, Abi.END_CHANNEL);
    vms.vms[0].close();
    vms.start(0);
    InterceptTest.drain(bell);
    return bell;
  }

  /** The program of that end is told to reset its connection, and woken up once for that. */
  private static void assertReset(FakeShim shim, Fd bell) throws Exception {
    FakeShim.until(() -> InterceptTest.drain(bell) == 1);
    assertThat(shim.pool.getInt(PoolLayout.slot(4) + EndLayout.AGENT_STOP))
        .isEqualTo(Reason.POISONED.number());
  }

  @Test
  void aNewAgentHasTheChannelsOfTheOldOneLetGo() throws Exception {
    InterceptTest.with(
        vms -> {
          FakeShim shim = vms.program(0);
          Fd bell = survivor(vms, shim);
          int at = PoolLayout.slot(4);
          Answers answers = new Answers();
          vms.vms[0].detaching().membership(answers);
          vms.vms[0].hostChanged(new HostNotice(Set.of(), "7"));
          FakeShim.until(() -> InterceptTest.drain(bell) == 1);
          assertThat(shim.pool.getInt(at + EndLayout.AGENT_STOP)).isEqualTo(Reason.OFF.number());
          vms.settle(0);
          assertThat(answers.detached).as("it is still there").isEmpty();
          shim.free(4);
          FakeShim.until(() -> answers.detached.equals("7"));
        });
  }

  @Test
  void aNewAgentResetsTheChannelsOfTheOldOneWithADomainThatIsGone() throws Exception {
    InterceptTest.with(
        vms -> {
          FakeShim shim = vms.program(0);
          Fd bell = survivor(vms, shim);
          int at = PoolLayout.slot(4);
          vms.vms[0].hostChanged(new HostNotice(Set.of(1, 2), ""));
          FakeShim.until(() -> vms.tables[0].list(vm -> "VM" + vm).get(0).peerName().equals("VM2"));
          vms.settle(0);
          assertThat(shim.pool.getInt(at + EndLayout.AGENT_STOP)).isZero();
          vms.vms[0].hostChanged(new HostNotice(Set.of(1), ""));
          assertReset(shim, bell);
          shim.free(4);
          FakeShim.until(() -> vms.tables[0].size() == 0);
        });
  }

  /** As of a program that has become another user than its sockets: it maps the pages still. */
  @Test
  void aNewAgentResetsAlsoTheChannelsThatItCannotCount() throws Exception {
    InterceptTest.with(
        vms -> {
          FakeShim shim = vms.program(0);
          Fd bell = survivor(vms, shim, 0x55550000);
          assertThat(vms.tables[0].size()).isZero();
          vms.vms[0].hostChanged(new HostNotice(Set.of(1), ""));
          assertReset(shim, bell);
        });
  }

  /** VM2 was destroyed and made anew while this VM had no agent: the old one's pages are mapped. */
  @Test
  void aNewAgentTakesNoOtherDomainWithThatAddressForThePeer() throws Exception {
    InterceptTest.with(
        vms -> {
          FakeShim shim = vms.program(0);
          shim.pool.putInt(PoolLayout.slot(4) + EndLayout.AGENT_PEER, 9);
          Fd bell = survivor(vms, shim);
          vms.settle(0);
          assertThat(vms.tables[0].list(vm -> "domain " + vm).get(0).peerName())
              .isEqualTo("domain 9");
          vms.vms[0].hostChanged(new HostNotice(Set.of(1, 2), ""));
          assertReset(shim, bell);
        });
  }

  /** Its program may look only after both: it must not wait for a peer that is no more. */
  @Test
  void toLetGoDoesNotUndoThatThePeersDomainIsGone() throws Exception {
    InterceptTest.with(
        vms -> {
          SocketChannel[] tcp = vms.connect(TwoVms.VM1, TwoVms.VM2);
          FakeShim shim = vms.program(0);
          FakeShim peer = vms.program(1);
          shim.hello();
          peer.hello();
          shim.register(7, 3, tcp[0]);
          peer.register(7, 5, tcp[1]);
          assertThat(shim.await().type()).isEqualTo(Abi.MSG_CHANNEL);
          assertThat(shim.pool.getInt(PoolLayout.slot(3) + EndLayout.AGENT_PEER))
              .as("for an agent to come")
              .isEqualTo(2);
          int stop = PoolLayout.slot(3) + EndLayout.AGENT_STOP;
          vms.vms[0].hostChanged(new HostNotice(Set.of(1, 2), "7"));
          vms.settle(0);
          assertThat(shim.pool.getInt(stop)).isEqualTo(Reason.OFF.number());
          vms.vms[0].hostChanged(new HostNotice(Set.of(1), "7"));
          vms.settle(0);
          assertThat(shim.pool.getInt(stop)).isEqualTo(Reason.POISONED.number());
        });
  }

  /** It was saved and restored: what it shares with others is its own copy now, or is not there. */
  @Test
  void aNewAgentResetsTheChannelsOfTheDomainThatThisVmWas() throws Exception {
    InterceptTest.with(
        vms -> {
          FakeShim shim = vms.program(0);
          shim.pool.putInt(PoolLayout.slot(4) + EndLayout.AGENT_SELF, 7);
          survivor(vms, shim);
          FakeShim.until(
              () ->
                  shim.pool.getInt(PoolLayout.slot(4) + EndLayout.AGENT_STOP)
                      == Reason.POISONED.number());
        });
  }

  @Test
  void aNewAgentLeavesTheChannelsOfThisDomainAlone() throws Exception {
    InterceptTest.with(
        vms -> {
          FakeShim shim = vms.program(0);
          shim.pool.putInt(PoolLayout.slot(4) + EndLayout.AGENT_SELF, 1);
          Fd bell = survivor(vms, shim);
          vms.vms[0].hostChanged(new HostNotice(Set.of(1, 2), ""));
          vms.settle(0);
          assertThat(InterceptTest.drain(bell)).isZero();
          assertThat(shim.pool.getInt(PoolLayout.slot(4) + EndLayout.AGENT_STOP)).isZero();
        });
  }
}
