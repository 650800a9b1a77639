// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.channel.Channel;
import hutong.api.channel.ChannelProvider;
import hutong.api.intercept.Reason;
import hutong.api.link.PeerId;
import hutong.api.os.Fd;
import hutong.api.transport.Line;

/**
 * One end of a connection that a program registered, until the program withdraws it; then, where a
 * channel was set up, until the peer's end is gone too. Fields belong to {@link Matcher}'s thread,
 * except where said otherwise.
 */
final class Registration {
  /** What the matching calls when a registration gets its answer. */
  interface Owner {
    /**
     * The channel stands.
     *
     * @param registration which one
     * @param side which direction this end produces
     * @param segment the memory; becomes the owner's
     * @param peerDoorbell the peer's doorbell; becomes the owner's
     */
    void onChannel(Registration registration, int side, Fd segment, Fd peerDoorbell);

    /** The peer's end of the channel is registered no more; the registration goes on. */
    void onPeerGone(Registration registration);

    /** The bytes of a connection between hosts are lost: it must be reset. */
    void onLost(Registration registration);

    /**
     * The domain whose end is gone already is gone as well: its memory is of use only as long as
     * something in it is unread.
     */
    void onDomainGone(Registration registration);

    /** There will be no channel. The registration is over already. */
    void onDeclined(Registration registration, Reason reason);
  }

  final AddressPair pair;
  final long cookie;
  final int uid;
  final Channel channel;
  final Owner owner;
  final long sinceMs;

  /** The allocator keeps its part until the other end has its own. */
  ChannelProvider.Part part;

  /** The event channel's port in this VM; 0 where doorbells are eventfds. */
  int port;

  /** Own program's doorbell, borrowed: sent to the peer, which may ask again. */
  final Fd doorbell;

  /** The peer's VM if it is on another host, else null. */
  PeerId far;

  /** What the program's pool says; null for a peer on this host. */
  ProgramEnd end;

  /** What carries a connection between hosts, once there is a channel. */
  Line line;

  long peerMac;
  int ringSize;
  int overSize;
  boolean opened;

  /** How often the peer's agent has turned its memory down, as one that knows nothing of it. */
  int turnedDown;

  boolean localGone;
  boolean remoteGone;

  /** With {@link #remoteGone}: only the peer's agent has forgotten its end, which may be there. */
  boolean remoteForgotten;

  /** The peer's domain is gone, and the owner knows. */
  boolean domainGone;

  Registration(
      AddressPair pair,
      long cookie,
      int uid,
      Channel channel,
      Fd doorbell,
      Owner owner,
      long sinceMs) {
    this.pair = pair;
    this.cookie = cookie;
    this.uid = uid;
    this.channel = channel;
    this.doorbell = doorbell;
    this.owner = owner;
    this.sinceMs = sinceMs;
  }

  boolean in(Channel.State state) {
    return channel.state() == state;
  }

  void closePart() {
    if (part != null) {
      part.close();
      part = null;
    }
  }
}
