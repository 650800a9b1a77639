// SPDX-License-Identifier: Apache-2.0
package hutong.api.link;

import java.io.IOException;

/** Authenticated messages to the agents of VMs on other hosts. */
public interface PeerLink {
  void send(PeerId peer, int topic, byte[] payload) throws IOException;

  boolean up(PeerId peer);

  void want(PeerId peer);
}
