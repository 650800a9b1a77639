/* SPDX-License-Identifier: Apache-2.0 */
/* sets.c - cases about epoll sets that several threads wait on while connections come and go. */
#include <sys/eventfd.h>

#include "harness.h"

enum mode { LEVEL, EDGE, ONESHOT };

#define WORKERS 4
#define CLIENTS 8
#define EACH 5    /* connections of a client, one after the other */
#define ROUNDS 40 /* messages on each */

struct state {
	int fd;
	pthread_mutex_t lock;
	unsigned char buf[8192];
	size_t have, at;
	bool dead;
};

static int set_fd;
static enum mode mode;
static _Atomic int foreign;

static uint32_t interest(const struct state *s)
{
	uint32_t e = s->at < s->have ? EPOLLOUT : EPOLLIN;

	return mode == EDGE ? EPOLLIN | EPOLLOUT | EPOLLET : mode == ONESHOT ? e | EPOLLONESHOT : e;
}

/* Echoes until neither side can go on. */
static void pump(struct state *s)
{
	for (;;) {
		ssize_t r;

		if (s->at < s->have) {
			r = send(s->fd, s->buf + s->at, s->have - s->at, MSG_NOSIGNAL | MSG_DONTWAIT);
			if (r > 0)
				s->at += (size_t)r;
		} else {
			s->at = s->have = 0;
			r = recv(s->fd, s->buf, sizeof(s->buf), MSG_DONTWAIT);
			if (r > 0)
				s->have = (size_t)r;
		}
		if (r > 0)
			continue;
		s->dead = r == 0 || errno != EAGAIN;
		return;
	}
}

static void *worker(void *arg)
{
	struct epoll_event e[8];

	(void)arg;
	for (;;) {
		int n = epoll_wait(set_fd, e, 8, -1);

		for (int i = 0; i < n; i++) {
			struct state *s = e[i].data.ptr;

			if (!s)
				return NULL;
			pthread_mutex_lock(&s->lock);
			if (!s->dead) {
				pump(s);
				if (s->dead) {
					epoll_ctl(set_fd, EPOLL_CTL_DEL, s->fd, e);
					close(s->fd);
				} else if (mode != EDGE) {
					struct epoll_event want = { interest(s), { .ptr = s } };

					foreign += epoll_ctl(set_fd, EPOLL_CTL_MOD, s->fd, &want) != 0;
				}
			}
			pthread_mutex_unlock(&s->lock);
		}
	}
}

static void serve(int listener, enum mode m)
{
	pthread_t t[WORKERS];
	int stop = eventfd(1, 0);

	mode = m;
	set_fd = epoll_create1(0);
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&t[i], NULL, worker, NULL);
	for (int i = 0; i < CLIENTS * EACH; i++) {
		struct state *s = calloc(1, sizeof(*s));
		struct epoll_event e = { 0 };

		s->fd = pick(listener);
		pthread_mutex_init(&s->lock, NULL);
		e = (struct epoll_event){ interest(s), { .ptr = s } };
		epoll_ctl(set_fd, EPOLL_CTL_ADD, s->fd, &e);
	}
	await(TO_A);
	/* A descriptor that stays ready ends them all; its events carry no state. */
	epoll_ctl(set_fd, EPOLL_CTL_ADD, stop, &(struct epoll_event){ EPOLLIN, { .ptr = NULL } });
	for (int i = 0; i < WORKERS; i++)
		pthread_join(t[i], NULL);
	note(" bad=%d", foreign);
}

static _Atomic int rounds_done, clients_failed;

static bool exchange(int fd, unsigned int *seed)
{
	static __thread char out[20000], in[20000];
	size_t n = (size_t)(rand_r(seed) % 10 ? rand_r(seed) % 600 + 1 : rand_r(seed) % 20000 + 1);
	size_t from = (size_t)rand_r(seed), got = 0;

	pattern(out, from, n);
	if (send(fd, out, n, MSG_NOSIGNAL) != (ssize_t)n)
		return false;
	while (got < n) {
		ssize_t r = recv(fd, in + got, n - got, 0);

		if (r <= 0)
			return false;
		got += (size_t)r;
	}
	return !memcmp(in, out, n);
}

static void *client(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	for (int i = 0; i < EACH; i++) {
		int fd = dial();

		rcvtimeo(fd, 8000);
		for (int k = 0; k < ROUNDS; k++) {
			if (!exchange(fd, &seed)) {
				clients_failed++;
				break;
			}
			rounds_done++;
			if (k % 2 == 0)
				ms(2);
		}
		close(fd);
	}
	return NULL;
}

static void clients(void)
{
	pthread_t t[CLIENTS];

	for (uintptr_t i = 0; i < CLIENTS; i++)
		pthread_create(&t[i], NULL, client, (void *)(i + 1));
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(t[i], NULL);
	note(" rounds=%d failed=%d", rounds_done, clients_failed);
	go(TO_A);
}

#define SET(name, m)                                                                                                   \
	static void a_##name(int listener)                                                                             \
	{                                                                                                              \
		serve(listener, m);                                                                                    \
	}                                                                                                              \
	static void b_##name(int none)                                                                                 \
	{                                                                                                              \
		(void)none;                                                                                            \
		clients();                                                                                             \
	}

SET(workers_level, LEVEL)
SET(workers_edge, EDGE)
SET(workers_oneshot, ONESHOT)

/* One event for many waiters: each byte is told to exactly one of the threads that wait with EPOLLONESHOT or EPOLLET. */
static _Atomic int told;

static void t_wait(struct thr *t)
{
	struct epoll_event e;

	while (epoll_wait(t->arg, &e, 1, 1500) == 1) {
		char c;

		told++;
		if (recv(t->fd, &c, 1, MSG_DONTWAIT) != 1 || c == '.')
			break;
		if (mode == ONESHOT)
			ep_mod(t->arg, t->fd, EPOLLIN | EPOLLONESHOT, 1);
		go(TO_B);
	}
}

static void told_once(int fd, enum mode m)
{
	struct thr t[4];
	int ep = epoll_create1(0);

	mode = m;
	ep_add(ep, fd, EPOLLIN | (uint32_t)(m == EDGE ? EPOLLET : EPOLLONESHOT), 1);
	for (int i = 0; i < 4; i++)
		thr_start(&t[i], t_wait, fd, ep);
	for (int i = 0; i < 4; i++)
		thr_asleep(&t[i]);
	go(TO_B);
	for (int i = 0; i < 4; i++)
		thr_join(&t[i]);
	note(" told=%d", told);
}

static void a_told_once_edge(int fd)
{
	told_once(fd, EDGE);
}

static void b_told_once_edge(int fd)
{
	for (int i = 0; i < 20; i++) {
		await(TO_B);
		ms(3);
		send(fd, i == 19 ? "." : "x", 1, MSG_NOSIGNAL);
	}
	rd(fd, 1, 0);
}

static void a_told_once_oneshot(int fd)
{
	told_once(fd, ONESHOT);
}

static void b_told_once_oneshot(int fd)
{
	b_told_once_edge(fd);
}

/* Numbers that are closed while in a set and used again at once (libevent's and Open MPI's habit). */
static void a_set_number_again(int listener)
{
	int ep = epoll_create1(0), right = 0;

	for (int i = 0; i < 15; i++) {
		int fd = pick(listener);
		struct epoll_event e;
		char c = 0;

		ep_add(ep, fd, EPOLLIN, (uint64_t)i);
		while (c != '.') {
			if (epoll_wait(ep, &e, 1, 3000) != 1 || e.data.u64 != (uint64_t)i || recv(fd, &c, 1, 0) != 1) {
				note(" wrong at %d", i);
				break;
			}
			right++;
			send(fd, &c, 1, MSG_NOSIGNAL);
		}
		close(fd);
	}
	note(" right=%d", right);
}

static void b_set_number_again(int none)
{
	(void)none;
	for (int i = 0; i < 15; i++) {
		int fd = dial();

		for (int k = 0; k <= i * 3; k++) {
			char c = k == i * 3 ? '.' : 'x';

			if (send(fd, &c, 1, MSG_NOSIGNAL) != 1 || recv(fd, &c, 1, 0) != 1)
				break;
			ms(1);
		}
		close(fd);
	}
}

#define READY 4

/*
 * An answer that is full of connections on rings makes the kernel the first to be asked next time. It tells of a young
 * connection's bytes, and of the doorbell by which that one comes to its channel: that is one event still.
 */
static void a_told_once_switching(int listener)
{
	struct epoll_event full[READY];
	int ep = epoll_create1(0), fd[READY], young;

	for (int i = 0; i < READY; i++) {
		fd[i] = pick(listener);
		warm(fd[i], false);
		ep_add(ep, fd[i], EPOLLIN, 1 + (uint64_t)i);
	}
	young = pick(listener);
	ep_add(ep, young, EPOLLIN, 9);
	await(TO_A);
	ms(60);
	epoll_wait(ep, full, READY, 0); /* old enough now: it is offered */
	go(TO_B);
	await(TO_A);
	ms(60); /* the agent has answered */
	epoll_wait(ep, full, READY, 0);
	for (int i = 0; i < READY; i++)
		rd(fd[i], 1, MSG_WAITALL);
	ewn(ep, READY, 0);
	rd(young, 5, MSG_WAITALL);
	ewn(ep, READY, 0);
	go(TO_B);
}

static void b_told_once_switching(int none)
{
	struct pollfd p;
	int fd[READY], young;

	(void)none;
	for (int i = 0; i < READY; i++) {
		fd[i] = dial();
		warm(fd[i], true);
	}
	young = dial();
	wr(young, "young");
	go(TO_A);
	await(TO_B);
	p = (struct pollfd){ .fd = young, .events = POLLIN };
	poll(&p, 1, 60); /* offered from here too */
	for (int i = 0; i < READY; i++)
		wr(fd[i], "x");
	go(TO_A);
	await(TO_B);
}

static const struct test_case cases[] = {
	CASE_F(workers_level, "12,13", RAW_COLD, SLOW),
	CASE_F(workers_edge, "5,12,13", RAW_COLD, SLOW),
	CASE_F(workers_oneshot, "12,13", RAW_COLD, SLOW),
	CASE(told_once_edge, "12", WARM),
	CASE(told_once_oneshot, "12", WARM),
	CASE(told_once_switching, "5,12", RAW),
	CASE(set_number_again, "12,16", RAW_COLD),
};
GROUP(sets);
