/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crew.c - cases about threads and processes that share a connection: what wakes one of them must not be lost on another, nor
 * what one does change another's call.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

#include "harness.h"

#define BIG 20000000

static void t_put(struct thr *t)
{
	note(" put=%zu", put(t->fd, 0, (size_t)t->arg));
}

static void t_poke(struct thr *t)
{
	ms(50);
	if (write(t->fd, "", 1) != 1)
		note(" no pipe");
}

/* A writer that sleeps is woken by bytes for a set, whose thread is busy with something else just then. */
static void a_woken_for_others(int fd)
{
	int ep = epoll_create1(0), x[2];
	struct thr w, poke;
	char c;

	if (pipe(x))
		return;
	ep_add(ep, fd, EPOLLIN, 1);
	ep_add(ep, x[0], EPOLLIN, 2);
	thr_start(&w, t_put, fd, BIG);
	thr_asleep(&w);
	thr_start(&poke, t_poke, x[1], 0);
	ew(ep, 8000);
	noted("poke", read(x[0], &c, 1));
	thr_join(&poke);
	go(TO_B);
	ms(200);
	ew(ep, 4000);
	rd(fd, 1, 0);
	go(TO_B);
	thr_join(&w);
}

static void b_woken_for_others(int fd)
{
	await(TO_B);
	wr(fd, "m");
	await(TO_B);
	note(" got=%zu", take(fd, 0, BIG));
}

/* Two threads in an edge-triggered set: while the first is busy with an edge, the next one is for the other. */
static _Atomic int edges;
static _Atomic bool over;

static void t_edge(struct thr *t)
{
	struct epoll_event e;

	edges += epoll_wait(t->arg, &e, 1, 8000) == 1;
	while (!over)
		ms(1);
}

static bool until_edges(int n)
{
	for (int i = 0; i < 4000 && edges < n; i++)
		ms(1);
	ms(50);
	return edges == n;
}

static void a_edge_beside(int fd)
{
	int ep = epoll_create1(0);
	struct thr t[2];

	edges = 0;
	over = false;
	ep_add(ep, fd, EPOLLIN | EPOLLET, 1);
	for (int i = 0; i < 2; i++) {
		thr_start(&t[i], t_edge, fd, ep);
		thr_asleep(&t[i]);
	}
	for (int n = 1; n <= 2; n++) {
		go(TO_B);
		note(" %d", until_edges(n));
	}
	over = true;
	for (int i = 0; i < 2; i++)
		thr_join(&t[i]);
	rd(fd, 2, MSG_WAITALL);
}

static void b_edge_beside(int fd)
{
	await(TO_B);
	wr(fd, "a");
	await(TO_B);
	wr(fd, "b");
	rd(fd, 1, 0);
}

/* A child waits for the answer to what its parent is still sending. */
static void a_kid_waits(int fd)
{
	pid_t p = kid();

	if (p == 0) {
		ms(200);
		rd(fd, 2, MSG_WAITALL);
		_exit(0);
	}
	note(" put=%zu", put(fd, 0, 8000000));
	reap(p);
}

static void b_kid_waits(int fd)
{
	ms(1000);
	note(" got=%zu", take(fd, 0, 8000000));
	wr(fd, "ok");
	rd(fd, 1, 0);
}

static void t_send_big(struct thr *t)
{
	const size_t size = 4 * BIG; /* more than all buffers on the way hold */
	char *b = calloc(1, size);
	ssize_t n = b ? send(t->fd, b, size, MSG_NOSIGNAL) : 0;

	note(" short=%d", n > 0 && (size_t)n < size);
	noted("again", send(t->fd, "x", 1, MSG_NOSIGNAL));
	free(b);
}

/* The connection becomes plain TCP in the middle of a call, which sleeps on, and is reset then: the next call hears of it. */
static void a_reset_in_tail(int fd)
{
	struct thr t;

	thr_start(&t, t_send_big, fd, 0);
	thr_asleep(&t);
	go(TO_B);
	dup2(fd, 0);
	thr_join(&t);
}

static void b_reset_in_tail(int fd)
{
	static char b[65536];
	size_t n = 0;

	await(TO_B);
	for (ssize_t r; n < 12000000 && (r = recv(fd, b, sizeof(b), 0)) > 0;)
		n += (size_t)r;
	ms(300);
	close(fd);
}

/* By daemon(3), which forks and ends the parent. */
static void a_daemon(int fd)
{
	pid_t p = kid();

	if (p == 0) {
		if (daemon(1, 1) == 0 && take(fd, 0, 100000) == 100000)
			put(fd, 0, 3);
		_exit(0);
	}
	close(fd);
	reap(p);
}

static void b_daemon(int fd)
{
	note(" put=%zu", put(fd, 0, 100000));
	note(" got=%zu", take(fd, 0, 3));
	rd(fd, 1, 0);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Another thread takes the connection back to TCP for good while one sleeps in recv, whose time-out counts from its start. */
static void t_timed(struct thr *t)
{
	uint64_t began = now_ms();

	rd(t->fd, 1, 0);
	note(" in_time=%d", now_ms() - began < 5000);
}

static void a_timeo_goes_on(int fd)
{
	struct thr t;

	rcvtimeo(fd, 3000);
	thr_start(&t, t_timed, fd, 0);
	thr_asleep(&t);
	ms(2800);
	dup2(fd, 0);
	thr_join(&t);
	wr(fd, "x");
}

static void b_timeo_goes_on(int fd)
{
	rd(fd, 1, 0);
}

/* An option that is only TCP's to keep, over bytes that are in the ring. */
static void a_lowat_unread(int fd)
{
	int low = 10;

	until_queued(fd, 3);
	setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low));
	go(TO_B);
	await(TO_A);
	until_queued(fd, 5);
	pl(fd, POLLIN, 100);
	go(TO_B);
	pl(fd, POLLIN, 8000);
	rd(fd, 12, 0);
}

static void b_lowat_unread(int fd)
{
	wr(fd, "abc");
	await(TO_B);
	wr(fd, "de");
	go(TO_A);
	await(TO_B);
	wr(fd, "fghijkl");
	rd(fd, 1, 0);
}

/* The socket is closed, and its number another's, while a thread sleeps in recv on what has become plain TCP. */
static void a_closed_in_tail(int fd)
{
	struct thr t;
	int p[2];

	rcvtimeo(fd, 8000); /* out of time, for t_timed() */
	thr_start(&t, t_timed, fd, 0);
	thr_asleep(&t);
	dup2(fd, 0);
	ms(100);
	shutdown(fd, SHUT_RDWR);
	if (pipe(p) || dup2(p[0], fd) != fd || write(p[1], "z", 1) != 1)
		note(" no pipe");
	thr_join(&t);
	close(0);
}

static void b_closed_in_tail(int fd)
{
	rd(fd, 1, 0);
}

/* A pipe that hangs up is nothing to select() for room, beside a connection that is quiet. */
static void a_select_hangup(int fd)
{
	struct timeval tv = { 0, 200000 };
	fd_set r, w;
	int p[2];
	uint64_t began = now_ms();

	if (pipe(p))
		return;
	close(p[1]);
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(fd, &r);
	FD_SET(p[0], &w);
	noted("select", select((fd > p[0] ? fd : p[0]) + 1, &r, &w, NULL, &tv));
	note(" waited=%d", now_ms() - began >= 190);
	wr(fd, "x");
	tv = (struct timeval){ 8, 0 };
	FD_SET(fd, &r);
	FD_SET(p[0], &w);
	noted("select", select((fd > p[0] ? fd : p[0]) + 1, &r, &w, NULL, &tv));
	note(" %d %d", FD_ISSET(fd, &r) != 0, FD_ISSET(p[0], &w) != 0);
	rd(fd, 1, 0);
}

static void b_select_hangup(int fd)
{
	rd(fd, 1, 0);
	wr(fd, "y");
}

/* The ring has ended, and is not read; who waits for the end alone is told of it. */
static void a_end_unread(int fd)
{
	until_queued(fd, 3);
	go(TO_B);
	await(TO_A);
	for (int i = 0; i < 60; i++) {
		struct pollfd p = { .fd = fd, .events = POLLRDHUP };

		poll(&p, 1, 0);
		ms(1);
	}
	go(TO_B);
	pl(fd, POLLRDHUP, 4000);
	rd(fd, 4, MSG_WAITALL);
}

static void b_end_unread(int fd)
{
	wr(fd, "abc");
	await(TO_B);
	setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &(int){ 1 }, sizeof(int));
	go(TO_A);
	await(TO_B);
	ms(200);
	close(fd);
}

static const struct test_case cases[] = {
	CASE(woken_for_others, "13,12,9", WARM),
	CASE(edge_beside, "12,13", WARM),
	CASE(kid_waits, "13,18,7", WARM),
	CASE(reset_in_tail, "16,8", WARM),
	CASE(daemon, "18,10", WARM),
	CASE(timeo_goes_on, "8,14", WARM),
	CASE(lowat_unread, "8", WARM),
	CASE(closed_in_tail, "8,16", WARM),
	CASE(select_hangup, "11,12", WARM),
	CASE(end_unread, "12,16", WARM),
};
GROUP(crew);
