// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import java.nio.ByteBuffer;

/** Opens sockets that move many datagrams by one system call. */
public interface BatchSockets {
  /**
   * A packet socket (packet(7), SOCK_DGRAM) for one EtherType on one interface; datagrams are what
   * follows the Ethernet header. It does not see what this host sends itself.
   *
   * @param interfaceName the interface
   * @param etherType for example 0x88B5
   * @param out the send memory, direct
   * @param slots most datagrams in one call
   * @param slotBytes room for a received datagram
   * @throws OsException without the privilege, or without the interface
   */
  BatchSocket openPacket(
      String interfaceName, int etherType, ByteBuffer out, int slots, int slotBytes)
      throws OsException;

  /**
   * A UDP socket that receives merged datagrams (UDP_GRO) where the kernel can, and never fragments
   * (the DF bit; RFC 8899).
   *
   * @param address local IP address, 4 or 16 bytes
   * @param port local port; 0: any
   * @param out the send memory, direct
   * @param slots most datagrams in one call
   * @param slotBytes room for a received, perhaps merged, datagram
   */
  BatchSocket openUdp(byte[] address, int port, ByteBuffer out, int slots, int slotBytes)
      throws OsException;
}
