// SPDX-License-Identifier: Apache-2.0
package hutong.telemetry.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.telemetry.EventLog;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneId;
import java.time.ZoneOffset;
import java.util.List;
import org.junit.jupiter.api.Test;

class MemoryEventLogTest {
  private static final class TestClock extends Clock {
    private Instant now = Instant.parse("2026-01-01T00:00:00Z");

    @Override
    public ZoneId getZone() {
      return ZoneOffset.UTC;
    }

    @Override
    public Clock withZone(ZoneId zone) {
      throw new UnsupportedOperationException();
    }

    @Override
    public Instant instant() {
      return now;
    }
  }

  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final TestClock clock = new TestClock();
  private final MemoryEventLog log =
      new MemoryEventLog(new PrintStream(bytes, true, StandardCharsets.UTF_8), clock);

  private List<String> lines() {
    return bytes.toString(StandardCharsets.UTF_8).lines().toList();
  }

  @Test
  void shouldKeepAndPrint() {
    log.warn("link", "peer 2 is down");
    assertThat(log.recent())
        .containsExactly(
            new EventLog.Event(clock.millis(), EventLog.Level.WARN, "link", "peer 2 is down"));
    assertThat(lines()).containsExactly("2026-01-01T00:00:00Z WARN link: peer 2 is down");
  }

  @Test
  void shouldNotLetAMessageForgeLines() {
    log.info("x", "one\n2026 ERROR two\u001b[31m\u202e");
    assertThat(lines()).containsExactly("2026-01-01T00:00:00Z INFO x: one?2026 ERROR two?[31m?");
    log.info("x", null);
    log.info("x", "y".repeat(100_000));
    assertThat(log.recent().get(2).message()).hasSize(MemoryEventLog.MAX_MESSAGE + 3);
  }

  @Test
  void shouldBeBounded() {
    for (int i = 0; i < 5000; i++) {
      log.info("x", "event " + i);
    }
    assertThat(log.recent()).hasSize(MemoryEventLog.CAPACITY);
    assertThat(log.recent().get(0).message()).isEqualTo("event 4000");
    assertThat(lines()).hasSize(MemoryEventLog.BURST);
    clock.now = clock.now.plusSeconds(1);
    log.error("x", "later");
    assertThat(lines().subList(MemoryEventLog.BURST, lines().size()))
        .containsExactly(
            "2026-01-01T00:00:01Z WARN telemetry: 4800 events not printed",
            "2026-01-01T00:00:01Z ERROR x: later");
  }

  @Test
  void shouldSurviveAClockThatIsSetBack() {
    clock.now = clock.now.minusSeconds(3600);
    log.info("x", "back");
    assertThat(lines()).hasSize(1);
  }
}
