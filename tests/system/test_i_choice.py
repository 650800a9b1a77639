# SPDX-License-Identifier: Apache-2.0
"""What the agents choose where nothing is forced: the path between hosts, and the wire."""

import unittest

from hutonglab import link, steer, topology
from inter import InterTest, LeftTest, configured, light, lines
from support import BIN, VM1, VM3, cluster_down, eventually, repeated
from test_5_paths import transfer


class PathTest(InterTest):
    """Bulk on a link of 1 Gbit/s is tried on the light protocol; what waits for answers stays on TCP, and is right there."""

    options = ("--link", "1gbit")
    MIB, ROUNDS_MS = 1536, 2500

    def meet(self):
        """The agents meet by the test's own streams: what they hold then is theirs."""

    def test_bulk(self):
        def during(_number):
            eventually(lambda: any(line["sends"] == "LIGHT" for line in lines(VM1)), "bulk goes by the light protocol", 30)
        transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, mib=self.MIB, during=during)
        self.assertGreater(self.ring_bytes("xfer"), 1 << 20)

    def test_round_trips(self):
        self.assertEqual(self.moved_by((BIN + "/rr", "server", "PORT", 4096),
                                       (BIN + "/rr", "client", VM3.ipv4, "PORT", 4096, 500, self.ROUNDS_MS)), 0)


class WireTest(InterTest):
    """`auto` takes Ethernet, and UDP where something between the hosts lets no such frames through."""

    RATE = 4

    def wires(self):
        """The wires by which a stream's bytes went."""
        seen, before = set(), {line["number"] for line in lines(VM1)}

        def during(_number):
            def moved():
                found = [line for line in lines(VM1) if line["bytesOut"] > 4 << 20 and line["number"] not in before]
                seen.update(line["wire"] for line in found)
                return found
            # A wire that has just been probed is believed to be there, and is left when it was silent for 10 s.
            eventually(moved, "bytes go by the light protocol", 45)
        transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, rate=self.RATE, during=during)
        return seen

    def test_a_filter_between_the_hosts(self):
        # One probe on Ethernet that comes too late lets a stream take UDP, and those of the next 5 s.
        found = repeated(self.wires, lambda wires: wires == {"ethernet"}, attempts=3, seconds=0, pause=6)
        self.assertEqual(found, {"ethernet"})
        for host in topology.HOSTS:  # for as long as the cluster lives
            steer.without_light(host, link.LINK)
        self.assertEqual(self.wires(), {"udp"})


def load_tests(loader, _standard, _pattern):
    suite = unittest.TestSuite()
    for base, options in ((PathTest, PathTest.options), (WireTest, light("auto")), (LeftTest, light("auto"))):
        suite.addTests(loader.loadTestsFromTestCase(configured(__name__, base, "Choice", options)))
    return suite


def tearDownModule():  # pylint: disable=invalid-name  (unittest's)
    cluster_down()
