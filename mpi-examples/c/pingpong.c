/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MPI ping-pong between ranks 0 and 1 with messages of several sizes.  Each message is checked byte by byte.
 * Usage: pingpong [ROUNDS [BYTES...]]
 *
 * Lines that start with "# time" hold measurements; all others are the same in every run.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { TAG = 7, WARM_UP = 20 };

static void fill(unsigned char *data, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++) {
		seed = seed * 1664525u + 1013904223u;
		data[i] = (unsigned char)(seed >> 24);
	}
}

/* FNV-1a, continued over all messages of one size. */
static uint64_t checksum(uint64_t hash, const unsigned char *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		hash = (hash ^ data[i]) * UINT64_C(1099511628211);
	return hash;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void die(const char *what)
{
	fprintf(stderr, "pingpong: %s\n", what);
	MPI_Abort(MPI_COMM_WORLD, 1);
	exit(1);
}

static void run(int rank, int bytes, int rounds)
{
	unsigned char *out = malloc((size_t)bytes), *in = malloc((size_t)bytes);
	double *times = calloc((size_t)rounds, sizeof *times);
	uint64_t hash = UINT64_C(14695981039346656037);
	if (out == NULL || in == NULL || times == NULL)
		die("no memory");
	for (int round = -WARM_UP; round < rounds; round++) {
		/* New contents now and then: often enough to catch a stale buffer, seldom enough to time the messages. */
		if (round == -WARM_UP || round % 64 == 0)
			fill(out, (size_t)bytes, (unsigned)(round + bytes));
		double from = MPI_Wtime();
		if (rank == 0) {
			MPI_Send(out, bytes, MPI_BYTE, 1, TAG, MPI_COMM_WORLD);
			MPI_Recv(in, bytes, MPI_BYTE, 1, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		} else {
			MPI_Recv(in, bytes, MPI_BYTE, 0, TAG, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
			MPI_Send(in, bytes, MPI_BYTE, 0, TAG, MPI_COMM_WORLD);
		}
		if (round >= 0)
			times[round] = (MPI_Wtime() - from) * 1e6 / 2;
		if (rank == 0 && (round < 0 || round % 64 == 0)) {
			for (int i = 0; i < bytes; i++)
				if (in[i] != out[i])
					die("a byte came back changed");
			hash = checksum(hash, in, (size_t)bytes);
		}
	}
	if (rank == 0) {
		qsort(times, (size_t)rounds, sizeof *times, by_value);
		double us = times[rounds / 2];
		printf("pingpong bytes=%d rounds=%d checksum=%016llx\n", bytes, rounds, (unsigned long long)hash);
		printf("# time bytes=%d us=%.2f mbit=%.1f\n", bytes, us, bytes * 8.0 / us);
	}
	free(out);
	free(in);
	free(times);
}

int main(int argc, char **argv)
{
	static const int sizes[] = { 1, 8, 64, 1024, 16384, 65536, 1048576 };
	int rank, ranks;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	int rounds = argc > 1 ? atoi(argv[1]) : 1000;
	if (ranks < 2 || rounds < 1)
		die("needs two ranks; usage: pingpong [ROUNDS [BYTES...]]");
	int given = argc > 2 ? argc - 2 : (int)(sizeof sizes / sizeof *sizes);
	for (int i = 0; i < given && rank < 2; i++) {
		int bytes = argc > 2 ? atoi(argv[2 + i]) : sizes[i];
		if (bytes < 1)
			die("a size must be a positive number");
		run(rank, bytes, bytes < 65536 ? rounds : rounds / 10 + 1);
	}
	MPI_Barrier(MPI_COMM_WORLD);
	if (rank == 0)
		printf("pingpong done\n");
	MPI_Finalize();
	return 0;
}
