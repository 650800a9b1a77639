// SPDX-License-Identifier: Apache-2.0
package hutong.api;

import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.UnaryOperator;

/**
 * The agent's configuration, read from framework properties: {@code new
 * AgentConfig(bundleContext::getProperty)}.
 *
 * <p>Every method reads the property when called. A missing or malformed value is an {@link
 * IllegalArgumentException} whose message names the key and the value. Safe for use by several
 * threads if the source is.
 */
public final class AgentConfig {
  /** The two kinds of agent. */
  public enum Role {
    /** The agent of a physical host (dom0). */
    HOST,
    /** The agent of one VM. */
    VM
  }

  private final UnaryOperator<String> source;

  /**
   * Reads from the given look-up.
   *
   * @param source gives the value of a key, or null
   */
  public AgentConfig(UnaryOperator<String> source) {
    this.source = Objects.requireNonNull(source);
  }

  /** {@code hutong.role}: which agent this is. */
  public Role role() {
    String value = text("hutong.role");
    return switch (value) {
      case "host" -> Role.HOST;
      case "vm" -> Role.VM;
      default -> throw new IllegalArgumentException("hutong.role must be host or vm, not " + value);
    };
  }

  /** {@code hutong.name}: this VM's or host's own name. */
  public String name() {
    return text("hutong.name");
  }

  /** {@code hutong.host}: the id of the physical host. */
  public String hostId() {
    return text("hutong.host");
  }

  /** {@code hutong.domid}: the domain id, 0 for the host agent. */
  public int domid() {
    return (int) number("hutong.domid", -1, 0, 0x7fff);
  }

  /** {@code hutong.run}: the agent's own run directory. */
  public Path run() {
    return Path.of(text("hutong.run"));
  }

  /** {@code hutong.interface}: the VM's network interface, or the host's bridge. */
  public String networkInterface() {
    return text("hutong.interface");
  }

  /** {@code hutong.xenstore.socket}: where XenStore listens for this agent. */
  public Path xenstoreSocket() {
    return Path.of(text("hutong.xenstore.socket"));
  }

  /** {@code hutong.link.socket}: where the host agent's link router listens for this VM. */
  public Path linkSocket() {
    return Path.of(text("hutong.link.socket"));
  }

  /**
   * {@code hutong.domains}: the VMs of this host as {@code domid:name,...}; empty when not set.
   *
   * @return names by domain id, in the order given
   */
  public Map<Integer, String> domains() {
    Map<Integer, String> out = new LinkedHashMap<>();
    String value = text("hutong.domains", "");
    for (String item : value.isBlank() ? new String[0] : value.split(",")) {
      String[] parts = item.trim().split(":", 2);
      try {
        int domid = Integer.parseInt(parts[0]);
        if (parts.length != 2
            || parts[1].isBlank()
            || domid < 1
            || domid > 0x7fff
            || out.containsKey(domid)) {
          throw new NumberFormatException();
        }
        out.put(domid, parts[1]);
      } catch (NumberFormatException e) {
        throw new IllegalArgumentException(
            "hutong.domains must be DOMID:NAME,... and is " + value, e);
      }
    }
    return out;
  }

  /**
   * {@code hutong.channel.provider}: whether the VMs of this host are Xen's, which share neither
   * kernel nor file system, so that their agents talk to each other by the network.
   */
  public boolean onXen() {
    return text("hutong.channel.provider", "memfd").equals("xen");
  }

  /** A text value that must be there. */
  public String text(String key) {
    String value = source.apply(key);
    if (value == null || value.isBlank()) {
      throw new IllegalArgumentException(key + " is not configured");
    }
    return value.trim();
  }

  /** A text value with a default. */
  public String text(String key, String whenMissing) {
    String value = source.apply(key);
    return value == null || value.isBlank() ? whenMissing : value.trim();
  }

  /**
   * A whole number.
   *
   * @param key the property
   * @param whenMissing the default; used as it is, also outside the bounds, which makes a value
   *     mandatory
   * @param min the least value allowed
   * @param max the greatest value allowed
   * @return the value
   */
  public long number(String key, long whenMissing, long min, long max) {
    String value = text(key, Long.toString(whenMissing));
    try {
      long n = Long.parseLong(value);
      if (n >= min && n <= max) {
        return n;
      }
    } catch (NumberFormatException e) {
      // falls through to the message below
    }
    throw new IllegalArgumentException(
        key + " must be a number from " + min + " to " + max + " and is " + value);
  }

  /** {@code true} or {@code false}, nothing else. */
  public boolean flag(String key, boolean whenMissing) {
    String value = text(key, Boolean.toString(whenMissing));
    return switch (value) {
      case "true" -> true;
      case "false" -> false;
      default -> throw new IllegalArgumentException(key + " must be true or false and is " + value);
    };
  }
}
