# SPDX-License-Identifier: Apache-2.0
"""Show 4: a VM is destroyed under load, paused, saved; agents are killed. Each as the design says, checked in dom0."""

import contextlib
import threading
import time

from ..errors import LabError
from . import programs


#: Writes so many bytes, not too fast, the last ones at once, and closes.
WRITER = """\
import socket, sys, time
c = socket.create_connection((sys.argv[1], int(sys.argv[2])))
size, piece = int(sys.argv[3]), bytes(range(256)) * 256
for at in range(0, size, len(piece)):
    c.sendall(piece)
    time.sleep(0.02)
"""
#: Reads all but the last 128 KiB, awaits the end behind them, forks, and reads the rest.
READER = """\
import os, select, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", int(sys.argv[1])))
s.listen(1)
c, size, got, right = s.accept()[0], int(sys.argv[2]), 0, True
def take(most):
    global got, right
    data = c.recv(most)
    right = right and all(data[i] == (got + i) % 256 for i in range(0, len(data), 61))
    got += len(data)
    return len(data)
while got < size - 131072 and take(min(65536, size - 131072 - got)): pass
p = select.poll()
p.register(c, select.POLLRDHUP)
p.poll(60000)
left = size - got
if os.fork() == 0: os._exit(0)
os.wait()
while take(65536): pass
print("read %d of %d bytes, %d left at the fork" % (got, size, left), "right" if right else "WRONG")
sys.exit(0 if right and got == size else 1)
"""


class Life:
    """The cases; each leaves the lab with all VMs and agents up again."""

    def __init__(self, lab, nodes, programs, clauses, report):
        self.lab, self.nodes, self.run, self.clauses, self.report = lab, nodes, programs, clauses, report

    def all(self):
        """All cases, the one that takes most away last."""
        for case in (self.paused, self.forked, self.storm, self.agents_killed, self.detached_by_a_new_agent, self.saved,
                     self.saved_unannounced, self.destroyed):
            try:
                case()
            except LabError as e:
                self.report.check(case.__name__, False, str(e)[-600:])

    def _under_load(self, sender, receiver, mib, rate):
        """Starts a checked stream and waits until it is on the ring; returns what waits for its answers."""
        port, out = self.run.port(), {}
        ends = {
            "got": self.run.serve(receiver, "/product/bench/xfer recv %d %d 7" % (port, mib), True, port, 240),
            "sent": lambda: self.lab.sh(sender, self.run.line("/product/bench/xfer send %s %d %d 7 %d" % (
                programs.ADDRESS[receiver], port, mib, rate), True), 240, False),
        }
        threads = {}

        def keep(name, end):
            with contextlib.suppress(LabError):  # of a VM that is destroyed: what has no answer is missing below
                out[name] = end()
        for name, end in ends.items():
            threads[name] = threading.Thread(target=keep, args=(name, end), daemon=True)
            threads[name].start()
        row, deadline = None, time.monotonic() + 60
        while row is None and threads["sent"].is_alive() and time.monotonic() < deadline:
            row = next((r for r in self.nodes.ask_json(sender, "hutong:conns") or () if r.get("path") == "RING"), None)
        if row is None:
            raise LabError("the stream from %s to %s did not get to the ring" % (sender, receiver))

        def wait(seconds, names=("sent", "got")):
            until = time.monotonic() + seconds
            for name in names:
                threads[name].join(max(0, until - time.monotonic()))
            return [out[name] for name in names if name in out]
        return wait

    def paused(self):
        """A paused VM's peer waits; afterwards all goes on."""
        wait = self._under_load("VM1", "VM2", 96, 4)
        self.lab.sh("PC1", "xl pause VM2")
        time.sleep(5)
        stood = not wait(0)
        self.lab.sh("PC1", "xl unpause VM2")
        out = wait(200)
        self.report.check("VM2 paused for 5 s and unpaused under load", stood and [a.status for a in out] == [0, 0],
                          "; ".join(a.text.strip() for a in out) or "no end")

    def forked(self):
        """A reader forks when its writer has closed and left the last bytes in granted pages: none of them is lost."""
        port, mib = self.run.port(), 24
        self.run.stats("VM1")
        end = self.run.serve("VM2", "python3 -I -c '%s' %d %d" % (READER, port, mib << 20), True, port, 200)
        sent = self.lab.sh("VM1", self.run.line("python3 -I -c '%s' %s %d %d" % (
            WRITER, programs.ADDRESS["VM2"], port, mib << 20), True), 200, False)
        got, (ring, by_tcp) = end(), self.run.moved("VM1")
        self.report.check("a reader forks with bytes of a closed writer left in granted pages",
                          sent.status == 0 and got.status == 0 and "131072 left" in got.text and ring > by_tcp,
                          "%s; %d bytes by the channel, %d by TCP" % (got.text.strip()[-200:], ring, by_tcp))

    def storm(self):
        """A peer that rings without end is not heard any more; its connection goes to TCP, and is counted."""
        def counted():
            return sum(row["count"] or 0 for row in self.nodes.ask_json("VM1", "hutong:reasons") or () if row["number"] == 30)
        before = counted()
        wait = self._under_load("VM2", "VM1", 96, 2)
        rings = self.lab.sh("VM2", "/product/xen_storm $(pgrep -n xfer) 20", check=False).text.strip()
        row = next((r for r in self.nodes.ask_json("VM1", "hutong:conns") or () if r.get("reason") == 30), None)
        out = wait(200)
        self.report.check("VM2 rings VM1 without end: the connection goes to TCP with reason 30",
                          row is not None and counted() > before and [a.status for a in out] == [0, 0],
                          "%s; hutong:conns: %s; %s" % (rings, row and row.get("path"),
                                                        "; ".join(a.text.strip() for a in out) or "no end"))

    def detached_by_a_new_agent(self):
        """An agent that was started after the channels has programs let go of them, too."""
        wait = self._under_load("VM1", "VM2", 200, 1)
        self.nodes.stop("VM2", "KILL")
        self.nodes.start(["VM2"])
        before = self.clauses.mapped("VM2")
        answer = self.nodes.ask("PC1", "hutong:detach VM2", check=False).strip()
        left = self.clauses.mapped("VM2")
        self.nodes.ask("PC1", "hutong:attach VM2", check=False)
        out = wait(200)
        self.report.check("VM2's new agent has channels of before let go of shared memory",
                          "no memory" in answer and before > 0 and not left and [a.status for a in out] == [0, 0],
                          "%s; pages mapped before %d, after %d; %s" % (
                              answer, before, left, "; ".join(a.text.strip() for a in out) or "no end"))
        self.nodes.wait_members(240)

    def agents_killed(self):
        """The data path has no agent in it; new agents take over what stands."""
        self.run.stats("VM1")
        wait = self._under_load("VM1", "VM2", 128, 2)
        for vm in ("VM1", "VM2"):
            self.nodes.stop(vm, "KILL")
        out = wait(200)
        ring, by_tcp = self.run.moved("VM1")
        self.report.check("both VMs' agents killed under load: the stream goes on by the channel",
                          [a.status for a in out] == [0, 0] and ring > by_tcp, "%d bytes by the channel, %d by TCP; %s"
                          % (ring, by_tcp, "; ".join(a.text.strip() for a in out) or "no end"))
        self.nodes.start(["VM1", "VM2"])
        self.nodes.wait_members(240)
        self.report.check("new agents, new channels", self.run.warm("VM1", "VM2"))

    def saved(self):
        """An announced save: detach, save, restore; then channels come back. First of the VM that maps, then of the other."""
        self._saved("VM2", "VM1")
        self._saved("VM1", "VM2")

    def _roles(self):
        """The VM that grants the pages of channels, and the one that maps them, which has the higher domain id."""
        return sorted(("VM1", "VM2"), key=self.nodes.domid)

    def _saved(self, vm, peer):
        maps = self._roles()[1]
        wait = self._under_load(peer, vm, 192, 2)
        before = self.clauses.mapped(maps)
        answer = self.nodes.ask("PC1", "hutong:detach " + vm, check=False).strip()
        left, events = self.clauses.mapped(vm, "gntdev|gntalloc"), self.clauses.events("PC1")
        self.report.check("%s lets go of shared memory before it is saved" % vm,
                          "no memory" in answer and before > 0 and not left and not events,
                          "%s; pages mapped by %s before %d; granted or mapped ones in %s now %d, event channels %d"
                          % (answer, maps, before, vm, left, events))
        self.lab.sh("PC1", "mkdir -p /scratch && mount /dev/vdd /scratch && xl save %s /scratch/vm && xl restore /scratch/vm"
                    " && rm /scratch/vm && umount /scratch" % vm, 400)
        self.lab.machine_of(vm).wait_up(vm, 120)
        self._nothing_left("%s as it was" % vm, {})
        out = wait(240)
        self.report.check("the stream goes on by TCP through save and restore of %s" % vm, [a.status for a in out] == [0, 0],
                          "; ".join(a.text.strip() for a in out) or "no end")
        self.nodes.wait_domid(vm, 400)
        self.nodes.wait_members(240)
        self.report.check("channels come back after the restore of %s" % vm, self.run.warm("VM1", "VM2"))

    def saved_unannounced(self):
        """Nobody has told the VM: xl does not touch it."""
        for role, vm in zip(("grants", "maps"), self._roles()):
            peer = "VM1" if vm == "VM2" else "VM2"
            wait, domid = self._under_load(peer, vm, 64, 2), self.nodes.domid(vm)
            self.lab.sh("PC1", "mkdir -p /scratch && mount /dev/vdd /scratch")
            save = self.lab.sh("PC1", "xl save %s /scratch/vm" % vm, 400, False)
            self.lab.sh("PC1", "rm -f /scratch/vm; umount /scratch")
            paths = [row.get("path") for row in self.nodes.ask_json(peer, "hutong:conns") or ()]
            out = wait(200)
            self.report.check("%s, which %s, is not saved unannounced: the stream goes on" % (vm, role),
                              save.status != 0 and "Suspend event channel" in save.text and "RING" in paths
                              and self.nodes.domid(vm) == domid and [a.status for a in out] == [0, 0],
                              "xl: %s; paths %s; %s" % (" | ".join(save.text.splitlines()[:3]), paths,
                                              "; ".join(a.text.strip() for a in out) or "no end"))

    def destroyed(self):
        """The VM that maps the other's pages is destroyed, comes back as another domain, and then the one that grants."""
        giver, taker = self._roles()
        self._destroyed(taker, giver)
        self.lab.sh("PC1", "xl create /run/%s.cfg" % taker, 240)
        self.lab.machine_of(taker).wait_up(taker)
        self.nodes.prepare([taker])
        self.nodes.start([taker])
        self.nodes.wait_members(240)
        self._destroyed(giver, taker)

    def _destroyed(self, victim, peer):
        """A destroyed VM: the peer's program hears of it as of a reset, and nothing is left of it."""
        if not self.run.warm(peer, victim):
            raise LabError("no stream from %s to %s leaves TCP" % (peer, victim))
        role = ("grants", "maps")[self._roles().index(victim)]
        wait = self._under_load(peer, victim, 256, 2)
        granted = self.clauses.grants("PC1")
        self.lab.sh("PC1", "xl destroy " + victim)
        out = wait(120, ["sent"])
        text = out[0].text if out else "still waits"
        self.report.check("%s, which %s, destroyed under load: its peer's connection is reset" % (victim, role),
                          bool(out) and out[0].status != 0 and "reset" in text.lower(), text.strip()[-200:])
        self._nothing_left(victim, granted)

    def _nothing_left(self, victim, granted):
        """No zombie, no grant and no event channel of a VM that is gone, once its peer has let go."""
        text, deadline = "", time.monotonic() + 60
        while time.monotonic() < deadline:
            zombies = [l for l in self.lab.sh("PC1", "xl list").text.splitlines() if "(null)" in l or "d" in l.split()[-2]]
            grants, events = self.clauses.grants("PC1"), self.clauses.events("PC1")
            text = "zombies %s, active grants to VMs by domain %s (under load %s), event channels between VMs %d" \
                % (zombies, grants, granted, events)
            if not zombies and not grants and not events:
                break
        self.report.check("nothing is left of %s in Xen" % victim, not zombies and not grants and not events, text)


