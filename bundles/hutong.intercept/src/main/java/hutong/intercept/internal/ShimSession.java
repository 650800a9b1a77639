// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.Channel;
import hutong.api.discovery.Member;
import hutong.api.intercept.Reason;
import hutong.api.link.PeerId;
import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.PeerCred;
import hutong.platform.Poller;
import hutong.platform.Received;
import hutong.platform.abi.Abi;
import hutong.platform.abi.MessageLayout;
import java.io.IOException;
import java.util.ArrayDeque;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The control connection of one program. A reference is valid here only, so that no program reaches
 * another's registrations. Whatever a program sends that it should not send ends its control
 * connection; its TCP connections stay as they are. One thread: the intercept's loop.
 */
final class ShimSession implements Registration.Owner {
  /** Messages taken before the other programs get their turn. */
  private static final int BATCH = 64;

  /** A program with so many unread answers is not read: what it sends only makes more. */
  private static final int PAUSE_AT = 256;

  /** A registration with what the program said about it. */
  private static final class End {
    private final int ref;
    private final int slot;
    private final Fd doorbell;
    private Registration registration;
    private boolean free;
    private boolean storm;

    private End(int ref, int slot, Fd doorbell) {
      this.ref = ref;
      this.slot = slot;
      this.doorbell = doorbell;
    }
  }

  /** A message that waits until the program has read others; descriptors included. */
  private record Answer(End end, byte[] data, List<Fd> fds, boolean last) {}

  private final Intercept intercept;
  private final Fd socket;
  private final PeerCred cred;
  private final Fd process;
  private final Map<Integer, End> byRef = new HashMap<>();
  private final Map<Registration, End> byRegistration = new HashMap<>();
  private final Set<Integer> slots = new HashSet<>();
  private final ArrayDeque<Answer> answers = new ArrayDeque<>();
  private EndPool pool;
  private int watched = Poller.IN;
  private boolean blocked;
  private boolean closed;

  /**
   * Takes over a connection.
   *
   * @param socket the connection; becomes the session's
   * @param cred who connected
   * @param process a handle of that process; becomes the session's
   */
  ShimSession(Intercept intercept, Fd socket, PeerCred cred, Fd process) {
    this.intercept = intercept;
    this.socket = socket;
    this.cred = cred;
    this.process = process;
  }

  Fd socket() {
    return socket;
  }

  PeerCred cred() {
    return cred;
  }

  /** The program's pool; null before its greeting. */
  EndPool pool() {
    return pool;
  }

  /** The registrations now, by slot of the pool. */
  Map<Integer, Registration> registrations() {
    Map<Integer, Registration> out = new HashMap<>();
    byRef.values().forEach(end -> out.put(end.slot, end.registration));
    return out;
  }

  // ---------------------------------------------------------------- from the program

  /** The socket is ready. Never throws. */
  void ready(int events) {
    try {
      if ((events & Poller.OUT) != 0) {
        flush();
      }
      if ((events & (Poller.HUP | Poller.ERR)) != 0 && answers.size() >= PAUSE_AT) {
        close(); // it would not be read, and reported for ever
      }
      for (int i = 0; i < BATCH && !closed && answers.size() < PAUSE_AT; i++) {
        Received received = intercept.sockets().recv(socket, MessageLayout.SIZE + 1, 1);
        if (received == null) {
          return;
        }
        if (received.eof()) {
          close();
          return;
        }
        receive(received);
      }
    } catch (IOException | RuntimeException e) {
      intercept.failed("program " + cred.pid(), e);
      close();
    }
  }

  private void receive(Received received) {
    Fd kept = null;
    try {
      ShimMessage message = ShimMessage.decode(received.data());
      if (message == null) {
        hostile("a message of " + received.data().length + " bytes");
      } else if (message.version() != Abi.ABI_VERSION) {
        refuse(Reason.VERSION);
      } else if (message.type() == Abi.MSG_REGISTER && pool != null) {
        kept = register(message, received);
      } else if (received.truncated()) {
        hostile("too many descriptors");
      } else if (message.type() == Abi.MSG_HELLO && pool == null) {
        hello(received.fds());
      } else if (message.type() == Abi.MSG_GONE && pool != null && received.fds().isEmpty()) {
        gone(message);
      } else {
        hostile(
            "message type " + message.type() + " with " + received.fds().size() + " descriptors");
      }
    } finally {
      for (Fd fd : received.fds()) {
        if (fd != kept) {
          fd.close();
        }
      }
    }
  }

  private void hello(List<Fd> fds) {
    if (fds.size() != 1) {
      hostile("a greeting with " + fds.size() + " descriptors");
      return;
    }
    try {
      pool = EndPool.open(intercept.memory(), fds.get(0), true);
      pool.unlock(intercept.payer());
    } catch (IOException e) {
      hostile(e.getMessage());
      return;
    }
    send(
        null,
        ShimMessage.welcome(intercept.payer().mark()),
        List.of(intercept.memberTable()),
        false);
  }

  /** Handles a registration; gives back the doorbell if it was kept. */
  private Fd register(ShimMessage message, Received received) {
    if (received.truncated()) {
      // This process has no descriptor left for the doorbell: nobody is to blame.
      declineUnheard(message, Reason.DESCRIPTORS);
      return null;
    }
    int slot = message.slot();
    if (received.fds().size() != 1 || !intercept.isDoorbell(received.fds().get(0))) {
      hostile("a registration without a doorbell");
      return null;
    }
    if (slot < 0
        || slot >= Abi.POOL_SLOTS
        || slots.contains(slot)
        || byRef.containsKey(message.ref())) {
      hostile("a registration of slot " + slot + " as " + message.ref());
      return null;
    }
    End end = new End(message.ref(), slot, received.fds().get(0));
    Reason reason = admit(end, message);
    if (reason != Reason.NONE) {
      intercept.meter().reason(reason);
      answerDeclined(end, reason);
    }
    return end.doorbell;
  }

  private Reason admit(End end, ShimMessage message) {
    if (!intercept.enabled()) {
      return Reason.OFF;
    }
    Inspector.Verdict verdict =
        intercept
            .inspector()
            .inspect(
                process,
                message.fd(),
                message.cookie(),
                intercept.members(),
                intercept.far().ready());
    Reason reason = verdict.reason();
    if (reason == Reason.NONE) {
      reason =
          intercept.forbids(cred, verdict.pair())
              ? Reason.POLICY
              : register(end, message.cookie(), verdict);
    }
    if (reason != Reason.NOT_OWNER && reason != Reason.DESCRIPTORS && reason != Reason.SHARED) {
      intercept.verdicts().note(message.cookie(), reason); // else it may be another's socket
    }
    return reason;
  }

  private Reason register(End end, long cookie, Inspector.Verdict verdict) {
    Matcher matcher = intercept.matcher();
    if (matcher.registered(cookie) != null || intercept.far().registered(cookie) != null) {
      return Reason.SHARED;
    }
    Member peer = verdict.peer();
    if (peer.coResident() && intercept.detaching().on()) {
      return Reason.OFF;
    }
    if (peer.coResident() && intercept.lacksPrivilege(cred)) {
      return Reason.XEN_PRIV;
    }
    intercept.verdicts().clear(cookie);
    // Known here before it is known to the matching, which may answer at once.
    byRef.put(end.ref, end);
    slots.add(end.slot);
    end.registration =
        peer.coResident()
            ? matcher.register(verdict.pair(), cookie, cred.uid(), peer.domid(), end.doorbell, this)
            : intercept
                .far()
                .register(
                    verdict.pair(),
                    cookie,
                    cred.uid(),
                    new PeerId(peer.hostId(), peer.domid()),
                    pool.end(end.slot, intercept.payer(), process, cred.pid()),
                    end.doorbell,
                    this);
    if (end.registration == null) {
      remove(end);
      return Reason.QUOTA;
    }
    end.registration.channel.use(new SlotUse(pool, end.slot, cred.pid()));
    byRegistration.put(end.registration, end);
    intercept.registered();
    return Reason.NONE;
  }

  /**
   * The policy, or the switch, has changed.
   *
   * @param ring whether all must look again
   * @return registrations told, and those of them that must go back to TCP for good
   */
  Told policyChanged(boolean ring) {
    Told told = new Told(0, 0);
    for (End end : List.copyOf(byRef.values())) {
      Registration registration = end.registration;
      boolean forbidden = intercept.forbids(cred, registration.pair);
      if (forbidden && registration.in(Channel.State.OPEN)) {
        pool.stop(end.slot, registration.cookie, Reason.POLICY);
      } else if (forbidden) {
        intercept.refuse(registration, Reason.POLICY);
      }
      if (end.doorbell.isOpen() && (ring || forbidden)) {
        intercept.ring(end.doorbell);
      }
      told = told.plus(new Told(ring || forbidden ? 1 : 0, forbidden ? 1 : 0));
    }
    return told;
  }

  /**
   * What a change did.
   *
   * @param rung registrations that were told
   * @param stopped those of them that must go back to TCP for good, or get no channel
   */
  record Told(int rung, int stopped) {
    Told plus(Told other) {
      return new Told(rung + other.rung, stopped + other.stopped);
    }
  }

  /**
   * This VM is to be saved or moved: what is shared goes back to TCP for good, nothing new comes.
   * So does what goes to other hosts: their agents know this VM by the domain that it is now.
   */
  void detach() {
    for (End end : List.copyOf(byRef.values())) {
      Registration registration = end.registration;
      if (registration.in(Channel.State.OPEN)) {
        pool.stop(end.slot, registration.cookie, Reason.OFF);
        intercept.ring(end.doorbell);
      } else {
        intercept.refuse(registration, Reason.OFF);
      }
    }
  }

  /** Whether the program has memory of a channel within the host. */
  boolean sharesMemory() {
    return byRef.values().stream().anyMatch(end -> end.registration.far == null);
  }

  private void gone(ShimMessage message) {
    End end = byRef.get(message.ref());
    if (end == null) {
      return; // it crossed with a DECLINED
    }
    if (Reason.isKnown(message.reason())) {
      intercept.verdicts().note(end.registration.cookie, Reason.of(message.reason()));
    }
    if (message.reason() == Reason.STORM.number()) {
      storm(end);
    }
    gone(end);
  }

  /** A peer's VM rings without end; the program has stopped to listen. Counted once. */
  private void storm(End end) {
    if (!end.storm) {
      end.storm = true;
      intercept.meter().reason(Reason.STORM);
      intercept.storm(cred, end.registration.pair);
    }
  }

  /**
   * A program that found no room for its GONE tells it with its next business, and may have none:
   * what it has given back for one interval is gone. A storm is told of while the connection lives.
   */
  void sweep() {
    for (End end : List.copyOf(byRef.values())) {
      if (pool.storms(end.slot, end.registration.cookie)) {
        storm(end);
      }
      boolean before = end.free;
      end.free = pool.isFree(end.slot);
      if (before && end.free) {
        gone(end);
      }
    }
  }

  private void gone(End end) {
    remove(end);
    intercept.unregister(end.registration);
    end.doorbell.close();
  }

  private void remove(End end) {
    byRef.remove(end.ref);
    slots.remove(end.slot);
    if (end.registration != null) {
      byRegistration.remove(end.registration);
    }
  }

  // ---------------------------------------------------------------- to the program

  @Override
  public void onChannel(Registration registration, int side, Fd segment, Fd peerDoorbell) {
    End end = byRegistration.get(registration);
    List<Fd> fds = List.of(segment, peerDoorbell);
    if (end == null || closed) {
      fds.forEach(Fd::close);
      return;
    }
    if (registration.far == null) {
      pool.shared(
          end.slot, registration.cookie, intercept.sharesAs(), registration.channel.peerVm());
    }
    send(end, ShimMessage.channel(end.ref, side, registration), fds, false);
  }

  @Override
  public void onPeerGone(Registration registration) {
    End end = byRegistration.get(registration);
    if (end != null && !closed) {
      pool.peerGone(end.slot, registration.cookie);
      intercept.ring(end.doorbell);
    }
  }

  @Override
  public void onLost(Registration registration) {
    End end = byRegistration.get(registration);
    if (end != null && !closed) {
      pool.stop(end.slot, registration.cookie, Reason.POISONED);
      intercept.ring(end.doorbell);
    }
  }

  @Override
  public void onDomainGone(Registration registration) {
    End end = byRegistration.get(registration);
    if (end != null && !closed) {
      pool.stop(end.slot, registration.cookie, Reason.PEER_STOP);
      intercept.ring(end.doorbell);
    }
  }

  @Override
  public void onDeclined(Registration registration, Reason reason) {
    End end = byRegistration.get(registration);
    if (end != null && !closed) {
      intercept.verdicts().note(registration.cookie, reason);
      remove(end);
      answerDeclined(end, reason);
    }
  }

  /** The last answer about an end; its doorbell is closed when it is on its way. */
  private void answerDeclined(End end, Reason reason) {
    send(end, ShimMessage.declined(end.ref, reason), List.of(), true);
  }

  private void declineUnheard(ShimMessage message, Reason reason) {
    intercept.meter().reason(reason);
    if (message.slot() >= 0 && message.slot() < Abi.POOL_SLOTS) {
      send(
          new End(message.ref(), message.slot(), null),
          ShimMessage.declined(message.ref(), reason),
          List.of(),
          true);
    }
  }

  private void refuse(Reason reason) {
    intercept.meter().reason(reason);
    send(null, ShimMessage.declined(0, reason), List.of(), false);
    close();
  }

  /**
   * Sends now or when the program has read others; descriptors become the answer's, but for the
   * member table.
   */
  private void send(End end, byte[] data, List<Fd> fds, boolean last) {
    answers.add(new Answer(end, data, fds, last));
    try {
      if (blocked) {
        watch();
      } else {
        flush();
      }
    } catch (IOException e) {
      intercept.later(this::close); // not from here: the caller is in the middle of something
    }
  }

  private void flush() throws OsException {
    blocked = false;
    while (!answers.isEmpty() && !blocked) {
      Answer answer = answers.peek();
      try {
        intercept.sockets().send(socket, answer.data, answer.fds);
        answers.poll();
        sent(answer);
      } catch (OsException e) {
        if (!e.wouldBlock()) {
          throw e;
        }
        blocked = true;
      }
    }
    watch();
  }

  private void watch() throws OsException {
    int interest = (answers.size() < PAUSE_AT ? Poller.IN : 0) | (blocked ? Poller.OUT : 0);
    if (interest != watched) {
      watched = interest;
      intercept.loop().modify(socket, interest);
    }
  }

  private void sent(Answer answer) {
    End end = answer.end;
    if (end != null && pool != null) {
      pool.note(end.slot);
      if (end.doorbell != null && end.doorbell.isOpen()) {
        intercept.ring(end.doorbell);
      }
    }
    drop(answer);
  }

  private static void drop(Answer answer) {
    if (answer.end == null) {
      return; // the member table stays open
    }
    answer.fds.forEach(Fd::close);
    if (answer.last && answer.end.doorbell != null) {
      answer.end.doorbell.close();
    }
  }

  // ---------------------------------------------------------------- the end

  private void hostile(String what) {
    intercept.hostile(cred, what);
    close();
  }

  /** Ends the connection and its registrations. */
  void close() {
    if (closed) {
      return;
    }
    closed = true;
    if (pool != null) {
      pool.endPayments(); // before the program takes this agent for dead, and its lock for free
    }
    intercept.loop().remove(socket);
    socket.close();
    process.close();
    for (End end : List.copyOf(byRef.values())) {
      remove(end);
      intercept.unregister(end.registration);
      end.doorbell.close();
    }
    answers.forEach(ShimSession::drop);
    answers.clear();
    if (pool != null) {
      pool.close();
    }
    intercept.ended(this);
  }

  /** For tests and the list: the refs in use. */
  Collection<Integer> refs() {
    return List.copyOf(byRef.keySet());
  }
}
