// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;

import hutong.api.AgentConfig;
import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.Platform;
import hutong.platform.abi.Abi;
import hutong.platform.abi.EndLayout;
import hutong.platform.abi.PoolLayout;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * What a program may write into its end pool, and what another VM's agent may say, changed at
 * random: nothing escapes, nothing leaks, the answers stay few. A failure names its seed, which
 * {@code -Dhutong.seed} repeats.
 */
class HostileTest {
  private static final long SEED = Long.getLong("hutong.seed", System.nanoTime() & 0xffff_ffffL);
  private static final int POOL_STATES = Integer.getInteger("hutong.hostile.pool", 500_000);
  private static final int MESSAGES = Integer.getInteger("hutong.hostile.messages", 400_000);
  private static final int DECODED = Integer.getInteger("hutong.hostile.decoded", 500_000);
  private static final int ROUND = 2_000;
  private static final int[] INTS = {
    0,
    1,
    2,
    3,
    4,
    5,
    28,
    29,
    -1,
    Integer.MAX_VALUE,
    Integer.MIN_VALUE,
    0xffff,
    0x1_0000,
    16_383,
    16_384
  };

  private static int anInt(Random random) {
    return random.nextBoolean() ? INTS[random.nextInt(INTS.length)] : random.nextInt();
  }

  private static void run(String what, long seed, int states, Body body) {
    assertThatCode(() -> body.run(new Random(seed)))
        .as("%s, seed %d", what, SEED)
        .doesNotThrowAnyException();
    if (states > 0) {
      System.out.printf("HostileTest: %s: %d states, seed %d%n", what, states, SEED);
    }
  }

  private interface Body {
    void run(Random random) throws Exception;
  }

  // ---------------------------------------------------------------- the end pool

  @Test
  void aPoolMaySayAnything(@TempDir Path proc) {
    run("pool", SEED, POOL_STATES, random -> pool(random, proc));
  }

  private static void pool(Random random, Path proc) throws IOException {
    try (Fd fd = Platform.memory().memfdCreate("hutong-ends", PoolLayout.SIZE, Memory.SEAL_SIZE);
        Mapping program = Platform.memory().map(fd, PoolLayout.SIZE, true)) {
      program.putInt(PoolLayout.MAGIC, Abi.POOL_MAGIC);
      program.putInt(PoolLayout.VERSION, Abi.ABI_VERSION);
      program.putInt(PoolLayout.SLOTS, Abi.POOL_SLOTS);
      try (EndPool pool = EndPool.open(Platform.memory(), fd, true)) {
        List<SockDiag.Socket> sockets = new ArrayList<>();
        for (int i = 1; i <= 4; i++) {
          sockets.add(new SockDiag.Socket(Sim.pair(1, 2, i), i, i % 2 == 0 ? 1000 : 1001, i));
        }
        PoolView.Registered registered =
            new PoolView.Registered(Sim.pair(1, 2, 1), 1, Reason.PEER_SILENT);
        ProcFs files = new ProcFs(proc);
        ConnectionList list =
            new ConnectionList(
                () -> List.of(new PoolView(1, 1000, pool, Map.of(3, registered))),
                () -> MemberView.EMPTY,
                () -> sockets,
                files,
                new Verdicts(),
                new Causes(files, new LivePolicy(new AgentConfig(key -> null), null, text -> {})));
        for (int i = 0; i < POOL_STATES; i++) {
          program.putInt(somewhere(random), anInt(random));
          look(random, pool);
          if (i % 500 == 0) {
            // Slots beyond are looked at above; a list of all of them takes its time.
            program.putInt(PoolLayout.USED, random.nextInt(64));
            listed(list.list());
          }
        }
        program.putInt(PoolLayout.USED, -1);
        listed(list.list());
      }
    }
  }

  /** Mostly words that mean something, of a few slots. */
  private static int somewhere(Random random) {
    int slot = PoolLayout.slot(random.nextInt(4) == 0 ? random.nextInt(Abi.POOL_SLOTS) : 3);
    int[] words = {
      EndLayout.STATE,
      EndLayout.REASON,
      EndLayout.OWNER_PID,
      EndLayout.FD,
      EndLayout.COOKIE,
      EndLayout.COOKIE + 4,
      EndLayout.RX_PATH,
      EndLayout.TX_PATH,
      EndLayout.CHAN,
      EndLayout.AGENT_NOTE,
    };
    return switch (random.nextInt(10)) {
      case 0 -> PoolLayout.USED;
      case 1 -> random.nextInt(PoolLayout.SIZE / 4) * 4; // the header, too
      default -> slot + words[random.nextInt(words.length)];
    };
  }

  private static void look(Random random, EndPool pool) {
    int used = pool.used();
    assertThat(used >= 0 && used <= Abi.POOL_SLOTS).isTrue();
    int index = random.nextBoolean() ? 3 : random.nextInt(Abi.POOL_SLOTS);
    EndPool.Slot slot = pool.slot(index);
    assertThat(slot.stateName() != null && slot.path() != null && slot.reason() != null).isTrue();
    switch (random.nextInt(8)) {
      case 0 -> pool.note(index);
      case 1 -> pool.peerGone(index, slot.cookie());
      case 2 -> pool.stop(index, random.nextLong(), Reason.POLICY);
      default -> {}
    }
  }

  /** The kernel's connections, each once; the one that is registered is there in any case. */
  private static void listed(List<ConnectionInfo> infos) {
    assertThat(infos).hasSize(4);
    assertThat(infos).extracting(ConnectionInfo::local).doesNotHaveDuplicates();
    for (ConnectionInfo info : infos) {
      assertThat(info.path()).isIn("TCP", "RING", "SWITCHING");
      assertThat(info.reason()).isNotNull();
      // User 1001's sockets are not the pool's business.
      if (info.uid() == 1001 && !info.local().endsWith(":1")) {
        assertThat(info.ringIn() + info.ringOut() + info.channel()).isZero();
      }
    }
  }

  // ---------------------------------------------------------------- another VM's agent

  @Test
  void bytesOfAPeerAreAMessageOrNone() {
    run("decode", SEED + 1, DECODED, HostileTest::decode);
  }

  private static void decode(Random random) {
    for (int i = 0; i < DECODED; i++) {
      byte[] bytes = message(random, 1 + random.nextInt(5), 1 + random.nextInt(5)).encode();
      for (int n = random.nextInt(4); n > 0; n--) {
        bytes[random.nextInt(bytes.length)] = (byte) random.nextInt();
      }
      if (random.nextInt(16) == 0) {
        bytes = java.util.Arrays.copyOf(bytes, random.nextInt(200));
      }
      PeerMessage message = PeerMessage.decode(bytes);
      if (message != null && message.encode().length != bytes.length) {
        throw new AssertionError("a message of another size");
      }
      ShimMessage.decode(bytes.length > 64 ? java.util.Arrays.copyOf(bytes, 64) : bytes);
    }
  }

  private static PeerMessage message(Random random, int own, int theirs) {
    PeerMessage.Type[] types = PeerMessage.Type.values();
    AddressPair pair = Sim.pair(2, 1 + 2 * random.nextInt(2), 1 + random.nextInt(4));
    if (random.nextInt(3) == 0) {
      pair = pair.flipped();
    }
    return new PeerMessage(
        types[random.nextInt(10) < 9 ? 2 + random.nextInt(6) : random.nextInt(2)],
        random.nextInt(100) == 0 ? anInt(random) & 0xffff : PeerMessage.VERSION,
        random.nextInt(8) == 0 ? anInt(random) : own,
        random.nextInt(8) == 0 ? anInt(random) : theirs,
        random.nextInt(3) == 0 ? anInt(random) & 0xffff : 0,
        pair,
        random.nextLong() & 0xffff_ffff_ffffL,
        1 + random.nextInt(3),
        random.nextInt(4) == 0 ? anInt(random) : Sim.RING,
        random.nextInt(4) == 0 ? anInt(random) : Sim.OVER,
        random.nextInt(8) == 0 ? List.of(anInt(random)) : List.of());
  }

  @Test
  void aPeersAgentMaySayAnything() {
    Map<String, Integer> total = new HashMap<>();
    for (int round = 0; round * ROUND < MESSAGES; round++) {
      Sim sim = new Sim(SEED + round);
      int shown = (round + 1) * ROUND >= MESSAGES ? MESSAGES : 0;
      run("peer's messages", SEED + 2 + round, shown, random -> peer(sim, random));
      sim.counts.forEach((name, n) -> total.merge(name, n, Integer::sum));
    }
    // What is not reached is not tested.
    assertThat(total.get("intercept.matches")).isGreaterThan(2 * MESSAGES / ROUND);
    assertThat(total)
        .containsKeys(
            "intercept.segments.bad",
            "intercept.offers.unmatched",
            "intercept.peer.malformed",
            "intercept.channels.closed",
            Reason.SEGMENT.name());
  }

  /** Agents 1 and 3, with connections between them and with 2, which is hostile. */
  private static void peer(Sim sim, Random random) throws Exception {
    for (int domid = 1; domid <= 3; domid++) {
      sim.start(domid, 50);
    }
    for (int domid = 1; domid <= 3; domid++) {
      sim.link(domid);
    }
    sim.drain();
    List<Sim.End> ends = new ArrayList<>();
    List<Sim.End> lawful = sim.connection(1, 3, 900);
    lawful.forEach(Sim.End::register);
    sim.drain();
    for (int i = 0; i < ROUND; i++) {
      int to = 1 + 2 * random.nextInt(2);
      if (ends.size() < 4 || random.nextInt(20) == 0) {
        comeOrGo(sim, random, ends, to);
      }
      int before = sim.queue(to, 2).size();
      byte[] bytes = bytes(sim, random, to);
      sim.agents.get(to).matcher.message(2, bytes, descriptors(sim, random));
      // A greeting is answered by what the greeter must know; all else by one message at most.
      int most = greets(bytes) ? 1 + sim.agents.get(to).table.size() : 1;
      assertThat(sim.queue(to, 2).size() - before).as("answers").isLessThanOrEqualTo(most);
      if (i % 50 == 0) {
        quiet(sim);
        sim.advance(random.nextInt(2) * Courier.AGAIN_MS);
        lawfulStays(sim, lawful);
      }
    }
    lawful.forEach(Sim.End::unregister);
    ends.stream().filter(end -> end.declined == null).forEach(Sim.End::unregister);
    quiet(sim);
    sim.unlink(2);
    sim.advance(Matcher.FORGET_MS);
    sim.settle();
    for (int domid : List.of(1, 3)) {
      assertThat(sim.agents.get(domid).table.size()).as("numbers of " + domid).isZero();
      assertThat(sim.agents.get(domid).table.bytes()).as("bytes of " + domid).isZero();
    }
    assertThat(sim.openFds("segment") + sim.openFds("doorbell") + sim.openFds("file")).isZero();
  }

  private static boolean greets(byte[] bytes) {
    PeerMessage message = PeerMessage.decode(bytes);
    return message != null && message.type().ordinal() <= PeerMessage.Type.HELLO_ACK.ordinal();
  }

  private static void comeOrGo(Sim sim, Random random, List<Sim.End> ends, int to) {
    ends.removeIf(end -> end.declined != null);
    if (ends.size() < 4) {
      Sim.End end = sim.new End(to, 2, Sim.pair(to, 2, 1 + random.nextInt(4)));
      boolean taken = ends.stream().anyMatch(other -> other.pair.equals(end.pair));
      if (!taken && end.register()) {
        ends.add(end);
      } else {
        end.doorbell.close();
      }
    } else {
      ends.remove(random.nextInt(ends.size())).unregister();
    }
  }

  /** What goes to the hostile agent is thrown away, the rest is delivered. */
  private static void quiet(Sim sim) {
    for (int from : List.of(1, 3)) {
      sim.queue(from, 2).forEach(Sim.Packet::drop);
      sim.queue(from, 2).clear();
      sim.queue(2, from).forEach(Sim.Packet::drop);
      sim.queue(2, from).clear();
    }
    sim.drain();
  }

  private static byte[] bytes(Sim sim, Random random, int to) {
    // It knows the numbers that it was told, and tries its own.
    List<Registration> known = List.copyOf(sim.agents.get(to).matcher.registrations());
    int theirs = known.isEmpty() ? 1 : known.get(random.nextInt(known.size())).channel.number();
    PeerMessage message = message(random, 1 + random.nextInt(5), theirs);
    if (!known.isEmpty() && random.nextBoolean()) {
      Registration one = known.get(random.nextInt(known.size()));
      int number =
          random.nextBoolean() && one.channel.peerNumber() != 0
              ? one.channel.peerNumber()
              : message.number();
      message =
          new PeerMessage(
              message.type(),
              message.version(),
              number,
              one.channel.number(),
              message.reason(),
              one.pair.flipped(),
              message.mac(),
              message.session(),
              message.ringSize(),
              message.overSize(),
              message.ticket());
    }
    byte[] bytes = message.encode();
    if (random.nextInt(10) == 0) {
      bytes[random.nextInt(bytes.length)] ^= (byte) (1 << random.nextInt(8));
    }
    return bytes;
  }

  private static List<Fd> descriptors(Sim sim, Random random) {
    List<Fd> out = new ArrayList<>();
    if (random.nextBoolean()) {
      out.add(sim.new SimFd("segment", 1_000_000 + random.nextInt(1000)));
      out.add(sim.new SimFd("doorbell", 2_000_000));
    }
    String[] kinds = {"segment", "doorbell", "file"};
    for (int n = random.nextInt(6) == 0 ? random.nextInt(4) : 0; n > 0; n--) {
      out.add(
          random.nextInt(out.size() + 1),
          sim.new SimFd(kinds[random.nextInt(kinds.length)], 3_000_000));
    }
    if (out.size() == 2 && random.nextInt(3) == 0) {
      out.remove(0).close(); // what a SETUP_OK has
    }
    return out;
  }

  private static void lawfulStays(Sim sim, List<Sim.End> lawful) {
    Sim.End one = lawful.get(0);
    Sim.End other = lawful.get(1);
    assertThat(one.segment).as("the others' channel").isNotNegative().isEqualTo(other.segment);
    assertThat(one.declined == null && other.declined == null).isTrue();
    assertThat(one.peerGone + other.peerGone).isZero();
    assertThat(sim.agents.get(1).matcher.peerState(3)).isEqualTo(Peer.State.UP);
  }
}
