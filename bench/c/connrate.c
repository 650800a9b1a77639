/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short connections one after the other: connect, 64 bytes there, 64 bytes back, close.
 *   connrate server PORT COUNT             serves COUNT connections, then ends
 *   connrate client ADDRESS PORT COUNT     prints: connections=N seconds=S rate=R
 */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BYTES = 64, MOST = 20000 };

int main(int argc, char **argv)
{
	int serves = argc == 4 && strcmp(argv[1], "server") == 0, asks = argc == 5 && strcmp(argv[1], "client") == 0;
	if (!serves && !asks) {
		fprintf(stderr, "usage: connrate server PORT COUNT | connrate client ADDRESS PORT COUNT\n");
		return 2;
	}
	char data[BYTES] = "hutong";
	/* Not more: each leaves a port in TIME-WAIT. */
	long count = number(argv[argc - 1], MOST);
	int listener = serves ? listen_on(argv[2]) : -1;
	uint64_t from = now_ns();
	for (long i = 0; i < count; i++) {
		int fd = serves ? accept_from(listener) : connect_to(argv[2], argv[3]);
		if (asks)
			write_full(fd, data, BYTES);
		if (read_full(fd, data, BYTES) != BYTES) {
			fprintf(stderr, "connrate: the connection ended early\n");
			return 1;
		}
		if (serves) {
			write_full(fd, data, BYTES);
			read_full(fd, data, 1); /* the client closes first and keeps the port */
		}
		close(fd);
	}
	double seconds = (double)(now_ns() - from) / 1e9;
	if (asks)
		printf("connections=%ld seconds=%.4f rate=%.0f\n", count, seconds, (double)count / seconds);
	return 0;
}
