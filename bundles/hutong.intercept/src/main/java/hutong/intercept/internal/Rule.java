// SPDX-License-Identifier: Apache-2.0
package hutong.intercept.internal;

import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * One rule of a policy: {@code program=NAME,net=ADDRESS[/BITS],port=N[-M],uid=N}, any of these, all
 * of which must hold. {@code net} is the peer's address, {@code port} that of either end.
 *
 * @param text as it was written
 * @param program name of the command or of the executable, null for any
 * @param net where the peer is, null for anywhere
 * @param lowPort the lowest port, 0 for any
 * @param highPort the highest port
 * @param uid the user, -1 for any
 */
record Rule(String text, String program, Net net, int lowPort, int highPort, long uid) {
  /** The kernel cuts the name of a command. */
  private static final int COMM_MAX = 15;

  private static final int PORT_MAX = 65_535;
  private static final long UID_MAX = 0xffff_fffeL;

  /** Whether a rule matches. */
  enum Match {
    NO,
    /** It depends on what is not known. */
    MAYBE,
    YES
  }

  /**
   * Parses a rule.
   *
   * @throws IllegalArgumentException with a message that says what is wrong
   */
  static Rule parse(String text) {
    Rule rule = new Rule(text, null, null, 0, 0, -1);
    Set<String> seen = new HashSet<>();
    for (String part : text.split(",", -1)) {
      int equals = part.indexOf('=');
      String key = equals < 0 ? "" : part.substring(0, equals);
      String value = part.substring(equals + 1);
      if (!Set.of("program", "net", "port", "uid").contains(key) || value.isEmpty()) {
        throw new IllegalArgumentException(
            "'" + part + "' is not program=NAME, net=ADDRESS[/BITS], port=N[-M] or uid=N");
      }
      if (!seen.add(key)) {
        throw new IllegalArgumentException("'" + part + "': a rule has one " + key + " only");
      }
      try {
        rule = rule.with(key, value);
      } catch (IllegalArgumentException e) {
        throw new IllegalArgumentException("'" + part + "': no such " + key, e);
      }
    }
    return rule;
  }

  private Rule with(String key, String value) {
    switch (key) {
      case "program" -> {
        if (value.indexOf('/') >= 0) {
          throw new IllegalArgumentException("a name, not a path");
        }
        return new Rule(text, value, net, lowPort, highPort, uid);
      }
      case "net" -> {
        return new Rule(text, program, Net.parse(value), lowPort, highPort, uid);
      }
      case "port" -> {
        int dash = value.indexOf('-');
        int low = (int) number(dash < 0 ? value : value.substring(0, dash), 1, PORT_MAX);
        int high = dash < 0 ? low : (int) number(value.substring(dash + 1), low, PORT_MAX);
        return new Rule(text, program, net, low, high, uid);
      }
      case "uid" -> {
        return new Rule(text, program, net, lowPort, highPort, number(value, 0, UID_MAX));
      }
      default -> throw new IllegalArgumentException(key);
    }
  }

  /** A number in plain digits. */
  static long number(String text, long min, long max) {
    if (text.matches("[0-9]{1,10}")) {
      long n = Long.parseLong(text);
      if (n >= min && n <= max) {
        return n;
      }
    }
    throw new IllegalArgumentException(text + " is no number from " + min + " to " + max);
  }

  /** Whether it matches a connection. */
  Match match(Subject subject) {
    Match[] parts = {net(subject), uid(subject), port(subject), Match.YES};
    // The names are asked for last: they cost a look at the process.
    parts[3] = least(parts) == Match.NO ? Match.NO : program(subject);
    return least(parts);
  }

  private static Match least(Match... parts) {
    Match least = Match.YES;
    for (Match part : parts) {
      least = part.compareTo(least) < 0 ? part : least;
    }
    return least;
  }

  private Match net(Subject subject) {
    return net == null ? Match.YES : of(net.contains(subject.peer()));
  }

  private Match uid(Subject subject) {
    if (uid < 0) {
      return Match.YES;
    }
    return subject.uid() == Subject.UNKNOWN ? Match.MAYBE : of(uid == subject.uid());
  }

  private Match port(Subject subject) {
    if (lowPort == 0 || has(subject.localPort()) || has(subject.remotePort())) {
      return Match.YES;
    }
    boolean unknown =
        subject.localPort() == Subject.UNKNOWN || subject.remotePort() == Subject.UNKNOWN;
    return unknown ? Match.MAYBE : Match.NO;
  }

  private boolean has(int port) {
    return port >= lowPort && port <= highPort;
  }

  private Match program(Subject subject) {
    if (program == null) {
      return Match.YES;
    }
    return subject.programs() == null ? Match.MAYBE : of(named(subject.programs().get()));
  }

  private boolean named(List<String> names) {
    for (String name : names) {
      boolean cut = name.length() == COMM_MAX && program.length() > COMM_MAX;
      if (name.equals(cut ? program.substring(0, COMM_MAX) : program)) {
        return true;
      }
    }
    return false;
  }

  private static Match of(boolean yes) {
    return yes ? Match.YES : Match.NO;
  }
}
