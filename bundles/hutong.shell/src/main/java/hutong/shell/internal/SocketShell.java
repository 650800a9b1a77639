// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import hutong.api.AgentConfig;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.felix.service.command.CommandProcessor;
import org.apache.felix.service.command.CommandSession;
import org.apache.felix.service.command.Converter;
import org.osgi.framework.BundleContext;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Deactivate;
import org.osgi.service.component.annotations.Reference;

/**
 * Gogo on the Unix socket {@code ${hutong.run}/shell.sock}, for root only: one command a line; the
 * answer ends with the line {@code ok} or {@code error: ...}.
 */
@Component(
    service = {},
    immediate = true)
public final class SocketShell {
  private static final int MAX_CLIENTS = 16;
  private static final int MAX_COMMAND = 1 << 16;

  private final CommandProcessor gogo;
  private final Path path;
  private final ServerSocketChannel server;
  private final Map<Thread, SocketChannel> clients = new ConcurrentHashMap<>();

  /** Listens in the run directory. */
  @Activate
  public SocketShell(@Reference CommandProcessor gogo, BundleContext context) throws IOException {
    this(gogo, new AgentConfig(context::getProperty).run().resolve("shell.sock"));
  }

  SocketShell(CommandProcessor gogo, Path path) throws IOException {
    this.gogo = gogo;
    this.path = path;
    Files.deleteIfExists(path);
    server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
    try {
      server.bind(
          UnixDomainSocketAddress.of(
              path)); // the run directory keeps others out until the next line
      Files.setPosixFilePermissions(path, PosixFilePermissions.fromString("rw-------"));
    } catch (IOException | RuntimeException e) {
      server.close();
      throw e;
    }
    daemon(this::accept, "shell").start();
  }

  /** Stops listening. A client whose own command stops the bundle still gets its answer. */
  @Deactivate
  public void stop() throws IOException {
    server.close();
    Files.deleteIfExists(path);
    for (Map.Entry<Thread, SocketChannel> client : clients.entrySet()) {
      if (client.getKey() != Thread.currentThread()) {
        client.getValue().close();
      }
    }
  }

  private void accept() {
    while (server.isOpen()) {
      try {
        SocketChannel client = server.accept();
        if (clients.size() >= MAX_CLIENTS) {
          try (client) {
            new AnswerStream(Channels.newOutputStream(client))
                .end("error: too many shell sessions");
          }
          continue;
        }
        Thread thread = daemon(() -> serve(client), "shell-client");
        clients.put(thread, client);
        thread.start();
      } catch (IOException e) {
        // closed, which ends the loop, or one client that went away
      }
    }
  }

  private void serve(SocketChannel client) {
    try (client;
        InputStream in = new BufferedInputStream(Channels.newInputStream(client))) {
      AnswerStream answer = new AnswerStream(Channels.newOutputStream(client));
      try (PrintStream out = new PrintStream(answer, true, StandardCharsets.UTF_8);
          CommandSession session = gogo.createSession(InputStream.nullInputStream(), out, out)) {
        for (String line; server.isOpen() && (line = readLine(in)) != null; ) {
          String end = execute(session, line, out);
          out.flush();
          answer.end(end);
        }
      }
    } catch (IOException e) {
      // the client went away, or the shell stops
    } finally {
      clients.remove(Thread.currentThread());
    }
  }

  /** Runs a command and gives the last line of the answer. */
  private static String execute(CommandSession session, String line, PrintStream out) {
    try {
      Object result = session.execute(line);
      if (result != null) {
        out.println(session.format(result, Converter.INSPECT));
      }
      return "ok";
    } catch (Exception e) { // whatever a command throws is its answer
      String message =
          e.getMessage() == null || e.getMessage().isBlank() ? e.toString() : e.getMessage();
      String[] lines = message.strip().split("\\R", 2);
      if (lines.length > 1) {
        out.println(lines[1]);
      }
      return "error: " + lines[0];
    }
  }

  /** A line without its end; null at the end of the input. */
  private static String readLine(InputStream in) throws IOException {
    ByteArrayOutputStream line = new ByteArrayOutputStream();
    for (int b; (b = in.read()) != '\n'; ) {
      if (b < 0) {
        return line.size() == 0 ? null : line.toString(StandardCharsets.UTF_8);
      }
      if (line.size() == MAX_COMMAND) {
        throw new IOException("a command of more than " + MAX_COMMAND + " bytes");
      }
      line.write(b);
    }
    return line.toString(StandardCharsets.UTF_8);
  }

  private static Thread daemon(Runnable body, String name) {
    Thread thread = new Thread(body, name);
    thread.setDaemon(true);
    return thread;
  }
}
