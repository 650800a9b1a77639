// SPDX-License-Identifier: Apache-2.0
package hutong.channel.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.channel.SegmentException;
import hutong.api.channel.Segments;
import hutong.api.os.Fd;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.OsException;
import hutong.platform.Platform;
import hutong.platform.abi.Abi;
import hutong.platform.abi.DirLayout;
import hutong.platform.abi.SegmentLayout;
import java.io.IOException;
import org.junit.jupiter.api.Test;

class MemfdSegmentsTest {
  private static final int RING = 8192;
  private static final int OVER = 16_384;

  private final Memory memory = Platform.memory();
  private final MemfdSegments segments = new MemfdSegments(memory, RING, OVER);

  @Test
  void makesWhatItAccepts() throws IOException {
    try (Fd segment = segments.allocate();
        Mapping map = memory.map(segment, Segments.bytes(RING, OVER), false)) {
      segments.verify(segment, RING, OVER);
      assertThat(map.size()).isEqualTo(SegmentLayout.segmentSize(RING, OVER));
      for (int i = 0; i < 2; i++) {
        assertThat(map.getLong(SegmentLayout.dir(i) + DirLayout.SPLIT)).isEqualTo(Abi.NO_SPLIT);
      }
      byte[] rest = map.getBytes(SegmentLayout.SIZE, (int) map.size() - SegmentLayout.SIZE);
      assertThat(rest).as("zeroed").containsOnly(0);
    }
  }

  @Test
  void refusesOddSizes() {
    for (int[] sizes :
        new int[][] {
          {0, OVER}, {RING, 0}, {RING + 1, OVER}, {2048, OVER}, {1 << 27, OVER}, {RING, 3}
        }) {
      assertThatThrownBy(() -> new MemfdSegments(memory, sizes[0], sizes[1]))
          .isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void refusesWhatIsNoSegment() throws IOException {
    long size = Segments.bytes(RING, OVER);
    try (Fd segment = segments.allocate()) {
      refused(segment, RING, OVER * 2, "bytes instead of");
      refused(segment, -RING, OVER, "ring of");
      refused(segment, OVER, RING, "header"); // the same sum
    }
    try (Fd open = memory.memfdCreate("open", size, Memory.SEAL_GROW | Memory.SEAL_SEAL)) {
      refused(open, RING, OVER, "its size can change");
    }
    try (Fd blank = memory.memfdCreate("blank", size, Memory.SEAL_SIZE)) {
      refused(blank, RING, OVER, "header");
    }
    try (Fd locked = memory.memfdCreate("locked", size, Memory.SEAL_SIZE | Memory.SEAL_WRITE)) {
      refused(locked, RING, OVER, "cannot be written");
    }
    try (Fd pipe = Platform.events().eventfd()) {
      refused(pipe, RING, OVER, "not a memfd");
    }
  }

  private void refused(Fd fd, int ring, int over, String why) {
    assertThatThrownBy(() -> segments.verify(fd, ring, over))
        .isInstanceOf(SegmentException.class)
        .hasMessageContaining(why);
  }

  @Test
  void closesTheMemfdWhenItCannotBeMapped() throws OsException {
    Fd[] made = new Fd[1];
    Memory noMap =
        (Memory)
            java.lang.reflect.Proxy.newProxyInstance(
                getClass().getClassLoader(),
                new Class<?>[] {Memory.class},
                (proxy, method, args) -> {
                  if (method.getName().equals("map")) {
                    throw new OsException("mmap", 12, "no memory");
                  }
                  return made[0] = (Fd) method.invoke(memory, args);
                });
    assertThatThrownBy(new MemfdSegments(noMap, RING, OVER)::allocate)
        .isInstanceOf(OsException.class);
    assertThat(made[0].isOpen()).isFalse();
  }
}
