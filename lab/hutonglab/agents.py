# SPDX-License-Identifier: Apache-2.0
"""The agents (one JVM for each host and VM): configuration, start, stop, readiness."""

import contextlib
import glob
import os
import shutil
import signal
import time

from . import enter, link, procs, shellclient, topology
from .errors import LabError

# HUTONG_DIST: another distribution than the one that this tree builds.
DIST = os.environ.get("HUTONG_DIST") or os.path.join(topology.REPO, "cnf/target/dist")
MAIN = "hutong.launcher.Main"
# A small young generation: an agent makes little garbage, and what was once touched stays resident. So does what the
# compilers take for a moment: a few MB for most methods, 20 MB for the one that is excluded, until the C library gives
# it back. An older JVM that cannot do that goes on without. Figures for tools that watch a JVM are taken every 5 s, not
# twenty times a second.
JVM_FLAGS = ("-Xms11m", "-Xmn3m", "-Xmx64m", "-XX:+UseSerialGC", "-Xshare:auto", "-XX:PerfDataSamplingInterval=5000",
             "-XX:+IgnoreUnrecognizedVMOptions", "-XX:TrimNativeHeapInterval=3000",
             "-XX:CompileCommand=quiet", "-XX:CompileCommand=exclude,jnr.x86asm.Assembler::_emitX86")
# A host's agent moves no bytes: the first compiler is enough for it, and takes less memory.
HOST_FLAGS = ("-XX:TieredStopAtLevel=1",)
READY_SECONDS = 40.0
STOP_SECONDS = 8.0
TRUSTED = topology.RUN + "/trusted"
OVERRIDES = topology.LAB + "/overrides"


def config_path(node):
    return os.path.join(node.run, "agent.properties")


def log_path(node):
    return os.path.join(node.run, "agent.log")


def ready_path(node):
    return os.path.join(node.run, "ready")


def record_path(node):
    return os.path.join(topology.LAB, "agent-" + node.name)


def xenstore_socket(node):
    """The socket whose listener is the node's identity in its host's store."""
    return "%s/%s/xenstore-%d.sock" % (topology.RUN, node.host, node.domid)


def _settings(node):
    settings = {
        "hutong.role": "vm" if node.is_vm else "host",
        "hutong.name": node.name,
        "hutong.host": node.host,
        "hutong.domid": str(node.domid),
        "hutong.run": node.run,
        "hutong.interface": node.interface,
        "hutong.xenstore.socket": xenstore_socket(node),
        "hutong.keys.trusted": TRUSTED,
    }
    if node.is_vm:
        settings["hutong.shim"] = topology.CACHE + "/lib/libhutong.so"
        settings.update(_between_hosts())
        settings["hutong.link.socket"] = "%s/%s/link-%d.sock" % (topology.RUN, node.host, node.domid)
    else:
        settings["hutong.domains"] = ",".join("%d:%s" % (v.domid, v.name) for v in topology.vms_of(node))
        settings["hutong.keys.private"] = node.run + "/host.key"
    return settings


def _between_hosts():
    """What `up --wire` and `--inter` say to the VMs' agents."""
    wanted = link.current()
    if wanted is None:
        return {}
    return {"hutong." + name: value for name, value in (("wire", wanted.wire), ("inter", wanted.inter))
            if value != "auto"}


def overrides():
    """Settings that the cluster was started with for all agents, as they were written."""
    try:
        with open(OVERRIDES, encoding="utf-8", newline="") as f:
            return f.read().split("\n")[:-1]
    except FileNotFoundError:
        return []


def write_config(node):
    """Writes the agent's properties file; what `up --set` gave comes last and wins."""
    settings = _settings(node)
    settings.update(line.split("=", 1) for line in overrides())
    with open(config_path(node), "w", encoding="utf-8") as f:
        for key, value in settings.items():
            f.write("%s=%s\n" % (key, value))


def command(node):
    """The agent's command line."""
    lib = os.path.join(DIST, "lib")
    jars = sorted(glob.glob(lib + "/*.jar"))
    if not any(os.path.basename(j) == "launcher.jar" for j in jars):
        raise LabError("%s/launcher.jar is missing: build with `mvn package` (./hutong up does it)" % lib)
    java = shutil.which("java") or "/usr/bin/java"
    archive = os.path.join(DIST, "agent.jsa")
    cds = ["-XX:SharedArchiveFile=" + archive] if os.path.exists(archive) else []
    return [java, *JVM_FLAGS, *(() if node.is_vm else HOST_FLAGS), *cds, "-cp", ":".join(jars), MAIN, "--config", config_path(node)]


def record(node):
    """The record of the agent's process if it is alive, else None."""
    found = procs.read_record(record_path(node))
    return found if procs.alive(found) else None


def is_ready(node):
    return os.path.exists(ready_path(node))


def start(node):
    """Starts the agent detached from the caller. Returns as soon as its process is recorded; see wait_ready."""
    if record(node) is not None:
        raise LabError("the agent of %s already runs" % node.name)
    arguments = command(node)
    # Left behind when the agent before was killed.
    for stale in (ready_path(node), record_path(node)):
        if os.path.exists(stale):
            os.unlink(stale)
    write_config(node)
    # Whoever stops us in between would find no record yet, and leave an agent behind.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    try:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _daemon(node, arguments, write)
        os.close(write)
        os.waitpid(pid, 0)
        with os.fdopen(read, "rb") as f:
            problem = f.read().decode()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if problem:
        raise LabError("cannot start the agent of %s: %s" % (node.name, problem))


def _daemon(node, arguments, write):
    """In a child: forks again so that init is the parent, records itself, enters the node, becomes the agent."""
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        # Before exec, which keeps pid and start time: a crash of ours can leave no agent that is not recorded.
        me = procs.record_of(os.getpid())
        procs.write_record(record_path(node), me)
        with open(os.path.join(node.run, "agent.pid"), "w", encoding="ascii") as f:
            f.write("%d\n" % me.pid)
        log = os.open(log_path(node), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        null = os.open("/dev/null", os.O_RDONLY)
        env = {k: v for k, v in os.environ.items()
               if not k.startswith(("HUTONG_", "LD_", "JAVA_TOOL", "_JAVA", "JDK_JAVA"))}
        env = enter.environment(node, env)
        env["MALLOC_ARENA_MAX"] = "1"  # else what one thread has freed stays resident beside what others need
        env["XENSTORED_PATH"] = xenstore_socket(node)
        _group_first()
        enter.enter(node)
        os.chdir(node.run)
        os.dup2(null, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execve(arguments[0], arguments, env)
    except Exception as e:  # pylint: disable=broad-except  (reported by the parent)
        os.write(write, str(e).encode()[:4000])
    finally:
        os._exit(1)


def _group_first():
    """
    A kernel with autogroups shares the processors among sessions first, and the agent's is one of its own: what its
    transport thread asks for (nice -10) counts only within it.
    """
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as f:
        f.write("-10")


def wait_ready(nodes, seconds=READY_SECONDS):
    """
    Waits until every agent has said that it is ready, and its shell, which comes last, answers; an agent that ends or takes
    too long is an error.
    """
    deadline = time.monotonic() + seconds
    for node in nodes:
        while not (is_ready(node) and shellclient.listens(node)):
            if record(node) is None:
                raise LabError("the agent of %s ended before it was ready%s" % (node.name, log_tail(node)))
            if time.monotonic() > deadline:
                raise LabError("the agent of %s was not ready within %d s%s" % (node.name, seconds, log_tail(node)))
            time.sleep(0.02)


def log_tail(node, lines=25):
    """The end of the agent's log, as a block to append to a message."""
    try:
        with open(log_path(node), encoding="utf-8", errors="replace") as f:
            tail = f.readlines()[-lines:]
    except OSError:
        return " (no log)"
    return "; end of %s:\n%s" % (log_path(node), "".join("  | " + line for line in tail).rstrip("\n"))


def stop(node):
    """Stops the agent in an orderly way; kills it when it does not go. True if it ran."""
    found = record(node)
    if found is None:
        return False
    if procs.end([found], STOP_SECONDS):
        raise LabError("the agent of %s (pid %d) does not end" % (node.name, found.pid))
    return True


def kill(node):
    """Kills the agent (SIGKILL). True if it ran."""
    found = record(node)
    if found is None:
        return False
    procs.send(found, signal.SIGKILL)
    if procs.wait_gone([found], 10):
        raise LabError("the agent of %s (pid %d) does not end" % (node.name, found.pid))
    return True


def end_all():
    """Ends every agent that has a record, the VMs' before the hosts'. Returns what would not go."""
    left = []
    for kind in (topology.VMS, topology.HOSTS):
        left += procs.end([r for r in (record(n) for n in kind) if r is not None], STOP_SECONDS)
    return left


def resident_kib(pid):
    """Resident memory of a process in KiB; 0 when it is gone."""
    try:
        with open("/proc/%d/status" % pid, encoding="ascii", errors="replace") as f:
            return next((int(line.split()[1]) for line in f if line.startswith("VmRSS:")), 0)
    except OSError:
        return 0


def uptime_seconds(found):
    """Seconds since the recorded process started."""
    ticks = os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - found.start / ticks)


def state_of(node):
    """`ready`, `starting` or `dead`."""
    if record(node) is None:
        return "dead"
    return "ready" if is_ready(node) else "starting"


