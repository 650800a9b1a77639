// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import hutong.api.channel.Channel;
import hutong.intercept.internal.Sim.End;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/**
 * Random interleavings of registrations, ends, losses, outages and deaths; a failure names its
 * seed.
 */
class MatcherRandomTest {
  private static final int VMS = 3;
  private static final int CONNECTIONS = 6;
  private static final int SEEDS = Integer.getInteger("hutong.seeds", 500);
  private static final int STEPS = 400;

  @Test
  void neverTwoChannelsAndNothingLeft() {
    Map<String, Integer> total = new HashMap<>();
    for (long seed = 1; seed <= SEEDS; seed++) {
      long s = seed;
      assertThatCode(() -> run(s, total)).as("seed " + seed).doesNotThrowAnyException();
    }
    // What is not reached is not tested.
    assertThat(total)
        .containsKeys(
            "intercept.matches",
            "intercept.undelivered",
            "intercept.offers.unmatched",
            "intercept.channels.closed");
    assertThat(total.get("lonely")).isPositive();
  }

  private static final class World {
    private final Sim sim;
    private final List<AddressPair> pairs = new ArrayList<>();
    private final List<int[]> vms = new ArrayList<>();
    private final Map<AddressPair, End> live = new HashMap<>();
    private final List<End> every = new ArrayList<>();
    private int lonely;

    private World(Sim sim) {
      this.sim = sim;
    }
  }

  private void run(long seed, Map<String, Integer> total) {
    World w = new World(new Sim(seed));
    Sim sim = w.sim;
    for (int domid = 1; domid <= VMS; domid++) {
      sim.start(domid, 1000);
      sim.link(domid);
    }
    for (int i = 0; i < CONNECTIONS; i++) {
      int a = 1 + sim.random.nextInt(VMS);
      int b = 1 + (a + sim.random.nextInt(VMS - 1)) % VMS;
      AddressPair pair = Sim.pair(a, b, 1000 + i);
      w.pairs.add(pair);
      w.vms.add(new int[] {a, b});
    }
    for (int i = 0; i < STEPS; i++) {
      act(w);
      checkAlways(w);
    }
    sim.agents.values().forEach(agent -> sim.link(agent.domid));
    sim.settle();
    checkAtRest(w);
    List.copyOf(w.live.values()).forEach(end -> gone(w, end));
    sim.settle();
    sim.agents
        .values()
        .forEach(
            agent -> {
              assertThat(agent.table.size()).as("numbers in use by " + agent.domid).isZero();
              assertThat(agent.table.bytes()).isZero();
            });
    assertThat(sim.openFds("segment")).as("segments").isZero();
    assertThat(sim.openFds("doorbell")).as("doorbells").isZero();
    total.merge("lonely", w.lonely, Integer::sum);
    sim.counts.forEach((name, n) -> total.merge(name, n, Integer::sum));
  }

  private static void act(World w) {
    Sim sim = w.sim;
    int dice = sim.random.nextInt(100);
    if (dice < 60) {
      sim.step(true);
    } else if (dice < 80) {
      toggle(w);
    } else if (dice < 90) {
      sim.advance(sim.random.nextInt(400));
    } else if (dice < 94) {
      sim.unlink(1 + sim.random.nextInt(VMS));
    } else if (dice < 98) {
      sim.agents.values().stream()
          .filter(a -> !a.linked)
          .findFirst()
          .ifPresent(a -> sim.link(a.domid));
    } else if (dice < 99) {
      int domid = 1 + sim.random.nextInt(VMS);
      sim.kill(domid);
      // The programs are told by the end of their control connections.
      for (End end : List.copyOf(w.live.values())) {
        if (end.domid == domid) {
          end.doorbell.close();
          w.live.remove(end.pair);
        }
      }
      sim.start(domid, 1000);
    } else {
      sim.advance(Matcher.FORGET_MS);
    }
  }

  private static void toggle(World w) {
    int i = w.sim.random.nextInt(CONNECTIONS);
    int side = w.sim.random.nextInt(2);
    AddressPair pair = side == 0 ? w.pairs.get(i) : w.pairs.get(i).flipped();
    End end = w.live.get(pair);
    if (end != null) {
      gone(w, end);
      return;
    }
    end = w.sim.new End(w.vms.get(i)[side], w.vms.get(i)[1 - side], pair);
    assertThat(end.register()).isTrue();
    w.live.put(pair, end);
    w.every.add(end);
  }

  private static void gone(World w, End end) {
    end.unregister();
    w.live.remove(end.pair);
  }

  private static void checkAlways(World w) {
    Map<Integer, List<End>> bySegment = new HashMap<>();
    for (End end : w.every) {
      if (end.segment >= 0) {
        bySegment.computeIfAbsent(end.segment, s -> new ArrayList<>()).add(end);
      }
    }
    bySegment
        .values()
        .forEach(
            ends -> {
              assertThat(ends).as("ends of one segment").hasSizeLessThanOrEqualTo(2);
              if (ends.size() == 2) {
                assertThat(ends.get(0).pair).isEqualTo(ends.get(1).pair.flipped());
                assertThat(ends.get(0).side).isEqualTo(1 - ends.get(1).side);
                assertThat(ends.get(0).peerDoorbell).isEqualTo(ends.get(1).doorbell.thing);
              }
            });
    Map<Integer, Set<Integer>> numbers = new HashMap<>();
    for (End end : w.live.values()) {
      int number = end.registration.channel.number();
      assertThat(numbers.computeIfAbsent(end.domid, d -> new HashSet<>()).add(number))
          .as("unique")
          .isTrue();
    }
  }

  private static void checkAtRest(World w) {
    for (End end : w.live.values()) {
      assertThat(end.registration.channel.state()).isNotEqualTo(Channel.State.SETUP);
      End other = w.live.get(end.pair.flipped());
      if (other != null && end.registration.in(Channel.State.PENDING)) {
        assertThat(other.registration.channel.state())
            .as("two that wait for each other")
            .isEqualTo(Channel.State.OPEN); // with an earlier registration of this end
      }
      if (end.registration.in(Channel.State.OPEN)) {
        boolean shared =
            w.live.values().stream().anyMatch(e -> e != end && e.segment == end.segment);
        assertThat(shared || end.peerGone == 1).as("an end that waits for nobody").isTrue();
        w.lonely += shared ? 0 : 1;
      }
    }
  }
}
