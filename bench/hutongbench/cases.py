# SPDX-License-Identifier: Apache-2.0
"""What is measured: each case runs once on TCP or once accelerated and returns one sample."""

import json
import os
import re
import tempfile
import time
from dataclasses import dataclass, field

from hutonglab import agents, deps, mpi, procs, topology

from .program import Program, ProgramError

VM1, VM2, VM3 = topology.VMS
PC1 = topology.HOSTS[0]
BIN = os.path.join(topology.REPO, "bench/build")
EXAMPLES = os.path.join(topology.REPO, "mpi-examples/build")

STREAM_SECONDS = 3
RR_WARM_UP_MS, RR_MS = 300, 1500
CONNECTIONS = 8000
IDLE_COUNT, IDLE_SECONDS = 100, 5
MANY, MANY_WARM_UP_MS, MANY_MS, LOOP_MS = 1000, 3000, 2000, 2000
HEAT = ("256", "10000")


@dataclass(frozen=True)
class Sample:
    """One measurement: the value, CPU seconds of both sides, bytes that went through rings, extra facts."""

    value: float
    cpu: float
    ring_bytes: int
    facts: dict = field(default_factory=dict)


class Run:
    """One run of one case: starts programs on TCP or accelerated, and knows what the shims counted."""

    _port = 20000 + os.getpid() * 97 % 9999

    def __init__(self, accelerated):
        self.accelerated = accelerated
        self._preload = deps.shim_for_programs() if accelerated else None
        self._folder = tempfile.TemporaryDirectory(prefix="hutong-bench-")
        self._stats = os.path.join(self._folder.name, "stats")
        # Nothing of the caller's Hutong settings: they would decide what is measured.
        self._env = {k: v for k, v in os.environ.items() if not k.startswith("HUTONG_")}
        if accelerated:
            self._env["HUTONG_STATS"] = self._stats

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()

    @classmethod
    def port(cls):
        """A port that no earlier run used: connections of the past in TIME-WAIT do not count."""
        cls._port = cls._port + 1 if cls._port < 29999 else 20000
        return cls._port

    def start(self, node, *argv):
        """A program in a node; hosts have no shim."""
        return Program(node, argv, self._env, self._preload if node.is_vm else None)

    def mpi(self, ranks, *argv, vms=(VM1, VM2)):
        """mpirun in the first VM. The shim is for the ranks only."""
        mpi.write_launcher()
        line = mpi.command(vms, ranks, argv, self._folder.name, self._preload, self._env)
        with Program(vms[0], line, self._env) as program:
            return program.expect(180)

    def ring_bytes(self):
        """Bytes that the shims of this run took from rings and put into them."""
        return self._sum(r"\bring_(?:in|out)=([0-9]+)")

    def _sum(self, pattern):
        if not self.accelerated or not os.path.exists(self._stats):
            return 0
        with open(self._stats, encoding="ascii", errors="replace") as f:
            return sum(int(n) for n in re.findall(pattern, f.read()))

    def light_bytes(self):
        """The same of those rings whose other end is on another host."""
        return self._sum(r"\blight=([0-9]+)")

    def tcp_bytes(self):
        """The same for TCP."""
        return self._sum(r"\btcp_(?:in|out)=([0-9]+)")

    def connections_on_ring(self):
        """How many ends of connections were on a ring, in all programs that have ended."""
        return self._sum(r"\bconns_ring=([0-9]+)")

    def sample(self, value, *outcomes, **facts):
        return Sample(value, sum(o.cpu_seconds for o in outcomes), self.ring_bytes(), facts)


def _number(pattern, text):
    found = re.findall(pattern, text)
    if not found:
        raise ProgramError("no '%s' in: %s" % (pattern, text[-1000:]))
    return float(found[-1])


def iperf(server_vm, block=None):
    """One TCP stream of iperf3, Gbit/s as the receiver counted."""
    def run(accelerated):
        with Run(accelerated) as it:
            port = it.port()
            size = ["-l", block] if block else []
            with it.start(server_vm, "iperf3", "-s", "-1", "-p", port) as server:
                server.await_listening(port)
                with it.start(VM1, "iperf3", "-c", server_vm.ipv4, "-p", port, "-t", STREAM_SECONDS,
                              "-C", "cubic", "-J", *size) as client:
                    sent = client.expect(STREAM_SECONDS + 60)
                received = server.expect(30)
            report = json.loads(sent.output)
            return it.sample(report["end"]["sum_received"]["bits_per_second"] / 1e9, sent, received)
    return run


def round_trip(server_vm):
    """64-byte round trips of blocking sockets, median in microseconds."""
    def run(accelerated):
        with Run(accelerated) as it:
            port = it.port()
            with it.start(server_vm, BIN + "/rr", "server", port, 64) as server:
                server.await_listening(port)
                with it.start(VM1, BIN + "/rr", "client", server_vm.ipv4, port, 64, RR_WARM_UP_MS, RR_MS) as client:
                    asked = client.expect()
                served = server.expect(30)
            return it.sample(_number(r"\bus=([0-9.]+)", asked.output), asked, served,
                             p99=_number(r"\bus_p99=([0-9.]+)", asked.output),
                             rounds=_number(r"\brounds=([0-9]+)", asked.output))
    return run


def netpipe(size, unit, vms=(VM1, VM2)):
    """NetPIPE on Open MPI with messages of one size: latency (us) or bandwidth (Mbps)."""
    def run(accelerated):
        with Run(accelerated) as it:
            done = it.mpi(2, "NPopenmpi", "-l", str(size), "-u", str(size), "-p", "0", "-o", "/dev/null", vms=vms)
            pattern = r"([0-9.]+) usec" if unit == "us" else r"([0-9.]+) Mbps"
            return it.sample(_number(pattern, done.errors + done.output), done)
    return run


def java_ping_pong(accelerated):
    """The Java MPI example with 8-byte messages, microseconds for one way."""
    with Run(accelerated) as it:
        done = it.mpi(2, "java", "-Xmx256m", "-cp", EXAMPLES + "/mpi.jar:" + EXAMPLES + "/java", "PingPong",
                      "20000", "8")
        return it.sample(_number(r"# time bytes=8 us=([0-9.]+)", done.output), done, result=results(done.output))


def solver(accelerated):
    """The C heat solver on two ranks, seconds of its parallel part."""
    with Run(accelerated) as it:
        done = it.mpi(2, EXAMPLES + "/c/heat", *HEAT)
        return it.sample(_number(r"# time seconds=([0-9.]+)", done.output), done, result=results(done.output))


def four_ranks(accelerated):
    """Alltoall, allreduce and the solver with four ranks on two VMs; seconds of their parallel parts together."""
    with Run(accelerated) as it:
        collective = it.mpi(4, EXAMPLES + "/c/collective", "3000", "4096")
        heat = it.mpi(4, EXAMPLES + "/c/heat", *HEAT)
        seconds = sum(_number(r"# time seconds=([0-9.]+)", done.output) for done in (collective, heat))
        return it.sample(seconds, collective, heat, result=results(collective.output + heat.output))


def results(text):
    """The lines of an MPI example's output that must be the same in every run."""
    return "\n".join(line for line in text.splitlines() if line.strip() and not line.startswith("# time"))


def connections(server_node, count=CONNECTIONS):
    """Short connections a second, one client."""
    def run(accelerated):
        with Run(accelerated) as it:
            port = it.port()
            with it.start(server_node, BIN + "/connrate", "server", port, count) as server:
                server.await_listening(port)
                with it.start(VM1, BIN + "/connrate", "client", server_node.ipv4, port, count) as client:
                    asked = client.expect()
                served = server.expect(30)
            return it.sample(_number(r"\brate=([0-9.]+)", asked.output), asked, served)
    return run


def many(size):
    """MANY connections between two processes, a message on each in turn: messages a second, or Gbit/s when large."""
    def run(accelerated):
        with Run(accelerated) as it:
            port = it.port()
            with it.start(VM2, BIN + "/many", "server", port, MANY) as server:
                server.await_listening(port)
                with it.start(VM1, BIN + "/many", "client", VM2.ipv4, port, MANY, MANY_WARM_UP_MS, MANY_MS,
                              size) as client:
                    asked = client.expect(120)
                served = server.expect(60)
            used = [asked.output, served.output]
            return it.sample(_number(r"\brate=([0-9.]+)" if size == 64 else r"\bgbit=([0-9.]+)", asked.output), asked, served,
                             kib_each=sum(_number(r"\bpss_kib=([0-9]+)", o) for o in used) / MANY,
                             fds_each=sum(_number(r"\bfds=([0-9]+)", o) for o in used) / MANY)
    return run


def closed_loop(accelerated):
    """
    MANY connections between two processes. The value is the connections set up a second; the facts are rates in sum
    and of single connections, and what each connection costs while all rest.
    """
    with Run(accelerated) as it:
        port = it.port()
        before = _agent_memory()
        with it.start(VM2, BIN + "/conns", "server", port, MANY) as server:
            server.await_listening(port)
            with it.start(VM1, BIN + "/conns", "client", VM2.ipv4, port, MANY, LOOP_MS) as client:
                client.await_output("rest", 120)
                agents_kib = (_agent_memory() - before) / MANY
                asked = client.expect(60)
            served = server.expect(30)
        facts = {"on_ring": it.connections_on_ring() / 2, "agents_kib": agents_kib}
        for phase, scale in (("rr", 1), ("stream", 8 / 1e3)):
            line = re.search(r"^%s rate=(\S+) least=(\S+) median=(\S+)" % phase, asked.output, re.MULTILINE)
            if line is None:
                raise ProgramError("no phase '%s' in: %s" % (phase, asked.output))
            for name, value in zip(("sum", "least", "median"), line.groups()):
                facts[phase + "_" + name] = float(value) * scale * (1 if name == "sum" or phase == "rr" else 1000)
        for name in ("pss", "fds"):
            facts[name] = sum(_number(r"rest .*\b%s=([-0-9.]+)" % name, o.output) for o in (asked, served))
        return it.sample(_number(r"connect rate=([0-9.]+)", asked.output), asked, served, **facts)


def _agent_memory():
    """Proportional memory (KiB) of the three agents on the host of VM1 and VM2."""
    total = 0
    for node in (PC1, VM1, VM2):
        record = agents.record(node)
        if record:
            with open("/proc/%d/smaps_rollup" % record.pid, encoding="ascii") as f:
                total += int(_number(r"Pss: +([0-9]+) kB", f.read()))
    return total


def idle(accelerated):
    """CPU ticks (1/100 s) that both programs use while all their connections rest."""
    with Run(accelerated) as it:
        port = it.port()
        with it.start(VM2, BIN + "/idle", "server", port, IDLE_COUNT) as server:
            server.await_listening(port)
            rest_ms = (IDLE_SECONDS + 3) * 1000
            with it.start(VM1, BIN + "/idle", "client", VM2.ipv4, port, IDLE_COUNT, rest_ms) as client:
                client.await_output("idle", 60)
                time.sleep(1)
                before = server.cpu_ticks() + client.cpu_ticks(), _agent_ticks()
                time.sleep(IDLE_SECONDS)
                after = server.cpu_ticks() + client.cpu_ticks(), _agent_ticks()
                asked = client.expect(60)
            served = server.expect(30)
        return it.sample(after[0] - before[0], asked, served, agent_ticks=after[1] - before[1])


def _agent_ticks():
    """Processor time so far of the three agents on the host of VM1 and VM2."""
    total = 0
    for node in (PC1, VM1, VM2):
        record = agents.record(node)
        fields = procs.stat_fields(record.pid) if record else None
        total += int(fields[11]) + int(fields[12]) if fields else 0
    return total


@dataclass(frozen=True)
class Part:
    """A further row of a case: one of its samples' facts."""

    fact: str
    unit: str
    about: str


@dataclass(frozen=True)
class Case:
    """
    A row of the table, and more rows from the same runs (`parts`). `on_ring`: an accelerated run without a byte in a
    ring is a failure; `least_pairs`: fewer would say nothing; `between_hosts`: see inter.py.
    """

    name: str
    unit: str
    run: object
    about: str
    write_size: str
    on_ring: bool = True
    least_pairs: int = 1
    interval: bool = False
    parts: tuple = ()
    between_hosts: bool = False
    more_is_better: bool = True


INTRA = (
    Case("iperf3-stream", "Gbit/s", iperf(VM2), "iperf3 stream, default block size", "128 KiB"),
    Case("iperf3-stream-1k", "Gbit/s", iperf(VM2, "1K"), "iperf3 stream, 1 KiB blocks", "1 KiB"),
    Case("rr-64", "us", round_trip(VM2), "64-byte round trip, blocking sockets", "64 B"),
    Case("netpipe-8b", "us", netpipe(8, "us"), "NetPIPE on Open MPI, 8-byte latency", "8 B"),
    Case("netpipe-1m", "Mbit/s", netpipe(1 << 20, "Mbit/s"), "NetPIPE on Open MPI, 1 MiB bandwidth", "1 MiB"),
    Case("mpi-java-pingpong", "us", java_ping_pong, "Java MPI ping-pong, 8 bytes one way", "8 B"),
    Case("solver", "s", solver, "C MPI heat solver, 2 ranks", "2 KiB"),
    Case("ranks4", "s", four_ranks, "4 ranks on 2 VMs: alltoall, allreduce, heat", "8 B to 16 KiB"),
    Case("connrate", "1/s", connections(VM2), "connections a second between members", "64 B", on_ring=False),
    Case("connrate-external", "1/s", connections(PC1, 2 * CONNECTIONS),
         "connections a second to a non-member, against no shim", "64 B", on_ring=False, least_pairs=20, interval=True),
    Case("idle-cpu", "ticks", idle, "CPU of 100 idle connections in 5 s", "-"),
)

# Many connections at a time: `bench conns`.
CONNS = (
    Case("conns-64", "1/s", many(64), "1,000 connections, 64-byte requests on all in turn", "64 B"),
    Case("conns-1k", "Gbit/s", many(1024), "1,000 connections, 1 KiB on all in turn", "1 KiB"),
    Case("conns-16k", "Gbit/s", many(16384), "1,000 connections, 16 KiB on all in turn", "16 KiB"),
    # One run gives all the rows: rates in sum and of single connections, and what a connection costs.
    Case("conns-loop", "1/s", closed_loop, "1,000 connections, set up one after the other", "64 B and 16 KiB", parts=(
        Part("rr_sum", "1/s", "64-byte round trips, one under way on each: in sum"),
        Part("rr_median", "1/s", "  of one connection (median)"),
        Part("rr_least", "1/s", "  of the slowest connection"),
        Part("stream_sum", "Gbit/s", "16 KiB messages, one under way on each: in sum"),
        Part("stream_median", "Mbit/s", "  of one connection (median)"),
        Part("stream_least", "Mbit/s", "  of the slowest connection"),
        Part("pss", "KiB", "memory a connection, both programs (PSS)"),
        Part("agents_kib", "KiB", "memory a connection, the three agents (PSS)"),
        Part("fds", "", "descriptors a connection, both ends"),
        Part("on_ring", "", "connections on a ring"),
    )),
)
