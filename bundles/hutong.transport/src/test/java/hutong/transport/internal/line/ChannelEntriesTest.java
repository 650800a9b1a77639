// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.transport.internal.datagram.Header;
import java.util.HashSet;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;

class ChannelEntriesTest {
  private final ChannelEntries entries = new ChannelEntries(new Random(1));

  @Test
  void shouldGiveAnEntryAgainOnlyAfterManyOthers() {
    Set<Integer> seen = new HashSet<>();
    for (int i = 1; i < ChannelEntries.IN_TURN; i++) {
      int channel = entries.reserve();
      assertThat(Header.index(channel)).isBetween(1, ChannelEntries.IN_TURN - 1);
      assertThat(seen.add(Header.index(channel))).isTrue();
      entries.release(channel);
    }
    assertThat(seen).contains(Header.index(entries.reserve()));
  }

  @Test
  void shouldNotGiveWhatIsInUse() {
    int mine = Header.channel(7, 1);
    entries.reserve(mine);
    for (int i = 1; i < 2 * ChannelEntries.IN_TURN; i++) {
      int channel = entries.reserve();
      assertThat(Header.index(channel)).isNotEqualTo(7);
      entries.release(channel);
    }
  }

  @Test
  void shouldGiveAllAndThenNone() {
    Set<Integer> seen = new HashSet<>();
    for (int i = 1; i < ChannelEntries.MOST; i++) {
      assertThat(seen.add(Header.index(entries.reserve()))).isTrue();
    }
    assertThat(entries.reserve()).isZero();
    entries.release(Header.channel(5000, 3));
    assertThat(Header.index(entries.reserve())).isEqualTo(5000);
  }
}
