// SPDX-License-Identifier: Apache-2.0
package hutong.api.link;

import hutong.api.os.Fd;
import java.util.List;

/**
 * Whiteboard service: told what comes over the agent link, on the link bundle's thread. Must return
 * soon.
 */
public interface AgentLinkListener {
  /**
   * A message came.
   *
   * @param fromDomid the sending VM, as the router vouches for it
   * @param payload the message; its content is the peer's word only
   * @param fds the descriptors passed; the listener closes them
   */
  void onMessage(int fromDomid, byte[] payload, List<Fd> fds);

  /** A VM's agent can be reached; also called for each such VM when the listener appears. */
  void onPeerUp(int domid);

  /** A VM's agent, or the way to it, went away; what it sent before is void. */
  void onPeerDown(int domid);

  /**
   * A message that this agent sent was dropped: the receiver's queue was full. Its descriptors were
   * closed.
   *
   * @param domid the VM that it was for
   * @param payload the message
   */
  default void onUndelivered(int domid, byte[] payload) {}
}
