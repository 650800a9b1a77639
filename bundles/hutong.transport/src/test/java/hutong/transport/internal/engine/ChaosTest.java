// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Random;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/**
 * Both directions over wires that lose, double, reorder, delay and corrupt, with random windows,
 * times, rings and programs: byte-exact, and it ends. {@code -Dhutong.transport.seed=N} replays
 * one.
 */
class ChaosTest {
  private static final String SEED = "hutong.transport.seed";
  private static final int RUNS = Integer.getInteger("hutong.transport.runs", 400);
  private static final long WITHIN_NS = 3_600_000_000_000L;
  private static final int[] MTUS = {1500, 9000, 576};
  private static final long[] OFFSETS = {
    0, (1L << 31) - 50_000, (1L << 32) - 50_000, (1L << 40) - 7, 12_345
  };
  private static final int[] SEQUENCES = {-20, 0, Integer.MAX_VALUE - 10, 99, -1};

  @Test
  @DisplayName("M3, D4, rule 17: any wire, any window, any program: byte-exact always")
  void shouldDeliverAllThroughChaos() {
    Long only = Long.getLong(SEED);
    long first = only != null ? only : 1;
    int runs = only != null ? 1 : RUNS;
    for (long seed = first; seed < first + runs; seed++) {
      try {
        run(seed);
      } catch (AssertionError | RuntimeException e) {
        throw new AssertionError("replay with -D" + SEED + "=" + seed + ": " + e.getMessage(), e);
      }
    }
  }

  @Test
  @DisplayName("D5: a wire is left at any moment, dead or alive, and exactly E bytes came by it")
  void shouldLeaveAnyWire() {
    for (long seed = 1; seed <= 100; seed++) {
      Random random = new Random(seed);
      Simulation.Config writer = config(random);
      writer.toSend = 1L << 40;
      Simulation.Config reader = config(random);
      reader.toSend = 0;
      Simulation simulation = new Simulation(seed, writer, reader);
      path(simulation.a.path, random, 0.05);
      path(simulation.b.path, random, 0.05);
      simulation.a.path.bitsPerSecond = 1_000_000_000;
      simulation.begin();
      simulation.runUntil(random.nextInt(20_000_000));
      Simulation.End a = simulation.a;
      Simulation.End b = simulation.b;
      boolean dead = random.nextBoolean();
      if (dead) {
        a.path.loss = 1;
      }
      long offset = dead ? b.flow.received() : a.flow.sent();
      b.flow.leaveReceiving(offset);
      a.flow.leaveSending(offset, dead);
      simulation.at(simulation.now, a::run);
      simulation.at(simulation.now, b::run);
      simulation.runUntil(simulation.now + 20_000_000_000L);
      assertThat(b.in.published()).as("seed %d", seed).isEqualTo(offset);
      assertThat(b.notes.said).contains("receivingLeft " + offset);
      assertThat(a.flow.sent()).isEqualTo(offset);
      assertThat(a.notes.said).as("seed %d", seed).contains("sendingLeft " + offset);
    }
  }

  private static void run(long seed) {
    Random random = new Random(~seed);
    Simulation.Config configA = config(random);
    Simulation.Config configB = config(random);
    Simulation simulation = new Simulation(seed, configA, configB);
    double badness = random.nextInt(4) == 0 ? 0.25 : random.nextDouble() * 0.05;
    path(simulation.a.path, random, badness);
    path(simulation.b.path, random, badness);
    if (random.nextInt(3) == 0) {
      restartSometimes(simulation, random);
    }
    simulation.runToEnd(WITHIN_NS);
    assertThat(simulation.a.in.consumed()).isEqualTo(configB.firstOffset + configB.toSend);
    assertThat(simulation.b.in.consumed()).isEqualTo(configA.firstOffset + configA.toSend);
  }

  private static Simulation.Config config(Random random) {
    Simulation.Config config = new Simulation.Config();
    int mtu = MTUS[random.nextInt(MTUS.length)];
    int window = FlowSettings.LEAST_WINDOW + random.nextInt(193);
    FlowSettings reference = FlowSettings.reference(mtu);
    config.settings =
        new FlowSettings(
            mtu,
            window,
            FlowSettings.LEAST_WAIT_NS + random.nextInt(900_001),
            random.nextBoolean(),
            random.nextInt(4) > 0,
            CongestionWindow.LEAST + random.nextInt(window - CongestionWindow.LEAST + 1),
            reference.longestWaitNs(),
            reference.wireTimeoutNs(),
            random.nextBoolean() ? 3 : 0,
            1000,
            reference.probeWaitNs());
    config.sendRing = 1 << 10 + random.nextInt(9);
    config.receiveRing = 1 << 10 + random.nextInt(9);
    config.firstOffset = OFFSETS[random.nextInt(OFFSETS.length)];
    config.firstSequence = SEQUENCES[random.nextInt(SEQUENCES.length)];
    config.toSend = random.nextInt(5) == 0 ? random.nextInt(3) : random.nextInt(600_000);
    config.mostWrite = 1 << random.nextInt(17);
    config.mostRead = 1 << random.nextInt(17);
    if (config.mostWrite < 64 || config.mostRead < 64) {
      config.toSend = Math.min(config.toSend, 20_000);
    }
    config.pause = random.nextInt(3) == 0 ? 0.02 : 0;
    config.pauseNs = 1 + random.nextInt(100_000_000);
    config.batchSlots = 1 + random.nextInt(64);
    return config;
  }

  private static void path(Path path, Random random, double badness) {
    path.loss = random.nextBoolean() ? badness : 0;
    path.duplication = random.nextBoolean() ? badness : 0;
    path.reordering = random.nextBoolean() ? badness * 2 : 0;
    path.corruption = random.nextBoolean() ? badness : 0;
    path.delayNs = 1 + random.nextInt(random.nextBoolean() ? 50_000 : 3_000_000);
    if (random.nextInt(3) == 0) {
      path.bitsPerSecond = 10_000_000L + random.nextInt(1_000_000_000);
      path.queueLimit = 20 + random.nextInt(200);
    }
    if (random.nextInt(4) == 0) {
      path.blackFrom = random.nextInt(20_000_000);
      path.blackUntil = path.blackFrom + random.nextLong(6_000_000_000L);
    }
  }

  private static void restartSometimes(Simulation simulation, Random random) {
    for (int i = 0; i < 3; i++) {
      long at = simulation.now + random.nextInt(30_000_000);
      long pause = random.nextInt(20_000_000);
      Simulation.End end = random.nextBoolean() ? simulation.a : simulation.b;
      simulation.at(
          at,
          () -> {
            if (!end.isDown()) {
              end.restartAfter(pause);
            }
          });
    }
  }
}
