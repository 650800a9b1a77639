# SPDX-License-Identifier: Apache-2.0
"""`./hutong demo`: everything from nothing to the table of the reference experiment."""

import sys

from hutonglab import cluster, link, state

from . import cases, inter, runner

PAIRS = 3
INTRA = ("iperf3-stream", "iperf3-stream-1k", "rr-64", "netpipe-8b", "netpipe-1m", "mpi-java-pingpong", "solver")
INTER = ("inter-iperf3-stream", "inter-rr-64", "inter-netpipe-8b", "inter-netpipe-1m", "inter-ranks4")
#: With the path forced the same once more, but for what shows the same as another; a figure more than a measurement.
FORCED, FORCED_PAIRS = ("inter-iperf3-stream", "inter-rr-64", "inter-netpipe-8b", "inter-ranks4"), 2
RATE = "1gbit"


def _measure(names, pairs=PAIRS):
    by_name = {c.name: c for c in cases.INTRA + inter.INTER}
    return runner.measure([by_name[n] for n in names], pairs, runner.show_progress)


def _between_hosts():
    """The part between hosts, on the link that is there; returns (text, rows)."""
    there = link.current()
    inter.meet(runner.show_progress, inter.SHORT_WARM_UP_SECONDS)
    forced = there.inter == "light"
    baseline = None if forced else inter.baseline(runner.show_progress)
    rows = _measure(FORCED, FORCED_PAIRS) if forced else _measure(INTER)
    text = "\nVM1 - VM3, different hosts, link: %s\nTCP against Hutong, %s" % (there.text(), there.choice())
    text += "; pairs: %d\n" % FORCED_PAIRS if forced else "\n"
    return text + (inter.baseline_text(baseline) + "\n" if baseline else "") + runner.table(rows), rows


def main():
    """Installs, builds, starts the cluster unless it is up, measures, prints; exit status 0 only if all was well."""
    there = state.is_up()
    with cluster.for_now():
        intra = _measure(INTRA)
        heading = runner.heading(PAIRS)
        between = [_between_hosts()]
    if not there:
        for wanted in (link.from_options(inter="light"), link.from_options(RATE), link.from_options(RATE, inter="light")):
            with cluster.for_now(wanted):
                between.append(_between_hosts())
    print("The reference experiment: PC1 {VM1, VM2}, PC2 {VM3}")
    print(heading)
    print("\nVM1 - VM2, the same host: TCP against Hutong")
    print(runner.table(intra))
    for text, _ in between:
        print(text)
    if there:
        print("\n(On the link and the path of the cluster that was up; ./hutong down first for %s, and the path forced, too.)"
              % RATE)
    rows = intra + [row for _, part in between for row in part]
    failed = [row for row in rows if "failed" in row]
    for row in failed:
        print("hutong: %s: %s" % (row["case"], row["failed"]), file=sys.stderr)
    if failed:
        return 1
    print("\nWithin the host all runs on Hutong moved their bytes through shared memory; between hosts each row names its "
          "path:\nwhere the light protocol is forced it carries them all, by default only what it does not slow down. The "
          "MPI\nprograms' results are the same on all paths.")
    return 0
