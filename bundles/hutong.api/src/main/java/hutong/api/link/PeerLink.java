// SPDX-License-Identifier: Apache-2.0
package hutong.api.link;

import java.io.IOException;
import java.util.Map;

/**
 * The way to the agents of VMs on other hosts. Both ends are authenticated with the keys in the
 * signed lists, and what is sent is encrypted. Safe for use by several threads.
 *
 * <p>A link goes up when somebody at either end wants it. While it is up, messages arrive in order
 * and none is lost. When it goes down, all that was under way is void, and users start again from
 * {@link PeerLinkListener#onPeerLinkUp}. A link can go down and up again between two calls: who
 * sends from a thread of his own and must not continue an old dialogue on a new link orders his
 * sends and the callbacks with a lock of his own.
 */
public interface PeerLink {
  /** Most bytes of a message. */
  int MAX_MESSAGE = 65_536;

  /** How a link is. */
  enum State {
    /** The peer is no member on another host, or it has no key. */
    UNREACHABLE,
    /** Nobody here wants it, and the peer does not either. */
    IDLE,
    /** Wanted and not there yet. */
    CONNECTING,
    /** Messages can be sent. */
    UP
  }

  /**
   * Sends a message. It never waits: what the network does not take at once is queued.
   *
   * @param peer a VM on another host
   * @param topic 0 to 255: the service that the message is for
   * @param payload at most {@link #MAX_MESSAGE} bytes; copied
   * @throws IOException when the link is not up (which makes this agent want it) or its queue is
   *     full; the message is not sent then
   * @throws IllegalArgumentException when topic or length are out of bounds
   */
  void send(PeerId peer, int topic, byte[] payload) throws IOException;

  /** Whether messages can be sent to that VM's agent now. */
  boolean up(PeerId peer);

  /**
   * Makes this agent connect and keep trying as long as the peer is a member on another host; does
   * not wait. Holds until {@link PeerLinkListener#onPeerForgotten}.
   */
  void want(PeerId peer);

  /** All peers that somebody wants or wanted, unless they are forgotten, for display. */
  Map<PeerId, State> list();
}
