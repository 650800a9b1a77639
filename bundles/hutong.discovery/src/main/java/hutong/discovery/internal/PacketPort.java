// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.os.Fd;
import hutong.platform.EventLoop;
import hutong.platform.OsException;
import hutong.platform.Packet;
import hutong.platform.Poller;
import hutong.platform.Sockets;
import java.util.function.Consumer;

/**
 * The packet socket for lists on one interface; opened when it is first needed and again after an
 * error, since an interface may come late, go and come again. Used by its loop's thread only.
 */
final class PacketPort implements AutoCloseable {
  private static final int FRAMES_AT_ONCE = 64;

  private final Sockets sockets;
  private final EventLoop loop;
  private final String interfaceName;
  private final Consumer<byte[]> receiver;
  private final Tally tally;
  private Fd fd;
  private boolean complained;

  /**
   * Creates the port; opens nothing.
   *
   * @param receiver given the data of each frame that comes in; null if only sending is wanted
   */
  PacketPort(
      Sockets sockets,
      EventLoop loop,
      String interfaceName,
      Consumer<byte[]> receiver,
      Tally tally) {
    this.sockets = sockets;
    this.loop = loop;
    this.interfaceName = interfaceName;
    this.receiver = receiver;
    this.tally = tally;
  }

  /** Opens the socket unless it is open; returns whether it is now. */
  boolean open() {
    if (fd != null) {
      return true;
    }
    try {
      fd = sockets.packetOpen(interfaceName, ListCodec.ETHER_TYPE);
      loop.add(fd, receiver == null ? 0 : Poller.IN, this::ready);
      complained = false;
      return true;
    } catch (OsException e) {
      failed(e);
      return false;
    }
  }

  private void ready(int events) {
    try {
      for (int i = 0; i < FRAMES_AT_ONCE && fd != null; i++) {
        // One byte more than allowed, so that an oversize datagram shows.
        Packet packet = sockets.packetRecv(fd, ListCodec.MAX_BYTES + 1);
        if (packet == null) {
          return;
        }
        if (receiver != null) {
          receiver.accept(packet.data());
        }
      }
    } catch (OsException e) {
      failed(e);
    }
  }

  /** Most bytes of a datagram here. */
  int mtu() throws OsException {
    return sockets.mtu(interfaceName);
  }

  /** Sends one datagram to all; returns whether the kernel took it. */
  boolean broadcast(byte[] data) {
    if (!open()) {
      return false;
    }
    try {
      byte[] everybody = {-1, -1, -1, -1, -1, -1};
      sockets.packetSend(fd, everybody, data);
      return true;
    } catch (OsException e) {
      if (e.errno() != OsException.EAGAIN) {
        failed(e);
      }
      return false;
    }
  }

  private void failed(OsException e) {
    if (!complained) {
      complained = true;
      tally.warn("no lists on " + interfaceName + ": " + e.getMessage());
    }
    close();
  }

  @Override
  public void close() {
    if (fd != null) {
      loop.remove(fd);
      fd.close();
      fd = null;
    }
  }
}
