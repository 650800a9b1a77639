/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collective operations among all ranks: alltoall, allreduce and broadcast, each result checked against the value that
 * can be computed without communication.
 * Usage: collective [ROUNDS [INTS]]      (INTS: integers from each rank to each in alltoall)
 *
 * Lines that start with "# time" hold measurements; all others are the same in every run.
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

static void die(const char *what)
{
	fprintf(stderr, "collective: %s\n", what);
	MPI_Abort(MPI_COMM_WORLD, 1);
	exit(1);
}

static int value(int from, int to, int index, int round)
{
	return ((from * 131 + to) * 1009 + index) ^ (round * 7919);
}

int main(int argc, char **argv)
{
	int rank, ranks;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	int rounds = argc > 1 ? atoi(argv[1]) : 200, ints = argc > 2 ? atoi(argv[2]) : 4096;
	if (rounds < 1 || ints < 1 || ints > 1 << 24)
		die("usage: collective [ROUNDS [INTS]]");
	size_t all = (size_t)ints * (size_t)ranks;
	int *out = malloc(all * sizeof *out), *in = malloc(all * sizeof *in);
	if (out == NULL || in == NULL)
		die("no memory");

	long long total = 0;
	MPI_Barrier(MPI_COMM_WORLD);
	double from = MPI_Wtime();
	for (int round = 0; round < rounds; round++) {
		for (int to = 0; to < ranks; to++)
			for (int i = 0; i < ints; i++)
				out[(size_t)to * (size_t)ints + (size_t)i] = value(rank, to, i, round);
		MPI_Alltoall(out, ints, MPI_INT, in, ints, MPI_INT, MPI_COMM_WORLD);
		for (int peer = 0; peer < ranks; peer++)
			for (int i = 0; i < ints; i++)
				if (in[(size_t)peer * (size_t)ints + (size_t)i] != value(peer, rank, i, round))
					die("alltoall brought a wrong value");

		long long mine = (long long)(rank + 1) * (round + 1), sum = 0;
		MPI_Allreduce(&mine, &sum, 1, MPI_LONG_LONG, MPI_SUM, MPI_COMM_WORLD);
		if (sum != (long long)ranks * (ranks + 1) / 2 * (round + 1))
			die("allreduce brought a wrong sum");
		total += sum;

		int root = round % ranks, word = rank == root ? value(root, 0, 0, round) : 0;
		MPI_Bcast(&word, 1, MPI_INT, root, MPI_COMM_WORLD);
		if (word != value(root, 0, 0, round))
			die("bcast brought a wrong value");
	}
	double seconds = MPI_Wtime() - from;
	if (rank == 0) {
		printf("collective ranks=%d rounds=%d ints=%d total=%lld\n", ranks, rounds, ints, total);
		printf("# time seconds=%.4f\n", seconds);
	}
	free(out);
	free(in);
	MPI_Finalize();
	return 0;
}
