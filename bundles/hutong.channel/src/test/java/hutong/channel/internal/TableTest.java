// SPDX-License-Identifier: Apache-2.0
package hutong.channel.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.channel.Channel;
import hutong.api.channel.ChannelInfo;
import hutong.api.channel.Segments;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;

class TableTest {
  private static final int RING = 4096;
  private static final int OVER = 8192;
  private static final long BYTES = Segments.bytes(RING, OVER);

  private final Random random = new Random(7);

  private Table table(long bytes, int channels) {
    return new Table(new Table.Quota(bytes, channels, channels), random::nextInt);
  }

  @Test
  void numbersAreUniqueAndComeBackWithAnotherGeneration() {
    Table table = table(1 << 30, 10);
    Set<Integer> indexes = new HashSet<>();
    List<Channel> all = new ArrayList<>();
    for (int uid = 0; uid < 2; uid++) {
      for (Channel c; (c = table.reserve(uid, 2).orElse(null)) != null; ) {
        assertThat(indexes.add(c.number() & 0xffff)).isTrue();
        all.add(c);
      }
    }
    assertThat(all).as("all indexes but 0").hasSize(65_535);
    assertThat(indexes).doesNotContain(0);
    Channel last = all.get(all.size() - 1);
    last.release();
    last.release();
    Channel again = table.reserve(5, 2).orElseThrow();
    assertThat(again.number() & 0xffff).isEqualTo(last.number() & 0xffff);
    assertThat(again.number()).as("generation").isNotEqualTo(last.number());
    again.release();
    all.forEach(Channel::release);
    assertThat(table.size()).isZero();
  }

  @Test
  void oneUserGetsHalfOfTheNumbers() {
    Table table = table(1 << 30, 10);
    int n = 0;
    while (table.reserve(1000, 2).isPresent()) {
      n++;
    }
    assertThat(n).isEqualTo(32_768);
    assertThat(table.reserve(1001, 2)).isPresent();
  }

  @Test
  void oneUserGetsHalfOfTheQuotaAndAllGetAllOfIt() {
    for (Table table : List.of(table(4 * BYTES, 100), table(1L << 40, 4))) {
      List<Channel> charged = new ArrayList<>();
      for (int uid = 1; uid <= 3; uid++) {
        for (int i = 0; i < 3; i++) {
          Channel c = table.reserve(uid, 2).orElseThrow();
          if (c.charge(RING, OVER)) {
            charged.add(c);
          }
        }
      }
      assertThat(charged).as("two users with two each").hasSize(4);
      assertThat(table.bytes()).isEqualTo(4 * BYTES);
      assertThat(table.usage().fits(BYTES)).isFalse();
      charged.get(0).refund();
      charged.get(0).refund();
      assertThat(table.bytes()).isEqualTo(3 * BYTES);
      assertThat(table.usage().fits(BYTES)).isTrue();
      assertThat(table.usage().channels()).isEqualTo(3);
      assertThat(table.usage().bytes()).isEqualTo(3 * BYTES);
      assertThat(charged.get(0).charge(RING, OVER)).isTrue();
      assertThat(charged.get(0).charge(RING, OVER)).as("charged once").isTrue();
      assertThat(table.bytes()).isEqualTo(4 * BYTES);
      charged.forEach(Channel::release);
      assertThat(table.bytes()).isZero();
    }
  }

  @Test
  void oneNeighbourGetsItsShareAndNoMore() {
    Table table = new Table(new Table.Quota(1L << 40, 100, 2), random::nextInt);
    List<Channel> shared = new ArrayList<>();
    for (int i = 0; i < 3; i++) {
      shared.add(table.reserve(0, 2).orElseThrow());
    }
    assertThat(shared.stream().filter(c -> c.charge(RING, OVER))).hasSize(2);
    assertThat(table.reserve(0, 3).orElseThrow().charge(RING, OVER)).as("another's").isTrue();
    for (int i = 0; i < 5; i++) {
      assertThat(table.reserve(0, 0).orElseThrow().charge(RING, OVER))
          .as("shared by none")
          .isTrue();
    }
    shared.get(0).refund();
    assertThat(shared.get(2).charge(RING, OVER)).as("what came back").isTrue();
    assertThat(shared.get(0).charge(RING, OVER)).isFalse();
    shared.get(1).peerVm(3);
    assertThat(shared.get(0).charge(RING, OVER)).as("one is another's now").isTrue();
    assertThat(table.reserve(0, 3).orElseThrow().charge(RING, OVER)).isFalse();
    shared.forEach(Channel::release);
    assertThat(table.reserve(0, 2).orElseThrow().charge(RING, OVER)).isTrue();
    Channel old = table.adopt(0x12345678, 0, RING, OVER).orElseThrow();
    old.peerVm(2);
    assertThat(table.reserve(0, 2).orElseThrow().charge(RING, OVER))
        .as("with a survivor")
        .isFalse();
  }

  @Test
  void adoptsWhatProgramsStillUse() {
    Table table = table(BYTES, 1);
    Channel old = table.adopt(0x12340007, 1000, RING, OVER).orElseThrow();
    assertThat(old.number()).isEqualTo(0x12340007);
    assertThat(table.adopt(0x55550007, 1000, RING, OVER)).as("index in use").isEmpty();
    assertThat(table.adopt(0x55550000, 1000, RING, OVER)).as("index 0").isEmpty();
    assertThat(table.adopt(0x00000008, 1000, RING, OVER)).as("beyond the quota").isPresent();
    for (int i = 0; i < 10; i++) {
      assertThat(table.reserve(1, 2).orElseThrow().number() & 0xffff).isNotIn(7, 8);
    }
    assertThat(table.reserve(1, 2).orElseThrow().charge(RING, OVER)).isFalse();
  }

  @Test
  void listsWhatIsThere() {
    Table table = table(1 << 30, 10);
    Channel c = table.reserve(1000, 2).orElseThrow();
    c.charge(RING, OVER);
    c.peer(99, 0x0277_0000_0002L);
    c.state(Channel.State.OPEN);
    ChannelInfo info = table.list(vm -> "VM" + vm).get(0);
    assertThat(info)
        .isEqualTo(
            new ChannelInfo(
                c.number(),
                2,
                "VM2",
                "02:77:00:00:00:02",
                99,
                "OPEN",
                RING,
                OVER,
                0,
                0,
                List.of()));
  }
}
