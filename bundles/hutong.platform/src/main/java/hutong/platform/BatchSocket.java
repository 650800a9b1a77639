// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;
import java.nio.ByteBuffer;

/**
 * A socket that moves many datagrams by one system call, from and to direct memory, without
 * allocation. Non-blocking. Confined to one thread.
 */
public interface BatchSocket extends AutoCloseable {
  /** Where datagrams go; made once and used for many. */
  interface Target {
    /** What {@link BatchSocket#sender} gives for datagrams that come from there. */
    long number();
  }

  /** To be watched for {@link Poller#IN} and {@link Poller#OUT}. */
  Fd fd();

  /**
   * The target for an address.
   *
   * @param address a MAC address (six bytes) on a packet socket, an IP address (4 or 16 bytes) on a
   *     UDP socket
   * @param port the UDP port; 0 on a packet socket
   */
  Target target(byte[] address, int port);

  /**
   * Adds a datagram to those that the next {@link #flush} sends.
   *
   * @param target where it goes
   * @param offset where it begins in the send memory
   * @param length its bytes
   * @param segment 0, or, on a UDP socket, the kernel cuts it into datagrams of so many bytes, the
   *     last of which may be shorter (UDP_SEGMENT of udp(7); at most 64 of them and 65,507 bytes)
   * @return false when as many wait as one call can take
   */
  boolean add(Target target, int offset, int length, int segment);

  /** How many wait. */
  int waiting();

  /**
   * Sends what waits, in order. What the kernel does not take is forgotten: the sender's own
   * acknowledgements find it missing.
   *
   * @return how many were taken; fewer than waited when the kernel has no room (EAGAIN, ENOBUFS)
   * @throws OsException why one was refused, when that has another reason, for example EMSGSIZE;
   *     the others are sent all the same, since they may be for somebody else
   */
  int flush() throws OsException;

  /**
   * Receives what is there; by a packet socket what is addressed to this station alone.
   *
   * @return how many datagrams, 0 when none is; the former ones are void
   */
  int receive() throws OsException;

  /**
   * The memory that {@link #receive} fills, in network byte order; its position and limit are the
   * caller's.
   */
  ByteBuffer received();

  /** Where the i-th received datagram begins. */
  int offset(int i);

  /** Its bytes; one that did not fit is cut, and one byte longer than a slot. */
  int length(int i);

  /**
   * On a UDP socket: so many bytes, each, were datagrams of their own before the kernel put them
   * together (UDP_GRO), the last may be shorter; otherwise {@link #length}.
   */
  int segment(int i);

  /**
   * A number for where the i-th came from: the MAC address, or IPv4 address and port, as they
   * stand; of an IPv6 address and port a mixture. It tells peers apart, and is no authentication.
   */
  long sender(int i);

  /**
   * How long the i-th had been here when {@link #receive} took it, in nanoseconds, as far as the
   * kernel says so: 0 otherwise.
   */
  long waitedNs(int i);

  /** Calls of {@link #add}, ever, whose datagrams the kernel did not take. */
  long refused();

  /**
   * Frames, ever, that a packet socket has seen and not handed over, since they were for another
   * station or for many: a bridge floods what it knows no port for.
   */
  long misdirected();

  /**
   * Datagrams that were lost since the last call, because those before them had not been taken: by
   * a system call.
   */
  long takeLost();

  @Override
  void close();
}
