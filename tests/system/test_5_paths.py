# SPDX-License-Identifier: Apache-2.0
"""Which connections are accelerated and which stay on TCP, with real programs; the reasons that are shown (M2, M5.1)."""

import hashlib
import os
import re

from support import BIN, PC1, VM1, VM2, VM3, Background, ClusterTest, conns, eventually, port, repeated, shell

MIB = 256


def transfer(test, receiver, sender, address, mib=None, rate=None, program="xfer", env=None, during=None, fixed=False,
             seconds=120):
    """
    A checked transfer: `receiver` and `sender` are leading words for ./hutong, such as ("run", "VM2"); `during(port)`
    is called while it runs. Then it has `mib` (1 without) at least, and goes on until `during` has returned, unless it
    is `fixed`. Each end must be done within these seconds from then on. Returns how many bytes there were.
    """
    number, seed, end = port(), 4711, []
    mib = mib or (MIB if during is None else 1)
    env = env if env is not None else test.stats_env()
    if during is not None and not fixed:
        end = [test.file("end-%d" % number)]
    with Background(*receiver, "--", BIN + "/xfer", "recv", number, 0 if end else mib, seed, env=env) as into:
        into.listening(number)
        with Background(*sender, "--", BIN + "/" + program, "send", address, number, mib, seed, rate or 0, *end,
                        env=env) as out:
            if during is not None:
                during(number)
            for path in end:
                with open(path, "w", encoding="ascii"):
                    pass
            sent = out.expect(seconds=seconds)
        test.assertEqual(into.expect(seconds=seconds), sent)
        count = int(re.fullmatch(r"bytes=([0-9]+) fnv=[0-9a-f]+\n", sent)[1])
        if end:
            test.assertGreaterEqual(count, mib << 20)
        else:
            test.assertEqual(count, mib << 20)
        return count


def on_ring(test, receiver, sender, address, env=None):
    """Such transfers until rings have carried a good part: at full speed one may be over before they are there."""
    def moved():
        transfer(test, receiver, sender, address, env=env)
        return test.ring_bytes()
    test.assertGreater(repeated(moved, lambda count: count > 1 << 20), 1 << 20)


class PathTest(ClusterTest):
    def row(self, node, number):
        """The connection with that port at either end, as the node's agent shows it."""
        ends = ":%d" % number
        return next((c for c in conns(node) if c["local"].endswith(ends) or c["remote"].endswith(ends)), None)

    def stays_on_tcp(self, node, reasons, receiver, sender, address, **more):
        """A slow transfer of 4 s at least; the node's agent must show it on TCP with one of the reasons."""
        def during(number):
            def shown():
                row = self.row(node, number)
                return row if row is not None and row["path"] == "TCP" and row["why"] in reasons else None
            eventually(shown, lambda: "it is shown on TCP because of %s: %s" % (reasons, self.row(node, number)), 15)
        transfer(self, receiver, sender, address, mib=8, rate=2, during=during, **more)
        self.assertEqual(self.ring_bytes(), 0)

    def test_between_members_the_ring_carries_the_bytes(self):
        on_ring(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4)

    def test_ipv6_too(self):
        on_ring(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv6)

    def test_conns_shows_the_ring_and_the_bytes(self):
        def during(number):
            for node in (VM1, VM2):
                def shown(node=node):
                    row = self.row(node, number)
                    moved = row is not None and row["path"] == "RING" and row["ringIn"] + row["ringOut"] > 0
                    return row if moved else None
                row = eventually(shown, "the connection is shown on the ring by " + node.name, 15)
                self.assertEqual(row["program"], "xfer")
        transfer(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4, rate=4, during=during)

    def test_an_ordinary_users_program_is_accelerated(self):
        who = ("--user", "nobody")
        on_ring(self, ("run", *who, "VM2"), ("run", *who, "VM1"), VM2.ipv4)

    def test_two_users_may_talk_to_each_other(self):
        on_ring(self, ("run", "--user", "nobody", "VM2"), ("run", "VM1"), VM2.ipv4)

    def test_switched_off(self):
        env = self.stats_env(HUTONG_OFF="1")
        transfer(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4, env=env)
        self.assertEqual(self.ring_bytes(), 0)

    def test_switched_off_at_one_end(self):
        env = self.stats_env()
        self.stays_on_tcp(VM1, ("PEER_SILENT",), ("exec", "VM2"), ("run", "VM1"), VM2.ipv4, env=env)

    def test_the_peer_has_no_shim(self):
        self.stays_on_tcp(VM1, ("PEER_SILENT",), ("exec", "VM2"), ("run", "VM1"), VM2.ipv4)

    def test_a_static_program(self):
        self.stays_on_tcp(VM1, ("NOT_INTERCEPTED",), ("run", "VM2"), ("run", "VM1"), VM2.ipv4, program="xfer-static")

    def test_an_external_address(self):
        self.stays_on_tcp(VM1, ("NOT_MEMBER",), ("exec", "PC1"), ("run", "VM1"), PC1.ipv4)

    def test_a_vm_of_another_host(self):
        self.stays_on_tcp(VM1, ("PATH",), ("run", "VM3"), ("run", "VM1"), VM3.ipv4)

    def test_within_one_vm(self):
        transfer(self, ("run", "VM1"), ("run", "VM1"), VM1.ipv4)
        self.assertEqual(self.ring_bytes(), 0)


class BriefTest(ClusterTest):
    """Programs whose connections are over before rule 6 would have them moved: the agent hears nothing of them."""

    #: Connects, sends, and closes; the last connection stays for the seconds given.
    CLIENT = """if True:
        import socket, sys, time
        for stay in (0, 0, 0, float(sys.argv[3])):
            with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as s:
                s.sendall(b"x" * 100)
                time.sleep(stay)
                s.sendall(b"y")
        """

    def asked(self, stay):
        """Whether such a program asks the agent for a session."""
        number = port()
        with Background("exec", "VM2", "--", "nc", "-lk", number) as server:
            server.listening(number)
            with Background("run", "VM1", "--", "python3", "-c", self.CLIENT, VM2.ipv4, number, stay,
                            env=dict(os.environ, HUTONG_LOG="1")) as client:
                client.expect()
                return "session with the agent opened" in client.errors()

    def test_only_for_connections_that_last(self):
        self.assertTrue(self.asked(0.2))
        # A machine that is busy may take 20 ms for so little.
        self.assertFalse(all(self.asked(0) for _ in range(5)))


class ProgramTest(ClusterTest):
    """Programs of the distribution, unchanged."""

    def make_file(self, mib):
        path = self.file("data")
        with open(path, "wb") as f:
            for _ in range(mib):
                f.write(os.urandom(1 << 20))
        return path

    @staticmethod
    def digest(path):
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()

    def test_netcat(self):
        path, got = self.make_file(32), self.file("got")

        def moved():
            number, env = port(), self.stats_env()
            with Background("run", "VM2", "--", "sh", "-c", "exec nc -l %d > %s" % (number, got), env=env) as server:
                server.listening(number)
                with Background("run", "VM1", "--", "sh", "-c", "exec nc -N %s %d < %s" % (VM2.ipv4, number, path),
                                env=env) as client:
                    client.expect()
                server.expect()
            self.assertEqual(self.digest(got), self.digest(path))
            return self.ring_bytes("nc")
        self.assertGreater(repeated(moved, lambda count: count > 1 << 20), 1 << 20)

    def test_http_server_and_curl(self):
        number, path, got = port(), self.make_file(32), self.file("got")
        env = self.stats_env()
        with Background("run", "VM2", "--", "/usr/bin/python3", "-m", "http.server", number, "-d",
                        os.path.dirname(path), env=env) as server:
            server.listening(number)

            def moved():
                for _ in range(2):
                    with Background("run", "VM1", "--", "curl", "-sS", "-o", got,
                                    "http://%s:%d/data" % (VM2.ipv4, number), env=env) as client:
                        client.expect()
                    self.assertEqual(self.digest(got), self.digest(path))
                    os.unlink(got)
                return self.ring_bytes("curl")
            self.assertGreater(repeated(moved), 0)

    def test_iperf3_both_ways_and_in_parallel(self):
        for options in ((), ("-R",), ("-P", "4"), ("--bidir",)):
            with self.subTest(options):
                number, env = port(), self.stats_env()
                with Background("run", "VM2", "--", "iperf3", "-s", "-1", "-p", number, env=env) as server:
                    server.listening(number)
                    with Background("run", "VM1", "--", "iperf3", "-c", VM2.ipv4, "-p", number, "-t", "1", *options,
                                    env=env) as client:
                        self.assertIn("iperf Done", client.expect())
                    server.expect()
                self.assertGreater(self.ring_bytes("iperf3"), 1 << 20)

    def test_many_short_connections(self):
        number, env = port(), self.stats_env()
        with Background("run", "VM2", "--", BIN + "/connrate", "server", number, 2000, env=env) as server:
            server.listening(number)
            with Background("run", "VM1", "--", BIN + "/connrate", "client", VM2.ipv4, number, 2000, env=env) as client:
                self.assertIn("connections=2000 ", client.expect())
            server.expect()

    def test_a_killed_peer_is_seen_as_on_tcp(self):
        number, seed = port(), 99
        for victim in ("sender", "receiver"):
            with self.subTest(victim):
                number = port()
                with Background("run", "VM2", "--", BIN + "/xfer", "recv", number, 4096, seed) as into:
                    into.listening(number)
                    with Background("run", "VM1", "--", BIN + "/xfer", "send", VM2.ipv4, number, 4096, seed,
                                    64) as out:
                        ends = ":%d" % number
                        eventually(lambda e=ends: any(c["remote"].endswith(e) and c["path"] == "RING"
                                                      for c in conns(VM1)), "it is on the ring", 15)
                        killed, other = (out, into) if victim == "sender" else (into, out)
                        os.kill(killed.pid, 9)
                        eventually(lambda o=other: not o.running(), "the other end has noticed", 15)
                        self.assertNotIn("a wrong byte", other.errors())

    def test_channels_are_reclaimed(self):
        transfer(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4)
        for node in (VM1, VM2):
            eventually(lambda node=node: "xfer" not in [c["program"] for c in conns(node)],
                       node.name + " shows no connection of the past", 15)
            eventually(lambda node=node: shell(node, "hutong:channels --json").strip() == "[]",
                       lambda node=node: node.name + " has no channel: " + shell(node, "hutong:channels --json"), 15)
