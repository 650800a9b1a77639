// SPDX-License-Identifier: Apache-2.0
package hutong.telemetry.internal;

import hutong.api.telemetry.EventLog;
import java.io.PrintStream;
import java.time.Clock;
import java.time.Instant;
import java.util.ArrayDeque;
import java.util.List;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;

/**
 * {@link EventLog} in a bounded ring, and on standard error: at most {@value #BURST} lines at once,
 * then 20 a second.
 */
@Component(service = EventLog.class)
public final class MemoryEventLog implements EventLog {
  static final int CAPACITY = 1000;
  static final int BURST = 200;
  static final int MAX_MESSAGE = 2000;
  private static final long MILLIS_PER_LINE = 50;

  private final ArrayDeque<Event> ring = new ArrayDeque<>();
  private final PrintStream out;
  private final Clock clock;
  private long allowance = BURST * MILLIS_PER_LINE;
  private long lastMillis;
  private long suppressed;

  /** Logs to standard error. */
  @Activate
  public MemoryEventLog() {
    this(System.err, Clock.systemUTC());
  }

  MemoryEventLog(PrintStream out, Clock clock) {
    this.out = out;
    this.clock = clock;
    this.lastMillis = clock.millis();
  }

  @Override
  public synchronized void log(Level level, String source, String message) {
    Event event = new Event(clock.millis(), level, clean(source), clean(message));
    if (ring.size() == CAPACITY) {
      ring.removeFirst();
    }
    ring.addLast(event);
    long passed = Math.max(0, event.epochMillis() - lastMillis); // the wall clock may be set back
    lastMillis = event.epochMillis();
    allowance = Math.min(BURST * MILLIS_PER_LINE, allowance + passed);
    if (allowance < MILLIS_PER_LINE) {
      suppressed++;
      return;
    }
    allowance -= MILLIS_PER_LINE;
    if (suppressed > 0) {
      print(
          new Event(
              event.epochMillis(), Level.WARN, "telemetry", suppressed + " events not printed"));
      suppressed = 0;
    }
    print(event);
  }

  @Override
  public synchronized List<Event> recent() {
    return List.copyOf(ring);
  }

  private void print(Event e) {
    out.println(
        Instant.ofEpochMilli(e.epochMillis())
            + " "
            + e.level()
            + " "
            + e.source()
            + ": "
            + e.message());
  }

  /** What a peer or a program wrote must not forge lines or steer terminals. */
  private static String clean(String text) {
    String whole = String.valueOf(text);
    String cut = whole.length() > MAX_MESSAGE ? whole.substring(0, MAX_MESSAGE) + "..." : whole;
    return cut.replaceAll("[\\p{Cc}\\p{Cf}\\u2028\\u2029]", "?");
  }
}
