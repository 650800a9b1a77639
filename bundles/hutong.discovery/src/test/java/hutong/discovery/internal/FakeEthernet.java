// SPDX-License-Identifier: Apache-2.0
package hutong.discovery.internal;

import hutong.api.os.Fd;
import hutong.platform.Events;
import hutong.platform.OsException;
import hutong.platform.Packet;
import hutong.platform.Platform;
import hutong.platform.Sockets;
import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.Queue;

/** One link for all packet sockets that are opened on it; eventfds make them readable. */
final class FakeEthernet {
  private final Events events = Platform.events();
  private final Map<Fd, Queue<byte[]>> ports = new HashMap<>();

  /** Sockets of which only those for packets work. */
  Sockets sockets() {
    InvocationHandler handler =
        (proxy, method, args) ->
            switch (method.getName()) {
              case "packetOpen" -> open();
              case "packetSend" -> {
                send((Fd) args[0], (byte[]) args[2]);
                yield null;
              }
              case "packetRecv" -> receive((Fd) args[0]);
              case "mtu" -> 1500;
              default -> throw new UnsupportedOperationException(method.getName());
            };
    return (Sockets)
        Proxy.newProxyInstance(
            FakeEthernet.class.getClassLoader(), new Class<?>[] {Sockets.class}, handler);
  }

  private synchronized Fd open() throws OsException {
    Fd fd = events.eventfd();
    ports.put(fd, new ArrayDeque<>());
    return fd;
  }

  private synchronized void send(Fd from, byte[] data) throws OsException {
    for (Map.Entry<Fd, Queue<byte[]>> port : ports.entrySet()) {
      if (port.getKey() != from && port.getKey().isOpen()) {
        port.getValue().add(data);
        events.ring(port.getKey());
      }
    }
  }

  private synchronized Packet receive(Fd fd) throws OsException {
    events.drain(fd);
    byte[] data = ports.get(fd).poll();
    return data == null ? null : new Packet(new byte[6], data, 1);
  }

  /** Sockets that nobody has closed. */
  synchronized long openPorts() {
    return ports.keySet().stream().filter(Fd::isOpen).count();
  }
}
