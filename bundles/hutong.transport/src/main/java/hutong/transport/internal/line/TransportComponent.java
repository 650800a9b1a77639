// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.AgentConfig;
import hutong.api.ReadyProbe;
import hutong.api.channel.Segments;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import hutong.api.os.Fd;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.api.transport.LightTransport;
import hutong.api.transport.Line;
import hutong.api.transport.LineInfo;
import hutong.api.transport.LineSpec;
import hutong.platform.BatchSockets;
import hutong.platform.Events;
import hutong.platform.Mapping;
import hutong.platform.Memory;
import hutong.platform.NanoClock;
import hutong.platform.OsException;
import hutong.platform.Processes;
import java.io.IOException;
import java.security.SecureRandom;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.osgi.framework.BundleContext;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Deactivate;
import org.osgi.service.component.annotations.Reference;
import org.osgi.service.component.annotations.ReferenceCardinality;
import org.osgi.service.component.annotations.ReferencePolicy;
import org.osgi.service.component.annotations.ReferencePolicyOption;

/** Offers the light protocol to the intercept (M3). In a host's agent there is nothing to do. */
@Component(
    immediate = true,
    service = {LightTransport.class, PeerLinkListener.class, ReadyProbe.class},
    property = ReadyProbe.NAME + "=transport")
public final class TransportComponent implements LightTransport, PeerLinkListener, ReadyProbe {
  private static final int ANSWER_SECONDS = 5;

  private final Segments segments;
  private final Memory memory;
  private final Events events;
  private final Processes processes;
  private final LightSettings settings;
  private final TransportLoop loop;

  @Reference(
      cardinality = ReferenceCardinality.OPTIONAL,
      policy = ReferencePolicy.DYNAMIC,
      policyOption = ReferencePolicyOption.GREEDY)
  private volatile PeerLink link;

  /** Reads the configuration and starts the loop. */
  @Activate
  public TransportComponent(
      BundleContext context,
      @Reference Segments segments,
      @Reference Memory memory,
      @Reference Events events,
      @Reference Processes processes,
      @Reference BatchSockets sockets,
      @Reference Counters counters,
      @Reference EventLog log)
      throws OsException {
    AgentConfig config = new AgentConfig(context::getProperty);
    this.segments = segments;
    this.memory = memory;
    this.events = events;
    this.processes = processes;
    if (config.role() == AgentConfig.Role.HOST) {
      settings = null;
      loop = null;
      return;
    }
    settings = LightSettings.of(config);
    loop =
        new TransportLoop(
            settings,
            events,
            sockets,
            NanoClock.SYSTEM,
            new SecureRandom(),
            new TransportLoop.Trouble() {
              @Override
              public void warn(String text) {
                log.warn("transport", text);
              }

              @Override
              public void count(String name) {
                counters.counter(name).increment();
              }
            },
            () -> link);
  }

  @Override
  public boolean enabled() {
    return settings != null && settings.inter() != LightSettings.Inter.TCP;
  }

  @Override
  public int ringSize() {
    return settings.ringSize();
  }

  @Override
  public int overSize() {
    return settings.overSize();
  }

  @Override
  public Line open(LineSpec spec, Fd programBell) throws IOException {
    Fd segment = null;
    Fd bell = null;
    Mapping mapping = null;
    try {
      if (loop == null) {
        throw new IOException("a host's agent carries no connections");
      }
      segment = segments.allocate(settings.ringSize(), settings.overSize());
      mapping = memory.map(segment, Segments.bytes(settings.ringSize(), settings.overSize()), true);
      bell = events.eventfd();
      Fd forProgram = processes.duplicate(bell);
      LightLine line = loop.open(spec, mapping, bell, programBell);
      return new OpenLine(line, segment, forProgram);
    } catch (IOException | RuntimeException e) {
      if (mapping != null) {
        mapping.close();
      }
      for (Fd fd : new Fd[] {segment, bell, programBell}) {
        if (fd != null) {
          fd.close();
        }
      }
      throw e;
    }
  }

  /** A line, as its owner sees it. */
  private final class OpenLine implements Line {
    private final LightLine line;
    private final Fd segment;
    private final Fd bell;

    OpenLine(LightLine line, Fd segment, Fd bell) {
      this.line = line;
      this.segment = segment;
      this.bell = bell;
    }

    @Override
    public Fd segment() {
      return segment;
    }

    @Override
    public Fd bell() {
      return bell;
    }

    @Override
    public void programGone() {
      loop.programGone(line);
    }
  }

  @Override
  public List<LineInfo> lines() {
    if (loop == null) {
      return List.of();
    }
    CompletableFuture<List<LineInfo>> answer = new CompletableFuture<>();
    try {
      loop.loop().execute(() -> answer.complete(loop.infos()));
      return answer.get(ANSWER_SECONDS, TimeUnit.SECONDS);
    } catch (RejectedExecutionException | ExecutionException | TimeoutException e) {
      throw new IllegalStateException("the transport does not answer", e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
  }

  @Override
  public void onPeerMessage(PeerId from, int topic, byte[] payload) {
    if (loop != null && topic == TransportLoop.TOPIC) {
      loop.onMessage(from, payload);
    }
  }

  @Override
  public void onPeerLinkUp(PeerId peer) {
    if (loop != null) {
      loop.onLinkUp(peer);
    }
  }

  @Override
  public void onPeerLinkDown(PeerId peer) {
    // what was under way is said again when it is up
  }

  /** Ends thread and sockets. */
  @Deactivate
  void deactivate() {
    if (loop != null) {
      loop.close();
    }
  }
}
