// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/** A control message between shim and agent, {@code struct hut_msg}. */
public final class MessageLayout {
  /** 32 bits: {@code enum hut_msg_type}. */
  public static final int TYPE = 0;

  /** 32 bits: HUT_ABI_VERSION. */
  public static final int VERSION = 4;

  /** 32 bits: the shim's own number for the connection, unique in this control connection. */
  public static final int REF = 8;

  /** 32 bits: REGISTER: descriptor number of the TCP socket in the caller. */
  public static final int FD = 12;

  /** 64 bits: REGISTER: SO_COOKIE of that socket. */
  public static final int COOKIE = 16;

  /** 32 bits: REGISTER: index in the end pool. */
  public static final int SLOT = 24;

  /** 32 bits: DECLINED, GONE: {@code enum hut_reason}. */
  public static final int REASON = 28;

  /** 32 bits: CHANNEL: this end produces dir[side]. */
  public static final int SIDE = 32;

  /** 32 bits: CHANNEL. */
  public static final int RING_SIZE = 36;

  /** 32 bits: CHANNEL. */
  public static final int OVER_SIZE = 40;

  /** 32 bits: CHANNEL: own channel number, 16-bit index | 16-bit generation shifted by 16. */
  public static final int CHAN = 44;

  /** 32 bits: CHANNEL. */
  public static final int PEER_CHAN = 48;

  /** Bytes, 6 of them: CHANNEL (M2.3). */
  public static final int PEER_MAC = 52;

  /** 16 bits: CHANNEL: {@code enum hut_msg_flags}. */
  public static final int FLAGS = 58;

  /** 32 bits: CHANNEL on Xen: the event channel's port in this VM. */
  public static final int PORT = 60;

  /** Bytes of the whole structure. */
  public static final int SIZE = 64;

  private MessageLayout() {}
}
