# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs in the lab's VMs, with the shim and without: streams, round trips, MPI jobs."""

import contextlib
import json
import re
import threading
import time

from ..errors import LabError
from . import hosts

SHIM = "/product/lib/libhutong.so"
STATS = "/run/hutong-stats"
ADDRESS = {vm: node.ipv4 for vm, node in hosts.VMS.items()}


class Programs:
    """Runs programs on a lab that is up. Ports are used once, so that no TIME_WAIT is in the way."""

    def __init__(self, lab, nodes):
        self.lab, self.nodes = lab, nodes
        self._port = 5000

    def port(self):
        """A port that no program has used yet."""
        self._port += 1
        return self._port

    @staticmethod
    def line(command, hutong, stats=None):
        """A command with the shim, or without."""
        if not hutong:
            return command
        return "env HUTONG_STATS=%s LD_PRELOAD=%s %s" % (stats or STATS, SHIM, command)

    def serve(self, vm, command, hutong, port, seconds=300):
        """Starts a server and waits until it listens; calling the result waits for its Answer."""
        out = []

        def run():
            with contextlib.suppress(LabError):  # the VM was destroyed, or the lab has ended: there is no answer
                out.append(self.lab.sh(vm, self.line(command, hutong), seconds, False))
        thread = threading.Thread(target=run)
        thread.start()
        self.lab.sh(vm, "until ss -Htln 'sport = :%d' | grep -q .; do sleep 0.1; done" % port, 60)

        def end():
            thread.join()
            if not out:
                raise LabError("no answer of %s in %s" % (command.split()[0], vm))
            return out[0]
        return end

    def transfer(self, sender, receiver, mib, hutong, rate=0, seconds=300):
        """A checked stream of so many MiB; both checksums, as the programs print them."""
        port = self.port()
        end = self.serve(receiver, "/product/bench/xfer recv %d %d 7" % (port, mib), hutong, port, seconds)
        command = "/product/bench/xfer send %s %d %d 7 %s" % (ADDRESS[receiver], port, mib, rate or "")
        sent = self.lab.sh(sender, self.line(command, hutong), seconds, False)
        return sent, end()

    def warm(self, sender, receiver, tries=12):
        """
        Streams until one leaves TCP: an agent that has just been started runs interpreted here, and takes longer for its
        first programs than those wait. Returns how many streams it took, 0 if none of them did.
        """
        self.stats(sender)
        for n in range(1, tries + 1):
            self.transfer(sender, receiver, 32, True, rate=4)
            if self.moved(sender)[0]:
                return n
        return 0

    def stream(self, sender, receiver, seconds, hutong, block="64K", warm=3):
        """iperf3: megabits a second at the receiver, after a warm-up."""
        port = self.port()
        end = self.serve(receiver, "iperf3 -s -1 -p %d" % port, hutong, port, 60 + 4 * seconds)
        command = "iperf3 -c %s -p %d -t %d -O %d -l %s -J" % (ADDRESS[receiver], port, seconds, warm, block)
        answer = self.lab.sh(sender, self.line(command, hutong), 60 + 4 * seconds, False)
        served = end()
        try:
            return json.loads(answer.text[answer.text.index("{"):])["end"]["sum_received"]["bits_per_second"] / 1e6
        except (ValueError, KeyError) as e:
            raise LabError("iperf3 from %s to %s, %s: client %d %s; server %d %s"
                           % (sender, receiver, "Hutong" if hutong else "TCP", answer.status, answer.text[-400:],
                              served.status, served.text[-400:])) from e

    def round_trip(self, client, server, size, hutong, warm_ms=4000, run_ms=2000):
        """Microseconds of a round trip, median."""
        port = self.port()
        end = self.serve(server, "/product/bench/rr server %d %d" % (port, size), hutong, port)
        command = "/product/bench/rr client %s %d %d %d %d" % (ADDRESS[server], port, size, warm_ms, run_ms)
        answer = self.lab.sh(client, self.line(command, hutong), 120, False)
        end()
        found = re.search(r"us=([0-9.]+)", answer.text)
        if not found:
            raise LabError("rr from %s to %s: %s" % (client, server, answer.text[-400:]))
        return float(found.group(1))

    def bare_ring(self, giver, taker, seconds):
        """Megabits a second of two programs that do nothing but use granted pages and an event channel."""
        port, domid = self.port(), {vm: self.nodes.domid(vm) for vm in (giver, taker)}
        end = self.serve(taker, "/product/xen_ring take %d %d" % (domid[giver], port), False, port)
        answer = self.lab.sh(giver, "/product/xen_ring give %d %s %d %d" % (domid[taker], ADDRESS[taker], port, seconds), 120, False)
        end()
        found = re.search(r"mbit=([0-9.]+)", answer.text)
        if not found:
            raise LabError("the bare ring from %s to %s: %s" % (giver, taker, answer.text[-400:]))
        return float(found.group(1))

    def mpi(self, vms, ranks, program, hutong, seconds=300):
        """An Open MPI job, started on the first VM; its Answer."""
        line = ("mpirun --allow-run-as-root --oversubscribe --bind-to none --map-by node --host %s -np %d"
                " --mca plm_rsh_agent 'python3 -I /lab/launch.py' --mca plm_rsh_no_tree_spawn 1"
                " --mca pml ob1 --mca btl self,vader,tcp --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0"
                " --mca mpi_yield_when_idle 1 %s %s"
                % (",".join("%s:%d" % (vm, -(-ranks // len(vms))) for vm in vms), ranks,
                   "-x LD_PRELOAD=%s -x HUTONG_STATS=%s" % (SHIM, STATS) if hutong else "", program))
        return self.lab.sh(vms[0], line, seconds, False)

    def stats(self, vm, clear=True):
        """What programs have moved since the last time: a list of {name: number} with the program's name."""
        text = self.lab.sh(vm, "cat %s 2>/dev/null; %s" % (STATS, "rm -f " + STATS if clear else "true"), check=False).text
        out = []
        for line in text.splitlines():
            words = line.split()
            found = dict(word.split("=") for word in words[2:])
            out.append({"program": words[1], **{name: int(n) for name, n in found.items()}})
        return out

    def moved(self, vm):
        """Bytes out of a VM since the last time: (by rings, by TCP)."""
        said = self.stats(vm)
        return sum(m["ring_out"] for m in said), sum(m["tcp_out"] for m in said)

    def conns_during(self, vm, action, seconds=40, then=None):
        """
        Does something in the background, and `then` something beside it once one of the VM's connections has left TCP.
        Returns what hutong:conns said of that one, or None.
        """
        failed = []

        def act():
            try:
                action()
            except LabError as e:
                failed.append(e)
        thread = threading.Thread(target=act)
        thread.start()
        seen, deadline = None, time.monotonic() + seconds
        while thread.is_alive() and seen is None and time.monotonic() < deadline:
            for row in self.nodes.ask_json(vm, "hutong:conns") or ():
                if row.get("path") in ("RING", "LIGHT", "SWITCHING"):
                    seen = row
        if seen is not None and then is not None:
            then()
        thread.join()
        if failed:
            raise failed[0]
        return seen
