# SPDX-License-Identifier: Apache-2.0
"""Connections between hosts: clusters that force the light protocol, and tests that run from VM1 to VM3."""

import collections
import contextlib
import json
import os
import re
import signal
import time

from hutonglab import agents, link, state
from hutonglab.net import has_ipv6, ip
from hutonglab.shellclient import query
from support import VM1, VM2, VM3, Background, ClusterTest, cluster_down, cluster_up, eventually, port
from test_5_paths import transfer

#: Longer variants, which are no part of the ordinary run.
LONG = bool(os.environ.get("HUTONG_TEST_LONG"))

__all__ = ["LONG", "InterTest", "LeftTest", "carried", "configured", "count", "light", "lines", "mtu", "stopped", "unplugged"]

_made = {}


def light(wire, *more):
    """Options of a cluster whose connections between hosts leave TCP for that wire, those with few bytes as well."""
    return ("--inter", "light", "--wire", wire, "--set", "hutong.after.bytes=65536", *more)


def lines(node):
    """What the node's agent carries between hosts, as `hutong:lines --json` tells it."""
    return json.loads(query(node, "hutong:lines --json"))


def count(node, name):
    """One of the agent's counters; 0 if it has never counted."""
    return json.loads(query(node, "hutong:stats --json"))["counters"].get(name, 0)


def carried(node):
    """Bytes that the light protocol has brought to the node's programs, by connections that they still have."""
    return sum(line["bytesIn"] for line in lines(node))


@contextlib.contextmanager
def unplugged(vm):
    """The VM's own interface is down meanwhile. That takes its IPv6 address, and nobody in a lab gives it back."""
    ip("-n", vm.ns, "link", "set", vm.interface, "down")
    try:
        yield
    finally:
        ip("-n", vm.ns, "link", "set", vm.interface, "up")
        if has_ipv6():
            ip("-n", vm.ns, "-6", "addr", "replace", vm.ipv6 + "/64", "dev", vm.interface, "nodad")


@contextlib.contextmanager
def mtu(size, *vms):
    """Their interfaces carry packets of another size meanwhile."""
    before = link.current().mtu
    try:
        for vm in vms:
            ip("-n", vm.ns, "link", "set", vm.interface, "mtu", str(size))
        yield
    finally:
        for vm in vms:
            ip("-n", vm.ns, "link", "set", vm.interface, "mtu", str(before))


def held(node):
    """What the node's agent holds of the operating system, and how many of each: descriptors, and mapped segments."""
    pid = agents.record(node).pid
    with open("/proc/%d/maps" % pid, encoding="ascii", errors="replace") as f:
        found = collections.Counter({"mapped segment": sum("memfd:" in line for line in f)})
    for name in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found["descriptor: " + re.sub(r":?\[[0-9]+\]", "", os.readlink("/proc/%d/fd/%s" % (pid, name)))] += 1
    return found


def held_at_rest(node):
    """The same when nobody asks the agent anything: what has just answered us may still be closing."""
    found = held(node)
    for _ in range(5):
        time.sleep(0.05)
        found &= held(node)
    return found


@contextlib.contextmanager
def stopped(*nodes):
    """Their agents stand still meanwhile."""
    pids = [agents.record(node).pid for node in nodes]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def configured(module, base, name, options):
    """A class (of that module) of the base's tests on a cluster with these options."""
    bases = (base,) if issubclass(base, InterTest) else (InterTest, base)
    return type(name + base.__name__, bases, {"options": options, "__module__": module})


class InterTest(ClusterTest):
    """Tests between VM1 and VM3 on a cluster of the class's options; classes with the same ones share it."""

    options = light("auto")
    peer = VM3
    attempts = 5

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if not state.is_up() or _made.get("cluster") != (state.cluster_id(), cls.options):
            cluster_down()
            cluster_up(*cls.options)
            _made.clear()
            _made["cluster"] = state.cluster_id(), cls.options

    @property
    def wire(self):
        return self.options[3]

    def setUp(self):
        super().setUp()
        if "held" not in _made:
            self.meet()
            self.wait_idle()
            _made["held"] = {vm: held_at_rest(vm) for vm in (VM1, VM2, VM3)}

    def meet(self):
        """Lets the agents open what they keep: a connection before they have met stays on TCP, and they meet for it."""
        for sender in (VM1, VM2):
            for address in (VM3.ipv4, VM3.ipv6):
                def moved(sender=sender, address=address):
                    # At full speed all of it could be there before the ends have found each other.
                    transfer(self, ("run", "VM3"), ("run", sender.name), address, mib=8, rate=32)
                    return self.ring_bytes() > 0
                eventually(moved, "%s reaches VM3 at %s by the light protocol" % (sender.name, address))
        transfer(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4, mib=8)

    def moved_by(self, server, client):
        """
        Bytes that these two moved through rings, on VM3 and VM1: the program's name, and its arguments with the port as
        `PORT`.
        """
        number, env = port(), self.stats_env()
        filled = [[number if word == "PORT" else word for word in line] for line in (server, client)]
        with Background("run", "VM3", "--", *filled[0], env=env) as there:
            there.listening(number)
            with Background("run", "VM1", "--", *filled[1], env=env) as here:
                here.expect(seconds=30)
            there.expect(seconds=30)
        return self.ring_bytes(os.path.basename(server[0]))

    def wait_idle(self, seconds=75):
        """
        Waits until nothing is left of any connection: for a minute at most, where a line waits for a peer that has never
        spoken.
        """
        for vm in (VM1, VM2, VM3):
            eventually(lambda vm=vm: query(vm, "hutong:channels --json").strip() == "[]", vm.name + " has no channel",
                       seconds)
            eventually(lambda vm=vm: not lines(vm), vm.name + " carries nothing", seconds)


class LeftTest(InterTest):
    """Comes last on a cluster."""

    def test_nothing_is_left(self):
        self.wait_idle()

        def left(vm):
            return dict(held_at_rest(vm) - _made["held"][vm])
        for vm in (VM1, VM2, VM3):
            eventually(lambda vm=vm: not left(vm),
                       lambda vm=vm: "%s has given back all (more than before: %s)" % (vm.name, left(vm)), 10)
        # Nor does any agent complain.
        for vm in (VM1, VM2, VM3):
            with open(agents.log_path(vm), encoding="utf-8", errors="replace") as f:
                self.assertEqual([line for line in f if " ERROR " in line or "Exception in thread" in line], [])
