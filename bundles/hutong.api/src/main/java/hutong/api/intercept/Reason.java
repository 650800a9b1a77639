// SPDX-License-Identifier: Apache-2.0
package hutong.api.intercept;

/**
 * Why a connection, or a part of its life, is on TCP. The numbers are stable: they are {@code enum
 * hut_reason} of {@code include/hutong_abi.h}, and {@code docs/operations.md} explains each.
 */
public enum Reason {
  /** On the ring. */
  NONE(0, "on the ring"),
  /** Switched off by the environment or the agent. */
  OFF(1, "switched off by the environment or the agent"),
  /** The peer is outside the cluster. */
  NOT_MEMBER(2, "the peer is outside the cluster"),
  /** The peer is on another host. */
  INTER_HOST(3, "the peer is on another host"),
  /** Both ends are in this VM. */
  SAME_VM(4, "both ends are in this VM"),
  /** This VM's agent does not answer. */
  AGENT_DOWN(5, "this VM's agent does not answer"),
  /** The peer's end is not registered: no shim there, or switched off. */
  PEER_SILENT(6, "the peer's end is not registered: no shim there, or switched off"),
  /** Below the age and the bytes of rule 6. */
  YOUNG(7, "below the age and the bytes of rule 6"),
  /** Bytes moved that the shim did not see. */
  COUNT(8, "bytes moved that the shim did not see"),
  /** The VM's quota of channels or memory is used up. */
  QUOTA(9, "the VM's quota of channels or memory is used up"),
  /** Too few free descriptors. */
  DESCRIPTORS(10, "too few free descriptors"),
  /** The segment offered is not what it must be. */
  SEGMENT(11, "the segment offered is not what it must be"),
  /** The administrator's policy. */
  POLICY(12, "the administrator's policy"),
  /** The program runs without the shim, or is static. */
  NOT_INTERCEPTED(13, "the program runs without the shim, or is static"),
  /** Used by stdio or as descriptor 0-2. */
  STDIO(14, "used by stdio or as descriptor 0-2"),
  /** Handed over by exec. */
  EXEC(15, "handed over by exec"),
  /** Handed over by SCM_RIGHTS. */
  PASSED(16, "handed over by SCM_RIGHTS"),
  /** Used by a second process. */
  SHARED(17, "used by a second process"),
  /** An option or call that the ring cannot honour. */
  OPTION(18, "an option or call that the ring cannot honour"),
  /** The process has io_uring descriptors. */
  IO_URING(19, "the process has io_uring descriptors"),
  /** The peer asked to go back to TCP. */
  PEER_STOP(20, "the peer asked to go back to TCP"),
  /** The peer published an impossible cursor, or bytes on the wrong path. */
  POISONED(21, "the peer published an impossible cursor, or bytes on the wrong path"),
  /** The socket is not what the registration says, or its address is not this VM's. */
  NOT_OWNER(22, "the socket is not what the registration says, or its address is not this VM's"),
  /** The peer's agent does not answer. */
  PEER_AGENT(23, "the peer's agent does not answer"),
  /** The other side speaks another version. */
  VERSION(24, "the other side speaks another version"),
  /** The route leaves by a tunnel or an XFRM policy applies. */
  TUNNEL(25, "the route leaves by a tunnel or an XFRM policy applies"),
  /** Xen devices need root. */
  XEN_PRIV(26, "Xen devices need root"),
  /** No memory for the segment. */
  MEMORY(27, "no memory for the segment"),
  /** The socket is not an established TCP connection. */
  STATE(28, "the socket is not an established TCP connection"),
  /** Between hosts: TCP is no slower for what is sent. */
  PATH(29, "between hosts TCP is no slower for what is sent"),
  /** On Xen: the peer rang again and again without any news. */
  STORM(30, "the peer rang again and again without any news"),
  /** Between hosts: it was begun without authentication, which an agent wants now (D6). */
  UNSEALED(31, "between hosts: begun without authentication, which is wanted now"),
  /** Between hosts: no wire reaches the peer now (D5). */
  WIRE(32, "between hosts: no wire that both ends have answers");

  private static final Reason[] BY_NUMBER = values();

  private final int number;
  private final String text;

  Reason(int number, String text) {
    this.number = number;
    this.text = text;
  }

  /** The number shared with the C parts. */
  public int number() {
    return number;
  }

  /** A short explanation in lower case, without a full stop. */
  public String text() {
    return text;
  }

  /** Whether a number, for example one that a program sent, is a reason's. */
  public static boolean isKnown(int number) {
    return number >= 0 && number < BY_NUMBER.length;
  }

  /**
   * The reason of a number.
   *
   * @throws IllegalArgumentException when there is none
   */
  public static Reason of(int number) {
    if (!isKnown(number)) {
      throw new IllegalArgumentException("no reason has the number " + number);
    }
    return BY_NUMBER[number];
  }
}
