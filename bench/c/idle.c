/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many connections that have carried data and then rest; both sides sleep in poll() on all of them.
 *   idle server PORT COUNT                 ends when all clients have closed
 *   idle client ADDRESS PORT COUNT MS      prints "idle" when the rest begins, rests for MS milliseconds
 */
#include "net.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BURST = 128 << 10, ROUNDS = 3, PAUSE_MS = 60, MOST = 900 };

static char data[BURST];

/* Answers bursts until every client has closed. */
static void server(const char *port, long count)
{
	struct pollfd *all = calloc((size_t)count, sizeof *all);
	int listener = listen_on(port);
	if (all == NULL)
		die("calloc");
	for (long i = 0; i < count; i++)
		all[i] = (struct pollfd){ .fd = accept_from(listener), .events = POLLIN };
	for (long open = count; open > 0;) {
		if (poll(all, (nfds_t)count, -1) < 0)
			die("poll");
		for (long i = 0; i < count; i++) {
			if (all[i].fd < 0 || all[i].revents == 0)
				continue;
			if (read_full(all[i].fd, data, BURST) == BURST) {
				write_full(all[i].fd, data, 1);
			} else {
				close(all[i].fd);
				all[i].fd = -1;
				open--;
			}
		}
	}
}

static void client(const char *address, const char *port, long count, long rest_ms)
{
	struct pollfd *all = calloc((size_t)count, sizeof *all);
	if (all == NULL)
		die("calloc");
	for (long i = 0; i < count; i++)
		all[i] = (struct pollfd){ .fd = connect_to(address, port), .events = POLLIN };
	/* Enough bytes and time for every connection to have left its youth. */
	for (int round = 0; round < ROUNDS; round++) {
		for (long i = 0; i < count; i++) {
			write_full(all[i].fd, data, BURST);
			if (read_full(all[i].fd, data, 1) != 1)
				die("the server closed");
		}
		poll(NULL, 0, PAUSE_MS);
	}
	puts("idle");
	fflush(stdout);
	if (poll(all, (nfds_t)count, (int)rest_ms) != 0) {
		fprintf(stderr, "idle: something moved while all should rest\n");
		exit(1);
	}
	for (long i = 0; i < count; i++)
		close(all[i].fd);
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "server") == 0) {
		server(argv[2], number(argv[3], MOST));
	} else if (argc == 6 && strcmp(argv[1], "client") == 0) {
		client(argv[2], argv[3], number(argv[4], MOST), number(argv[5], 600000));
	} else {
		fprintf(stderr, "usage: idle server PORT COUNT | idle client ADDRESS PORT COUNT MS\n");
		return 2;
	}
	return 0;
}
