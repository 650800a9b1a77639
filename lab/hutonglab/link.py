# SPDX-License-Identifier: Apache-2.0
"""The link between the two hosts: its rate, its packets, its faults, and what its counters say."""

import contextlib
import json
import os
import re
import signal
import sys
import time
from dataclasses import asdict, dataclass, replace

from . import enter, procs, state, steer, topology
from .errors import LabError, UsageError
from .net import GRO, command, ethtool, inside, ip

LINK = "link0"
RECORD = topology.LAB + "/link"
WIRES, INTERS = ("auto", "ethernet", "udp"), ("auto", "light", "tcp")
LEAST_MTU, MOST_MTU = 1280, 9000

#: What a frame takes of an Ethernet wire besides what the kernel counts (14 bytes of header and the payload):
#: preamble and delimiter 8, check sum 4, gap 12.
UNSEEN = 24
#: And the least that a frame takes: 64 bytes with its check sum, preamble and gap.
LEAST_ON_WIRE = 84
QUEUE_FRAMES = 150
PEAK_RATE = 1e13

_RATE = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(bit|kbit|mbit|gbit)$")
_UNIT = {"bit": 1, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}

# ethtool's classic commands: sending checksums; segmentation (TSO, GSO), receive merging.
CHECKSUMS = 0x17
OFFLOADS = (0x1F, 0x24, GRO)

# The wire with faults: a namespace of its own between the hosts, with an interface for each.
WIRE_NS = state.NS_WIRE
ENDS = ("end1", "end2")
INJECTOR = os.path.join(topology.REPO, "lab/build/faults")
INJECTOR_RECORD = topology.LAB + "/faults"
COUNTS = topology.LAB + "/fault-counts"
FAULTS = ("drop", "dup", "reorder", "corrupt")
MOST_PERCENT = 50.0


@dataclass(frozen=True)
class Link:
    """
    How the link is to be, or is. `rate` is in bits per second, None without limit; `faults` as it was written. Without
    `offloads` each packet on the link is one frame, without `vm_offloads` on all the way from VM to VM.
    """

    rate: float | None = None
    offloads: bool = True
    mtu: int = 1500
    faults: str | None = None
    wire: str = "auto"
    inter: str = "auto"
    vm_offloads: bool = True

    @property
    def cuts(self):
        """Whether each packet on it is one frame."""
        return not self.offloads

    def goodput(self):
        """Bits of TCP's data a second that the rate has room for (IPv4, timestamps); None without limit."""
        return None if self.rate is None else self.rate * (self.mtu - 52) / (self.mtu + 14 + UNSEEN)

    def text(self):
        """For people, in one line."""
        parts = ["no limit" if self.rate is None else rate_text(self.rate), "MTU %d" % self.mtu,
                 "offloads " + ("on" if self.offloads else "off" if self.vm_offloads else "off, the VMs' too")]
        if self.rate is not None:
            parts.append("queue %d frames (%.1f ms)" % (QUEUE_FRAMES, self.queue_bytes() * 8e3 / self.rate))
        if self.faults:
            parts.append("faults " + self.faults)
        parts += ["%s %s" % (name, value) for name, value in (("wire", self.wire), ("inter", self.inter))
                  if value != "auto"]
        return ", ".join(parts)

    def choice(self):
        """Which path connections between the hosts have."""
        return {"light": "all by the light protocol (forced)", "tcp": "all by TCP (forced)",
                "auto": "by the light protocol where it pays (default choice)"}[self.inter]

    def queue_bytes(self):
        return QUEUE_FRAMES * (self.mtu + 14)


def parse_rate(text):
    """Bits per second of a rate such as 1gbit or 500mbit; None for `none`."""
    if text.lower() == "none":
        return None
    match = _RATE.match(text.lower())
    rate = float(match.group(1)) * _UNIT[match.group(2)] if match else 0
    if rate < 1e5:
        raise UsageError("bad rate '%s' (such as 1gbit or 500mbit; at least 100kbit; or none)" % text)
    return rate


def rate_text(rate):
    for unit in ("gbit", "mbit", "kbit"):
        if rate >= _UNIT[unit]:
            return "%g%s" % (rate / _UNIT[unit], unit)
    return "%gbit" % rate


def parse_faults(text):
    """The faults of `drop=1,dup=1,reorder=1,corrupt=1,seed=7`: a dict, percent each; the seed is a number."""
    found = dict.fromkeys(FAULTS, 0.0)
    found["seed"] = 1
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            found[name] = int(value) if name == "seed" else float(value)
        except ValueError:
            found[name] = -1
        if name not in FAULTS + ("seed",) or not 0 <= found[name] <= (MOST_PERCENT if name in FAULTS else 1 << 63):
            raise UsageError("bad fault '%s' (such as drop=1,dup=1,reorder=1,corrupt=1,seed=7, in percent up to %g)"
                             % (part, MOST_PERCENT))
    return found


def from_options(rate=None, offloads=None, mtu=None, faults=None, wire=None, inter=None):
    """The Link that options on a command line describe; None stands for an option that was not given."""
    bits = parse_rate(rate) if rate is not None else None
    if faults:
        parse_faults(faults)
    if offloads == "on" and (bits is not None or faults):
        raise UsageError("--offloads on: a link with a rate or with faults carries single frames")
    if mtu is not None and not LEAST_MTU <= mtu <= MOST_MTU:
        raise UsageError("--mtu wants %d to %d" % (LEAST_MTU, MOST_MTU))
    return Link(bits, bits is None and not faults and offloads != "off", mtu or 1500, faults or None,
                wire or "auto", inter or "auto", offloads != "off")


def to_compare(given):
    """
    The links that a comparison on that one wants, one table each: a wire that is named is measured, so the path is forced
    to it, and then the default choice is. Who names the path as well gets only that.
    """
    return [replace(given, inter="light"), given]


def save(link):
    with open(RECORD, "w", encoding="ascii") as f:
        json.dump(asdict(link), f)


def current():
    """The link of the cluster that is up; None when there is none."""
    try:
        with open(RECORD, encoding="ascii") as f:
            return Link(**json.load(f))
    except (OSError, ValueError, TypeError):
        return None


def make(first, second, link):
    """Joins two hosts' bridges."""
    if link.faults:
        ip("netns", "add", WIRE_NS)
        for host, end in ((first, ENDS[0]), (second, ENDS[1])):
            ip("-n", host.ns, "link", "add", LINK, "mtu", str(link.mtu), "type", "veth",
               "peer", "name", end, "mtu", str(link.mtu), "netns", WIRE_NS)
            ip("-n", WIRE_NS, "link", "set", end, "up")
    else:
        ip("-n", first.ns, "link", "add", LINK, "mtu", str(link.mtu), "type", "veth",
           "peer", "name", LINK, "mtu", str(link.mtu), "netns", second.ns)
    for host in (first, second):
        if link.cuts:
            # A frame that is read by the injector must be complete, check sum included.
            _send_frames(host, LINK, (CHECKSUMS,) if link.faults else ())
        if link.rate is not None:
            _limit(host, link)
        ip("-n", host.ns, "link", "set", LINK, "master", "br0", "up")
    if not link.vm_offloads:
        for vm in topology.VMS:
            _send_frames(vm, vm.interface)
    if link.cuts:
        steer.by_flow((first, second), LINK)
        if link.vm_offloads:
            steer.in_polls((first, second))
        if not steer.light_by_host((first, second), LINK):
            print("hutong: this kernel cannot give each host a processor for light frames: they share one, and are slower",
                  file=sys.stderr)
    if link.faults:
        _start_injector(link)


def _send_frames(node, device, besides=()):
    """Has a device take no packets that are to be many frames."""
    inside(node, lambda: ethtool(device, OFFLOADS + besides, 0))
    # UDP's segmentation is no part of those commands: this stops every kind.
    ip("-n", node.ns, "link", "set", device, "gso_max_segs", "1")


def _limit(host, link):
    """
    A token bucket that lets through what a wire of that rate would. Packets reach a queue merged, whatever the device
    can do, and a merged one would pay its framing once: the bucket cuts what is larger than its peak bucket holds, one
    frame, and each then pays for itself. The peak *rate* is too high to matter. The main bucket holds two milliseconds:
    tokens that do not fit while the machine is busy elsewhere are lost. On a quiet machine with two processors a bucket of
    one loses TCP 0.8 % and the light protocol 1.5 %, one of two, or of four, 0.1 % and 0.3 %. After a pause it lets
    through that much at once.
    """
    frame = link.mtu + 14
    burst = max(4 * (frame + UNSEEN), int(link.rate / 8 / 500))
    command("tc", "-n", host.ns, "qdisc", "add", "dev", LINK, "root", "tbf", "rate", "%dbit" % link.rate,
            "burst", str(burst), "limit", str(link.queue_bytes()), "peakrate", "%dbit" % PEAK_RATE,
            "mtu", str(frame + UNSEEN), "overhead", str(UNSEEN), "mpu", str(LEAST_ON_WIRE))


def _start_injector(link):
    """Starts the process that is the wire; it ends with the cluster, by the cluster's marker in its environment."""
    faults = parse_faults(link.faults)
    line = [INJECTOR, *ENDS, COUNTS, str(faults["seed"]), *(str(round(faults[n] * 1e4)) for n in FAULTS)]
    marker = state.marker().decode()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    try:
        pid = os.fork()
        if pid == 0:
            _become_injector(line, dict([marker.split("=", 1)]), before)
        os.waitpid(pid, 0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    deadline = time.monotonic() + 5
    while not os.path.exists(COUNTS):
        if time.monotonic() > deadline:
            raise LabError("the fault injector did not start%s" % _injector_log())
        time.sleep(0.02)


def _become_injector(line, env, mask):
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        procs.write_record(INJECTOR_RECORD, procs.record_of(os.getpid()))
        null = os.open("/dev/null", os.O_RDWR)
        log = os.open(INJECTOR_RECORD + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for fd, target in ((null, 0), (null, 1), (log, 2)):
            os.dup2(fd, target)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        enter.setns(os.path.join(topology.NETNS, WIRE_NS), enter.CLONE_NEWNET)
        os.execve(line[0], line, env)
    except Exception as e:  # pylint: disable=broad-except  (seen in the log)
        os.write(2, ("%s\n" % e).encode())
    finally:
        os._exit(1)


def _injector_log():
    with contextlib.suppress(OSError):
        with open(INJECTOR_RECORD + ".log", encoding="utf-8", errors="replace") as f:
            return ": " + f.read().strip()
    return ""


def fault_counts():
    """What the injector did, PC1 to PC2 and back: two dicts; a tenth of a second may be missing. None without it."""
    try:
        with open(COUNTS, encoding="ascii") as f:
            return [{k: int(v) for k, v in re.findall(r"(\w+)=([0-9]+)", line)} for line in f]
    except OSError:
        return None


def injector_runs():
    return procs.alive(procs.read_record(INJECTOR_RECORD))


def switch(up):
    """Pulls the cable between the hosts, or puts it back. Both ends lose and find the carrier."""
    ip("-n", topology.HOSTS[0].ns, "link", "set", LINK, "up" if up else "down")


@dataclass(frozen=True)
class Traffic:
    """Packets and bytes (with their 14 bytes of Ethernet header) that one direction has carried."""

    packets: int
    bytes: int

    def __sub__(self, earlier):
        return Traffic(self.packets - earlier.packets, self.bytes - earlier.bytes)

    def on_wire(self):
        """Bytes of wire, if each packet was a frame."""
        return self.bytes + self.packets * UNSEEN


def traffic():
    """(PC1 to PC2, PC2 to PC1), as the senders' devices counted."""
    counts = []
    for host in topology.HOSTS:
        text = ip("-n", host.ns, "-s", "-j", "link", "show", "dev", LINK)
        sent = json.loads(text)[0]["stats64"]["tx"]
        counts.append(Traffic(sent["packets"], sent["bytes"]))
    return tuple(counts)
