// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;

/**
 * Unix sockets of type SEQPACKET, facts about TCP sockets, packet sockets. All sockets are
 * non-blocking and CLOEXEC.
 */
public interface Sockets {
  /**
   * Listens at an abstract address (visible in this network namespace).
   *
   * @param name the address without its leading NUL
   * @param backlog waiting connections
   */
  Fd unixSeqpacketListenAbstract(String name, int backlog) throws OsException;

  /**
   * Listens at a path; a stale socket there is replaced.
   *
   * @param path where; at most 107 bytes
   * @param mode its permission bits, for example 0600 (octal)
   * @param backlog waiting connections
   */
  Fd unixSeqpacketListenPath(Path path, int mode, int backlog) throws OsException;

  /** Connects to an abstract address. */
  Fd unixSeqpacketConnectAbstract(String name) throws OsException;

  /** Connects to a path. */
  Fd unixSeqpacketConnectPath(Path path) throws OsException;

  /** A connected pair. */
  List<Fd> unixSeqpacketPair() throws OsException;

  /** Takes one waiting connection; null when none waits. */
  Fd accept(Fd listener) throws OsException;

  /**
   * Sends one message, never raising SIGPIPE. An {@link OsException#wouldBlock()} means that
   * nothing was sent.
   *
   * @param socket the socket
   * @param data the message, not empty (an empty one looks like the end of the stream)
   * @param fds descriptors to pass, at most 253; they stay the caller's
   */
  void send(Fd socket, byte[] data, List<? extends Fd> fds) throws OsException;

  /**
   * Sends bytes on a stream, never waiting, never raising SIGPIPE.
   *
   * @param socket the socket; its own blocking mode does not matter
   * @param data not empty
   * @return how many were taken; 0 when it takes none now
   */
  int sendStream(Fd socket, byte[] data) throws OsException;

  /**
   * How many bytes a TCP connection was given to send, acknowledged or not; of the side that
   * connected the SYN counts as one, once it is acknowledged (tcp(7), TCP_INFO and SIOCOUTQ).
   *
   * @return empty while acknowledgements come in, or when the connection carries nothing any more
   */
  OptionalLong tcpSent(Fd socket) throws OsException;

  /**
   * Receives one message; the descriptors in it are CLOEXEC.
   *
   * @param socket the socket
   * @param maxBytes the longest message wanted, at most 1 MiB
   * @param maxFds the most descriptors wanted, at most 253
   * @return the message, or null when none waits
   */
  Received recv(Fd socket, int maxBytes, int maxFds) throws OsException;

  /** Who is at the other end of a Unix socket, at the time it connected. */
  PeerCred peerCred(Fd socket) throws OsException;

  /** What the kernel says about a socket; {@link OsException#ENOTSOCK} when it is none. */
  SocketFacts tcpFacts(Fd socket) throws OsException;

  /**
   * Opens a packet socket for one EtherType on one interface. It does not see what this host sends
   * itself.
   *
   * @param interfaceName the interface
   * @param etherType for example 0x88B5
   */
  Fd packetOpen(String interfaceName, int etherType) throws OsException;

  /**
   * Sends one frame.
   *
   * @param packetSocket from {@link #packetOpen}
   * @param destinationMac six bytes
   * @param data what follows the Ethernet header, at most the MTU
   */
  void packetSend(Fd packetSocket, byte[] destinationMac, byte[] data) throws OsException;

  /**
   * Receives one frame; a longer one is cut.
   *
   * @param packetSocket from {@link #packetOpen}
   * @param maxBytes the most data wanted, at most 1 MiB
   * @return the frame, or null when none waits
   */
  Packet packetRecv(Fd packetSocket, int maxBytes) throws OsException;

  /** The interface's MTU in bytes. */
  int mtu(String interfaceName) throws OsException;

  /** The interface's MAC address, six bytes. */
  byte[] mac(String interfaceName) throws OsException;

  /** A MAC address as text, for example {@code 02:77:00:00:00:01}. */
  static String macText(byte[] mac) {
    StringBuilder out = new StringBuilder(17);
    for (byte b : mac) {
      out.append(out.length() == 0 ? "" : ":").append(Character.forDigit(b >> 4 & 15, 16));
      out.append(Character.forDigit(b & 15, 16));
    }
    return out.toString();
  }

  /**
   * A MAC address from its text.
   *
   * @throws IllegalArgumentException when it is none
   */
  static byte[] macBytes(String text) {
    if (!text.matches("[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")) {
      throw new IllegalArgumentException("not a MAC address: " + text);
    }
    byte[] out = new byte[6];
    for (int i = 0; i < 6; i++) {
      out[i] = (byte) Integer.parseInt(text.substring(3 * i, 3 * i + 2), 16);
    }
    return out;
  }
}
