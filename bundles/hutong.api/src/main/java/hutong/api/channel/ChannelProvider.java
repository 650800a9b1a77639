// SPDX-License-Identifier: Apache-2.0
package hutong.api.channel;

import hutong.api.os.Fd;
import java.io.IOException;
import java.util.List;

/**
 * How the programs of two VMs of a host come to share a segment and to ring each other (M5.3). One
 * VM makes it, its agent tells the other's agent, and that one takes it. Thread-safe.
 */
public interface ChannelProvider {
  /** What carries this VM's channels, for display: {@code memfd} or {@code xen}. */
  String name();

  /** Bytes of one ring of a segment made here; a power of two. */
  int ringSize();

  /** Bytes of one overflow of a segment made here; a power of two. */
  int overSize();

  /**
   * Whether segment and doorbells travel as descriptors between the agents. If not, {@link
   * Part#ticket} says all.
   */
  boolean passesDescriptors();

  /** Whether only programs of root may have channels (architecture, decision 14). */
  boolean rootOnly();

  /**
   * Makes a segment for this VM and another: zeroed whole pages, its header filled in.
   *
   * @param peerVm the other VM's domain id
   * @return this VM's part; becomes the caller's
   * @throws IOException when there is no memory, no descriptor or no grant left
   */
  Part share(int peerVm) throws IOException;

  /**
   * Takes what another VM's agent has shared.
   *
   * @param peerVm that VM's domain id
   * @param ringSize bytes of one ring, as its agent says
   * @param overSize bytes of one overflow, as its agent says
   * @param ticket {@link Part#ticket} of its part, as its agent says
   * @param fds segment and doorbell where those are passed; they stay the caller's unless they are
   *     in the result
   * @return this VM's part; becomes the caller's
   * @throws SegmentException when it is not what it must be
   * @throws IOException when it cannot be looked at
   */
  Part take(int peerVm, int ringSize, int overSize, List<Integer> ticket, List<Fd> fds)
      throws IOException;

  /**
   * One VM's part of a segment.
   *
   * @param segment the memory
   * @param doorbell what this VM's program rings, and on Xen waits for; null where it comes with
   *     the peer's answer
   * @param port the event channel's port in this VM; 0 where the doorbell is none
   * @param ticket what the peer must know to take it: on Xen the port, then the grant references
   */
  record Part(Fd segment, Fd doorbell, int port, List<Integer> ticket) implements AutoCloseable {
    /** Copies the ticket. */
    public Part {
      ticket = List.copyOf(ticket);
    }

    /** Closes the descriptors; programs that have them keep what they mean. */
    @Override
    public void close() {
      segment.close();
      if (doorbell != null) {
        doorbell.close();
      }
    }
  }
}
