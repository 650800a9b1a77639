// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/** One direction of a segment, {@code struct hut_dir}: offsets from the start of the direction. */
public final class DirLayout {
  /** 64 bits: bytes before this stream offset are valid. */
  public static final int TAIL = 0;

  /** 64 bits: S, valid from prod_round = r on. */
  public static final int START = 8;

  /** 64 bits: valid in HUT_TURN_ENDED. */
  public static final int END = 16;

  /** 64 bits: see above. */
  public static final int SPLIT = 24;

  /** 32 bits: the last round whose bytes went to the ring. */
  public static final int PROD_ROUND = 32;

  /** 32 bits: {@code enum hut_prod_mark} bits. */
  public static final int PROD_MARK = 36;

  /** 32 bits: the last round that is over for the producer. */
  public static final int PROD_DONE = 40;

  /** 64 bits: bytes before this stream offset are consumed; below start: not at the ring yet. */
  public static final int HEAD = 64;

  /** 64 bits: c, valid in HUT_TURN_STOPPED. */
  public static final int STOP = 72;

  /** 32 bits: the last round that was armed. */
  public static final int CONS_ROUND = 80;

  /** 32 bits: {@code enum hut_cons_mark} bits. */
  public static final int CONS_MARK = 84;

  /** 32 bits. */
  public static final int CONS_WAIT = 128;

  /** 32 bits: the round, shifted by 2, and {@code enum hut_turn}. */
  public static final int TURN = 132;

  /** 32 bits. */
  public static final int PROD_WAIT = 192;

  /** Bytes of the whole structure. */
  public static final int SIZE = 256;

  private DirLayout() {}
}
