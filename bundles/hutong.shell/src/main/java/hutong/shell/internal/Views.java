// SPDX-License-Identifier: Apache-2.0
package hutong.shell.internal;

import hutong.api.channel.ChannelInfo;
import hutong.api.discovery.Member;
import hutong.api.intercept.CheckInfo;
import hutong.api.intercept.ConnectionInfo;
import hutong.api.intercept.PolicyControl;
import hutong.api.intercept.Reason;
import hutong.api.intercept.WhyInfo;
import hutong.api.telemetry.EventLog;
import hutong.api.transport.LineInfo;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the commands show, as rows: the same for text and JSON. */
final class Views {
  private Views() {}

  static Map<String, Object> member(Member m) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("host", m.hostId());
    row.put("domid", m.domid());
    row.put("name", m.name());
    row.put("mac", m.mac());
    row.put("addresses", m.addresses());
    row.put("version", m.version());
    row.put("coResident", m.coResident());
    row.put("self", m.self());
    return row;
  }

  static Map<String, Object> channel(ChannelInfo c) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("number", Integer.toUnsignedLong(c.number()));
    row.put("peerVm", c.peerVm());
    row.put("peerName", c.peerName());
    row.put("peerMac", c.peerMac());
    row.put("peerNumber", Integer.toUnsignedLong(c.peerNumber()));
    row.put("state", c.state());
    row.put("ringSize", c.ringSize());
    row.put("overflowSize", c.overflowSize());
    row.put("bytesIn", c.bytesIn());
    row.put("bytesOut", c.bytesOut());
    row.put("pids", c.pids());
    return row;
  }

  static Map<String, Object> line(LineInfo l) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("number", Integer.toUnsignedLong(l.number()));
    row.put("peer", l.peer().toString());
    row.put("wire", l.wire());
    row.put("sends", l.sends());
    row.put("receives", l.receives());
    row.put("reason", l.reason().number());
    row.put("bytesOut", l.bytesOut());
    row.put("bytesIn", l.bytesIn());
    row.put("datagramsOut", l.datagramsOut());
    row.put("datagramsIn", l.datagramsIn());
    row.put("resent", l.resent());
    row.put("dropped", l.dropped());
    return row;
  }

  static Map<String, Object> connection(ConnectionInfo c) {
    boolean explained = c.reason() != Reason.NONE;
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("pid", c.pid());
    row.put("program", c.program());
    row.put("uid", Integer.toUnsignedLong(c.uid()));
    row.put("local", c.local());
    row.put("remote", c.remote());
    row.put("path", c.path());
    row.put("far", c.far());
    row.put("state", c.state());
    row.put("channel", Integer.toUnsignedLong(c.channel()));
    row.put("tcpIn", c.tcpIn());
    row.put("tcpOut", c.tcpOut());
    row.put("ringIn", c.ringIn());
    row.put("ringOut", c.ringOut());
    row.put("reason", c.reason().number());
    row.put("reasonText", explained ? c.reason().text() : null);
    return row;
  }

  static Map<String, Object> policy(PolicyControl.State s) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("enabled", s.enabled());
    row.put("include", s.include());
    row.put("exclude", s.exclude());
    row.put("deny", s.deny());
    row.put("changed", s.changed());
    row.put("problem", s.problem());
    return row;
  }

  static Map<String, Object> why(WhyInfo w) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("pid", w.pid());
    row.put("program", w.program());
    row.put("uid", Integer.toUnsignedLong(w.uid()));
    row.put("fd", w.fd());
    row.put("kind", w.kind());
    row.put("local", w.local());
    row.put("remote", w.remote());
    row.put("peerVm", w.peerVm());
    row.put("shim", w.shim());
    row.put("state", w.state());
    row.put("path", w.path());
    row.put("accelerated", w.accelerated());
    row.put("reason", w.reason().number());
    row.put("reasonText", w.reason() == Reason.NONE ? null : w.reason().text());
    row.put("tcpIn", w.tcpIn());
    row.put("tcpOut", w.tcpOut());
    row.put("ringIn", w.ringIn());
    row.put("ringOut", w.ringOut());
    row.put("summary", w.summary());
    row.put("advice", w.advice());
    return row;
  }

  static Map<String, Object> step(CheckInfo.Step s) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("name", s.name());
    row.put("good", s.good());
    row.put("reason", s.reason().number());
    row.put("text", s.text());
    return row;
  }

  static Map<String, Object> check(CheckInfo c) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("target", c.target());
    row.put("vm", c.vm());
    row.put("accelerated", c.accelerated());
    row.put("reason", c.reason().number());
    row.put("reasonText", c.reason() == Reason.NONE ? null : c.reason().text());
    row.put("summary", c.summary());
    row.put("steps", c.steps().stream().map(Views::step).toList());
    return row;
  }

  static Map<String, Object> reason(Reason reason, Map<String, Long> counters) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("number", reason.number());
    row.put("name", reason.name());
    row.put(
        "count", counters == null ? null : counters.getOrDefault("reason." + reason.number(), 0L));
    row.put("text", reason.text());
    return row;
  }

  static Map<String, Object> event(EventLog.Event e) {
    Map<String, Object> row = new LinkedHashMap<>();
    row.put("time", Instant.ofEpochMilli(e.epochMillis()).toString());
    row.put("level", e.level().name());
    row.put("source", e.source());
    row.put("message", e.message());
    return row;
  }

  /** Bytes and connections by path. */
  static Map<String, Object> totals(List<ConnectionInfo> connections) {
    Map<String, Object> out = new LinkedHashMap<>();
    for (String path : List.of("RING", "LIGHT", "SWITCHING", "TCP")) {
      out.put(
          path.toLowerCase(java.util.Locale.ROOT),
          connections.stream().filter(c -> c.path().equals(path)).count());
    }
    out.put("tcpIn", connections.stream().mapToLong(ConnectionInfo::tcpIn).sum());
    out.put("tcpOut", connections.stream().mapToLong(ConnectionInfo::tcpOut).sum());
    for (boolean far : new boolean[] {false, true}) {
      List<ConnectionInfo> some = connections.stream().filter(c -> c.far() == far).toList();
      String name = far ? "light" : "ring";
      out.put(name + "In", some.stream().mapToLong(ConnectionInfo::ringIn).sum());
      out.put(name + "Out", some.stream().mapToLong(ConnectionInfo::ringOut).sum());
    }
    return out;
  }
}
