# SPDX-License-Identifier: Apache-2.0
"""
What the emulated machines start from, made once and kept outside the repository: hypervisor, kernel, initrd, the root
that dom0 and all domUs share read-only, and a small disk with the lab's own scripts. The product is on a third disk,
made anew for each run.
"""

import glob
import hashlib
import lzma
import os
import shutil
import subprocess

from .. import deps, topology
from ..errors import LabError

CACHE = os.environ.get("HUTONG_XEN_CACHE", "/var/cache/hutong-xen")
SOURCE = os.path.join(topology.REPO, "lab/xen")
SUITE = "bookworm"
PACKAGES = ("xen-hypervisor-4.17-amd64", "xen-utils-4.17", "xen-utils-common", "xenstore-utils", "libxengnttab1",
            "libxenevtchn1", "libxenmisc4.17", "libxenstore4", "kmod", "iproute2", "iputils-ping", "procps", "ethtool",
            "tcpdump", "python3-minimal", "openjdk-17-jre-headless", "iperf3", "openmpi-bin", "strace")
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "xen-blkfront", "xen-netfront", "ext4", "overlay",
           "xenfs", "xen-privcmd", "xen-gntdev", "xen-gntalloc", "xen-evtchn", "xen-blkback", "xen-netback", "bridge",
           "crc32c_generic", "crc32c-intel", "tcp_diag", "xfrm_user")
BASE_MIB, PRODUCT_MIB = 1000, 96
LOW = ["nice", "-n", "19", "chrt", "--idle", "0"]  # others measure on this machine


def path(name):
    return os.path.join(CACHE, name)


def _run(arguments, **options):
    done = subprocess.run([*LOW, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        raise LabError("%s failed:\n%s" % (arguments[0], "\n".join(done.stdout.splitlines()[-15:])))
    return done.stdout


def digest(*things):
    """A short name of texts and of files' contents."""
    total = hashlib.sha256()
    for thing in things:
        if isinstance(thing, str) and os.path.isfile(thing):
            with open(thing, "rb") as f:
                total.update(f.read())
        else:
            total.update(repr(thing).encode())
    return total.hexdigest()[:16]


def _fresh(name, digest):
    """Whether a part is there, made from just this; a part that is not has no stamp any more."""
    try:
        with open(path(name + ".stamp"), encoding="ascii") as f:
            if f.read() == digest and os.path.exists(path(name)):
                return True
        os.unlink(path(name + ".stamp"))
    except FileNotFoundError:
        pass
    return False


def _stamp(name, digest):
    with open(path(name + ".stamp"), "w", encoding="ascii") as f:
        f.write(digest)


def _sources():
    for name in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"):
        if os.path.exists(name):
            return name
    raise LabError("no apt sources for Debian on this machine")


def _kernel_package():
    text = _run(["apt-cache", "depends", "linux-image-amd64"])
    for line in text.splitlines():
        if "Depends: linux-image-" in line:
            return line.split()[-1]
    raise LabError("apt knows no linux-image-amd64")


def _kernel(tree):
    """Fetches and unpacks the distribution's kernel; vmlinux as it is, for Xen and the toolstack unpack slowly."""
    package = _kernel_package()
    _run(["apt-get", "download", "-qq", package], cwd=tree)
    _run(["dpkg", "-x", *glob.glob(tree + "/linux-image-*.deb"), tree + "/kernel"])
    version = package.split("linux-image-")[1]
    with open("%s/kernel/boot/vmlinuz-%s" % (tree, version), "rb") as f:
        image = f.read()
    start = image.find(b"\xfd7zXZ\0")
    if start < 0:
        raise LabError("%s is not compressed with xz" % package)
    with open(path("vmlinux"), "wb") as f:
        f.write(lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(image[start:]))
    _run(["depmod", "-b", tree + "/kernel", version])
    return version


def _initrd(tree, version):
    """busybox, the drivers and the lab's /init."""
    root, kernel = tree + "/initrd", tree + "/kernel"
    for name in ("bin", "dev", "proc", "sys", "mnt/base", "mnt/rw", "newroot"):
        os.makedirs(os.path.join(root, name))
    shutil.copy2("/bin/busybox", root + "/bin/busybox")
    for applet in _run(["/bin/busybox", "--list"]).split():
        if applet != "busybox":
            os.symlink("busybox", root + "/bin/" + applet)
    shutil.copy2(SOURCE + "/guest/initrd-init", root + "/init")
    os.chmod(root + "/init", 0o755)
    wanted = set()
    for module in MODULES:
        text = _run(["modprobe", "-d", kernel, "-S", version, "--show-depends", module])
        wanted.update(line.split()[1] for line in text.splitlines() if line.startswith("insmod "))
    for module in sorted(wanted):
        target = root + module[len(kernel):]
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(module, target)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy2("%s/lib/modules/%s/%s" % (kernel, version, name), "%s/lib/modules/%s/" % (root, version))
    _run(["depmod", "-b", root, version])
    _run(["sh", "-c", "find . | cpio -o -H newc --quiet > " + path("initrd.img")], cwd=root)


def _base(tree):
    root = tree + "/root"
    _run(["mmdebstrap", "--mode=root", "--variant=minbase", "--include=" + ",".join(PACKAGES),
          "--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=path-exclude=/usr/share/doc/*", SUITE, root,
          _sources()])
    with open(path("packages"), "w", encoding="utf-8") as f:
        f.write(_run(["dpkg-query", "--admindir=%s/var/lib/dpkg" % root, "-W"]))
    _run(["sh", "-c", "gunzip -c %s/boot/xen-*-amd64.gz > %s" % (root, path("xen"))])
    for name in ("lab", "product"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    _run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", root, path("base.ext4"), "%dM" % BASE_MIB])


def ensure():
    """Makes what is missing or was made from something else. Returns a name of all of it."""
    os.makedirs(CACHE, exist_ok=True)
    deps.run_make("lab/xen")
    system = digest(SUITE, PACKAGES, MODULES, BASE_MIB, SOURCE + "/guest/initrd-init")
    if not _fresh("base.ext4", system):
        deps.say("building the Xen lab's images in %s (once)" % CACHE)
        # What was made from the one before: its kernel, and states whose kernels have parts of it in memory.
        for old in glob.glob(path("lab.ext4.stamp")) + glob.glob(path("state-*")) + glob.glob(path("agents-*")):
            (shutil.rmtree if os.path.isdir(old) else os.unlink)(old)
        _run(["apt-get", "update", "-qq"])
        tree = path("build")
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(tree)
        _base(tree)
        version = _kernel(tree)
        _initrd(tree, version)
        with open(path("kernel-version"), "w", encoding="ascii") as f:
            f.write(version)
        shutil.rmtree(tree)
        _stamp("base.ext4", system)
    own = digest(system, *sorted(glob.glob(SOURCE + "/guest/*")), SOURCE + "/build/hotplug")
    if not _fresh("lab.ext4", own):
        tree = path("build")
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(tree + "/boot")
        for name in ("init", "labd.py", "launch.py"):
            shutil.copy2(SOURCE + "/guest/" + name, tree)
        shutil.copy2(SOURCE + "/build/hotplug", tree)
        os.chmod(tree + "/init", 0o755)
        for name in ("vmlinux", "initrd.img"):
            shutil.copy2(path(name), tree + "/boot")
        _run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", tree, path("lab.ext4"), "160M"])
        shutil.rmtree(tree)
        _stamp("lab.ext4", own)
    return own


def make_filesystem(target):
    """An empty file system on a file."""
    _run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", target])


def product(parts, target):
    """A disk with the product: {name on it: file or folder here}."""
    tree = target + ".tree"
    shutil.rmtree(tree, ignore_errors=True)
    os.makedirs(tree)
    try:
        for name, source in parts.items():
            if os.path.isdir(source):
                shutil.copytree(source, os.path.join(tree, name))
            else:
                os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
                shutil.copy2(source, os.path.join(tree, name))
        _run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", tree, target, "%dM" % PRODUCT_MIB])
    finally:
        shutil.rmtree(tree, ignore_errors=True)
