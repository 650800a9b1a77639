# SPDX-License-Identifier: Apache-2.0
"""`why` and `check`: what the agents say about a connection that exists, or about one that somebody might make."""

import ipaddress
import json
import os

from . import deps, shellclient, state, topology
from .errors import LabError

ACCELERATED, NOT_ACCELERATED = 0, 1


def node_of(pid):
    """The host or VM in whose network namespace the process lives; None when it lives outside the cluster."""
    try:
        own = os.stat("/proc/%d/ns/net" % pid)
    except FileNotFoundError:
        raise LabError("there is no process %d" % pid) from None
    except OSError as e:
        raise LabError("process %d cannot be looked at: %s" % (pid, e.strerror)) from e
    for node in topology.NODES:
        try:
            there = os.stat(node.ns_path)
        except OSError:
            continue
        if (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino):
            return node
    return None


def why(pid, fd, as_json):
    """Says why the process' descriptor is accelerated or not; the exit status says it too."""
    state.require_any()
    node = node_of(pid)
    if node is None or not node.is_vm:
        place = "on host %s itself" % node.name if node else "outside the cluster"
        raise LabError("process %d runs %s: only connections of VMs are accelerated" % (pid, place))
    answer = shellclient.query(node, "hutong:why %d %d --json" % (pid, fd))
    info = json.loads(answer)
    if as_json:
        print(answer)
    else:
        print(why_text(node.name, info))
    return ACCELERATED if info["accelerated"] else NOT_ACCELERATED


def _tame(text):
    """Names come from programs: they must not steer terminals."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def why_text(name, info):
    """The answer for people."""
    lines = ["%s: %s (process %d of user %d), descriptor %d"
             % (name, _tame(info["program"]), info["pid"], info["uid"], info["fd"])]
    if info["remote"] is None:
        lines.append("%s, not a TCP connection; shim %s" % (_tame(info["kind"]), _loaded(info)))
    else:
        lines.append("TCP %s -> %s, peer %s; shim %s; state %s, path %s"
                     % (info["local"], info["remote"], _tame(info["peerVm"] or "outside the cluster"), _loaded(info),
                        info["state"], info["path"]))
        lines.append("bytes counted: TCP in %d, out %d; ring in %d, out %d"
                     % (info["tcpIn"], info["tcpOut"], info["ringIn"], info["ringOut"]))
    lines.append((_tame(info["summary"]) + " " + _tame(info["advice"])).strip())
    return "\n".join(lines)


def _loaded(info):
    return "loaded" if info["shim"] else "not loaded"


def _target(text):
    """(what to ask the agent for, the VM of the cluster that it is or None)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        vm = topology.vm(text)
        return vm.name, vm
    mapped = getattr(address, "ipv4_mapped", None) or address
    for vm in topology.VMS:
        if mapped in (ipaddress.ip_address(vm.ipv4), ipaddress.ip_address(vm.ipv6)):
            return str(address), vm
    return str(address), None


def check(target_text, from_text, as_json):
    """Says whether a new connection would be accelerated: asks both ends' agents, since either can be against it."""
    target, there = _target(target_text)
    if from_text is not None:
        here = topology.vm(from_text)
    else:
        here = next(vm for vm in topology.VMS if vm is not there)
    state.require_any()
    deps.shim_for_programs()  # where the agents look for it, as `run` would put it there
    views = {here.name: json.loads(shellclient.query(here, "hutong:check %s --json" % target))}
    if there is not None and there is not here:
        try:
            views[there.name] = json.loads(shellclient.query(there, "hutong:check %s --json" % here.name))
        except LabError as e:
            # The agent here has said the same in its own words, but may not have noticed yet.
            views[there.name] = {"accelerated": False, "summary": str(e), "steps": []}
    good = all(view["accelerated"] for view in views.values())
    if as_json:
        print(json.dumps({"from": here.name, "to": target, "accelerated": good, "views": views}))
    else:
        for name, view in views.items():
            print(check_text(name, view))
        print("accelerated" if good else "not accelerated")
    return ACCELERATED if good else NOT_ACCELERATED


def check_text(name, view):
    """One agent's view for people."""
    lines = ["%s: %s" % (name, _tame(view["summary"]))]
    lines += ["  %-4s %-8s %s" % ("ok" if step["good"] else "NO", step["name"], _tame(step["text"]))
              for step in view["steps"]]
    return "\n".join(lines)
