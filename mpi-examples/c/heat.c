/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heat in a square plate: Jacobi iterations on an N x N grid, rows dealt out to the ranks, one halo row exchanged with
 * each neighbour in every step, the largest change agreed every CHECK steps.  Rank 0 repeats the work alone and
 * compares bit by bit.
 * Usage: heat [N [STEPS]]
 *
 * Lines that start with "# time" hold measurements; all others are the same in every run.
 */
#include <math.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK = 50 };

static void die(const char *what)
{
	fprintf(stderr, "heat: %s\n", what);
	MPI_Abort(MPI_COMM_WORLD, 1);
	exit(1);
}

static double *grid(int rows, int n)
{
	double *cells = calloc((size_t)rows * (size_t)n, sizeof *cells);
	if (cells == NULL)
		die("no memory");
	return cells;
}

/* The plate's edge: hot above, a slope on the left; cold elsewhere. `row` is the row's number in the whole plate. */
static double edge(int row, int column, int n)
{
	if (row == 0)
		return 100.0;
	return column == 0 ? 100.0 * (n - 1 - row) / (n - 1) : 0.0;
}

/* Rows first .. first+count-1 of the plate, with a halo row before and after. */
static void init(double *cells, int first, int count, int n)
{
	for (int r = -1; r <= count; r++)
		for (int c = 0; c < n; c++) {
			int row = first + r;
			int border = row <= 0 || row >= n - 1 || c == 0 || c == n - 1;
			cells[(size_t)(r + 1) * (size_t)n + (size_t)c] = border ? edge(row, c, n) : 0.0;
		}
}

/* One step over the rows; returns the largest change. */
static double step(const double *from, double *to, int first, int count, int n)
{
	double largest = 0.0;
	for (int r = 0; r < count; r++) {
		const double *row = from + (size_t)(r + 1) * (size_t)n;
		double *out = to + (size_t)(r + 1) * (size_t)n;
		if (first + r == 0 || first + r == n - 1) {
			memcpy(out, row, (size_t)n * sizeof *out);
			continue;
		}
		out[0] = row[0];
		out[n - 1] = row[n - 1];
		for (int c = 1; c < n - 1; c++) {
			out[c] = 0.25 * ((row[c - n] + row[c + n]) + (row[c - 1] + row[c + 1]));
			double change = fabs(out[c] - row[c]);
			if (change > largest)
				largest = change;
		}
	}
	return largest;
}

static uint64_t checksum(const double *cells, size_t count)
{
	uint64_t hash = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < count; i++) {
		uint64_t bits;
		memcpy(&bits, &cells[i], sizeof bits);
		hash = (hash ^ bits) * UINT64_C(1099511628211);
	}
	return hash;
}

/* All steps on this rank's rows; returns the last agreed change, *result points to the final rows (with halo). */
static double solve(MPI_Comm comm, int first, int count, int n, int steps, double **result)
{
	int rank, ranks;
	MPI_Comm_rank(comm, &rank);
	MPI_Comm_size(comm, &ranks);
	int above = rank > 0 ? rank - 1 : MPI_PROC_NULL, below = rank < ranks - 1 ? rank + 1 : MPI_PROC_NULL;
	double *from = grid(count + 2, n), *to = grid(count + 2, n), change = 0.0;
	init(from, first, count, n);
	init(to, first, count, n);
	for (int s = 1; s <= steps; s++) {
		MPI_Request requests[4];
		MPI_Irecv(from, n, MPI_DOUBLE, above, 1, comm, &requests[0]);
		MPI_Irecv(from + (size_t)(count + 1) * (size_t)n, n, MPI_DOUBLE, below, 2, comm, &requests[1]);
		MPI_Isend(from + n, n, MPI_DOUBLE, above, 2, comm, &requests[2]);
		MPI_Isend(from + (size_t)count * (size_t)n, n, MPI_DOUBLE, below, 1, comm, &requests[3]);
		MPI_Waitall(4, requests, MPI_STATUSES_IGNORE);
		double largest = step(from, to, first, count, n);
		if (s % CHECK == 0 || s == steps)
			MPI_Allreduce(&largest, &change, 1, MPI_DOUBLE, MPI_MAX, comm);
		double *swap = from;
		from = to;
		to = swap;
	}
	free(to);
	*result = from;
	return change;
}

int main(int argc, char **argv)
{
	int rank, ranks;
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	int n = argc > 1 ? atoi(argv[1]) : 256, steps = argc > 2 ? atoi(argv[2]) : 2000;
	if (n < 3 || n > 8192 || steps < 1 || ranks > n)
		die("usage: heat [N [STEPS]], N from 3 (and the number of ranks) to 8192");

	int *counts = calloc((size_t)ranks, sizeof *counts), *offsets = calloc((size_t)ranks, sizeof *offsets);
	if (counts == NULL || offsets == NULL)
		die("no memory");
	int first = 0, mine = 0;
	for (int r = 0, row = 0; r < ranks; r++) {
		int rows = n / ranks + (r < n % ranks);
		if (r == rank) {
			first = row;
			mine = rows;
		}
		counts[r] = rows * n;
		offsets[r] = row * n;
		row += rows;
	}

	double *rows;
	MPI_Barrier(MPI_COMM_WORLD);
	double from = MPI_Wtime();
	double change = solve(MPI_COMM_WORLD, first, mine, n, steps, &rows);
	double seconds = MPI_Wtime() - from;
	double *plate = rank == 0 ? grid(n, n) : NULL;
	MPI_Gatherv(rows + n, mine * n, MPI_DOUBLE, plate, counts, offsets, MPI_DOUBLE, 0, MPI_COMM_WORLD);

	int equal = 1;
	if (rank == 0) {
		double *serial;
		double serial_change = solve(MPI_COMM_SELF, 0, n, n, steps, &serial);
		equal = memcmp(plate, serial + n, (size_t)n * (size_t)n * sizeof *plate) == 0 && change == serial_change;
		printf("heat n=%d steps=%d change=%.17g checksum=%016llx serial=%s\n", n, steps, change,
		       (unsigned long long)checksum(plate, (size_t)n * (size_t)n), equal ? "equal" : "DIFFERENT");
		printf("# time seconds=%.4f ranks=%d\n", seconds, ranks);
		free(serial);
	}
	free(rows);
	free(plate);
	free(counts);
	free(offsets);
	MPI_Finalize();
	return equal ? 0 : 1;
}
