// SPDX-License-Identifier: Apache-2.0
package hutong.it;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;

/**
 * A host agent in a process of its own, from the bundles of this framework, in the same network
 * namespace.
 */
final class HostAgent implements AutoCloseable {
  private final Process process;

  HostAgent(BundleContext context, Path dir) throws Exception {
    Path log = dir.resolve("host/agent.log");
    String launcher = null;
    for (Bundle bundle : context.getBundles()) {
      String name = String.valueOf(bundle.getSymbolicName());
      if (name.equals("hutong.launcher")) {
        launcher = jar(bundle).toString();
      } else if (name.startsWith("hutong.") && !name.equals("hutong.it")
          || name.startsWith("org.apache.felix.")
          || name.startsWith("org.osgi.")) {
        if (bundle.getBundleId() != 0) {
          Files.createSymbolicLink(dir.resolve("dist/bundle").resolve(name + ".jar"), jar(bundle));
        }
      }
    }
    Path framework =
        Path.of(Bundle.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    Path config = dir.resolve("host.conf");
    Files.writeString(
        config,
        """
        hutong.role=host
        hutong.name=PC1
        hutong.host=PC1
        hutong.domid=0
        hutong.domains=1:VM1
        hutong.interface=br0
        hutong.run=%1$s/host
        hutong.xenstore.socket=%1$s/host/xenstore-0.sock
        hutong.keys.private=%1$s/host/key.pem
        hutong.keys.trusted=%1$s/trusted
        """
            .formatted(dir));
    ProcessBuilder builder =
        new ProcessBuilder(
            "java",
            "-Xmx64m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Dhutong.home=" + dir.resolve("dist"),
            "-cp",
            launcher + ":" + framework,
            "hutong.launcher.Main",
            "--config",
            config.toString());
    process = builder.redirectErrorStream(true).redirectOutput(log.toFile()).start();
    Path ready = dir.resolve("host/ready");
    Await.until(
        "the host agent is ready",
        () -> {
          if (!process.isAlive()) {
            throw new AssertionError("the host agent ended: " + Files.readString(log));
          }
          return Files.exists(ready);
        });
  }

  /** The jar that a bundle was installed from. */
  static Path jar(Bundle bundle) throws IOException {
    String location = bundle.getLocation();
    for (String prefix : List.of("reference:")) {
      location = location.startsWith(prefix) ? location.substring(prefix.length()) : location;
    }
    return Path.of(URI.create(location));
  }

  /** SIGTERM, and its end. */
  @Override
  public void close() {
    process.destroy();
    process.onExit().join();
  }
}
