# SPDX-License-Identifier: Apache-2.0
"""Brings the whole cluster up and takes it down; tells how it is."""

import contextlib
import dataclasses
import glob
import json
import os
import shutil
import sys
import time

from . import agents, deps, enter, link, net, procs, shellclient, state, topology
from .errors import LabError


def up(wanted=link.Link(), overrides=(), keep=False):
    """Creates the reference topology with the wanted link. On failure everything is taken down again, unless `keep`."""
    with state.locked():
        if state.exists():
            kind = "already up" if state.is_up() else "partly up (an `up` or `down` was interrupted)"
            raise LabError("the cluster is %s; ./hutong down removes it" % kind)
        if wanted.faults and not os.path.exists(link.INJECTOR):
            raise LabError("%s is missing: build it with `make -C lab/c` (./hutong up does it)" % link.INJECTOR)
        agents.command(topology.NODES[0])  # says what is missing, before anything is made
        state.create()
        try:
            _build(wanted, overrides)
        except BaseException:
            if keep:
                print("hutong: the cluster is left as it is; ./hutong down removes it", file=sys.stderr)
            else:
                _remove()
            raise


def _build(wanted, overrides):
    os.mkdir(agents.TRUSTED, 0o755)
    if overrides:
        with open(agents.OVERRIDES, "w", encoding="utf-8") as f:
            f.writelines(line + "\n" for line in overrides)
    link.save(wanted)
    enter.write_hosts()
    net.allow_congestion()
    for node in topology.NODES:
        os.mkdir(node.run, 0o700)
        net.make_namespace(node)
    net.restore_congestion()
    for host in topology.HOSTS:
        net.make_bridge(host, wanted.mtu)
        for vm in topology.vms_of(host):
            net.make_nic(host, vm, wanted.mtu)
    link.make(*topology.HOSTS, wanted)
    # Hosts first: the VMs' agents publish in their stores.
    for kind in (topology.HOSTS, topology.VMS):
        for node in kind:
            agents.start(node)
        agents.wait_ready(kind)
    _wait_members()
    with open(topology.LAB + "/up", "w", encoding="ascii"):
        pass


def _members_known(vm):
    try:
        return len(json.loads(shellclient.query(vm, "hutong:vms --json")))
    except LabError:
        return 0  # its shell, or discovery, comes a moment after the rest


def _wait_members(seconds=30):
    """Until every VM knows all VMs: a program that is started right after `up` is accelerated from its first connection."""
    deadline = time.monotonic() + seconds
    for vm in topology.VMS:
        while _members_known(vm) < len(topology.VMS):
            if time.monotonic() > deadline:
                raise LabError("%s does not know all VMs after %d s%s" % (vm.name, seconds, agents.log_tail(vm)))
            time.sleep(0.05)


@contextlib.contextmanager
def for_now(wanted=None):
    """
    A cluster for the time of a measurement: the one that is up, or one of our own that goes away again. If a link is
    wanted, one that is up must have it.
    """
    deps.prepare_cluster()
    deps.prepare_bench()
    ours = not state.is_up()
    if ours:
        deps.say("starting the cluster")
        up(wanted or link.Link())
    elif wanted not in (None, link.current()):
        raise LabError("the cluster that is up has another link (%s); ./hutong down first" % link.current().text())
    try:
        yield
    finally:
        if ours:
            deps.say("stopping the cluster")
            down()


def down():
    """Takes everything away, also what a crash left half made. False when there was nothing."""
    with state.locked():
        if not state.exists():
            return False
        _remove()
        return True


def _remove():
    left = []
    if os.path.exists(topology.LAB + "/up"):
        os.unlink(topology.LAB + "/up")
    inodes = _inodes()
    # Programs before agents, so that they end as they would in a VM that is switched off.
    ours, strangers = procs.marked(state.marker(), inodes)
    recorded = [r for r in (agents.record(n) for n in topology.NODES) if r is not None]
    left += procs.end([r for r in ours if r not in recorded], 2.0)
    left += agents.end_all()
    # A child forked while we looked: once more, now that nobody is left to fork.
    left += procs.end(procs.marked(state.marker(), inodes)[0], 1.0)
    net.remove_namespaces()
    net.restore_congestion()
    for path in glob.glob("/dev/shm/hutong*"):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
    shutil.rmtree(topology.RUN, ignore_errors=True)
    for record in strangers:
        if procs.alive(record):
            print("hutong: pid %d ran inside the cluster, but not by ./hutong: it was left alone" % record.pid,
                  file=sys.stderr)
    if left or state.exists():
        raise LabError("could not remove: %s" % ", ".join(
            ["pid %d" % r.pid for r in left] + state.namespaces()
            + ([topology.RUN] if os.path.exists(topology.RUN) else [])))


def _inodes():
    found = set()
    for name in state.namespaces():
        try:
            stat = os.stat(os.path.join(topology.NETNS, name))
        except OSError:
            continue
        # A file that nothing is mounted on yet is no namespace, and its inode number says nothing.
        if stat.st_dev == os.stat("/proc/self/ns/net").st_dev:
            found.add(stat.st_ino)
    return found


def link_status():
    """The link between the hosts as `status --json` shows it; None without a cluster."""
    there = link.current()
    if there is None:
        return None
    return dict(dataclasses.asdict(there), text=there.text(), goodput=there.goodput(), counts=link.fault_counts())


def status():
    """(state, rows): `up`, `partial`, `degraded` (an agent is not ready) or `down`; one dict for each node."""
    if not state.exists():
        return "down", []
    rows = []
    for node in topology.NODES:
        found = agents.record(node)
        rows.append({
            "name": node.name,
            "kind": "vm" if node.is_vm else "host",
            "host": node.host,
            "domid": node.domid,
            "ipv4": node.ipv4,
            "ipv6": node.ipv6,
            "namespace": os.path.exists(node.ns_path),
            "agent": agents.state_of(node),
            "pid": found.pid if found else None,
            "seconds": round(agents.uptime_seconds(found)) if found else None,
            "resident_kib": agents.resident_kib(found.pid) if found else None,
        })
    if not state.is_up():
        return "partial", rows
    return ("up" if all(r["agent"] == "ready" for r in rows) else "degraded"), rows
