// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/**
 * The numbers of {@code include/hutong_abi.h}: each constant is the C name without its {@code
 * HUT_}.
 */
public final class Abi {
  /** The version of all layouts. */
  public static final int ABI_VERSION = 5;

  /** The abstract Unix address of a VM's agent, without its leading NUL. */
  public static final String AGENT_NAME = "hutong-agent";

  /** Bytes of a page. */
  public static final int PAGE = 4096;

  /** Starts a segment. */
  public static final int SEG_MAGIC = 0x31545548;

  /** No split: {@code UINT64_MAX}. */
  public static final long NO_SPLIT = -1L;

  /** Starts an end pool. */
  public static final int POOL_MAGIC = 0x4c505548;

  /** Slots of an end pool. */
  public static final int POOL_SLOTS = 16383;

  /** Bytes of a slot. */
  public static final int END_SIZE = 256;

  /** Starts a member table. */
  public static final int MEMBERS_MAGIC = 0x424d5548;

  /** Most entries of a member table. */
  public static final int MEMBERS_MAX = 1024;

  /** The rounds of the word turn, above the state and the low half of an offset. */
  public static final int ROUND_MASK = 0x3fffffff;

  /** {@code enum hut_turn}: the producer may use the ring. */
  public static final int TURN_OPEN = 0;

  /** {@code enum hut_turn}: the consumer takes nothing at or after the offset. */
  public static final int TURN_STOPPED = 1;

  /** {@code enum hut_turn}: nothing at or after the offset is in the ring. */
  public static final int TURN_ENDED = 2;

  /** {@code enum hut_turn}: the producer sends what it put at or after the offset on TCP. */
  public static final int TURN_OWED = 3;

  /**
   * {@code enum hut_prod_mark}: shutdown(SHUT_WR or SHUT_RDWR): the FIN that follows is no close
   * (rule 16).
   */
  public static final int MARK_HALF_CLOSE = 1;

  /** {@code enum hut_prod_mark}: set before the FIN: TCP will carry no more than what it has. */
  public static final int MARK_SHUT = 2;

  /** {@code enum hut_prod_mark}, between hosts: the program asks to be stopped. */
  public static final int MARK_BACK = 4;

  /** {@code enum hut_prod_mark}, by the agent: the stream's end is known, the tail is final. */
  public static final int MARK_END = 8;

  /** {@code enum hut_prod_mark}, by the agent: bytes are missing, it counts as reset. */
  public static final int MARK_CUT = 16;

  /**
   * {@code enum hut_prod_mark}, by the agent: what a reader that left did not take comes by TCP.
   */
  public static final int MARK_AGREED = 32;

  /** {@code enum hut_prod_mark}, by the agent: the reader may arm. */
  public static final int MARK_WISH = 64;

  /** {@code enum hut_cons_mark}, between hosts: the FIN has come, END is waited for. */
  public static final int MARK_FIN = 4;

  /**
   * {@code enum hut_cons_mark}: nobody will read from this ring any more: closed, or shut for
   * reading and writing.
   */
  public static final int MARK_GONE = 1;

  /**
   * {@code enum hut_cons_mark}: the descriptor went where the ring cannot be read (rule 8): bytes
   * must travel by TCP.
   */
  public static final int MARK_LEFT = 2;

  /** {@code enum hut_end_state}. */
  public static final int END_FREE = 0;

  /** {@code enum hut_end_state}: between members; too young to be moved (rule 6). */
  public static final int END_CANDIDATE = 1;

  /** {@code enum hut_end_state}: registered with the agent; the peer's end is not known yet. */
  public static final int END_PENDING = 2;

  /** {@code enum hut_end_state}: segment mapped; each direction says where it is. */
  public static final int END_CHANNEL = 3;

  /** {@code enum hut_end_state}: stays on TCP, see reason. */
  public static final int END_TCP = 4;

  /** {@code enum hut_path}. */
  public static final int PATH_TCP = 0;

  /** {@code enum hut_path}: receive only: TCP up to rx_start, then the ring. */
  public static final int PATH_SWITCH = 1;

  /** {@code enum hut_path}. */
  public static final int PATH_RING = 2;

  /** {@code enum hut_path}: send only: [stop, tail) is still owed to TCP. */
  public static final int PATH_DRAIN = 3;

  /** {@code enum hut_end_flags}: this end called connect(). */
  public static final int ENDF_ACTIVE = 1;

  /** {@code enum hut_end_flags}: the peer's FIN was seen. */
  public static final int ENDF_FIN = 2;

  /** {@code enum hut_end_flags}: the connection was reset. */
  public static final int ENDF_ERR = 4;

  /** {@code enum hut_end_flags}: this end shut its sending side. */
  public static final int ENDF_WRSHUT = 8;

  /** {@code enum hut_end_flags}: this end shut its receiving side. */
  public static final int ENDF_RDSHUT = 16;

  /** {@code enum hut_end_flags}: must never move again. */
  public static final int ENDF_NEVER = 32;

  /** {@code enum hut_end_flags}: FIN without a half-close mark: nobody reads our ring. */
  public static final int ENDF_PEERGONE = 64;

  /** {@code enum hut_end_flags}: this end has armed its receiving direction. */
  public static final int ENDF_ARMED = 128;

  /** {@code enum hut_end_flags}: the FIN was seen while bytes still came by TCP. */
  public static final int ENDF_RDHUP = 256;

  /**
   * {@code enum hut_end_flags}: the round rx_round was stopped by us: what it still held comes by
   * TCP.
   */
  public static final int ENDF_STOPPED = 512;

  /** {@code enum hut_end_flags}: reset by us, see reason 21. */
  public static final int ENDF_POISONED = 1024;

  /** {@code enum hut_end_flags}: the FIN was a half-close: the peer may still read. */
  public static final int ENDF_HALF = 2048;

  /** {@code enum hut_end_flags}: on TCP for the time being: switched off at run time. */
  public static final int ENDF_PAUSED = 4096;

  /** {@code enum hut_end_flags}: an image that is none of ours holds the socket too, by exec. */
  public static final int ENDF_HANDED = 8192;

  /** {@code enum hut_end_flags}: the peer died over unread bytes, of which the kernel knows not. */
  public static final int ENDF_RESET = 16384;

  /** {@code enum hut_end_flags}: the peer is on another host. */
  public static final int ENDF_REMOTE = 32768;

  /** {@code enum hut_end_flags}: TCP has ended; whether the stream has is not known yet. */
  public static final int ENDF_EARLY = 65536;

  /** Under tx_lock: the agent sends what is owed; only the kernel knows how far it has come. */
  public static final int ENDF_PAYER = 131072;

  /** {@code enum hut_end_flags}: the peer has rung without end, and is not heard any more. */
  public static final int ENDF_STORM = 262144;

  /**
   * A holder of tx_lock that is no thread of the program's: an agent, with a number of its own in
   * the other bits.
   */
  public static final int LOCK_AGENT = 0x40000000;

  /** {@code enum hut_msg_flags}: the peer is on another host. */
  public static final int MSGF_REMOTE = 1;

  /** The segment is granted pages, the peer's doorbell an event channel. */
  public static final int MSGF_XEN = 2;

  /** {@code enum hut_member_flags}: listed by this VM's own host agent. */
  public static final int MEMBER_CORESIDENT = 1;

  /** {@code enum hut_member_flags}: this VM itself. */
  public static final int MEMBER_SELF = 2;

  /** {@code enum hut_msg_type}. */
  public static final int MSG_HELLO = 1;

  /** {@code enum hut_msg_type}. */
  public static final int MSG_WELCOME = 2;

  /** {@code enum hut_msg_type}. */
  public static final int MSG_REGISTER = 3;

  /** {@code enum hut_msg_type}. */
  public static final int MSG_DECLINED = 4;

  /** {@code enum hut_msg_type}. */
  public static final int MSG_CHANNEL = 5;

  /** {@code enum hut_msg_type}. */
  public static final int MSG_GONE = 6;

  private Abi() {}
}
