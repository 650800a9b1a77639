# SPDX-License-Identifier: Apache-2.0
"""What the project needs on the machine, installed when missing; what it builds, built when stale."""

import glob
import os
import shutil
import subprocess
import sys

from . import agents, topology
from .errors import LabError

SHIM = os.path.join(topology.REPO, "native-shim/build/libhutong.so")

# What to look for (a program, or a file given with wildcards) and the Debian package that has it.
RUN = (("ip", "iproute2"), ("nsenter", "util-linux"), ("java", "default-jdk-headless"),
       ("/usr/lib/*/libxenstore.so.4", "libxenstore4"))
BUILD = (("javac", "default-jdk-headless"), ("mvn", "maven"), ("gcc", "gcc"), ("make", "make"),
         ("/usr/include/stdio.h", "libc6-dev"), ("/usr/include/linux/tcp.h", "linux-libc-dev"))
MPI = (("mpirun.openmpi", "openmpi-bin"), ("mpicc.openmpi", "libopenmpi-dev"),
       ("/usr/lib/*/openmpi/lib/libmpi_java.so", "libopenmpi-dev"), ("gcc", "gcc"), ("make", "make"),
       ("javac", "default-jdk-headless"), ("dpkg-source", "dpkg-dev"), ("xz", "xz-utils"))
BENCH = (("iperf3", "iperf3"), ("NPopenmpi", "netpipe-openmpi"))
TEST = (("xenstore-ls", "xenstore-utils"), ("curl", "curl"), ("nc", "netcat-openbsd"), ("spin", "spin"),
        ("tshark", "tshark"), ("tcpdump", "tcpdump"))
# Programs and libraries that the system tests run unchanged.
PROGRAMS = (("sockperf", "sockperf"), ("socat", "socat"), ("rsync", "rsync"), ("/usr/sbin/inetd", "openbsd-inetd"),
            ("redis-benchmark", "redis-tools"), ("openssl", "openssl"), ("mpiexec.hydra", "mpich"),
            ("mpicc.mpich", "libmpich-dev"), ("/usr/include/event2/event.h", "libevent-dev"),
            ("/usr/include/uv.h", "libuv1-dev"))

XEN = (("qemu-system-x86_64", "qemu-system-x86"), ("mmdebstrap", "mmdebstrap"), ("mke2fs", "e2fsprogs"), ("cpio", "cpio"),
       ("depmod", "kmod"), ("/bin/busybox", "busybox-static"), ("/usr/lib/*/libxenstore.a", "libxen-dev"))


def say(text):
    print("hutong: " + text, file=sys.stderr, flush=True)


def _present(wanted):
    return bool(glob.glob(wanted)) if wanted.startswith("/") else shutil.which(wanted) is not None


def install(*groups):
    """Installs the Debian packages of those entries of the groups that the machine lacks."""
    missing = sorted({package for group in groups for wanted, package in group if not _present(wanted)})
    if not missing:
        return
    say("installing " + " ".join(missing))
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    options = ["-qq", "-y", "-o", "Dpkg::Use-Pty=0", "--no-install-recommends"]
    for arguments in (["-qq", "update"], [*options, "install", *missing]):
        if subprocess.run(["apt-get", *arguments], env=env, stdin=subprocess.DEVNULL, stdout=2, check=False).returncode:
            raise LabError("apt-get failed; install by hand: " + " ".join(missing))
    still = [wanted for group in groups for wanted, _ in group if not _present(wanted)]
    if still:
        raise LabError("still missing after the installation: " + " ".join(still))


def newest(*paths):
    """The newest modification time below the paths, build output left out."""
    latest = 0.0
    for path in paths:
        if os.path.isfile(path):
            latest = max(latest, os.stat(path).st_mtime)
        for folder, folders, files in os.walk(path):
            folders[:] = [d for d in folders if d not in ("target", "build", ".git", "generated")]
            for name in files:
                try:
                    latest = max(latest, os.stat(os.path.join(folder, name)).st_mtime)
                except FileNotFoundError:
                    continue
    return latest


def _repo(*names):
    return [os.path.join(topology.REPO, name) for name in names]


def run_build(what, arguments, cwd=topology.REPO):
    """Runs a build command; its output goes to stderr, its failure is an error."""
    say(what)
    if subprocess.run(arguments, cwd=cwd, stdin=subprocess.DEVNULL, stdout=2, check=False).returncode != 0:
        raise LabError("%s failed: %s" % (what, " ".join(arguments)))


def build_agents():
    """Builds the agents' distribution when a source is newer than it."""
    stamp = os.path.join(agents.DIST, ".built")
    launcher = os.path.join(agents.DIST, "lib/launcher.jar")
    sources = newest(*_repo("bundles", "cnf", "include", "pom.xml", "bnd.bnd"))
    if os.path.exists(launcher) and os.path.exists(stamp) and os.stat(stamp).st_mtime >= sources:
        return
    run_build("building the agents", ["mvn", "-q", "-B", "-DskipTests", "package"])
    if not os.path.exists(launcher):
        raise LabError("the build left no " + launcher)
    with open(stamp, "w", encoding="ascii"):
        pass
    # A source that was written while the build ran must count as newer.
    os.utime(stamp, (sources, sources))


def build_shim():
    """Builds libhutong.so; make decides whether there is anything to do."""
    run_make("native-shim")
    if not os.path.exists(SHIM):
        raise LabError("the build left no " + SHIM)


def output(arguments):
    """What a program prints."""
    return subprocess.run(arguments, capture_output=True, text=True, check=False).stdout


def run_make(folder, *targets):
    """make, quiet unless it fails."""
    done = subprocess.run(["make", "-s", "-C", os.path.join(topology.REPO, folder), *targets],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    if done.returncode != 0:
        raise LabError("make in %s failed:\n%s" % (folder, done.stdout.rstrip()))


def build_mpi():
    """mpi.jar (once a machine) and the MPI examples."""
    jar = mpi_jar()
    if not os.path.exists(jar):
        run_build("building mpi.jar from Debian's openmpi source package",
                  [os.path.join(topology.REPO, "mpi-examples/build-mpi-jar.sh"), jar])
    run_make("mpi-examples", "MPICC=mpicc.openmpi", "MPI_JAR=" + jar)


def mpi_jar():
    """Path of the Open MPI Java bindings for the installed version, outside the repository."""
    version = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "libopenmpi-dev"], capture_output=True, text=True,
                             check=False).stdout.strip() or "unknown"
    return os.path.join(topology.CACHE, "mpi-%s.jar" % version)


def prepare_cluster(build=True):
    """Everything that `up` and `run` need."""
    install(RUN, BUILD if build else ())
    if build:
        build_shim()
        build_agents()
        run_make("lab/c")


def prepare_mpi():
    install(MPI)
    build_mpi()


def prepare_bench():
    install(BENCH, BUILD)
    prepare_mpi()
    run_make("bench/c")


def prepare_system_tests():
    prepare_bench()
    install(TEST, PROGRAMS)
    run_make("mpi-examples", "MPICC=mpicc.mpich", "OUT=build/mpich", "c")
    run_make("tests/system/programs")


def shim_for_programs():
    """
    Path of a libhutong.so that every user can read: a copy outside the repository, which may lie where only root
    comes. It is brought up to date here, whole or not at all.
    """
    if not os.path.exists(SHIM):
        raise LabError("%s is missing: build it with `make -C native-shim` (./hutong up does it)" % SHIM)
    folder = os.path.join(topology.CACHE, "lib")
    os.makedirs(folder, 0o755, exist_ok=True)
    for part in (topology.CACHE, folder):
        os.chmod(part, 0o755)
    target = os.path.join(folder, "libhutong.so")
    source = os.stat(SHIM)
    try:
        there = os.stat(target)
        if there.st_size == source.st_size and there.st_mtime_ns == source.st_mtime_ns:
            return target
    except FileNotFoundError:
        pass
    temporary = "%s.%d" % (target, os.getpid())
    shutil.copy2(SHIM, temporary)
    os.chmod(temporary, 0o755)
    os.replace(temporary, target)
    return target
