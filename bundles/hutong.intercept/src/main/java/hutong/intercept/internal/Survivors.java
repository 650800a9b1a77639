// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.Channel;
import hutong.api.discovery.Member;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.api.transport.Holding;
import hutong.api.transport.LightTransport;
import hutong.api.transport.Line;
import hutong.api.transport.LineOwner;
import hutong.platform.abi.Abi;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.function.Supplier;

/**
 * Channels that programs still use after a restart of their agent. The programs do not need the
 * agent for them; this is so that the lists show them, and their numbers and memory stay charged.
 * Belongs to the intercept's loop; looks once a second, and only while there are any.
 */
final class Survivors implements AutoCloseable {
  private static final String POOL_LINK = "/memfd:hutong-ends";
  private static final Duration LOOK_EVERY = Duration.ofSeconds(1);

  private final Intercept.Services services;
  private final Intercept intercept;
  private final ProcFs proc = new ProcFs(Path.of("/proc"));
  private final Map<Long, Found> byInode = new HashMap<>();

  /**
   * The cookies of all sockets that the kernel listed at the {@link #scan}; null if it could not.
   */
  private Set<Long> listed;

  /** The domains of the host that live; empty while nobody says. */
  private Set<Integer> live = Set.of();

  /** One pool with channels in it. */
  private static final class Found {
    private final int pid;
    private final int uid;
    private final EndPool pool;
    private final Fd process;
    private final List<ProcessHandle> holders = new CopyOnWriteArrayList<>();
    private final List<Old> channels = new ArrayList<>();

    private Found(int pid, int uid, EndPool pool, Fd process) {
      this.pid = pid;
      this.uid = uid;
      this.pool = pool;
      this.process = process;
    }

    private boolean lives() {
      return holders.stream().anyMatch(ProcessHandle::isAlive);
    }

    private void close() {
      pool.close();
      process.close();
    }
  }

  /**
   * A channel of before: its slot, its socket, its entry in the table (null if its number is in use
   * again, or nobody's, or its socket another user's), whether its memory is shared with another
   * VM, and its connection if the peer is on another host.
   */
  private static final class Old {
    private final int slot;
    private final long cookie;
    private final Channel entry;
    private final boolean shared;
    private final SockDiag.Socket far;

    /**
     * Whether TCP is through with it, both ways, so that the kernel lists no socket any more, and
     * its program holds it still. What the far program has written may be on its way all the same.
     */
    private final boolean through;

    private volatile boolean over;
    private Line line;
    private boolean lost;

    /** The domain that its memory is shared with; 0 while not known. */
    private int peer;

    /** The domain that this VM was when that memory became shared; 0 while not known. */
    private final int self;

    /** Whether the member that is this domain has been found. */
    private boolean named;

    private Old(
        EndPool.Slot slot,
        int self,
        int peer,
        Channel entry,
        SockDiag.Socket far,
        boolean through) {
      this.slot = slot.index();
      this.cookie = slot.cookie();
      this.entry = entry;
      this.shared = !slot.remote();
      this.peer = shared ? peer : 0;
      this.self = shared ? self : 0;
      this.far = far;
      this.through = through;
      if (entry != null && this.peer != 0) {
        entry.peerVm(this.peer);
      }
    }

    /** Of a socket that nobody can ask the kernel for; any thread, also after this agent's end. */
    private Holding throughSocket(Found found) {
      return over || !found.lives() ? Holding.GONE : Holding.SHUT;
    }

    /** The program may live on: the next owner goes on with the line. */
    private void handOver() {
      if (line != null) {
        line.programGone();
      }
      if (entry != null) {
        entry.release();
      }
    }

    private void release() {
      over = true;
      handOver();
    }
  }

  Survivors(Intercept.Services services, Intercept intercept) {
    this.services = services;
    this.intercept = intercept;
  }

  /** Looks through the processes of this network namespace once. */
  void scan() {
    String own = proc.networkNamespace("self");
    Optional<Map<Long, SockDiag.Socket>> all = sockets();
    listed = all.map(found -> Set.copyOf(found.keySet())).orElse(null);
    Map<Long, SockDiag.Socket> sockets = all.orElseGet(HashMap::new);
    for (int pid : proc.pids()) {
      if (own == null || !own.equals(proc.networkNamespace(Integer.toString(pid)))) {
        continue;
      }
      for (ProcFs.Descriptor descriptor : proc.descriptors(pid)) {
        if (descriptor.target().startsWith(POOL_LINK)) {
          found(descriptor, sockets);
        }
      }
    }
    look();
  }

  /** The connections that there are, by cookie; empty if the kernel could not list them. */
  private Optional<Map<Long, SockDiag.Socket>> sockets() {
    try {
      Map<Long, SockDiag.Socket> out = new HashMap<>();
      SockDiag.connections().forEach(socket -> out.put(socket.cookie(), socket));
      return Optional.of(out);
    } catch (IOException e) {
      intercept.failed("list of connections", e);
      return Optional.empty();
    }
  }

  private void found(ProcFs.Descriptor descriptor, Map<Long, SockDiag.Socket> sockets) {
    long inode = proc.inode(descriptor);
    Found known = byInode.get(inode);
    if (known == null && inode > 0) {
      known = open(descriptor, sockets);
      if (known != null) {
        byInode.put(inode, known);
      }
    }
    if (known != null) {
      ProcessHandle.of(descriptor.pid()).ifPresent(known.holders::add);
    }
  }

  private Found open(ProcFs.Descriptor descriptor, Map<Long, SockDiag.Socket> sockets) {
    int pid = descriptor.pid();
    Fd process = null;
    try {
      process = services.processes().pidfdOpen(pid);
      Found found = new Found(pid, proc.uid(pid), openPool(process, descriptor.fd()), process);
      process = null;
      int used = found.pool.used();
      for (int i = 0; i < used; i++) {
        EndPool.Slot slot = found.pool.slot(i);
        if (slot.state() == Abi.END_CHANNEL) {
          // A program may have changed its user since: what it has mapped says whose line it is.
          SockDiag.Socket far = slot.remote() ? sockets.get(slot.cookie()) : null;
          SockDiag.Socket socket = owned(found, slot, sockets);
          Channel entry = socket != null ? adopt(found, slot) : null;
          boolean through = slot.remote() && listed != null && !listed.contains(slot.cookie());
          EndPool pool = found.pool;
          found.channels.add(
              new Old(slot, pool.sharedAs(i), pool.sharedWith(i), entry, far, through));
        }
      }
      return found;
    } catch (IOException e) {
      return null; // gone, or it only has that name
    } finally {
      if (process != null) {
        process.close();
      }
    }
  }

  private EndPool openPool(Fd process, int fd) throws IOException {
    try (Fd copy = services.processes().pidfdGetfd(process, fd)) {
      return EndPool.open(services.memory(), copy, true);
    }
  }

  /** Lets go of what an agent that died over it has locked. Only for the agent in charge. */
  void unlock() {
    byInode.values().forEach(found -> found.pool.unlock(intercept.payer()));
  }

  /**
   * A pool can say what it wants: one number for each connection that there is, and for no other
   * user's, or a program could take all of them.
   */
  private static SockDiag.Socket owned(
      Found found, EndPool.Slot slot, Map<Long, SockDiag.Socket> sockets) {
    SockDiag.Socket socket = sockets.get(slot.cookie());
    if (socket == null || (found.uid != 0 && found.uid != socket.uid())) {
      return null;
    }
    sockets.remove(slot.cookie());
    return socket;
  }

  private Channel adopt(Found found, EndPool.Slot slot) {
    LightTransport far = slot.remote() ? intercept.transport() : null;
    int ring = far != null ? far.ringSize() : services.provider().ringSize();
    int over = far != null ? far.overSize() : services.provider().overSize();
    Channel channel = services.table().adopt(slot.channel(), found.uid, ring, over).orElse(null);
    if (channel != null) {
      channel.use(new SlotUse(found.pool, slot.index(), found.pid));
      intercept.meter().count("intercept.channels.survived");
    }
    return channel;
  }

  /**
   * Ends the channels that the switch or the policy forbids. These programs do not see this agent's
   * switch, and their doorbells are not known: they go back to TCP at their next call or wake-up,
   * and for good.
   */
  ShimSession.Told apply(LivePolicy.State now) {
    ShimSession.Told told = new ShimSession.Told(0, 0);
    if (byInode.isEmpty() || (now.enabled() && now.policy().isEmpty())) {
      return told;
    }
    Map<Long, SockDiag.Socket> sockets = sockets().orElse(Map.of());
    for (Found found : byInode.values()) {
      for (Old old : found.channels) {
        if (old.through) {
          continue; // TCP could not take over what is left
        }
        SockDiag.Socket socket = sockets.get(old.cookie);
        // Of a connection that cannot be told the worst is believed.
        boolean forbidden =
            socket == null || intercept.forbids(found.pid, found.uid, socket.pair());
        if (!now.enabled() || forbidden) {
          found.pool.stop(old.slot, old.cookie, now.enabled() ? Reason.POLICY : Reason.OFF);
          told = told.plus(new ShimSession.Told(1, 1));
        }
      }
    }
    return told;
  }

  /** Connections between hosts go on with this transport. */
  void transportIs(LightTransport transport) {
    for (Found found : byInode.values()) {
      for (Old old : found.channels) {
        if (old.far != null || old.through) {
          resume(transport, found, old);
        }
      }
    }
  }

  /** The program says who uses the end; it is believed only if that process holds the pool. */
  private static int holder(Found found, ProgramEnd end) {
    int said = end.pid();
    return found.holders.stream().anyMatch(h -> h.pid() == said) ? said : found.pid;
  }

  private void resume(LightTransport transport, Found found, Old old) {
    ProgramEnd end = found.pool.end(old.slot, intercept.payer(), found.process, found.pid);
    Supplier<Holding> socket =
        old.through
            ? () -> old.throughSocket(found)
            : () -> intercept.holding(old.far.pair(), old.cookie);
    try {
      old.line =
          transport.resume(
              new LineOwner(
                  found.pool.slot(old.slot).channel(),
                  old.cookie,
                  holder(found, end),
                  end.bell(),
                  end.peerBell(),
                  new FarProgram(old.cookie, socket, end)));
    } catch (IOException e) {
      if (old.through) {
        return; // most likely all has arrived, and the line is no more (known-limits 29)
      }
      intercept.meter().count("intercept.far.lost");
      intercept.failed("a connection between hosts is lost", e);
      stop(found, old, Reason.POISONED);
    }
  }

  /**
   * Has a program take a connection back to TCP for good, or reset it, and wakes it up for that.
   */
  private void stop(Found found, Old old, Reason reason) {
    found.pool.stop(old.slot, old.cookie, reason);
    ProgramEnd end = found.pool.end(old.slot, intercept.payer(), found.process, found.pid);
    try (Fd process = services.processes().pidfdOpen(holder(found, end));
        Fd bell = services.processes().pidfdGetfd(process, end.bell())) {
      if (services.events().isEventfd(bell)) {
        intercept.ring(bell);
      }
    } catch (IOException gone) {
      intercept.failed("the program of a connection of before", gone);
    }
  }

  /** This VM is to be saved or moved: see {@link ShimSession#detach}. */
  void detach() {
    for (Found found : byInode.values()) {
      found.channels.forEach(old -> stop(found, old, Reason.OFF));
    }
  }

  /** Whether a program still has memory that is shared with another VM. */
  boolean shareMemory() {
    return byInode.values().stream()
        .anyMatch(
            found -> found.channels.stream().anyMatch(old -> old.shared && !isOver(found, old)));
  }

  /** These domains of the host live; see {@link Matcher#alive}. */
  void alive(Set<Integer> domids) {
    live = Set.copyOf(domids);
    loseDead();
  }

  private void loseDead() {
    for (Found found : byInode.values()) {
      for (Old old : found.channels) {
        if (!old.lost && isLost(old)) {
          old.lost = true;
          intercept.meter().count("intercept.channels.lost");
          stop(found, old, Reason.POISONED);
        }
      }
    }
  }

  /**
   * The other domain is no more. Or this VM was saved, or moved, unannounced, and is another domain
   * now: what it had granted is its own copy, and what it had mapped is not there. An agent's
   * configuration may be of before, so there must be a list that has the VM by that id, which
   * discovery takes only when the id is the right one.
   */
  private boolean isLost(Old old) {
    return (old.peer != 0 && !live.isEmpty() && !live.contains(old.peer))
        || (old.self != 0 && old.self != intercept.domid() && intercept.members().selfMac() != 0);
  }

  private static boolean isOver(Found found, Old old) {
    EndPool.Slot slot = found.pool.slot(old.slot);
    return !found.lives() || slot.state() != Abi.END_CHANNEL || slot.cookie() != old.cookie;
  }

  /** Drops what has ended. */
  private void look() {
    for (Iterator<Found> all = byInode.values().iterator(); all.hasNext(); ) {
      Found found = all.next();
      found.channels.removeIf(
          old -> {
            boolean over = isOver(found, old);
            if (over) {
              old.release();
            }
            return over;
          });
      if (found.channels.isEmpty()) {
        found.close();
        all.remove();
      }
    }
    if (!byInode.isEmpty()) {
      namePeers();
      loseDead();
      intercept.loop().schedule(LOOK_EVERY, this::look);
    }
  }

  /**
   * Finds out where the other ends are, once the members are known. The agent before has written
   * down the domain: another one that has got its address since is not where the memory is.
   */
  private void namePeers() {
    List<Old> nameless = new ArrayList<>();
    for (Found found : byInode.values()) {
      found.channels.stream()
          .filter(old -> old.shared && !old.named && !old.lost)
          .forEach(nameless::add);
    }
    MemberView members = intercept.members();
    if (nameless.isEmpty() || members.all().isEmpty()) {
      return;
    }
    Map<Long, SockDiag.Socket> sockets = sockets().orElse(Map.of());
    for (Old old : nameless) {
      SockDiag.Socket socket = sockets.get(old.cookie);
      Member peer = socket == null ? null : members.get(socket.pair().remote());
      if (peer != null && peer.coResident() && (old.peer == 0 || old.peer == peer.domid())) {
        old.peer = peer.domid();
        old.named = true;
        if (old.entry != null) {
          old.entry.peerVm(peer.domid());
          old.entry.peer(0, MemberView.mac(peer.mac()));
        }
      }
    }
  }

  /** The pools with such channels. */
  List<PoolView> pools() {
    List<PoolView> out = new ArrayList<>();
    for (Found found : byInode.values()) {
      Map<Integer, PoolView.Registered> carried = new HashMap<>();
      for (Old old : found.channels) {
        if (old.line != null && old.far != null && !isOver(found, old)) {
          carried.put(
              old.slot, new PoolView.Registered(old.far.pair(), old.cookie, old.line.reason()));
        }
      }
      out.add(new PoolView(found.pid, found.uid, found.pool, carried));
    }
    return out;
  }

  @Override
  public void close() {
    for (Found found : byInode.values()) {
      found.channels.forEach(Old::handOver);
      found.close();
    }
    byInode.clear();
  }
}
