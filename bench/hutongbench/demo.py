# SPDX-License-Identifier: Apache-2.0
"""`./hutong demo`: everything from nothing to the table of the reference experiment."""

import sys

from hutonglab import cluster

from . import cases, runner

PAIRS = 3
INTRA = ("iperf3-stream", "iperf3-stream-1k", "rr-64", "netpipe-8b", "netpipe-1m", "mpi-java-pingpong", "solver")
INTER = ("inter-iperf3-stream", "inter-rr-64", "inter-netpipe-8b")


def main():
    """Installs, builds, starts the cluster unless it is up, measures, prints; exit status 0 only if all was well."""
    with cluster.for_now():
        by_name = {c.name: c for c in cases.INTRA + cases.INTER}
        intra = runner.measure([by_name[n] for n in INTRA], PAIRS, runner.show_progress)
        inter = runner.measure([by_name[n] for n in INTER], PAIRS, runner.show_progress)
        print("The reference experiment: PC1 {VM1, VM2}, PC2 {VM3}")
        print(runner.heading(PAIRS))
        print("\nVM1 - VM2, the same host: TCP against Hutong")
        print(runner.table(intra))
        print("\nVM1 - VM3, different hosts: TCP (Hutong accelerates within a host)")
        print(runner.table(inter))
    failed = [row for row in intra + inter if "failed" in row]
    for row in failed:
        print("hutong: %s: %s" % (row["case"], row["failed"]), file=sys.stderr)
    if failed:
        return 1
    print("\nAll runs on Hutong moved their bytes through shared memory; "
          "the MPI programs' results are the same on both paths.")
    return 0
