# SPDX-License-Identifier: Apache-2.0
"""Runs a program in a node of the cluster and measures the processor time of it and of all its descendants."""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import tempfile
import time
from dataclasses import dataclass

from hutonglab import enter, procs

PR_SET_CHILD_SUBREAPER = 36


class ProgramError(Exception):
    """A program of the experiment failed, took too long, or said something unexpected."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended: exit status, its output, and the CPU seconds of it and all its descendants."""

    status: int
    output: str
    errors: str
    cpu_seconds: float


class Program:
    """
    A program that runs in a node. A watcher process stands between: it is the subreaper, so even daemons that the
    program leaves behind are waited for and counted.
    """

    def __init__(self, node, argv, env, preload=None):
        self.argv = [str(a) for a in argv]
        self._out = tempfile.TemporaryFile()
        self._err = tempfile.TemporaryFile()
        read, write = os.pipe()
        self._watcher = os.fork()
        if self._watcher == 0:
            os.close(read)
            self._watch(node, env, preload, write)
        os.close(write)
        self._report = read

    def _watch(self, node, env, preload, write):
        status = 125
        try:
            # Not the caller's handlers: a signal to the caller's group is the caller's business.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            main = os.fork()
            if main == 0:
                os.close(write)
                self._become(node, env, preload)
            while True:
                try:
                    pid, code = os.wait4(-1, 0)[:2]
                except ChildProcessError:
                    break
                if pid == main:
                    status = os.waitstatus_to_exitcode(code)
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            os.write(write, json.dumps({"status": status, "cpu": usage.ru_utime + usage.ru_stime}).encode())
        finally:
            os._exit(0)

    def _become(self, node, env, preload):
        try:
            null = os.open("/dev/null", os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(self._out.fileno(), 1)
            os.dup2(self._err.fileno(), 2)
            env = enter.environment(node, env, preload)
            enter.enter(node)
            enter.execute(self.argv, env)
        except Exception as e:  # pylint: disable=broad-except  (seen in the program's error output)
            os.write(2, ("%s\n" % e).encode())
        finally:
            os._exit(125)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def pids(self):
        """The program and its descendants."""
        children = {}
        for name in os.listdir("/proc"):
            if name.isdigit():
                fields = procs.stat_fields(int(name))
                if fields is not None:
                    children.setdefault(int(fields[1]), []).append(int(name))
        found, look = [], [self._watcher] if self._watcher else []
        while look:
            for pid in children.get(look.pop(), ()):
                found.append(pid)
                look.append(pid)
        return found

    def cpu_ticks(self):
        """Processor time so far of the processes that run, in clock ticks."""
        return sum(int(f[11]) + int(f[12]) for f in map(procs.stat_fields, self.pids()) if f is not None)

    def output(self):
        """Standard output so far."""
        return self._text(self._out)

    def errors(self):
        """Standard error so far."""
        return self._text(self._err)

    @staticmethod
    def _text(file):
        return os.pread(file.fileno(), 16 << 20, 0).decode(errors="replace")

    def running(self):
        """False once the program and all its descendants have ended."""
        return self._watcher is not None and not select.select([self._report], [], [], 0)[0]

    def await_output(self, text, seconds=30.0):
        """Waits until the program has printed the text."""
        self._await(lambda: text in self.output(), "'%s' in its output" % text, seconds)

    def await_listening(self, port, seconds=30.0):
        """Waits until one of the program's processes listens on the TCP port in its network namespace."""
        wanted = ":%04X" % port

        def listens():
            for pid in self.pids():
                for table in ("tcp", "tcp6"):
                    with contextlib.suppress(OSError), open("/proc/%d/net/%s" % (pid, table), encoding="ascii") as f:
                        if any(w[1].endswith(wanted) and w[3] == "0A" for w in map(str.split, f)):
                            return True
            return False
        self._await(listens, "a listener on port %d" % port, seconds)

    def _await(self, condition, what, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            if not self.running() and not condition():
                raise ProgramError("%s ended without %s: %s" % (self._name(), what, self.errors().strip()[-2000:]))
            if time.monotonic() > deadline:
                raise ProgramError("%s: no %s within %d s: %s" % (self._name(), what, seconds, self.errors()[-2000:]))
            time.sleep(0.005)

    def _name(self):
        line = " ".join(self.argv)
        return line if len(line) < 200 else line[:60] + " ... " + line[-130:]

    def finish(self, seconds=120.0):
        """Waits for the end of the program and of all its descendants; what takes longer is killed, and an error."""
        try:
            if not select.select([self._report], [], [], seconds)[0]:
                raise ProgramError("%s did not end within %d s: %s" % (self._name(), seconds, self.errors()[-2000:]))
            text = b""
            while True:
                part = os.read(self._report, 4096)
                if not part:
                    break
                text += part
            if not text:
                raise ProgramError("%s: its watcher was killed" % self._name())
            report = json.loads(text)
            return Outcome(report["status"], self.output(), self.errors(), report["cpu"])
        finally:
            self.kill()

    def expect(self, seconds=120.0):
        """finish(), and an exit status other than 0 is an error."""
        outcome = self.finish(seconds)
        if outcome.status != 0:
            raise ProgramError("%s: exit status %d: %s"
                               % (self._name(), outcome.status, (outcome.errors + outcome.output).strip()[-2000:]))
        return outcome

    def kill(self):
        """Ends what still runs and forgets the program."""
        if self._watcher is None:
            return
        # Children that were forked meanwhile turn up in the next round.
        for _ in range(50):
            records = [r for r in map(procs.record_of, self.pids()) if r is not None]
            if not records:
                break
            for record in records:
                procs.send(record, signal.SIGKILL)
            procs.wait_gone(records, 2)
        os.waitpid(self._watcher, 0)
        self._watcher = None
        os.close(self._report)
        # The files stay open for output() and errors().
