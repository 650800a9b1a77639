# SPDX-License-Identifier: Apache-2.0
"""The reference topology: PC1 {VM1, VM2} and PC2 {VM3}, their names, addresses and paths."""

import os
from dataclasses import dataclass

from .errors import UsageError

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = "/var/cache/hutong"
RUN = "/run/hutong"
LAB = RUN + "/lab"
NETNS = "/run/netns"
NS_PREFIX = "hutong-"


@dataclass(frozen=True)
class Node:
    """A host (domid 0) or a VM of the cluster."""

    name: str
    host: str
    domid: int
    ipv4: str
    ipv6: str
    mac: str

    @property
    def is_vm(self):
        return self.domid > 0

    @property
    def ns(self):
        """Name of the network namespace."""
        return NS_PREFIX + self.name

    @property
    def ns_path(self):
        return os.path.join(NETNS, self.ns)

    @property
    def run(self):
        """The agent's own run directory."""
        return os.path.join(RUN, self.name)

    @property
    def uts_path(self):
        return os.path.join(self.run, "uts")

    @property
    def interface(self):
        return "eth0" if self.is_vm else "br0"

    @property
    def vif(self):
        """A VM's cable at its host's end, by Xen's name for it."""
        return "vif%d.0" % self.domid


def _host(number):
    return Node("PC%d" % number, "PC%d" % number, 0, "10.77.0.%d" % (100 + number), "fd77::10%d" % number,
                "02:77:00:00:01:%02x" % number)


def _vm(number, host, domid):
    return Node("VM%d" % number, host, domid, "10.77.0.%d" % number, "fd77::%d" % number,
                "02:77:00:00:00:%02x" % number)


HOSTS = (_host(1), _host(2))
VMS = (_vm(1, "PC1", 1), _vm(2, "PC1", 2), _vm(3, "PC2", 1))
NODES = HOSTS + VMS
NAMES = tuple(node.name for node in NODES)


def vms_of(host):
    """The VMs that live on a host, by domid."""
    return [vm for vm in VMS if vm.host == host.name]


def node(name):
    """The host or VM of that name, in any case of letters."""
    for candidate in NODES:
        if candidate.name == name.upper():
            return candidate
    raise UsageError("unknown VM '%s' (known: %s)" % (name, ", ".join(NAMES)))


def vm(name):
    """The VM of that name; a host is an error."""
    found = node(name)
    if not found.is_vm:
        raise UsageError("'%s' is a host, not a VM (VMs: %s)" % (name, ", ".join(v.name for v in VMS)))
    return found
