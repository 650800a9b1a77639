// SPDX-License-Identifier: Apache-2.0
package hutong.platform.abi;

/** One direction of a segment, {@code struct hut_dir}: offsets from the start of the direction. */
public final class DirLayout {
  /** 64 bits: bytes before this stream offset are valid. */
  public static final int TAIL = 0;

  /** 64 bits: S, valid from prod_round = r on. */
  public static final int START = 8;

  /** 64 bits: from this offset on bytes are in the overflow area. */
  public static final int SPLIT = 16;

  /** 64 bits: bytes before this stream offset are consumed; below start: not at the ring yet. */
  public static final int HEAD = 64;

  /** 32 bits. */
  public static final int CONS_WAIT = 128;

  /** 32 bits: {@code enum hut_cons_mark} bits. */
  public static final int CONS_MARK = 132;

  /** 32 bits: the last round that was armed. */
  public static final int CONS_ROUND = 136;

  /** 64 bits: round, {@code enum hut_turn} and the low 32 bits of an offset. */
  public static final int TURN = 144;

  /** 32 bits. */
  public static final int PROD_WAIT = 192;

  /** 32 bits: {@code enum hut_prod_mark} bits. */
  public static final int PROD_MARK = 196;

  /** 32 bits: the last round whose bytes went to the ring. */
  public static final int PROD_ROUND = 200;

  /** 32 bits: the last round that is over for the producer. */
  public static final int PROD_DONE = 204;

  /** Bytes of the whole structure. */
  public static final int SIZE = 256;

  private DirLayout() {}
}
