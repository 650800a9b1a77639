# SPDX-License-Identifier: Apache-2.0
"""An agent dies: transfers under way complete byte by byte, new ones use TCP until it is back (D3)."""

import re

from support import BIN, VM2, Background, ClusterTest, conns, eventually, hutong, members, port
from support import VM1
from test_5_paths import transfer

#: So much at least: some seconds, which go on after what happens on a quick machine.
MIB, RATE, SEED = 512, 160, 31


class AgentDeathTest(ClusterTest):
    def tearDown(self):
        for name in ("PC1", "VM1", "VM2"):
            hutong("agent", name, "start", check=False)

    def ring_transfer(self):
        """A transfer from VM1 to VM2 that does not end before done(), seen on the ring: (receiver, sender)."""
        number, env = port(), self.stats_env()
        into = Background("run", "VM2", "--", BIN + "/xfer", "recv", number, 0, SEED, env=env)
        self.addCleanup(into.__exit__)
        into.listening(number)
        out = Background("run", "VM1", "--", BIN + "/xfer", "send", VM2.ipv4, number, MIB, SEED, RATE, self.file("end"),
                         env=env)
        self.addCleanup(out.__exit__)
        ends = ":%d" % number
        eventually(lambda: any(c["remote"].endswith(ends) and c["path"] == "RING" for c in conns(VM1)),
                   "the transfer is on the ring", 15)
        return into, out

    def done(self, into, out):
        """Lets the transfer end; both ends must have seen the same, and all that was to be sent at least."""
        self.assertTrue(out.running(), "the transfer was over too early to show anything")
        with open(self.file("end"), "w", encoding="ascii"):
            pass
        sent = out.expect()
        self.assertEqual(into.expect(), sent)
        self.assertGreaterEqual(int(re.match("bytes=([0-9]+) fnv=", sent)[1]), MIB << 20)

    def killed_in_mid_transfer(self, *names, tcp_while_dead=True):
        into, out = self.ring_transfer()
        for name in names:
            hutong("agent", name, "kill")
        self.done(into, out)
        self.assertGreater(self.ring_bytes(), 1 << 20)

        # Without the agent: plain TCP, and it works. (Without the host's, until the list expires, it may be either.)
        transfer(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4)
        if tcp_while_dead:
            self.assertEqual(self.ring_bytes(), 0)

        # With the agent: accelerated again, without anybody else being restarted.
        for name in names:
            hutong("agent", name, "start")
        for node in (VM1, VM2):
            eventually(lambda node=node: members(node) == ["VM1", "VM2", "VM3"], node.name + " knows all", 30)

        def accelerated():
            transfer(self, ("run", "VM2"), ("run", "VM1"), VM2.ipv4)
            return self.ring_bytes() > 1 << 20
        eventually(accelerated, "new connections are accelerated again", 30)

    def test_the_senders_agent(self):
        self.killed_in_mid_transfer("VM1")

    def test_the_receivers_agent(self):
        self.killed_in_mid_transfer("VM2")

    def test_both_agents(self):
        self.killed_in_mid_transfer("VM1", "VM2")

    def test_the_hosts_agent(self):
        self.killed_in_mid_transfer("PC1", tcp_while_dead=False)

    def test_an_orderly_stop_is_as_harmless(self):
        into, out = self.ring_transfer()
        hutong("agent", "VM1", "stop")
        self.done(into, out)

    def test_a_program_survives_the_restart_of_its_agent(self):
        into, out = self.ring_transfer()
        hutong("agent", "VM1", "restart")
        self.done(into, out)
