# SPDX-License-Identifier: Apache-2.0
"""
Programs and MPI jobs between hosts, on the light protocol: over each wire, by IPv4 and IPv6, with small and jumbo
frames they do and say what they do and say on TCP. HUTONG_TEST_LONG=1 runs all of it everywhere.
"""

import contextlib
import json
import os
import unittest

import test_8a_programs as programs
import test_8b_mpi as mpi
from hutongbench.cases import results
from hutonglab.shellclient import query
from inter import LONG, InterTest, LeftTest, carried, configured, light, lines, mtu
from support import EXAMPLES, VM1, VM3, cluster_down, conns, eventually, hutong, repeated, stats_of
from test_5_paths import transfer

#: The version of IP that the ordinary run takes in each.
VERSIONS = {"Ethernet": (4,), "EthernetJumbo": (6,), "Udp": (6,), "UdpJumbo": (4,)}

CONFIGURATIONS = {
    "Ethernet": light("ethernet"),
    "EthernetJumbo": light("ethernet", "--mtu", "9000"),
    "Udp": light("udp"),
    "UdpJumbo": light("udp", "--mtu", "9000"),
}

#: Tests that are run from VM1 to VM3, and in which configurations (all, when HUTONG_TEST_LONG is set; UdpJumbo only then).
PROGRAMS = (
    (programs.Iperf3Test, "test_four_streams", "EthernetJumbo"),
    (programs.Iperf3Test, "test_reverse", ""),
    (programs.Iperf3Test, "test_both_directions_at_once", "Ethernet"),
    (programs.Iperf3Test, "test_sendfile_and_small_blocks", "Udp"),
    (programs.SockperfTest, "test_ping_pong", "Ethernet"),
    (programs.SockperfTest, "test_throughput", ""),
    (programs.NetcatTest, "test_a_file_there", "Ethernet"),
    (programs.NetcatTest, "test_a_file_back", "Udp EthernetJumbo"),
    (programs.NetcatTest, "test_an_answer_after_the_half_close", "Ethernet Udp"),
    (programs.SocatTest, "test_a_file_each_way_at_once", "Ethernet"),
    (programs.SocatTest, "test_a_program_behind_a_forking_server", "Udp"),
    (programs.InetdTest, "test_netcat_hands_on", "Ethernet Udp"),
    (programs.HttpTest, "test_large_file", "Ethernet"),
    (programs.HttpTest, "test_many_small_files_on_one_connection", "Udp"),
    (programs.HttpTest, "test_ranges_and_uploads", "EthernetJumbo"),
    (programs.OpensslTest, "test_https", "Ethernet"),
    (programs.RsyncTest, "test_push_and_pull", "Udp"),
    (programs.RedisTest, "test_mass_insertion_and_reading_back", "Ethernet"),
    (programs.RedisTest, "test_benchmark", ""),
    (programs.JavaTest, "test_a_selector_and_a_hundred_clients", "Ethernet"),
    (programs.JavaTest, "test_blocking_sockets_and_close_from_another_thread", "Udp"),
    (programs.EventLibraryTest, "test_libevent", "Ethernet"),
    (programs.EventLibraryTest, "test_libevent_on_poll", "Udp"),
    (programs.EventLibraryTest, "test_libevent_on_select", "Udp"),
    (programs.EventLibraryTest, "test_libevent_with_its_change_list", "EthernetJumbo"),
    (programs.EventLibraryTest, "test_libuv", "Ethernet Udp"),
    (programs.EventLibraryTest, "test_libuv_client_of_a_libevent_server", "EthernetJumbo"),
)


class ShownTest(InterTest):
    """What the agents show of a connection that they carry."""

    def row(self, node, number, path):
        """What the node shows of the connection with that port at either end, once it is on that path."""
        ends = ":%d" % number
        return next((c for c in conns(node) if c["path"] == path and (c["local"] + " " + c["remote"] + " ").count(
            ends + " ")), None)

    def why(self, row):
        """What `hutong why` says of the sockets of the connection's process; it must take one for accelerated."""
        said = []
        for fd in os.listdir("/proc/%d/fd" % row["pid"]):
            with contextlib.suppress(FileNotFoundError):
                if os.readlink("/proc/%d/fd/%s" % (row["pid"], fd)).startswith("socket:"):
                    done = hutong("why", row["pid"], fd, check=False)
                    said += [done.stdout] if done.returncode == 0 else []
        return "".join(said)

    def shown(self, address):
        def during(number):
            for node in (VM1, VM3):
                row = eventually(lambda node=node: self.row(node, number, "LIGHT"), node.name + " shows the path LIGHT",
                                 15)
                self.assertEqual((row["program"], row["why"], row["far"]), ("xfer", "NONE", True))
                mine = eventually(lambda node=node: [r for r in lines(node) if r["bytesIn"] + r["bytesOut"] > 1 << 20],
                                  node.name + " carries bytes", 15)
                self.assertEqual([r["wire"] for r in mine], [self.wire])
                totals = json.loads(query(node, "hutong:stats --json"))["connections"]
                self.assertEqual((totals["light"], totals["ringIn"] + totals["ringOut"]), (1, 0))
                self.assertGreater(totals["lightIn"] + totals["lightOut"], 0)
                self.assertIn("accelerated: its bytes go by the light protocol", self.why(row))
        transfer(self, ("run", "VM3"), ("run", "VM1"), address, rate=10, during=during)
        self.assertGreater(self.ring_bytes("xfer"), 2 << 20)

    def test_ipv4(self):
        self.shown(VM3.ipv4)

    def test_ipv6(self):
        self.shown(VM3.ipv6)


class TimeOutTest(InterTest):
    """A program that limits how long its data may stay unacknowledged (TCP_USER_TIMEOUT) stays with the kernel, who can."""

    def moved(self, *options):
        return self.moved_by(("iperf3", "-s", "-1", "-p", "PORT"), ("iperf3", "-c", VM3.ipv4, "-p", "PORT", "-t", 1, *options))

    def test_user_timeout(self):
        self.assertGreater(repeated(self.moved), 1 << 20)
        self.assertEqual(self.moved("--snd-timeout", 5000), 0)


class MtuTest(InterTest):
    """The interfaces of both VMs carry smaller packets than before, in the middle of a stream and for good."""

    RATE, SMALL, LEAST = 16, 1500, 4 << 20

    def test_shrinks(self):
        def during(_number):
            eventually(lambda: carried(VM3) > self.LEAST, "the stream is on the light protocol", 20)
            changes.enter_context(mtu(self.SMALL, VM1, VM3))
            before = carried(VM3)
            # What was cut for the old size cannot go: the connection goes back to TCP, and then leaves it again.
            eventually(lambda: carried(VM3) > before + self.LEAST, "bytes move by the light protocol again", 60)
        with contextlib.ExitStack() as changes:
            transfer(self, ("run", "VM3"), ("run", "VM1"), VM3.ipv4, rate=self.RATE, during=during)
        self.assertGreater(self.ring_bytes("xfer"), 4 * self.LEAST)


class OpenMpiTest(InterTest):
    """Four ranks on three VMs: 0 and 3 on VM1, 1 on VM2, 2 alone on its host."""

    RANKS = ("-H", "VM1,VM2,VM3", "-np", 4, "--wdir", "/tmp")
    #: Each rank's shim writes to the file of its VM.
    APART = ("sh", "-c", 'export HUTONG_STATS="$HUTONG_STATS-$(hostname)"; exec "$@"', "sh")

    def moved(self, vm, comm):
        return sum(r["ring_in"] + r["ring_out"] for r in stats_of(self.stats + "-" + vm) if r["comm"] == comm)

    def same(self, comm, *program, **settings):
        variables = {"OMPI_MCA_" + name: value for name, value in settings.items()}
        tcp = hutong("mpirun", "--tcp", *self.RANKS, "--", *program, env=dict(os.environ, **variables))

        def moved():
            fast = hutong("mpirun", *self.RANKS, "--", *self.APART, *program, env=self.stats_env(**variables))
            self.assertEqual(results(fast.stdout), results(tcp.stdout))
            return {vm: self.moved(vm, comm) for vm in ("VM1", "VM2", "VM3")}
        # Whatever VM3's rank has moved through its segments, the light protocol has carried; VM2 has both kinds.
        for vm, count in repeated(moved, lambda found: all(found.values())).items():
            self.assertGreater(count, 1 << 16, vm)
        return results(tcp.stdout)

    def test_c_and_java(self):
        c = self.same("mixed", EXAMPLES + "/c/mixed", 60)
        self.assertEqual(self.same("java", *mpi.JAVA, "Mixed", 60), c)

    def test_ipv6_and_two_links(self):
        self.same("mixed", EXAMPLES + "/c/mixed", 60, btl_tcp_disable_family="4", btl_tcp_links="2")

    def test_solver(self):
        self.assertIn("serial=equal", self.same("heat", EXAMPLES + "/c/heat", 128, 1000))


class MpichTest(InterTest, mpi.MpichTest):
    """
    With more ranks than cores Debian's MPICH often does not come out of MPI_Finalize, whatever the path: the ordinary
    run has one rank for each VM of two hosts, the longer one four.
    """

    ATTEMPTS = 8
    vms, ranks = ("VM1,VM2,VM3", 4) if LONG else ("VM1,VM3", 2)


OWN = (
    (ShownTest, "test_ipv4", "Ethernet"),
    (ShownTest, "test_ipv6", "EthernetJumbo Udp"),
    (TimeOutTest, "test_user_timeout", "Ethernet"),
    (MtuTest, "test_shrinks", "EthernetJumbo"),
    (OpenMpiTest, "test_c_and_java", "Ethernet"),
    (OpenMpiTest, "test_ipv6_and_two_links", "Udp EthernetJumbo"),
    (OpenMpiTest, "test_solver", "Udp"),
    (MpichTest, "test_mixed_sizes", "Ethernet"),
    (MpichTest, "test_collective_operations", "Udp"),
)


def load_tests(_loader, _standard, _pattern):
    """The tests of each configuration, one configuration after the other."""
    suite = unittest.TestSuite()
    for name, options in CONFIGURATIONS.items():
        made = {}
        for base, method, where in OWN + PROGRAMS:
            if not LONG and name not in where.split() or base is MtuTest and "--mtu" not in options:
                continue
            if base not in made:
                made[base] = configured(__name__, base, name, options)
                # An IPv4 program alone would have nothing to do.
                if not LONG and base is not programs.SockperfTest:
                    made[base].versions = VERSIONS[name]
            suite.addTest(made[base](method))
        if made:
            suite.addTest(configured(__name__, LeftTest, name, options)("test_nothing_is_left"))
    return suite


def tearDownModule():  # pylint: disable=invalid-name  (unittest's)
    cluster_down()
