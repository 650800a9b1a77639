// SPDX-License-Identifier: Apache-2.0
package hutong.launcher;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.TreeSet;
import org.osgi.framework.BundleContext;
import org.osgi.framework.InvalidSyntaxException;
import org.osgi.framework.ServiceEvent;
import org.osgi.framework.ServiceListener;

/**
 * Writes the {@code ready} file once a service {@code hutong.api.ReadyProbe} with each of the
 * expected names is there, and removes it when the agent stops. A part that is replaced later does
 * not make the agent unready.
 */
final class ReadyFile implements ServiceListener, AutoCloseable {
  /**
   * The service property {@code hutong.api.ReadyProbe.NAME}; that class lives inside the framework.
   */
  static final String PROPERTY = "hutong.ready.name";

  private final BundleContext context;
  private final Path file;
  private final Set<String> missing;
  private boolean done;

  ReadyFile(BundleContext context, Path file, Set<String> expected) throws IOException {
    this.context = context;
    this.file = file;
    this.missing = new TreeSet<>(expected);
    Files.deleteIfExists(file);
    try {
      context.addServiceListener(this, "(" + PROPERTY + "=*)");
    } catch (InvalidSyntaxException e) {
      throw new IllegalStateException(e);
    }
    writeIfComplete();
  }

  @Override
  public synchronized void serviceChanged(ServiceEvent event) {
    if (event.getType() == ServiceEvent.REGISTERED) {
      missing.remove(String.valueOf(event.getServiceReference().getProperty(PROPERTY)));
      writeIfComplete();
    }
  }

  @Override
  public synchronized void close() throws IOException {
    done = true;
    Files.deleteIfExists(file);
  }

  private synchronized void writeIfComplete() {
    if (done || !missing.isEmpty()) {
      return;
    }
    done = true;
    context.removeServiceListener(this);
    try {
      Agent.writeAtomically(file, ProcessHandle.current().pid() + "\n");
      Main.log("INFO", "ready");
    } catch (IOException e) {
      Main.log("ERROR", "cannot write " + file + ": " + Main.describe(e));
    }
  }
}
