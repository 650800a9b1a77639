// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.line;

import hutong.api.link.PeerId;
import hutong.api.link.PeerLink;
import hutong.api.os.Fd;
import hutong.api.transport.LineInfo;
import hutong.api.transport.LineOwner;
import hutong.api.transport.LineSpec;
import hutong.platform.BatchSockets;
import hutong.platform.EventLoop;
import hutong.platform.Events;
import hutong.platform.Inbox;
import hutong.platform.NanoClock;
import hutong.platform.OsException;
import hutong.platform.Poller;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.RejectedExecutionException;
import java.util.function.LongConsumer;
import java.util.function.Supplier;
import java.util.random.RandomGenerator;

/**
 * All lines of an agent on one event loop, which blocks when nothing is to be done: bells of
 * programs, datagrams, messages of the peers' agents, and time.
 */
final class TransportLoop implements AgentWorld.Owner, AutoCloseable {
  private static final long AGAIN_NS = 50_000_000;

  /** Calls that take what has come, before others get their turn. */
  private static final int TURNS = 64;

  private static final long SETTLE_NS = 3_000_000_000L;
  private static final long SETTLE_STEP_NS = 5_000_000;

  private static final Duration SOON = Duration.ofMillis(1);

  /** A line and what it holds. */
  private static final class Entry {
    private final LightLine line;
    private final Held held;
    private boolean touched;
    private boolean spoken = true;

    Entry(LightLine line, Held held) {
      this.line = line;
      this.held = held;
    }

    void close() {
      line.close();
      held.close();
    }
  }

  private final LightSettings settings;
  private final Events events;
  private final NanoClock clock;
  private final LongConsumer pause;
  private final Trouble trouble;
  private final EventLoop loop;
  private final Map<Integer, Entry> byNumber = new HashMap<>();
  private final Map<LightLine, Entry> byLine = new HashMap<>();
  private final List<Entry> touched = new ArrayList<>();
  private final List<Entry> scanned = new ArrayList<>();
  private boolean reconsiders;
  private final Wires wires;
  private final AgentWorld world;
  private final Pages pages;
  private final PeerMessages messages;
  private final Unclaimed unclaimed;
  private final Inbox<PeerId> inbox;

  /** Numbers of lines that have a page, and are to begin. */
  private final Set<Integer> opening = ConcurrentHashMap.newKeySet();

  private EventLoop.Scheduled timer;
  private long timerAt = Long.MAX_VALUE;

  TransportLoop(
      LightSettings settings,
      Events events,
      BatchSockets sockets,
      NanoClock clock,
      LongConsumer pause,
      RandomGenerator random,
      Trouble trouble,
      Supplier<PeerLink> link,
      Pages pages)
      throws OsException {
    this.settings = settings;
    this.events = events;
    this.clock = clock;
    this.pause = pause;
    this.trouble = trouble;
    this.pages = pages;
    this.messages = new PeerMessages(link, trouble);
    this.unclaimed = new Unclaimed(pages, messages, this::isKnown, this::hand);
    this.loop =
        new EventLoop(events, "hutong-transport", clock, e -> trouble.warn("transport: " + e));
    this.inbox = new Inbox<>(loop::execute, this::onFlood);
    // TCP's part of this work is done by the kernel, before all programs: a window of data that
    // waits for a busy processor would be less than its share of a link
    loop.execute(events::urgent);
    Runnable onMtu = () -> later(this::reconsider);
    this.wires = new Wires(loop, sockets, settings, this::onInput, this::touch, trouble, onMtu);
    this.world = new AgentWorld(this, settings, clock, random, trouble, wires);
  }

  // ---------------------------------------------------------------- lines

  /** Opens a line; on any thread. All that is given becomes the loop's. */
  LightLine open(LineSpec spec, Held held) {
    LightLine line = line(spec, held);
    Entry entry = new Entry(line, held);
    // Before the program has it: an agent that is started anew must know of it.
    opening.add(spec.number());
    try {
      pages.save(line, held.inode());
      loop.execute(() -> begin(entry));
    } catch (RuntimeException | Error e) {
      opening.remove(spec.number());
      pages.remove(spec.number());
      throw e;
    }
    return line;
  }

  private boolean isKnown(int number) {
    return byNumber.containsKey(number) || opening.contains(number);
  }

  private LightLine line(LineSpec spec, Held held) {
    ByteBuffer bytes = held.memory().buffer();
    return new LightLine(
        spec, bytes, held.ringSize(), held.overSize(), () -> ring(held.programBell()), world);
  }

  /** The page of a line that an earlier agent left; on any thread. */
  Pages.Page page(LineOwner owner) {
    return pages.load(owner.number(), owner.program());
  }

  /**
   * Goes on with a line that an earlier agent left; on any thread. All that is given becomes the
   * loop's.
   */
  LightLine resume(Pages.Page page, Held held) {
    LightLine line = line(page.spec(), held);
    Entry entry = new Entry(line, held);
    loop.execute(
        () -> {
          try {
            line.restore(page.state());
          } catch (RuntimeException e) {
            trouble.count("transport.hostile");
            trouble.warn("a line cannot go on: " + e.getMessage());
            line.cut();
            entry.close();
            return;
          }
          trouble.count("transport.lines.resumed");
          begin(entry);
        });
    return line;
  }

  /** Pages that nobody has spoken for are of programs that are gone; any thread. */
  void forgetOthers() {
    later(
        () -> {
          unclaimed.settle();
          for (Entry entry : List.copyOf(byLine.values())) {
            if (!entry.spoken) {
              step(entry, entry.line::onProgramGone); // nobody speaks for it any more
            }
            entry.spoken = false;
          }
          reconsider();
        });
  }

  private Entry carried(LineOwner owner) {
    Entry entry = byNumber.get(owner.number());
    return entry == null || entry.line.spec().cookie() != owner.cookie() ? null : entry;
  }

  /** What that line holds; null if it is not carried. On the loop's thread. */
  Held held(LineOwner owner) {
    Entry entry = carried(owner);
    return entry == null ? null : entry.held;
  }

  /** The line of that number if it is carried, with a new owner; on the loop. */
  LightLine claim(LineOwner owner) {
    Entry entry = carried(owner);
    if (entry == null) {
      return null;
    }
    LineSpec spec = entry.line.spec();
    entry.line.spec(
        new LineSpec(
            spec.peer(),
            spec.number(),
            spec.peerNumber(),
            spec.peerMac(),
            spec.localAddress(),
            spec.peerAddress(),
            spec.cookie(),
            owner.program()));
    entry.line.onOwner();
    entry.spoken = true;
    return entry.line;
  }

  private void begin(Entry entry) {
    Entry old = byNumber.get(entry.line.spec().number());
    if (old != null) {
      remove(old);
    }
    byNumber.put(entry.line.spec().number(), entry);
    byLine.put(entry.line, entry);
    opening.remove(entry.line.spec().number());
    pages.save(entry.line, entry.held.inode());
    try {
      loop.add(entry.held.bell(), Poller.IN | Poller.EDGE, bits -> onBell(entry));
    } catch (OsException e) {
      trouble.warn("a line cannot be watched: " + e.getMessage());
      remove(entry);
      return;
    }
    messages.want(entry.line.spec().peer());
    step(
        entry,
        () -> {
          entry.line.onBell();
          if (settings.inter() == LightSettings.Inter.TCP || !wires.wants(entry.line.wire())) {
            entry.line.leaveWire(); // a line of before, that is not wanted any more
          }
        });
    flush();
  }

  private void onBell(Entry entry) {
    if (timerAt - now() <= 0) {
      receive(); // as in onTimer
    }
    step(entry, entry.line::onBell);
    flush();
  }

  /** The program's end is gone; any thread. */
  void programGone(LightLine line) {
    later(
        () -> {
          Entry entry = byLine.get(line);
          if (entry != null) {
            step(entry, line::onProgramGone);
            flush();
          }
        });
  }

  /** Does something with a line, and then all that follows from it; the caller flushes. */
  private void step(Entry entry, Runnable what) {
    if (byLine.get(entry.line) != entry) {
      return; // it was closed meanwhile
    }
    try {
      what.run();
      saveIfDue(entry); // before anything goes out that depends on it
      long now = now();
      entry.line.produce(now);
      saveIfDue(entry);
      tell(entry);
      now = now();
      if (entry.line.finished(now)) {
        remove(entry);
      } else {
        wakeAt(entry.line.deadline(now), now);
      }
    } catch (RejectedExecutionException e) {
      // The loop is being closed: whoever comes after it goes on with the line.
    } catch (RuntimeException | Error e) { // Hostile, or what should not be: this line alone ends
      try {
        entry.line.cut();
      } finally {
        remove(entry);
      }
      trouble.count("transport.hostile");
      trouble.warn("line " + Integer.toHexString(entry.line.spec().number()) + " is cut: " + e);
    }
  }

  private void saveIfDue(Entry entry) {
    if (entry.line.pageDue()) {
      pages.save(entry.line, entry.held.inode());
    }
  }

  private void tell(Entry entry) {
    LineMessage message = entry.line.message();
    if (message == null) {
      return;
    }
    PeerMessages.Told told = messages.tell(entry.line.spec().peer(), message);
    if (told != PeerMessages.Told.YES) {
      entry.line.onLink(); // said again when the link is there, or has room
    }
    if (told == PeerMessages.Told.LATER && message.fresh()) {
      entry.line.onMissed();
    }
    if (told != PeerMessages.Told.NOBODY && entry.line.hasNews()) {
      wakeAt(now() + AGAIN_NS, now());
    } else if (told == PeerMessages.Told.NOBODY) {
      entry.line.silent();
    }
  }

  private void remove(Entry entry) {
    drop(entry);
    pages.remove(entry.line.spec().number());
  }

  private void drop(Entry entry) {
    byLine.remove(entry.line);
    byNumber.remove(entry.line.spec().number(), entry);
    loop.remove(entry.held.bell());
    entry.close();
  }

  private void ring(Fd bell) {
    try {
      events.ring(bell);
    } catch (OsException e) {
      trouble.count("transport.bell");
    }
  }

  // ---------------------------------------------------------------- the peers' agents

  /** A message came; any thread. */
  void onMessage(PeerId from, byte[] payload) {
    inbox.put(from, payload.length, () -> take(from, payload));
  }

  private void take(PeerId from, byte[] payload) {
    LineMessage message = messages.read(from, payload);
    if (message != null) {
      hand(from, message);
    }
  }

  private void hand(PeerId from, LineMessage message) {
    Entry entry = byNumber.get(message.peerNumber());
    if (entry == null
        || !entry.line.spec().peer().equals(from)
        || entry.line.spec().peerNumber() != message.number()) {
      trouble.count("transport.message.unknown");
      unclaimed.onUnknown(from, message);
      return;
    }
    step(entry, () -> entry.line.onMessage(message));
    flush();
  }

  /** The link to a peer's agent is there; any thread. */
  void onLinkUp(PeerId peer) {
    later(() -> speakAgain(peer));
  }

  private void onFlood(PeerId peer) {
    trouble.count("transport.message.floods");
    for (Entry entry : byLine.values()) {
      if (entry.line.spec().peer().equals(peer)) {
        entry.line.onMissed();
      }
    }
    speakAgain(peer);
  }

  /** Says again what was under way: it may have been lost. */
  private void speakAgain(PeerId peer) {
    unclaimed.bury();
    for (Entry entry : List.copyOf(byLine.values())) {
      if (entry.line.spec().peer().equals(peer)) {
        step(entry, entry.line::onLink);
      }
    }
    flush();
  }

  /** A peer has been away for long; any thread. */
  void onPeerForgotten(PeerId peer) {
    later(
        () -> {
          if (byLine.keySet().stream().anyMatch(line -> line.spec().peer().equals(peer))) {
            messages.want(peer); // it may come back, and its programs with it
            return;
          }
          world.forget(peer);
          messages.forget(peer);
          unclaimed.forget(peer);
        });
  }

  private void later(Runnable task) {
    try {
      loop.execute(task);
    } catch (RejectedExecutionException e) {
      // closing
    }
  }

  // ---------------------------------------------------------------- time

  private void wakeAt(long due, long now) {
    if (due == Long.MAX_VALUE || timerAt != Long.MAX_VALUE && timerAt - due <= 0) {
      return;
    }
    if (timer != null) {
      timer.cancel();
    }
    timerAt = Long.MAX_VALUE;
    Duration delay = Duration.ofNanos(Math.max(0, due - now));
    timer = loop.schedule(delay.isZero() ? SOON : delay, this::onTimer);
    timerAt = due; // only now that there is one
  }

  /** When a line has something to do; at once if it cannot even say so. */
  private static long dueOf(Entry entry, long now) {
    try {
      return entry.line.deadline(now);
    } catch (RuntimeException | Error e) {
      return now;
    }
  }

  private void onTimer() {
    timer = null;
    timerAt = Long.MAX_VALUE;
    boolean done = false;
    try {
      receive(); // what has come while this thread had no processor is no silence
      lookAtAll(now());
      flush();
      done = true;
    } finally {
      if (!done) {
        wakeAt(now() + AGAIN_NS, now()); // without memory, say: who waits for his time waits still
      }
    }
  }

  private void lookAtAll(long now) {
    scanned.clear();
    scanned.addAll(byLine.values()); // a step may close lines
    for (int i = 0; i < scanned.size(); i++) {
      Entry entry = scanned.get(i);
      long due = dueOf(entry, now);
      if (due - now <= 0 || entry.line.hasNews()) {
        step(entry, () -> entry.line.onTime(now));
      } else {
        wakeAt(due, now);
      }
    }
    scanned.clear();
  }

  // ---------------------------------------------------------------- wires

  private void onInput(WirePort port) {
    long pauseNs = port.pauseNs(now());
    if (pauseNs != 0) {
      pause.accept(pauseNs);
    }
    for (int i = 0; i < TURNS && port.receive(now()); i++) {
      stepTouched();
      flush();
    }
    port.report();
  }

  private void receive() {
    for (int i = 0; i < TURNS && wires.receive(now()); i++) {
      stepTouched();
      flush();
    }
  }

  private void stepTouched() {
    for (int i = 0; i < touched.size(); i++) {
      Entry entry = touched.get(i);
      entry.touched = false;
      step(entry, () -> {});
    }
    touched.clear();
  }

  private void touch(LightLine line) {
    Entry entry = byLine.get(line);
    if (entry != null && !entry.touched) {
      entry.touched = true;
      touched.add(entry);
    }
  }

  private void flush() {
    wires.flush();
  }

  // ---------------------------------------------------------------- what lines are told of

  private long now() {
    return clock.nanoTime();
  }

  @Override
  public boolean ownersKnown() {
    return unclaimed.ownersKnown();
  }

  @Override
  public void save(LightLine line) {
    Entry entry = byLine.get(line);
    if (entry != null) {
      pages.save(entry.line, entry.held.inode());
    }
  }

  @Override
  public void wireFailed() {
    reconsiderLater();
  }

  /** Each line of a wire that fails says so in its own time, and puts the next try off. */
  private void reconsiderLater() {
    long retryAt = wires.retryAt(now());
    if (!reconsiders && retryAt != Long.MAX_VALUE) {
      reconsiders = true;
      loop.schedule(Duration.ofNanos(retryAt - now() + AGAIN_NS), this::retry);
    }
  }

  private void retry() {
    reconsiders = false;
    reconsiderLater();
    reconsider();
  }

  private void reconsider() {
    for (Entry entry : List.copyOf(byLine.values())) {
      step(entry, entry.line::reconsider);
    }
    flush();
  }

  // ---------------------------------------------------------------- display and end

  /** All lines, sorted by number; on the loop. */
  List<LineInfo> infos() {
    List<LineInfo> out = new ArrayList<>();
    for (LightLine line : byLine.keySet()) {
      try {
        out.add(line.info());
      } catch (Hostile e) {
        trouble.count("transport.hostile"); // its own next step ends it
      }
    }
    out.sort(Comparator.comparingInt(LineInfo::number));
    return out;
  }

  EventLoop loop() {
    return loop;
  }

  /**
   * Bytes of programs that are gone have no other place: an orderly end waits for them, as long as
   * their readers may take.
   */
  private void settle() {
    long until = now() + SETTLE_NS;
    while (now() - until < 0 && isLeft(until - now())) {
      pause.accept(SETTLE_STEP_NS);
    }
  }

  private boolean isLeft(long forNs) {
    try {
      return loop.ask(
          "transport",
          Duration.ofNanos(forNs),
          () -> byLine.keySet().stream().anyMatch(LightLine::left));
    } catch (IllegalStateException e) {
      return false;
    }
  }

  /** Ends the thread; what stands between programs stays in their segments. */
  @Override
  public void close() {
    settle();
    loop.close();
    List.copyOf(byLine.values()).forEach(this::drop); // their pages stay, for the next one
    wires.close();
  }
}
