/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waits.c - a connection with one or two threads of its own, each way of waiting.
 *
 * Nearly all waits have no time-out, so that a wake-up that is lost is not made up for by the next look.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "random.h"

#define ASKS_MOST 64 /* looks after which a pipe or an eventfd must have been reported */

static uint32_t draw(struct conn *c)
{
	struct rng r = rng_of(50 + (uint64_t)my_role, (uint64_t)c->slot << 32 | c->gen, c->ask_n++);

	return (uint32_t)rng_next(&r);
}

/* Milliseconds to wait: for ever, or now and then a little. */
static int some_timeout(struct conn *c)
{
	uint32_t x = draw(c);

	return x % 64 == 0 ? 0 : x % 64 == 1 ? 1 + (int)(x >> 8) % 20 : -1;
}

static int interest(const struct conn *c)
{
	return (c->in_done ? 0 : IN) | (c->out_done ? 0 : OUT);
}

/* ---- a pipe and an eventfd beside the connection ---- */

static void beside_open(struct conn *c)
{
	if (pipe2(c->pipe, O_CLOEXEC | O_NONBLOCK) || (c->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		fail(c, "pipe or eventfd: %s", strerror(errno));
}

static void beside_close(struct conn *c)
{
	if (c->event < 0)
		return;
	close(c->pipe[0]);
	close(c->pipe[1]);
	close(c->event);
	c->pipe[0] = c->pipe[1] = c->event = -1;
	c->pipe_full = c->event_set = false;
}

/* Makes one of them ready now and then. */
static void beside_stir(struct conn *c)
{
	uint32_t x = draw(c);
	uint64_t one = 1;

	if (c->event < 0 || x % 16)
		return;
	if ((x & 16) && !c->event_set) {
		if ((x & 32 ? eventfd_write(c->event, 1) : write(c->event, &one, 8) == 8 ? 0 : -1))
			fail(c, "eventfd: %s", strerror(errno));
		c->event_set = true;
	} else if (!c->pipe_full) {
		if (write(c->pipe[1], "x", 1) != 1)
			fail(c, "pipe: %s", strerror(errno));
		c->pipe_full = true;
	}
}

static void beside_told(struct conn *c, bool pipe_ready, bool event_ready)
{
	char b[8];

	if ((pipe_ready && !c->pipe_full) || (event_ready && !c->event_set))
		fail(c, "an empty %s was reported", pipe_ready && !c->pipe_full ? "pipe" : "eventfd");
	if (pipe_ready && read(c->pipe[0], b, 8) != 1)
		fail(c, "pipe: %s", strerror(errno));
	if (event_ready && read(c->event, b, 8) != 8)
		fail(c, "eventfd: %s", strerror(errno));
	c->pipe_full &= !pipe_ready;
	c->event_set &= !event_ready;
}

/* ---- one look, one function a way of asking; all return IN and OUT bits ---- */

static int ask_poll(struct conn *c, int want, bool precise)
{
	struct pollfd p[5] = { { .fd = -1 } };
	int n = 0, at, ms = some_timeout(c), rc, got = 0, fd = any_fd(c, want == OUT ? OUT : IN, c->ask_n);
	struct timespec ts = { 0, ms * 1000000l };
	sigset_t mask;

	if (draw(c) & 1)
		p[n++] = (struct pollfd){ -1, POLLIN, 0 };
	at = n;
	p[n++] = (struct pollfd){ fd, (short)((want & IN ? POLLIN : 0) | (want & OUT ? POLLOUT : 0)), 0 };
	if (c->event >= 0) {
		p[n++] = (struct pollfd){ c->pipe[0], POLLIN, 0 };
		p[n++] = (struct pollfd){ c->event, POLLIN, 0 };
	}
	signals_mask(c, &mask);
	rc = precise ? ppoll(p, (nfds_t)n, ms < 0 ? NULL : &ts, draw(c) & 1 ? &mask : NULL) : poll(p, (nfds_t)n, ms);
	if (rc < 0 && errno == EINTR && c->plan.signals)
		return 0;
	if (rc < 0 || (rc == 0 && ms < 0))
		fail(c, "poll gave %d: %s", rc, strerror(errno));
	for (int i = 0; i < n; i++)
		rc -= p[i].revents != 0;
	if (rc)
		fail(c, "poll counts %d more than it has marked", rc);
	if (p[at].revents & (POLLERR | POLLNVAL))
		fail(c, "poll says %x", (unsigned int)p[at].revents);
	if (c->event >= 0) {
		/* A poll tells of all that is ready. */
		if ((c->pipe_full && !p[at + 1].revents) || (c->event_set && !p[at + 2].revents))
			fail(c, "poll does not report a full %s", c->pipe_full && !p[at + 1].revents ? "pipe" : "eventfd");
		beside_told(c, p[at + 1].revents, p[at + 2].revents);
	}
	if (p[at].revents & (POLLIN | POLLHUP))
		got |= IN;
	if (p[at].revents & POLLOUT)
		got |= OUT;
	return got & want;
}

static int ask_select(struct conn *c, int want, bool precise)
{
	int ms = some_timeout(c), rc, fd = any_fd(c, want == OUT ? OUT : IN, c->ask_n), top = fd, got = 0;
	struct timespec ts = { 0, ms * 1000000l };
	struct timeval tv = { 0, ms * 1000l };
	fd_set r, w;
	sigset_t mask;

	if (fd >= FD_SETSIZE || c->event >= FD_SETSIZE)
		return ask_poll(c, want, precise);
	FD_ZERO(&r);
	FD_ZERO(&w);
	if (want & IN)
		FD_SET(fd, &r);
	if (want & OUT)
		FD_SET(fd, &w);
	if (c->event >= 0) {
		FD_SET(c->pipe[0], &r);
		FD_SET(c->event, &r);
		top = c->event > top ? c->event : top;
		top = c->pipe[0] > top ? c->pipe[0] : top;
	}
	signals_mask(c, &mask);
	rc = precise ? pselect(top + 1, &r, &w, NULL, ms < 0 ? NULL : &ts, draw(c) & 1 ? &mask : NULL) :
		       select(top + 1, &r, &w, NULL, ms < 0 ? NULL : &tv);
	if (rc < 0 && errno == EINTR && c->plan.signals)
		return 0;
	if (rc < 0 || (rc == 0 && ms < 0))
		fail(c, "select gave %d: %s", rc, strerror(errno));
	if ((want & IN) && FD_ISSET(fd, &r))
		got |= IN, rc--;
	if ((want & OUT) && FD_ISSET(fd, &w))
		got |= OUT, rc--;
	if (c->event >= 0) {
		bool pipe_ready = FD_ISSET(c->pipe[0], &r), event_ready = FD_ISSET(c->event, &r);

		if ((c->pipe_full && !pipe_ready) || (c->event_set && !event_ready))
			fail(c, "select does not report a full %s", c->pipe_full && !pipe_ready ? "pipe" : "eventfd");
		beside_told(c, pipe_ready, event_ready);
		rc -= pipe_ready + event_ready;
	}
	if (rc)
		fail(c, "select counts %d more than it has marked", rc);
	return got;
}

static uint32_t epoll_bits(const struct conn *c, int want)
{
	uint32_t how = c->plan.mode[my_role] == M_ONESHOT    ? (uint32_t)EPOLLONESHOT :
		       c->plan.mode[my_role] == M_EDGE	     ? (uint32_t)EPOLLET :
		       c->plan.mode[my_role] == M_EDGE_SHORT ? (uint32_t)EPOLLET | EPOLLRDHUP :
								 0;

	return (want & IN ? (uint32_t)EPOLLIN : 0) | (want & OUT ? (uint32_t)EPOLLOUT : 0) | how;
}

static void epoll_open(struct conn *c, int *ep, int want)
{
	struct epoll_event ev = { .events = epoll_bits(c, want), .data.fd = c->fd };

	*ep = epoll_create1(EPOLL_CLOEXEC);
	if (*ep < 0 || epoll_ctl(*ep, EPOLL_CTL_ADD, c->fd, &ev))
		fail(c, "epoll: %s", strerror(errno));
	c->registered = ev.events;
	if (c->event < 0)
		return;
	ev = (struct epoll_event){ .events = EPOLLIN, .data.fd = c->pipe[0] };
	if (epoll_ctl(*ep, EPOLL_CTL_ADD, c->pipe[0], &ev))
		fail(c, "epoll: %s", strerror(errno));
	ev.data.fd = c->event;
	if (epoll_ctl(*ep, EPOLL_CTL_ADD, c->event, &ev))
		fail(c, "epoll: %s", strerror(errno));
}

static int ask_epoll(struct conn *c, int ep, int want)
{
	struct epoll_event ev[4];
	int ms = some_timeout(c), max = 1 + (int)(draw(c) % 4), got = 0, n;
	uint32_t bits = epoll_bits(c, want);
	static __thread int unreported;

	if (c->registered != bits || (bits & EPOLLONESHOT)) {
		struct epoll_event m = { .events = bits, .data.fd = c->fd };

		if (epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &m))
			fail(c, "EPOLL_CTL_MOD: %s", strerror(errno));
		c->registered = bits;
	}
	n = draw(c) & 1 ? epoll_wait(ep, ev, max, ms) : epoll_pwait(ep, ev, max, ms, NULL);
	if (n < 0 && errno == EINTR && c->plan.signals)
		return 0;
	if (n < 0 || n > max || (n == 0 && ms < 0))
		fail(c, "epoll_wait of %d gave %d: %s", max, n, strerror(errno));
	for (int i = 0; i < n; i++) {
		if (ev[i].data.fd == c->fd) {
			if (ev[i].events & EPOLLERR)
				fail(c, "epoll_wait says %x", ev[i].events);
			got |= ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP) ? IN : 0;
			got |= ev[i].events & EPOLLOUT ? OUT : 0;
			c->hup |= (ev[i].events & (EPOLLRDHUP | EPOLLHUP)) != 0;
		} else if (c->event >= 0 && (ev[i].data.fd == c->pipe[0] || ev[i].data.fd == c->event)) {
			beside_told(c, ev[i].data.fd == c->pipe[0], ev[i].data.fd == c->event);
		} else {
			fail(c, "epoll_wait gave data %llx, which nobody has registered", (unsigned long long)ev[i].data.u64);
		}
	}
	if (!c->pipe_full && !c->event_set)
		unreported = 0;
	else if (++unreported > ASKS_MOST)
		fail(c, "epoll_wait has not reported a full pipe or eventfd %d times", unreported);
	return got & (interest(c) | IN);
}

static int ask(struct conn *c, int want)
{
	doing(c, want & IN ? IN : OUT, "wait %s%s", want & IN ? "in" : "", want & OUT ? "out" : "");
	switch (c->plan.mode[my_role]) {
	case M_POLL: return ask_poll(c, want, false);
	case M_PPOLL: return ask_poll(c, want, true);
	case M_SELECT: return ask_select(c, want, false);
	case M_PSELECT: return ask_select(c, want, true);
	default: return ask_epoll(c, c->ep, want);
	}
}

/* ---- one thread: level-triggered loops do a few calls an event; the others go on until the end is seen ---- */

static void loop_level(struct conn *c)
{
	while (interest(c)) {
		int got = ask(c, interest(c)), times = 1 + (int)(draw(c) % 3);

		if ((got & IN) && do_recv(c, true) == STEP_MOVED)
			while (--times > 0 && do_recv(c, false) == STEP_MOVED)
				;
		times = 1 + (int)(draw(c) % 3);
		if ((got & OUT) && do_send(c) == STEP_NONE)
			atomic_fetch_add(&sh->blunt_out[my_role], 1);
		while (--times > 0 && (got & OUT) && do_send(c) == STEP_MOVED)
			;
		beside_stir(c);
	}
}

static void loop_edge(struct conn *c)
{
	bool brief = c->plan.mode[my_role] == M_EDGE_SHORT, told;

	c->can_in = c->can_out = false;
	while (interest(c)) {
		int got = ask(c, interest(c));

		told = got & IN;
		c->can_in |= told;
		c->can_out |= (got & OUT) != 0;
		while ((c->can_in && !c->in_done) || (c->can_out && !c->out_done)) {
			if (c->can_in && !c->in_done) {
				enum step s = do_recv(c, told);

				told = false;
				/* A short read has taken all that there was, but not the end of file (epoll(7)). */
				if (s == STEP_NONE || (brief && s == STEP_MOVED && c->short_in && !c->hup))
					c->can_in = false;
			}
			if (c->can_out && !c->out_done) {
				enum step s = do_send(c);

				if (s == STEP_NONE || (brief && s == STEP_MOVED && c->short_out))
					c->can_out = false;
			}
		}
		beside_stir(c);
	}
}

static void loop_tries(struct conn *c)
{
	while (interest(c)) {
		bool moved = do_recv(c, false) == STEP_MOVED;

		moved |= do_send(c) == STEP_MOVED;
		if (!moved)
			sleep_us(draw(c) % 100);
	}
}

/* ---- a thread each way ---- */

static void wait_one(struct conn *c, int ep, int dir)
{
	struct pollfd p = { c->fd, dir == IN ? POLLIN : POLLOUT, 0 };
	struct epoll_event ev;
	int n;

	doing(c, dir, "wait alone");
	n = ep >= 0 ? epoll_wait(ep, &ev, 1, -1) : poll(&p, 1, -1);
	if (n < 0 && errno == EINTR && c->plan.signals)
		return;
	if (n != 1 || (ep >= 0 && ev.data.fd != c->fd))
		fail(c, "poll or epoll_wait for one gave %d: %s", n, strerror(errno));
}

struct half {
	struct conn *c;
	int dir;
};

static void *run_half(void *arg)
{
	struct half *h = arg;
	struct conn *c = h->c;
	int dir = h->dir, ep = -1;
	bool *done = dir == IN ? &c->in_done : &c->out_done;

	c->thread[dir == OUT] = pthread_self();
	signals_on(c, dir);
	if (c->plan.mode[my_role] == M_THREADS_EPOLL) {
		struct epoll_event ev = { .events = (dir == IN ? (uint32_t)EPOLLIN : (uint32_t)EPOLLOUT | EPOLLET),
					  .data.fd = c->fd };

		ep = epoll_create1(EPOLL_CLOEXEC);
		if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev))
			fail(c, "epoll: %s", strerror(errno));
		/* An edge-triggered writer waits only after EAGAIN: the first edge is taken here. */
	}
	while (!*done) {
		bool told = false;

		if (ep >= 0 && dir == IN && !c->plan.signals) {
			wait_one(c, ep, dir);
			told = true;
		}
		if ((dir == IN ? do_recv(c, told) : do_send(c)) == STEP_NONE)
			wait_one(c, ep, dir);
	}
	if (ep >= 0)
		close(ep);
	signals_off(c, dir);
	return NULL;
}

static void run_threads(struct conn *c)
{
	struct half in = { c, IN }, out = { c, OUT };
	pthread_t t;

	if (pthread_create(&t, NULL, run_half, &out))
		fail(c, "no thread");
	run_half(&in);
	pthread_join(t, NULL);
	/* The signals that are under way are for threads that live: nobody sends any to one that is over. */
}

static void run_loop(struct conn *c, int mode)
{
	c->thread[0] = pthread_self();
	signals_on(c, IN);
	if (mode != M_TRIES)
		beside_open(c);
	if (mode >= M_LEVEL && mode <= M_ONESHOT)
		epoll_open(c, &c->ep, interest(c));
	if (mode == M_LEVEL && c->plan.second_set) {
		struct epoll_event ev = { .events = EPOLLIN, .data.fd = c->fd };

		c->ep2 = epoll_create1(EPOLL_CLOEXEC);
		if (c->ep2 < 0 || epoll_ctl(c->ep2, EPOLL_CTL_ADD, c->fd, &ev))
			fail(c, "epoll: %s", strerror(errno));
	}
	if (mode == M_TRIES)
		loop_tries(c);
	else if (mode == M_EDGE || mode == M_EDGE_SHORT)
		loop_edge(c);
	else
		loop_level(c);
	signals_off(c, IN);
	beside_close(c);
	if (c->ep >= 0)
		close(c->ep);
	if (c->ep2 >= 0)
		close(c->ep2);
	c->ep = c->ep2 = -1;
}

void run_conn(struct conn *c)
{
	int mode = c->plan.mode[my_role];

	atomic_fetch_add(&sh->modes[my_role][mode], 1);
	if (mode >= M_WORK_LEVEL) {
		workers_run(c);
	} else if (mode <= M_THREADS_EPOLL) {
		c->may_block = true;
		run_threads(c);
	} else {
		c->may_block = false;
		run_loop(c, mode);
	}
}
