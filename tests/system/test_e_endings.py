# SPDX-License-Identifier: Apache-2.0
"""How connections end between hosts, and what stops them for a while: on the light protocol as on TCP."""

import contextlib
import os
import time
import unittest

from hutonglab import link
from inter import LONG, InterTest, LeftTest, carried, configured, light, lines, stopped, unplugged
from pairs import PairTest
from support import REPO, VM1, VM3, cluster_down, conns, eventually, stats_of
from test_5_paths import transfer

PYTHON = "/usr/bin/python3"
ENDINGS = os.path.join(REPO, "tests/system/programs/endings.py")


class EndingTest(InterTest, PairTest):
    """What both ends see; endings.py says who does what."""

    def case(self, name, statuses=(0, 0), seconds=45):
        def run(way):
            number = self.port()
            line = (PYTHON, ENDINGS)
            server = way.start(VM3, *line, "server", name, way.address, number, listens=number)
            client = way.start(VM1, *line, "client", name, way.address, number)
            ends = [program.finish(seconds) for program in (client, server)]
            self.assertEqual([e.errors for e in ends], ["", ""])
            self.assertEqual(tuple(e.status for e in ends), statuses)
            return [e.output for e in ends]
        self.twice(run, "python3", versions=(4, 6) if LONG else (4,))

    def test_half_close(self):
        self.case("half_close")

    def test_half_close_with_both_directions_full(self):
        self.case("crossing")

    def test_close_with_bytes_under_way(self):
        self.case("close")

    def test_exit_while_a_thread_sends(self):
        self.case("exiting")

    def test_reset(self):
        self.case("reset")

    def test_an_answer_and_then_a_reset(self):
        self.case("answer_then_reset")

    def test_a_reset_right_behind_an_answer(self):
        self.case("reset_behind_answer")

    def test_reset_with_bytes_under_way(self):
        self.case("reset_under_way")

    def test_reset_of_one_that_sleeps(self):
        self.case("reset_sleeper")

    def test_close_with_unread_bytes(self):
        self.case("unread")

    def test_close_with_unread_bytes_while_more_come(self):
        self.case("unread_much")

    def test_a_writer_that_computes_while_its_reader_goes_back_to_tcp(self):
        self.case("computing")

    def test_killed_sender(self):
        self.case("killed_sender", (-9, 0))

    def test_killed_sender_when_all_has_arrived(self):
        self.case("killed_quiet_sender", (-9, 0))

    def test_killed_receiver(self):
        self.case("killed_receiver", (0, -9))


class PauseTest(InterTest):
    """
    A stream that something stops for some seconds, in its middle and at its end: what is left of it comes by the light
    protocol too, when that is over.
    """

    #: The rates are MiB/s.
    SECONDS, RATE, SHORT_RATE = 5, 16, 4
    LEAST = 4 << 20

    def stream(self, stopped_for, nodes=(), mib=None):
        """
        A stream that is stopped by that context manager; the nodes are those whose agents stand still meanwhile. With
        a size, it is so short that all of it is written before they go on, and so slow that most is not before they
        stop. Without, it lasts until bytes move again: on TCP, which the wire may have been left for, and back.
        """
        asleep = VM3 in nodes  # an agent that stands still cannot be asked

        def during(_number):
            eventually(lambda: carried(VM3) > self.LEAST,
                       lambda: "the stream is on the light protocol: %s %s" % (conns(VM1), lines(VM3)), 20)
            self.before = carried(VM3)
            with stopped_for:
                time.sleep(self.SECONDS - (2 if nodes else 0))
                if not asleep:
                    self.before = carried(VM3)
            if mib is None:
                if asleep:
                    self.before = carried(VM3)
                eventually(lambda: carried(VM3) > self.before + self.LEAST, "bytes move by the light protocol again", 60)
        transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, mib=mib, rate=self.SHORT_RATE if mib else self.RATE,
                 during=during, fixed=mib is not None)
        received = sum(row["ring_in"] for row in stats_of(self.stats) if row["comm"] == "xfer")
        self.assertGreater(received, self.before + (self.LEAST if mib is None else 1 << 20))

    @contextlib.contextmanager
    def cable_pulled(self):
        link.switch(False)
        try:
            before = link.traffic()[0]
            yield
            self.assertEqual((link.traffic()[0] - before).packets, 0)
        finally:
            link.switch(True)

    def test_link_down(self):
        self.stream(self.cable_pulled())

    def test_link_down_at_the_end(self):
        self.stream(self.cable_pulled(), mib=11)  # all is written while nothing goes

    def test_senders_interface_down(self):
        self.stream(unplugged(VM1))

    def test_receivers_interface_down(self):
        """It sends nothing of its own by which it would find out that its interface is there again."""
        self.stream(unplugged(VM3))

    def test_senders_agent_stands_still(self):
        self.stream(stopped(VM1), (VM1,))

    def test_receivers_agent_stands_still(self):
        self.stream(stopped(VM3), (VM3,))

    def test_both_agents_stand_still_at_the_end(self):
        self.stream(stopped(VM1, VM3), (VM1, VM3), mib=12)


class LongPauseTest(PauseTest):
    """So long that the wire is given up."""

    SECONDS = 20


#: What the ordinary run takes of the pauses.
PAUSES = {
    "ethernet": ("test_link_down", "test_receivers_agent_stands_still", "test_senders_interface_down",
                 "test_receivers_interface_down"),
    "udp": ("test_link_down_at_the_end", "test_senders_agent_stands_still", "test_both_agents_stand_still_at_the_end"),
}


def load_tests(loader, _standard, _pattern):
    """All of it on each wire."""
    suite = unittest.TestSuite()
    for wire in ("ethernet", "udp"):
        name = wire.capitalize()
        suite.addTests(loader.loadTestsFromTestCase(configured(__name__, EndingTest, name, light(wire))))
        pauses = [configured(__name__, PauseTest, name, light(wire))(test) for test in PAUSES[wire]]
        if LONG:
            pauses = [loader.loadTestsFromTestCase(configured(__name__, base, name, light(wire)))
                      for base in (PauseTest, LongPauseTest)]
        suite.addTests(pauses)
        suite.addTests(loader.loadTestsFromTestCase(configured(__name__, LeftTest, name, light(wire))))
    return suite


def tearDownModule():  # pylint: disable=invalid-name  (unittest's)
    cluster_down()
