// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/**
 * One end of a connection, {@code struct hut_end}: offsets from the start of its slot in the end
 * pool.
 */
public final class EndLayout {
  /** 32 bits: thread id of the holder, 0 when free. */
  public static final int RX_LOCK = 0;

  /** 32 bits: {@code enum hut_end_state}. */
  public static final int STATE = 4;

  /** 32 bits: the one process that uses the ring (rule 18). */
  public static final int OWNER_PID = 8;

  /** 32 bits: processes that hold the descriptor. */
  public static final int HOLDERS = 12;

  /** 32 bits: {@code enum hut_reason}: why on TCP. */
  public static final int REASON = 16;

  /** 32 bits: {@code enum hut_path}. */
  public static final int RX_PATH = 20;

  /** 32 bits: {@code enum hut_path}. */
  public static final int TX_PATH = 24;

  /** 32 bits: counted up by the agent when a control message waits. */
  public static final int AGENT_NOTE = 28;

  /** 64 bits: SO_COOKIE. */
  public static final int COOKIE = 32;

  /** 64 bits: bytes moved by the kernel's TCP . */
  public static final int TCP_IN = 40;

  /** 64 bits. */
  public static final int TCP_OUT = 48;

  /** 64 bits: ... and by the ring. */
  public static final int RING_IN = 56;

  /** 64 bits. */
  public static final int RING_OUT = 64;

  /** 64 bits: own cursor: stream offset of the next byte to take from the ring. */
  public static final int RX_HEAD = 72;

  /** 64 bits: own cursor: stream offset of the next byte to put into the ring. */
  public static final int TX_TAIL = 80;

  /** 64 bits: last validated cursor of the peer's reader. */
  public static final int TX_HEAD = 88;

  /** 64 bits: own split. */
  public static final int TX_SPLIT = 96;

  /** 64 bits: validated S of the peer. */
  public static final int RX_START = 104;

  /** 64 bits: validated end of the peer, UINT64_MAX while none. */
  public static final int RX_END = 112;

  /** 32 bits: O_NONBLOCK of the open file description. */
  public static final int NONBLOCK = 120;

  /** 32 bits: {@code enum hut_end_flags}. */
  public static final int FLAGS = 124;

  /** 32 bits: raw TCP calls under way. */
  public static final int INFLIGHT = 128;

  /** 32 bits: own channel number. */
  public static final int CHAN = 132;

  /** 32 bits: descriptor number in the owner, for display. */
  public static final int FD = 136;

  /** 32 bits: threads in a wait that cannot see the doorbell (rule 4b). */
  public static final int RAW_WAITS = 140;

  /** 32 bits: like rx_lock; taken after it where both are. */
  public static final int TX_LOCK = 144;

  /** 64 bits: own S. */
  public static final int TX_START = 152;

  /** 32 bits: last round that this end has armed. */
  public static final int RX_ROUND = 160;

  /** 32 bits: last round that this end has sent in, or has passed over. */
  public static final int TX_ROUND = 164;

  /** 32 bits: set by the agent: the peer's end is registered no more; a hint. */
  public static final int AGENT_GONE = 168;

  /** 32 bits: counted up when a forked child becomes the owner. */
  public static final int OWNER_GEN = 172;

  /** 32 bits: set by the agent: go back to TCP for good, a reason. */
  public static final int AGENT_STOP = 176;

  /** 32 bits: the own doorbell in the owner: an agent that was restarted finds it here. */
  public static final int BELL_FD = 180;

  /** 32 bits: ... and the peer's. */
  public static final int PEER_BELL_FD = 184;

  /** 32 bits: set by the agent: the domain that the segment is shared with; 0: not told. */
  public static final int AGENT_PEER = 188;

  /** 32 bits: set by the agent: the domain that this VM was then; 0: not told. */
  public static final int AGENT_SELF = 192;

  /** Bytes of the whole structure. */
  public static final int SIZE = 256;

  private EndLayout() {}
}
