// SPDX-License-Identifier: Apache-2.0
package hutong.telemetry.internal;

import hutong.api.AgentConfig;
import hutong.api.intercept.Reason;
import hutong.api.telemetry.Counter;
import hutong.api.telemetry.Counters;
import java.io.IOException;
import java.time.Instant;
import java.util.Map;
import org.osgi.framework.BundleContext;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;

/** {@link Counters} in {@code ${hutong.run}/counters}. */
@Component(service = Counters.class)
public final class MappedCounters implements Counters {
  private static final int CAPACITY = 512;

  private final CounterFile file;

  /** Maps the file of the run directory and makes a counter for every reason. */
  @Activate
  public MappedCounters(BundleContext context) throws IOException {
    this(new AgentConfig(context::getProperty));
  }

  MappedCounters(AgentConfig config) throws IOException {
    ProcessHandle self = ProcessHandle.current();
    long start = self.info().startInstant().orElse(Instant.EPOCH).toEpochMilli();
    file = CounterFile.open(config.run().resolve("counters"), CAPACITY, self.pid(), start);
    for (Reason reason : Reason.values()) {
      reason(reason);
    }
  }

  @Override
  public Counter counter(String name) {
    return file.counter(name);
  }

  @Override
  public Map<String, Long> snapshot() {
    return file.snapshot();
  }
}
