#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The conformance suite: every case on plain TCP and with the shim; their traces must be equal, line by line.

Each run has a network namespace with an agent of its own; several run at a time. The last line is "N passed, M failed".
"""

import argparse
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
RULES = range(1, 22)
FAMILIES = {"ipv4": ("10.99.0.1", ""), "ipv6": ("fd99::1", "swap"), "mapped": ("::ffff:10.99.0.1", "")}
AGENT = "-r 262144 -o 4194304 -b 65536 -m 20 -s 50 -d 10.99.0.2 -d fd99::2 10.99.0.1 10.99.0.2 fd99::1 fd99::2"
ADDRESSES = ("10.99.0.1/24", "10.99.0.2/24", "10.99.0.3/24", "fd99::1/64", "fd99::2/64", "fd99::3/64")
OWN_AGENT, SLOW, NOT_FAR = 1, 8, 16  # flags of harness.h
NOT_HALF = {"close_in_poll"}  # differ where one direction alone is on the ring, see known-limits.md
FAR_DELAY_US = 300  # far.c: mostly below, now and then eight times that; harness.h knows
RETRIES = 3
MANY = 40  # differences, which no short trouble of the machine explains: not one after the other
ROUTE_SECONDS = 30
REALLY = 0.9  # share of the runs in which the shim's own statistics must tell of a ring


class Case:
    def __init__(self, line):
        self.group, self.name, self.kind, flags, rules = line.split()
        self.flags = int(flags)
        self.rules = [int(r) for r in rules.split(",")]

    def on_ring(self):
        """Whether the case's connection must reach the ring."""
        return self.kind in ("warm", "young", "raw")


class Lane:
    """A network namespace, held by a process in it, and the agent that serves it."""

    def __init__(self, options, work, number):
        self.options, self.work, self.port, self.agent = options, os.path.join(work, str(number)), 6000, None
        os.mkdir(self.work)
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo in; exec cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.enter = ["nsenter", "--net=/proc/%d/ns/net" % self.holder.pid]
        steps = ["link set lo up", "link add hut0 type veth peer name hut1", "link set hut1 up", "link set hut0 up"]
        steps += ["address add %s dev hut0%s" % (a, " nodad" if ":" in a else "") for a in ADDRESSES]
        for step in steps:
            subprocess.run(self.enter + ["ip"] + step.split(), check=True)
        self._await_routes()

    def _await_routes(self):
        """A busy kernel makes the routes of an IPv6 address some time after the address (addrconf_dad_work)."""
        wanted = {a.split("/", 1)[0] for a in ADDRESSES if ":" in a}
        deadline = time.monotonic() + ROUTE_SECONDS
        while True:
            told = subprocess.run(self.enter + "ip -6 route show table local".split(), stdout=subprocess.PIPE, check=True)
            routes = [line.split() for line in told.stdout.decode().splitlines()]
            missing = wanted - {words[1] for words in routes if words[0] == "local"}
            if not missing:
                return
            if time.monotonic() > deadline:
                raise RuntimeError("no route to %s" % ", ".join(sorted(missing)))
            time.sleep(0.02)

    def agent_command(self):
        far = ["-f", "%d,%d,0,%d" % (FAR_DELAY_US, self.options.seed, self.options.wishes)] if self.options.far else []
        return [os.path.join(self.options.build, "testagent")] + far + self.options.agent.split()

    def start_agent(self):
        if self.agent is None:
            self.agent = subprocess.Popen(self.enter + self.agent_command(), stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL)  # it tells of sockets gone meanwhile
            if self.agent.stdout.readline() != b"ready\n":
                raise RuntimeError("the test agent does not start")

    def stop_agent(self):
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()
            self.agent.stdout.close()
            self.agent = None

    def close(self):
        self.stop_agent()
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()

    def run(self, case, family, shim):
        """Returns (trace lines, lines for us, what came on stderr, connections on the ring by the shim's account)."""
        self.port += 1
        address, swap = FAMILIES[family]
        stats = os.path.join(self.work, "stats")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HUTONG_", "CONF_", "LD_"))}
        env.update(CONF_AGENT=" ".join(self.agent_command()), CONF_SECONDS=str(self.options.seconds))
        if shim:
            env.update(LD_PRELOAD=self.options.preload, HUTONG_STATS=stats, CONF_RING="1")
            if self.options.far:
                env["CONF_FAR"] = "1"
            if not case.flags & OWN_AGENT:
                self.start_agent()
        if case.flags & OWN_AGENT:
            self.stop_agent()
        if os.path.exists(stats):
            os.unlink(stats)
        # The shim is for the case alone: not for nsenter.
        keep = ["env", *("%s=%s" % kv for kv in env.items())]
        command = self.enter + keep + [os.path.join(self.options.build, "conformance"), "run", case.name, address,
                                       str(self.port)] + ([swap] if swap else [])
        plain = {k: v for k, v in env.items() if k != "LD_PRELOAD"}
        try:
            done = subprocess.run(command, env=plain, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, timeout=self.options.seconds + 30, check=False)
            out, problems = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
            if done.returncode:
                problems += "conformance run: status %d\n" % done.returncode
        except subprocess.TimeoutExpired:
            out, problems = "", "conformance run: no end\n"
        lines = out.splitlines()
        on_ring = 0
        if os.path.exists(stats):
            with open(stats, encoding="ascii", errors="replace") as f:
                on_ring = sum(not line.endswith("\0") and "conns_ring=0 " not in line for line in f)
        return ([line for line in lines if not line.startswith("#")], [line for line in lines if line.startswith("#")],
                problems, on_ring)


def _ring_problem(case, told, on_ring):
    """What is wrong with where the bytes went, or None."""
    ring = [line.split()[1:] for line in told if line.startswith("#ring ")]
    yes, no = (int(n) for n in ring[0]) if ring else (0, 0)
    if case.on_ring() and (no or not yes):
        return "its connection did not come to the ring"
    if case.kind == "never" and on_ring:
        return "its connection went to the ring"
    return None


class Suite:
    def __init__(self, options, cases):
        self.options, self.cases = options, cases
        self.lock = threading.Lock()
        self.times = []
        self.differ = []  # (case, family, label, what is wrong), to be repeated
        self.passed = self.failed = self.once_only = self.must_ring = self.seen_ring = 0

    def once(self, lane, case, family):
        """One comparison: (label, trace on TCP, what is wrong)."""
        label = "%s %s%s" % (case.name, family, " " + self.options.label if self.options.label else "")
        started = time.monotonic()
        tcp, _, tcp_problems, _ = lane.run(case, family, False)
        middle = time.monotonic()
        hut, told, problems, on_ring = lane.run(case, family, not self.options.tcp_only)
        self.times.append((middle - started, time.monotonic() - middle, label))
        text = []
        if not tcp or any(line.endswith(": HANG") or "BROKEN" in line or "WRONG BYTE" in line for line in tcp):
            text.append("  the case is wrong on TCP:\n    " + "\n    ".join(tcp))
        if tcp != hut:
            for i in range(max(len(tcp), len(hut))):
                one, other = (lines[i] if i < len(lines) else "(nothing)" for lines in (tcp, hut))
                if one != other:
                    text.append("  tcp:    %s\n  hutong: %s" % (one, other))
            text += ["  " + line for line in told if line.startswith("# ")]
        if tcp_problems:
            text.append("  tcp, on stderr:    " + tcp_problems.rstrip())
        if problems:
            text.append("  hutong, on stderr: " + problems.rstrip())
        wrong = None if self.options.tcp_only else _ring_problem(case, told, on_ring)
        if wrong:
            text.append("  hutong: " + wrong)
        with self.lock:
            if case.on_ring():
                self.must_ring += 1
                self.seen_ring += on_ring > 0
        return label, tcp, text

    def compare(self, lane, case, family):
        label, tcp, text = self.once(lane, case, family)
        with self.lock:
            if text:
                self.differ.append((case, family, label, text))
            else:
                self.passed += 1
                if self.options.verbose:
                    print("ok: %s\n  %s" % (label, "\n  ".join(tcp)), flush=True)

    def repeat(self, lane, case, family, label, text):
        """
        Many cases wait for states by the clock, and the machine may be busy: a difference must show more than once. What
        shows once is printed and counted by itself.
        """
        again = any(self.once(lane, case, family)[2] for _ in range(RETRIES))
        with self.lock:
            if again:
                self.failed += 1
            else:
                self.once_only += 1
                self.passed += 1
            print("%s: %s\n%s" % ("FAILED" if again else "SEEN ONCE", label, "\n".join(text)), flush=True)

    def work(self, lane, what, jobs):
        while True:
            try:
                job = jobs.get_nowait()
            except queue.Empty:
                return
            try:
                what(lane, *job)
            except Exception as e:  # a lane that dies silently would only make the counts smaller
                with self.lock:
                    self.failed += 1
                    print("FAILED: %s %s: %r" % (job[0].name, job[1], e), flush=True)

    def on_lanes(self, lanes, what, jobs):
        """Has the lanes share the jobs."""
        waiting = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        threads = [threading.Thread(target=self.work, args=(lane, what, waiting)) for lane in lanes]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def run(self):
        # The long ones first, so that no lane is left with one of them at the end.
        cases = sorted(self.cases, key=lambda c: not c.flags & SLOW)
        jobs = [(case, family) for case in cases for family in self.options.family or FAMILIES]
        with tempfile.TemporaryDirectory() as work:
            lanes = [Lane(self.options, work, i) for i in range(self.options.jobs)]
            self.on_lanes(lanes, self.compare, jobs * self.options.repeat)
            # Not at once, where whatever disturbed them might still go on, nor beside each other.
            self.on_lanes(lanes[:1] if len(self.differ) <= MANY else lanes, self.repeat, self.differ)
            for lane in lanes:
                lane.close()

    def check(self, good, what):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print("FAILED: " + what)

    def summary(self, whole):
        comparisons, differences = self.passed + self.failed, self.failed
        print("%d cases, %d comparisons, %d differences, %d more seen once in %d tries"
              % (len(self.cases), comparisons, differences, self.once_only, RETRIES + 1))
        if not self.options.tcp_only and self.must_ring:
            print("the shim's statistics tell of a ring in %d of %d runs" % (self.seen_ring, self.must_ring))
            if whole:
                self.check(self.seen_ring >= REALLY * self.must_ring, "not really accelerated")
        if self.options.times:
            for tcp, hut, label in sorted(self.times, key=lambda t: -max(t[:2]))[:20]:
                print("%6.2f s on TCP %6.2f s accelerated  %s" % (tcp, hut, label))
        if whole:
            citing = {rule: sum(rule in c.rules for c in self.cases) for rule in RULES}
            print("cases by rule: " + "  ".join("%d: %d" % (rule, n) for rule, n in citing.items()))
            for rule, n in citing.items():
                self.check(n > 0, "no case for rule %d" % rule)
        print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
        return 1 if self.failed or not self.passed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=os.path.join(HERE, "../../build"), help="where the programs are")
    parser.add_argument("--list", action="store_true", help="print the table of cases and end")
    parser.add_argument("--filter", metavar="NAME",
                        help="only cases whose name or group contains NAME (or, with =NAME, is NAME)")
    parser.add_argument("--family", action="append", choices=sorted(FAMILIES))
    parser.add_argument("--jobs", type=int, default=8, help="how many at a time")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=20, help="a case that takes longer hangs")
    parser.add_argument("--preload", help="LD_PRELOAD, if not BUILD/libhutong.so")
    parser.add_argument("--agent", default=AGENT, help="options of the test agent")
    parser.add_argument("--far", action="store_true", help="the two ends are on different hosts, see far.c")
    parser.add_argument("--wishes", type=int, default=0, metavar="US",
                        help="with --far: the agents begin without wanting the bytes, and change their mind so often")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the delays between hosts")
    parser.add_argument("--label", default="")
    parser.add_argument("--quick", action="store_true", help="without the slow cases")
    parser.add_argument("--tcp-only", action="store_true", help="compare TCP with TCP: are the traces stable?")
    parser.add_argument("--verbose", action="store_true", help="print equal traces too")
    parser.add_argument("--times", action="store_true", help="name the cases that take longest")
    options = parser.parse_args()
    options.build = os.path.abspath(options.build)
    options.preload = options.preload or os.path.join(options.build, "libhutong.so")
    table = subprocess.run([os.path.join(options.build, "conformance"), "list"], stdout=subprocess.PIPE, check=True)
    cases = [Case(line) for line in table.stdout.decode().splitlines()]
    names = {c.name for c in cases}
    if len(names) != len(cases):
        sys.exit("two cases of one name")
    wanted = options.filter
    if wanted:
        cases = [c for c in cases
                 if (c.name == wanted[1:] if wanted[0] == "=" else wanted in c.name or wanted in c.group)]
    if options.far:
        left_out = [c for c in cases if c.flags & NOT_FAR or (options.wishes and c.name in NOT_HALF)]
        print("seed %d; %d cases left out, for the reasons in known-limits.md" % (options.seed, len(left_out)))
        cases = [c for c in cases if c not in left_out]
    if options.quick:
        cases = [c for c in cases if not c.flags & SLOW]
    if options.list:
        for c in cases:
            print("%-10s %-24s %-8s rules %s" % (c.group, c.name, c.kind, ",".join(map(str, c.rules))))
        return 0
    suite = Suite(options, cases)
    suite.run()
    return suite.summary(not wanted and not options.quick)


if __name__ == "__main__":
    sys.exit(main())
