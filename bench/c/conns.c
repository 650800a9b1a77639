/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many connections between two processes, one thread each. Every connection has one message under way: when the answer
 * is there the next one leaves. All are sent and answered through one epoll set.
 *   conns server PORT COUNT                ends when all clients have closed
 *   conns client ADDRESS PORT COUNT MS     MS: how long each phase lasts
 * The client prints a line for each phase, and both for the rest (in which the client waits for a while):
 *   connect rate=R                         connections a second, one after the other: median of SETUPS times all of them
 *   rr rate=R least=R median=R most=R      64-byte messages there and back: all together; a connection's share
 *   stream rate=R least=R median=R most=R  16 KiB there, 8 bytes back: MB a second
 *   rest pss=KIB fds=N                     of this process for each connection, after the phases
 */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SMALL = 64, LARGE = 16 << 10, ANSWER = 8, MOST = 4000, BATCH = 256, REST_MS = 1500, SETUPS = 9 };

/* What a message begins with; the server answers with the same words (and the rest of a small message). */
struct head {
	uint32_t bytes, round;
};

struct line {
	int fd;
	uint32_t round;	  /* of the message under way, or of the next one that will come */
	uint32_t have;	  /* bytes of a message, or of an answer, so far */
	uint64_t answers; /* in this phase */
	unsigned char data[LARGE];
};

static struct line *lines;
static long count;
static int set;

/* More descriptors than the usual limit; the hard limit is the administrator's. */
static void raise_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		die("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		die("setrlimit");
}

/* Proportional memory of this process in KiB: what it shares with others counts in parts. */
static long memory(void)
{
	char text[256];
	long kib = -1;
	FILE *f = fopen("/proc/self/smaps_rollup", "re");
	if (f == NULL)
		die("/proc/self/smaps_rollup");
	while (fgets(text, sizeof text, f) != NULL && sscanf(text, "Pss: %ld kB", &kib) != 1)
		;
	fclose(f);
	return kib;
}

static long descriptors(void)
{
	long open = 0;
	DIR *d = opendir("/proc/self/fd");
	if (d == NULL)
		die("/proc/self/fd");
	while (readdir(d) != NULL)
		open++;
	closedir(d);
	return open;
}

static void rest(long memory_before, long descriptors_before)
{
	printf("rest pss=%.2f fds=%.3f\n", (double)(memory() - memory_before) / (double)count,
	       (double)(descriptors() - descriptors_before) / (double)count);
	fflush(stdout);
}

static void watch(struct line *l)
{
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = l };
	if (fcntl(l->fd, F_SETFL, O_NONBLOCK) != 0 || epoll_ctl(set, EPOLL_CTL_ADD, l->fd, &e) != 0)
		die("epoll_ctl");
}

/* Writes all; at most one message is under way, so it hardly ever has to wait. */
static void put(int fd, const void *data, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		ssize_t n = write(fd, (const char *)data + done, bytes - done);
		if (n >= 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
		else if (errno != EINTR)
			die("write");
	}
}

/* Reads what is there, up to `bytes` in all; -1 at the end of the stream. */
static int get(struct line *l, uint32_t bytes)
{
	ssize_t n = read(l->fd, l->data + l->have, bytes - l->have);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		die("read");
	if (n > 0)
		l->have += (uint32_t)n;
	return n == 0 ? -1 : 0;
}

/* ---- server ---------------------------------------------------------------------------------- */

/* False when the client has closed. */
static int serve(struct line *l)
{
	struct head head;
	if (get(l, l->have < sizeof head ? sizeof head : LARGE) != 0)
		return 0;
	if (l->have < sizeof head)
		return 1;
	memcpy(&head, l->data, sizeof head);
	if (head.round != l->round || (head.bytes != SMALL && head.bytes != LARGE) || l->have > head.bytes) {
		fprintf(stderr, "conns: a wrong message\n");
		exit(1);
	}
	if (l->have == head.bytes) {
		put(l->fd, l->data, head.bytes == SMALL ? SMALL : ANSWER);
		l->have = 0;
		l->round++;
	}
	return 1;
}

static void accept_all(int listener)
{
	for (long i = 0; i < count; i++)
		lines[i].fd = accept_from(listener);
}

/* See drop_all(): the first one's end is the last of all, and tells the client that it may go on. */
static void await_drops(void)
{
	char byte;
	for (long i = count - 1; i >= 0; i--) {
		while (read(lines[i].fd, &byte, 1) < 0 && errno == EINTR)
			;
		close(lines[i].fd);
	}
}

static void server(const char *port)
{
	int listener = listen_on(port);
	struct epoll_event e[BATCH];
	long before = memory(), open_before = descriptors();
	for (int i = 1; i < SETUPS; i++) {
		accept_all(listener);
		await_drops();
	}
	accept_all(listener);
	for (long i = 0; i < count; i++)
		watch(&lines[i]);
	for (long open = count; open > 0;) {
		int n = epoll_wait(set, e, BATCH, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct line *l = e[i].data.ptr;
			if (!serve(l)) {
				/* The client closes all at once, so with the first the phases are over. */
				if (open == count)
					rest(before, open_before);
				close(l->fd);
				open--;
			}
		}
	}
}

/* ---- client ---------------------------------------------------------------------------------- */

static void ask(struct line *l, uint32_t bytes)
{
	static unsigned char message[LARGE];
	struct head head = { .bytes = bytes, .round = l->round };
	memcpy(message, &head, sizeof head);
	put(l->fd, message, bytes);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void report(const char *name, uint32_t bytes, double seconds)
{
	double *each = calloc((size_t)count, sizeof *each), sum = 0;
	for (long i = 0; i < count; i++) {
		each[i] = (double)lines[i].answers / seconds * (bytes == SMALL ? 1 : LARGE / 1e6);
		sum += each[i];
	}
	qsort(each, (size_t)count, sizeof *each, by_value);
	printf("%s rate=%.1f least=%.4f median=%.4f most=%.4f\n", name, sum, each[0], each[count / 2], each[count - 1]);
	free(each);
}

/* Messages of one size on all connections; ends with nothing under way. */
static void phase(const char *name, uint32_t bytes, uint64_t ns)
{
	struct epoll_event e[BATCH];
	uint32_t answer = bytes == SMALL ? SMALL : ANSWER;
	uint64_t from = now_ns(), to = from;
	for (long i = 0; i < count; i++) {
		lines[i].answers = 0;
		ask(&lines[i], bytes);
	}
	for (long under_way = count; under_way > 0; to = now_ns()) {
		int n = epoll_wait(set, e, BATCH, -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct line *l = e[i].data.ptr;
			struct head head;
			if (get(l, answer) != 0) {
				fprintf(stderr, "conns: the server closed\n");
				exit(1);
			}
			if (l->have < answer)
				continue;
			memcpy(&head, l->data, sizeof head);
			if (head.bytes != bytes || head.round != l->round) {
				fprintf(stderr, "conns: a wrong answer\n");
				exit(1);
			}
			l->have = 0;
			l->round++;
			l->answers++;
			if (to - from < ns)
				ask(l, bytes);
			else
				under_way--;
		}
	}
	if (name != NULL)
		report(name, bytes, (double)(to - from) / 1e9);
}

/* Resets all but one, so that no port waits for a minute. */
static void drop_all(void)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	char byte;
	for (long i = 1; i < count; i++) {
		if (setsockopt(lines[i].fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) != 0)
			die("SO_LINGER");
		close(lines[i].fd);
	}
	shutdown(lines[0].fd, SHUT_WR);
	if (read(lines[0].fd, &byte, 1) != 0)
		die("read");
	close(lines[0].fd);
}

/* All are connected at the end. */
static void set_up(const char *address, const char *port)
{
	double rates[SETUPS];
	for (int n = 0; n < SETUPS; n++) {
		uint64_t from = now_ns();
		for (long i = 0; i < count; i++)
			lines[i].fd = connect_to(address, port);
		rates[n] = (double)count * 1e9 / (double)(now_ns() - from);
		if (n + 1 < SETUPS)
			drop_all();
	}
	qsort(rates, SETUPS, sizeof rates[0], by_value);
	printf("connect rate=%.0f\n", rates[SETUPS / 2]);
}

static void client(const char *address, const char *port, uint64_t ns)
{
	long before = memory(), open_before = descriptors();
	set_up(address, port);
	for (long i = 0; i < count; i++)
		watch(&lines[i]);
	/* Enough time and bytes for every connection to have left its youth. */
	phase(NULL, LARGE, 2 * ns);
	phase("rr", SMALL, ns);
	phase("stream", LARGE, ns);
	rest(before, open_before);
	poll(NULL, 0, REST_MS);
	/* The first end of stream makes the server count too, while everything is still open at both ends. */
	shutdown(lines[0].fd, SHUT_WR);
	if (get(&lines[0], ANSWER) == 0)
		poll(&(struct pollfd){ .fd = lines[0].fd, .events = POLLIN }, 1, -1);
	for (long i = 0; i < count; i++)
		close(lines[i].fd);
}

int main(int argc, char **argv)
{
	int serves = argc == 4 && strcmp(argv[1], "server") == 0, asks = argc == 6 && strcmp(argv[1], "client") == 0;
	if (!serves && !asks) {
		fprintf(stderr, "usage: conns server PORT COUNT | conns client ADDRESS PORT COUNT MS\n");
		return 2;
	}
	raise_limit();
	count = number(argv[serves ? 3 : 4], MOST);
	lines = calloc((size_t)count, sizeof *lines);
	set = epoll_create1(EPOLL_CLOEXEC);
	if (lines == NULL || set < 0)
		die("start");
	/* Their own memory is no part of what a connection costs. */
	for (long i = 0; i < count; i++)
		memset(lines[i].data, 1, LARGE);
	if (serves)
		server(argv[2]);
	else
		client(argv[2], argv[3], (uint64_t)number(argv[5], 600000) * 1000000u);
	return 0;
}
