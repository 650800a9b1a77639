/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream.c - an ordinary sockets program that checks every byte of a full-duplex stream by its offset.
 *
 * usage: stream server|client ADDR PORT MODE BYTES SEED
 * MODE: threads (blocking, one thread a direction), poll, select, lt, et, oneshot (epoll), nonblock (tries only).
 * Sizes, pauses, vectored calls and peeks are drawn from SEED.  Each side sends BYTES, shuts its sending side, reads to
 * the end of file and demands that exactly BYTES came.  Exit 0 and "ok" if all is right.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAX_CALL 300000

struct side {
	int fd;
	uint64_t sent, got, total;
	uint32_t salt_out, salt_in;
	uint64_t rnd_out, rnd_in;
	uint8_t out[MAX_CALL], in[MAX_CALL];
	bool out_done, in_done;
};

static void fail(const char *what, uint64_t at)
{
	fprintf(stderr, "stream[%d]: %s at %llu: %s\n", (int)getpid(), what, (unsigned long long)at, strerror(errno));
	exit(1);
}

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint8_t byte_at(uint64_t off, uint32_t salt)
{
	uint64_t x = (off >> 3) * 0x9e3779b97f4a7c15ull + salt;

	x ^= x >> 29;
	return (uint8_t)(x >> (8 * (off & 7)));
}

static size_t some_size(uint64_t *s)
{
	switch (rnd(s) % 6) {
	case 0: return 1 + rnd(s) % 16;
	case 1: return 1 + rnd(s) % 1500;
	case 2: return 1 + rnd(s) % 70000;
	case 3: return 1 + rnd(s) % MAX_CALL;
	default: return 1 + rnd(s) % 4096;
	}
}

static void pause_some(uint64_t *s)
{
	if (rnd(s) % 2000 == 0)
		nanosleep(&(struct timespec){ 0, (long)(rnd(s) % 3000000) }, NULL);
}

/* One send of random size; 1 progress, 0 would block, done flag in *s. */
static int step_out(struct side *s)
{
	size_t n = some_size(&s->rnd_out);
	ssize_t r;

	if (n > s->total - s->sent)
		n = s->total - s->sent;
	for (size_t i = 0; i < n; i++)
		s->out[i] = byte_at(s->sent + i, s->salt_out);
	if (rnd(&s->rnd_out) % 4 == 0 && n > 3) {
		struct iovec v[3] = { { s->out, n / 3 }, { s->out + n / 3, 0 }, { s->out + n / 3, n - n / 3 } };

		r = writev(s->fd, v, 3);
	} else {
		r = n ? send(s->fd, s->out, n, MSG_NOSIGNAL) : 0;
	}
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (r < 0)
		fail("send", s->sent);
	s->sent += (uint64_t)r;
	if (s->sent == s->total) {
		s->out_done = true;
		if (shutdown(s->fd, SHUT_WR))
			fail("shutdown", s->sent);
	}
	pause_some(&s->rnd_out);
	return 1;
}

static void check(struct side *s, size_t n, const char *what)
{
	for (size_t i = 0; i < n; i++) {
		if (s->in[i] != byte_at(s->got + i, s->salt_in)) {
			errno = 0;
			fail(what, s->got + i);
		}
	}
}

static int step_in(struct side *s)
{
	size_t n = some_size(&s->rnd_in);
	ssize_t r;

	if (rnd(&s->rnd_in) % 8 == 0) {
		r = recv(s->fd, s->in, n, MSG_PEEK | MSG_DONTWAIT);
		if (r > 0)
			check(s, (size_t)r, "peeked byte differs");
	}
	if (rnd(&s->rnd_in) % 4 == 0 && n > 2) {
		struct iovec v[2] = { { s->in, n / 2 }, { s->in + n / 2, n - n / 2 } };

		r = readv(s->fd, v, 2);
	} else {
		r = recv(s->fd, s->in, n, 0);
	}
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (r < 0)
		fail("recv", s->got);
	if (r == 0) {
		if (s->got != s->total)
			fail("early end of file", s->got);
		s->in_done = true;
		return 1;
	}
	check(s, (size_t)r, "byte differs");
	s->got += (uint64_t)r;
	if (s->got > s->total)
		fail("too many bytes", s->got);
	pause_some(&s->rnd_in);
	return 1;
}

static void *out_thread(void *arg)
{
	struct side *s = arg;

	while (!s->out_done)
		step_out(s);
	return NULL;
}

static void run_threads(struct side *s)
{
	pthread_t t;

	pthread_create(&t, NULL, out_thread, s);
	while (!s->in_done)
		step_in(s);
	pthread_join(t, NULL);
}

/* Level-triggered loops do one step an event; edge-triggered ones go on until EAGAIN. */
static void serve(struct side *s, bool in, bool out, bool drain)
{
	if (in && !s->in_done)
		while (step_in(s) && drain && !s->in_done)
			;
	if (out && !s->out_done)
		while (step_out(s) && drain && !s->out_done)
			;
}

static void run_poll(struct side *s)
{
	while (!s->in_done || !s->out_done) {
		struct pollfd p = { s->fd, (short)((s->in_done ? 0 : POLLIN) | (s->out_done ? 0 : POLLOUT)), 0 };

		if (poll(&p, 1, 20000) <= 0)
			fail("poll", s->got);
		serve(s, p.revents & (POLLIN | POLLHUP), p.revents & POLLOUT, false);
	}
}

static void run_select(struct side *s)
{
	while (!s->in_done || !s->out_done) {
		fd_set r, w;
		struct timeval tv = { 20, 0 };

		FD_ZERO(&r);
		FD_ZERO(&w);
		if (!s->in_done)
			FD_SET(s->fd, &r);
		if (!s->out_done)
			FD_SET(s->fd, &w);
		if (select(s->fd + 1, &r, &w, NULL, &tv) <= 0)
			fail("select", s->got);
		serve(s, FD_ISSET(s->fd, &r), FD_ISSET(s->fd, &w), false);
	}
}

static uint32_t interest(const struct side *s, uint32_t extra)
{
	return (s->in_done ? 0 : (uint32_t)EPOLLIN) | (s->out_done ? 0 : (uint32_t)EPOLLOUT) | extra;
}

static void run_epoll(struct side *s, uint32_t extra)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = interest(s, extra), .data.fd = s->fd };
	uint32_t have = ev.events;

	if (epoll_ctl(ep, EPOLL_CTL_ADD, s->fd, &ev))
		fail("epoll_ctl", 0);
	while (!s->in_done || !s->out_done) {
		struct epoll_event got[4];
		int n = epoll_wait(ep, got, 4, 20000);

		if (n < 0 && errno == EINTR)
			continue;
		if (n != 1 || got[0].data.fd != s->fd)
			fail("epoll_wait", s->got);
		serve(s, got[0].events & (EPOLLIN | EPOLLHUP), got[0].events & EPOLLOUT, extra & EPOLLET);
		if ((extra & EPOLLONESHOT) || (!(extra & EPOLLET) && interest(s, extra) != have)) {
			ev.events = have = interest(s, extra);
			if (epoll_ctl(ep, EPOLL_CTL_MOD, s->fd, &ev))
				fail("epoll_ctl mod", s->got);
		}
	}
	close(ep);
}

static void run_nonblock(struct side *s)
{
	while (!s->in_done || !s->out_done) {
		bool any = (!s->in_done && step_in(s)) | (!s->out_done && step_out(s));

		if (!any)
			nanosleep(&(struct timespec){ 0, 20000 }, NULL);
	}
}

static int open_socket(bool server, const char *addr, int port)
{
	struct sockaddr_storage ss = { 0 };
	struct sockaddr_in *in = (void *)&ss;
	struct sockaddr_in6 *in6 = (void *)&ss;
	int one = 1, fd;

	if (inet_pton(AF_INET, addr, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)port);
	} else {
		inet_pton(AF_INET6, addr, &in6->sin6_addr);
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)port);
	}
	fd = socket(ss.ss_family, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!server) {
		for (int i = 0; connect(fd, (struct sockaddr *)&ss, sizeof(ss)); i++) {
			if (errno != ECONNREFUSED || i > 500)
				fail("connect", 0);
			close(fd);
			nanosleep(&(struct timespec){ 0, 10000000 }, NULL);
			fd = socket(ss.ss_family, SOCK_STREAM, 0);
		}
		return fd;
	}
	if (bind(fd, (struct sockaddr *)&ss, sizeof(ss)) || listen(fd, 16))
		fail("listen", 0);
	int c = accept(fd, NULL, NULL);

	if (c < 0)
		fail("accept", 0);
	close(fd);
	return c;
}

int main(int argc, char **argv)
{
	static struct side s;

	if (argc != 7)
		return 2;
	bool server = !strcmp(argv[1], "server");
	uint32_t seed = (uint32_t)strtoul(argv[6], NULL, 0);
	const char *mode = argv[4];

	alarm(120);
	s.fd = open_socket(server, argv[2], atoi(argv[3]));
	s.total = strtoull(argv[5], NULL, 0);
	s.salt_out = seed * 2 + server;
	s.salt_in = seed * 2 + !server;
	s.rnd_out = 0x1234567ull * (seed + 1) + server;
	s.rnd_in = 0x7654321ull * (seed + 1) + server;
	for (int i = 0; i < 10; i++)
		rnd(&s.rnd_out), rnd(&s.rnd_in);
	if (strcmp(mode, "threads"))
		fcntl(s.fd, F_SETFL, fcntl(s.fd, F_GETFL) | O_NONBLOCK);
	if (!strcmp(mode, "threads"))
		run_threads(&s);
	else if (!strcmp(mode, "poll"))
		run_poll(&s);
	else if (!strcmp(mode, "select"))
		run_select(&s);
	else if (!strcmp(mode, "lt"))
		run_epoll(&s, 0);
	else if (!strcmp(mode, "et"))
		run_epoll(&s, EPOLLET);
	else if (!strcmp(mode, "oneshot"))
		run_epoll(&s, EPOLLONESHOT);
	else if (!strcmp(mode, "nonblock"))
		run_nonblock(&s);
	else
		return 2;
	if (s.sent != s.total || s.got != s.total)
		fail("wrong total", s.got);
	close(s.fd);
	puts("ok");
	return 0;
}
