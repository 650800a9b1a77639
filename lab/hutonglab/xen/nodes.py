# SPDX-License-Identifier: Apache-2.0
"""The product on the emulated machines: its agents in dom0s and domUs, programs with and without the shim."""

import glob
import json
import os
import shutil
import time

from .. import agents, deps, topology
from ..errors import LabError
from . import hosts, image

RUN = "/run/hutong"
PRODUCT = "/product"
XEN_LIBRARY = os.path.join(topology.REPO, "native-xen/build/libhutong_xen.so")
XEN_TESTS = os.path.join(topology.REPO, "native-xen/build")
# Everything takes some twenty times as long as on the machine itself.
READY_SECONDS = 400
FLAGS = ("-Xms12m", "-Xmn4m", "-Xmx64m", "-XX:+UseSerialGC", "-Xshare:auto", "-XX:TieredStopAtLevel=1")
SHELL = """\
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(60)
s.connect("%s/shell.sock")
s.sendall(sys.argv[1].encode() + b"\\n")
for line in s.makefile(errors="replace"):
    if line == "ok\\n": sys.exit(0)
    print(line, end="")
    if line.startswith("error: "): sys.exit(1)
sys.exit(2)
""" % RUN


def parts():
    """What goes onto the product's disk."""
    out = {"dist": agents.DIST, "lib/libhutong.so": deps.SHIM, "lib/libhutong_xen.so": XEN_LIBRARY,
           **{name: "%s/%s" % (XEN_TESTS, name) for name in ("xen_test", "xen_ring", "xen_storm")}}
    for folder in ("bench/build", "mpi-examples/build"):
        if os.path.isdir(os.path.join(topology.REPO, folder)):
            out[os.path.basename(os.path.dirname(folder))] = os.path.join(topology.REPO, folder)
    return {name: source for name, source in out.items() if os.path.exists(source)}


class Nodes:
    """The agents on the hosts and VMs of a lab."""

    def __init__(self, lab, settings=(), folder=None):
        self.lab, self.settings, self.folder, self.running = lab, dict(settings), folder, False
        self.names = [node.name for node in topology.NODES]

    def prepare(self, names=None):
        """Mounts the product's disk, everywhere unless said otherwise. A snapshot may remember another disk's first block: it is dropped."""
        def mount(name):
            disk = "/dev/xvdc" if name in hosts.VMS else "/dev/vdc"
            self.lab.sh(name, "blockdev --flushbufs %s && mount -o ro,noload %s %s && mkdir -p -m 700 %s"
                        % (disk, disk, PRODUCT, RUN))
            self.lab.sh(name, "cat > /run/hutong-shell.py <<'END'\n%sEND" % SHELL)
            self.lab.sh(name, "date -s @%.3f >/dev/null" % time.time())
        self.lab.each(mount, names or self.names)

    def domid(self, vm):
        """A VM's domain id now, as Xen has it."""
        return int(self.lab.sh(vm, "xenstore-read domid").text)

    def _properties(self, name):
        out = {"hutong.name": name, "hutong.run": RUN, "hutong.keys.trusted": RUN + "/trusted"}
        if name in hosts.VMS:
            out.update({"hutong.role": "vm", "hutong.host": hosts.VMS[name].host, "hutong.interface": "eth0",
                        "hutong.domid": str(self.domid(name)), "hutong.channel.provider": "xen", "hutong.quota.peer": "48",
                        "hutong.xen.library": PRODUCT + "/lib/libhutong_xen.so",
                        "hutong.shim": PRODUCT + "/lib/libhutong.so",
                        # Else it may find TCP to be no slower: this lab is to show both.
                        "hutong.inter": "light"})
        else:
            out.update({"hutong.role": "host", "hutong.host": name, "hutong.interface": "xenbr0", "hutong.domid": "0",
                        "hutong.xenstore.embedded": "false", "hutong.xenstore.socket": "/run/xenstored/socket",
                        "hutong.keys.private": RUN + "/host.key", "hutong.xen.domains": "true",
                        # Under emulation seconds may pass in which a domain does not run.
                        "hutong.silence.ms": "9000", "hutong.list.valid.ms": "10000",
                        "hutong.xen.library": PRODUCT + "/lib/libhutong_xen.so"})
        out.update(self.settings)
        return "".join("%s=%s\n" % item for item in sorted(out.items()))

    def start(self, names):
        """Starts agents and waits until they are ready."""
        jars = ":".join("%s/dist/lib/%s" % (PRODUCT, os.path.basename(jar))
                        for jar in sorted(glob.glob(agents.DIST + "/lib/*.jar")))

        def start(name):
            self.lab.sh(name, "rm -f %s/ready; cat > %s/agent.properties <<'END'\n%sEND" % (RUN, RUN, self._properties(name)))
            self.lab.sh(name, "cd %s; setsid java %s -cp %s %s --config %s/agent.properties >>agent.log 2>&1 </dev/null &"
                        " echo $! > agent.pid" % (RUN, " ".join(FLAGS), jars, agents.MAIN, RUN))
            self._wait_ready(name)
        self.lab.each(start, names)

    def _wait_ready(self, name):
        deadline = time.monotonic() + READY_SECONDS
        while self.lab.sh(name, "[ -e %s/ready ]" % RUN, check=False).status:
            if self.lab.sh(name, "kill -0 $(cat %s/agent.pid)" % RUN, check=False).status or time.monotonic() > deadline:
                raise LabError("the agent of %s is not ready:\n%s" % (name, self.log(name)))
            time.sleep(0.3)

    def log(self, name, lines=30):
        """The end of an agent's log."""
        return self.lab.sh(name, "tail -n %d %s/agent.log" % (lines, RUN), check=False).text

    def start_all(self):
        """Starts all agents: hosts, which exchange their public keys as an administrator would do it, then VMs."""
        self.start([host.name for host in topology.HOSTS])
        for host in topology.HOSTS:
            key = self.lab.sh(host.name, "cat %s/trusted/%s.pub" % (RUN, host.name)).text
            for other in topology.HOSTS:
                if other is not host:
                    self.lab.sh(other.name, "cat > %s/trusted/%s.pub <<'END'\n%sEND" % (RUN, host.name, key))
        self.start(list(hosts.VMS))

    def keep(self):
        """Saves the lab with its agents as they are, for the next run with the same product."""
        self.lab.keep(self.folder)

    def stop(self, name, how="TERM"):
        """Ends an agent by a signal and waits until it is gone."""
        self.lab.sh(name, "p=$(cat %s/agent.pid); kill -%s $p; while kill -0 $p 2>/dev/null; do sleep 0.2; done"
                    % (RUN, how), seconds=60)

    def ask(self, name, command, check=True):
        """One Gogo command's answer."""
        return self.lab.sh(name, "python3 -I /run/hutong-shell.py '%s'" % command, check=check).text

    def ask_json(self, name, command):
        """One Gogo command's answer, from JSON; None while it cannot be had."""
        try:
            return json.loads(self.ask(name, command + " --json", check=False))
        except ValueError:
            return None

    def wait_domid(self, vm, seconds):
        """Until a restored VM's agent goes by the domain id that the VM has now."""
        deadline, domid = time.monotonic() + seconds, self.domid(vm)
        while not any(row["self"] and row["domid"] == domid for row in self.ask_json(vm, "hutong:vms") or ()):
            if time.monotonic() > deadline:
                raise LabError("the agent of %s is not that of domain %d:\n%s" % (vm, domid, self.log(vm)))
            time.sleep(0.5)

    def wait_members(self, seconds=60):
        """Until every VM knows all VMs."""
        deadline = time.monotonic() + seconds
        for vm in hosts.VMS:
            while len(self.ask_json(vm, "hutong:vms") or ()) < len(hosts.VMS):
                if time.monotonic() > deadline:
                    raise LabError("%s does not know all VMs:\n%s" % (vm, self.log(vm)))
                time.sleep(0.5)


def _files(parts):
    """All files of the product, in a fixed order."""
    for _, source in sorted(parts.items()):
        if os.path.isfile(source):
            yield source
        for folder, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                yield os.path.join(folder, name)


def make(run, settings=()):
    """
    A lab whose domains are up, with the product's disk mounted; (hosts, nodes). The caller ends the hosts. If this product
    has run here before with the same settings, its agents are up too: `nodes.running`.
    """
    os.makedirs(run, exist_ok=True)
    digest, product = image.ensure(), os.path.join(run, "product.ext4")
    lab = hosts.Hosts(run, product)
    folder = image.path("agents-%s-%s" % (
        image.digest(digest, *_files(parts()), sorted(dict(settings).items()), __file__), lab.shape()))
    nodes = Nodes(lab, settings, folder)
    try:
        if os.path.exists(folder + "/complete"):
            shutil.copyfile(folder + "/product.ext4", product)
            nodes.running = lab.resume(folder)
        if not nodes.running:
            image.product(parts(), product)
            lab.start(digest)
            nodes.prepare()
        return lab, nodes
    except BaseException:
        lab.end()
        raise
