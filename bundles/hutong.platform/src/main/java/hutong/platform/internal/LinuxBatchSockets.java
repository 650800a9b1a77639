// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.BatchSocket;
import hutong.platform.BatchSockets;
import hutong.platform.OsException;
import java.nio.ByteBuffer;
import java.security.SecureRandom;
import jnr.ffi.Pointer;
import org.osgi.service.component.annotations.Component;

/** {@link BatchSockets} on Linux. */
@Component(service = BatchSockets.class)
public final class LinuxBatchSockets implements BatchSockets {
  private static final int AF_INET = 2;
  private static final int AF_INET6 = 10;
  private static final int SOCK_DGRAM = 2;
  private static final int NONBLOCK_CLOEXEC = LibC.O_NONBLOCK | LibC.O_CLOEXEC;
  private static final int SIZEOF_SOCKADDR_IN = 16;
  private static final int SIZEOF_SOCKADDR_IN6 = 28;
  private static final int SOL_SOCKET = 1;
  private static final int SO_SNDBUFFORCE = 32;
  private static final int SO_RCVBUFFORCE = 33;
  private static final int SOL_IP = 0;
  private static final int IP_MTU_DISCOVER = 10;
  private static final int SOL_IPV6 = 41;
  private static final int IPV6_MTU_DISCOVER = 23;
  private static final int PMTUDISC_PROBE = 3;
  private static final int SOL_PACKET = 263;
  private static final int PACKET_IGNORE_OUTGOING = 23;

  /** Bytes that may wait in a socket: a few windows of many channels. */
  private static final int BUFFER_BYTES = 8 << 20;

  @Override
  public BatchSocket openPacket(
      String interfaceName, int etherType, ByteBuffer out, int slots, int slotBytes)
      throws OsException {
    int index = PacketAddress.index(interfaceName);
    // opened without a protocol, so that nothing comes in before it is bound to the interface
    Fd socket = open(PacketAddress.AF_PACKET);
    try {
      set(socket, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
      buffers(socket);
      MmsgSocket.Family family = new LinkFamily(etherType, index);
      BatchSocket opened = ring(socket, family, out, slots, slotBytes);
      Pointer name = Scratch.get(PacketAddress.BYTES);
      PacketAddress.write(name, etherType, index, new byte[0]);
      LibC.check(
          "bind " + interfaceName, LibC.INSTANCE.bind(socket.number(), name, PacketAddress.BYTES));
      return opened;
    } catch (OsException | RuntimeException e) {
      socket.close();
      throw e;
    }
  }

  private static BatchSocket ring(
      Fd socket, MmsgSocket.Family family, ByteBuffer out, int slots, int slotBytes) {
    try {
      return RingSocket.of(
          socket, new MmsgSocket(socket, family, out, slots, 1, 1), slots, slotBytes);
    } catch (OsException e) {
      return new MmsgSocket(socket, family, out, slots, slots, slotBytes); // one copy more
    }
  }

  @Override
  public BatchSocket openUdp(byte[] address, int port, ByteBuffer out, int slots, int slotBytes)
      throws OsException {
    MmsgSocket.Family family = address.length == 4 ? new Ipv4Family() : new Ipv6Family();
    Fd socket = open(address.length == 4 ? AF_INET : AF_INET6);
    try {
      // DF, and no look at what the kernel believes of the path: full-size probes decide (D5)
      if (address.length == 4) {
        set(socket, SOL_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE);
      } else {
        set(socket, SOL_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE);
      }
      set(socket, MmsgSocket.SOL_UDP, MmsgSocket.UDP_GRO, 1);
      buffers(socket);
      Pointer name = Scratch.get(SIZEOF_SOCKADDR_IN6);
      int length = family.write(name, address, port);
      LibC.check("bind UDP port " + port, LibC.INSTANCE.bind(socket.number(), name, length));
      return new MmsgSocket(socket, family, out, slots, slots, slotBytes);
    } catch (OsException | RuntimeException e) {
      socket.close();
      throw e;
    }
  }

  private static Fd open(int domain) throws OsException {
    return new OwnedFd(
        LibC.check("socket", LibC.INSTANCE.socket(domain, SOCK_DGRAM | NONBLOCK_CLOEXEC, 0)));
  }

  static void set(Fd socket, int level, int option, int value) throws OsException {
    Pointer p = Scratch.get(4);
    p.putInt(0, value);
    LibC.check(
        "setsockopt " + level + " " + option,
        LibC.INSTANCE.setsockopt(socket.number(), level, option, p, 4));
  }

  /** Larger than the system's limit for everybody; without the privilege they stay as they are. */
  private static void buffers(Fd socket) {
    Pointer p = Scratch.get(4);
    p.putInt(0, BUFFER_BYTES);
    LibC.INSTANCE.setsockopt(socket.number(), SOL_SOCKET, SO_SNDBUFFORCE, p, 4);
    LibC.INSTANCE.setsockopt(socket.number(), SOL_SOCKET, SO_RCVBUFFORCE, p, 4);
  }

  private static void require(byte[] address, int bytes) {
    if (address.length != bytes) {
      throw new IllegalArgumentException(
          "an address of " + bytes + " bytes, not " + address.length);
    }
  }

  /** {@code struct sockaddr_ll} of packet(7). */
  private record LinkFamily(int etherType, int index) implements MmsgSocket.Family {
    @Override
    public int write(Pointer name, byte[] address, int port) {
      require(address, 6);
      PacketAddress.write(name, etherType, index, address);
      return PacketAddress.BYTES;
    }

    @Override
    public boolean packets() {
      return true;
    }

    @Override
    public boolean forThisStation(Pointer names, long at) {
      return PacketAddress.forThisStation(names, at);
    }

    @Override
    public long number(Pointer names, long at) {
      return PacketAddress.number(names, at);
    }
  }

  /** {@code struct sockaddr_in} of ip(7): port and address. */
  private record Ipv4Family() implements MmsgSocket.Family {
    @Override
    public int write(Pointer name, byte[] address, int port) {
      require(address, 4);
      name.putShort(0, (short) AF_INET);
      PacketAddress.putBigEndian(name, 2, port);
      name.put(4, address, 0, 4);
      return SIZEOF_SOCKADDR_IN;
    }

    @Override
    public long number(Pointer names, long at) {
      return (long) names.getInt(at + 4) << 16 | names.getShort(at + 2) & 0xffff;
    }
  }

  /** {@code struct sockaddr_in6} of ipv6(7): port, flow label (always 0 here) and address. */
  private static final class Ipv6Family implements MmsgSocket.Family {
    private static final int WORDS = 5;

    /**
     * Numbers of two senders are equal with a chance of 2^-64, whatever addresses somebody chooses
     * who does not know these (multiply-shift hashing: Dietzfelbinger, 1996).
     */
    private final long[] key = new SecureRandom().longs(2L * WORDS).toArray();

    @Override
    public int write(Pointer name, byte[] address, int port) {
      require(address, 16);
      name.putShort(0, (short) AF_INET6);
      PacketAddress.putBigEndian(name, 2, port);
      name.put(8, address, 0, 16);
      return SIZEOF_SOCKADDR_IN6;
    }

    @Override
    public long number(Pointer names, long at) {
      return sum(names, at, 0) & 0xffffffff00000000L | sum(names, at, WORDS) >>> 32;
    }

    private long sum(Pointer names, long at, int from) {
      long sum = key[from] * (names.getShort(at + 2) & 0xffff);
      for (int i = 1; i < WORDS; i++) {
        sum += key[from + i] * (names.getInt(at + 4 + 4L * i) & 0xffffffffL);
      }
      return sum;
    }
  }
}
