// SPDX-License-Identifier: Apache-2.0
package hutong.transport.internal.engine;

import hutong.transport.internal.datagram.Datagram;
import hutong.transport.internal.datagram.DropCause;
import hutong.transport.internal.datagram.Header;
import java.nio.ByteBuffer;
import java.util.Arrays;

/**
 * The channel table (M1.2): which flow a datagram is for, by the index in its H-chan and the
 * address that it came from. Frames for closed channels and from other senders are counted and
 * dropped before any of their bytes but H-chan is looked at. Confined to one thread; receiving
 * allocates nothing.
 */
public final class FlowTable {
  private static final int MOST = 1 << 16;

  private final long[] drops = new long[DropCause.COUNT];
  private Flow[] flows = new Flow[64];
  private long[] peers = new long[64];

  /**
   * Opens an entry.
   *
   * @param flow its H-chan gives the index
   * @param peer the only address to be listened to, as the wire numbers them (a MAC address)
   * @throws IllegalStateException when the entry is taken
   */
  public void open(Flow flow, long peer) {
    int index = Header.index(flow.localChannel());
    if (index >= flows.length) {
      int size = Math.min(MOST, Integer.highestOneBit(index) << 1);
      flows = Arrays.copyOf(flows, size);
      peers = Arrays.copyOf(peers, size);
    }
    if (flows[index] != null) {
      throw new IllegalStateException("entry " + index + " is taken");
    }
    flows[index] = flow;
    peers[index] = peer;
  }

  /** The flow's peer has another address on this wire, or is known only now. */
  public void peer(Flow flow, long peer) {
    int index = Header.index(flow.localChannel());
    if (index < flows.length && flows[index] == flow) {
      peers[index] = peer;
    }
  }

  /** Closes that flow's entry; later datagrams for it are dropped. */
  public void close(Flow flow) {
    int index = Header.index(flow.localChannel());
    if (index < flows.length && flows[index] == flow) {
      flows[index] = null;
    }
  }

  /** The flow that a datagram is for by its H-chan, or null; nothing is checked yet. */
  public Flow find(ByteBuffer datagram) {
    int index = Header.index(Datagram.channelOf(datagram));
    return index < flows.length ? flows[index] : null;
  }

  /**
   * Hands a datagram to its flow.
   *
   * @param datagram see {@link Flow#receive}
   * @param peer where it came from
   * @param hereNs see {@link Flow#receive(ByteBuffer, long, long)}
   * @return why it was not taken, or {@link DropCause#NONE}
   */
  public DropCause receive(ByteBuffer datagram, long peer, long now, long hereNs) {
    if (datagram.remaining() < Header.BYTES) {
      return drop(DropCause.TOO_SHORT);
    }
    Flow flow = find(datagram);
    if (flow == null) {
      return drop(DropCause.NO_CHANNEL);
    }
    if (peers[Header.index(flow.localChannel())] != peer) {
      return drop(DropCause.WRONG_PEER);
    }
    return flow.receive(datagram, now, hereNs);
  }

  /** Datagrams dropped before they reached a flow. */
  public long drops(DropCause cause) {
    return drops[cause.ordinal()];
  }

  private DropCause drop(DropCause cause) {
    drops[cause.ordinal()]++;
    return cause;
  }
}
