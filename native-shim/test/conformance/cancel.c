/* SPDX-License-Identifier: Apache-2.0 */
/* cancel.c - cases about pthread_cancel (rule 14: no lock is held in a wait). */
#include <sys/select.h>

#include "harness.h"

static void t_recv(struct thr *t)
{
	rd(t->fd, 1, 0);
}

static void t_poll(struct thr *t)
{
	pl(t->fd, POLLIN, -1);
}

static void t_epoll(struct thr *t)
{
	ew(t->arg, -1);
}

static void t_select(struct thr *t)
{
	fd_set r;

	FD_ZERO(&r);
	FD_SET(t->fd, &r);
	noted("select", select(t->fd + 1, &r, NULL, NULL, NULL));
}

static void t_send(struct thr *t)
{
	put(t->fd, 0, 1000000000);
	note(" sent all");
}

/* A thread is cancelled where it sleeps; the connection works on for the others. */
static void a_cancel(int fd)
{
	void (*const where[])(struct thr *) = { t_recv, t_poll, t_epoll, t_select };
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	for (int i = 0; i < 4; i++) {
		struct thr t;

		thr_start(&t, where[i], fd, ep);
		thr_asleep(&t);
		pthread_cancel(t.t);
		thr_join(&t);
		go(TO_B);
		ew(ep, 2000);
		rd(fd, 4, 0);
		wr(fd, "ok");
	}
}

static void b_cancel(int fd)
{
	for (int i = 0; i < 4; i++) {
		await(TO_B);
		wr(fd, "data");
		rd(fd, 2, MSG_WAITALL);
	}
	rd(fd, 1, 0);
}

static void a_cancel_send(int fd)
{
	struct thr t;

	thr_start(&t, t_send, fd, 0);
	thr_asleep(&t);
	pthread_cancel(t.t);
	thr_join(&t);
	go(TO_B);
	rd(fd, 4, 0);
	pl(fd, POLLOUT, 5000);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_cancel_send(int fd)
{
	static char buf[65536];
	size_t n = 0;
	ssize_t r;

	await(TO_B);
	wr(fd, "data");
	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0 && same(buf, n, (size_t)r))
		n += (size_t)r;
	note(" some=%d end=%zd", n > 0, r);
}

static const struct test_case cases[] = {
	CASE(cancel, "14,11", WARM),
	CASE_F(cancel_send, "14,9", WARM, SLOW),
};
GROUP(cancel);
