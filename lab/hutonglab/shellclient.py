# SPDX-License-Identifier: Apache-2.0
"""Client of an agent's Gogo shell: one command a line, the answer ends with `ok` or `error: ...`."""

import os
import socket
import sys

from .errors import LabError


def _path(node):
    return os.path.join(node.run, "shell.sock")


def listens(node):
    """Whether anybody accepts connections there; what an agent that was killed has left behind does not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(1)
        try:
            s.connect(_path(node))
        except OSError:
            return False
    return True


class Shell:
    """A connection to the shell of one agent."""

    def __init__(self, node, seconds=15.0):
        path = _path(node)
        self._node = node
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(seconds)
        try:
            self._socket.connect(path)
        except OSError as e:
            self._socket.close()
            raise LabError("the agent of %s does not answer at %s: %s (./hutong status)"
                           % (node.name, path, e.strerror or e)) from e
        self._lines = self._socket.makefile("r", encoding="utf-8", errors="replace")

    def close(self):
        self._lines.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def execute(self, line):
        """Runs one command; returns (text, None), or (text, message) when the command failed."""
        if "\n" in line:
            raise LabError("one command a line")
        text = []
        try:
            self._socket.sendall(line.encode() + b"\n")
            for answer in self._lines:
                answer = answer.rstrip("\n")
                if answer == "ok":
                    return "\n".join(text), None
                if answer.startswith("error: "):
                    return "\n".join(text), answer[len("error: "):]
                text.append(answer)
        except OSError as e:
            raise LabError("the agent of %s does not answer: %s" % (self._node.name, e)) from e
        raise LabError("the agent of %s does not answer: it has closed the connection" % self._node.name)


def query(node, line, seconds=15.0):
    """The output of one command; its failure is an error."""
    with Shell(node, seconds) as shell:
        text, problem = shell.execute(line)
    if problem is not None:
        raise LabError("%s: %s" % (node.name, problem))
    return text


def one_command(node, line):
    """Prints the command's output; exit status 1 when it failed."""
    with Shell(node) as shell:
        return _show(*shell.execute(line))


def interactive(node):
    """Commands from standard input until its end; exit status of the last one."""
    status = 0
    prompt = node.name + "> " if sys.stdin.isatty() else ""
    with Shell(node, None) as shell:
        while True:
            if prompt:
                print(prompt, end="", flush=True)
            line = sys.stdin.readline()
            if not line or line.strip() in ("exit", "quit"):
                return status
            if line.strip():
                status = _show(*shell.execute(line.strip()))


def _show(text, problem):
    if text:
        print(text, flush=True)
    if problem is not None:
        print("error: " + problem, file=sys.stderr, flush=True)
        return 1
    return 0
