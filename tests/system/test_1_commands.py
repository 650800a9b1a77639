# SPDX-License-Identifier: Apache-2.0
"""The command line: what is wrong is said clearly, with the right exit status."""

import subprocess
import sys
import unittest

from support import REPO, cluster_down, hutong

SUBCOMMANDS = ("demo", "test", "up", "down", "status", "exec", "run", "mpirun", "shell", "why", "check", "agent",
               "link", "bench")


class CommandLineTest(unittest.TestCase):
    def wrong(self, *arguments):
        done = hutong(*arguments, check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertTrue(done.stderr.strip())
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr

    def test_every_subcommand_has_help(self):
        for name in SUBCOMMANDS:
            done = hutong(name, "--help")
            self.assertIn("hutong " + name, done.stdout)

    def test_unknown_command(self):
        self.assertIn("fly", self.wrong("fly"))

    def test_no_command(self):
        self.wrong()

    def test_unknown_option(self):
        self.assertIn("--fast", self.wrong("up", "--fast"))

    def test_unknown_vm(self):
        for words in (("run", "VM9", "--", "true"), ("exec", "VM9", "--", "true"), ("shell", "VM9"),
                      ("mpirun", "-H", "VM1,VM9", "-np", "2", "--", "true"), ("agent", "VM9", "stop")):
            self.assertIn("VM9", self.wrong(*words))

    def test_a_host_is_no_vm(self):
        self.assertIn("PC1", self.wrong("run", "PC1", "--", "true"))

    def test_bad_values(self):
        self.wrong("up", "--link", "fast")
        self.wrong("up", "--link", "0gbit")
        self.wrong("up", "--link", "1gbit", "--offloads", "on")
        self.wrong("up", "--mtu", "100")
        self.wrong("up", "--wire", "rope")
        self.wrong("up", "--inter", "never")
        self.wrong("up", "--faults", "drop=60")
        self.wrong("link")
        self.wrong("link", "sideways")
        self.wrong("up", "--set", "no-equals-sign")
        self.wrong("mpirun", "-np", "0", "--", "true")
        self.wrong("mpirun", "-np", "two", "--", "true")
        self.wrong("bench", "no-such-case")
        self.wrong("bench", "intra", "--pairs", "0")
        self.wrong("test", "--only", "nothing")

    def test_wrong_questions(self):
        self.wrong("why")
        self.wrong("why", "1")
        self.wrong("check")
        for words in (("x", "1"), ("1", "x"), ("-1", "1"), ("1", "1.5"), ("1", "2", "3")):
            self.wrong("why", *words)
        for words in (("VM9",), ("PC1",), ("VM1", "--from", "VM9"), ("10.77.0",), ("VM1", "VM2")):
            self.wrong("check", *words)

    def test_down_and_status_take_no_program(self):
        self.wrong("down", "--", "true")

    def test_without_a_cluster(self):
        cluster_down()
        for words in (("run", "VM1", "--", "true"), ("exec", "VM1", "--", "true"), ("shell", "VM1", "-c", "help"),
                      ("mpirun", "-np", "1", "--", "true"), ("agent", "VM1", "start"), ("why", "1", "1"),
                      ("check", "VM2"), ("link", "down")):
            done = hutong(*words, check=False)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn("./hutong up", done.stderr)

    def test_ordinary_users_are_told(self):
        # Imported as root (the tree may lie where others cannot read), then run as nobody.
        code = ("import sys, os; sys.path.insert(0, %r); from hutonglab.cli import main; os.setuid(65534); "
                "sys.exit(main(['up']))" % (REPO + "/lab"))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("root", done.stderr)
