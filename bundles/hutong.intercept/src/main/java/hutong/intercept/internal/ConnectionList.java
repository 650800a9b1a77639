// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.Connections;
import hutong.api.intercept.Reason;
import hutong.platform.abi.Abi;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * All TCP connections of the VM, each with its path and, if that is TCP, the reason. What is
 * registered comes from the programs' end pools, the rest from the kernel; processes are looked for
 * only here, when somebody asks. Thread-safe.
 */
final class ConnectionList implements Connections {
  static final String SHIM = "libhutong.so";

  /** Where the kernel's list comes from. */
  interface Kernel {
    /** All connections now. */
    List<SockDiag.Socket> connections() throws IOException;
  }

  private final Supplier<List<PoolView>> pools;
  private final Supplier<MemberView> members;
  private final Kernel kernel;
  private final ProcFs proc;
  private final Verdicts verdicts;
  private final Causes causes;

  /**
   * Makes the list.
   *
   * @param pools the programs' pools now
   * @param members who is who now
   * @param kernel the kernel's list
   * @param proc processes
   * @param verdicts why registrations came to nothing
   * @param causes why a connection is not watched
   */
  ConnectionList(
      Supplier<List<PoolView>> pools,
      Supplier<MemberView> members,
      Kernel kernel,
      ProcFs proc,
      Verdicts verdicts,
      Causes causes) {
    this.pools = pools;
    this.members = members;
    this.kernel = kernel;
    this.proc = proc;
    this.verdicts = verdicts;
    this.causes = causes;
  }

  /** What a pool says about a connection. */
  private record Known(PoolView pool, EndPool.Slot slot, PoolView.Registered registered) {}

  @Override
  public List<ConnectionInfo> list() {
    List<SockDiag.Socket> sockets;
    try {
      sockets = kernel.connections();
    } catch (IOException e) {
      throw new UncheckedIOException(
          "the kernel does not list its connections: " + e.getMessage(), e);
    }
    Map<Long, Known> known = known();
    Map<Long, SockDiag.Socket> byCookie = new LinkedHashMap<>();
    Set<Long> orphans = new HashSet<>();
    for (SockDiag.Socket socket : sockets) {
      byCookie.put(socket.cookie(), socket);
      Known end = known.get(socket.cookie());
      if (end != null && !speaksFor(end, socket.uid())) {
        known.remove(socket.cookie());
      }
      if (!known.containsKey(socket.cookie())) {
        orphans.add(socket.inode());
      }
    }
    Map<Long, Integer> owners = proc.owners(orphans);
    List<ConnectionInfo> out = new ArrayList<>();
    for (SockDiag.Socket socket : byCookie.values()) {
      Known end = known.remove(socket.cookie());
      out.add(
          end != null
              ? info(end, socket.pair())
              : info(socket, owners.getOrDefault(socket.inode(), 0)));
    }
    for (Known end : known.values()) {
      if (end.registered != null) {
        out.add(info(end, end.registered.pair())); // closed since, and not withdrawn yet
      }
    }
    out.sort(Comparator.comparing(ConnectionInfo::pid).thenComparing(ConnectionInfo::local));
    return out;
  }

  /**
   * One connection, as the list has it.
   *
   * @param pid a process that holds it
   * @param uid the user that the socket belongs to
   */
  ConnectionInfo find(int pid, int uid, long cookie, AddressPair pair) {
    Known end = known().get(cookie);
    return end != null && speaksFor(end, uid)
        ? info(end, pair)
        : info(new SockDiag.Socket(pair, cookie, uid, 0), pid);
  }

  /** A pool can say what it wants: another user's socket is not its business. */
  private static boolean speaksFor(Known end, int uid) {
    return end.registered != null || end.pool.uid() == 0 || end.pool.uid() == uid;
  }

  private Map<Long, Known> known() {
    Map<Long, Known> out = new HashMap<>();
    for (PoolView pool : pools.get()) {
      try {
        read(pool, out);
      } catch (IllegalStateException e) {
        // the program ended while we looked
      }
    }
    return out;
  }

  private static void read(PoolView pool, Map<Long, Known> out) {
    int used = pool.pool().used();
    for (int i = 0; i < used; i++) {
      PoolView.Registered registered = pool.registered().get(i);
      EndPool.Slot slot = pool.pool().slot(i);
      if (registered != null) {
        out.put(registered.cookie(), new Known(pool, slot, registered));
      } else if (slot.state() != Abi.END_FREE && slot.cookie() != 0) {
        out.putIfAbsent(slot.cookie(), new Known(pool, slot, null));
      }
    }
  }

  private ConnectionInfo info(Known end, AddressPair pair) {
    EndPool.Slot slot = end.slot;
    String path = slot.path();
    int pid = slot.pid() > 0 ? slot.pid() : end.pool.pid();
    return new ConnectionInfo(
        pid,
        proc.program(pid),
        end.pool.uid(),
        pair.localText(),
        pair.remoteText(),
        path,
        slot.remote(),
        path.equals("RING") || path.equals("LIGHT") ? Reason.NONE : reason(end, pair),
        slot.channel(),
        slot.tcpIn(),
        slot.tcpOut(),
        slot.ringIn(),
        slot.ringOut(),
        slot.stateName());
  }

  private Reason reason(Known end, AddressPair pair) {
    EndPool.Slot slot = end.slot;
    boolean far = slot.remote() && slot.state() == Abi.END_CHANNEL;
    // Between hosts it is this VM's agent that asks a program to go back: that says nothing yet.
    if (slot.reason() != Reason.NONE && !(far && slot.reason() == Reason.PEER_STOP)) {
      return slot.reason();
    }
    return switch (slot.state()) {
      case Abi.END_CHANNEL -> far ? farReason(end) : Reason.NONE; // or on its way
      case Abi.END_CANDIDATE -> Reason.YOUNG;
      default ->
          end.registered != null
              ? end.registered.reason()
              : Inspector.classify(pair, members.get());
    };
  }

  /**
   * What carries a connection between hosts says why it does not; without it nobody does. If it
   * would, the far program is what does not want to.
   */
  private static Reason farReason(Known end) {
    Reason told = end.registered == null ? Reason.INTER_HOST : end.registered.reason();
    return told == Reason.NONE ? end.slot.reason() : told;
  }

  private ConnectionInfo info(SockDiag.Socket socket, int pid) {
    Reason place = Inspector.classify(socket.pair(), members.get());
    Reason reason = place;
    if (reason == Reason.NONE || reason == Reason.NOT_OWNER) {
      reason = verdicts.of(socket.cookie());
      if (reason == Reason.NONE) {
        reason =
            pid > 0 && proc.maps(pid, SHIM)
                ? causes.unwatched(pid, socket.pair()).reason()
                : Reason.NOT_INTERCEPTED;
      }
    }
    return new ConnectionInfo(
        pid,
        pid > 0 ? proc.program(pid) : "?",
        socket.uid(),
        socket.pair().localText(),
        socket.pair().remoteText(),
        "TCP",
        place == Reason.INTER_HOST,
        reason,
        0,
        0,
        0,
        0,
        0,
        "NONE");
  }
}
