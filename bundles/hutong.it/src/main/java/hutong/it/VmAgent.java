// SPDX-License-Identifier: Apache-2.0
package hutong.it;

import static org.assertj.core.api.Assertions.assertThat;

import hutong.api.ReadyProbe;
import hutong.api.link.AgentLink;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.felix.service.command.CommandProcessor;
import org.apache.felix.service.command.CommandSession;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.FrameworkUtil;
import org.osgi.framework.InvalidSyntaxException;
import org.osgi.framework.ServiceReference;

/**
 * The VM's agent that this framework is: its bundles, their services, and how to tell that they
 * work.
 */
final class VmAgent {
  /** The bundles that can be replaced, and the services by which others know them. */
  static final Map<String, List<String>> SERVICES =
      Map.of(
          "discovery",
              List.of("hutong.api.discovery.Membership", "hutong.api.discovery.VmIdentity"),
          "channel", List.of("hutong.api.channel.Channels"),
          "link", List.of("hutong.api.link.AgentLink", "hutong.api.link.PeerLink"),
          "intercept",
              List.of(
                  "hutong.api.intercept.Connections",
                  "hutong.api.intercept.PolicyControl",
                  "hutong.api.intercept.Diagnosis"),
          "transport", List.of("hutong.api.transport.LightTransport"),
          "xenstore", List.of("hutong.xenstore.XenStore"),
          "telemetry", List.of("hutong.api.telemetry.Counters", "hutong.api.telemetry.EventLog"),
          "shell",
              List.of(
                  "hutong.shell.internal.HutongCommands", "hutong.shell.internal.PolicyCommands"));

  /** The commands of the shell. */
  static final List<String> COMMANDS =
      List.of("vms", "channels", "conns", "lines", "reasons", "stats", "log", "policy");

  private final BundleContext context = FrameworkUtil.getBundle(VmAgent.class).getBundleContext();

  BundleContext context() {
    return context;
  }

  /** The run directory. */
  Path run() {
    return Path.of(context.getProperty("hutong.run"));
  }

  /** The bundle {@code hutong.NAME}. */
  Bundle bundle(String name) {
    return Arrays.stream(context.getBundles())
        .filter(b -> ("hutong." + name).equals(b.getSymbolicName()))
        .findFirst()
        .orElseThrow();
  }

  /** The service object that is registered under a class name now, or null. */
  Object service(String className) throws InvalidSyntaxException {
    ServiceReference<?>[] found = context.getAllServiceReferences(className, null);
    return found == null ? null : context.getService(found[0]);
  }

  /** Whether a part says that it is up. */
  boolean isReady(String name) throws InvalidSyntaxException {
    String filter = "(" + ReadyProbe.NAME + "=" + name + ")";
    return context.getAllServiceReferences(ReadyProbe.class.getName(), filter) != null;
  }

  /** Runs a command in a session of its own and gives what it returns as text. */
  String execute(String command) throws Exception {
    CommandProcessor gogo = context.getService(context.getServiceReference(CommandProcessor.class));
    try (CommandSession session =
        gogo.createSession(
            InputStream.nullInputStream(),
            OutputStream.nullOutputStream(),
            OutputStream.nullOutputStream())) {
      return String.valueOf(session.execute(command));
    }
  }

  /** Returns when everything works: not only is registered, but does what it is for. */
  void awaitWorking() throws Exception {
    for (Map.Entry<String, List<String>> part : SERVICES.entrySet()) {
      for (String service : part.getValue()) {
        Await.until(service + " is back", () -> service(service) != null);
      }
    }
    for (String name : List.of("xenstore", "link", "discovery", "intercept")) {
      Await.until(name + " is ready", () -> isReady(name));
    }
    Await.until(
        "the link is connected",
        () -> ((AgentLink) service(AgentLink.class.getName())).connected());
    Await.until(
        "this VM is a member", () -> execute("hutong:vms --json").contains("\"10.77.0.1\""));
    Await.until(
        "programs find the agent",
        () -> Files.readString(Path.of("/proc/self/net/unix")).contains("@hutong-agent\n"));
    Await.until("the shell's socket is there", () -> Files.exists(run().resolve("shell.sock")));
    for (String name : SERVICES.keySet()) {
      assertThat(bundle(name).getState()).as(name).isEqualTo(Bundle.ACTIVE);
    }
  }
}
