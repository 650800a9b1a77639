// SPDX-License-Identifier: Apache-2.0
package hutong.telemetry.internal;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import hutong.api.AgentConfig;
import hutong.api.intercept.Reason;
import hutong.api.telemetry.Counter;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CounterFileTest {
  @TempDir Path dir;

  private Path path() {
    return dir.resolve("counters");
  }

  @Test
  void shouldBeReadableFromOutside() throws Exception {
    CounterFile file = CounterFile.open(path(), 4, 42, 1000);
    file.counter("a.b").add(5);
    file.counter("c").increment();
    ByteBuffer raw = ByteBuffer.wrap(Files.readAllBytes(path())).order(ByteOrder.nativeOrder());
    assertThat(raw.capacity()).isEqualTo(64 + 4 * 64);
    assertThat(raw.getInt(0)).isEqualTo(CounterFile.MAGIC);
    assertThat(raw.getInt(4)).isEqualTo(1);
    assertThat(raw.getInt(8)).isEqualTo(4);
    assertThat(raw.getInt(12)).isEqualTo(2);
    assertThat(raw.getLong(16)).isEqualTo(42);
    assertThat(raw.getLong(24)).isEqualTo(1000);
    assertThat(raw.getLong(64)).isEqualTo(5);
    byte[] name = new byte[4];
    raw.get(72, name);
    assertThat(new String(name, StandardCharsets.UTF_8)).isEqualTo("a.b\0");
    assertThat(raw.getLong(128)).isEqualTo(1);
  }

  @Test
  void shouldGoOnInTheSameProcessOnly() throws Exception {
    Counter old = CounterFile.open(path(), 4, 42, 1000).counter("x");
    old.add(3);
    CounterFile next = CounterFile.open(path(), 4, 42, 1000);
    old.increment(); // a bundle may still hold it
    assertThat(next.snapshot()).isEqualTo(Map.of("x", 4L));
    assertThat(CounterFile.open(path(), 4, 42, 2000).snapshot()).isEmpty();
    assertThat(CounterFile.open(path(), 4, 43, 2000).snapshot()).isEmpty();
  }

  @Test
  void shouldCountInMemoryWhenFull() throws Exception {
    CounterFile file = CounterFile.open(path(), 1, 42, 1000);
    file.counter("first").increment();
    file.counter("second").add(2);
    file.counter("second").add(2);
    assertThat(file.snapshot()).isEqualTo(Map.of("first", 1L, "second", 4L));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "",
        "garbage",
        "HUTC----------------------------------------------------------------"
      })
  void shouldReplaceAForeignFile(String content) throws Exception {
    Files.writeString(path(), content);
    CounterFile file = CounterFile.open(path(), 2, 42, 1000);
    file.counter("x").increment();
    assertThat(file.snapshot()).containsExactly(Map.entry("x", 1L));
  }

  @Test
  void shouldReplaceAFileThatClaimsTooMuch() throws Exception {
    CounterFile.open(path(), 2, 42, 1000);
    byte[] raw = Files.readAllBytes(path());
    ByteBuffer.wrap(raw).order(ByteOrder.nativeOrder()).putInt(12, -1);
    Files.write(path(), raw);
    assertThat(CounterFile.open(path(), 2, 42, 1000).snapshot()).isEmpty();
  }

  @Test
  void shouldRefuseImpossibleNames() throws Exception {
    CounterFile file = CounterFile.open(path(), 2, 42, 1000);
    for (String bad : List.of("", "x".repeat(57), "a\0b")) {
      assertThatThrownBy(() -> file.counter(bad)).isInstanceOf(IllegalArgumentException.class);
    }
    file.counter("x".repeat(56)).increment();
    assertThat(CounterFile.open(path(), 2, 42, 1000).snapshot()).containsKey("x".repeat(56));
  }

  @Test
  void shouldLoseNoCountOfManyThreads() throws Exception {
    CounterFile file = CounterFile.open(path(), 8, 42, 1000);
    List<Thread> threads = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      Thread t =
          new Thread(
              () -> {
                for (int n = 0; n < 50_000; n++) {
                  file.counter("shared").increment();
                }
              });
      t.start();
      threads.add(t);
    }
    for (Thread t : threads) {
      t.join();
    }
    assertThat(file.snapshot()).isEqualTo(Map.of("shared", 200_000L));
  }

  @Test
  void shouldHaveACounterForEveryReason() throws Exception {
    Map<String, String> properties = Map.of("hutong.run", dir.toString());
    MappedCounters counters = new MappedCounters(new AgentConfig(properties::get));
    counters.reason(Reason.QUOTA).increment();
    for (Reason reason : Reason.values()) {
      assertThat(counters.snapshot())
          .containsEntry("reason." + reason.number(), reason == Reason.QUOTA ? 1L : 0L);
    }
  }
}
