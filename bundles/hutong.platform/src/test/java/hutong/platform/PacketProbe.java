// SPDX-License-Identifier: Apache-2.0
package hutong.platform;

import hutong.api.os.Fd;
import java.time.Duration;
import java.util.Arrays;

/**
 * Exchanges frames between the interfaces a and b, and prints what came; see {@link PacketTest}.
 */
final class PacketProbe {
  private static final int ETHER_TYPE = 0x88B6;
  private static final Sockets SOCKETS = Platform.sockets();

  private PacketProbe() {}

  public static void main(String[] args) throws Exception {
    byte[] broadcast = Sockets.macBytes("ff:ff:ff:ff:ff:ff");
    System.out.println(
        "b has MTU " + SOCKETS.mtu("vb") + " and MAC " + Sockets.macText(SOCKETS.mac("vb")));
    try (Fd a = SOCKETS.packetOpen("va", ETHER_TYPE);
        Fd other = SOCKETS.packetOpen("vb", ETHER_TYPE + 1);
        Fd b = SOCKETS.packetOpen("vb", ETHER_TYPE)) {
      SOCKETS.packetSend(a, broadcast, new byte[] {1, 2, 3});
      Packet p = await(b, 2000);
      System.out.println(
          "b got "
              + p.data().length
              + " bytes "
              + Arrays.toString(p.data())
              + " from "
              + Sockets.macText(p.sourceMac())
              + ", type "
              + p.type());
      SOCKETS.packetSend(b, SOCKETS.mac("va"), new byte[1400]);
      p = await(a, 2000);
      System.out.println(
          "a got "
              + p.data().length
              + " bytes from "
              + Sockets.macText(p.sourceMac())
              + ", type "
              + p.type());
      SOCKETS.packetSend(a, broadcast, new byte[100]);
      System.out.println("b cut to " + await(b, 5).data().length + " bytes");
      try {
        SOCKETS.packetSend(b, broadcast, new byte[1401]);
      } catch (OsException e) {
        System.out.println("too long: errno " + e.errno());
      }
      boolean nothing =
          SOCKETS.packetRecv(b, 2000) == null && SOCKETS.packetRecv(other, 2000) == null;
      System.out.println(nothing ? "nothing more" : "something more");
      new ProcessBuilder("ip", "link", "set", "vb", "down").start().waitFor();
      boolean failed = false;
      try {
        SOCKETS.packetSend(b, broadcast, new byte[10]);
      } catch (OsException e) {
        failed = true;
      }
      System.out.println("down: " + failed);
    }
  }

  private static Packet await(Fd socket, int max) throws Exception {
    try (Poller poller = Platform.events().openPoller()) {
      poller.add(socket, Poller.IN, bits -> {});
      poller.await(Duration.ofSeconds(30), e -> {});
    }
    return SOCKETS.packetRecv(socket, max);
  }
}
