# SPDX-License-Identifier: Apache-2.0
"""One emulated machine with Xen: QEMU's process, its monitor (QMP), and the way to the command server in dom0."""

import json
import os
import queue
import signal
import socket
import subprocess
import threading
import time

from .. import procs
from ..errors import LabError
from . import image

XEN = ("sched=credit sched_ratelimit_us=0 dom0_mem=768M,max:768M dom0_max_vcpus=1 com1=115200,8n1 console=com1"
       " loglvl=warning guest_loglvl=warning spec-ctrl=no xpti=no gnttab_max_frames=128 conring_size=2048k")
# With SMAP dom0 crashes at its first return to user space, with XSAVE memory is corrupted now and then: QEMU's faults.
# Without XSAVE there is no state for AVX, which no processor names then; programs that only look at the name would use it.
CPU = "max,-smap,-smep,-xsave,-avx,-avx2,-fma,-f16c,-vaes,-vpclmulqdq"
# Shared root, lab, product; and a writable one for what dom0 saves.
DISKS = ("base", "lab", "product", "scratch")
SCRATCH_MIB = 800
LINUX = "console=hvc0 quiet mitigations=off nokaslr"


class Answer:
    """What a command in a domain has said."""

    def __init__(self, status, text):
        self.status, self.text = status, text

    def __repr__(self):
        return "Answer(%r, %r)" % (self.status, self.text)


class Machine:
    """A machine of the lab; all its files are in one run directory."""

    def __init__(self, name, number, memory, run, product, link):
        """link: (own socket, the other's) of the cable between the hosts, or None."""
        self.name, self.number, self.run = name, number, run
        self.memory, self.product, self.link = memory, product, link
        self.process = self._control = None
        self._lock, self._waiting, self._next = threading.Lock(), {}, 1

    def _file(self, kind):
        return os.path.join(self.run, "%s.%s" % (self.name.lower(), kind))

    @property
    def log(self):
        """The serial console's log."""
        return self._file("log")

    def _arguments(self):
        dom0 = "%s root=none lab.role=dom0 lab.name=%s lab.number=%d" % (LINUX, self.name, 100 + self.number)
        disks = [image.path("base.ext4"), image.path("lab.ext4"), self.product]
        out = [*image.LOW, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "pc", "-cpu", CPU, "-smp", "2",
               "-m", str(self.memory), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
               "-kernel", image.path("xen"), "-append", XEN,
               "-initrd", "%s %s,%s" % (image.path("vmlinux"), dom0.replace(",", ",,"), image.path("initrd.img")),
               "-serial", "file:" + self.log,
               "-qmp", "unix:%s,server=on,wait=off" % self._file("qmp"),
               "-device", "virtio-serial-pci",
               "-chardev", "socket,id=control,path=%s,server=on,wait=off" % self._file("control"),
               "-device", "virtserialport,chardev=control,name=hutong"]
        for disk in disks:
            out += ["-drive", "file=%s,if=virtio,format=raw,readonly=on" % disk]
        out += ["-drive", "file=%s,if=virtio,format=raw" % self._file("scratch")]
        if self.link:
            out += ["-netdev", "dgram,id=n0,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s" % self.link,
                    "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:00:00:%02x" % self.number]
        return out

    def start(self, state=None):
        """Starts the machine, or goes on from a state that `save` wrote."""
        left = procs.read_record(self._file("pid"))
        if procs.alive(left):  # of a run that was killed: a second machine with the same addresses and disk
            os.killpg(left.pid, signal.SIGKILL)
            procs.wait_gone([left], 30)
        for kind in ("qmp", "control"):
            if os.path.exists(self._file(kind)):
                os.unlink(self._file(kind))
        with open(self._file("scratch"), "wb") as f:
            f.truncate(SCRATCH_MIB << 20)
        image.make_filesystem(self._file("scratch"))
        extra = ["-incoming", "exec:cat " + state] if state else []
        with open(self._file("qemu"), "wb") as out:
            self.process = subprocess.Popen([*self._arguments(), *extra], stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=out, start_new_session=True)
        own = procs.record_of(self.process.pid)
        if own is not None:
            procs.write_record(self._file("pid"), own)
        self._control = self._connect("control", 30)
        threading.Thread(target=self._listen, daemon=True).start()

    def _connect(self, kind, seconds):
        deadline = time.monotonic() + seconds
        while True:
            s = socket.socket(socket.AF_UNIX)
            try:
                s.connect(self._file(kind))
                return s
            except OSError as e:
                s.close()
                self._check()
                if time.monotonic() > deadline:
                    raise LabError("%s: QEMU's %s socket cannot be reached" % (self.name, kind)) from e
                time.sleep(0.05)

    def _check(self):
        if self.ended():
            with open(self._file("qemu"), encoding="utf-8", errors="replace") as f:
                raise LabError("%s: QEMU has ended (%d): %s" % (self.name, self.process.returncode, f.read()[-500:]))

    # ---- commands in domains

    def _listen(self):
        for line in self._control.makefile(errors="replace"):
            try:
                message = json.loads(line)
                self._waiting[message["id"]].put(message)
            except (ValueError, KeyError):
                continue  # cut off by a snapshot, or nobody waits for it any more

    def sh(self, text, node=None, seconds=60, check=True):
        """Runs a shell command in dom0, or in a VM of this machine; returns its Answer."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            answers = self._waiting[number] = queue.Queue()
            request = {"id": number, "sh": text, "seconds": seconds}
            if node is not None:
                request["node"] = node
            try:
                self._control.sendall((json.dumps(request) + "\n").encode())
            except OSError as e:
                raise LabError("%s: no way to its domains: %s" % (self.name, e)) from e
        deadline, out = time.monotonic() + seconds + 30, ""
        try:
            while True:
                try:
                    message = answers.get(timeout=1)
                except queue.Empty:
                    self._check()
                    if time.monotonic() < deadline:
                        continue
                    message = {"status": -1}
                out += message.get("out", "")
                if "status" in message:
                    break
        finally:
            del self._waiting[number]
        answer = Answer(message["status"], out)
        if check and answer.status:
            raise LabError("%s: `%s` ended with %d:\n%s" % (node or self.name, text, answer.status, out[-2000:]))
        return answer

    def wait_up(self, node=None, seconds=240):
        """Waits until dom0's, or a VM's, command server answers."""
        deadline = time.monotonic() + seconds
        while True:
            if self.sh("true", node, 5, check=False).status == 0:
                return
            if time.monotonic() > deadline:
                raise LabError("%s does not come up; see %s" % (node or self.name, self.log))

    # ---- the machine itself

    def qmp(self, *commands):
        """Runs monitor commands, (name, arguments) each; returns the last one's result."""
        try:
            return self._qmp(commands)
        except OSError as e:
            self._check()
            raise LabError("%s: QEMU's monitor: %s" % (self.name, e)) from e

    def ended(self):
        """Whether QEMU has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def _qmp(self, commands):
        with self._connect("qmp", 10) as s, s.makefile("rw") as f:
            f.readline()
            for name, arguments in (("qmp_capabilities", {}), *commands):
                f.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                f.flush()
                while True:
                    result = json.loads(f.readline() or '{"error": {"desc": "QEMU has ended"}}')
                    if "error" in result:
                        raise LabError("%s: %s: %s" % (self.name, name, result["error"]["desc"]))
                    if "return" in result:
                        break
            return result["return"]

    def stop(self):
        """Halts the machine between two instructions."""
        self.qmp(("stop", {}))

    def go_on(self):
        """Goes on; after a start from a saved state this waits until that has been read."""
        while self.qmp(("query-status", {}))["status"] == "inmigrate":
            self._check()
            time.sleep(0.05)
        self.qmp(("cont", {}))

    def save(self, state):
        """Writes the stopped machine's state to a file."""
        self.qmp(("migrate-set-parameters", {"max-bandwidth": 10 ** 10}), ("migrate", {"uri": "exec:cat > " + state}))
        while True:
            status = self.qmp(("query-migrate", {})).get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise LabError("%s: the state cannot be saved" % self.name)
            self._check()
            time.sleep(0.1)

    def end(self):
        """Ends QEMU."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self._control is not None:
            self._control.close()
