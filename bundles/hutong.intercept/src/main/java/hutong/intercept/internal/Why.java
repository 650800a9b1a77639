// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.discovery.Member;
import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.Reason;
import hutong.api.intercept.WhyInfo;
import hutong.intercept.internal.Causes.Cause;
import hutong.platform.OsException;
import hutong.platform.Processes;
import hutong.platform.SocketFacts;
import java.util.function.Supplier;

/**
 * Says why one connection of a program is on which path, and what is needed for it to leave TCP.
 * Thread-safe.
 */
final class Why {
  private static final int TCP_LISTEN = 10;

  private final Processes processes;
  private final ProcFs proc;
  private final ConnectionList list;
  private final Supplier<MemberView> members;
  private final Causes causes;

  Why(
      Processes processes,
      ProcFs proc,
      ConnectionList list,
      Supplier<MemberView> members,
      Causes causes) {
    this.processes = processes;
    this.proc = proc;
    this.list = list;
    this.members = members;
    this.causes = causes;
  }

  /** See {@link hutong.api.intercept.Diagnosis#why}. */
  WhyInfo of(int pid, int fd) {
    String namespace = proc.networkNamespace(Integer.toString(pid));
    if (namespace == null) {
      throw new IllegalArgumentException(
          proc.exists(pid)
              ? "process " + pid + " cannot be looked at"
              : "there is no process " + pid);
    }
    if (!namespace.equals(proc.networkNamespace("self"))) {
      throw new IllegalArgumentException("process " + pid + " does not live in this VM");
    }
    String target = proc.target(pid, fd);
    if (target == null) {
      throw new IllegalArgumentException("process " + pid + " has no descriptor " + fd);
    }
    if (!target.startsWith("socket:")) {
      return other(pid, fd, target, "it is no TCP socket");
    }
    SocketFacts facts;
    try {
      facts = processes.inspectSocket(pid, fd);
    } catch (OsException e) {
      throw new IllegalArgumentException(
          "descriptor " + fd + " of process " + pid + " cannot be looked at: " + e.getMessage(), e);
    }
    if (facts.protocol() != SocketFacts.IPPROTO_TCP || facts.state() < 0) {
      return other(pid, fd, target, "it is no TCP socket");
    }
    if (facts.local() == null || facts.remote() == null) {
      boolean listens = facts.state() == TCP_LISTEN;
      return other(pid, fd, "TCP", listens ? "it is a listener" : "it is not connected");
    }
    return connection(pid, fd, facts);
  }

  private WhyInfo other(int pid, int fd, String kind, String what) {
    return new WhyInfo(
        pid,
        proc.program(pid),
        proc.uid(pid),
        fd,
        kind,
        null,
        null,
        null,
        proc.maps(pid, ConnectionList.SHIM),
        "NONE",
        "TCP",
        false,
        Reason.STATE,
        0,
        0,
        0,
        0,
        "Descriptor " + fd + " is not accelerated: " + what + ".",
        "Only TCP connections between two VMs can be: ask about one of them.");
  }

  private Cause cause(ConnectionInfo info, int pid, boolean shim, AddressPair pair) {
    // The list has looked through what the agent knows: nothing, and no way to the peer is barred.
    boolean unwatched = shim && info.state().equals("NONE") && info.reason() == Reason.YOUNG;
    return unwatched ? causes.unwatched(pid, pair) : causes.of(info.reason(), pid, pair);
  }

  private WhyInfo connection(int pid, int fd, SocketFacts facts) {
    AddressPair pair = AddressPair.of(facts.local(), facts.remote());
    ConnectionInfo info = list.find(pid, proc.owner(pid, fd), facts.cookie(), pair);
    boolean shim = proc.maps(pid, ConnectionList.SHIM);
    boolean accelerated = info.accelerated();
    boolean moving = info.path().equals("SWITCHING");
    // Within a host both directions move; between hosts one may stay on TCP for good reasons.
    Cause cause =
        accelerated || moving && !info.far() ? Cause.of(Reason.NONE) : cause(info, pid, shim, pair);
    Member peer = members.get().get(pair.remote());
    String way = info.far() ? "by the light protocol" : "through shared memory";
    String summary;
    if (accelerated) {
      summary = "The connection is accelerated: its bytes go " + way + ".";
    } else if (cause.reason() == Reason.NONE) {
      summary =
          moving
              ? "The connection is on its way: one direction goes " + way + "."
              : "The connection is on TCP and about to move.";
    } else {
      summary =
          "%s on TCP, reason %d: %s%s."
              .formatted(
                  moving ? "One direction goes " + way + ", the other one is" : "The connection is",
                  cause.reason().number(),
                  cause.reason().text(),
                  cause.detail().isEmpty() ? "" : " (" + cause.detail() + ")");
    }
    return new WhyInfo(
        pid,
        proc.program(pid),
        proc.uid(pid),
        fd,
        "TCP",
        pair.localText(),
        pair.remoteText(),
        peer == null ? null : peer.name(),
        shim,
        info.state(),
        info.path(),
        accelerated,
        cause.reason(),
        info.tcpIn(),
        info.tcpOut(),
        info.ringIn(),
        info.ringOut(),
        summary,
        accelerated ? "" : cause.advice());
  }
}
