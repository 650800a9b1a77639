// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/** A simulated link of 1 Gbit/s, of which each datagram takes 38 bytes more than its own. */
class LinkRateTest {
  private static final long GIGABIT = 1_000_000_000L;
  private static final long SECOND_NS = 1_000_000_000L;
  private static final double WIRE_LIMIT = GIGABIT * 1468.0 / 1538;

  private static Simulation.Config bulk(FlowSettings settings) {
    Simulation.Config config = new Simulation.Config();
    config.settings = settings;
    config.sendRing = 1 << 20;
    config.receiveRing = 1 << 20;
    config.toSend = 1L << 40;
    config.mostWrite = Integer.MAX_VALUE;
    config.instantReader = true;
    config.countOnly = true;
    return config;
  }

  private static Simulation.Config silent(FlowSettings settings) {
    Simulation.Config config = bulk(settings);
    config.toSend = 0;
    return config;
  }

  private static Simulation simulation(
      Simulation.Config a, Simulation.Config b, int queue, long delayNs) {
    Simulation simulation = new Simulation(1, a, b);
    for (Simulation.End end : new Simulation.End[] {simulation.a, simulation.b}) {
      end.path.bitsPerSecond = GIGABIT;
      end.path.queueLimit = queue;
      end.path.delayNs = delayNs;
    }
    simulation.begin();
    return simulation;
  }

  /** Bits a second that a reader gets, after the first fifth of a second. */
  private static double goodput(Simulation simulation, Simulation.End reader) {
    simulation.runUntil(SECOND_NS / 5);
    long before = reader.in.consumed();
    simulation.runUntil(SECOND_NS);
    return (reader.in.consumed() - before) * 8.0 * SECOND_NS / (SECOND_NS - SECOND_NS / 5);
  }

  @Test
  @DisplayName("M1.3, M3.C: the reference values fill the link: 97 % of 954.5 Mbit/s and more")
  void shouldFillLinkWithFixedT() {
    FlowSettings settings = FlowSettings.literal(1500, 128, 500_000);
    Simulation simulation = simulation(bulk(settings), silent(settings), 1000, 30_000);
    double rate = goodput(simulation, simulation.b);
    assertThat(rate).isBetween(0.97 * WIRE_LIMIT, WIRE_LIMIT);
    assertThat(simulation.a.flow.counters().resent).isZero();
  }

  @Test
  @DisplayName("D4: so does the sender that adapts, also with both directions at once")
  void shouldFillLinkBothWays() {
    FlowSettings settings = FlowSettings.reference(1500);
    Simulation simulation = simulation(bulk(settings), bulk(settings), 1000, 30_000);
    double rate = goodput(simulation, simulation.b);
    assertThat(rate).isBetween(0.97 * WIRE_LIMIT, WIRE_LIMIT);
    assertThat(simulation.a.flow.counters().resent).isZero();
    assertThat(simulation.b.flow.counters().resent).isZero();
  }

  @Test
  @DisplayName("D4: a queue shorter than W costs little: loss is repaired without silence")
  void shouldFillLinkWithShortQueue() {
    FlowSettings settings = FlowSettings.reference(1500);
    Simulation simulation = simulation(bulk(settings), silent(settings), 50, 30_000);
    double rate = goodput(simulation, simulation.b);
    assertThat(rate).isGreaterThan(0.95 * WIRE_LIMIT);
    assertThat(simulation.a.flow.counters().silences).isZero();
  }

  @Test
  @DisplayName("D4: a round trip that is longer than 3T is measured, and is no silence then")
  void shouldMeasureLongRoundTrip() {
    FlowSettings settings = FlowSettings.reference(1500).withoutProbes();
    Simulation simulation = simulation(bulk(settings), silent(settings), 1000, 4_000_000);
    simulation.runUntil(SECOND_NS);
    FlowCounters counters = simulation.a.flow.counters();
    assertThat(counters.roundTripNs).isBetween(8_000_000L, 12_000_000L);
    assertThat(counters.silences).isLessThan(5);
  }

  @Test
  @DisplayName("D4: beside a cubic-like stream on a drop-tail queue neither is below 30 %")
  void shouldShareLink() {
    for (int window : new int[] {128, 256}) {
      for (int queue : new int[] {50, 100, 200}) {
        share(window, queue, 50_000, 1);
      }
    }
  }

  @Test
  @DisplayName("D4: nor where our answers wait for a processor, which TCP's do not")
  void shouldShareLinkWithLateAnswers() {
    for (long late : new long[] {1_000_000, 2_000_000, 4_000_000}) {
      share(256, 150, late, 12);
    }
  }

  /** Beside a cubic-like stream, with our answers late by that much. */
  private static void share(int window, int queue, long lateNs, int burst) {
    FlowSettings settings = FlowSettings.reference(1500).withWindow(window);
    Simulation simulation = simulation(bulk(settings), silent(settings), queue, 50_000);
    simulation.b.path.delayNs = lateNs;
    simulation.a.hereNs = lateNs - 50_000;
    Cubic cubic = new Cubic(simulation, simulation.a.path, burst);
    cubic.begin();
    simulation.runUntil(2 * SECOND_NS);
    long ours = simulation.b.in.consumed();
    long theirs = cubic.delivered;
    simulation.runUntil(6 * SECOND_NS);
    double us = simulation.b.in.consumed() - ours;
    double them = cubic.delivered - theirs;
    assertThat(us / (us + them))
        .as("our share, %d %d %d", window, queue, lateNs)
        .isBetween(0.3, 0.7);
    assertThat((us + them) * 8 / 4).as("the link is used").isGreaterThan(0.9 * WIRE_LIMIT);
  }

  /**
   * A stream that behaves as TCP cubic does (RFC 9438): segments of 1448 bytes, an acknowledgement
   * each, fast recovery once a window, the cubic curve and its Reno-friendly floor. It shares the
   * path's queue.
   */
  private static final class Cubic {
    private static final int SEGMENT = 1448;
    private static final int FRAME = 1500;
    private final Simulation simulation;
    private final Path path;
    private final int burst;
    private double window = 10;
    private double threshold = Double.MAX_VALUE;
    private double most;
    private double friendly;
    private long epochNs = -1;
    private long next;
    private long recovery = -1;
    private int inFlight;
    private long delivered;

    Cubic(Simulation simulation, Path path, int burst) {
      this.simulation = simulation;
      this.path = path;
      this.burst = burst;
    }

    void begin() {
      simulation.at(simulation.now, this::fill);
    }

    private void fill() {
      if (inFlight > window - Math.min(window / 4, burst)) {
        return; // segments go out together, as many as the kernel sends by one packet
      }
      while (inFlight < (int) window) {
        long number = next++;
        inFlight++;
        long arrival = path.arrival(simulation.random, FRAME, simulation.now);
        if (arrival < 0) {
          // three later ones tell of it: about a round trip
          simulation.at(simulation.now + roundTrip(), () -> lost(number));
        } else {
          simulation.at(arrival + path.delayNs, this::acknowledged);
        }
      }
    }

    private long roundTrip() {
      return 2 * path.delayNs + (long) (path.queueLimit * (FRAME + 38) * 8.0);
    }

    private void lost(long number) {
      inFlight--;
      if (number > recovery) {
        recovery = next;
        most = window;
        window = Math.max(2, window * 0.7);
        threshold = window;
        friendly = window;
        epochNs = simulation.now;
      }
      fill();
    }

    private void acknowledged() {
      inFlight--;
      delivered += SEGMENT;
      if (window < threshold) {
        window++;
      } else {
        double t = (simulation.now - epochNs + roundTrip()) / 1e9;
        double k = Math.cbrt(most * 0.3 / 0.4);
        double target = Math.min(0.4 * Math.pow(t - k, 3) + most, 1.5 * window);
        friendly += 0.53 / window;
        double wanted = Math.max(target, friendly);
        if (wanted > window) {
          window += (wanted - window) / window;
        }
      }
      fill();
    }
  }
}
