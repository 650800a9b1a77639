# SPDX-License-Identifier: Apache-2.0
"""Enters a node's namespaces: network, host name, and a private /etc/hosts that knows the cluster."""

import ctypes
import os
import pwd

from . import state, topology
from .errors import LabError, UsageError

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWNET = 0x40000000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_SLAVE = 1 << 19

HOSTS_FILE = topology.RUN + "/hosts"

_libc = ctypes.CDLL(None, use_errno=True)


def _call(what, result):
    if result != 0:
        number = ctypes.get_errno()
        raise LabError("%s: %s" % (what, os.strerror(number)))


def setns(path, kind):
    """Moves the caller into the namespace that the file stands for."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise LabError("%s: %s" % (path, e.strerror)) from e
    try:
        _call("setns %s" % path, _libc.setns(fd, kind))
    finally:
        os.close(fd)


def write_hosts():
    """Writes the file that plays /etc/hosts inside the nodes. The machine's own is never touched."""
    lines = ["127.0.0.1 localhost", "::1 ip6-localhost ip6-loopback"]
    for node in topology.NODES:
        lines.append("%s %s %s" % (node.ipv4, node.name, node.name.lower()))
        lines.append("%s %s-v6" % (node.ipv6, node.name))
    with open(HOSTS_FILE, "w", encoding="ascii") as f:
        f.write("\n".join(lines) + "\n")


def enter(node):
    """
    Moves the calling process into the node. It gets a mount namespace of its own, in which the cluster's host table
    covers /etc/hosts; mounts made outside still arrive there, none made there leaves it.
    """
    setns(node.ns_path, CLONE_NEWNET)
    if node.is_vm:
        setns(node.uts_path, CLONE_NEWUTS)
    _call("unshare", _libc.unshare(CLONE_NEWNS))
    # Without this step the bind mount below would show on the machine itself: an error must stop us here.
    _call("mount --make-rslave /", _libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None))
    if os.path.exists("/etc/hosts"):
        _call("mount /etc/hosts", _libc.mount(HOSTS_FILE.encode(), b"/etc/hosts", None, MS_BIND, None))


def own_sysfs():
    """Gives the calling process a /sys that shows its network namespace, in a mount namespace of its own."""
    _call("unshare", _libc.unshare(CLONE_NEWNS))
    _call("mount --make-rslave /", _libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None))
    _call("mount /sys", _libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None))


def environment(node, base, preload=None):
    """
    The environment of a program in a node: the caller's, with the cluster's marker, and with the shim as the first
    preloaded library or (preload None) without it.
    """
    env = dict(base)
    others = [lib for lib in env.pop("LD_PRELOAD", "").replace(" ", ":").split(":")
              if lib and not lib.endswith("libhutong.so")]
    wanted = ([preload] if preload else []) + others
    if wanted:
        env["LD_PRELOAD"] = ":".join(wanted)
    env[state.MARKER_NAME] = state.cluster_id() or ""
    env["HUTONG_NODE"] = node.name
    return env


def find_user(name):
    """The password entry of a user, by name or number."""
    try:
        return pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise UsageError("unknown user '%s'" % name) from None


def become(user, env):
    """Gives up root for the user; fixes the environment's idea of who runs."""
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    env.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)


def execute(command, env):
    """Replaces the process by the command; as a shell does, 127 when it is not found and 126 when it cannot run."""
    try:
        os.execvpe(command[0], command, env)
    except FileNotFoundError:
        status, text = 127, "not found"
    except OSError as e:
        status, text = 126, e.strerror
    os.write(2, ("hutong: %s: %s\n" % (command[0], text)).encode())
    os._exit(status)
