# SPDX-License-Identifier: Apache-2.0
"""The command line: `./hutong COMMAND ...`."""

import argparse
import json
import os
import signal
import sys

from . import agents, cluster, deps, enter, explain, link, mpi, shellclient, state, topology
from .errors import LabError, UsageError

ENVIRONMENT = """\
environment:
  HUTONG_OFF=1       leaves every connection on TCP (run, mpirun)
  HUTONG_INCLUDE=RULES, HUTONG_EXCLUDE=RULES
                     only, or all but, connections that match: port=5000-5100,net=10.77.0.2 program=nc
  HUTONG_STATS=FILE  each accelerated program adds one line of counts to FILE when it ends
"""

NAMES = "VM names: %s" % ", ".join(vm.name for vm in topology.VMS)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        print("%s: %s\nTry '%s --help'." % (self.prog, message, self.prog), file=sys.stderr)
        sys.exit(2)


def _natural(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("wants a number, not '%s'" % text)
    return int(text)


def _program(arguments):
    """The program that was given after `--`."""
    if not arguments.program:
        raise UsageError("no program given: ... -- PROGRAM [ARGUMENT...]")
    return arguments.program


def _link(arguments):
    return link.from_options(arguments.link, arguments.offloads, arguments.mtu, getattr(arguments, "faults", None),
                             arguments.wire, arguments.inter)


def _up(arguments):
    wanted = _link(arguments)
    for setting in arguments.set:
        if "=" not in setting or not setting.isprintable():
            raise UsageError("--set wants KEY=VALUE, not '%s'" % setting)
        key = setting.partition("=")[0].strip()
        if key in ("hutong.wire", "hutong.inter"):  # the bench's arithmetic, and its headings, know the options only
            raise UsageError("--set %s: that is the option --%s" % (key, key.partition(".")[2]))
    deps.prepare_cluster(build=not arguments.no_build)
    cluster.up(wanted, arguments.set, arguments.keep)
    print("up: PC1 {VM1, VM2}, PC2 {VM3}; link: " + wanted.text())
    return 0


def _down(_arguments):
    print("down" if cluster.down() else "nothing was up")
    return 0


STATUS = {"up": 0, "degraded": 4, "partial": 4, "down": 3}


def _status(arguments):
    kind, rows = cluster.status()
    if arguments.json:
        print(json.dumps({"state": kind, "nodes": rows, "link": cluster.link_status()}))
        return STATUS[kind]
    print(kind)
    if rows:
        print("%-5s %-5s %-5s %-12s %-11s %-9s %7s %7s %9s"
              % ("NAME", "KIND", "HOST", "ADDRESS", "IPV6", "AGENT", "PID", "UP(s)", "RSS(MiB)"))
    for row in rows:
        rss = "%.0f" % (row["resident_kib"] / 1024) if row["pid"] else "-"
        print("%-5s %-5s %-5s %-12s %-11s %-9s %7s %7s %9s"
              % (row["name"], row["kind"], row["host"], row["ipv4"], row["ipv6"], row["agent"],
                 row["pid"] or "-", row["seconds"] if row["pid"] else "-", rss))
    there = link.current()
    if there is not None:
        print("link between the hosts: " + there.text())
        for name, counts in zip(("PC1 to PC2", "PC2 to PC1"), link.fault_counts() or ()):
            print("  %s: %s" % (name, ", ".join("%s %d" % pair for pair in counts.items())))
        if there.faults and not link.injector_runs():
            print("  the fault injector has ended: nothing passes")
    return STATUS[kind]


def _enter(node, arguments, preload):
    state.require_up()
    program = _program(arguments)
    user = enter.find_user(arguments.user) if arguments.user else None
    env = enter.environment(node, os.environ, preload)
    enter.enter(node)
    if user is not None:
        enter.become(user, env)
    sys.stdout.flush()
    enter.execute(program, env)


def _exec(arguments):
    _enter(topology.node(arguments.vm), arguments, None)


def _run(arguments):
    vm = topology.vm(arguments.vm)
    state.require_up()
    _enter(vm, arguments, deps.shim_for_programs())


def _mpirun(arguments):
    vms = [topology.vm(name) for name in arguments.host.split(",") if name]
    if not vms:
        raise UsageError("-H wants VM names, such as VM1,VM2")
    if arguments.np < 1:
        raise UsageError("-np wants a positive number")
    program = _program(arguments)
    state.require_up()
    mpi.run(vms, arguments.np, program, arguments.wdir, not arguments.tcp)


def _launch_agent(arguments):
    mpi.launch_agent(arguments.program)


def _shell(arguments):
    node = topology.node(arguments.vm)
    state.require_any()
    if arguments.command is not None:
        return shellclient.one_command(node, arguments.command)
    return shellclient.interactive(node)


def _why(arguments):
    return explain.why(arguments.pid, arguments.fd, arguments.json)


def _check(arguments):
    return explain.check(arguments.vm, arguments.origin, arguments.json)


def _agent(arguments):
    node = topology.node(arguments.vm)
    state.require_any()
    with state.locked():
        action, was = arguments.action, False
        if action in ("stop", "restart"):
            was = agents.stop(node)
        elif action == "kill":
            was = agents.kill(node)
        if action in ("start", "restart"):
            agents.start(node)
            agents.wait_ready([node])
            print("%s: ready" % node.name)
        else:
            print("%s: %s" % (node.name, "ended" if was else "was not running"))
    return 0


def _switch(arguments):
    state.require_up()
    link.switch(arguments.position == "up")
    return 0


def _bench(arguments):
    from hutongbench import runner  # here, so that the other commands do not pay for it
    given = (arguments.link, arguments.offloads, arguments.mtu, arguments.wire, arguments.inter)
    links = [_link(arguments) if any(value is not None for value in given) else None]
    if arguments.wire not in (None, "auto") and arguments.inter is None:
        links = link.to_compare(links[0])
    return runner.main(arguments.case, arguments.pairs, arguments.json, links, arguments.warm_up)


def _demo(_arguments):
    from hutongbench import demo
    return demo.main()


def _test(arguments):
    from . import testing
    return testing.main(arguments.only)


def _lab(arguments):
    from .xen import experiment
    return experiment.main(arguments.all, arguments.pairs)


def _node_argument(parser, hosts=False):
    parser.add_argument("vm", metavar="VM", help=NAMES + (", or a host: PC1, PC2" if hosts else ""))


def _add(commands, name, action, text, epilog=None, usage=None):
    parser = commands.add_parser(name, help=text, description=text, epilog=epilog, usage=usage,
                                 formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.set_defaults(action_function=action, takes_program=usage is not None)
    return parser


def _link_arguments(parser):
    """The link between the hosts, and what the agents do with it."""
    parser.add_argument("--link", metavar="RATE",
                        help="limit the link between the hosts as Ethernet of that rate would, such as 1gbit (default none)")
    parser.add_argument("--offloads", choices=("on", "off"),
                        help="off: each packet is one frame from VM to VM (on a link with a rate it is one on the link; default on)")
    parser.add_argument("--mtu", metavar="BYTES", type=_natural,
                        help="of the link, the bridges and the VMs, %d to %d (default 1500)" % (link.LEAST_MTU, link.MOST_MTU))
    parser.add_argument("--wire", choices=link.WIRES, help="what the light protocol runs on (default auto)")
    parser.add_argument("--inter", choices=link.INTERS,
                        help="connections between hosts: the light protocol always, never, or where it pays (default auto)")


def build_parser():
    parser = _Parser(prog="hutong", description="Hutong: unmodified programs talk faster between the VMs of a cluster.",
                     epilog=ENVIRONMENT + "\nexit status: 0 good, 1 failed, 2 wrong command line",
                     formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    commands = parser.add_subparsers(dest="subcommand", metavar="COMMAND", parser_class=_Parser)
    _add(commands, "demo", _demo, "build, start the cluster, run the reference experiment, print its table")
    test = _add(commands, "test", _test, "build and run the tests; the last line holds the counts (the README names longer ones)")
    test.add_argument("--only", metavar="LAYER", choices=("unit", "native", "conformance", "system"),
                      help="one layer: unit (with the in-framework tests), native, conformance or system")
    up = _add(commands, "up", _up, "start the virtual cluster: PC1 {VM1, VM2}, PC2 {VM3}")
    _link_arguments(up)
    up.add_argument("--faults", metavar="LIST", help="faults of the link in percent: drop=1,dup=1,reorder=1,corrupt=1,seed=7")
    up.add_argument("--set", metavar="KEY=VALUE", action="append", default=[],
                    help="a setting for every agent, such as hutong.quota.channels=16 (again for more)")
    up.add_argument("--no-build", action="store_true", help="take what was built before")
    up.add_argument("--keep", action="store_true", help="after a failure leave everything for inspection")
    _add(commands, "down", _down, "stop the cluster and remove all of it, also after a crash")
    status = _add(commands, "status", _status, "show the cluster and its agents",
                  epilog="exit status: 0 up, 3 down, 4 partly up or an agent is not ready")
    status.add_argument("--json", action="store_true", help="machine-readable")
    plain = _add(commands, "exec", _exec, "run a program in a VM (or host), plain",
                 usage="hutong exec [--user NAME] VM -- CMD [ARGUMENT...]")
    run = _add(commands, "run", _run, "run a program in a VM, accelerated", epilog=ENVIRONMENT,
               usage="hutong run [--user NAME] VM -- CMD [ARGUMENT...]")
    for sub, hosts in ((plain, True), (run, False)):
        sub.add_argument("--user", metavar="NAME", help="run it as this user instead of root")
        _node_argument(sub, hosts)
    mpirun = _add(commands, "mpirun", _mpirun, "run an MPI program on the VMs with Open MPI, accelerated",
                  epilog=ENVIRONMENT,
                  usage="hutong mpirun [-H VM,...] -np N [--wdir DIR] [--tcp] -- PROGRAM [ARGUMENT...]")
    mpirun.add_argument("-H", "--host", metavar="VM,...", default="VM1,VM2",
                        help="the VMs, taken in turn for the ranks (default VM1,VM2); mpirun itself runs in the first")
    mpirun.add_argument("-np", "-n", dest="np", metavar="N", type=int, required=True, help="number of ranks")
    mpirun.add_argument("--wdir", metavar="DIR", help="working directory of the ranks")
    mpirun.add_argument("--tcp", action="store_true", help="without the shim, for comparison")
    shell = _add(commands, "shell", _shell, "talk to an agent's Gogo shell",
                 epilog="such as: ./hutong shell VM1 -c 'hutong:conns --json'")
    _node_argument(shell, True)
    shell.add_argument("-c", dest="command", metavar="COMMAND", help="run this one command; without it, read commands")
    why = _add(commands, "why", _why, "say why a connection of a program is accelerated or not, and what is needed",
               epilog="exit status: 0 accelerated, 1 not (or it cannot be told), 2 wrong command line")
    why.add_argument("pid", metavar="PID", type=_natural, help="a process in a VM, as this machine numbers it")
    why.add_argument("fd", metavar="FD", type=_natural, help="the number of its descriptor: ls -l /proc/PID/fd")
    why.add_argument("--json", action="store_true", help="machine-readable")
    check = _add(commands, "check", _check, "say whether a connection to a VM would be accelerated now, and why not",
                 epilog="exit status: 0 accelerated, 1 not (or it cannot be told), 2 wrong command line")
    check.add_argument("vm", metavar="VM", help=NAMES + "; or an IP address")
    check.add_argument("--from", dest="origin", metavar="VM", help="where it would come from (default: the first other VM)")
    check.add_argument("--json", action="store_true", help="machine-readable")
    agent = _add(commands, "agent", _agent, "start, stop, kill or restart one agent")
    _node_argument(agent, True)
    agent.add_argument("action", choices=("start", "stop", "kill", "restart"), help="kill is SIGKILL")
    cable = _add(commands, "link", _switch, "pull the cable between the hosts (down), or put it back (up)")
    cable.add_argument("position", choices=("up", "down"))
    bench = _add(commands, "bench", _bench, "compare TCP and Hutong in alternating pairs",
                 epilog="A cluster that is up is used if it has the link that is asked for, and refused if not; without one a\n"
                        "cluster is started. With --wire ethernet or udp, and no --inter, there are two tables: one\n"
                        "with the path forced to that wire, and one with the default choice.")
    bench.add_argument("case", metavar="CASE", nargs="?", default="intra",
                       help="intra (VM1-VM2, default), conns, inter (VM1-VM3), or cases with commas; 'list' names them")
    bench.add_argument("--pairs", metavar="N", type=int, default=5, help="pairs of runs for each case (default 5)")
    bench.add_argument("--warm-up", metavar="SECONDS", type=int, default=75,
                       help="of streams between hosts before anything between them is measured (default 75)")
    _link_arguments(bench)
    bench.add_argument("--json", metavar="FILE", help="write the results there")
    lab = _add(commands, "lab", _lab, "run the reference experiment in a lab of emulated machines",
               epilog="Images and snapshots are kept in $HUTONG_XEN_CACHE (default /var/cache/hutong-xen).")
    lab.add_argument("kind", metavar="LAB", choices=("xen",), help="xen: two hosts with the real hypervisor")
    lab.add_argument("--all", action="store_true", help="also what happens when VMs and agents die; takes long")
    lab.add_argument("--pairs", metavar="N", type=_natural, default=5, help="pairs of runs for each case (default 5)")
    return parser


def _stop_by_signal(number, _frame):
    raise LabError("stopped by " + signal.Signals(number).name)


def main(argv):
    """Runs one command line and returns the exit status."""
    if argv[:1] == ["launch-agent"]:
        # Internal (Open MPI calls it): everything after the VM is a command, whatever it looks like.
        parsed = argparse.Namespace(action_function=_launch_agent, program=argv[1:])
    else:
        parser = build_parser()
        # What follows the first `--` is the program's own and none of the parser's business.
        if argv[:1] == ["help"]:
            argv = (argv[1:2] if argv[1:2] and not argv[1].startswith("-") else []) + ["--help"]
        own = argv[:argv.index("--")] if "--" in argv else argv
        parsed = parser.parse_args(own)
        parsed.program = argv[len(own) + 1:]
        if parsed.subcommand is None:
            parser.print_help(sys.stderr)
            return 2
        if parsed.program and not parsed.takes_program:
            print("hutong: '%s' takes no program after --" % parsed.subcommand, file=sys.stderr)
            return 2
    signal.signal(signal.SIGTERM, _stop_by_signal)
    try:
        if os.geteuid() != 0:
            raise LabError("must run as root (it creates network namespaces)")
        return parsed.action_function(parsed) or 0
    except LabError as e:
        print("hutong: " + str(e), file=sys.stderr)
        return e.status
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        print("hutong: interrupted", file=sys.stderr)
        return 130
