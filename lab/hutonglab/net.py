# SPDX-License-Identifier: Apache-2.0
"""Namespaces, bridges and cables of the virtual cluster; the link between the hosts is link.py's."""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys

from . import enter, state, topology
from .errors import LabError

CONGESTION = "cubic"
ALLOWED = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
ALLOWED_SAVED = topology.LAB + "/allowed-congestion-control"
SIOCETHTOOL = 0x8946
#: ethtool's command for receive merging.
GRO = 0x2C
NETNS_MARK = topology.LAB + "/made-netns-dir"


def command(*args):
    """Runs a command and returns its output; its own message becomes ours when it fails."""
    done = subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError("%s: %s" % (" ".join(args), done.stderr.strip() or "exit %d" % done.returncode))
    return done.stdout


def ip(*args):
    return command("ip", *args)


def inside(node, action):
    """Runs action() in a child process inside the node's network namespace; raises what it raised as LabError."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            enter.setns(node.ns_path, enter.CLONE_NEWNET)
            action()
            status = 0
        except Exception as e:  # pylint: disable=broad-except  (reported by the parent)
            os.write(write, str(e).encode()[:4000])
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as f:
        text = f.read().decode()
    if os.waitpid(pid, 0)[1] != 0:
        raise LabError("%s: %s" % (node.name, text))


def ethtool(device, commands, value):
    """Sets features of a device of this namespace, by ethtool's classic commands."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for number in commands:
            setting = ctypes.create_string_buffer(struct.pack("II", number, value))
            fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sP16x", device.encode(), ctypes.addressof(setting)))


def _sysctls(node):
    def write(name, value):
        # Where the kernel lacks a setting or forbids it, its own default has to do.
        with contextlib.suppress(OSError):
            _write("/proc/sys/net/" + name, value)

    # Linux's own default, and the baseline of every comparison; the machine may have another one.
    write("ipv4/tcp_congestion_control", CONGESTION)
    # Duplicate address detection only delays start-up here, router solicitations are noise. (No IPv6: nothing to do.)
    for name in ("all", "default"):
        write("ipv6/conf/%s/accept_dad" % name, "0")
        write("ipv6/conf/%s/router_solicitations" % name, "0")
        write("ipv6/conf/%s/accept_ra" % name, "0")
    if node.is_vm:
        write("ipv4/ip_unprivileged_port_start", "1024")


def _write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def _read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def allow_congestion():
    """
    Lets namespaces choose CONGESTION. Outside the machine's own namespace the kernel allows only what its list holds,
    so CONGESTION is added while `up` runs; restore_congestion (or `down`, after a crash) puts the list back.
    """
    with contextlib.suppress(OSError):
        before = _read(ALLOWED)
        if CONGESTION not in before.split():
            _write(ALLOWED_SAVED, before)
            _write(ALLOWED, before + " " + CONGESTION)


def restore_congestion():
    """Takes back what allow_congestion did. What a namespace has chosen by then stays."""
    with contextlib.suppress(OSError):
        _write(ALLOWED, _read(ALLOWED_SAVED))
        os.unlink(ALLOWED_SAVED)


def has_ipv6():
    return os.path.exists("/proc/net/if_inet6")


def _addresses(node):
    ip("-n", node.ns, "addr", "add", node.ipv4 + "/24", "dev", node.interface)
    if has_ipv6():
        ip("-n", node.ns, "-6", "addr", "add", node.ipv6 + "/64", "dev", node.interface, "nodad")


def make_namespace(node):
    """Creates a node's network namespace, and a VM's host name."""
    if not os.path.isdir(topology.NETNS):
        # `ip netns` turns this directory into a mount point; down takes that back.
        with open(NETNS_MARK, "w", encoding="ascii"):
            pass
    ip("netns", "add", node.ns)
    inside(node, lambda: _sysctls(node))
    ip("-n", node.ns, "link", "set", "lo", "up")
    if node.is_vm:
        with open(node.uts_path, "w", encoding="ascii"):
            pass
        command("unshare", "--uts=" + node.uts_path, "sh", "-c",
                'echo "$1" > /proc/sys/kernel/hostname', "sh", node.name)


def make_bridge(host, mtu):
    ip("-n", host.ns, "link", "add", "br0", "address", host.mac, "mtu", str(mtu), "type", "bridge",
       "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
    ip("-n", host.ns, "link", "set", "br0", "up")
    _addresses(host)


def make_nic(host, vm, mtu):
    """The VM's cable: eth0 in the VM, the other end on the host's bridge."""
    ip("-n", host.ns, "link", "add", vm.vif, "mtu", str(mtu), "type", "veth",
       "peer", "name", "eth0", "address", vm.mac, "mtu", str(mtu), "netns", vm.ns)
    ip("-n", host.ns, "link", "set", vm.vif, "master", "br0", "up")
    ip("-n", vm.ns, "link", "set", "eth0", "up")
    _addresses(vm)


def remove_namespaces():
    """Removes all namespaces of the cluster, whatever state they are in, and the host names' mounts."""
    for name in state.namespaces():
        path = os.path.join(topology.NETNS, name)
        for device in _devices(name):
            # Explicitly: a process that stays in the namespace must not keep the cables alive.
            subprocess.run(["ip", "-n", name, "link", "del", device], stdin=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)
        subprocess.run(["ip", "netns", "del", name], stdin=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        if os.path.exists(path):
            # `ip netns add` was killed between creating the file and mounting on it.
            unmount(path)
            os.unlink(path)
    for path in mounts_below(topology.RUN):
        unmount(path)
    if os.path.exists(NETNS_MARK) and not os.listdir(topology.NETNS):
        unmount(topology.NETNS)
        os.rmdir(topology.NETNS)


def _devices(ns):
    listing = subprocess.run(["ip", "-n", ns, "-o", "link", "show"], stdin=subprocess.DEVNULL, capture_output=True,
                             text=True, check=False).stdout
    names = [line.split(": ")[1].partition("@")[0] for line in listing.splitlines() if ": " in line]
    return [n for n in names if n != "lo"]


def mounts_below(folder):
    """Mount points at or below a folder, the deepest first."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        for line in f:
            point = line.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
            if point == folder or point.startswith(folder + "/"):
                found.append(point)
    return sorted(found, reverse=True)


def unmount(path):
    done = subprocess.run(["umount", "-l", path], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0 and path in mounts_below(path):
        print("hutong: " + done.stderr.strip(), file=sys.stderr)
