// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.ChannelProvider;
import hutong.api.channel.ChannelTable;
import hutong.api.discovery.HostNotice;
import hutong.api.discovery.Member;
import hutong.api.discovery.MembershipSnapshot;
import hutong.api.intercept.Reason;
import hutong.api.link.AgentLink;
import hutong.api.link.AgentLinkListener;
import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.link.PeerLinkListener;
import hutong.api.os.Fd;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.api.transport.Holding;
import hutong.api.transport.LightTransport;
import hutong.platform.EventLoop;
import hutong.platform.Events;
import hutong.platform.Inbox;
import hutong.platform.Memory;
import hutong.platform.OsException;
import hutong.platform.PeerCred;
import hutong.platform.Poller;
import hutong.platform.Processes;
import hutong.platform.Sockets;
import java.io.IOException;
import java.nio.file.Path;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.Supplier;

/**
 * The agent's end of all programs' control connections: one event loop, which blocks when nothing
 * happens. The listener methods may be called by any thread; the rest belongs to the loop.
 */
final class Intercept implements AgentLinkListener, PeerLinkListener, AutoCloseable {
  private static final int MAX_SESSIONS = 8192;
  private static final Duration SWEEP_EVERY = Duration.ofSeconds(5);
  private static final Duration ANSWER = Duration.ofSeconds(5);

  /** The operating system and the services that this bundle needs. */
  record Services(
      Sockets sockets,
      Processes processes,
      Events events,
      Memory memory,
      ChannelTable table,
      ChannelProvider provider,
      Counters counters,
      EventLog log) {}

  /**
   * What is configured.
   *
   * @param address abstract Unix address to listen at
   * @param domid this VM's domain id
   * @param programs what programs are told
   * @param policy which connections may leave TCP
   */
  record Config(String address, int domid, MemberTable.Settings programs, LivePolicy policy) {}

  private final Services services;
  private final Config config;
  private final EventLoop loop;
  private final MatchWorld.Meter meter;
  private final Matcher matcher;
  private final FarMatcher far;
  private final Payer payer;
  private final MemberTable table;
  private final ProgramListener programs;
  private final Survivors survivors;
  private final RouteCheck routes;
  private final ProcFs proc = new ProcFs(Path.of("/proc"));
  private final Verdicts verdicts = new Verdicts();
  private final Set<ShimSession> sessions = new HashSet<>();
  private boolean sweeping;

  private final Inbox<Integer> neighbourInbox;
  private final Inbox<PeerId> farInbox;
  private final Map<Integer, Integer> sessionsByUser = new HashMap<>();
  private volatile AgentLink link;
  private volatile PeerLink peerLink;
  private volatile LightTransport transport;
  private volatile MemberView members = MemberView.EMPTY;
  private final Detaching detaching;
  private boolean scanned;

  private Inspector inspector;

  /**
   * Starts the loop; {@link #start} opens it to programs.
   *
   * @throws IOException when there is no memory or no descriptor
   */
  Intercept(Services services, Config config, RouteCheck routes) throws IOException {
    this.services = services;
    this.config = config;
    this.routes = routes;
    this.meter = new CountersMeter(services.counters);
    this.table = new MemberTable(services.memory, config.programs);
    table.enable(enabled());
    try {
      this.loop = new EventLoop(services.events, "hutong-intercept", e -> failed("loop", e));
    } catch (IOException e) {
      table.close();
      throw e;
    }
    this.programs =
        new ProgramListener(loop, services.sockets, config.address, this::open, services.log);
    this.survivors = new Survivors(services, this);
    this.detaching = new Detaching(loop, sessions, survivors);
    this.matcher =
        new Matcher(
            config.domid,
            new MatchWorld(
                services.table,
                services.provider,
                this::sendToPeer,
                new LoopTimers(loop),
                this::isDoorbell,
                meter,
                new SecureRandom()::nextLong));
    this.neighbourInbox = new Inbox<>(loop::execute, this::greetAgain);
    this.far = new FarMatcher(new FarWorld());
    this.farInbox = new Inbox<>(loop::execute, this::greetAgain);
    int life = new SecureRandom().nextInt();
    this.payer = new Payer(services.processes, services.sockets, life);
  }

  /** What has become of a program's socket; for any thread. */
  Holding holding(AddressPair pair, long cookie) {
    try {
      return SockDiag.holding(pair, cookie);
    } catch (IOException e) {
      failed("state of a connection", e);
      return Holding.OPEN; // it is asked again
    }
  }

  /** What the matching of connections between hosts works with. */
  private final class FarWorld implements FarMatcher.World {
    private final LoopTimers timers = new LoopTimers(loop);

    @Override
    public ChannelTable table() {
      return services.table;
    }

    @Override
    public LightTransport transport() {
      return transport;
    }

    @Override
    public PeerLink link() {
      return peerLink;
    }

    @Override
    public long mac(PeerId peer) {
      return members.mac(peer);
    }

    @Override
    public Fd duplicate(Fd doorbell) throws IOException {
      return services.processes.duplicate(doorbell);
    }

    @Override
    public Holding holding(AddressPair pair, long cookie) {
      return Intercept.this.holding(pair, cookie);
    }

    @Override
    public long nowMs() {
      return timers.nowMs();
    }

    @Override
    public MatchWorld.Meter meter() {
      return meter;
    }
  }

  /**
   * Looks for what an earlier agent left, then listens.
   *
   * @param whenListening run once programs can connect
   */
  void start(Runnable whenListening) {
    loop.execute(
        () -> {
          survivors.scan();
          scanned = true;
          survivors.apply(config.policy.now());
          detaching.scanned();
          resumeLines();
          programs.open(
              socket -> {
                survivors.unlock(); // the name is ours, so no other agent lives here
                inspector = new Inspector(services.sockets, services.processes, routes, socket);
              },
              whenListening);
        });
  }

  private void open(Fd socket) {
    ShimSession session = null;
    Fd process = null;
    try {
      PeerCred cred = services.sockets.peerCred(socket);
      int ofUser = sessionsByUser.getOrDefault(cred.uid(), 0);
      if (sessions.size() >= MAX_SESSIONS || ofUser >= MAX_SESSIONS / 2) {
        meter.count("intercept.sessions.refused");
        return;
      }
      process = services.processes.pidfdOpen(cred.pid());
      session = new ShimSession(this, socket, cred, process);
      loop.add(socket, Poller.IN, session::ready);
      sessions.add(session);
      sessionsByUser.merge(cred.uid(), 1, Integer::sum);
      meter.count("intercept.sessions");
    } catch (IOException e) {
      failed(
          "connection of a program", e); // it ended already, or lives in another process namespace
      session = null;
    } finally {
      if (session == null) {
        socket.close();
        if (process != null) {
          process.close();
        }
      }
    }
  }

  // ---------------------------------------------------------------- for sessions

  Sockets sockets() {
    return services.sockets;
  }

  Memory memory() {
    return services.memory;
  }

  EventLoop loop() {
    return loop;
  }

  Matcher matcher() {
    return matcher;
  }

  /** Sends what programs owe. */
  Payer payer() {
    return payer;
  }

  /** What carries connections between hosts, or null. */
  LightTransport transport() {
    return transport;
  }

  FarMatcher far() {
    return far;
  }

  void unregister(Registration registration) {
    if (registration.far == null) {
      matcher.unregister(registration);
    } else {
      far.unregister(registration);
    }
  }

  void refuse(Registration registration, Reason reason) {
    if (registration.far == null) {
      matcher.refuse(registration, reason);
    } else {
      far.refuse(registration, reason);
    }
  }

  MatchWorld.Meter meter() {
    return meter;
  }

  /** The domain that this VM is, by its configuration. */
  int domid() {
    return config.domid;
  }

  /** The domain as which it shares memory; 0 where that is no matter of domains. */
  int sharesAs() {
    return services.provider.passesDescriptors() ? 0 : config.domid;
  }

  Verdicts verdicts() {
    return verdicts;
  }

  Inspector inspector() {
    return inspector;
  }

  /** Who is who now; for any thread. */
  MemberView members() {
    return members;
  }

  Fd memberTable() {
    return table.readOnly();
  }

  boolean enabled() {
    return config.policy.now().enabled();
  }

  /** Whether the policy keeps a program's connection on TCP. */
  boolean forbids(PeerCred program, AddressPair pair) {
    return forbids(program.pid(), program.uid(), pair);
  }

  boolean forbids(int pid, int uid, AddressPair pair) {
    return config.policy.decide(Subject.of(() -> proc.names(pid), uid, pair)).denied();
  }

  /** Whether the policy of the channels' provider keeps a program from having any on this host. */
  boolean lacksPrivilege(PeerCred program) {
    return services.provider.rootOnly() && program.uid() != 0;
  }

  boolean isDoorbell(Fd fd) {
    try {
      return services.events.isEventfd(fd);
    } catch (OsException e) {
      return false;
    }
  }

  void ring(Fd doorbell) {
    try {
      services.events.ring(doorbell);
    } catch (OsException e) {
      failed("doorbell", e);
    }
  }

  /** Runs a task after what the loop is doing now. */
  void later(Runnable task) {
    try {
      loop.execute(task);
    } catch (RejectedExecutionException e) {
      // closing: all sessions are ended anyway
    }
  }

  void ended(ShimSession session) {
    if (sessions.remove(session)) {
      sessionsByUser.computeIfPresent(session.cred().uid(), (uid, n) -> n > 1 ? n - 1 : null);
    }
  }

  /** Something is registered: looks, as long as that is so, for what programs have not told. */
  void registered() {
    if (!sweeping) {
      sweeping = true;
      loop.schedule(SWEEP_EVERY, this::sweep);
    }
  }

  void sweep() {
    sweeping = false;
    sessions.forEach(ShimSession::sweep);
    if (sessions.stream().anyMatch(session -> !session.refs().isEmpty())) {
      registered();
    }
  }

  void hostile(PeerCred cred, String what) {
    meter.count("intercept.hostile");
    services.log.warn(
        "intercept", "program " + cred.pid() + " of user " + cred.uid() + " is cut off: " + what);
  }

  void storm(PeerCred cred, AddressPair pair) {
    services.log.warn(
        "intercept",
        "the peer of program "
            + cred.pid()
            + ", "
            + pair.remoteText()
            + ", rings without end: its connection stays on TCP");
  }

  void failed(String what, Throwable e) {
    services.log.warn("intercept", what + ": " + e);
  }

  // ---------------------------------------------------------------- policy

  /**
   * The policy, or the switch, has changed: tells the programs. Any thread; returns when it is
   * done.
   *
   * @param ring whether all programs must look again
   */
  ShimSession.Told policyChanged(boolean ring) {
    return ask(
        () -> {
          table.enable(enabled());
          ShimSession.Told told = survivors.apply(config.policy.now());
          for (ShimSession session : List.copyOf(sessions)) {
            told = told.plus(session.policyChanged(ring));
          }
          return told;
        });
  }

  /**
   * Asks something that only the loop may answer, from another thread.
   *
   * @throws IllegalStateException when there is no answer
   */
  <T> T ask(Supplier<T> question) {
    return loop.ask("intercept", ANSWER, question);
  }

  // ---------------------------------------------------------------- members and peers

  /** The members changed; any thread. */
  void membershipChanged(MembershipSnapshot snapshot) {
    MemberView view = MemberView.of(snapshot);
    later(
        () -> {
          members = view;
          matcher.mac(view.selfMac());
          table.write(view);
          for (Registration registration : List.copyOf(matcher.registrations())) {
            Member peer = view.get(registration.pair.remote());
            if (peer != null && peer.coResident() && !peer.self()) {
              matcher.moved(registration, peer.domid());
            }
          }
        });
  }

  /** Domain 0 says something new about the host; any thread. */
  void hostChanged(HostNotice notice) {
    later(
        () -> {
          if (!notice.domains().isEmpty()) {
            matcher.alive(notice.domains());
            survivors.alive(notice.domains());
          }
          detaching.asked(notice.detach());
        });
  }

  /** Whether this VM may share memory with others, and whom to tell of it. */
  Detaching detaching() {
    return detaching;
  }

  /** Sends over a link from now on; any thread. Its peers are announced by itself. */
  void link(AgentLink newLink) {
    link = newLink;
  }

  /** A link is gone; any thread. */
  void unlink(AgentLink oldLink) {
    if (link == oldLink) {
      link = null;
      later(matcher::allDown);
    }
  }

  /** The way to the agents of other hosts, or null; any thread. */
  void peerLink(PeerLink newLink) {
    peerLink = newLink;
  }

  /** What carries connections between hosts, or null; any thread. */
  void transport(LightTransport newTransport) {
    transport = newTransport;
    boolean on = newTransport != null && newTransport.enabled();
    later(
        () -> {
          table.remote(on);
          resumeLines();
        });
  }

  /** What stands between hosts goes on with the transport that there is now. */
  private void resumeLines() {
    LightTransport now = transport;
    if (now != null && scanned) {
      far.transportIs(now);
      survivors.transportIs(now);
      now.allOwnersKnown();
    }
  }

  @Override
  public void onPeerMessage(PeerId from, int topic, byte[] payload) {
    if (topic == FarMatcher.TOPIC) {
      farInbox.put(from, payload.length, () -> far.message(from, payload));
    }
  }

  @Override
  public void onPeerLinkUp(PeerId peer) {
    later(() -> far.linkUp(peer));
  }

  @Override
  public void onPeerForgotten(PeerId peer) {
    later(() -> far.forgotten(peer));
  }

  @Override
  public void onPeerLinkDown(PeerId peer) {
    // nothing is stored that it was told
  }

  private void sendToPeer(int domid, byte[] payload, List<Fd> fds) throws IOException {
    AgentLink now = link;
    if (now == null) {
      throw new IOException("there is no agent link");
    }
    now.send(domid, payload, fds);
  }

  @Override
  public void onMessage(int fromDomid, byte[] payload, List<Fd> fds) {
    Runnable taken = () -> matcher.message(fromDomid, payload, fds);
    if (!neighbourInbox.put(fromDomid, payload.length, taken)) {
      fds.forEach(Fd::close);
    }
  }

  private void greetAgain(PeerId peer) {
    meter.count("intercept.peer.floods");
    far.linkUp(peer);
  }

  private void greetAgain(int domid) {
    meter.count("intercept.peer.floods");
    matcher.peerDown(domid);
    matcher.peerUp(domid);
  }

  @Override
  public void onPeerUp(int domid) {
    later(() -> matcher.peerUp(domid));
  }

  @Override
  public void onPeerDown(int domid) {
    later(() -> matcher.peerDown(domid));
  }

  @Override
  public void onUndelivered(int domid, byte[] payload) {
    later(() -> matcher.undelivered(domid, payload));
  }

  // ---------------------------------------------------------------- the list

  /** The pools now; on the loop. */
  List<PoolView> pools() {
    List<PoolView> out = new ArrayList<>();
    for (ShimSession session : sessions) {
      if (session.pool() != null) {
        Map<Integer, PoolView.Registered> registered = new HashMap<>();
        session
            .registrations()
            .forEach(
                (slot, r) ->
                    registered.put(slot, new PoolView.Registered(r.pair, r.cookie, reason(r))));
        out.add(
            new PoolView(session.cred().pid(), session.cred().uid(), session.pool(), registered));
      }
    }
    out.addAll(survivors.pools());
    return out;
  }

  private Reason reason(Registration registration) {
    if (!enabled()) {
      return Reason.OFF;
    }
    return registration.far == null ? matcher.reason(registration) : far.reason(registration);
  }

  /** Whether the way to the other agents is there; any thread. */
  boolean linked() {
    AgentLink now = link;
    return now != null && now.connected();
  }

  /** Whether programs can connect; any thread. */
  boolean listening() {
    return programs.listening();
  }

  // ---------------------------------------------------------------- the end

  /** Ends all control connections; the programs' connections stay as they are. */
  @Override
  public void close() {
    loop.close();
    far.close(); // before the sessions, whose programs have not gone
    List.copyOf(sessions).forEach(ShimSession::close);
    matcher.close();
    survivors.close();
    payer.close();
    programs.close(); // the next agent may begin, and lets go of what this one has locked
    table.close();
  }
}
