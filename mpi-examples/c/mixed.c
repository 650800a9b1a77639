/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every rank sends to every other at once, messages of mixed sizes from nothing to MOST bytes. Each byte is checked.
 * Usage: mixed [ROUNDS [MOST [FILE]]]      With FILE it goes on after ROUNDS until rank 0 can read a file of that name.
 *
 * Lines that start with "# time" hold measurements; all others are the same in every run, and those of Mixed.java.
 */
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* So many rounds lie between two looks for the file. */
enum { LOOK = 50 };

static void die(const char *what)
{
	fprintf(stderr, "mixed: %s\n", what);
	MPI_Abort(MPI_COMM_WORLD, 1);
	exit(1);
}

static uint32_t mix(int from, int to, int round)
{
	uint32_t h = (uint32_t)from * 2654435761u ^ (uint32_t)to * 2246822519u ^ (uint32_t)round * 3266489917u;
	h ^= h >> 15;
	h *= 739982445u;
	return h ^ h >> 12;
}

static int size_of(int from, int to, int round, int most)
{
	static const uint32_t bound[] = { 64, 4096, 70000 };
	uint32_t h = mix(from, to, round);
	return (int)((h >> 2) % (h % 4 < 3 ? bound[h % 4] : (uint32_t)most + 1) % ((uint32_t)most + 1));
}

static void fill(unsigned char *data, int bytes, uint32_t seed)
{
	for (int i = 0; i < bytes; i++) {
		seed = seed * 1664525u + 1013904223u;
		data[i] = (unsigned char)(seed >> 24);
	}
}

static uint64_t check(const unsigned char *data, int bytes, uint32_t seed)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	for (int i = 0; i < bytes; i++) {
		seed = seed * 1664525u + 1013904223u;
		if (data[i] != (unsigned char)(seed >> 24))
			die("a wrong byte");
		hash = (hash ^ data[i]) * UINT64_C(1099511628211);
	}
	return hash;
}

/* Whether rank 0 can read the file: the same answer for all. */
static int there(const char *path, int rank)
{
	int found = 0;
	if (rank == 0) {
		FILE *file = fopen(path, "r");
		found = file != NULL;
		if (found)
			fclose(file);
	}
	MPI_Bcast(&found, 1, MPI_INT, 0, MPI_COMM_WORLD);
	return found;
}

int main(int argc, char **argv)
{
	int rank, ranks;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	int rounds = argc > 1 ? atoi(argv[1]) : 200, most = argc > 2 ? atoi(argv[2]) : 300000;
	if (rounds < 1 || most < 1 || most > 1 << 26)
		die("usage: mixed [ROUNDS [MOST [FILE]]]");
	const char *file = argc > 3 ? argv[3] : NULL;
	unsigned char *out = malloc((size_t)most * (size_t)ranks), *in = malloc((size_t)most * (size_t)ranks);
	MPI_Request *requests = malloc(2 * (size_t)ranks * sizeof *requests);
	MPI_Status *statuses = malloc(2 * (size_t)ranks * sizeof *statuses);
	if (out == NULL || in == NULL || requests == NULL || statuses == NULL)
		die("no memory");

	long long mine[2] = { 0, 0 }, all[2] = { 0, 0 };
	uint64_t sum = 0;
	MPI_Barrier(MPI_COMM_WORLD);
	double from = MPI_Wtime();
	int round = 0;
	for (; round < rounds || (file != NULL && (round % LOOK != 0 || !there(file, rank))); round++) {
		for (int peer = 0; peer < ranks; peer++)
			MPI_Irecv(in + (size_t)peer * (size_t)most, most, MPI_BYTE, peer, round, MPI_COMM_WORLD, &requests[peer]);
		for (int peer = 0; peer < ranks; peer++) {
			unsigned char *data = out + (size_t)peer * (size_t)most;
			int bytes = size_of(rank, peer, round, most);
			fill(data, bytes, mix(rank, peer, round));
			MPI_Isend(data, bytes, MPI_BYTE, peer, round, MPI_COMM_WORLD, &requests[ranks + peer]);
		}
		MPI_Waitall(2 * ranks, requests, statuses);
		for (int peer = 0; peer < ranks; peer++) {
			int bytes;
			MPI_Get_count(&statuses[peer], MPI_BYTE, &bytes);
			if (bytes != size_of(peer, rank, round, most))
				die("a message of a wrong size");
			sum = sum * 31 + check(in + (size_t)peer * (size_t)most, bytes, mix(peer, rank, round));
			mine[0] += bytes;
		}
	}
	double seconds = MPI_Wtime() - from;
	mine[1] = (long long)(sum >> 16);
	MPI_Reduce(mine, all, 2, MPI_LONG_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
	if (rank == 0) {
		printf("mixed ranks=%d rounds=%d bytes=%lld sum=%lld\n", ranks, round, all[0], all[1]);
		printf("# time seconds=%.4f\n", seconds);
	}
	free(out);
	free(in);
	free(requests);
	free(statuses);
	MPI_Finalize();
	return 0;
}
