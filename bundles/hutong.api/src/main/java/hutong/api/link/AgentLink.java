// SPDX-License-Identifier: Apache-2.0
package hutong.api.link;

import hutong.api.os.Fd;
import java.io.IOException;
import java.util.List;

/** The way to the agents of co-resident VMs. Safe for use by several threads. */
public interface AgentLink {
  /** Whether the host agent's router is reached. */
  boolean connected();

  /**
   * Sends one message; messages to one peer arrive in order, or not at all once it went down.
   *
   * @param domid the receiving VM
   * @param payload the message
   * @param fds descriptors to pass; they stay the caller's, who may close them when this returns
   * @throws IOException when the router or the peer cannot be reached, or its queue is full
   */
  void send(int domid, byte[] payload, List<? extends Fd> fds) throws IOException;
}
