# SPDX-License-Identifier: Apache-2.0
"""up, down, status: nothing is left behind, whatever was interrupted."""

import json
import os
import signal
import subprocess
import tempfile
import unittest

from hutonglab import net, topology
from support import HUTONG, VM1, VM2, Background, cluster_down, cluster_up, eventually, hutong, leftovers


def mounts():
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        return sorted(line.split()[4] for line in f)


def allowed_congestion():
    with open(net.ALLOWED, encoding="ascii") as f:
        return f.read()


def hosts_file():
    with open("/etc/hosts", encoding="utf-8") as f:
        return f.read()


class LifecycleTest(unittest.TestCase):
    def setUp(self):
        cluster_down()
        self.assertEqual(leftovers(), [])

    def tearDown(self):
        cluster_down()

    def test_down_without_a_cluster_is_fine(self):
        self.assertEqual(hutong("down").returncode, 0)
        self.assertEqual(hutong("status", check=False).returncode, 3)

    def test_up_and_down_leave_nothing(self):
        before, allowed = mounts(), allowed_congestion()
        cluster_up()
        status = json.loads(hutong("status", "--json").stdout)
        self.assertEqual(status["state"], "up")
        self.assertEqual([(n["name"], n["host"], n["agent"]) for n in status["nodes"]],
                         [("PC1", "PC1", "ready"), ("PC2", "PC2", "ready"), ("VM1", "PC1", "ready"),
                          ("VM2", "PC1", "ready"), ("VM3", "PC2", "ready")])
        with Background("exec", "VM1", "--", "sh", "-c", "sleep 1000 & echo started; wait") as program:
            eventually(lambda: "started" in program.output(), "the program runs")
            hutong("down")
            eventually(lambda: not program.running(), "the program ended with its VM")
        self.assertEqual(leftovers(), [])
        self.assertEqual(mounts(), before)
        self.assertEqual(allowed_congestion(), allowed)
        hutong("down")

    def interrupted(self, condition, what):
        """Kills `up` as soon as the condition holds; then down must find and remove everything."""
        allowed = allowed_congestion()
        with tempfile.TemporaryFile() as sink:
            up = subprocess.Popen([HUTONG, "up", "--no-build"], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
            try:
                eventually(condition, what, 60)
            finally:
                up.send_signal(signal.SIGKILL)
                up.wait()
        self.assertNotEqual(leftovers(), [])
        self.assertEqual(hutong("status", check=False).returncode, 4)
        again = hutong("up", "--no-build", check=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn("./hutong down", again.stderr)
        hutong("down")
        self.assertEqual(leftovers(), [])
        self.assertEqual(allowed_congestion(), allowed)

    def test_killed_at_the_first_namespace(self):
        self.interrupted(lambda: os.path.exists(topology.HOSTS[0].ns_path), "the first namespace")

    def test_killed_at_the_last_namespace(self):
        self.interrupted(lambda: os.path.exists(topology.VMS[-1].ns_path), "the last namespace")

    def test_killed_when_the_first_agent_starts(self):
        self.interrupted(lambda: os.path.exists(topology.LAB + "/agent-PC1"), "the first agent")

    def test_killed_when_the_last_agent_starts(self):
        self.interrupted(lambda: os.path.exists(topology.LAB + "/agent-VM3"), "the last agent")

    def test_stopped_by_a_signal_up_cleans_up_itself(self):
        with tempfile.TemporaryFile() as sink:
            up = subprocess.Popen([HUTONG, "up", "--no-build"], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
            eventually(lambda: os.path.exists(topology.LAB + "/agent-PC1"), "the first agent", 60)
            up.send_signal(signal.SIGTERM)
            self.assertNotEqual(up.wait(60), 0)
        self.assertEqual(leftovers(), [])

    def test_a_benchmark_brings_its_own_cluster(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/results.json"
            done = hutong("bench", "rr-64", "--pairs", "1", "--json", path, seconds=200)
            self.assertIn("cubic", done.stdout)
            with open(path, encoding="ascii") as f:
                self.assertEqual([r["case"] for r in json.load(f)["results"]], ["rr-64"])
        self.assertEqual(leftovers(), [])
        refused = hutong("bench", "rr-64", "--json", "/nowhere/results.json", check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("/nowhere/results.json", refused.stderr)

    def test_of_two_at_once_one_wins(self):
        both = [subprocess.Popen([HUTONG, "up", "--no-build"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True) for _ in range(2)]
        texts = [p.communicate(timeout=120) for p in both]
        self.assertEqual(sorted(p.returncode for p in both), [0, 1], texts)
        self.assertEqual(json.loads(hutong("status", "--json").stdout)["state"], "up")

    def test_an_agent_that_does_not_start_is_reported_and_cleaned_up(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(folder + "/lib")
            with open(folder + "/lib/launcher.jar", "w", encoding="ascii") as f:
                f.write("no jar at all")
            done = hutong("up", "--no-build", env=dict(os.environ, HUTONG_DIST=folder), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("agent.log", done.stderr)
        self.assertIn("launcher", done.stderr)
        self.assertEqual(leftovers(), [])


class UpTest(unittest.TestCase):
    """One that is up: nothing of this changes it."""

    @classmethod
    def setUpClass(cls):
        cluster_down()
        cls.before = hosts_file()
        cls.addClassCleanup(cluster_down)
        cluster_up()

    def test_a_second_up_is_an_error_with_a_hint(self):
        again = hutong("up", "--no-build", check=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn("./hutong down", again.stderr)
        self.assertEqual(json.loads(hutong("status", "--json").stdout)["state"], "up")

    def test_machine_files_are_untouched(self):
        self.assertIn("10.77.0.2 VM2", hutong("exec", "VM1", "--", "cat", "/etc/hosts").stdout)
        self.assertEqual(hutong("exec", "VM2", "--", "hostname").stdout.strip(), "VM2")
        self.assertEqual(hosts_file(), self.before)

    def test_exit_status_and_user_of_programs(self):
        self.assertEqual(hutong("exec", "VM1", "--", "sh", "-c", "exit 7", check=False).returncode, 7)
        self.assertEqual(hutong("exec", "VM1", "--", "no-such-program", check=False).returncode, 127)
        self.assertEqual(hutong("exec", "--user", "nobody", "VM1", "--", "id", "-un").stdout.strip(), "nobody")
        self.assertEqual(hutong("exec", "--user", "no-such-user", "VM1", "--", "id", check=False).returncode, 2)

    def test_vms_use_cubic_and_reach_each_other(self):
        for vm in (VM1, VM2):
            found = hutong("exec", vm.name, "--", "cat", "/proc/sys/net/ipv4/tcp_congestion_control").stdout.strip()
            self.assertEqual(found, "cubic")
