# SPDX-License-Identifier: Apache-2.0
"""`./hutong bench`: runs cases in alternating pairs, prints the table, writes the JSON."""

import json
import os
import sys
from statistics import median

from hutonglab import agents, cluster, link, net, state, topology
from hutonglab.errors import LabError, UsageError

from . import cases, inter, stats
from .program import ProgramError

#: An interval from fewer pairs would promise what it cannot hold.
LEAST_FOR_INTERVAL = 5


def congestion_control():
    """The congestion control of new connections in VM1, as the kernel tells it."""
    return net.command("nsenter", "--net=" + topology.VMS[0].ns_path, "cat",
                       "/proc/sys/net/ipv4/tcp_congestion_control").strip()


def measure_pairs(case, pairs, progress):
    """
    Runs `pairs` pairs, the order swapped in each: a drift of the machine hits both sides alike. Returns the result
    rows: one, and one for each part of the case. A run on "Hutong" that moved no byte through a ring is a failure, not
    a result.
    """
    samples = {False: [], True: []}
    row = _empty_row(case.name, case.unit, case.about)
    for number in range(max(pairs, case.least_pairs)):
        for accelerated in ((False, True), (True, False))[number % 2]:
            progress(case, number, accelerated)
            try:
                sample = case.run(accelerated)
            except (ProgramError, LabError, ValueError, KeyError) as e:
                row["failed"] = "%s: %s" % ("Hutong" if accelerated else "TCP", e)
                return [row]
            problem = _unused(case, sample) if accelerated else None
            if problem is not None:
                row["failed"] = problem
                return [row]
            samples[accelerated].append(sample)
    different = {s.facts.get("result") for s in samples[False] + samples[True]}
    if len(different) > 1:
        row["failed"] = "the program's results differ between runs"
        return [row]
    fill(row, case, samples)
    return [row] + [part_row(case, part, samples) for part in case.parts]


def _unused(case, sample):
    """Why an accelerated sample is none."""
    if case.between_hosts:
        return inter.unused(sample)
    return "not accelerated: no byte went through a ring" if case.on_ring and sample.ring_bytes == 0 else None


def _empty_row(name, unit, about):
    return {"case": name, "about": about, "unit": unit, "tcp": None, "hutong": None, "ratio": None}


def part_row(case, part, samples):
    """A row from one fact of the samples."""
    row = _empty_row("%s.%s" % (case.name, part.fact), part.unit, part.about)
    tcp, hutong = ([s.facts[part.fact] for s in samples[accelerated]] for accelerated in (False, True))
    row.update(tcp=median(tcp), hutong=median(hutong), tcp_values=tcp, hutong_values=hutong, pairs=len(tcp),
               ratio=stats.median_or_none(stats.ratio(h, t) for t, h in zip(tcp, hutong)), write_size=case.write_size)
    return row


def fill(row, case, samples):
    """Completes a row from its samples."""
    tcp, hutong = samples[False], samples[True]
    ratios = [stats.ratio(h.value, t.value) for t, h in zip(tcp, hutong)]
    row.update(
        tcp=median(s.value for s in tcp), hutong=median(s.value for s in hutong), ratio=stats.median_or_none(ratios),
        tcp_cpu=round(median(s.cpu for s in tcp), 3), hutong_cpu=round(median(s.cpu for s in hutong), 3),
        pairs=len(ratios), tcp_values=[s.value for s in tcp], hutong_values=[s.value for s in hutong],
        write_size=case.write_size, ring_bytes=sum(s.ring_bytes for s in hutong))
    if case.interval and len(ratios) >= LEAST_FOR_INTERVAL and all(r is not None for r in ratios):
        row["ratio_low"], row["ratio_high"] = stats.bootstrap_interval(ratios)
    for name in ("p99", "agent_ticks", "kib_each", "fds_each"):
        if all(name in s.facts for s in tcp + hutong):
            row["tcp_" + name] = median(s.facts[name] for s in tcp)
            row["hutong_" + name] = median(s.facts[name] for s in hutong)
    if case.between_hosts:
        inter.fill(row, case, samples)


def measure(chosen, pairs, progress):
    """All chosen cases, one after the other; rows in order."""
    rows = []
    for case in chosen:
        rows += measure_pairs(case, pairs, progress)
    return rows


def show_progress(case, number, accelerated):
    print("hutong: %s, pair %d: %s" % (case.name, number + 1, "Hutong" if accelerated else "TCP"),
          file=sys.stderr, flush=True)


def _figure(value):
    if value is None:
        return "-"
    return "%.0f" % value if abs(value) >= 1000 or value == int(value) else "%.4g" % value


def table(rows):
    """The rows as text."""
    lines = ["%-52s %-7s %10s %10s %8s %9s %9s" % ("", "unit", "TCP", "Hutong", "ratio", "TCP cpu", "Htg cpu")]
    for row in rows:
        if "failed" in row:
            lines.append("%-52s FAILED: %s" % (row["about"], row["failed"].splitlines()[0][:160]))
            continue
        cpu = ["%.2fs" % row[name] if name in row else "-" for name in ("tcp_cpu", "hutong_cpu")]
        lines.append("%-52s %-7s %10s %10s %8s %9s %9s" % (
            row["about"], row["unit"], _figure(row["tcp"]),
            _figure(row["hutong"]),
            "-" if row["ratio"] is None else "%.3f" % row["ratio"], *cpu))
        if "ratio_low" in row:
            lines.append("%52s 95 %% interval of the ratio: %.4f to %.4f (%d pairs)"
                         % ("", row["ratio_low"], row["ratio_high"], row["pairs"]))
        if "light_bytes" in row:
            lines += ["    " + line for line in inter.lines(row)]
        if "hutong_kib_each" in row:
            lines.append("%52s per connection, both ends: %.1f KiB and %.2f descriptors (TCP), %.1f KiB and %.2f (Hutong)"
                         % ("", row["tcp_kib_each"], row["tcp_fds_each"], row["hutong_kib_each"], row["hutong_fds_each"]))
        if "hutong_agent_ticks" in row:
            lines.append("%52s agents in the same time: %s ticks (TCP), %s (Hutong)"
                         % ("", _figure(row["tcp_agent_ticks"]), _figure(row["hutong_agent_ticks"])))
    return "\n".join(lines)


def heading(pairs):
    """What every figure below stands under."""
    settings = agents.overrides()
    return ("alternating pairs, medians; ratio = Hutong / TCP pair by pair; cpu = processor seconds of both sides\n"
            "TCP congestion control: %s; pairs: %d; write sizes as named in each row\n"
            "link between the hosts: %s\nconnections between the hosts: %s%s"
            % (congestion_control(), pairs, link.current().text(), link.current().choice(),
               "\nsettings: " + " ".join(settings) if settings else ""))


def write_json(path, tables):
    """Writes the results file: whole, or not at all; what is no file, such as /dev/stdout, is written to."""
    results = [row for table in tables for row in table["results"]]
    to = _beside(path)
    with open(to, "w", encoding="ascii") as f:
        json.dump({"results": results, "link": tables[0]["link"], "baseline": tables[0]["baseline"], "tables": tables}, f,
                  indent=1)
        f.write("\n")
    if to != path:
        os.replace(to, path)


def _beside(path):
    return path if os.path.lexists(path) and not os.path.isfile(path) or os.path.islink(path) else path + ".new"


def check_json(path):
    """That the results file can be written, before hours are spent on what is to stand there."""
    to = _beside(path)
    there = os.path.lexists(to)
    try:
        open(to, "a", encoding="ascii").close()
        if not there:
            os.unlink(to)
    except OSError as e:
        raise UsageError("cannot write '%s': %s" % (path, e.strerror)) from e


def choose(name):
    """The cases that names on the command line stand for."""
    known = {"intra": cases.INTRA, "conns": cases.CONNS, "inter": inter.INTER}
    known.update({c.name: (c,) for group in list(known.values()) for c in group})
    chosen = []
    for one in name.split(","):
        if one not in known:
            raise UsageError("unknown case '%s' (known: %s)" % (one, ", ".join(known)))
        chosen += [c for c in known[one] if c not in chosen]
    return chosen


def measure_table(chosen, pairs, warm_up):
    """One table on the cluster that is up, printed; returns what the results file holds of it."""
    baseline = inter.prepare(show_progress, warm_up) if any(c.between_hosts for c in chosen) else None
    if baseline is not None:
        print(inter.baseline_text(baseline), flush=True)
    rows = measure(chosen, pairs, show_progress)
    there, control = link.current(), congestion_control()
    for row in rows:
        row.update(congestion_control=control, wire=there.wire, inter=there.inter)
        row.setdefault("pairs", pairs)
    print(heading(pairs))
    print(table(rows), flush=True)
    return {"results": rows, "link": cluster.link_status(), "baseline": baseline, "settings": agents.overrides()}


def plan(chosen, links):
    """The links to measure on, one cluster each; of a cluster that is up the one it has."""
    if not any(c.between_hosts for c in chosen):
        links = links[-1:]
    if len(links) > 1 and state.is_up():
        there = [wanted for wanted in links if wanted == link.current()] or links[:1]
        print("hutong: one table of two: a cluster is up, and its paths stay as they are", file=sys.stderr)
        return there
    return links


def main(name, pairs, json_file, links, warm_up):
    """Runs the command, with a table for each of the links; exit status 1 when a row failed."""
    if name == "list":
        for case in cases.INTRA + cases.CONNS + inter.INTER:
            print("%-20s %-7s %s" % (case.name, case.unit, case.about))
        return 0
    chosen = choose(name)
    if pairs < 1:
        raise UsageError("--pairs wants a positive number")
    if warm_up < 1:
        raise UsageError("--warm-up wants a positive number")
    if json_file:
        check_json(json_file)
    tables = []
    for wanted in plan(chosen, links):
        with cluster.for_now(wanted):
            tables.append(measure_table(chosen, pairs, warm_up))
        if json_file:
            write_json(json_file, tables)
    failed = [row for one in tables for row in one["results"] if "failed" in row]
    for row in failed:
        print("hutong: %s: %s" % (row["case"], row["failed"]), file=sys.stderr)
    return 1 if failed else 0
