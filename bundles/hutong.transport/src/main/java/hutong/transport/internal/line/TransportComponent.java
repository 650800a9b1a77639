// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.AgentConfig;
import hutong.api.ReadyProbe;
import hutong.api.channel.Segments;
import hutong.api.intercept.Reason;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import hutong.api.os.Fd;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.api.transport.LightTransport;
import hutong.api.transport.Line;
import hutong.api.transport.LineInfo;
import hutong.api.transport.LineOwner;
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
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;
import java.util.function.Supplier;
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
  private static final Duration ANSWER = Duration.ofSeconds(5);

  /** What a mapped segment is called in /proc. */
  private static final String SEGMENT = "/memfd:hutong-segment";

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
            LockSupport::parkNanos,
            new SecureRandom(),
            new Trouble() {
              @Override
              public void warn(String text) {
                log.warn("transport", text);
              }

              @Override
              public void add(String name, long n) {
                counters.counter(name).add(n);
              }
            },
            () -> link,
            new Pages(config.run().resolve("lines"), text -> log.error("transport", text)));
  }

  @Override
  public void allOwnersKnown() {
    if (loop != null) {
      loop.forgetOthers();
    }
  }

  @Override
  public boolean enabled() {
    return settings != null && settings.inter() != LightSettings.Inter.TCP;
  }

  @Override
  public int version() {
    return LineMessage.VERSION;
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
    List<Fd> own = new ArrayList<>(List.of(programBell));
    try {
      if (loop == null) {
        throw new IOException("a host's agent carries no connections");
      }
      Fd segment = segments.allocate(settings.ringSize(), settings.overSize());
      own.add(segment);
      Fd bell = events.eventfd();
      own.add(bell);
      Fd forProgram = processes.duplicate(bell);
      own.add(forProgram);
      LightLine line =
          loop.open(
              spec, held(segment, settings.ringSize(), settings.overSize(), bell, programBell));
      return new OpenLine(line, segment, forProgram);
    } catch (IOException | RuntimeException e) {
      own.forEach(Fd::close);
      throw e;
    }
  }

  private Held held(Fd segment, int ring, int over, Fd bell, Fd programBell) throws OsException {
    long inode = memory.inode(segment);
    Mapping mapping = memory.map(segment, Segments.bytes(ring, over), true);
    return new Held(mapping, inode, ring, over, bell, programBell);
  }

  @Override
  public Line resume(LineOwner owner) throws IOException {
    if (loop == null) {
      throw new IOException("a host's agent carries no connections");
    }
    Held held = demand(() -> loop.held(owner));
    if (held != null) {
      mapped(owner, held.inode(), held.ringSize(), held.overSize())
          .close(); // is it that program's?
      LightLine carried = demand(() -> loop.claim(owner));
      if (carried == null) {
        throw new IOException("the line has just ended");
      }
      return new OpenLine(carried, null, null);
    }
    return resumeLeft(owner);
  }

  /** A segment that the program has mapped: other files may have that name and inode number. */
  private Fd mapped(LineOwner owner, long inode, int ring, int over) throws IOException {
    Fd segment = memory.openMapped(owner.pid(), inode, SEGMENT);
    if (segment == null) {
      throw new IOException("process " + owner.pid() + " has no such segment");
    }
    try {
      segments.verify(segment, ring, over);
      return segment;
    } catch (IOException | RuntimeException e) {
      segment.close();
      throw e;
    }
  }

  private Line resumeLeft(LineOwner owner) throws IOException {
    Pages.Page page = loop.page(owner);
    if (page == null || page.spec().cookie() != owner.cookie()) {
      throw new IOException("nothing is known of line " + Integer.toHexString(owner.number()));
    }
    List<Fd> own = new ArrayList<>();
    try (Fd process = processes.pidfdOpen(owner.pid());
        Fd segment = mapped(owner, page.inode(), page.ringSize(), page.overSize())) {
      for (int number : new int[] {owner.peerBell(), owner.bell()}) {
        Fd bell = processes.pidfdGetfd(process, number);
        own.add(bell);
        if (!events.isEventfd(bell)) {
          throw new IOException("descriptor " + number + " of the program is no doorbell");
        }
      }
      Held held = held(segment, page.ringSize(), page.overSize(), own.get(0), own.get(1));
      return new OpenLine(loop.resume(page, held), null, null);
    } catch (IOException | RuntimeException e) {
      own.forEach(Fd::close);
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
    public Reason reason() {
      return line.reason();
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
    return ask(loop::infos);
  }

  /**
   * For an owner with many lines: one whose answer does not come must not keep it from the rest.
   */
  private <T> T demand(Supplier<T> question) throws IOException {
    try {
      return ask(question);
    } catch (IllegalStateException e) {
      if (e.getCause() instanceof TimeoutException || e.getCause() instanceof ExecutionException) {
        throw new IOException(e.getMessage(), e);
      }
      throw e; // the loop is closing, or this thread: another transport goes on with the line
    }
  }

  private <T> T ask(Supplier<T> question) {
    return loop.loop().ask("transport", ANSWER, question);
  }

  @Override
  public void onPeerMessage(PeerId from, int topic, byte[] payload) {
    if (loop != null && topic == PeerMessages.TOPIC) {
      loop.onMessage(from, payload);
    }
  }

  @Override
  public void onPeerForgotten(PeerId peer) {
    if (loop != null) {
      loop.onPeerForgotten(peer);
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
