// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import hutong.api.AgentConfig;
import hutong.api.intercept.PolicyControl.RuleSet;
import java.io.IOException;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Locale;
import java.util.Properties;
import java.util.function.Consumer;

/**
 * The policy of now: what the configuration says ({@code hutong.enabled}, {@code
 * hutong.policy.include}, {@code .exclude}, {@code .deny}), and over it what was said at run time.
 * The latter is kept in a file, or a kill switch would be on again after the update of a bundle.
 * Thread-safe.
 */
final class LivePolicy {
  private static final String ENABLED = "hutong.enabled";
  private static final String PREFIX = "hutong.policy.";

  /**
   * What holds.
   *
   * @param enabled false: everything is on TCP
   * @param policy the rules
   * @param changed whether something of it was said at run time
   */
  record State(boolean enabled, Policy policy, boolean changed) {}

  private final AgentConfig config;
  private final Path file;
  private final Properties said = new Properties();
  private volatile State state;

  /**
   * Reads configuration and file. What cannot be read denies everything, and is told.
   *
   * @param config the agent's configuration
   * @param file where run-time changes are kept; null if they are not
   * @param error told what is wrong
   */
  LivePolicy(AgentConfig config, Path file, Consumer<String> error) {
    this.config = config;
    this.file = file;
    String unreadable = load();
    State read = read();
    if (unreadable != null) {
      RuleList broken = new RuleList("", java.util.List.of(), unreadable);
      read = new State(read.enabled, read.policy.with(RuleSet.DENY, broken), true);
    }
    state = read;
    if (read.policy.problem() != null) {
      error.accept(read.policy.problem() + "; until it is mended everything stays on TCP");
    }
  }

  State now() {
    return state;
  }

  /** Whether a connection may leave TCP; the switch is not asked. */
  Policy.Decision decide(Subject subject) {
    return state.policy.decide(subject);
  }

  /** Switches on or off. */
  synchronized void enable(boolean on) {
    said.setProperty(ENABLED, Boolean.toString(on));
    changed();
  }

  /**
   * Replaces a list.
   *
   * @throws IllegalArgumentException when it is none; nothing is changed then
   */
  synchronized void set(RuleSet set, String rules) {
    RuleList list = RuleList.of(name(set), rules);
    if (list.problem() != null) {
      throw new IllegalArgumentException(list.problem());
    }
    said.setProperty(PREFIX + name(set), list.text());
    changed();
  }

  /** Only the configuration holds. */
  synchronized void reset() {
    said.clear();
    changed();
  }

  /** Holds at once, also when it cannot be kept: what is shut must be shut. */
  private void changed() {
    state = read();
    try {
      save();
    } catch (IOException e) {
      throw new UncheckedIOException(
          "it holds now, but not after a restart: cannot write " + file, e);
    }
  }

  private State read() {
    Policy policy = Policy.none();
    for (RuleSet set : RuleSet.values()) {
      String key = PREFIX + name(set);
      String text = said.getProperty(key, config.text(key, ""));
      policy = policy.with(set, RuleList.of(key, text));
    }
    String on = said.getProperty(ENABLED);
    boolean enabled = on == null ? config.flag(ENABLED, true) : on.equals("true");
    return new State(enabled, policy, !said.isEmpty());
  }

  private static String name(RuleSet set) {
    return set.name().toLowerCase(Locale.ROOT);
  }

  /** Reads what was said before; gives what is wrong with the file, or null. */
  private String load() {
    if (file == null) {
      return null;
    }
    try (Reader in = Files.newBufferedReader(file)) {
      said.load(in);
      return null;
    } catch (NoSuchFileException e) {
      return null;
    } catch (IOException | IllegalArgumentException e) {
      said.clear();
      return "cannot read " + file + ": " + e;
    }
  }

  private void save() throws IOException {
    if (file == null) {
      return;
    }
    if (said.isEmpty()) {
      Files.deleteIfExists(file);
      return;
    }
    Path fresh = file.resolveSibling(file.getFileName() + ".new");
    try (Writer out = Files.newBufferedWriter(fresh)) {
      said.store(out, "said at run time; hutong:policy reset takes it back");
    }
    Files.move(fresh, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
  }
}
