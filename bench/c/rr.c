/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Round trips of small messages on one connection, blocking reads and writes.
 *   rr server PORT BYTES                           serves one client, then ends
 *   rr client ADDRESS PORT BYTES WARM_UP_MS MS     prints: rounds=N us=MEDIAN us_p99=...
 */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 20, MOST_ROUNDS = 4 << 20 };

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void server(const char *port, size_t bytes, char *data)
{
	int listener = listen_on(port), fd = accept_from(listener);
	while (read_full(fd, data, bytes) == bytes)
		write_full(fd, data, bytes);
	close(fd);
	close(listener);
}

static void client(char **argv, size_t bytes, char *data)
{
	uint64_t warm_ns = (uint64_t)number(argv[5], 600000) * 1000000u, run_ns = (uint64_t)number(argv[6], 600000) * 1000000u;
	uint32_t *times = malloc(MOST_ROUNDS * sizeof *times);
	char *answer = malloc(bytes);
	if (times == NULL || answer == NULL)
		die("malloc");
	int fd = connect_to(argv[2], argv[3]);
	size_t rounds = 0;
	uint64_t begin = now_ns(), from = begin;
	while (from - begin < warm_ns + run_ns && rounds < MOST_ROUNDS) {
		data[0] = (char)rounds;
		write_full(fd, data, bytes);
		if (read_full(fd, answer, bytes) != bytes || memcmp(data, answer, bytes) != 0) {
			fprintf(stderr, "rr: a wrong answer\n");
			exit(1);
		}
		uint64_t to = now_ns();
		if (from - begin >= warm_ns)
			times[rounds++] = (uint32_t)(to - from > UINT32_MAX ? UINT32_MAX : to - from);
		from = to;
	}
	close(fd);
	if (rounds == 0) {
		fprintf(stderr, "rr: no round in the time given\n");
		exit(1);
	}
	qsort(times, rounds, sizeof *times, by_value);
	printf("rounds=%zu us=%.3f us_p99=%.3f\n", rounds, times[rounds / 2] / 1e3, times[rounds / 100 * 99] / 1e3);
}

int main(int argc, char **argv)
{
	int serves = argc == 4 && strcmp(argv[1], "server") == 0, asks = argc == 7 && strcmp(argv[1], "client") == 0;
	if (!serves && !asks) {
		fprintf(stderr, "usage: rr server PORT BYTES | rr client ADDRESS PORT BYTES WARM_UP_MS MS\n");
		return 2;
	}
	size_t bytes = (size_t)number(argv[serves ? 3 : 4], MOST_BYTES);
	char *data = calloc(1, bytes);
	if (data == NULL)
		die("malloc");
	if (serves)
		server(argv[2], bytes, data);
	else
		client(argv, bytes, data);
	return 0;
}
