// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.discovery.Member;
import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.PolicyControl.RuleSet;
import hutong.api.intercept.Reason;
import hutong.api.intercept.WhyInfo;
import hutong.platform.OsException;
import hutong.platform.Processes;
import hutong.platform.SocketFacts;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;

/**
 * Says why one connection of a program is on which path, and what is needed for it to leave TCP.
 * Thread-safe.
 */
final class Why {
  private static final int TCP_LISTEN = 10;

  /** Reasons that may hide that the connection is switched off or forbidden. */
  private static final Set<Reason> PASSING =
      Set.of(Reason.NONE, Reason.YOUNG, Reason.PEER_SILENT, Reason.PEER_AGENT);

  private final Processes processes;
  private final ProcFs proc;
  private final ConnectionList list;
  private final Supplier<MemberView> members;
  private final LivePolicy policy;

  Why(
      Processes processes,
      ProcFs proc,
      ConnectionList list,
      Supplier<MemberView> members,
      LivePolicy policy) {
    this.processes = processes;
    this.proc = proc;
    this.list = list;
    this.members = members;
    this.policy = policy;
  }

  /** A reason with what is special about it. */
  private record Cause(Reason reason, String detail, String advice) {
    private static Cause of(Reason reason) {
      return new Cause(reason, "", Advice.of(reason));
    }
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

  private WhyInfo connection(int pid, int fd, SocketFacts facts) {
    AddressPair pair = AddressPair.of(facts.local(), facts.remote());
    ConnectionInfo info = list.find(pid, proc.owner(pid, fd), facts.cookie(), pair);
    boolean shim = proc.maps(pid, ConnectionList.SHIM);
    boolean accelerated = info.path().equals("RING");
    boolean moving = info.path().equals("SWITCHING");
    Cause cause = accelerated || moving ? Cause.of(Reason.NONE) : cause(info, pid, pair);
    Member peer = members.get().get(pair.remote());
    String summary;
    if (accelerated) {
      summary = "The connection is accelerated: its bytes go through shared memory.";
    } else if (moving) {
      summary = "The connection is on its way: one direction goes through shared memory.";
    } else if (cause.reason == Reason.NONE) {
      summary = "The connection is on TCP and about to move.";
    } else {
      summary =
          "The connection is on TCP, reason %d: %s%s."
              .formatted(
                  cause.reason.number(),
                  cause.reason.text(),
                  cause.detail.isEmpty() ? "" : " (" + cause.detail + ")");
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
        cause.reason,
        info.tcpIn(),
        info.tcpOut(),
        info.ringIn(),
        info.ringOut(),
        summary,
        accelerated ? "" : cause.advice);
  }

  private Cause cause(ConnectionInfo info, int pid, AddressPair pair) {
    Subject subject = Subject.of(() -> proc.names(pid), proc.uid(pid), pair);
    if (info.state().equals("NONE") && info.reason() == Reason.YOUNG) {
      Cause own = environment(pid, subject);
      if (own != null) {
        return own;
      }
    }
    Policy.Decision decision = policy.decide(subject);
    if (PASSING.contains(info.reason()) && !policy.now().enabled()) {
      return new Cause(
          Reason.OFF, "the agent is switched off", "Switch it on: hutong:on, or hutong.enabled.");
    }
    if (decision.denied() && (PASSING.contains(info.reason()) || info.reason() == Reason.POLICY)) {
      return new Cause(
          Reason.POLICY,
          decision.why(),
          "Change the agent's policy (hutong:policy) and make a new connection.");
    }
    Cause own =
        info.reason() == Reason.POLICY || info.reason() == Reason.OFF
            ? environment(pid, subject)
            : null;
    return own != null && own.reason == info.reason() ? own : Cause.of(info.reason());
  }

  /** What the environment forbids of which the agent is told nothing; null if that is nothing. */
  private Cause environment(int pid, Subject subject) {
    String off = proc.environment(pid, "HUTONG_OFF");
    if (off != null && !off.isEmpty() && !off.equals("0")) {
      return new Cause(
          Reason.OFF,
          "HUTONG_OFF is in its environment",
          "Start the program without HUTONG_OFF in its environment.");
    }
    Policy own = Policy.none();
    for (RuleSet set : List.of(RuleSet.INCLUDE, RuleSet.EXCLUDE)) {
      String name = "HUTONG_" + set.name();
      String rules = proc.environment(pid, name);
      own = own.with(set, RuleList.of(name, rules == null ? "" : rules));
    }
    Policy.Decision decision = own.decide(subject);
    return decision.denied()
        ? new Cause(
            Reason.POLICY,
            "by its environment: " + decision.why(),
            "Start the program with other HUTONG_INCLUDE and HUTONG_EXCLUDE.")
        : null;
  }
}
