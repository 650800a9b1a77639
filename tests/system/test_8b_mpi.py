# SPDX-License-Identifier: Apache-2.0
"""MPI over several links, by IPv6, and with MPICH: every byte is checked, and the results are those of plain TCP."""

import os
import time

from hutongbench.cases import results
from pairs import PairTest
from support import EXAMPLES, HUTONG, VM1, ClusterTest, hutong

JAVA = ("java", "-cp", EXAMPLES + "/mpi.jar:" + EXAMPLES + "/java")


class OpenMpiTest(ClusterTest):
    """All to all with mixed sizes; Open MPI finds its settings in the environment."""

    vms = "VM1,VM2"
    #: Of two ranks: some tenths of a second. A hundred are over in 40 ms, and rule 6 leaves 20 ms of that on TCP.
    ROUNDS = 600

    def same(self, ranks, comm, *program, **settings):
        line = ("-H", self.vms, "-np", ranks, "--wdir", "/tmp", "--", *program)
        variables = {"OMPI_MCA_" + name: value for name, value in settings.items()}
        tcp = hutong("mpirun", "--tcp", *line, env=dict(os.environ, **variables))
        fast = hutong("mpirun", *line, env=self.stats_env(**variables))
        self.assertIn("mixed ranks=%d " % ranks, tcp.stdout)
        self.assertEqual((results(fast.stdout), fast.stderr), (results(tcp.stdout), tcp.stderr))
        self.assertGreater(self.ring_bytes(comm), 1 << 20)
        return results(tcp.stdout)

    def test_two_links(self):
        c = self.same(2, "mixed", EXAMPLES + "/c/mixed", self.ROUNDS, btl_tcp_links="2")
        self.assertEqual(self.same(2, "java", *JAVA, "Mixed", self.ROUNDS, btl_tcp_links="2"), c)

    def test_four_ranks_and_three_links(self):
        self.same(4, "mixed", EXAMPLES + "/c/mixed", 400, btl_tcp_links="3")

    def test_ipv6(self):
        # What mpirun and its daemons say to each other stays on IPv4; the ranks' own connections do not.
        c = self.same(2, "mixed", EXAMPLES + "/c/mixed", self.ROUNDS, btl_tcp_disable_family="4", btl_tcp_links="2")
        self.assertEqual(self.same(2, "java", *JAVA, "Mixed", self.ROUNDS, btl_tcp_disable_family="4"), c)


class MpichTest(PairTest):
    """
    Debian's MPICH (UCX underneath); its Hydra takes the launcher of ./hutong mpirun for rsh.

    This MPICH (4.0.2 on UCX 1.13) now and then does not come out of MPI_Finalize, on plain TCP and without anything of
    Hutong: with more ranks than cores often, with UCX_RNDV_THRESH=inf always, in one network namespace too. So there
    are two ranks, and a run that hangs is repeated; one must end well, and what all have told must be the same.
    """

    ATTEMPTS, SECONDS = 5, 20
    vms, ranks = "VM1,VM2", 2

    def results_of(self, way, start):
        """Results of the first run that ends; a bad end is an error."""
        hung = []
        for _ in range(self.ATTEMPTS):
            job = start()
            deadline = time.monotonic() + self.SECONDS
            while job.running() and time.monotonic() < deadline:
                time.sleep(0.05)
            if not job.running():
                found = results(way.finish(job))
                self.assertTrue(found)
                self.assertEqual(hung, [found] * len(hung))
                return found
            hung.append(results(job.output()))
            job.kill()
        raise AssertionError("%d runs did not end: %s" % (self.ATTEMPTS, hung))

    def case(self, program, *arguments):
        def run(way):
            with open(way.file("launch"), "w", encoding="ascii") as f:
                f.write("#!/bin/sh\nexec '%s' launch-agent \"$@\"\n" % HUTONG)
            os.chmod(way.file("launch"), 0o755)
            # All VMs of the lab share a kernel, so UCX would find shared memory of its own.
            variables = {"UCX_TLS": "tcp,self", "UCX_TCP_AF_PRIO": "inet" if way.version == 4 else "inet6"}
            if way.accelerated:
                variables.update(LD_PRELOAD=way.preload, HUTONG_STATS=way.env["HUTONG_STATS"])
            settings = [part for name, value in variables.items() for part in ("-genv", name, value)]
            line = ("mpiexec.hydra", "-launcher", "rsh", "-launcher-exec", way.file("launch"), "-hosts", self.vms,
                    "-np", self.ranks, *settings, EXAMPLES + "/mpich/c/" + program, *arguments)
            return self.results_of(way, lambda: way.start_plain(VM1, *line))
        # UCX sleeps on a set that holds its sets, which keeps their connections on TCP (docs/known-limits.md).
        self.twice(run)

    def test_mixed_sizes(self):
        self.case("mixed", 100)

    def test_ping_pong(self):
        self.case("pingpong", 200)

    def test_collective_operations(self):
        self.case("collective", 100)

    def test_solver(self):
        self.case("heat", 128, 1500)
