# SPDX-License-Identifier: Apache-2.0
"""The benchmark command: its JSON, and that it refuses to call TCP Hutong."""

import json
from unittest import mock

from hutonglab import link
from hutongbench import cases, inter, stats
from support import ClusterTest, hutong


class BenchTest(ClusterTest):
    def rows(self, *arguments, status=0):
        path = self.file("results.json")
        done = hutong("bench", *arguments, "--json", path, check=False, seconds=200)
        self.assertEqual(done.returncode, status, done.stderr)
        with open(path, encoding="ascii") as f:
            return json.load(f)["results"], done.stdout

    def test_a_case_in_pairs(self):
        rows, text = self.rows("rr-64", "--pairs", "2")
        self.assertEqual([(r["case"], r["unit"], r["pairs"]) for r in rows], [("rr-64", "us", 2)])
        for name in ("tcp", "hutong", "ratio", "tcp_cpu", "hutong_cpu"):
            self.assertGreater(rows[0][name], 0)
        self.assertGreater(rows[0]["ring_bytes"], 0)
        self.assertIn("cubic", text)

    def test_between_hosts_the_path_is_named(self):
        rows, text = self.rows("inter-rr-64", "--pairs", "1", "--warm-up", "6")
        self.assertIn(rows[0]["path"], ("TCP", "MIXED", "LIGHT"))
        self.assertEqual(rows[0]["path"] == "TCP", rows[0]["light_bytes"] == 0)
        self.assertIn("path " + rows[0]["path"], text)

    def test_between_hosts_a_forced_path_must_be_used(self):
        sample = cases.Sample(1.0, 1.0, 0, {"light": 0, "tcp": 10})
        for name, wrong in (("light", True), ("auto", False), ("tcp", False)):
            with mock.patch.object(link, "current", return_value=link.Link(inter=name)):
                self.assertEqual("path was not used" in (inter.unused(sample) or ""), wrong, name)
        with mock.patch.object(link, "current", return_value=link.Link(inter="light")):
            for facts, used in (({"light": 1, "tcp": 1000}, False), ({"light": 89, "tcp": 11}, False),
                                ({"light": 91, "tcp": 9}, True),
                                ({"light": 30, "tcp": 70, "measured": 32}, True),
                                ({"light": 28, "tcp": 4, "measured": 32}, False),
                                # What is only reckoned of a job is not held against it, what its ends counted is.
                                ({"light": 60, "tcp": 200, "tcp_counted": 10}, True),
                                ({"light": 60, "tcp": 0, "tcp_counted": 70}, False)):
                self.assertEqual(inter.unused(cases.Sample(1.0, 1.0, 9, facts)) is None, used, facts)

    def test_bytes_by_path(self):
        """What the link has carried of two thousand round trips of 8 bytes, by either path."""
        watch = inter.Watch()
        for wire, headers in (("ethernet", 14 + 32), ("udp", 14 + 60)):
            watch.there = watch.back = link.Traffic(2000, 2000 * (headers + 8))
            with mock.patch.object(link, "current", return_value=link.Link(wire=wire)):
                self.assertEqual(watch.data(light=True), 2 * 2000 * 8)
        watch.there = watch.back = link.Traffic(2000, 2000 * (14 + 52 + 8))
        with mock.patch.object(link, "current", return_value=link.Link()):
            self.assertEqual(watch.data(), 2 * 2000 * 8)
            run = mock.Mock(accelerated=True)
            run.ring_bytes.return_value = run.light_bytes.return_value = 9000
            run.tcp_bytes.return_value = 1000
            self.assertEqual(inter.by_path_of_one(run, watch), {"light": 9000, "tcp": 1000})
            run.ring_bytes.return_value = run.light_bytes.return_value = 0
            run.tcp_bytes.return_value = 500  # told to leave it alone
            self.assertEqual(inter.by_path_of_one(run, watch), {"light": 0, "tcp": 64000})

    def test_frames_by_arithmetic(self):
        for options, light, frames in ((("1gbit", None, None, None, "ethernet"), True, 1e9 / 1468),
                                       (("1gbit", None, None, None, "udp"), True, 1e9 / 1440),
                                       (("1gbit",), False, 1e9 / 1448), ((None, "off", 9000), False, 1e9 / 8948)):
            with mock.patch.object(link, "current", return_value=link.from_options(*options)):
                self.assertAlmostEqual(inter.frame_ratio(1e9, frames, light), 1.0)
        with mock.patch.object(link, "current", return_value=link.Link()):
            self.assertIsNone(inter.frame_ratio(1e9, 1000, False))

    def test_tcp_is_not_sold_as_hutong(self):
        hutong("agent", "VM1", "stop")
        try:
            rows, text = self.rows("rr-64", "--pairs", "1", status=1)
        finally:
            hutong("agent", "VM1", "start")
        self.assertIn("not accelerated", rows[0]["failed"])
        self.assertIsNone(rows[0]["hutong"])
        self.assertIn("FAILED", text)

    def test_statistics(self):
        self.assertEqual(stats.ratio(3, 2), 1.5)
        self.assertEqual(stats.ratio(0, 0), 1.0)
        self.assertIsNone(stats.ratio(1, 0))
        low, high = stats.bootstrap_interval([1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02, 0.98])
        self.assertLessEqual(low, 1.0)
        self.assertGreaterEqual(high, 1.0)
        self.assertEqual(stats.bootstrap_interval([2.0] * 5), (2.0, 2.0))
