// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.discovery.Member;
import hutong.api.intercept.Reason;
import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.Processes;
import hutong.platform.SocketFacts;
import hutong.platform.Sockets;
import java.io.IOException;

/**
 * Looks at the socket that a program registers: what counts is what the kernel says (rules 19, 20),
 * not what the program says.
 */
final class Inspector {
  private static final int SOCK_STREAM = 1;

  private final Sockets sockets;
  private final Processes processes;
  private final RouteCheck routes;
  private final long ownNamespace;

  /**
   * The result.
   *
   * @param reason why it cannot be registered, or {@link Reason#NONE}
   * @param pair the connection, null with a reason
   * @param peer the peer's VM, null with a reason
   */
  record Verdict(Reason reason, AddressPair pair, Member peer) {
    private static Verdict no(Reason reason) {
      return new Verdict(reason, null, null);
    }
  }

  /**
   * Makes an inspector.
   *
   * @param ownSocket any socket of this agent, in the VM's network namespace
   */
  Inspector(Sockets sockets, Processes processes, RouteCheck routes, Fd ownSocket)
      throws IOException {
    this.sockets = sockets;
    this.processes = processes;
    this.routes = routes;
    this.ownNamespace = Native.networkNamespace(ownSocket);
  }

  /**
   * Looks at a socket.
   *
   * @param process the program, as it was when it connected
   * @param fd the socket's number there
   * @param cookie the socket's cookie, as the program says
   * @param members who is who now
   * @param far whether peers on other hosts will do
   */
  Verdict inspect(Fd process, int fd, long cookie, MemberView members, boolean far) {
    SocketFacts facts;
    // The copy lives for these few calls only: it would hold back the FIN (rule 19).
    try (Fd socket = processes.pidfdGetfd(process, fd)) {
      facts = sockets.tcpFacts(socket);
      // A user can make a namespace with this VM's addresses, and sockets there that pretend to be
      // another user's.
      if (Native.networkNamespace(socket) != ownNamespace) {
        return Verdict.no(Reason.NOT_OWNER);
      }
    } catch (OsException e) {
      boolean descriptors = e.errno() == 23 || e.errno() == 24; // ENFILE, EMFILE
      return Verdict.no(descriptors ? Reason.DESCRIPTORS : Reason.NOT_OWNER);
    } catch (IOException e) {
      return Verdict.no(Reason.NOT_OWNER);
    }
    if (facts.cookie() != cookie) {
      return Verdict.no(Reason.NOT_OWNER);
    }
    if (facts.type() != SOCK_STREAM || !facts.isEstablishedTcp()) {
      return Verdict.no(Reason.STATE);
    }
    return judge(AddressPair.of(facts.local(), facts.remote()), members, far);
  }

  private Verdict judge(AddressPair pair, MemberView members, boolean far) {
    Reason reason = classify(pair, members);
    if (reason != Reason.NONE && !(far && reason == Reason.INTER_HOST)) {
      return Verdict.no(reason);
    }
    if (routes.tunnelled(pair.remote())) {
      return Verdict.no(Reason.TUNNEL);
    }
    return new Verdict(Reason.NONE, pair, members.get(pair.remote()));
  }

  /** Why a connection of these addresses can have no channel; NONE if it can. */
  static Reason classify(AddressPair pair, MemberView members) {
    Member local = members.get(pair.local());
    Member remote = members.get(pair.remote());
    if (pair.local().equals(pair.remote())
        || pair.remote().loopback()
        || (remote != null && remote.self())) {
      return Reason.SAME_VM;
    }
    if (remote == null) {
      return Reason.NOT_MEMBER;
    }
    if (local == null || !local.self()) {
      return Reason.NOT_OWNER;
    }
    return remote.coResident() ? Reason.NONE : Reason.INTER_HOST;
  }
}
