# SPDX-License-Identifier: Apache-2.0
"""PC1 {VM1, VM2} and PC2 {VM3} on emulated machines: boot, domains, snapshots."""

import json
import os
import shutil
import threading
import time

from .. import deps, topology
from ..errors import LabError
from . import image, machine

# The VMs' home; addresses are those of the namespace lab.
VMS = {vm.name: vm for vm in topology.VMS}
MEMORY_MIB = {"PC1": 3072, "PC2": 2304}
VM_MEMORY_MIB = 512
WARM = "java -Xshare:auto -version; mpirun --version; iperf3 --version; xenstore-ls -s /none; true"

DOMAIN = """\
name="%(name)s"
type="pv"
kernel="/lab/boot/vmlinux"
ramdisk="/lab/boot/initrd.img"
extra="%(linux)s lab.role=domu lab.name=%(name)s lab.number=%(number)d"
memory=%(memory)d
vcpus=1
disk=["format=raw,vdev=xvda,access=ro,script=lab-block,target=/dev/vda",
"format=raw,vdev=xvdb,access=ro,script=lab-block,target=/dev/vdb",
"format=raw,vdev=xvdc,access=ro,script=lab-block,target=/dev/vdc"]
vif=["mac=%(mac)s,bridge=xenbr0,script=lab-vif"]
on_crash="destroy"
on_poweroff="destroy"
"""


class Hosts:
    """Both machines and the domains on them."""

    def __init__(self, run, product):
        self.run, self.product = run, product
        sockets = [os.path.join(run, "cable%d" % n) for n in (1, 2)]
        self.machines = {}
        for host in topology.HOSTS:
            number = int(host.name[2:])
            self.machines[host.name] = machine.Machine(host.name, number, MEMORY_MIB[host.name], run, product,
                                                       (sockets[number - 1], sockets[2 - number]))

    def machine_of(self, name):
        """The machine on which a host's or VM's commands run."""
        return self.machines[VMS[name].host if name in VMS else name]

    def sh(self, name, text, seconds=60, check=True):
        """Runs a shell command on a host or VM."""
        return self.machine_of(name).sh(text, name if name in VMS else None, seconds, check)

    def each(self, action, names):
        """
        Does something for several hosts or VMs at once; returns what it gave, by name. Whoever is stopped meanwhile need not
        wait for what takes long.
        """
        out, failed = {}, []

        def act(name):
            try:
                out[name] = action(name)
            except Exception as e:  # pylint: disable=broad-except  (raised below, by the caller's thread)
                failed.append(e)
        threads = [threading.Thread(target=act, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return out

    def start(self, digest):
        """Has all domains up: from snapshots of this make if there are any, else by booting, and then saves them."""
        folder = image.path("state-%s-%s" % (digest, self.shape()))
        if self.resume(folder):
            return
        began = time.monotonic()
        self._boot()
        deps.say("both hosts are up (%.0f s)" % (time.monotonic() - began))
        self.keep(folder)

    def resume(self, folder):
        """Goes on from what `keep` has saved there; false if there is nothing."""
        if not os.path.exists(folder + "/complete"):
            return False
        began = time.monotonic()
        try:
            self.each(lambda host: self.machines[host].start("%s/%s" % (folder, host)), list(self.machines))
            self.each(lambda host: self.machines[host].go_on(), list(self.machines))
            self.each(lambda vm: self.machine_of(vm).wait_up(vm), list(VMS))
        except LabError as e:
            if not any(m.ended() for m in self.machines.values()):
                raise  # slow, perhaps; the state need not be bad for that
            deps.say("%s is of no use: %s" % (os.path.basename(folder), e))
            self.end()
            shutil.rmtree(folder)
            return False
        deps.say("both hosts go on from %s (%.0f s)" % (os.path.basename(folder), time.monotonic() - began))
        return True

    def shape(self):
        """What of a machine decides whether a saved state fits it."""
        qemu = deps.output(["qemu-system-x86_64", "--version"])
        text = json.dumps([qemu, machine.XEN, machine.CPU, machine.LINUX, machine.DISKS, MEMORY_MIB, VM_MEMORY_MIB, DOMAIN, WARM])
        return image.digest(text)[:8]

    def _boot(self):
        for m in self.machines.values():
            m.start()
        self.each(self._boot_host, list(self.machines))

    def _boot_host(self, host):
        m = self.machines[host]
        m.wait_up()
        vms = [vm for vm in topology.VMS if vm.host == host]
        for vm in vms:
            text = DOMAIN % {"name": vm.name, "linux": machine.LINUX, "number": int(vm.name[2:]),
                             "memory": VM_MEMORY_MIB, "mac": mac(vm.name)}
            m.sh("cat > /run/%s.cfg <<'END'\n%sEND\nxl create /run/%s.cfg" % (vm.name, text, vm.name), seconds=240)
        for vm in vms:
            m.wait_up(vm.name)
        # What all runs read from the disk is in memory when the state is saved.
        for name in [None, *(vm.name for vm in vms)]:
            m.sh(WARM, name, seconds=240)

    def keep(self, folder):
        """Saves both machines at one moment, and goes on. Older states of the kind are dropped: they are large."""
        began, kind = time.monotonic(), os.path.basename(folder).split("-")[0] + "-"
        for name in os.listdir(image.CACHE):
            if name.startswith(kind):
                shutil.rmtree(image.path(name))
        os.makedirs(folder)
        for m in self.machines.values():
            m.stop()
        self.each(lambda host: self.machines[host].save("%s/%s" % (folder, host)), list(self.machines))
        # The kernels have parts of the product's disk in memory: it belongs to the state.
        shutil.copyfile(self.product, folder + "/product.ext4")
        with open(folder + "/complete", "w", encoding="ascii"):
            pass
        for m in self.machines.values():
            m.go_on()
        deps.say("saved for the next run (%.0f s)" % (time.monotonic() - began))

    def end(self):
        """Ends both machines."""
        for m in self.machines.values():
            m.end()


def mac(vm):
    """A VM's MAC address: in Xen's range."""
    return "00:16:3e:77:00:%02x" % int(vm[2:])
