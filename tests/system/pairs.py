# SPDX-License-Identifier: Apache-2.0
"""Programs of the distribution run twice, on TCP and accelerated, by IPv4 and by IPv6: nothing may differ."""

import hashlib
import os
import random
import re
import shutil
import signal
import tempfile

from hutonglab import deps
from hutongbench.program import ProgramError
from support import REPO, VM2, ClusterTest, Program, port, repeated, stats_of

PROGRAMS = os.path.join(REPO, "tests/system/build")
SEED = 20240229

__all__ = ["PROGRAMS", "SEED", "PairTest", "Way", "digest", "make_data"]


def make_data(path, size, seed=SEED):
    """A file of `size` bytes that are the same in every run; no two of its MiB are equal."""
    block = random.Random(seed).randbytes(1 << 20)
    with open(path, "wb") as f:
        for i in range((size + (1 << 20) - 1) >> 20):
            at = i * 4099 % len(block)
            f.write((block[at:] + block[:at])[:min(size - (i << 20), 1 << 20)])


def digest(path):
    """SHA-256 of a file; of a folder: of all names and contents below it."""
    if os.path.isdir(path):
        names = sorted(os.path.join(folder, n) for folder, _, files in os.walk(path) for n in files)
        lines = ["%s %s\n" % (os.path.relpath(n, path), digest(n)) for n in names]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


class Way:
    """
    One run: plain or accelerated, by IPv4 or by IPv6, from VM1 to the peer, with a folder of its own. Keeps what
    programs said.
    """

    def __init__(self, version, accelerated, peer=VM2):
        self.version, self.accelerated, self.peer = version, accelerated, peer
        self.address = peer.ipv4 if version == 4 else peer.ipv6
        #: The address as it stands in a URL.
        self.host = self.address if version == 4 else "[%s]" % self.address
        self.preload = deps.shim_for_programs() if accelerated else None
        self.errors = []
        self.folder = tempfile.mkdtemp(prefix="hutong-pair-")
        os.chmod(self.folder, 0o755)
        self._stats = self.file("stats")
        # Nothing of the caller's Hutong settings: they would decide what is tried.
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("HUTONG_")}
        if accelerated:
            self.env["HUTONG_STATS"] = self._stats
        self._programs = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self._programs:
            program.kill()
        shutil.rmtree(self.folder)

    def file(self, name):
        return os.path.join(self.folder, name)

    def start(self, vm, *argv, listens=None, **more):
        """Starts a program in a VM; with `listens`, waits until it listens on that port. `more`: its environment."""
        program = Program(vm, argv, dict(self.env, **more), self.preload)
        self._programs.append(program)
        if listens is not None:
            program.await_listening(listens)
        return program

    def start_plain(self, vm, *argv):
        """Starts a program that itself decides what runs with the shim."""
        self._programs.append(Program(vm, argv, self.env))
        return self._programs[-1]

    def shell(self, vm, script, listens=None, **variables):
        """The same for a shell script, which finds the variables in its environment."""
        return self.start(vm, "/bin/sh", "-euc", script, listens=listens, **variables)

    def finish(self, program, seconds=60):
        """Waits for the program's good end; returns its output."""
        outcome = program.expect(seconds)
        self.errors.append(self.plain(outcome.errors))
        return outcome.output

    def stop(self, program, number=signal.SIGTERM, seconds=20):
        """Ends a server by a signal; returns (exit status, its output without what differs from run to run)."""
        os.kill(program.pids()[0], number)
        outcome = program.finish(seconds)
        self.errors.append(self.plain(outcome.errors))
        return outcome.status, self.plain(outcome.output)

    def plain(self, text):
        """A program's words without what differs from run to run: folder, dates, ports, processes."""
        text = text.replace(self.folder, "FOLDER")
        text = re.sub(r"\[\d\d/\w{3}/\d{4} [0-9:]+\]", "[DATE]", text)
        return re.sub(r"\b[0-9]{4,}\b", "N", text)

    def ring_bytes(self, comm):
        """Bytes that programs of that name moved through rings."""
        return sum(row.get("ring_in", 0) + row.get("ring_out", 0) for row in stats_of(self._stats)
                   if row["comm"] == comm)


class PairTest(ClusterTest):
    """A test whose programs run on TCP and accelerated, from VM1 to the peer."""

    peer = VM2
    #: Accelerated runs at least, until one has used the ring: a short one may be over before the ends have found each
    #: other. There are more of them when they take so little time that all might meet the same trouble; see repeated().
    attempts = 3
    #: Versions of IP that are tried, of those that a test asks for.
    versions = (4, 6)

    def twice(self, run, *on_ring, versions=(4, 6)):
        """
        Runs run(way) on TCP and accelerated, for both versions of IP. What it returns and what the programs wrote to
        standard error must be equal. Programs named in on_ring must have moved bytes through a ring.
        """
        for version in (v for v in versions if v in self.versions):
            with self.subTest("IPv%d" % version):
                plain, _ = self._once(run, version, False, ())
                self.maxDiff = 4000

                def attempt(version=version, plain=plain):
                    fast, moved = self._once(run, version, True, on_ring)
                    self.assertEqual(fast, plain)
                    return moved
                for comm, count in repeated(attempt, lambda moved: all(moved.values()), self.attempts).items():
                    self.assertGreater(count, 0, "%s moved no byte through a ring" % comm)

    def _once(self, run, version, accelerated, on_ring):
        """((result, error outputs), bytes through rings by program) of one run."""
        with Way(version, accelerated, self.peer) as way:
            try:
                found = run(way), way.errors
            except (ProgramError, AssertionError) as e:
                raise AssertionError("%s: %s" % ("accelerated" if accelerated else "on TCP", e)) from e
            return found, {comm: way.ring_bytes(comm) for comm in on_ring}

    @staticmethod
    def port():
        return port()
