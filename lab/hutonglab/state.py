# SPDX-License-Identifier: Apache-2.0
"""The cluster's state on disk (all of it below /run/hutong) and the lock that serialises up, down and agent."""

import contextlib
import fcntl
import os
import time
import uuid

from . import topology
from .errors import LabError

LOCK = "/run/hutong.lock"
ID_FILE = topology.LAB + "/id"
MARKER_NAME = "HUTONG_LAB"
NS_WIRE = topology.NS_PREFIX + "wire"


@contextlib.contextmanager
def locked(seconds=60.0):
    """Holds the cluster's lock; waits at most `seconds` for another holder. The lock file goes with the holder."""
    deadline = time.monotonic() + seconds
    while True:
        fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            if time.monotonic() > deadline:
                raise LabError("another hutong command is changing the cluster (it holds %s)" % LOCK) from None
            time.sleep(0.05)
            continue
        # The holder before us unlinked the file when it was done: then this is a lock on nothing.
        try:
            if os.stat(LOCK).st_ino == os.fstat(fd).st_ino:
                break
        except FileNotFoundError:
            pass
        os.close(fd)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(LOCK)
        os.close(fd)


def create():
    """Makes /run/hutong and the cluster's id."""
    os.mkdir(topology.RUN, 0o755)
    os.mkdir(topology.LAB, 0o700)
    with open(ID_FILE, "w", encoding="ascii") as f:
        f.write(uuid.uuid4().hex + "\n")


def cluster_id():
    """The id of the cluster that is up, even partly; None when there is none."""
    try:
        with open(ID_FILE, encoding="ascii") as f:
            return f.read().strip() or None
    except OSError:
        return None


def marker():
    """The environment entry (bytes) that every process started in the cluster carries, or None."""
    found = cluster_id()
    return None if found is None else ("%s=%s" % (MARKER_NAME, found)).encode("ascii")


def namespaces():
    """Network namespaces of the cluster that exist, by file name."""
    try:
        return sorted(n for n in os.listdir(topology.NETNS) if n.startswith(topology.NS_PREFIX))
    except FileNotFoundError:
        return []


def exists():
    """True when there is anything of a cluster, whole or partly."""
    return os.path.exists(topology.RUN) or bool(namespaces())


def is_up():
    """True when `up` has gone through to its end and `down` has not begun."""
    return os.path.exists(topology.LAB + "/up")


def require_any():
    """For commands that help to find out what is wrong with a cluster that is only partly there."""
    if not exists():
        require_up()


def require_up():
    """Fails unless the cluster is up."""
    if not is_up():
        hint = "it is only partly there: ./hutong down, then ./hutong up" if exists() else "start it with ./hutong up"
        raise LabError("the cluster is not up; " + hint)
