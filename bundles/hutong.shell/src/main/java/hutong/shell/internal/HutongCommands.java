// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import hutong.api.channel.ChannelInfo;
import hutong.api.channel.Channels;
import hutong.api.discovery.Membership;
import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.Connections;
import hutong.api.intercept.Reason;
import hutong.api.telemetry.Counters;
import hutong.api.telemetry.EventLog;
import hutong.api.transport.LightTransport;
import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.felix.service.command.Descriptor;
import org.apache.felix.service.command.Parameter;
import org.osgi.framework.BundleContext;
import org.osgi.service.component.annotations.Activate;
import org.osgi.service.component.annotations.Component;
import org.osgi.service.component.annotations.Reference;
import org.osgi.service.component.annotations.ReferenceCardinality;
import org.osgi.service.component.annotations.ReferencePolicy;
import org.osgi.service.component.annotations.ReferencePolicyOption;

/**
 * The commands {@code hutong:*}. Each service may come and go; a command whose service is away says
 * so.
 */
@Component(
    service = HutongCommands.class,
    property = {
      "osgi.command.scope=hutong",
      "osgi.command.function=vms",
      "osgi.command.function=channels",
      "osgi.command.function=conns",
      "osgi.command.function=lines",
      "osgi.command.function=reasons",
      "osgi.command.function=stats",
      "osgi.command.function=log"
    })
public final class HutongCommands {
  private static final String JSON = "--json";
  private static final String JSON_HELP = "one line of JSON instead of a table";
  private static final String REST_HELP = "nothing else";

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile Membership membership;

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile Channels channels;

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile Connections connections;

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile LightTransport transport;

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile Counters counters;

  @Reference(
      policy = ReferencePolicy.DYNAMIC,
      cardinality = ReferenceCardinality.OPTIONAL,
      policyOption = ReferencePolicyOption.GREEDY)
  volatile EventLog eventLog;

  private final String agent;
  private final String role;

  /** Made by Declarative Services. */
  @Activate
  public HutongCommands(BundleContext context) {
    this(context.getProperty("hutong.name"), context.getProperty("hutong.role"));
  }

  HutongCommands(String agent, String role) {
    this.agent = agent;
    this.role = role;
  }

  /** The members of the cluster. */
  @Descriptor("lists the VMs of the cluster, as the host agents' signed lists have them")
  public String vms(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor(REST_HELP) Object... rest) {
    requireNothing("vms", rest);
    Membership service = require(membership, "membership", "hutong.discovery");
    List<Map<String, Object>> rows =
        service.current().members().stream().map(Views::member).toList();
    return json
        ? Json.write(rows)
        : Table.render(
            List.of("host", "domid", "name", "mac", "coResident", "self", "version", "addresses"),
            rows,
            "no members known");
  }

  /** The channel table. */
  @Descriptor("lists the channels in use: shared memory with a peer VM")
  public String channels(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor(REST_HELP) Object... rest) {
    requireNothing("channels", rest);
    Channels service = require(channels, "channel table", "hutong.channel");
    List<Map<String, Object>> rows = service.list().stream().map(Views::channel).toList();
    return json
        ? Json.write(rows)
        : Table.render(
            List.of(
                "number",
                "peerVm",
                "peerName",
                "peerMac",
                "peerNumber",
                "state",
                "ringSize",
                "overflowSize",
                "bytesIn",
                "bytesOut",
                "pids"),
            rows,
            "no channels in use");
  }

  /** The connections between hosts. */
  @Descriptor("lists what the light protocol carries between hosts: wire, state, bytes, datagrams")
  public String lines(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor(REST_HELP) Object... rest) {
    requireNothing("lines", rest);
    LightTransport service = require(transport, "light protocol", "hutong.transport");
    List<Map<String, Object>> rows = service.lines().stream().map(Views::line).toList();
    return json
        ? Json.write(rows)
        : Table.render(
            List.of(
                "number",
                "peer",
                "wire",
                "sends",
                "receives",
                "bytesOut",
                "bytesIn",
                "datagramsOut",
                "datagramsIn",
                "resent",
                "dropped"),
            rows,
            "nothing is carried between hosts");
  }

  /** The intercepted connections. */
  @Descriptor(
      "lists intercepted connections: program, addresses, path, bytes each way, reason when on TCP")
  public String conns(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor(REST_HELP) Object... rest) {
    requireNothing("conns", rest);
    Connections service = require(connections, "connection list", "hutong.intercept");
    List<Map<String, Object>> rows = service.list().stream().map(Views::connection).toList();
    return json
        ? Json.write(rows)
        : Table.render(
            List.of(
                "pid",
                "program",
                "uid",
                "local",
                "remote",
                "path",
                "tcpIn",
                "tcpOut",
                "ringIn",
                "ringOut",
                "reason",
                "reasonText"),
            rows,
            "no intercepted connections");
  }

  /** The reasons and how often each was met. */
  @Descriptor("explains the reason numbers, with how often each was met")
  public String reasons(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor(REST_HELP) Object... rest) {
    requireNothing("reasons", rest);
    Counters service = counters;
    Map<String, Long> now = service == null ? null : service.snapshot();
    List<Map<String, Object>> rows =
        Arrays.stream(Reason.values()).map(r -> Views.reason(r, now)).toList();
    return json
        ? Json.write(rows)
        : Table.render(List.of("number", "count", "name", "text"), rows, "");
  }

  /** The agent's state and counters. */
  @Descriptor("shows the agent's state and all counters")
  public String stats(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor(REST_HELP) Object... rest) {
    requireNothing("stats", rest);
    Map<String, Object> out = new LinkedHashMap<>();
    out.put("agent", agent);
    out.put("role", role);
    out.put("pid", ProcessHandle.current().pid());
    out.put("uptimeMillis", ManagementFactory.getRuntimeMXBean().getUptime());
    out.put("heapBytes", Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory());
    Membership members = membership;
    out.put("members", members == null ? null : members.current().members().size());
    Channels table = channels;
    List<ChannelInfo> open = table == null ? null : table.list();
    out.put("channels", open == null ? null : open.size());
    Connections ends = connections;
    List<ConnectionInfo> conns = ends == null ? null : ends.list();
    out.put("connections", conns == null ? null : Views.totals(conns));
    Counters service = counters;
    out.put("counters", service == null ? null : service.snapshot());
    return json ? Json.write(out) : Table.render(List.of("name", "value"), flat("", out), "");
  }

  /** The event log. */
  @Descriptor("shows the last events")
  public String log(
      @Descriptor(JSON_HELP) @Parameter(names = JSON, presentValue = "true", absentValue = "false")
          boolean json,
      @Descriptor(REST_HELP) Object... rest) {
    requireNothing("log", rest);
    EventLog service = require(eventLog, "event log", "hutong.telemetry");
    List<Map<String, Object>> rows = service.recent().stream().map(Views::event).toList();
    return json
        ? Json.write(rows)
        : Table.render(List.of("time", "level", "source", "message"), rows, "no events");
  }

  /** Nested maps as rows of a dotted name and a value. */
  private static List<Map<String, Object>> flat(String prefix, Map<?, ?> values) {
    List<Map<String, Object>> rows = new java.util.ArrayList<>();
    values.forEach(
        (key, value) -> {
          if (value instanceof Map<?, ?> inner) {
            rows.addAll(flat(prefix + key + ".", inner));
          } else {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put("name", prefix + key);
            row.put("value", value);
            rows.add(row);
          }
        });
    return rows;
  }

  private static void requireNothing(String command, Object... rest) {
    if (rest.length > 0) {
      throw new CommandFailure(
          command + ": unknown argument " + rest[0] + "\nusage: hutong:" + command + " [--json]");
    }
  }

  private static <T> T require(T service, String what, String bundle) {
    if (service == null) {
      throw new CommandFailure(
          "the " + what + " is away: bundle " + bundle + " is not running, or not ready yet");
    }
    return service;
  }
}
