/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many connections between two processes, all in use: round by round a message on each, and its answer on each.
 *   many server PORT COUNT                        serves COUNT connections from one epoll set, until all have ended
 *   many client ADDRESS PORT COUNT WARM_UP_MS MS BYTES   BYTES: 64 is answered by 64 bytes, anything else by one byte
 * Both print: pss_kib=... fds=... ; the client also: rounds=N rate=MESSAGES_PER_SECOND gbit=...
 */
#include "net.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 20000, MOST_BYTES = 1 << 20, ECHO_BYTES = 64 };

/* What a client says first on each connection: the size of its messages. */
struct peer {
	int fd;
	uint32_t bytes;
	size_t got; /* of the message under way; the first four bytes are the size */
};

static void more_descriptors(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		die("getrlimit");
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim))
		die("setrlimit");
}

/* Memory, with the shared part of it by halves, and descriptors, of this process now. */
static void print_use(void)
{
	char line[256];
	long pss = 0, fds = 0, value;
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	DIR *dir = opendir("/proc/self/fd");

	if (!f || !dir)
		die("/proc/self");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "Pss: %ld", &value) == 1)
			pss = value;
	while (readdir(dir))
		fds++;
	fclose(f);
	closedir(dir);
	printf("pss_kib=%ld fds=%ld ", pss, fds);
}

/* Takes what is there; false at the end of the connection. */
static int serve(struct peer *p, char *data)
{
	ssize_t n;

	if (!p->bytes) {
		if (read_full(p->fd, &p->bytes, sizeof(p->bytes)) != sizeof(p->bytes))
			return 0;
		return 1;
	}
	n = read(p->fd, data, p->bytes - p->got);
	if (n <= 0)
		return 0;
	p->got += (size_t)n;
	if (p->got == p->bytes) {
		p->got = 0;
		write_full(p->fd, data, p->bytes == ECHO_BYTES ? ECHO_BYTES : 1);
	}
	return 1;
}

static void server(const char *port, int count)
{
	int listener = listen_on(port), ep = epoll_create1(0), open = 0, used = 0;
	struct peer *peers = calloc((size_t)count, sizeof(*peers));
	char *data = calloc(1, MOST_BYTES);
	struct epoll_event events[256];

	if (ep < 0 || !peers || !data)
		die("server");
	for (int i = 0; i < count; i++, open++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &peers[i] };

		peers[i].fd = accept_from(listener);
		if (epoll_ctl(ep, EPOLL_CTL_ADD, peers[i].fd, &ev))
			die("epoll_ctl");
	}
	while (open) {
		int n = epoll_wait(ep, events, 256, -1);

		for (int i = 0; i < n; i++) {
			struct peer *p = events[i].data.ptr;

			if (serve(p, data))
				continue;
			if (!used++)
				print_use();
			close(p->fd);
			open--;
		}
	}
	puts("");
	free(peers);
	free(data);
}

static void a_round(const int *fd, int count, size_t bytes, char *data)
{
	size_t answer = bytes == ECHO_BYTES ? ECHO_BYTES : 1;

	for (int i = 0; i < count; i++)
		write_full(fd[i], data, bytes);
	for (int i = 0; i < count; i++)
		if (read_full(fd[i], data, answer) != answer)
			die("answer");
}

static void client(char **argv, int count)
{
	uint64_t warm_ns = (uint64_t)number(argv[5], 600000) * 1000000u, run_ns = (uint64_t)number(argv[6], 600000) * 1000000u;
	uint32_t bytes = (uint32_t)number(argv[7], MOST_BYTES);
	int *fd = calloc((size_t)count, sizeof(*fd));
	char *data = calloc(1, MOST_BYTES);
	uint64_t begin, now;
	long rounds = 0;

	if (!fd || !data)
		die("client");
	for (int i = 0; i < count; i++) {
		fd[i] = connect_to(argv[2], argv[3]);
		write_full(fd[i], &bytes, sizeof(bytes));
	}
	for (begin = now_ns(); now_ns() - begin < warm_ns;)
		a_round(fd, count, bytes, data);
	for (begin = now = now_ns(); now - begin < run_ns; now = now_ns(), rounds++)
		a_round(fd, count, bytes, data);
	double seconds = (double)(now - begin) / 1e9, messages = (double)rounds * count;

	print_use();
	printf("rounds=%ld rate=%.0f gbit=%.4f\n", rounds, messages / seconds, messages * bytes * 8 / seconds / 1e9);
	for (int i = 0; i < count; i++)
		close(fd[i]);
	free(fd);
	free(data);
}

int main(int argc, char **argv)
{
	int serves = argc == 4 && strcmp(argv[1], "server") == 0, asks = argc == 8 && strcmp(argv[1], "client") == 0;

	if (!serves && !asks) {
		fprintf(stderr, "usage: many server PORT COUNT | many client ADDRESS PORT COUNT WARM_UP_MS MS BYTES\n");
		return 2;
	}
	more_descriptors();
	if (serves)
		server(argv[2], (int)number(argv[3], MOST_CONNECTIONS));
	else
		client(argv, (int)number(argv[4], MOST_CONNECTIONS));
	return 0;
}
