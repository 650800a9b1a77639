// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

/**
 * One entry of the channel table: a number of ours, from the registration of a connection's end
 * until both ends are gone. Used by one thread at a time; the table may be listed by others
 * meanwhile.
 */
public interface Channel {
  /** What an entry is at. */
  enum State {
    /** The local end is registered; the peer's is not known. */
    PENDING,
    /** The segment was offered to the peer's agent. */
    SETUP,
    /** Both programs have the segment. */
    OPEN,
    /** The local end is gone, the peer's maybe not yet. */
    CLOSING
  }

  /** The channel number: 16-bit index, 16-bit random generation above it (D4); never 0. */
  int number();

  /** What the entry is at. */
  State state();

  /** Notes a new state. */
  void state(State state);

  /** The peer's VM. */
  int peerVm();

  /** Notes another peer, when the VM of that address has got another domain id. */
  void peerVm(int domid);

  /** The peer's channel number, 0 while unknown. */
  int peerNumber();

  /**
   * Notes the peer (M2.3).
   *
   * @param number the peer's channel number, 0 for none
   * @param mac the MAC address of its VM, 48 bits in the low end
   */
  void peer(int number, long mac);

  /**
   * Charges a segment to the VM's and the user's quota; an entry is charged once at most.
   *
   * @param ringSize bytes of one ring
   * @param overSize bytes of one overflow
   * @return false if a quota is used up; nothing is charged then
   */
  boolean charge(int ringSize, int overSize);

  /** Takes the charge back, if there is one. */
  void refund();

  /** Says who can tell about the use of this channel. */
  void use(ChannelUse use);

  /** Gives number and charge back. Harmless when done twice; the entry is of no use afterwards. */
  void release();
}
