# SPDX-License-Identifier: Apache-2.0
"""Helpers of the system tests: the command, programs in the background, conditions with a deadline."""

import json
import os
import re
import subprocess
import tempfile
import time
import unittest

from hutonglab import procs, state, topology
from hutonglab.errors import LabError
from hutonglab.shellclient import query
from hutongbench.program import Program

REPO = topology.REPO
HUTONG = os.path.join(REPO, "hutong")
BIN = os.path.join(REPO, "bench/build")
EXAMPLES = os.path.join(REPO, "mpi-examples/build")
PC1, PC2 = topology.HOSTS
VM1, VM2, VM3 = topology.VMS

__all__ = ["BIN", "EXAMPLES", "HUTONG", "PC1", "PC2", "REPO", "VM1", "VM2", "VM3", "Background", "ClusterTest",
           "Program", "REASONS", "cluster_down", "cluster_up", "conns", "eventually", "hutong", "leftovers", "members",
           "port", "repeated", "shell", "stats_of"]

_ports = iter(range(21000 + os.getpid() * 31 % 4000, 32000))


def port():
    """A TCP port that no other test uses."""
    return next(_ports)


def hutong(*arguments, seconds=120, env=None, check=True):
    """Runs ./hutong; unless check is False, an exit status other than 0 fails the test."""
    done = subprocess.run([HUTONG, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds, env=env, check=False)
    if check and done.returncode != 0:
        raise AssertionError("hutong %s: exit status %d\n%s%s"
                             % (" ".join(map(str, arguments)), done.returncode, done.stdout, done.stderr))
    return done


def cluster_up(*options):
    """Starts the cluster, or takes it as it is when it is up."""
    if not state.is_up():
        hutong("down")
        hutong("up", "--no-build", *options, seconds=200)
        return
    for node in topology.NODES:
        record = procs.read_record(topology.LAB + "/agent-" + node.name)
        if not procs.alive(record):
            hutong("agent", node.name, "start")


def cluster_down():
    hutong("down", check=False)


def eventually(condition, what, seconds=30.0):
    """
    Waits until condition() is true, and returns what it returned; after the deadline the test fails. What was waited for
    is a text, or what makes one when it has failed.
    """
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("after %d s still not: %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.05)


def repeated(attempt, enough=bool, attempts=2, seconds=12.0, pause=0.0):
    """
    What attempt() returned when that was enough, or the last time. It is made again until there were so many attempts
    and so many seconds have passed: where the ends did not find each other in time the wire is left for 5 s, and a
    short program that begins meanwhile is right to stay on TCP.
    """
    deadline = time.monotonic() + seconds
    while True:
        found, attempts = attempt(), attempts - 1
        if enough(found) or (attempts <= 0 and time.monotonic() >= deadline):
            return found
        time.sleep(pause)


def shell(node, command):
    """
    Output of a Gogo command, asked without a process of its own: that takes half a second on a slow machine. A part of
    an agent that has just been started may come a moment after its shell.
    """
    deadline = time.monotonic() + 5
    while True:
        try:
            return query(node, command)
        except LabError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _reasons():
    """The reasons' names by number, from the header that everything follows."""
    with open(os.path.join(REPO, "include/hutong_abi.h"), encoding="utf-8") as f:
        return {int(number): name for name, number in re.findall(r"\bHUT_R_(\w+) = ([0-9]+)", f.read())}


REASONS = _reasons()


def conns(node):
    """The agent's connections, as `hutong:conns --json` tells them, with the reason's name as `why`."""
    rows = json.loads(shell(node, "hutong:conns --json"))
    for row in rows:
        row["why"] = REASONS[row["reason"]]
    return rows


def members(node):
    """Names of the VMs that the agent knows as members now."""
    return sorted(member["name"] for member in json.loads(shell(node, "hutong:vms --json")))


def stats_of(path):
    """The lines that shims have written to a HUTONG_STATS file: dicts with comm and the counts."""
    if not os.path.exists(path):
        return []
    rows = []
    with open(path, encoding="ascii", errors="replace") as f:
        for line in f:
            row = {k: int(v) for k, v in re.findall(r"\b(\w+)=([0-9]+)", line)}
            row["comm"] = line.split()[1] if len(line.split()) > 1 else ""
            rows.append(row)
    return rows


class Background:
    """`./hutong exec|run VM -- ...` in the background, its output in files; killed at the end of the `with`."""

    def __init__(self, *arguments, env=None):
        self.arguments = [str(a) for a in arguments]
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self._process = subprocess.Popen([HUTONG, *self.arguments], stdin=subprocess.DEVNULL, stdout=self._out,
                                         stderr=self._err, env=env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._out.close()
        self._err.close()

    @property
    def pid(self):
        """The program itself: hutong has replaced itself by it."""
        return self._process.pid

    def output(self):
        return os.pread(self._out.fileno(), 1 << 24, 0).decode(errors="replace")

    def errors(self):
        return os.pread(self._err.fileno(), 1 << 24, 0).decode(errors="replace")

    def running(self):
        return self._process.poll() is None

    def listening(self, number, seconds=30):
        """Waits until the program's namespace has a listener on the TCP port."""
        wanted = ":%04X" % number

        def listens():
            if not self.running():
                raise AssertionError("%s ended: %s" % (self.arguments, self.errors()))
            for table in ("tcp", "tcp6"):
                try:
                    with open("/proc/%d/net/%s" % (self.pid, table), encoding="ascii") as f:
                        if any(w[1].endswith(wanted) and w[3] == "0A" for w in map(str.split, f)):
                            return True
                except OSError:
                    continue
            return False
        eventually(listens, "a listener on port %d" % number, seconds)
        return self

    def expect(self, status=0, seconds=120):
        """Waits for the end; another exit status fails the test. Returns the output."""
        try:
            found = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s is not done after %d s: %s" % (self.arguments, seconds, self.errors())) from None
        if found != status:
            raise AssertionError("%s: exit status %d\n%s%s" % (self.arguments, found, self.output(), self.errors()))
        return self.output()


def leftovers():
    """Everything of a cluster that the machine still has, as a list of strings."""
    found = ["namespace " + n for n in state.namespaces()]
    found += [p for p in (topology.RUN, state.LOCK) if os.path.exists(p)]
    found += ["/dev/shm/" + n for n in os.listdir("/dev/shm") if n.startswith("hutong")]
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        found += ["mount " + line.split()[4] for line in f if "/hutong" in line.split()[4]]
    for name in os.listdir("/proc"):
        if name.isdigit() and procs.record_of(int(name)):
            try:
                with open("/proc/%s/environ" % name, "rb") as f:
                    if any(e.startswith(b"HUTONG_LAB=") for e in f.read().split(b"\0")):
                        found.append("process " + name)
            except OSError:
                continue
    return found


class ClusterTest(unittest.TestCase):
    """A test that needs the cluster, with all agents running and knowing each other."""

    @staticmethod
    def ready():
        """Starts what does not run, and waits until all know each other."""
        cluster_up()
        # Each of them: an end that does not know the other one when a connection begins leaves that on TCP.
        for vm in (VM1, VM2, VM3):
            eventually(lambda vm=vm: members(vm) == ["VM1", "VM2", "VM3"], "%s knows all members" % vm.name)

    def setUp(self):
        self.ready()
        self._folder = tempfile.TemporaryDirectory(prefix="hutong-test-")
        self.addCleanup(self._folder.cleanup)
        os.chmod(self._folder.name, 0o755)

    def file(self, name):
        """Path of a file in a folder that goes with the test."""
        return os.path.join(self._folder.name, name)

    def stats_env(self, **more):
        """An environment in which shims write their counts; see ring_bytes."""
        self.stats = self.file("stats-%d" % port())
        # Any user's program may add its line.
        with open(self.stats, "w", encoding="ascii"):
            pass
        os.chmod(self.stats, 0o666)
        return dict(os.environ, HUTONG_STATS=self.stats, **more)

    def ring_bytes(self, comm=None):
        """Bytes that went through rings, of programs (named comm) that have ended since stats_env."""
        return sum(row.get("ring_in", 0) + row.get("ring_out", 0) for row in stats_of(self.stats)
                   if comm in (None, row["comm"]))
