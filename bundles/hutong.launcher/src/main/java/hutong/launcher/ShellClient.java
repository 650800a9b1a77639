// SPDX-License-Identifier: Apache-2.0
package hutong.launcher;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * A client of an agent's shell socket: {@code hutong.launcher.ShellClient SOCKET [COMMAND]};
 * without a command, reads them from standard input. Exit codes: 0, 1 when a command failed, 2 when
 * the agent cannot be reached.
 */
public final class ShellClient {
  private ShellClient() {}

  /** Runs the commands. */
  public static void main(String[] args) throws IOException {
    if (args.length < 1 || args.length > 2) {
      System.err.println("usage: hutong.launcher.ShellClient SOCKET [COMMAND]");
      System.exit(2);
    }
    BufferedReader commands = null;
    if (args.length == 1) {
      commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    }
    System.exit(
        run(Path.of(args[0]), args.length == 2 ? args[1] : null, commands, System.out, System.err));
  }

  static int run(
      Path socket, String command, BufferedReader commands, PrintStream out, PrintStream err)
      throws IOException {
    try (SocketChannel channel = SocketChannel.open(UnixDomainSocketAddress.of(socket))) {
      BufferedReader in =
          new BufferedReader(
              new InputStreamReader(Channels.newInputStream(channel), StandardCharsets.UTF_8));
      if (command != null) {
        return answer(channel, in, command, out, err);
      }
      int result = 0;
      for (String line; (line = commands.readLine()) != null && result != 2; ) {
        if (!line.isBlank()) {
          result = Math.max(result, answer(channel, in, line, out, err));
        }
      }
      return result;
    } catch (IOException | IllegalArgumentException e) {
      err.println("cannot reach the agent at " + socket + ": " + e.getMessage());
      return 2;
    }
  }

  private static int answer(
      SocketChannel to, BufferedReader from, String command, PrintStream out, PrintStream err)
      throws IOException {
    ByteBuffer line = StandardCharsets.UTF_8.encode(command.replace('\n', ';') + "\n");
    while (line.hasRemaining()) {
      to.write(line);
    }
    for (String text; (text = from.readLine()) != null; ) {
      if (text.equals("ok")) {
        return 0;
      }
      if (text.startsWith("error: ")) {
        err.println(text);
        return 1;
      }
      out.println(text);
    }
    err.println("the agent closed the connection");
    return 2;
  }
}
