# SPDX-License-Identifier: Apache-2.0
"""MPI programs, in C and Java: the same binary gives the same output with Hutong on and off (M6.3)."""

import os

from hutongbench.cases import results
from support import EXAMPLES, ClusterTest, hutong

JAVA = ("java", "-cp", EXAMPLES + "/mpi.jar:" + EXAMPLES + "/java")


class MpiTest(ClusterTest):
    #: Of the solver: with fewer it may be over when its connections have just left TCP.
    STEPS = "8000"

    def same(self, ranks, *program, vms="VM1,VM2", on_ring=True):
        """Runs the program on TCP, accelerated, and switched off; returns the result lines, which must be equal."""
        line = ("-H", vms, "-np", ranks, "--wdir", "/tmp", "--", *program)
        tcp = results(hutong("mpirun", "--tcp", *line).stdout)
        env = self.stats_env()
        on = results(hutong("mpirun", *line, env=env).stdout)
        if on_ring:
            self.assertGreater(self.ring_bytes(), 1 << 16)
        off = results(hutong("mpirun", *line, env=dict(os.environ, HUTONG_OFF="1")).stdout)
        self.assertTrue(tcp)
        self.assertEqual(on, tcp)
        self.assertEqual(off, tcp)
        return tcp

    def test_c_and_java_ping_pong(self):
        c = self.same(2, EXAMPLES + "/c/pingpong", "200")
        self.assertEqual(self.same(2, *JAVA, "PingPong", "200"), c)

    def test_c_and_java_solver(self):
        c = self.same(2, EXAMPLES + "/c/heat", "128", self.STEPS)
        self.assertIn("serial=equal", c)
        java = self.same(2, *JAVA, "Heat", "128", self.STEPS)
        self.assertIn(c.split("checksum=")[1], java)

    def test_four_ranks_on_two_vms(self):
        self.assertIn("serial=equal", self.same(4, EXAMPLES + "/c/heat", "128", self.STEPS))
        self.same(4, EXAMPLES + "/c/collective", "2000")

    def test_across_hosts(self):
        self.assertIn("serial=equal", self.same(3, EXAMPLES + "/c/heat", "96", "3000", vms="VM1,VM2,VM3"))
        self.same(2, EXAMPLES + "/c/pingpong", "100", vms="VM1,VM3", on_ring=False)

    def test_netpipe_checks_its_data(self):
        env = self.stats_env()
        done = hutong("mpirun", "-np", "2", "--wdir", "/tmp", "--", "NPopenmpi", "-i", "-u", "65536", "-o", "/dev/null",
                      env=env)
        self.assertNotIn("error", (done.stdout + done.stderr).lower())
        self.assertGreater(self.ring_bytes(), 1 << 16)

    def test_a_failing_program_fails_the_command(self):
        self.assertNotEqual(hutong("mpirun", "-np", "2", "--", "false", check=False).returncode, 0)
        self.assertNotEqual(hutong("mpirun", "-np", "2", "--", "no-such-program", check=False).returncode, 0)

    def test_ranks_know_their_vm_and_their_directory(self):
        done = hutong("mpirun", "-H", "vm1,VM2", "-np", "2", "--wdir", "/tmp", "--", "sh", "-c", "echo $(hostname) $(pwd)")
        self.assertEqual(sorted(done.stdout.split("\n")), ["", "VM1 /tmp", "VM2 /tmp"])
