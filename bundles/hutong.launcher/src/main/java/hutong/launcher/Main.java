// SPDX-License-Identifier: Apache-2.0
package hutong.launcher;

import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.osgi.framework.BundleException;

/**
 * The agent: {@code java -cp lib/launcher.jar:lib/felix.jar hutong.launcher.Main --config FILE}.
 * Runs until SIGTERM or until the framework stops. Exit codes: 0 stopped, 1 could not start, 2
 * wrong command line or configuration.
 */
public final class Main {
  private static final String USAGE =
      """
      usage: hutong.launcher.Main --config FILE
        FILE  a Java properties file; see docs/operations.md for its keys
      """;

  private Main() {}

  /** Starts the agent. */
  public static void main(String[] args) {
    if (args.length == 1 && args[0].equals("--help")) {
      System.out.print(USAGE);
      return;
    }
    if (args.length != 2 || !args[0].equals("--config")) {
      System.err.print(USAGE);
      System.exit(2);
    }
    System.exit(run(Path.of(args[1])));
  }

  private static int run(Path configFile) {
    Agent agent;
    try {
      agent = new Agent(read(configFile), home());
    } catch (IOException | IllegalArgumentException e) {
      log("ERROR", "configuration " + configFile + ": " + describe(e));
      return 2;
    }
    AtomicReference<Agent> current = new AtomicReference<>(agent);
    Runtime.getRuntime()
        .addShutdownHook(new Thread(() -> current.getAndSet(null).stop(), "agent-stop"));
    try {
      while (true) {
        agent.start();
        agent.awaitStop();
        Agent next = agent.successor();
        if (next == null) {
          return 0;
        }
        agent.stop(); // its files
        if (!current.compareAndSet(agent, next)) {
          return 0; // the process is ending
        }
        log("INFO", "starting anew");
        agent = next;
      }
    } catch (IOException | BundleException | IllegalStateException e) {
      log("ERROR", "the agent cannot start: " + describe(e));
      return 1;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return 1;
    }
  }

  /** One line on standard error, like those of the event log. */
  static void log(String level, String message) {
    System.err.println(
        Instant.now().truncatedTo(ChronoUnit.MILLIS) + " " + level + " launcher: " + message);
  }

  /** An exception and its causes in one line. */
  static String describe(Throwable error) {
    StringBuilder out = new StringBuilder();
    for (Throwable t = error; t != null; t = t.getCause()) {
      out.append(out.length() == 0 ? "" : "; caused by ").append(t);
    }
    return out.toString().replaceAll("\\s*\\R\\s*", " | ");
  }

  private static Properties read(Path file) throws IOException {
    Properties out = new Properties();
    try (Reader in = Files.newBufferedReader(file)) {
      out.load(in);
    }
    return out;
  }

  /**
   * The distribution: above the folder with this jar, or the system property {@code hutong.home}.
   */
  private static Path home() {
    String set = System.getProperty("hutong.home");
    if (set != null) {
      return Path.of(set);
    }
    Path jar = Path.of(Main.class.getProtectionDomain().getCodeSource().getLocation().getPath());
    return jar.toAbsolutePath().getParent().getParent();
  }
}
