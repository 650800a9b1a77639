# SPDX-License-Identifier: Apache-2.0
"""
Cases between hosts. Besides its value each sample knows which path the bytes took, what the link carried, and what the
machine and the agents worked for it.
"""

import json
import os
import sys
from statistics import median

from hutonglab import agents, link, procs, topology
from hutonglab.errors import LabError

from . import stats
from .cases import BIN, EXAMPLES, HEAT, RR_MS, RR_WARM_UP_MS, VM1, VM2, VM3, Case, Run, _number, results
from .program import ProgramError

STREAM_SECONDS = 10
#: Of bulk before anything is measured: the agents' code is compiled while it runs, on the processors that the programs want.
#: That takes a minute (`--warm-up`). A first look, which must not last, does with less.
SHORT_WARM_UP_SECONDS = 12
SMALL_MESSAGES = 40000
BASELINE_RUNS = 3
#: A TCP baseline further from the arithmetic than this says that the link or the machine is not what it should be.
MOST_DEVIATION = 0.005
#: Bytes that a light datagram's frame carries besides data, the Ethernet header left out; `auto` tries Ethernet first.
LIGHT_HEADERS = {"ethernet": 32, "udp": 20 + 8 + 32, "auto": 32}
TCP_HEADERS = 20 + 32
#: What the light protocol must have carried of a sample that was forced onto it, as a part of all bytes: a connection begins on
#: TCP. (Round trips: a part of those that were measured, which are the last ones. While it warmed up TCP may have been much
#: quicker.) Of a job of several connections, some of which stay there, as a part of what the programs' ends counted.
LEAST_LIGHT, LEAST_LIGHT_OF_JOB = 0.9, 0.5
_TICK = os.sysconf("SC_CLK_TCK")


def _machine_seconds():
    """Processor seconds that the whole machine has worked, interrupts included, idle and stolen time left out."""
    with open("/proc/stat", encoding="ascii") as f:
        fields = [int(n) for n in f.readline().split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / _TICK


def _agent_seconds():
    """The same for all agents."""
    ticks = 0
    for node in topology.NODES:
        record = agents.record(node)
        fields = procs.stat_fields(record.pid) if record else None
        ticks += int(fields[11]) + int(fields[12]) if fields else 0
    return ticks / _TICK


class Watch:
    """What the machine, the agents and the link did in the time of the `with`."""

    def __enter__(self):
        self._before = link.traffic(), _agent_seconds(), _machine_seconds()
        return self

    def __exit__(self, *_):
        machine, work, traffic = _machine_seconds(), _agent_seconds(), link.traffic()
        self.there, self.back = (now - then for now, then in zip(traffic, self._before[0]))
        self.agents, self.machine = work - self._before[1], machine - self._before[2]

    def data(self, light=False):
        """
        About what programs moved between the hosts, if every packet had the headers of that path; acknowledgements of the
        light protocol count as data.
        """
        headers = 14 + (LIGHT_HEADERS[link.current().wire] if light else TCP_HEADERS)
        return sum(max(0, way.bytes - way.packets * headers) for way in (self.there, self.back))

    def facts(self, data):
        """The facts of a run that moved so many bytes of the program's."""
        found = {"machine_s_gb": self.machine / data * 1e9, "agents_s_gb": self.agents / data * 1e9}
        if link.current().cuts:
            found.update(frames_there=self.there.packets, frames_back=self.back.packets,
                         wire_there=self.there.on_wire(), wire_back=self.back.on_wire())
        return found


def by_path(it, data):
    """
    The bytes by path of an accelerated run, as both ends count them.
    Shims do not count for connections that they were told to leave alone: the rest of the program's `data` was TCP.
    """
    if not it.accelerated:
        return {}
    light = it.light_bytes()
    return {"light": light, "tcp": max(it.tcp_bytes() if light == 0 else 0, round(2 * data) - light, 0)}


def by_path_of_one(it, watch):
    """The same of one connection: where its ends were on the light protocol for a while they have counted all of it."""
    counted = it.ring_bytes() + it.tcp_bytes()
    return by_path(it, counted / 2 if it.ring_bytes() else watch.data())


def by_path_of_job(it, watch):
    """The same of many connections, whose bytes nobody has counted: they are reckoned from what the link has carried."""
    if not it.accelerated:
        return {}
    return dict(by_path(it, watch.data(it.light_bytes() > it.tcp_bytes())), tcp_counted=it.tcp_bytes())


def frame_ratio(data, packets, light):
    """Frames that the link carried for each that the arithmetic asks for; None where packets are not frames."""
    there = link.current()
    headers = TCP_HEADERS if not light else None if there.wire == "auto" else LIGHT_HEADERS[there.wire]
    return packets / (data / (there.mtu - headers)) if there.cuts and headers else None


def stream(*options, seconds=STREAM_SECONDS):
    """iperf3 from VM1 to VM3, Gbit/s as the receivers counted; with --bidir both directions in sum."""
    def run(accelerated):
        with Run(accelerated) as it:
            port = it.port()
            with it.start(VM3, "iperf3", "-s", "-1", "-p", port) as server:
                server.await_listening(port)
                with Watch() as watch:
                    with it.start(VM1, "iperf3", "-c", VM3.ipv4, "-p", port, "-t", seconds, "-C", "cubic", "-J",
                                  *options) as client:
                        sent = client.expect(seconds + 60)
                received = server.expect(30)
            end = json.loads(sent.output)["end"]
            sums = [end[name] for name in ("sum_received", "sum_received_bidir_reverse") if name in end]
            data = sum(s["bytes"] for s in sums)
            if data == 0:
                raise LabError("iperf3 moved no byte")
            facts = dict(watch.facts(data), **by_path(it, data))
            if len(sums) == 1:
                facts["frame_ratio"] = frame_ratio(data, watch.there.packets, facts.get("light", 0) > data)
            return it.sample(sum(s["bits_per_second"] for s in sums) / 1e9, sent, received, **facts)
    return run


def round_trip(size):
    """Round trips of blocking sockets, median in microseconds."""
    def run(accelerated):
        with Run(accelerated) as it:
            port = it.port()
            with it.start(VM3, BIN + "/rr", "server", port, size) as server:
                server.await_listening(port)
                with Watch() as watch:
                    with it.start(VM1, BIN + "/rr", "client", VM3.ipv4, port, size, RR_WARM_UP_MS, RR_MS) as client:
                        asked = client.expect()
                served = server.expect(30)
            rounds = _number(r"\brounds=([0-9]+)", asked.output)
            return it.sample(_number(r"\bus=([0-9.]+)", asked.output), asked, served, rounds=rounds,
                             p99=_number(r"\bus_p99=([0-9.]+)", asked.output),
                             machine_us_round=watch.machine / rounds * 1e6 * RR_MS / (RR_MS + RR_WARM_UP_MS),
                             measured=4 * size * rounds, **by_path_of_one(it, watch))
    return run


def netpipe(size, unit):
    """NetPIPE on Open MPI with messages of one size: latency (us) or bandwidth (Mbps)."""
    def run(accelerated):
        with Run(accelerated) as it:
            with Watch() as watch:
                # By itself it takes a tenth of a second for small messages, in which the agents do all that they ever do.
                times = ("-n", str(SMALL_MESSAGES)) if unit == "us" else ()
                done = it.mpi(2, "NPopenmpi", "-l", str(size), "-u", str(size), "-p", "0", "-o", "/dev/null", *times,
                              vms=(VM1, VM3))
            pattern = r"([0-9.]+) usec" if unit == "us" else r"([0-9.]+) Mbps"
            return it.sample(_number(pattern, done.errors + done.output), done, **by_path_of_job(it, watch))
    return run


def four_ranks(accelerated):
    """Alltoall, allreduce and the solver with four ranks on all three VMs; seconds of their parallel parts together."""
    with Run(accelerated) as it:
        with Watch() as watch:
            done = [it.mpi(4, *program, vms=(VM1, VM2, VM3))
                    for program in ((EXAMPLES + "/c/collective", "3000", "4096"), (EXAMPLES + "/c/heat", *HEAT))]
        seconds = sum(_number(r"# time seconds=([0-9.]+)", d.output) for d in done)
        return it.sample(seconds, *done, result=results("".join(d.output for d in done)),
                         **by_path_of_job(it, watch))


def _case(name, unit, run, about, write_size, more_is_better=True):
    return Case("inter-" + name, unit, run, "VM1-VM3: " + about, write_size, on_ring=False, interval=True,
                between_hosts=True, more_is_better=more_is_better)


INTER = (
    _case("iperf3-stream", "Gbit/s", stream(), "iperf3 stream, default block size", "128 KiB"),
    _case("iperf3-bidir", "Gbit/s", stream("--bidir"), "iperf3 both ways at once, in sum", "128 KiB"),
    _case("rr-8", "us", round_trip(8), "8-byte round trip, blocking sockets", "8 B", False),
    _case("rr-64", "us", round_trip(64), "64-byte round trip, blocking sockets", "64 B", False),
    _case("netpipe-8b", "us", netpipe(8, "us"), "NetPIPE on Open MPI, 8 bytes", "8 B", False),
    _case("netpipe-1m", "Mbit/s", netpipe(1 << 20, "Mbit/s"), "NetPIPE on Open MPI, 1 MiB", "1 MiB"),
    _case("ranks4", "s", four_ranks, "4 MPI ranks on VM1, VM2, VM3", "8 B to 16 KiB", False),
)


#: Directions that are full at once, of cases whose value is what the link has carried.
WAYS = {"inter-iperf3-stream": 1, "inter-iperf3-bidir": 2}


def meet(progress, seconds):
    """
    Lets the agents meet and try their wire, and come to their full speed: the first connection of a cluster waits for the
    one on TCP, a young JVM works for the other, and no figure shall be of that. The second takes so many `seconds`.
    """
    if link.current().inter != "tcp":
        both_ways = min(seconds, SHORT_WARM_UP_SECONDS)
        runs = [round_trip(8), stream("--bidir", seconds=both_ways)]
        if seconds > both_ways:
            runs.append(stream(seconds=seconds - both_ways))
        for number, run in enumerate(runs):
            case = _case("warm-up", "", run, "not measured", "")
            progress(case, number, True)
            try:
                case.run(True)
            except (ProgramError, LabError, ValueError, KeyError) as e:
                print("hutong: the warm-up failed, so the figures may be of young agents: %s" % e, file=sys.stderr)


def unused(sample):
    """Why a sample that was forced onto the light protocol says nothing of it; None if it does, or was not forced."""
    if link.current().inter != "light":
        return None
    light = sample.facts["light"]
    job = "tcp_counted" in sample.facts
    whole = sample.facts.get("measured", light + sample.facts["tcp_counted" if job else "tcp"])
    if light == 0 or light < (LEAST_LIGHT_OF_JOB if job else LEAST_LIGHT) * whole:
        return "path was not used: %.1f %% of the bytes went by the light protocol" % (100 * light / max(1, whole))
    return None


def fill(row, case, samples):
    """Adds to a row what is only known between hosts."""
    tcp, hutong = samples[False], samples[True]
    for name in ("machine_s_gb", "agents_s_gb", "machine_us_round", "frame_ratio", "frames_there", "frames_back",
                 "wire_there", "wire_back"):
        for side, there in (("tcp_", tcp), ("hutong_", hutong)):
            values = [s.facts.get(name) for s in there]
            if None not in values:
                row[side + name] = median(values)
    light, on_tcp = (sum(s.facts[name] for s in hutong) for name in ("light", "tcp"))
    row.update(light_bytes=light, tcp_bytes=on_tcp, path="LIGHT" if light > on_tcp else "MIXED" if light else "TCP")
    row["estimated"] = any("tcp_counted" in s.facts for s in hutong)
    if row["ratio"] is not None:
        row["tcp_wins"] = row["ratio"] < 1 if case.more_is_better else row["ratio"] > 1
    room, ways = link.current().goodput(), WAYS.get(case.name)
    if room and ways:
        row.update(arithmetic=ways * room / 1e9, tcp_share=row["tcp"] / (ways * room / 1e9),
                   hutong_share=row["hutong"] / (ways * room / 1e9))


def lines(row):
    """What stands below a row of the table."""
    total = row["light_bytes"] + row["tcp_bytes"]
    words = ["path %s%s, %s%.1f %% of the bytes by the light protocol" % (
        row["path"], " by choice" if row["path"] == "TCP" and link.current().inter == "auto" else "",
        "about " if row.get("estimated") and row["light_bytes"] else "", 100 * row["light_bytes"] / max(1, total))]
    if row.get("tcp_wins"):
        words[0] += "; TCP WINS"
        if row.get("ratio_low", 2) <= 1 <= row.get("ratio_high", 0):
            words[0] += " (within the interval)"
    if "arithmetic" in row:
        words.append("of the %.4f Gbit/s that TCP's frames have room for: TCP %.2f %%, Hutong %.2f %%"
                     % (row["arithmetic"], 100 * row["tcp_share"], 100 * row["hutong_share"]))
        if row["tcp_share"] < 1 - MOST_DEVIATION:
            words.append("TCP DEVIATES from the arithmetic by more than %.1f %%: the processors, not the link, were its limit"
                         % (100 * MOST_DEVIATION))
    for name, text in (("machine_s_gb", "CPU seconds a gigabyte, whole machine"), ("agents_s_gb", "  of it the agents"),
                       ("machine_us_round", "CPU microseconds a round trip, whole machine"),
                       ("frame_ratio", "frames on the wire for each by arithmetic")):
        if "tcp_" + name in row:
            there = row.get("hutong_" + name)
            words.append("%s: %.4g (TCP), %s (Hutong)" % (text, row["tcp_" + name], "-" if there is None else "%.4g" % there))
    if "tcp_wire_there" in row:
        words.append("frames and bytes of wire, there and back: %d %d, %d %d (TCP); %d %d, %d %d (Hutong)" % tuple(
            row[side + name + way] for side in ("tcp_", "hutong_") for way in ("there", "back")
            for name in ("frames_", "wire_")))
    return words


def prepare(progress, warm_up):
    """Has the agents meet and warms them up for so many seconds; then the TCP baseline, as `baseline` gives it."""
    meet(progress, warm_up)
    return baseline(progress)


def baseline(progress):
    """
    The TCP stream against what the rate has room for, before anything is compared with it: a dict, None on a link
    without limit.
    """
    expected = link.current().goodput()
    if expected is None:
        return None
    values = []
    for number in range(BASELINE_RUNS):
        progress(INTER[0], number, False)
        values.append(INTER[0].run(False).value * 1e9)
    deviation = stats.ratio(median(values), expected) - 1
    return {"tcp": median(values), "arithmetic": expected, "deviation": deviation, "values": values,
            "good": abs(deviation) <= MOST_DEVIATION}


def baseline_text(found):
    text = ("TCP baseline %.1f Mbit/s, by arithmetic %.1f: %+.2f %%"
            % (found["tcp"] / 1e6, found["arithmetic"] / 1e6, 100 * found["deviation"]))
    if not found["good"]:
        text += ("\nDEVIATES by more than %.1f %%: this machine was too busy for that rate; figures against TCP are not to "
                 "be trusted" % (100 * MOST_DEVIATION))
    return text
