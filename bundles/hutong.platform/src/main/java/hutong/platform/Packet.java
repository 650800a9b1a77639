// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

/**
 * A frame from a packet socket, without its Ethernet header.
 *
 * @param sourceMac the sender's address as the frame has it: no proof of anything
 * @param data what follows the Ethernet header, with Ethernet's padding
 * @param type 0 to this host, 1 broadcast, 2 multicast, 3 to another host, 4 sent by this host
 */
public record Packet(byte[] sourceMac, byte[] data, int type) {}
