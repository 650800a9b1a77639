// SPDX-License-Identifier: Apache-2.0
package hutong.platform.internal;

import hutong.api.os.Fd;
import hutong.platform.OsException;
import hutong.platform.Packet;
import hutong.platform.PeerCred;
import hutong.platform.Received;
import hutong.platform.SocketFacts;
import hutong.platform.Sockets;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalLong;
import jnr.ffi.Pointer;
import org.osgi.service.component.annotations.Component;

/** {@link Sockets} on Linux. */
@Component(service = Sockets.class)
public final class LinuxSockets implements Sockets {
  private static final int AF_UNIX = 1;
  private static final int SOCK_DGRAM = 2;
  private static final int SOCK_SEQPACKET = 5;
  private static final int NONBLOCK_CLOEXEC = LibC.O_NONBLOCK | LibC.O_CLOEXEC;
  private static final int SOL_SOCKET = 1;
  private static final int SO_PEERCRED = 17;
  private static final int MAX_UNIX_NAME = 107;
  private static final int SIZEOF_IFREQ = 40;
  private static final long SIOCGIFMTU = 0x8921;
  private static final long SIOCGIFHWADDR = 0x8927;

  @Override
  public Fd unixSeqpacketListenAbstract(String name, int backlog) throws OsException {
    Fd fd = unixSocket();
    try {
      bindUnix(fd, abstractName(name), "@" + name);
      return listen(fd, backlog);
    } catch (OsException | RuntimeException e) {
      fd.close();
      throw e;
    }
  }

  @Override
  public Fd unixSeqpacketListenPath(Path path, int mode, int backlog) throws OsException {
    byte[] name = pathName(path);
    Fd fd = unixSocket();
    try {
      if (LibC.INSTANCE.unlink(name) < 0 && LibC.errno() != OsException.ENOENT) {
        throw LibC.failure("unlink " + path);
      }
      // the socket's own mode becomes the file's, so that it is never open to more than it should
      // be
      LibC.check("fchmod " + path, LibC.INSTANCE.fchmod(fd.number(), mode));
      bindUnix(fd, name, path.toString());
      LibC.check("chmod " + path, LibC.INSTANCE.chmod(name, mode));
      return listen(fd, backlog);
    } catch (OsException | RuntimeException e) {
      fd.close();
      throw e;
    }
  }

  @Override
  public Fd unixSeqpacketConnectAbstract(String name) throws OsException {
    return connectUnix(abstractName(name), "@" + name);
  }

  @Override
  public Fd unixSeqpacketConnectPath(Path path) throws OsException {
    return connectUnix(pathName(path), path.toString());
  }

  @Override
  public List<Fd> unixSeqpacketPair() throws OsException {
    int[] fds = new int[2];
    int type = SOCK_SEQPACKET | NONBLOCK_CLOEXEC;
    LibC.check("socketpair", LibC.INSTANCE.socketpair(AF_UNIX, type, 0, fds));
    return List.of(new OwnedFd(fds[0]), new OwnedFd(fds[1]));
  }

  @Override
  public Fd accept(Fd listener) throws OsException {
    while (true) {
      int fd = LibC.INSTANCE.accept4(listener.number(), null, null, NONBLOCK_CLOEXEC);
      if (fd >= 0) {
        return new OwnedFd(fd);
      }
      int errno = LibC.errno();
      if (errno == OsException.EAGAIN) {
        return null;
      }
      if (errno != LibC.EINTR) {
        throw LibC.failure("accept", errno);
      }
    }
  }

  @Override
  public void send(Fd socket, byte[] data, List<? extends Fd> fds) throws OsException {
    if (data.length == 0) {
      throw new IllegalArgumentException("an empty message looks like the end of the stream");
    }
    Messages.send(socket, null, data, fds);
  }

  @Override
  public int sendStream(Fd socket, byte[] data) throws OsException {
    try {
      return Messages.send(socket, null, data, List.of());
    } catch (OsException e) {
      if (e.wouldBlock()) {
        return 0;
      }
      throw e;
    }
  }

  @Override
  public OptionalLong tcpSent(Fd socket) throws OsException {
    return SocketReader.sent(socket.number());
  }

  @Override
  public Received recv(Fd socket, int maxBytes, int maxFds) throws OsException {
    return Messages.recv(socket, maxBytes, maxFds);
  }

  @Override
  public PeerCred peerCred(Fd socket) throws OsException {
    Pointer p = Scratch.get(16);
    p.putInt(12, 12);
    LibC.check(
        "getsockopt SO_PEERCRED",
        LibC.INSTANCE.getsockopt(socket.number(), SOL_SOCKET, SO_PEERCRED, p, p.slice(12)));
    return new PeerCred(p.getInt(0), p.getInt(4), p.getInt(8));
  }

  @Override
  public SocketFacts tcpFacts(Fd socket) throws OsException {
    return SocketReader.read(socket.number());
  }

  @Override
  public Fd packetOpen(String interfaceName, int etherType) throws OsException {
    int index = PacketAddress.index(interfaceName);
    // opened without a protocol, so that nothing comes in before it is bound to the interface
    int fd =
        LibC.check(
            "socket AF_PACKET",
            LibC.INSTANCE.socket(PacketAddress.AF_PACKET, SOCK_DGRAM | NONBLOCK_CLOEXEC, 0));
    Fd socket = new OwnedFd(fd);
    try {
      Pointer address = Scratch.get(PacketAddress.BYTES);
      PacketAddress.write(address, etherType, index, new byte[0]);
      LibC.check("bind " + interfaceName, LibC.INSTANCE.bind(fd, address, PacketAddress.BYTES));
      return socket;
    } catch (OsException | RuntimeException e) {
      socket.close();
      throw e;
    }
  }

  @Override
  public void packetSend(Fd packetSocket, byte[] destinationMac, byte[] data) throws OsException {
    if (destinationMac.length != 6) {
      throw new IllegalArgumentException("a MAC address has 6 bytes, not " + destinationMac.length);
    }
    // the bound address holds the interface and the EtherType
    Pointer bound = Scratch.get(32);
    bound.putInt(24, PacketAddress.BYTES);
    LibC.check(
        "getsockname", LibC.INSTANCE.getsockname(packetSocket.number(), bound, bound.slice(24)));
    byte[] address = new byte[PacketAddress.BYTES];
    bound.get(0, address, 0, address.length);
    address[11] = 6;
    System.arraycopy(destinationMac, 0, address, 12, 6);
    Messages.send(packetSocket, address, data, List.of());
  }

  @Override
  public Packet packetRecv(Fd packetSocket, int maxBytes) throws OsException {
    return Messages.recvPacket(packetSocket, maxBytes);
  }

  @Override
  public int mtu(String interfaceName) throws OsException {
    return interfaceRequest(interfaceName, SIOCGIFMTU, "SIOCGIFMTU").getInt(16);
  }

  @Override
  public byte[] mac(String interfaceName) throws OsException {
    byte[] mac = new byte[6];
    interfaceRequest(interfaceName, SIOCGIFHWADDR, "SIOCGIFHWADDR").get(18, mac, 0, 6);
    return mac;
  }

  private static Pointer interfaceRequest(String name, long request, String label)
      throws OsException {
    byte[] bytes = LibC.cstring(name);
    if (bytes.length > 16) {
      throw new IllegalArgumentException("an interface's name has at most 15 bytes: " + name);
    }
    try (Fd any =
        new OwnedFd(
            LibC.check("socket", LibC.INSTANCE.socket(AF_UNIX, SOCK_DGRAM | LibC.O_CLOEXEC, 0)))) {
      Pointer p = Scratch.get(SIZEOF_IFREQ);
      p.put(0, bytes, 0, bytes.length);
      LibC.check(label + " " + name, LibC.INSTANCE.ioctl(any.number(), request, p));
      return p;
    }
  }

  private static Fd unixSocket() throws OsException {
    int type = SOCK_SEQPACKET | NONBLOCK_CLOEXEC;
    return new OwnedFd(LibC.check("socket", LibC.INSTANCE.socket(AF_UNIX, type, 0)));
  }

  private static Fd listen(Fd fd, int backlog) throws OsException {
    LibC.check("listen", LibC.INSTANCE.listen(fd.number(), backlog));
    return fd;
  }

  private static void bindUnix(Fd fd, byte[] name, String label) throws OsException {
    Pointer address = unixAddress(name);
    LibC.check("bind " + label, LibC.INSTANCE.bind(fd.number(), address, 2 + name.length));
  }

  private static Fd connectUnix(byte[] name, String label) throws OsException {
    Fd fd = unixSocket();
    Pointer address = unixAddress(name);
    while (LibC.INSTANCE.connect(fd.number(), address, 2 + name.length) < 0) {
      int errno = LibC.errno();
      if (errno != LibC.EINTR) {
        fd.close();
        throw LibC.failure("connect " + label, errno);
      }
    }
    return fd;
  }

  private static Pointer unixAddress(byte[] name) {
    Pointer address = Scratch.get(2L + name.length);
    address.putShort(0, (short) AF_UNIX);
    address.put(2, name, 0, name.length);
    return address;
  }

  /** The name after its leading NUL; every byte counts, so there is no closing one. */
  private static byte[] abstractName(String name) {
    byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
    if (bytes.length == 0 || bytes.length > MAX_UNIX_NAME) {
      throw new IllegalArgumentException("an abstract address has 1 to 107 bytes: " + name);
    }
    byte[] out = new byte[bytes.length + 1];
    System.arraycopy(bytes, 0, out, 1, bytes.length);
    return out;
  }

  private static byte[] pathName(Path path) {
    byte[] bytes = LibC.cstring(path.toString());
    if (bytes.length > MAX_UNIX_NAME + 1) {
      throw new IllegalArgumentException("a Unix socket's path has at most 107 bytes: " + path);
    }
    return bytes;
  }

  /** The descriptors of an array of numbers. */
  static List<Fd> own(int[] numbers) {
    List<Fd> out = new ArrayList<>(numbers.length);
    for (int n : numbers) {
      out.add(new OwnedFd(n));
    }
    return out;
  }
}
