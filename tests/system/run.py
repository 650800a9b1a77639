# SPDX-License-Identifier: Apache-2.0
"""
Runs the system tests: every tests/system/test_*.py, in the order of their names, each test within a time limit.
Usage: run.py [NAME...]      (parts of test names; none means all). The last line holds the counts.
"""

import os
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
for part in ("bench", "lab", "tests/system"):
    sys.path.insert(0, os.path.join(REPO, part))

import support  # noqa: E402 (the path comes first)

#: For each test whose class has no LIMIT_SECONDS of its own.
LIMIT_SECONDS = 240
#: Characters of a failure's text in the summary, which has a line for each.
MOST_SAID = 400


class Timeout(Exception):
    """A test ran into the limit."""


def _alarm(_number, _frame):
    raise Timeout("the test was not done in time")


class Result(unittest.TestResult):
    """Prints one line a test, the traceback of those that fail, and bounds each."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self.broken = 0
        self.summary = []

    def startTest(self, test):
        super().startTest(test)
        self._since = time.monotonic()
        signal.alarm(getattr(test, "LIMIT_SECONDS", LIMIT_SECONDS))

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def _say(self, word, test, error=None):
        print("%-4s %s  %.1f s" % (word, test.id(), time.monotonic() - self._since), flush=True)
        if error is not None:
            print(self._exc_info_to_string(error, test), flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self._say("ok", test)

    def addFailure(self, test, err):
        self.broken += 1
        self.summary.append("failed: %s: %s" % (test.id(), " | ".join(str(err[1]).strip().split("\n"))[-MOST_SAID:]))
        self._say("FAIL", test, err)

    addError = addFailure

    def addSkip(self, test, reason):
        # Nothing here may be skipped: the layer installs all that it needs.
        self.broken += 1
        self.summary.append("failed: %s: skipped: %s" % (test.id(), reason))
        print("FAIL %s: skipped: %s" % (test.id(), reason), flush=True)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addFailure(subtest, err)


def _wanted(suite, names):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _wanted(test, names)
        elif not names or any(n in test.id() for n in names):
            yield test


def main(names):
    """Runs the tests whose names contain one of the parts; exit status 1 when one failed."""
    signal.signal(signal.SIGALRM, _alarm)
    result = Result()
    loader = unittest.TestLoader()
    found = unittest.TestSuite(_wanted(loader.discover(HERE, "test_*.py", HERE), names))
    try:
        found.run(result)
    finally:
        support.cluster_down()
    for line in result.summary:
        print(line)
    print("%d passed, %d failed" % (result.passed, result.broken), flush=True)
    return 1 if result.broken or not result.passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
