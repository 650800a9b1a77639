# SPDX-License-Identifier: Apache-2.0
"""
`./hutong lab xen`: the method's reference experiment on real Xen. Everything it measures is measured under emulation, on
whatever the machine's processors have left: only the ratio of neighbouring runs says something, and no time is asserted.
"""

import datetime
import fcntl
import os
import statistics
import time

from .. import agents, deps, topology
from ..errors import LabError
from . import clauses, hosts, image, life, nodes, programs

RUN = image.path("run")
PAIRS = 5
STREAM_AIM = 2.57  # the patent's +157 %
# Rounds between hosts take a second each here, so that only one job has all three VMs unless everything is asked for.
COLLECTIVE = ("collective", "/product/mpi-examples/c/collective 25 4096")
HEAT = ("heat", "/product/mpi-examples/c/heat 64 100")
PAIR, THREE = ("VM1", "VM2"), ("VM1", "VM2", "VM3")
MPI_JOBS = ((COLLECTIVE, THREE), (HEAT, PAIR))
MORE_MPI_JOBS = ((COLLECTIVE, PAIR), (HEAT, THREE))


class Report:
    """What was seen: printed at once, and kept in the run directory."""

    def __init__(self, path):
        self.path, self.good, self.bad, self.began = path, 0, [], time.monotonic()
        with open(path, "w", encoding="utf-8"):
            pass

    def say(self, text=""):
        """A line of the table."""
        print(text, flush=True)
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(text + "\n")

    def title(self, text):
        """Begins a part."""
        self.say("\n%s (%.0f s)" % (text, time.monotonic() - self.began))

    def check(self, what, good, text=""):
        """Something that must be so."""
        self.good += bool(good)
        if not good:
            self.bad.append(what)
        self.say("  %-4s %s%s (%.0f s)" % ("ok" if good else "NOT", what, ": " + text if text else "",
                                           time.monotonic() - self.began))

    def clause(self, clause, where, good, text):
        """The same for a clause of the method."""
        self.check("%s %s" % (clause, where), good, text)


def versions(lab, report):
    """What all of it was measured on."""
    kernel = lab.sh("VM1", "uname -r").text.strip()
    xen = lab.sh("PC1", "xl info xen_version").text.strip()
    qemu = deps.output(["qemu-system-x86_64", "--version"]).split(" (")[0].strip()
    report.say("%s; Xen %s, Linux %s (PV), %s with -accel tcg, %d processors; TCP with %s"
               % (datetime.date.today(), xen, kernel, qemu, os.cpu_count(),
                  lab.sh("VM1", "cat /proc/sys/net/ipv4/tcp_congestion_control").text.strip()))


def transparent(run, report):
    """Show 2: unmodified programs, on and off; what comes out is the same, and where the bytes went."""
    for sender, receiver in (("VM1", "VM2"), ("VM1", "VM3")):
        mib = 64 if receiver == "VM2" else 8
        out = {}
        for hutong in (False, True):
            run.stats(sender)
            sent, got = run.transfer(sender, receiver, mib, hutong)
            out[hutong] = (sent.status, sent.text, got.text)
            ring, by_tcp = run.moved(sender)
            if hutong:
                report.check("stream %s to %s leaves TCP" % (sender, receiver), ring > 0,
                             "%d bytes, %d by TCP" % (ring, by_tcp))
        report.check("stream %s to %s: output equal, off and on" % (sender, receiver),
                     out[False] == out[True] and out[True][0] == 0, out[True][1].strip())
    jobs(run, report, MPI_JOBS)


def jobs(run, report, which):
    """The same for Open MPI."""
    for (name, program), vms in which:
        out = {}
        for hutong in (False, True):
            for vm in vms:
                run.stats(vm)
            answer = run.mpi(vms, len(vms), program, hutong)
            out[hutong] = (answer.status, answer.text)
        moved = {vm: run.moved(vm)[0] for vm in vms}
        same = out[False][0] == out[True][0] == 0 and results(out[False][1]) == results(out[True][1])
        report.check("MPI %s on %s: output equal, off and on" % (name, ", ".join(vms)), same,
                     "bytes out by rings %s; %s" % (moved, " | ".join(
                         (results(out[True][1]) if same else (out[False][1] + out[True][1]).split("\n"))[-8:])))
        # Else it says nothing of Hutong that the output is equal.
        report.check("MPI %s on %s leaves TCP at each VM" % (name, ", ".join(vms)), all(moved.values()))


def results(text):
    """A job's output without its times."""
    return [line for line in text.splitlines() if line and "time" not in line and " us" not in line and "seconds" not in line]


# Name, unit, pairs of runs at most, run. Between hosts nothing is claimed, and a few show what there is.
CASES = (
    ("VM1-VM2 stream, 64 KiB writes", "Mbit/s", 1000, lambda run, on: run.stream("VM1", "VM2", 5, on)),
    ("VM1-VM2 round trip, 1 byte", "us", 1000, lambda run, on: run.round_trip("VM1", "VM2", 1, on)),
    ("VM1-VM2 round trip, 16 KiB", "us", 1000, lambda run, on: run.round_trip("VM1", "VM2", 16384, on)),
    ("VM1-VM3 stream, 64 KiB writes", "Mbit/s", 2, lambda run, on: run.stream("VM1", "VM3", 5, on)),
    ("VM1-VM3 round trip, 1 byte", "us", 2, lambda run, on: run.round_trip("VM1", "VM3", 1, on)),
)


def compare(run, report, pairs):
    """Show 3: alternating pairs; medians, and the median of the ratios pair by pair."""
    bare = [run.bare_ring("VM1", "VM2", 5) for _ in range(3)]
    report.say("  the bare grant ring, VM1 to VM2, 64 KiB pieces: %.4g Mbit/s (median of %s)"
               % (statistics.median(bare), " ".join("%.4g" % b for b in bare)))
    report.say("  %-34s %-7s %10s %10s %7s  of each pair" % ("measured under emulation", "unit", "TCP", "Hutong", "ratio"))
    for name, unit, most, action in CASES:
        tcp, own, ratios, by_tcp_mostly = [], [], [], []
        for i in range(min(pairs, most)):
            # The one that comes first changes from pair to pair.
            values = {}
            for on in ((False, True) if i % 2 == 0 else (True, False)):
                run.stats("VM1")
                values[on] = action(run, on)
                if on:
                    ring, by_tcp = run.moved("VM1")
                    if ring <= by_tcp:
                        by_tcp_mostly.append("%s: %d bytes by rings, %d by TCP" % (name, ring, by_tcp))
            tcp.append(values[False])
            own.append(values[True])
            ratios.append(values[True] / values[False] if values[False] else float("nan"))
        ratio = statistics.median(ratios)
        report.say("  %-34s %-7s %10.4g %10.4g %7.3f  %s (%.0f s)"
                   % (name, unit, statistics.median(tcp), statistics.median(own), ratio, " ".join("%.2f" % r for r in ratios),
                      time.monotonic() - report.began))
        # Where the light protocol is slower than TCP most of a short run may be over before a path is there.
        if by_tcp_mostly and name.startswith("VM1-VM2"):
            report.check("runs on Hutong left TCP", False, "; ".join(by_tcp_mostly))
        elif by_tcp_mostly:
            report.say("    mostly by TCP: " + "; ".join(by_tcp_mostly))
        if name.startswith("VM1-VM2 stream"):
            report.say("    aim: at least %.2f, as the patent; %s" % (STREAM_AIM, "reached" if ratio >= STREAM_AIM else "NOT REACHED"))


def _build():
    deps.install(deps.RUN, deps.BUILD, deps.XEN, deps.MPI)
    deps.build_shim()
    deps.build_agents()
    for folder in ("native-xen", "bench/c"):
        deps.run_make(folder)
    deps.build_mpi()


def main(everything, pairs=PAIRS):
    """Runs the experiment; 0 if all was as it must be."""
    os.makedirs(RUN, exist_ok=True)
    with open(os.path.join(RUN, "lock"), "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise LabError("another lab runs in %s" % RUN) from e
        return _experiment(everything, pairs)


def _experiment(everything, pairs):
    _build()
    report = Report(os.path.join(RUN, "table.txt"))
    lab, agent_nodes = nodes.make(RUN)
    try:
        versions(lab, report)
        report.title("real agents in dom0s and domUs")
        if not agent_nodes.running:
            agent_nodes.start_all()
            report.title("all agents are ready")
            agent_nodes.wait_members(240)
            report.title("all VMs know each other")
        run = programs.Programs(lab, agent_nodes)
        seen = clauses.Clauses(lab, agent_nodes, run, report)
        facade = lab.sh("VM1", "/product/xen_test loop $(xenstore-read domid)", check=False)
        report.check("the facade's tests in VM1", facade.status == 0, (facade.text.strip().splitlines() or ["no word"])[-1])
        for peer in ("VM2", "VM3"):
            report.check("a stream from VM1 to %s leaves TCP" % peer, run.warm("VM1", peer))
        if not agent_nodes.running and not report.bad:
            agent_nodes.keep()
        report.title("clauses, as observed")
        seen.start_up()
        seen.lists()
        seen.channel()
        seen.between_hosts()
        report.title("unmodified programs")
        transparent(run, report)
        report.title("TCP over netfront against Hutong, %d pairs" % pairs)
        compare(run, report, pairs)
        if everything:
            report.title("more MPI jobs")
            jobs(run, report, MORE_MPI_JOBS)
            report.title("what happens when things die")
            life.Life(lab, agent_nodes, run, seen, report).all()
    except LabError as e:
        report.check("the experiment went through", False, str(e))
    finally:
        try:
            _keep_logs(lab, agent_nodes)
        finally:
            lab.end()
    report.say("\n%d as it must be, %d not%s; %.0f s; table and logs are in %s"
               % (report.good, len(report.bad), ": " + "; ".join(report.bad) if report.bad else "",
                  time.monotonic() - report.began, RUN))
    return 1 if report.bad else 0


def _keep_logs(lab, agent_nodes):
    for name in (node.name for node in topology.NODES):
        try:
            with open(os.path.join(RUN, name + ".agent.log"), "w", encoding="utf-8") as f:
                f.write(agent_nodes.log(name, 2000))
        except LabError:
            continue  # it was destroyed
