# SPDX-License-Identifier: Apache-2.0
"""Datagrams with MACs (D6): streams between hosts, and somebody on the link who sends frames of his own."""

import os
import select
import socket
import struct
import time
import unittest

from hutonglab import agents, link
from hutonglab.net import inside
from inter import LONG, InterTest, LeftTest, carried, configured, count, light, lines
from support import PC1, VM1, VM3, cluster_down, conns, eventually, hutong, repeated
from test_5_paths import transfer
from test_c_dissector import CONTROL, ETHER_TYPE, FIELDS, datagram

HEADER, MAC, ETH_P_ALL = 32, 16, 3
MASK = 0xFFFFFFFF


class StreamTest(InterTest):
    MIB, RATE = 128, 64

    def test_stream(self):
        before = {name: count(VM3, "transport.dropped." + name) for name in ("bad_mac", "bad_length")}

        def moved():
            transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, mib=self.MIB, rate=self.RATE)
            return self.ring_bytes("xfer")
        # TCP carries what it can until the agents have agreed, which at full speed may be a good part.
        self.assertGreater(repeated(moved), 1.5 * (self.MIB << 20))
        self.wait_idle()  # flows are counted when they are over
        self.assertEqual({name: count(VM3, "transport.dropped." + name) for name in before}, before)


class ForgedTest(InterTest):
    """
    Somebody on the link sees each frame, and sends frames that continue the stream with bytes of his own: right in every
    field, without a MAC and with one that he has made up. Without authentication the receiver takes them.
    """

    MIB, RATE, ROUNDS = 48, 8, 100
    #: Of what both ends move: nearly all. What is late when the stream begins, a probe or TCP, may take more of one.
    LEAST, ATTEMPTS = 1.8, 3
    mac = MAC

    @staticmethod
    def wire():
        # What the host itself sends is shown to those only who want every kind.
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        s.bind((link.LINK, ETH_P_ALL))
        return s

    @staticmethod
    def newest(s, there):
        """The fields and the length of the newest data frame; None if there is none now."""
        found = None
        while select.select([s], [], [], 0)[0]:
            frame = s.recv(1 << 14)
            if frame[:14] == there and len(frame) >= 14 + HEADER:
                seen = dict(zip(FIELDS, struct.unpack("!8I", frame[14:14 + HEADER])))
                found = found if seen["flags"] & CONTROL else (seen, len(frame) - 14)
        return found

    def forge(self):
        """Continues the stream behind the newest data frame, before the sender does."""
        there = bytes.fromhex((VM3.mac + VM1.mac).replace(":", "")) + struct.pack("!H", ETHER_TYPE)
        done = 0
        with self.wire() as s:
            until = time.monotonic() + 30
            while done < self.ROUNDS and time.monotonic() < until:
                select.select([s], [], [], 1)
                found = self.newest(s, there)
                if found is None:
                    continue
                seen, size = found
                self.assertEqual(size, max(HEADER + seen["len"] + self.mac, size if size <= 46 else 0), "size of a frame")
                false = datagram((seen["seq"] + 1) & MASK, (seen["idx"] + seen["len"]) & MASK, seen["ackseq"],
                                 seen["ackidx"], 0, seen["chan"], os.urandom(64))[0]
                s.send(there + false)
                s.send(there + false + os.urandom(MAC))
                done += 1
        self.assertEqual(done, self.ROUNDS, "rounds in which a data frame was seen")

    def test_forged_frames_are_dropped(self):
        causes = ["transport.dropped." + name for name in ("bad_mac", "bad_length")]

        def during(_number):
            eventually(lambda: carried(VM3) > 1 << 20, "the stream is on the light protocol", 20)
            inside(PC1, self.forge)

        def moved():
            before = [count(VM3, name) for name in causes]
            sent = transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, mib=self.MIB, rate=self.RATE, during=during)
            part = self.ring_bytes("xfer") / sent
            self.wait_idle()
            for name, then in zip(causes, before):
                # One that comes between two rounds has no channel.
                self.assertGreater(count(VM3, name) - then, 0.9 * self.ROUNDS, name)
            return part
        self.assertGreater(repeated(moved, lambda part: part > self.LEAST, self.ATTEMPTS, seconds=0, pause=6),
                           self.LEAST)

    def test_frames_for_others_are_not_looked_at(self):
        """With the right sender, to everybody and to nobody: a bridge brings them here."""
        name = "transport.dropped.misdirected"
        before = count(VM3, name)

        def send():
            with self.wire() as s:
                for target in ("ff:ff:ff:ff:ff:ff", "02:77:99:99:99:99"):
                    head = bytes.fromhex((target + VM1.mac).replace(":", "")) + struct.pack("!H", ETHER_TYPE)
                    for _ in range(50):
                        s.send(head + datagram(1, 2, 3, 4, 0, 5, bytes(100))[0])
        inside(PC1, send)
        eventually(lambda: count(VM3, name) - before >= 100, "all of them are counted", 10)


class LaterTest(InterTest):
    """MACs are wanted since an agent was started again: a connection that was begun without goes on, by TCP for good."""

    options = light("ethernet")
    RATE = 8

    def shown(self, node, number):
        """What the node shows of the connection with that port at either end."""
        return next((c for c in conns(node) if (c["local"] + " " + c["remote"] + " ").count(":%d " % number)), None)

    def test_a_connection_that_was_begun_without(self):
        def barred(node, number):
            row = self.shown(node, number)
            return row is not None and (row["path"], row["why"]) == ("TCP", "UNSEALED")

        def during(number):
            eventually(lambda: carried(VM3) > 1 << 20, "the stream is on the light protocol", 20)
            with open(agents.OVERRIDES, "a", encoding="utf-8") as f:
                f.write("hutong.authenticate=true\n")
            hutong("agent", "VM1", "restart")
            for node in (VM1, VM3):
                eventually(lambda node=node: barred(node, number),
                           lambda node=node: "%s says why it is on TCP: %s" % (node.name, self.shown(node, number)), 30)
                self.assertEqual([line["reason"] for line in lines(node)], [31])
                self.assertEqual(count(node, "reason.31"), 1)
        self.addCleanup(cluster_down)  # it has got another configuration
        transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, rate=self.RATE, during=during)


def load_tests(loader, _standard, _pattern):
    """Forging on Ethernet, where frames can be written by hand; streams on both wires."""
    suite = unittest.TestSuite()
    for wire, bases in (("ethernet", (StreamTest, ForgedTest)), ("udp", (StreamTest,))):
        if wire == "udp" and not LONG:
            continue
        options = light(wire, "--set", "hutong.authenticate=true")
        for base in bases + (LeftTest,):
            suite.addTests(loader.loadTestsFromTestCase(configured(__name__, base, wire.capitalize(), options)))
    suite.addTests(loader.loadTestsFromTestCase(LaterTest))
    return suite


def tearDownModule():  # pylint: disable=invalid-name  (unittest's)
    cluster_down()
