# SPDX-License-Identifier: Apache-2.0
"""Processes that the lab started: recorded as pid and start time, so that a reused pid is never taken for ours."""

import os
import select
import signal
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """A process: its pid, and its start time in clock ticks since boot (/proc/PID/stat, field 22)."""

    pid: int
    start: int


def stat_fields(pid):
    """Fields of /proc/PID/stat from the third (the state) on, or None when there is no such process."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii", errors="replace") as f:
            text = f.read()
    except OSError:
        return None
    # The command name is in parentheses and may hold anything: what follows the last one is regular.
    return text.rpartition(")")[2].split()


def record_of(pid):
    """The record of a live process, or None. A zombie is not alive."""
    fields = stat_fields(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return Record(pid, int(fields[19]))


def alive(record):
    return record is not None and record_of(record.pid) == record


def write_record(path, record):
    """Writes the record whole or not at all."""
    temporary = "%s.%d" % (path, os.getpid())
    with open(temporary, "w", encoding="ascii") as f:
        f.write("%d %d\n" % (record.pid, record.start))
    os.replace(temporary, path)


def read_record(path):
    """The record in the file, or None when there is none or it cannot be read as one."""
    try:
        with open(path, encoding="ascii") as f:
            pid, start = f.read().split()
        return Record(int(pid), int(start))
    except (OSError, ValueError):
        return None


def open_record(record):
    """A pidfd of the recorded process, or None when that process is gone."""
    try:
        fd = os.pidfd_open(record.pid)
    except OSError:
        return None
    # The pidfd pins the process; only now does the comparison say something about what will be signalled.
    if alive(record):
        return fd
    os.close(fd)
    return None


def send(record, number):
    """Signals the recorded process, and no other one. True if it was there."""
    fd = open_record(record)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def wait_gone(records, seconds):
    """Waits until none of the recorded processes is alive; returns those that still are after the time."""
    deadline = time.monotonic() + seconds
    left = []
    for record in records:
        fd = open_record(record)
        if fd is None:
            continue
        try:
            # A pidfd polls readable when its process ends.
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            poller.poll(max(0, int((deadline - time.monotonic()) * 1000)))
        finally:
            os.close(fd)
        if alive(record):
            left.append(record)
    return left


def end(records, grace):
    """Ends recorded processes: SIGTERM, up to `grace` seconds, then SIGKILL. Returns those that would not go."""
    for record in records:
        send(record, signal.SIGTERM)
    left = wait_gone(records, grace)
    for record in left:
        send(record, signal.SIGKILL)
    return wait_gone(left, 5)


def marked(marker, ns_inodes):
    """
    Records of processes whose environment holds `marker` (bytes) or that live in one of the network namespaces;
    a pair of lists: (with the marker, in a namespace but without the marker).
    """
    ours, strangers = [], []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        pid = int(name)
        record = record_of(pid)
        if record is None:
            continue
        try:
            with open("/proc/%d/environ" % pid, "rb") as f:
                has_marker = marker is not None and marker in f.read().split(b"\0")
            inside = os.stat("/proc/%d/ns/net" % pid).st_ino in ns_inodes
        except OSError:
            continue
        if has_marker:
            ours.append(record)
        elif inside:
            strangers.append(record)
    return ours, strangers
