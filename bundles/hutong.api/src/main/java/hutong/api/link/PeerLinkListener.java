// SPDX-License-Identifier: Apache-2.0
package hutong.api.link;

/** Whiteboard service. */
public interface PeerLinkListener {
  void onPeerMessage(PeerId from, int topic, byte[] payload);

  void onPeerLinkUp(PeerId peer);

  void onPeerLinkDown(PeerId peer);
}
