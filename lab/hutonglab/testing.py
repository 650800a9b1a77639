# SPDX-License-Identifier: Apache-2.0
"""`./hutong test`: the layers of tests, one after the other, and the sum of their counts."""

import glob
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree

from . import agents, cluster, deps, topology
from .errors import LabError

COUNTS = re.compile(r"([0-9]+) passed, ([0-9]+) failed")
FAILURE = re.compile(r"^.*\bFAIL(?:ED)?\b.*$", re.MULTILINE)
#: What tests/system/run.py says of a failed test at its end.
SYSTEM_FAILURE = re.compile(r"^failed: .*$", re.MULTILINE)
MOST_SHOWN = 20
UNIT_SECONDS, NATIVE_SECONDS, CONFORMANCE_SECONDS = 2400, 2400, 1200
SYSTEM_SECONDS = 6 * 3600 if os.environ.get("HUTONG_TEST_LONG") else 5400


def _run(what, arguments, seconds):
    """Runs a layer's command, shows its output as it comes; returns (exit status, output). Too long is a failure."""
    print("== %s: %s" % (what, " ".join(arguments)), flush=True)
    process = subprocess.Popen(arguments, cwd=topology.REPO, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, start_new_session=True)
    deadline, text = time.monotonic() + seconds, b""
    try:
        while True:
            if not select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                print("\n%s: not done after %d s" % (what, seconds), flush=True)
                return 1, text.decode(errors="replace")
            part = os.read(process.stdout.fileno(), 65536)
            if not part:
                break
            text += part
            sys.stdout.buffer.write(part)
            sys.stdout.flush()
        return process.wait(), text.decode(errors="replace")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def _reports(since):
    """(passed, lines about the failed) of all JUnit reports below bundles/ that were written since then."""
    passed, failures = 0, []
    for path in glob.glob(os.path.join(topology.REPO, "bundles/*/target/**/TEST-*.xml"), recursive=True):
        if os.stat(path).st_mtime < since:
            continue
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            wrong = next((w for w in (case.find("failure"), case.find("error")) if w is not None), None)
            if wrong is not None:
                why = (wrong.get("message") or wrong.get("type") or "").strip().split("\n")[0]
                failures.append("%s.%s: %s" % (case.get("classname"), case.get("name"), why[:200]))
            elif case.find("skipped") is None:
                passed += 1
    return passed, failures


class Unit:
    """
    All Maven modules: unit tests, and the tests inside a real framework. begin() lets them run beside another layer, since
    neither that of the C code nor this one keeps all processors busy; what they print is kept until they are called.
    """

    COMMAND = ["mvn", "-B", "-q", "verify"]

    def __init__(self):
        self._process = self._output = self._since = None

    def begin(self):
        """Starts them, once."""
        deps.install(deps.RUN, deps.BUILD, deps.TEST)
        self._since = time.time() - 2
        self._output = tempfile.TemporaryFile()
        self._process = subprocess.Popen(self.COMMAND, cwd=topology.REPO, stdin=subprocess.DEVNULL, stdout=self._output,
                                         stderr=subprocess.STDOUT, start_new_session=True)

    def end(self):
        """Ends them, if they still run."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def __call__(self):
        if self._process is None:
            self.begin()
        print("== unit: %s" % " ".join(self.COMMAND), flush=True)
        try:
            status = self._process.wait(UNIT_SECONDS)
        except subprocess.TimeoutExpired:
            status = 1
            print("unit: not done after %d s" % UNIT_SECONDS, flush=True)
        self.end()
        self._output.seek(0)
        shutil.copyfileobj(self._output, sys.stdout.buffer)
        sys.stdout.flush()
        passed, failures = _reports(self._since)
        # A build that fails without a failed test (or that ran none) is a failure too.
        return passed, len(failures) or int(status != 0 or passed == 0), failures


def _make(what, folder, arguments, seconds):
    deps.install(deps.BUILD, deps.TEST)
    jobs = "-j%d" % len(os.sched_getaffinity(0))  # for the compiler; the tests themselves are one command
    status, text = _run(what, ["make", jobs, "-C", folder, *arguments], seconds)
    counts = COUNTS.findall(text)
    passed, failed = sum(int(p) for p, _ in counts), sum(int(f) for _, f in counts)
    return passed, failed or int(status != 0 or passed == 0), FAILURE.findall(text)


def native():
    """The C tests: of the shim, but for the conformance suite, and of the facade over Xen, which needs none."""
    shim = _make("native", "native-shim", ["check", "CONFORMANCE=no"], NATIVE_SECONDS)
    xen = _make("native", "native-xen", ["check"], NATIVE_SECONDS)
    return tuple(one + other for one, other in zip(shim, xen))


def conformance():
    """What programs see of TCP and of the shim, compared case by case."""
    return _make("conformance", "native-shim", ["conformance"], CONFORMANCE_SECONDS)


def system():
    """Real programs in the cluster."""
    if any(agents.record(node) is not None for node in topology.NODES):
        raise LabError("the system tests start and stop the cluster themselves: ./hutong down first")
    if cluster.down():
        # What an earlier run left when it was cut off: nobody uses it, and it must not fail this one.
        print("removed what was left of a cluster whose agents are gone", flush=True)
    deps.prepare_cluster()
    deps.prepare_system_tests()
    status, text = _run("system", ["/usr/bin/python3", "-I", "-X", "pycache_prefix=" + topology.CACHE + "/pycache",
                                   os.path.join(topology.REPO, "tests/system/run.py")], SYSTEM_SECONDS)
    counts = COUNTS.findall(text)
    passed, failed = (int(n) for n in counts[-1]) if counts else (0, 0)
    return passed, failed or int(status != 0 or passed == 0), SYSTEM_FAILURE.findall(text)


def _layers(only):
    """(name, function) of each layer to run. Unit runs beside native, and is done before what compares two stacks begins."""
    unit = Unit()

    def both():
        unit.begin()
        try:
            return native()
        except BaseException:
            unit.end()
            raise

    layers = (("native", native if only else both), ("unit", unit), ("conformance", conformance), ("system", system))
    return [(name, layer) for name, layer in layers if only in (None, name)]


def main(only):
    """
    Runs all layers, or the one named. At the end of the output stand the failures of each layer, its counts and how long
    it took; the last line holds the sum.
    """
    results = []
    for name, layer in _layers(only):
        since = time.monotonic()
        try:
            found = layer()
        except LabError as e:
            found = 0, 1, ["%s: %s" % (name, e)]
        results.append((name, *found, time.monotonic() - since))
    print()
    for name, _, _, failures, _ in results:
        for line in failures[:MOST_SHOWN]:
            print("%s: %s" % (name, line.strip()))
        if len(failures) > MOST_SHOWN:
            print("%s: and %d more lines" % (name, len(failures) - MOST_SHOWN))
    for name, passed, failed, _, seconds in results:
        print("%-11s %5d passed %4d failed  %5.0f s" % (name, passed, failed, seconds))
    failed = sum(r[2] for r in results)
    print("%d passed, %d failed" % (sum(r[1] for r in results), failed), flush=True)
    return 1 if failed else 0
