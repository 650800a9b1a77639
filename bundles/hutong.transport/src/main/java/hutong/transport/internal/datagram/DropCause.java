// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.datagram;

/**
 * Why a datagram was not taken. The number is {@link #ordinal()} and is shown to people, so entries
 * are only ever added at the end. None of them changes a byte of the stream.
 */
public enum DropCause {
  /** 0: taken. */
  NONE,
  /** 1: shorter than the header, or than the header and the MAC where one is configured. */
  TOO_SHORT,
  /** 2: H-len does not agree with the bytes that arrived, or a data datagram has none (H-len). */
  BAD_LENGTH,
  /** 3: H-sum is not the CRC32C (H-sum). */
  BAD_CHECKSUM,
  /** 4: the MAC is not that of the channel's key (D6). */
  BAD_MAC,
  /** 5: no such entry in the channel table (H-chan). */
  NO_CHANNEL,
  /** 6: it did not come from the address of the channel's peer. */
  WRONG_PEER,
  /** 7: the entry is, or was, another connection's, or the epoch is an older one (H-chan, D4). */
  WRONG_GENERATION,
  /** 8: a resume announcement of an epoch that is over. */
  STALE_EPOCH,
  /** 9: this end waits for the peer's announcement and takes nothing else. */
  NOT_RESUMED,
  /** 10: H-seq lies outside the window W (H-seq). */
  OUTSIDE_WINDOW,
  /** 11: that data is here already; answered, not stored. */
  DUPLICATE,
  /** 12: H-idx contradicts H-seq or what was received before (H-idx). */
  BAD_INDEX,
  /** 13: the data would not fit into the room that was announced. */
  OUTSIDE_CREDIT,
  /** 14: data past the agreed switch offset or past the peer's END (D5, rule 17). */
  PAST_END,
  /** 15: H-ackseq or H-ackidx acknowledges what was never sent. */
  BAD_ACKNOWLEDGEMENT,
  /** 16: control items that cannot be read, or that contradict each other. */
  MALFORMED_CONTROL;

  /** How many there are. */
  public static final int COUNT = values().length;
}
