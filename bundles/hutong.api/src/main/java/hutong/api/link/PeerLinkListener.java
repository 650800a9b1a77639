// SPDX-License-Identifier: Apache-2.0
package hutong.api.link;

/**
 * Whiteboard service: told what happens on the links to other hosts, on the link's own thread. Must
 * return soon; may send.
 */
public interface PeerLinkListener {
  /**
   * A message came. Messages on topics that are not the listener's are to be ignored.
   *
   * @param from the sending VM, as its key proves
   * @param topic 0 to 255: the service that the message is for
   * @param payload the message; its content is the peer's word only. All listeners get the same
   *     array and must not change it
   */
  void onPeerMessage(PeerId from, int topic, byte[] payload);

  /** A link is up; also called for each such link when the listener appears. */
  void onPeerLinkUp(PeerId peer);

  /** A link is down; what was under way either way is void. */
  void onPeerLinkDown(PeerId peer);

  /**
   * A peer that somebody wanted has been no member for long, and nobody wants it any more. Who
   * still has business with it says so by {@link PeerLink#want} again; others may forget it too.
   */
  default void onPeerForgotten(PeerId peer) {}
}
