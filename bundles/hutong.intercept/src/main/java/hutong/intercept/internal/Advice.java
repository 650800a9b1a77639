// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.intercept.Reason;

/** What is needed for a connection to leave TCP, by the reason why it has not. */
final class Advice {
  private Advice() {}

  /** One sentence. */
  static String of(Reason reason) {
    return switch (reason) {
      case NONE -> "Nothing is needed: a direction moves when what was sent before has arrived.";
      case OFF -> "Switch it on: hutong:on, hutong.enabled, no HUTONG_OFF in the environment.";
      case NOT_MEMBER -> "Only the VMs of the cluster (hutong:vms) can be reached by a ring.";
      case INTER_HOST -> "Both agents must carry connections between hosts: hutong.inter.";
      case SAME_VM -> "Nothing can be done: within one VM it stays on TCP.";
      case AGENT_DOWN -> "The agent must run when the connection is made: make a new one.";
      case PEER_SILENT ->
          "The program at the other end must run with the shim, and use the socket.";
      case YOUNG -> "It must live longer or move more bytes: hutong.after.ms, hutong.after.bytes.";
      case COUNT -> "Bytes must not pass by the shim: no raw system calls, no other process.";
      case QUOTA -> "Close other connections, or raise hutong.quota.channels and .bytes.";
      case DESCRIPTORS -> "The program needs more free descriptors: raise ulimit -n.";
      case SEGMENT -> "Both agents must be of one version; the agents' logs tell more.";
      case POLICY -> "Change the policy (hutong:policy) and make a new connection.";
      case NOT_INTERCEPTED -> "Start the program with the shim: hutong run, and not static.";
      case STDIO -> "Do not use the socket as descriptor 0 to 2 or through stdio.";
      case EXEC -> "Do not hand the socket over by exec: set close-on-exec.";
      case PASSED -> "Do not hand the socket over to another process.";
      case SHARED -> "Only one process may use the socket.";
      case OPTION -> "Do without the option or call; HUTONG_LOG=1 tells which one it was.";
      case IO_URING -> "Run the program without io_uring.";
      case PEER_STOP -> "Ask at the other end: it wanted to go back to TCP.";
      case POISONED -> "Look at the program at the other end: it does not follow the rules.";
      case NOT_OWNER -> "The socket's address must be one that this VM is listed with.";
      case PEER_AGENT -> "Start the other VM's agent; what waits follows.";
      case VERSION -> "Run the same version everywhere.";
      case TUNNEL -> "Connections through tunnels and IPsec stay there on purpose.";
      case XEN_PRIV -> "The program must run as root.";
      case MEMORY -> "The VM needs more free memory.";
      case STATE -> "Only an established connection can move.";
      case PATH -> "Bulk moves when it pays; hutong.inter=light forces it.";
      case UNSEALED -> "Make a new connection: this one was begun without authentication.";
      case WIRE -> "Look at hutong.wire, the agents' logs, and what filters the way between them.";
      case STORM -> "Look at the VM at the other end: it keeps others from sleeping.";
    };
  }
}
