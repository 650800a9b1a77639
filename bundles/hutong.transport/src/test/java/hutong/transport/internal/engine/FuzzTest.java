// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.transport.internal.datagram.Control;
import hutong.transport.internal.datagram.Datagram;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import hutong.transport.internal.datagram.Seal;
import java.nio.ByteBuffer;
import java.util.EnumSet;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.DisplayName;
import org.junit.jupiter.api.Test;

/**
 * More than a million random and mutated datagrams. {@code -Dhutong.transport.seed=N} replays a
 * run.
 */
class FuzzTest {
  private static final int DATAGRAMS = 700_000;
  private static final long SEED = Long.getLong("hutong.transport.seed", 20_110_128);
  private static final int MOST_BYTES = 600;
  private static final int[] INTERESTING = {
    0, 1, -1, 2, 31, 32, 128, 255, 256, 257, 0xffff, Integer.MAX_VALUE, Integer.MIN_VALUE
  };

  private final Random random = new Random(SEED);
  private final Seal seal = new Seal(null, null);
  private final ByteBuffer bytes = ByteBuffer.allocateDirect(2048);

  @Test
  @DisplayName("parser: no bytes make it throw, and whatever it takes has a right H-sum")
  void shouldParseAnything() {
    Datagram datagram = new Datagram();
    int taken = 0;
    for (int i = 0; i < DATAGRAMS; i++) {
      int length = random.nextInt(MOST_BYTES);
      fill(length);
      boolean sealed = random.nextInt(3) == 0 && length >= Header.BYTES;
      if (sealed) {
        bytes.putInt(Header.LENGTH, length - Header.BYTES);
        seal.close(bytes, 0, length);
      }
      DropCause cause = datagram.read(bytes.limit(length).position(0), seal);
      if (cause == DropCause.NONE) {
        taken++;
        assertThat(sealed).as("a random H-sum, seed %d, datagram %d", SEED, i).isTrue();
      }
    }
    assertThat(taken).isGreaterThan(DATAGRAMS / 5);
  }

  @Test
  @DisplayName("flow: no datagram throws; none outside window and generation changes the stream")
  void shouldSurviveAnything() {
    Set<DropCause> seen = EnumSet.noneOf(DropCause.class);
    int perFlow = 2_000;
    for (int run = 0; run < DATAGRAMS / perFlow; run++) {
      Target target = new Target(run);
      for (int i = 0; i < perFlow; i++) {
        target.receiveSomething(seen);
      }
      target.check();
    }
    EnumSet<DropCause> expected = EnumSet.allOf(DropCause.class);
    expected.removeAll(
        EnumSet.of(DropCause.BAD_MAC, DropCause.WRONG_PEER)); // by configuration only
    assertThat(seen).containsAll(expected);
  }

  /** A live flow in some state, half of the ring filled. */
  private final class Target {
    private final Script script;
    private final boolean resuming;

    Target(int run) {
      resuming = run % 8 == 7;
      FlowSettings settings =
          run % 2 == 0
              ? FlowSettings.literal(1500, 64, 500_000)
              : FlowSettings.reference(1500).withoutProbes();
      long offset = run % 3 == 0 ? (1L << 32) - 500 : 0;
      script = new Script(settings, offset, offset, 4096, 100_000, null, null, resuming);
      script.write(50_000);
      script.frames();
      script.flow.receive(script.data(Script.FIRST_IN + 2, offset + 20, 10, 0), script.now);
    }

    void receiveSomething(Set<DropCause> seen) {
      int kind = random.nextInt(10);
      long published = script.in.published();
      long received = script.flow.received();
      boolean plausible = false;
      if (kind == 0) {
        fill(random.nextInt(MOST_BYTES));
      } else {
        plausible = build(kind < 7);
      }
      if (bytes.limit() > 0 && random.nextInt(8) == 0) {
        bytes.put(random.nextInt(bytes.limit()), (byte) random.nextInt());
      }
      int epoch = script.flow.epochNumber();
      DropCause cause = script.flow.receive(bytes.position(0), script.now);
      seen.add(cause);
      if (script.flow.epochNumber() != epoch) {
        script.frames(); // publishes what came in order; the rest comes again in the new epoch
        script.in.forgetUnpublished();
        return;
      }
      if (!plausible || cause != DropCause.NONE) {
        assertThat(script.flow.received()).as("seed %d, %s", SEED, cause).isEqualTo(received);
        assertThat(script.in.published()).isEqualTo(published);
      }
      if (random.nextInt(4) == 0) {
        script.now += random.nextInt(3_000_000);
        script.batch.clear();
        script.flow.produce(script.batch, script.now);
      }
    }

    /**
     * A datagram with a right H-sum and mostly right fields.
     *
     * @return whether it is a data datagram of this channel and inside the window
     */
    private boolean build(boolean control) {
      bytes.clear();
      int length = control ? items() : 1 + random.nextInt(100);
      int sequence = Script.FIRST_IN + (random.nextInt(4) == 0 ? any() : random.nextInt(70));
      long base = script.flow.received();
      int index = (int) base + (random.nextInt(3) == 0 ? any() : random.nextInt(300));
      int ack = Script.FIRST_OUT + (random.nextInt(8) == 0 ? any() : 0);
      int ackIndex = script.peerAckIndex + (random.nextInt(16) == 0 ? any() : 0);
      int flags = random.nextInt(2) | (control ? Header.CONTROL : 0);
      int channel = script.flow.localChannel();
      int away = random.nextInt(16);
      channel += away == 0 ? 1 : away == 1 ? 1 << 16 : 0;
      if (!control) {
        // the right bytes for that place, so that the ring's own check holds when it is taken
        long offset = base + (index - (int) base);
        for (int i = 0; i < length; i++) {
          bytes.put(Header.BYTES + i, Stream.at(Script.IN_SEED, offset + i));
        }
      }
      int told = random.nextInt(32) == 0 ? any() : length;
      Header.put(bytes, 0, sequence, index, told, ack, ackIndex, flags, channel);
      seal.close(bytes, 0, Header.BYTES + length);
      bytes.limit(Header.BYTES + length);
      return !control && channel == script.flow.localChannel();
    }

    /** Items of which lengths and values are mostly plausible. */
    private int items() {
      int at = Header.BYTES;
      for (int n = random.nextInt(4); n >= 0; n--) {
        int kind = random.nextInt(12);
        int length = length(kind);
        bytes.putShort(at, (short) kind);
        bytes.putShort(at + 2, (short) (random.nextInt(16) == 0 ? any() : length));
        at += Control.ITEM_HEADER;
        for (int i = 0; i < length; i++) {
          bytes.put(at + i, (byte) (random.nextInt(3) == 0 ? random.nextInt() : 0));
        }
        if (kind == Control.RESUME && random.nextBoolean()) {
          resume(at);
        } else if (kind == Control.MISSING && random.nextBoolean()) {
          bytes.putShort(at, (short) random.nextInt(260));
          bytes.putShort(at + 2, (short) random.nextInt(60));
          bytes.putShort(at + 4, (short) random.nextInt(60));
        }
        at += length;
      }
      return at - Header.BYTES;
    }

    private void resume(int at) {
      bytes.putInt(at, script.flow.epochNumber() + random.nextInt(3) - 1);
      bytes.putInt(at + 4, Script.PEER);
      bytes.putShort(at + 12, (short) (60 + random.nextInt(200)));
      bytes.putLong(at + 16, script.flow.acknowledged() + random.nextInt(3));
      bytes.putLong(at + 24, script.out.consumed());
      bytes.putLong(at + 32, script.out.consumed() + random.nextInt(5000));
    }

    /** The program reads all that it was given, and each byte is the peer's. */
    void check() {
      script.batch.clear();
      script.flow.produce(script.batch, script.now);
      script.in.read(script.in.unread());
    }
  }

  private static int length(int kind) {
    return switch (kind) {
      case Control.CREDIT -> 16;
      case Control.MISSING -> 6;
      case Control.END, Control.END_ACK, Control.PROBE_ANSWER -> 8;
      case Control.RESUME -> 40;
      default -> 4;
    };
  }

  private int any() {
    return random.nextInt(4) == 0
        ? random.nextInt()
        : INTERESTING[random.nextInt(INTERESTING.length)];
  }

  private void fill(int length) {
    bytes.clear();
    for (int i = 0; i + 8 <= length; i += 8) {
      bytes.putLong(i, random.nextLong());
    }
    bytes.limit(length);
  }
}
