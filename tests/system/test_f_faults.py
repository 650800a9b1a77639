# SPDX-License-Identifier: Apache-2.0
"""
The light protocol on links that drop, repeat, reorder and spoil frames, beside a TCP stream on a link of 1 Gbit/s, and
what a capture of the link shows.
"""

import json
import os
import subprocess
import time
import unittest

from hutonglab import link
from hutongbench.cases import results
from inter import LONG, InterTest, LeftTest, configured, light
from support import EXAMPLES, REPO, VM1, VM3, Background, cluster_down, eventually, hutong, port, repeated, stats_of
from test_5_paths import transfer
from test_c_dissector import FIELDS, SCRIPT

STREAM = os.path.join(REPO, "tests/system/build/stream")
MODES = ("threads", "poll", "select", "lt", "et", "oneshot", "nonblock")
ETHER_TYPE, UDP_PORT = 0x88B5, 7414
#: Text that the captured stream consists of.
MARKER = b"the lane between neighbours "


def faults(wire, percent, seed, *more):
    names = ("drop", "dup", "reorder", "corrupt")
    return light(wire, "--faults", ",".join("%s=%d" % (n, percent) for n in names) + ",seed=%d" % seed, *more)


class StreamTest(InterTest):
    """stream.c of the shim's own tests: both directions at once, every byte checked, each way of waiting."""

    BYTES, SEEDS, CHAOS, VERSIONS = 4 << 20, (1,), (0, 20000, 1000), (4,)

    def one(self, server_mode, client_mode, address, seed, chaos):
        number, env = port(), self.stats_env(**({"HUTONG_CHAOS": str(chaos)} if chaos else {}))
        rest = (self.BYTES, seed)
        with Background("run", "VM3", "--", STREAM, "server", address, number, server_mode, *rest, env=env) as server:
            server.listening(number)
            with Background("run", "VM1", "--", STREAM, "client", address, number, client_mode, *rest,
                            env=env) as client:
                self.assertEqual(client.expect(seconds=60), "ok\n")
            self.assertEqual(server.expect(seconds=60), "ok\n")
        rows = stats_of(self.stats)
        self.assertEqual(len(rows), 2)
        return sum(r["ring_in"] for r in rows)

    def case(self, chaos):
        moved = 0
        for seed in range(1, 9) if LONG else self.SEEDS:
            for version in (4, 6) if LONG else self.VERSIONS:
                for i, mode in enumerate(MODES):
                    other = MODES[(i + seed) % len(MODES)]
                    with self.subTest(mode, other=other, seed=seed, version=version):
                        moved += self.one(mode, other, VM3.ipv4 if version == 4 else VM3.ipv6, seed, chaos)
        return moved

    def test_path_stays(self):
        self.assertGreater(self.case(0), len(MODES) * self.BYTES)

    def test_path_changes_now_and_then(self):
        self.assertGreater(self.case(20000), 0)

    def test_path_changes_all_the_time(self):
        self.assertGreater(self.case(1000), 0)


class FaultTest(InterTest):
    """A long stream, and an MPI job."""

    #: So many rounds of the job that it lasts for a second: a message of the set-up may have to be repeated.
    MIB, ROUNDS = 64, 100
    SECONDS, ATTEMPTS = 120, 3

    def test_long_stream(self):
        before, least = link.fault_counts()[0], 1.8 * (self.MIB << 20)

        def moved():
            transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, mib=self.MIB, seconds=self.SECONDS)
            return self.ring_bytes("xfer")
        # Nearly all of it went by the light protocol, and met every kind of fault. TCP meets them, too: where it loses
        # one of its first segments, it may wait until a good part of the time is over.
        self.assertGreater(repeated(moved, lambda count: count > least, self.ATTEMPTS, seconds=0, pause=6), least)
        eventually(lambda: all(link.fault_counts()[0][n] > before[n] for n in ("drop", "dup", "reorder", "corrupt")),
                   "every fault has struck", 5)

    def test_mpi(self):
        line = ("-H", "VM1,VM3", "-np", 2, "--wdir", "/tmp", "--", EXAMPLES + "/c/mixed", self.ROUNDS)
        tcp = results(hutong("mpirun", "--tcp", *line).stdout)
        self.assertEqual(results(hutong("mpirun", *line, env=self.stats_env()).stdout), tcp)
        self.assertIn("mixed ranks=2 ", tcp)
        self.assertGreater(self.ring_bytes("mixed"), 1 << 20)


class LongFaultTest(FaultTest):
    MIB, SECONDS = 1024, 200
    LIMIT_SECONDS = 400


class FairTest(InterTest):
    """
    Beside a TCP stream on a link that both fill: neither gets less than 30 %. That is about the link: on a machine
    whose processors other programs keep busy the agents may come too late, so one of some attempts must show it.
    """

    SECONDS, ATTEMPTS, LEAST = 10, 3, 0.3

    def rate(self, report):
        return json.loads(report)["end"]["sum_received"]["bits_per_second"]

    def both(self):
        """Rates of a stream on the light protocol and of one on TCP."""
        numbers = port(), port()
        env = self.stats_env()
        servers = [Background(how, "VM3", "--", "iperf3", "-s", "-1", "-p", n, env=env)
                   for how, n in zip(("run", "exec"), numbers)]
        with servers[0], servers[1]:
            for server, number in zip(servers, numbers):
                server.listening(number)
            clients = [Background(how, "VM1", "--", "iperf3", "-c", VM3.ipv4, "-p", n, "-t", self.SECONDS, "-O", 1,
                                  "-C", "cubic", "--json", env=env) for how, n in zip(("run", "exec"), numbers)]
            with clients[0], clients[1]:
                rates = [self.rate(client.expect(seconds=self.SECONDS + 30)) for client in clients]
            for server in servers:
                server.expect(seconds=30)
        self.assertGreater(self.ring_bytes("iperf3"), 10 << 20)
        return rates

    def test_neither_starves(self):
        found = []
        for _ in range(self.ATTEMPTS):
            found.append(self.both())
            if min(found[-1]) / sum(found[-1]) > self.LEAST:
                return
        self.fail("light, TCP in Mbit/s: %s" % ["%.1f, %.1f" % tuple(r / 1e6 for r in f) for f in found])


class CrowdedFairTest(FairTest):
    """
    At 1 Gbit/s two processors are the bottleneck, not the link: the kernel carries the frames of both streams on the
    one that the sender's agent happens to be on, or on the other. Neither starves all the same.
    """

    LEAST = 0.1


class CaptureTest(InterTest):
    """tcpdump on the link between the hosts."""

    TEXT = (8 << 20) // len(MARKER) * len(MARKER)

    @staticmethod
    def settled(path):
        """Waits until tcpdump has written what it has: a signal ends it at once.  The hosts' lists never end."""
        size = 0
        while os.path.getsize(path) - size > 64 << 10:
            size = os.path.getsize(path)
            time.sleep(1)

    def capture(self):
        """
        Records the link while a marked text goes from VM1 to VM3; returns the file's path, None when the light protocol
        had no part in it.
        """
        path, number, env = self.file("link.pcap"), port(), self.stats_env()
        text = MARKER * (self.TEXT // len(MARKER))
        with open(self.file("text"), "wb") as f:
            f.write(text)
        sender = "head -c 300000 /dev/zero; sleep 1; cat %s" % self.file("text")
        with Background("exec", "PC1", "--", "tcpdump", "-i", "link0", "-w", path, "-s", "0", "-U", "-B", "65536", "-Z",
                        "root") as dump:
            eventually(lambda: "listening on" in dump.errors(), "tcpdump listens")
            with Background("run", "VM3", "--", "sh", "-c", "exec nc -l %d > %s" % (number, self.file("got")),
                            env=env) as server:
                server.listening(number)
                with Background("run", "VM1", "--", "sh", "-c", "(%s) | nc -N %s %d" % (sender, VM3.ipv4, number),
                                env=env) as client:
                    client.expect()
                server.expect()
            self.settled(path)
            os.kill(dump.pid, 2)
            dump.expect()
            dump_said = dump.errors()
        with open(self.file("got"), "rb") as f:
            self.assertTrue(f.read().endswith(text))
        if not self.ring_bytes("nc"):
            return None
        self.assertGreaterEqual(self.ring_bytes("nc"), self.TEXT)
        self.assertIn("0 packets dropped by kernel", dump_said)
        return path

    def tshark(self, path, *line):
        done = subprocess.run(["tshark", "-X", "lua_script:" + SCRIPT, "-d", "udp.port==%d,hutong" % UDP_PORT, "-r",
                               path, *line], capture_output=True, text=True, timeout=120, check=False,
                              env=dict(os.environ, HOME=self.file("home")))
        self.assertEqual(done.returncode, 0, done.stderr)
        return [row.split("|") for row in done.stdout.splitlines()]

    def test_the_payload_is_in_light_datagrams_only(self):
        path = repeated(self.capture)
        self.assertIsNotNone(path, "bytes by the light protocol")
        fields = ("-T", "fields", "-E", "separator=|", "-E", "occurrence=f")
        marked = self.tshark(path, "-Y", 'frame contains "%s"' % MARKER.decode(), *fields, "-e", "eth.type", "-e",
                             "udp.dstport", "-e", "frame.len")
        self.assertGreater(sum(int(row[2]) for row in marked), self.TEXT)
        for row in marked:
            if self.wire == "ethernet":
                self.assertEqual(int(row[0], 0), ETHER_TYPE)
            else:
                self.assertEqual((int(row[0], 0), int(row[1])), (0x0800, UDP_PORT))
        # Each of these frames has the eight fields, in agreement with each other.
        rows = self.tshark(path, "-Y", "hutong", *fields, *(w for n in FIELDS for w in ("-e", "hutong." + n)),
                           "-e", "_ws.expert.message")
        self.assertGreaterEqual(len(rows), len(marked))
        data = 0
        for row in rows:
            self.assertEqual((len(row), row[8]), (9, ""), row)
            value = dict(zip(FIELDS, (int(v, 0) for v in row[:8])))
            data += 0 if value["flags"] & 2 else value["len"]
        self.assertGreaterEqual(data, self.TEXT)


def load_tests(loader, _standard, _pattern):
    """Each class on each of its clusters; those without a class are for long runs."""
    ways = (
        ("Ethernet1", faults("ethernet", 1, 11), (LongFaultTest, StreamTest)),
        ("Udp1", faults("udp", 1, 12, "--mtu", "9000", "--link", "1gbit"),
         (LongFaultTest, StreamTest) if LONG else (FaultTest,)),
        ("Ethernet5", faults("ethernet", 5, 13, "--mtu", "9000", "--link", "1gbit"),
         (FaultTest, StreamTest) if LONG else (FaultTest,)),
        ("Udp5", faults("udp", 5, 14), (FaultTest, StreamTest)),
        ("EthernetLimited", light("ethernet", "--link", "1gbit"), (CrowdedFairTest, CaptureTest)),
        ("UdpLimited", light("udp", "--link", "1gbit"), (CrowdedFairTest, CaptureTest) if LONG else ()),
        ("EthernetShared", light("ethernet", "--link", "500mbit"), (FairTest,)),
        ("UdpShared", light("udp", "--link", "500mbit"), (FairTest,) if LONG else ()),
    )
    suite = unittest.TestSuite()
    for name, options, bases in ways:
        for base in bases and bases + (LeftTest,):
            suite.addTests(loader.loadTestsFromTestCase(configured(__name__, base, name, options)))
    return suite


def tearDownModule():  # pylint: disable=invalid-name  (unittest's)
    cluster_down()
