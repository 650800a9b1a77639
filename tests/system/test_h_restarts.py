# SPDX-License-Identifier: Apache-2.0
"""Agents are killed and started again while they carry connections between hosts: programs see none of it (D5)."""

import contextlib
import glob
import hashlib
import re
import threading
import time
import unittest

from hutonglab import agents, link
from hutongbench.cases import results
from inter import LONG, InterTest, LeftTest, configured, count, light, lines
from support import (EXAMPLES, VM1, VM2, VM3, Background, cluster_down, conns, eventually, hutong, port, repeated,
                     shell)
from test_5_paths import transfer


def update(node, name):
    """Replaces a bundle of the agent, which runs on, by the one of that name in the distribution."""
    number = next(row.split("|")[0].strip() for row in shell(node, "lb -s").splitlines() if "|%s " % name in row)
    jar, = glob.glob("%s/bundle/%s*.jar" % (agents.DIST, name))
    hutong("shell", node.name, "-c", "update %s file:%s" % (number, jar))


class Restarts(InterTest):
    """Ends of connections on the light protocol live in the programs' segments, and outlive the agent."""

    STEP = 4 << 20
    #: Bytes that moves() has seen, and that programs must have counted, too.
    seen = 0

    def moves(self, *nodes):
        """Waits until these agents, as they are now, have brought bytes, or sent them."""
        for node in nodes:
            self.seen += self.STEP
            before = self.moved(node)
            eventually(lambda node=node, before=before: self.moved(node) > before + self.STEP,
                       lambda node=node: "%s moves bytes by the light protocol: %s" % (node.name, lines(node)), 30)

    @staticmethod
    def moved(node):
        return sum(line["bytesIn"] + line["bytesOut"] for line in lines(node))

    def again(self, *nodes):
        """Kills these agents, and starts them, one after the other, when all are dead."""
        for node in nodes:
            hutong("agent", node.name, "kill")
        for node in nodes:
            hutong("agent", node.name, "start")
        for node in nodes:
            eventually(lambda node=node: count(node, "transport.lines.resumed") > 0, node.name + " has taken connections over", 30)


class RestartTest(Restarts):
    """A stream that lasts as long as all that happens to it, and moves by the light protocol after each of it."""

    RATE = 16

    def test_stream(self):
        def during(_number):
            self.moves(VM1, VM3)
            for nodes in ((VM1,), (VM3,), (VM1, VM3)):
                self.again(*nodes)
                self.moves(VM1, VM3)
        transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, rate=self.RATE, during=during)
        self.assertGreaterEqual(self.ring_bytes("xfer"), self.seen)

    def test_bundles_are_replaced(self):
        """An upgrade in place, bundle by bundle, of each that has to do with the connection."""
        def during(_number):
            self.moves(VM1, VM3)
            for name in ("hutong.transport", "hutong.intercept", "hutong.link", "hutong.discovery"):
                for node in (VM3, VM1):
                    update(node, name)
                    self.moves(VM1, VM3)
        transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, rate=self.RATE, during=during)
        self.assertGreaterEqual(self.ring_bytes("xfer"), self.seen)


class LeftBehind(Restarts):
    """A program has written, closed and gone, and its reader takes its time: only the agent has the rest."""

    PIECE = bytes(range(256)) * 4096
    WRITER = """if True:
        import socket, sys, time
        with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
            for pieces in (1, 1, 1, 1, 3):
                s.sendall(bytes(range(256)) * 4096 * pieces)
                time.sleep(0.2)
        """
    READER = """if True:
        import hashlib, os, socket, sys, time
        with socket.create_server(("", int(sys.argv[1]))) as listener:
            s = listener.accept()[0]
        found, left = hashlib.sha256(), 4 << 20
        while left:
            data = s.recv(min(left, 65536))
            found.update(data)
            left -= len(data)
        while not os.path.exists(sys.argv[2]):
            time.sleep(0.01)
        while data := s.recv(65536):
            found.update(data)
        print(found.hexdigest())
        """

    @contextlib.contextmanager
    def left_behind(self):
        """While a writer's program is gone, and its reader has not read all; it reads the rest after that."""
        number, env = port(), self.stats_env()
        go_on = self.file("go-on-%d" % number)
        with Background("run", "VM3", "--", "python3", "-c", self.READER, number, go_on, env=env) as reader:
            reader.listening(number)
            with Background("run", "VM1", "--", "python3", "-c", self.WRITER, VM3.ipv4, number, env=env) as writer:
                writer.expect()
            yield
            with open(go_on, "w", encoding="ascii"):
                pass
            self.assertEqual(reader.expect(seconds=30).strip(), hashlib.sha256(self.PIECE * 7).hexdigest())


class LeftoverTest(LeftBehind):
    """The writer's agent ends, or is replaced, and waits for the reader."""

    def test_an_upgrade_waits_for_it(self):
        self.waits(update, VM1, "hutong.transport")

    def test_a_stop_waits_for_it(self):
        self.addCleanup(hutong, "agent", "VM1", "start")
        self.waits(hutong, "agent", "VM1", "stop")

    def waits(self, *ends):
        def attempt():
            self.ready()  # the one before may have stopped an agent
            return self.once(ends)
        waited, moved = repeated(attempt, lambda found: found[1])
        if not waited:  # once more: a busy machine may have come to it too late
            waited, moved = attempt()
        self.assertTrue(waited, "nothing was left to wait for")
        self.assertGreater(moved, 6 << 20)

    def once(self, ends):
        """Whether that end waited for the reader, and how many bytes went by the light protocol."""
        end = threading.Thread(target=ends[0], args=ends[1:])
        with self.left_behind():
            end.start()
            time.sleep(0.5)
            waited = end.is_alive()
        end.join()
        return waited, self.ring_bytes("python3")


class ThroughTest(LeftBehind):
    """
    TCP is through both ways, so that the kernel lists the reader's socket no more, and it has not read all: its agent
    is killed and started, its intercept is replaced after that, and it reads the rest.
    """

    READER = LeftBehind.READER.replace("while not os", "s.shutdown(socket.SHUT_WR)\n        while not os")

    def test_the_rest_comes(self):
        with self.left_behind():
            left = [line for line in lines(VM1) if line["bytesOut"]]
            self.again(VM3)
            update(VM3, "hutong.intercept")
            time.sleep(2)  # what it gives up is gone by then
            self.assertTrue(lines(VM3), "the reader's agent still brings the rest")
        self.assertTrue(left, "the writer's agent had something left")
        self.assertGreater(self.ring_bytes("python3"), 6 << 20)


class UserTest(ThroughTest):
    """The same with a reader that has become another user since; its side is open."""

    READER = LeftBehind.READER.replace("while not os", "os.seteuid(65534)\n        while not os").replace(
        "print(", "os.seteuid(0)\n        print(")


class JobTest(Restarts):
    """
    Four ranks on three VMs: 0 and 3 on VM1, 1 on VM2, 2 alone on its host. Its agents are killed and started, and the
    cable between the hosts is pulled for a while.
    """

    #: A job on TCP of as many rounds, with which it is compared, may take as long as all that happens to it.
    LIMIT_SECONDS, TCP_SECONDS = 480, 300
    #: The largest message, as it is without being said, and seconds without the cable.
    MOST, PULLED = 300000, 5

    def paths(self, node):
        """The pairs of VM and path of the job's connections that the node shows off TCP."""
        by_address = {vm.ipv4: vm.name for vm in (VM1, VM2, VM3)}
        return {(by_address.get(row["remote"].rpartition(":")[0]), row["path"]) for row in conns(node)
                if row["program"] == "mixed" and row["path"] != "TCP"}

    def apart(self):
        """Each pair of VMs has a path of its own: shared memory within the host, the light protocol between hosts."""
        for node, wanted in ((VM1, {("VM2", "RING"), ("VM3", "LIGHT")}), (VM2, {("VM1", "RING"), ("VM3", "LIGHT")}),
                             (VM3, {("VM1", "LIGHT"), ("VM2", "LIGHT")})):
            eventually(lambda node=node, wanted=wanted: self.paths(node) == wanted,
                       lambda node=node: "%s shows each path: %s" % (node.name, self.paths(node)), 30)

    def test_a_job_of_four_ranks(self):
        line = ("-H", "VM1,VM2,VM3", "-np", 4, "--wdir", "/tmp", "--", EXAMPLES + "/c/mixed")
        with Background("mpirun", *line, 1, self.MOST, self.file("end"), env=self.stats_env()) as job:
            self.apart()
            link.switch(False)
            try:
                time.sleep(self.PULLED)
            finally:
                link.switch(True)
            self.apart()
            for node in (VM1, VM3):
                self.again(node)
                self.apart()
                self.moves(VM1, VM3)
            self.assertTrue(job.running(), "the job was over too early to show anything")
            with open(self.file("end"), "w", encoding="ascii"):
                pass
            fast = results(job.expect())
        rounds = re.search(r"^mixed ranks=4 rounds=([0-9]+) ", fast, re.MULTILINE)
        self.assertIsNotNone(rounds, fast)
        tcp = hutong("mpirun", "--tcp", *line, rounds[1], self.MOST, seconds=self.TCP_SECONDS)
        self.assertEqual(fast, results(tcp.stdout))


def load_tests(loader, _standard, _pattern):
    """Both wires have the job; the streams differ in nothing that the wire would see."""
    suite = unittest.TestSuite()
    ways = (("ethernet", (RestartTest, LeftoverTest, ThroughTest, UserTest, JobTest)),
            ("udp", (RestartTest, LeftoverTest, ThroughTest, JobTest) if LONG else (JobTest,)))
    for wire, bases in ways:
        for base in bases + (LeftTest,):
            suite.addTests(loader.loadTestsFromTestCase(configured(__name__, base, wire.capitalize(), light(wire))))
    return suite


def tearDownModule():  # pylint: disable=invalid-name  (unittest's)
    cluster_down()
