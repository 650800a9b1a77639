/* SPDX-License-Identifier: Apache-2.0 */
/* switch.c - cases that start on a young connection and are caught by the switch to the ring in the middle. */
#include <sys/select.h>

#include "harness.h"

/* ---- a thread sits in a call while the other direction, and then its own, goes to the ring ---- */

static void t_waitall(struct thr *t)
{
	rd(t->fd, (size_t)t->arg, MSG_WAITALL);
}

static void t_peek(struct thr *t)
{
	rd(t->fd, (size_t)t->arg, MSG_PEEK);
}

static void t_poll(struct thr *t)
{
	pl(t->fd, (short)t->arg, 5000);
}

static void t_select(struct thr *t)
{
	fd_set r;
	int n;

	FD_ZERO(&r);
	FD_SET(t->fd, &r);
	n = select(t->fd + 1, &r, NULL, NULL, NULL);
	note(" select=%d:%d", n, FD_ISSET(t->fd, &r) != 0);
}

static void t_epoll(struct thr *t)
{
	ew(t->arg, 5000);
}

static void sit(int fd, void (*where)(struct thr *), int arg)
{
	struct thr t;

	thr_start(&t, where, fd, arg);
	thr_asleep(&t);
	push(fd);
	go(TO_B);
	thr_join(&t);
	rd(fd, 4, MSG_WAITALL);
	cross(fd);
	wr(fd, "ok");
	rd(fd, 3, MSG_WAITALL);
}

static void answer(int fd)
{
	pull(fd);
	await(TO_B);
	ms(10);
	wr(fd, "1234");
	ms(10);
	wr(fd, "5678");
	cross(fd);
	rd(fd, 2, MSG_WAITALL);
	wr(fd, "end");
	rd(fd, 1, 0);
}

#define SIT(name, where, arg)                                                                                          \
	static void a_##name(int fd)                                                                                   \
	{                                                                                                              \
		sit(fd, where, arg);                                                                                   \
	}                                                                                                              \
	static void b_##name(int fd)                                                                                   \
	{                                                                                                              \
		answer(fd);                                                                                            \
	}

SIT(sit_recv, t_recv, 4)
SIT(sit_waitall, t_waitall, 4)

/* These leave all eight bytes: four more are read than by the others. */
static void sit_and_look(int fd, void (*where)(struct thr *), int arg)
{
	struct thr t;

	thr_start(&t, where, fd, arg);
	thr_asleep(&t);
	push(fd);
	go(TO_B);
	thr_join(&t);
	rd(fd, 8, MSG_WAITALL);
	cross(fd);
	wr(fd, "ok");
	rd(fd, 3, MSG_WAITALL);
}

#define LOOK(name, where, arg)                                                                                         \
	static void a_##name(int fd)                                                                                   \
	{                                                                                                              \
		sit_and_look(fd, where, arg);                                                                          \
	}                                                                                                              \
	static void b_##name(int fd)                                                                                   \
	{                                                                                                              \
		answer(fd);                                                                                            \
	}

LOOK(sit_peek, t_peek, 1)
LOOK(sit_poll, t_poll, POLLIN)
LOOK(sit_select, t_select, 0)

static void sit_in_set(int fd, uint32_t events)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, events, 1);
	sit_and_look(fd, t_epoll, ep);
	ew(ep, 0);
}

static void a_sit_level(int fd)
{
	sit_in_set(fd, EPOLLIN);
}

static void b_sit_level(int fd)
{
	answer(fd);
}

static void a_sit_edge(int fd)
{
	sit_in_set(fd, EPOLLIN | EPOLLET);
}

static void b_sit_edge(int fd)
{
	answer(fd);
}

static void a_sit_oneshot(int fd)
{
	sit_in_set(fd, EPOLLIN | EPOLLONESHOT);
}

static void b_sit_oneshot(int fd)
{
	answer(fd);
}

/* ---- bytes on both sides of the switch ---- */

/* The reader has not read what came by TCP when the ring begins: peeks, FIONREAD and reads join both. */
static void a_join(int fd)
{
	int n = 0;

	await(TO_A);
	until_queued(fd, 50);
	ioctl(fd, FIONREAD, &n);
	note(" more=%d", n > 50);
	rd(fd, 10, MSG_PEEK);
	note(" got=%zu", take(fd, 0, 50));
	pull(fd);
	rd(fd, 4, MSG_WAITALL);
	wr(fd, "ok");
	cross(fd);
}

static void b_join(int fd)
{
	note(" put=%zu", put(fd, 0, 50));
	for (int i = 0; i < 3; i++)
		send(fd, "w", 1, MSG_NOSIGNAL);
	go(TO_A);
	push(fd);
	wr(fd, "1234");
	rd(fd, 2, MSG_WAITALL);
	cross(fd);
}

/* One stream with a pattern over the whole life, in every kind of call. */
static void a_stream(int fd)
{
	size_t n = 0;

	for (int i = 0; i < 400; i++) {
		size_t part = (size_t)(1 + i * 37 % 700);
		char buf[700];

		if (i % 3 == 0) {
			ssize_t r = recv(fd, buf, part, MSG_PEEK);

			if (r > 0)
				same(buf, n, (size_t)r);
		}
		if (take(fd, n, part) != part)
			break;
		n += part;
	}
	note(" got=%zu", n);
	cross(fd);
}

static void b_stream(int fd)
{
	size_t n = 0;

	for (int i = 0; i < 400; i++) {
		size_t part = (size_t)(1 + i * 37 % 700);

		if (put(fd, n, part) != part)
			break;
		n += part;
		if (i % 4 == 0)
			ms(1);
	}
	note(" put=%zu", n);
	cross(fd);
}

/* Both write much before they read, from the first moment on (rules 6 and 9). */
static void a_write_first(int fd)
{
	for (size_t n = 0; n < 3000000; n += 30000) {
		put(fd, n, 30000);
		if (n % 300000 == 0)
			ms(4);
	}
	note(" got=%zu", take(fd, 0, 3000000));
	cross(fd);
}

static void b_write_first(int fd)
{
	a_write_first(fd);
}

/* A writer that is asleep in a full TCP when its time comes. */
static void a_sleep_full(int fd)
{
	note(" put=%zu", put(fd, 0, 12000000));
	cross(fd);
}

static void b_sleep_full(int fd)
{
	ms(80);
	note(" got=%zu", take(fd, 0, 12000000));
	cross(fd);
}

/* Time-outs run on over the switch. */
static void a_timeo_over(int fd)
{
	rcvtimeo(fd, 60);
	rd(fd, 1, 0);
	push(fd);
	rd(fd, 1, 0);
	rcvtimeo(fd, 0);
	go(TO_B);
	cross(fd);
	rcvtimeo(fd, 60);
	rd(fd, 1, 0);
	rcvtimeo(fd, 0);
	go(TO_B);
	rd(fd, 4, 0);
}

static void b_timeo_over(int fd)
{
	pull(fd);
	await(TO_B);
	cross(fd);
	await(TO_B);
	ms(20);
	wr(fd, "data");
	rd(fd, 1, 0);
}

/* Edge-triggered: the switch may raise an edge, but may lose none. */
static void a_edges_kept(int fd)
{
	int ep = epoll_create1(0), got = 0;
	ssize_t r;
	char c;

	nonblock(fd, true);
	ep_add(ep, fd, EPOLLIN | EPOLLET, 1);
	while (got < 100) {
		struct epoll_event e;

		if (epoll_wait(ep, &e, 1, 3000) != 1) {
			note(" no event after %d", got);
			break;
		}
		while ((r = recv(fd, &c, 1, 0)) == 1) {
			got++;
			send(fd, &c, 1, MSG_NOSIGNAL);
		}
	}
	note(" got=%d", got);
	nonblock(fd, false);
	cross(fd);
}

static void b_edges_kept(int fd)
{
	int got = 0;
	char c = 'e';

	while (got < 100 && send(fd, &c, 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1) {
		got++;
		ms(1);
	}
	note(" got=%d", got);
	cross(fd);
}

/* A connection that is over before its time costs nothing and stays on TCP (rule 6). */
static void a_short(int fd)
{
	rd(fd, 4, MSG_WAITALL);
	wr(fd, "pong");
	rd(fd, 1, 0);
}

static void b_short(int fd)
{
	wr(fd, "ping");
	rd(fd, 4, MSG_WAITALL);
	close(fd);
}

/* Bytes alone make it move: 64 KiB within its first milliseconds (rule 6). */
static void a_by_bytes(int fd)
{
	note(" got=%zu", take(fd, 0, 1000000));
	wr(fd, "ok");
	cross(fd);
}

static void b_by_bytes(int fd)
{
	note(" put=%zu", put(fd, 0, 1000000));
	rd(fd, 2, MSG_WAITALL);
	cross(fd);
}

static const struct test_case cases[] = {
	CASE(sit_recv, "4,5,11", YOUNG),
	CASE(sit_waitall, "4,5,11", YOUNG),
	CASE(sit_peek, "4,5,11", YOUNG),
	CASE(sit_poll, "4,11", YOUNG),
	CASE(sit_select, "4,11", YOUNG),
	CASE(sit_level, "4,12", YOUNG),
	CASE(sit_edge, "4,5,12", YOUNG),
	CASE(sit_oneshot, "4,12", YOUNG),
	CASE(join, "5,6", YOUNG),
	CASE(stream, "5,6", YOUNG),
	CASE_F(write_first, "6,9", YOUNG, SLOW),
	CASE_F(sleep_full, "6,9,13", YOUNG, SLOW),
	CASE(timeo_over, "11,14", YOUNG),
	CASE(edges_kept, "5,12", YOUNG),
	CASE(short, "6", COLD),
	CASE(by_bytes, "6", YOUNG),
};
GROUP(switch);
