/* SPDX-License-Identifier: Apache-2.0 */
/* crew.c - cases about threads and processes that share a connection: what wakes one of them must not be lost on another. */
#include <stdlib.h>
#include <sys/epoll.h>

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
	char *b = calloc(2, BIG);
	ssize_t n = b ? send(t->fd, b, 2 * BIG, MSG_NOSIGNAL) : 0;

	note(" short=%d", n > 0 && n < 2 * BIG);
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

static const struct test_case cases[] = {
	CASE(woken_for_others, "13,12,9", WARM),
	CASE(edge_beside, "12,13", WARM),
	CASE(kid_waits, "13,18,7", WARM),
	CASE(reset_in_tail, "16,8", WARM),
	CASE(daemon, "18,10", WARM),
};
GROUP(crew);
