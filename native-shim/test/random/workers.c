/* SPDX-License-Identifier: Apache-2.0 */
/*
 * workers.c - a few threads share an epoll set with many connections: level-triggered (all are woken, one reads),
 * edge-triggered (whoever gets the edge drains) and one-shot.
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "random.h"

#define WORKERS_MOST 8

struct set {
	int ep;
	enum mode mode;
};

static struct set sets[3];

static uint32_t bits(const struct conn *c)
{
	return (c->in_done ? 0 : (uint32_t)EPOLLIN) | (c->out_done ? 0 : (uint32_t)EPOLLOUT) |
	       (c->set->mode == M_WORK_EDGE ? (uint32_t)EPOLLET : c->set->mode == M_WORK_ONESHOT ? (uint32_t)EPOLLONESHOT : 0);
}

static void again(struct conn *c)
{
	struct epoll_event ev = { .events = bits(c), .data.u64 = (uint64_t)c->gen << 32 | (uint32_t)c->slot };

	if (ev.events == c->registered && c->set->mode != M_WORK_ONESHOT)
		return;
	if (epoll_ctl(c->set->ep, EPOLL_CTL_MOD, c->fd, &ev))
		fail(c, "EPOLL_CTL_MOD: %s", strerror(errno));
	c->registered = ev.events;
}

static void serve(struct conn *c, uint32_t events)
{
	bool edge = c->set->mode == M_WORK_EDGE, told = c->set->mode == M_WORK_ONESHOT;
	bool in = events & (EPOLLIN | EPOLLHUP), out = events & EPOLLOUT;

	if (events & EPOLLERR)
		fail(c, "epoll_wait says %x", events);
	while ((in && !c->in_done) || (out && !c->out_done)) {
		if (in && !c->in_done)
			in = do_recv(c, told) == STEP_MOVED && edge;
		if (out && !c->out_done)
			out = do_send(c) == STEP_MOVED && edge;
		told = false;
		if (!edge)
			break;
	}
}

static void *worker(void *arg)
{
	struct set *s = arg;

	for (unsigned int turn = 0;; turn++) {
		struct epoll_event ev[8];
		int n = epoll_wait(s->ep, ev, 1 + (int)(turn % 8), -1);

		if (n < 0 && errno != EINTR)
			fail(NULL, "epoll_wait of the workers: %s", strerror(errno));
		for (int i = 0; i < n; i++) {
			uint32_t slot = (uint32_t)ev[i].data.u64, gen = (uint32_t)(ev[i].data.u64 >> 32);

			if (slot >= (uint32_t)opt->conns)
				fail(NULL, "epoll_wait gave data %llx, which nobody has registered",
				     (unsigned long long)ev[i].data.u64);
			struct conn *c = conn_at((int)slot);

			pthread_mutex_lock(&c->lock);
			/* An event that was under way when another worker ended the connection. */
			if (c->gen == gen && c->set == s) {
				serve(c, ev[i].events);
				if (!c->in_done || !c->out_done) {
					doing(c, IN, "in the set, %x", bits(c));
					doing(c, OUT, "in the set, %x", bits(c));
					again(c);
				} else {
					if (epoll_ctl(s->ep, EPOLL_CTL_DEL, c->fd, NULL))
						fail(c, "EPOLL_CTL_DEL: %s", strerror(errno));
					c->set = NULL;
					sem_post(&c->done);
				}
			} else if (c->gen < gen) {
				fail(c, "event of generation %u", gen);
			}
			pthread_mutex_unlock(&c->lock);
		}
	}
	return NULL;
}

void workers_run(struct conn *c)
{
	struct set *s = &sets[c->plan.mode[my_role] - M_WORK_LEVEL];
	struct epoll_event ev;

	pthread_mutex_lock(&c->lock);
	c->may_block = false;
	c->set = s;
	ev = (struct epoll_event){ .events = bits(c), .data.u64 = (uint64_t)c->gen << 32 | (uint32_t)c->slot };
	c->registered = ev.events;
	doing(c, IN, "in the set");
	doing(c, OUT, "in the set");
	if (epoll_ctl(s->ep, EPOLL_CTL_ADD, c->fd, &ev))
		fail(c, "EPOLL_CTL_ADD: %s", strerror(errno));
	pthread_mutex_unlock(&c->lock);
	while (sem_wait(&c->done) && errno == EINTR)
		;
}

void workers_start(void)
{
	pthread_t t;

	for (int i = 0; i < 3; i++) {
		sets[i].ep = epoll_create1(EPOLL_CLOEXEC);
		sets[i].mode = M_WORK_LEVEL + i;
		if (sets[i].ep < 0)
			fail(NULL, "epoll_create1: %s", strerror(errno));
		for (int k = 0; k < opt->workers && k < WORKERS_MOST; k++)
			if (pthread_create(&t, NULL, worker, &sets[i]))
				fail(NULL, "no thread");
	}
}
