// SPDX-License-Identifier: Apache-2.0
package hutong.launcher;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.ServiceLoader;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.osgi.framework.Bundle;
import org.osgi.framework.BundleContext;
import org.osgi.framework.BundleException;
import org.osgi.framework.Constants;
import org.osgi.framework.FrameworkEvent;
import org.osgi.framework.ServiceEvent;
import org.osgi.framework.launch.Framework;
import org.osgi.framework.launch.FrameworkFactory;
import org.osgi.framework.startlevel.BundleStartLevel;
import org.osgi.framework.startlevel.FrameworkStartLevel;

/**
 * One OSGi framework with the distribution's bundles. {@link #stop} may be called by any thread,
 * once or often.
 */
final class Agent {
  /**
   * Stopping is over within 2 seconds, unless the transport waits for what only it has, for 3 more;
   * the rest is for the files.
   */
  private static final long STOP_MILLIS = 4700;

  /** {@code hutong.api.NewDomid.DOMID}; that class lives inside the framework. */
  static final String NEW_DOMID = "hutong.domid.now";

  /** Without these nothing else can work. */
  private static final String REQUIRED =
      "org.apache.felix.scr,hutong.api,hutong.jnr,hutong.platform";

  private static final int LEVEL_LIBRARIES = 1;
  private static final int LEVEL_AGENT = 2;
  private static final int LEVEL_SHELL = 3;

  private final Map<String, String> properties = new HashMap<>();
  private final Path home;
  private final Path bundleDir;
  private final Path run;
  private final Path cache;
  private final Set<String> required;
  private Framework framework;
  private ReadyFile ready;
  private volatile String newDomid;

  /**
   * Checks the configuration; starts nothing.
   *
   * @param config becomes the framework's properties
   * @param home the distribution, with the folder {@code bundle}
   */
  Agent(Properties config, Path home) throws IOException {
    this.home = home;
    config
        .stringPropertyNames()
        .forEach(key -> properties.put(key, config.getProperty(key).trim()));
    for (String key :
        List.of("hutong.role", "hutong.name", "hutong.host", "hutong.domid", "hutong.run")) {
      if (properties.getOrDefault(key, "").isEmpty()) {
        throw new IllegalArgumentException(key + " is not set");
      }
    }
    if (!List.of("host", "vm").contains(properties.get("hutong.role"))) {
      throw new IllegalArgumentException(
          "hutong.role must be host or vm, not " + properties.get("hutong.role"));
    }
    run = Path.of(properties.get("hutong.run"));
    if (!Files.isDirectory(run)) {
      throw new IOException("hutong.run is no directory: " + run);
    }
    bundleDir = home.resolve("bundle");
    if (!Files.isDirectory(bundleDir)) {
      throw new IOException("no bundles: " + bundleDir + " is no directory");
    }
    cache = run.resolve("felix-cache");
    required = names(properties.getOrDefault("hutong.required.bundles", REQUIRED));
    properties.put(Constants.FRAMEWORK_STORAGE, cache.toString());
    properties.put(
        Constants.FRAMEWORK_STORAGE_CLEAN, Constants.FRAMEWORK_STORAGE_CLEAN_ONFIRSTINIT);
    properties.put(Constants.FRAMEWORK_BEGINNING_STARTLEVEL, Integer.toString(LEVEL_SHELL));
    // without them Gogo's own shell reads standard input, and stops the framework at its end
    properties.putIfAbsent("gosh.args", "--nointeractive --noshutdown");
  }

  /** Installs and starts everything; returns when the start levels are reached. */
  void start() throws IOException, BundleException {
    Framework fw =
        ServiceLoader.load(FrameworkFactory.class)
            .findFirst()
            .orElseThrow()
            .newFramework(properties);
    synchronized (this) {
      framework = fw;
      fw.init();
      BundleContext context = fw.getBundleContext();
      ready = new ReadyFile(context, run.resolve("ready"), names(readyServices()));
      context.addServiceListener(this::domidChanged);
    }
    BundleContext context = fw.getBundleContext();
    context.addFrameworkListener(Agent::report);
    fw.adapt(FrameworkStartLevel.class).setInitialBundleStartLevel(LEVEL_AGENT);
    List<Bundle> bundles = install(context);
    Files.writeString(run.resolve("agent.pid"), ProcessHandle.current().pid() + "\n");
    fw.start();
    check(bundles);
  }

  /** This VM is another domain now: everything ends, for a successor to begin. */
  private void domidChanged(ServiceEvent event) {
    Object domid = event.getServiceReference().getProperty(NEW_DOMID);
    if (event.getType() != ServiceEvent.REGISTERED || domid == null) {
      return;
    }
    newDomid = domid.toString();
    try {
      framework.stop();
    } catch (BundleException e) {
      Main.log("ERROR", "stop: " + Main.describe(e));
    }
  }

  /**
   * The agent that is to follow this one, which has stopped, in the same process.
   *
   * @return null if none is
   */
  Agent successor() throws IOException {
    if (newDomid == null) {
      return null;
    }
    Properties config = new Properties();
    config.putAll(properties);
    config.setProperty("hutong.domid", newDomid);
    return new Agent(config, home);
  }

  /** Waits until the framework has stopped. */
  void awaitStop() throws InterruptedException {
    framework.waitForStop(0);
  }

  /** Stops the framework and leaves no files behind. */
  synchronized void stop() {
    try {
      if (ready != null) {
        ready.close();
      }
      if (framework != null) {
        framework.stop();
        FrameworkEvent end = framework.waitForStop(STOP_MILLIS);
        if (end.getType() == FrameworkEvent.WAIT_TIMEDOUT) {
          Main.log("WARN", "the bundles did not stop within " + STOP_MILLIS + " ms");
        }
      }
      deleteTree(cache);
      Files.deleteIfExists(run.resolve("agent.pid"));
    } catch (BundleException | IOException | UncheckedIOException e) {
      Main.log("WARN", "stop: " + Main.describe(e));
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** The context of the framework, for tests. */
  BundleContext context() {
    return framework.getBundleContext();
  }

  private String readyServices() {
    String byRole =
        properties.get("hutong.role").equals("host")
            ? "xenstore,link,discovery"
            : "link,discovery,intercept";
    return properties.getOrDefault("hutong.ready.services", byRole);
  }

  private List<Bundle> install(BundleContext context) throws IOException {
    List<Path> jars = new ArrayList<>();
    try (DirectoryStream<Path> found = Files.newDirectoryStream(bundleDir, "*.jar")) {
      found.forEach(jars::add);
    }
    jars.sort(Comparator.naturalOrder());
    List<Bundle> bundles = new ArrayList<>();
    for (Path jar : jars) {
      try {
        Bundle bundle = context.installBundle("reference:" + jar.toUri());
        bundle.adapt(BundleStartLevel.class).setStartLevel(level(bundle.getSymbolicName()));
        if (bundle.getHeaders().get(Constants.FRAGMENT_HOST) == null) {
          bundle.start(Bundle.START_ACTIVATION_POLICY);
        }
        bundles.add(bundle);
      } catch (BundleException e) {
        Main.log("ERROR", "bundle " + jar.getFileName() + ": " + Main.describe(e));
      }
    }
    return bundles;
  }

  /** Libraries and contracts first, so that everything else finds them; the shell at last. */
  private static int level(String symbolicName) {
    if (symbolicName == null || symbolicName.equals("org.apache.felix.gogo.shell")) {
      return LEVEL_SHELL;
    }
    boolean library =
        Set.of("hutong.api", "hutong.jnr", "hutong.platform", "hutong.telemetry")
            .contains(symbolicName);
    return symbolicName.startsWith("hutong.") && !library ? LEVEL_AGENT : LEVEL_LIBRARIES;
  }

  /** Names what did not start; an exception when it is a bundle without which nothing works. */
  private void check(List<Bundle> bundles) {
    Set<String> missing = new TreeSet<>(required);
    for (Bundle bundle : bundles) {
      boolean fragment = bundle.getHeaders().get(Constants.FRAGMENT_HOST) != null;
      if (bundle.getState() == Bundle.ACTIVE || fragment) {
        missing.remove(bundle.getSymbolicName());
      } else {
        Main.log("ERROR", "bundle " + bundle.getSymbolicName() + " is not active");
      }
    }
    if (!missing.isEmpty()) {
      throw new IllegalStateException(
          "required bundles are missing or not active: " + String.join(", ", missing));
    }
  }

  private static void report(FrameworkEvent event) {
    if (event.getType() == FrameworkEvent.ERROR) {
      Main.log(
          "ERROR",
          "bundle "
              + event.getBundle().getSymbolicName()
              + ": "
              + Main.describe(event.getThrowable()));
    }
  }

  private static Set<String> names(String list) {
    return new TreeSet<>(
        Arrays.stream(list.split(",")).map(String::trim).filter(s -> !s.isEmpty()).toList());
  }

  private static void deleteTree(Path root) throws IOException {
    if (Files.exists(root)) {
      try (Stream<Path> files = Files.walk(root)) {
        for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
          Files.deleteIfExists(file);
        }
      }
    }
  }

  /** Writes a file so that nobody sees half of it. */
  static void writeAtomically(Path file, String content) throws IOException {
    Path fresh = file.resolveSibling(file.getFileName() + ".new");
    Files.writeString(fresh, content);
    Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }
}
