// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import hutong.api.intercept.CheckInfo;
import hutong.api.intercept.Diagnosis;
import hutong.api.intercept.PolicyControl;
import hutong.api.intercept.PolicyControl.RuleSet;
import hutong.api.intercept.WhyInfo;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.felix.service.command.Descriptor;
import org.apache.felix.service.command.Parameter;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Reference;
import org.osgi.service.component.annotations.ReferenceCardinality;
import org.osgi.service.component.annotations.ReferencePolicy;
import org.osgi.service.component.annotations.ReferencePolicyOption;

/** The commands {@code hutong:*} that say which connections leave TCP, and why. */
@Component(
    service = PolicyCommands.class,
    property = {
      "osgi.command.scope=hutong",
      "osgi.command.function=off",
      "osgi.command.function=on",
      "osgi.command.function=policy",
      "osgi.command.function=why",
      "osgi.command.function=check"
    })
public final class PolicyCommands {
  private static final String JSON = "--json";
  private static final String JSON_HELP = "one line of JSON instead of text";
  private static final String POLICY_USAGE =
      "hutong:policy [include|exclude|deny RULES|none] [reset] [--json]";

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile PolicyControl control;

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile Diagnosis diagnosis;

  /** The kill switch. */
  @Descriptor("takes all connections of this VM back to TCP, and keeps new ones there")
  public String off(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor("nothing else") Object... rest) {
    words("off", 0, 0, "hutong:off [--json]", rest);
    return changed(control().enable(false), json);
  }

  /** The kill switch, back. */
  @Descriptor("lets connections of this VM leave TCP again")
  public String on(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor("nothing else") Object... rest) {
    words("on", 0, 0, "hutong:on [--json]", rest);
    return changed(control().enable(true), json);
  }

  /** Shows or changes the policy. */
  @Descriptor("shows which connections may leave TCP, or changes it")
  public String policy(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor(
              "nothing; or include, exclude or deny with rules (or none), such as"
                  + " program=iperf3,net=10.77.0.0/24; or reset: only the configuration holds")
          Object... change) {
    List<String> words = words("policy", 0, Integer.MAX_VALUE, POLICY_USAGE, change);
    if (words.isEmpty()) {
      Map<String, Object> state = Views.policy(control().state());
      return json ? Json.write(state) : table(state);
    }
    String verb = words.get(0);
    if (verb.equals("reset") && words.size() == 1) {
      return changed(control().reset(), json);
    }
    RuleSet set =
        Arrays.stream(RuleSet.values())
            .filter(s -> s.name().toLowerCase(Locale.ROOT).equals(verb))
            .findFirst()
            .orElse(null);
    if (set == null || words.size() < 2) {
      throw new CommandFailure("policy: what to do with " + verb + "?\nusage: " + POLICY_USAGE);
    }
    String rules = String.join(" ", words.subList(1, words.size()));
    try {
      return changed(control().set(set, rules.equals("none") ? "" : rules), json);
    } catch (IllegalArgumentException e) {
      throw new CommandFailure(e.getMessage() + "; nothing was changed");
    }
  }

  /** Why a connection is on its path. */
  @Descriptor("says why a connection is accelerated or not, and what is needed")
  public String why(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor("PID FD: a process of this VM and one of its descriptors") Object... of) {
    List<String> words = words("why", 2, 2, "hutong:why PID FD [--json]", of);
    Diagnosis service = require(diagnosis);
    WhyInfo info;
    try {
      info = service.why(number(words.get(0)), number(words.get(1)));
    } catch (IllegalArgumentException e) {
      throw new CommandFailure(e.getMessage());
    }
    Map<String, Object> row = Views.why(info);
    return json
        ? Json.write(row)
        : table(row) + "\n" + (info.summary() + " " + info.advice()).strip();
  }

  /** Whether a new connection would be accelerated. */
  @Descriptor("says whether a connection to a VM or address would be accelerated now")
  public String check(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor("NAME|ADDRESS of the other end") Object... to) {
    List<String> words = words("check", 1, 1, "hutong:check NAME|ADDRESS [--json]", to);
    CheckInfo info = require(diagnosis).check(words.get(0));
    Map<String, Object> view = Views.check(info);
    if (json) {
      return Json.write(view);
    }
    List<Map<String, Object>> steps = info.steps().stream().map(Views::step).toList();
    return Table.render(List.of("name", "good", "text"), steps, "") + "\n" + info.summary();
  }

  private static String changed(PolicyControl.Change change, boolean json) {
    Map<String, Object> state = Views.policy(change.state());
    if (json) {
      state.put("told", change.told());
      state.put("stopped", change.stopped());
      return Json.write(state);
    }
    return table(state)
        + "\n%d connections were told, %d of them must stay on TCP for good"
            .formatted(change.told(), change.stopped());
  }

  private static String table(Map<String, Object> values) {
    List<Map<String, Object>> rows = new ArrayList<>();
    values.forEach(
        (name, value) -> {
          Map<String, Object> row = new LinkedHashMap<>();
          row.put("name", name);
          row.put("value", value == null ? null : value.toString());
          rows.add(row);
        });
    return Table.render(List.of("name", "value"), rows, "");
  }

  private static List<String> words(
      String command, int least, int most, String usage, Object... words) {
    List<String> out = Arrays.stream(words).map(String::valueOf).toList();
    String option = out.stream().filter(w -> w.startsWith("-")).findFirst().orElse(null);
    if (option != null) {
      throw new CommandFailure(command + ": unknown argument " + option + "\nusage: " + usage);
    }
    if (out.size() > most) {
      throw new CommandFailure(
          command + ": unknown argument " + out.get(most) + "\nusage: " + usage);
    }
    if (out.size() < least) {
      throw new CommandFailure(command + ": too few arguments\nusage: " + usage);
    }
    return out;
  }

  private static int number(String text) {
    if (!text.matches("[0-9]{1,9}")) {
      throw new CommandFailure("why: " + text + " is no number\nusage: hutong:why PID FD [--json]");
    }
    return Integer.parseInt(text);
  }

  private PolicyControl control() {
    return require(control);
  }

  private static <T> T require(T service) {
    if (service == null) {
      throw new CommandFailure(
          "the policy is away: bundle hutong.intercept is not running, or not ready yet");
    }
    return service;
  }
}
