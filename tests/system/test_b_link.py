# SPDX-License-Identifier: Apache-2.0
"""The link between the hosts: limited like Ethernet, with faults, pulled and put back."""

import json
import os
import socket
import struct
import time
import unittest

from hutonglab import enter, link
from hutonglab.errors import UsageError
from support import VM1, VM3, Background, ClusterTest, cluster_down, cluster_up, eventually, hutong, port
from test_5_paths import transfer

LIGHT, LIST = 0x88B5, 0x88B6
FRAMES = 2000
#: The number of frames that follow the last; so many are sent, since some are lost, and so many end the reception,
#: since some that were sent before may come later.
END, ENDS_SENT, ENDS_SEEN = 0xFFFFFFFF, 100, 20
#: From <asm-generic/socket.h>: for root, beyond the machine's limit.
SO_RCVBUFFORCE = 33


class OptionTest(unittest.TestCase):
    def test_arithmetic(self):
        self.assertAlmostEqual(link.from_options("1gbit").goodput() / 1e6, 941.48, 2)
        self.assertAlmostEqual(link.from_options("100mbit").goodput() / 1e6, 94.148, 3)
        self.assertAlmostEqual(link.from_options("1gbit", mtu=9000).goodput() / 1e6, 990.04, 2)
        self.assertIsNone(link.from_options("none").goodput())
        self.assertEqual(link.Traffic(10, 10 * 1514).on_wire(), 10 * 1538)

    def test_what_goes_together(self):
        self.assertTrue(link.from_options().offloads)
        self.assertFalse(link.from_options("1gbit").offloads)
        self.assertFalse(link.from_options(offloads="off").offloads)
        self.assertFalse(link.from_options(faults="drop=1").offloads)
        for wrong in (("1gbit", "on"), (None, "on", None, "drop=1"), (None, None, 100), (None, None, 9001),
                      (None, None, None, "drop=60"), (None, None, None, "lose=1"), (None, None, None, "drop=nan"),
                      (None, None, None, "seed=x")):
            with self.assertRaises(UsageError, msg=str(wrong)):
                link.from_options(*wrong)

    def test_faults(self):
        self.assertEqual(link.parse_faults("drop=1,dup=0.5,seed=7"),
                         {"drop": 1.0, "dup": 0.5, "reorder": 0.0, "corrupt": 0.0, "seed": 7})


class LinkTest(ClusterTest):
    """A cluster with a link of its own, for each class."""

    options = ()

    @classmethod
    def setUpClass(cls):
        cluster_down()
        cluster_up(*cls.options)

    @classmethod
    def tearDownClass(cls):
        cluster_down()

    def move(self, mib, during=None):
        """A checked transfer from VM1 to VM3, on TCP."""
        transfer(self, ("exec", "VM3"), ("exec", "VM1"), VM3.ipv4, mib=mib, env=dict(os.environ), during=during)


class LimitedTest(LinkTest):
    options = ("--link", "200mbit")

    def test_frames_pay_for_their_framing(self):
        before, start = link.traffic(), time.monotonic()
        self.move(64)
        seconds, there = time.monotonic() - start, link.traffic()[0] - before[0]
        data = 64 << 20
        # Each packet is a frame of its own, and none is sent in vain but for what the queue dropped.
        self.assertAlmostEqual(there.packets / (data / 1448), 1, delta=0.1)
        # What the bucket let through is the rate at most (and its two milliseconds); the time includes programs' starts
        # and what else the machine did.
        self.assertLess(there.on_wire() * 8, 200e6 * (seconds + 0.01))
        self.assertGreater(there.on_wire() * 8, 0.3 * 200e6 * seconds)

    def test_status_shows_it(self):
        shown = json.loads(hutong("status", "--json").stdout)["link"]
        self.assertEqual((shown["rate"], shown["offloads"], shown["mtu"]), (200e6, False, 1500))
        self.assertIn("200mbit", hutong("status").stdout)

    def test_the_cable_can_be_pulled(self):
        def during(_number):
            hutong("link", "down")
            before = link.traffic()[0]
            time.sleep(1)
            self.assertEqual((link.traffic()[0] - before).packets, 0)
            hutong("link", "up")
        self.move(64, during)

    def test_another_link_is_refused_to_a_benchmark(self):
        done = hutong("bench", "inter-rr-64", "--link", "1gbit", "--pairs", "1", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another link", done.stderr)


class FaultTest(LinkTest):
    options = ("--faults", "drop=5,dup=5,reorder=5,corrupt=5,seed=3", "--mtu", "9000")

    def test_tcp_survives(self):
        before = link.fault_counts()
        self.move(64)
        after = eventually(lambda: link.injector_runs() and link.fault_counts(), "the injector runs")
        for name in ("drop", "dup", "reorder"):
            self.assertGreater(after[0][name], before[0][name], name)
        # Nothing but what the injector could not take in while the machine was busy elsewhere.
        self.assertLess(after[0]["lost"], 0.01 * after[0]["seen"])

    def test_large_packets_pass(self):
        before = link.traffic()
        self.move(16)
        self.assertLess((link.traffic()[0] - before[0]).packets, 2 * (16 << 20) / 8948)

    def frames(self, ether_type):
        """Sends numbered frames from VM1 to VM3; returns what arrived, in order."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(read)
                self._receive(ether_type, write)
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as f:
            self.assertEqual(f.read(1), b"r")
            sender = os.fork()
            if sender == 0:
                try:
                    self._send(ether_type)
                finally:
                    os._exit(0)
            os.waitpid(sender, 0)
            text = f.read()
        os.waitpid(pid, 0)
        return [text[at:at + 60] for at in range(0, len(text), 60)]

    @staticmethod
    def _socket(vm, ether_type):
        enter.setns(vm.ns_path, enter.CLONE_NEWNET)
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ether_type))
        s.bind((vm.interface, ether_type))
        return s

    def _receive(self, ether_type, write):
        mine, got, ends, last = bytes.fromhex(VM1.mac.replace(":", "")), [], 0, time.monotonic() + 20
        with self._socket(VM3, ether_type) as s:
            try:
                s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
            except OSError:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
            s.settimeout(0.2)
            os.write(write, b"r")
            # The agents send frames of their own all the time.
            while ends < ENDS_SEEN and time.monotonic() < last:
                try:
                    frame = s.recv(2048)
                except TimeoutError:
                    continue
                if frame[6:12] == mine and len(frame) == 60:
                    if frame[14:18] == struct.pack("!I", END):
                        ends += 1
                    else:
                        got.append(frame)
        with os.fdopen(write, "wb") as f:
            f.write(b"".join(got))

    def _send(self, ether_type):
        head = bytes.fromhex((VM3.mac + VM1.mac).replace(":", "")) + struct.pack("!H", ether_type)
        with self._socket(VM1, ether_type) as s:
            for number in range(FRAMES):
                s.send(head + struct.pack("!I", number) + bytes(42))
                if number % 50 == 0:
                    time.sleep(0.002)
            for _ in range(ENDS_SENT):
                time.sleep(0.005)
                s.send(head + struct.pack("!I", END) + bytes(42))

    def test_every_fault_strikes_light_frames(self):
        got = self.frames(LIGHT)
        numbers = [struct.unpack("!I", f[14:18])[0] for f in got if not any(f[18:])]
        changed = sum(1 for f in got if any(f[18:]))
        self.assertTrue(FRAMES * 0.01 < changed < FRAMES * 0.1, changed)
        known = [n for n in numbers if n < FRAMES]
        missing = FRAMES - len(set(known))
        self.assertTrue(FRAMES * 0.05 < missing < FRAMES * 0.2, missing)
        self.assertGreater(len(known) - len(set(known)), FRAMES * 0.02)
        self.assertGreater(sum(a > b for a, b in zip(known, known[1:])), FRAMES * 0.01)

    def test_the_list_of_vms_is_spared(self):
        numbers = [struct.unpack("!I", f[14:18])[0] for f in self.frames(LIST)]
        self.assertEqual(sorted(numbers), list(range(FRAMES)))
        # The kernel may change the order where a thread that sends goes to another processor.
        self.assertLess(sum(a > b for a, b in zip(numbers, numbers[1:])), FRAMES * 0.01)


class UncutTest(LinkTest):
    options = ("--offloads", "off")

    def test_packets_are_frames_without_a_rate_too(self):
        before = link.traffic()
        self.move(64)
        self.assertAlmostEqual((link.traffic()[0] - before[0]).packets / ((64 << 20) / 1448), 1, delta=0.1)

    def test_udp_too(self):
        number = port()
        before = link.traffic()
        with Background("exec", "VM3", "--", "iperf3", "-s", "-1", "-p", number) as server:
            server.listening(number)
            with Background("exec", "VM1", "--", "iperf3", "-c", VM3.ipv4, "-p", number, "-u", "-b", "100M", "-t", "1",
                            "-l", "1400", "--json") as client:
                sent = json.loads(client.expect())["end"]["sum"]["packets"]
        # As many as a busy machine sends in a second: each of them is a frame.
        self.assertGreater((link.traffic()[0] - before[0]).packets, 0.95 * sent)
