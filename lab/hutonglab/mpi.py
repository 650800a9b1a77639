# SPDX-License-Identifier: Apache-2.0
"""Runs Open MPI's own mpirun in the cluster, with a launch agent that enters namespaces in the place of ssh."""

import os
import shlex

from . import deps, enter, topology
from .errors import LabError

LAUNCHER = topology.LAB + "/launch"

# What mpirun's own surroundings must not hand to the remote daemons; ssh would not either.
_PRIVATE = ("OMPI_", "PMIX_", "PRTE_", "OPAL_", "HUTONG_", "LD_PRELOAD")


def write_launcher():
    """The script that mpirun calls as it would call ssh: launch HOST COMMAND."""
    os.makedirs(topology.LAB, exist_ok=True)
    with open(LAUNCHER, "w", encoding="utf-8") as f:
        f.write("# Written by ./hutong mpirun: Open MPI's launch agent.\nexec %s launch-agent \"$@\"\n"
                % shlex.quote(os.path.join(topology.REPO, "hutong")))


def launch_agent(arguments):
    """Replaces the process by `sh -c COMMAND` in the VM, as sshd would. The shim is no part of it."""
    if len(arguments) < 2:
        raise LabError("launch-agent: expected a VM and a command")
    vm = topology.vm(arguments[0])
    env = {k: v for k, v in os.environ.items() if not k.startswith(_PRIVATE)}
    env = enter.environment(vm, env)
    enter.enter(vm)
    enter.execute(["/bin/sh", "-c", " ".join(arguments[1:])], env)


def command(vms, ranks, program, wdir=None, preload=None, base=None):
    """
    mpirun's command line. Ranks go round the VMs in turn: with two ranks on two VMs, one on each. The HUTONG_
    variables of the environment `base` (default: our own) reach them.
    """
    slots = -(-ranks // len(vms))
    line = [
        # By its own name: `mpirun` may be another implementation's.
        "mpirun.openmpi", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none",
        "--map-by", "node", "--leave-session-attached",
        "--host", ",".join("%s:%d" % (vm.name, slots) for vm in vms), "-np", str(ranks),
        "--mca", "plm_rsh_agent", "/bin/sh " + LAUNCHER, "--mca", "plm_rsh_no_tree_spawn", "1",
        "--mca", "pml", "ob1", "--mca", "btl", "self,vader,tcp",
    ]
    if ranks > (os.cpu_count() or 1):
        # Each VM takes itself for a machine of its own with all the cores; together the ranks have fewer.
        line += ["--mca", "mpi_yield_when_idle", "1"]
    if preload:
        line += ["-x", "LD_PRELOAD=" + preload]
    for name in sorted(os.environ if base is None else base):
        if name.startswith("HUTONG_"):
            line += ["-x", name]
    if wdir:
        line += ["--wdir", wdir]
    return line + list(program)


def run(vms, ranks, program, wdir=None, accelerated=True):
    """Replaces the process by mpirun in the first VM's namespaces."""
    deps.install(deps.MPI[:1])
    write_launcher()
    preload = deps.shim_for_programs() if accelerated else None
    line = command(vms, ranks, program, wdir, preload)
    env = enter.environment(vms[0], os.environ)
    enter.enter(vms[0])
    enter.execute(line, env)
