// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.os.Fd;
import java.io.FileOutputStream;
import java.nio.ReadOnlyBufferException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

class MemoryTest {
  private final Memory memory = Platform.memory();

  @Test
  void shouldSealTheSize() throws Exception {
    try (Fd fd = memory.memfdCreate("test", 8192, Memory.SEAL_SIZE)) {
      assertThat(memory.seals(fd)).isEqualTo(Memory.SEAL_SIZE);
      assertThat(memory.size(fd)).isEqualTo(8192);
      assertThat(Platform.processes().describe(fd)).startsWith("/memfd:test");
      Path path = Path.of("/proc/self/fd/" + fd.number());
      assertThatThrownBy(() -> new FileOutputStream(path.toFile()).close()) // truncates
          .hasMessageContaining("not permitted");
    }
    try (Fd bell = Platform.events().eventfd()) {
      assertThatThrownBy(() -> memory.seals(bell))
          .isInstanceOfSatisfying(
              OsException.class, e -> assertThat(e.errno()).isEqualTo(OsException.EINVAL));
    }
  }

  @Test
  void shouldShareMappings() throws Exception {
    try (Fd fd = memory.memfdCreate("test", 4096, 0);
        Mapping a = memory.map(fd, 4096, true);
        Mapping b = memory.map(fd, 4096, true)) {
      a.putInt(0, 0x01020304);
      a.putLongVolatile(8, Long.MIN_VALUE);
      a.putIntVolatile(16, 7);
      a.putLong(24, -2);
      a.putBytes(32, new byte[] {1, 2, 3});
      assertThat(b.getInt(0)).isEqualTo(0x01020304);
      assertThat(b.getLongVolatile(8)).isEqualTo(Long.MIN_VALUE);
      assertThat(b.getAndAddInt(16, 3)).isEqualTo(7);
      assertThat(a.getIntVolatile(16)).isEqualTo(10);
      assertThat(b.getLong(24)).isEqualTo(-2);
      assertThat(b.getBytes(32, 4)).containsExactly(1, 2, 3, 0);
      assertThat(b.buffer().getInt(0)).isEqualTo(0x01020304);
      assertThat(a.size()).isEqualTo(4096);
    }
  }

  @Test
  void shouldBeSafeAgainstMisuse() throws Exception {
    try (Fd fd = memory.memfdCreate("test", 4096, 0)) {
      Mapping m = memory.map(fd, 4096, false);
      assertThatThrownBy(() -> m.getInt(4093)).isInstanceOf(IndexOutOfBoundsException.class);
      assertThatThrownBy(() -> m.getInt(-1)).isInstanceOf(IndexOutOfBoundsException.class);
      assertThatThrownBy(() -> m.getInt(1L << 32)).isInstanceOf(IndexOutOfBoundsException.class);
      assertThatThrownBy(() -> m.putInt(0, 1)).isInstanceOf(ReadOnlyBufferException.class);
      assertThat(m.buffer().isReadOnly()).isTrue();
      m.close();
      m.close();
      assertThatThrownBy(() -> m.getInt(0)).isInstanceOf(IllegalStateException.class);
      assertThatThrownBy(m::buffer).isInstanceOf(IllegalStateException.class);
    }
  }

  @Test
  void shouldGiveAReadOnlyDescriptor() throws Exception {
    try (Fd fd = memory.memfdCreate("test", 4096, Memory.SEAL_SIZE);
        Mapping writer = memory.map(fd, 4096, true);
        Fd readOnly = memory.reopenReadOnly(fd);
        Mapping reader = memory.map(readOnly, 4096, false)) {
      writer.putInt(100, 42);
      assertThat(reader.getInt(100)).isEqualTo(42);
      assertThatThrownBy(() -> memory.map(readOnly, 4096, true)).isInstanceOf(OsException.class);
    }
  }
}
