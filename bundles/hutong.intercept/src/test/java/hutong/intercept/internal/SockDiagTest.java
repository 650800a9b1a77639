// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.transport.Holding;
import java.io.BufferedReader;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What the kernel says of sockets that another program holds. */
@Timeout(60)
class SockDiagTest {
  /** Connects to itself; says both ports and the first end's cookie; shuts that end when asked. */
  private static final String PROGRAM =
      """
      import socket, struct, sys
      def new():
          s = socket.socket()
          if sys.argv[1]:
              s.setsockopt(socket.SOL_SOCKET, 25, sys.argv[1].encode() + b"\\0")
          return s
      listener, one = new(), new()
      listener.bind(("127.0.0.1", 0))
      listener.listen()
      one.connect(listener.getsockname())
      two, _ = listener.accept()
      cookie = struct.unpack("=q", one.getsockopt(socket.SOL_SOCKET, 57, 8))[0]
      print(one.getsockname()[1], one.getpeername()[1], cookie, flush=True)
      input()
      one.shutdown(socket.SHUT_WR)
      print(flush=True)
      input()
      one.close()
      print(flush=True)
      input()
      """;

  @ParameterizedTest
  @ValueSource(strings = {"", "lo"})
  void shouldFindSocketsThatAreBoundToADevice(String device) throws IOException {
    Process program = new ProcessBuilder("python3", "-c", PROGRAM, device).start();
    try (BufferedReader said = program.inputReader()) {
      String[] words = said.readLine().split(" ");
      long cookie = Long.parseLong(words[2]);
      InetAddress here = InetAddress.getByAddress(new byte[] {127, 0, 0, 1});
      AddressPair pair =
          AddressPair.of(
              new InetSocketAddress(here, Integer.parseInt(words[0])),
              new InetSocketAddress(here, Integer.parseInt(words[1])));
      assertThat(SockDiag.holding(pair, cookie)).isEqualTo(Holding.OPEN);
      assertThat(SockDiag.holding(pair, cookie + 1)).isEqualTo(Holding.GONE);
      goOn(program, said);
      assertThat(SockDiag.holding(pair, cookie)).isEqualTo(Holding.SHUT);
      goOn(program, said);
      assertThat(SockDiag.holding(pair, cookie)).isEqualTo(Holding.GONE);
    } finally {
      program.destroyForcibly();
    }
  }

  private static void goOn(Process program, BufferedReader said) throws IOException {
    program.getOutputStream().write("\n".getBytes(StandardCharsets.US_ASCII));
    program.getOutputStream().flush();
    said.readLine();
  }
}
