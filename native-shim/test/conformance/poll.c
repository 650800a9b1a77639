/* SPDX-License-Identifier: Apache-2.0 */
/* poll.c - cases about poll, ppoll, select and pselect. */
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>

#include "harness.h"

static void sel(int fd, bool r, bool w, bool e, int timeout)
{
	fd_set rs, ws, es;
	struct timeval tv = { timeout / 1000, timeout % 1000 * 1000 };
	int n;

	FD_ZERO(&rs);
	FD_ZERO(&ws);
	FD_ZERO(&es);
	if (r)
		FD_SET(fd, &rs);
	if (w)
		FD_SET(fd, &ws);
	if (e)
		FD_SET(fd, &es);
	n = select(fd + 1, &rs, &ws, &es, timeout < 0 ? NULL : &tv);
	note(" select=%d/%s", n, err(n));
	if (n >= 0)
		note(":%s%s%s", FD_ISSET(fd, &rs) ? "r" : "", FD_ISSET(fd, &ws) ? "w" : "", FD_ISSET(fd, &es) ? "e" : "");
}

static void a_eof_poll(int fd)
{
	await(TO_A);
	until_state(fd, CLOSE_WAIT);
	pl(fd, POLLIN | POLLRDHUP, 1000);
	rd(fd, 2, 0);
	pl(fd, POLLIN | POLLRDHUP, 1000);
	sel(fd, true, true, true, 0);
	rd(fd, 10, 0);
	pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	pl(fd, 0, 0);
	pl(fd, POLLOUT, 0);
	sel(fd, true, true, true, 0);
}

static void b_eof_poll(int fd)
{
	wr(fd, "bye");
	close(fd);
	go(TO_A);
}

/* poll blocks until data, room, end of file or its time-out. */
static void a_poll_waits(int fd)
{
	pl(fd, POLLIN, 20);
	go(TO_B);
	pl(fd, POLLIN, 3000);
	rd(fd, 4, 0);
	pl(fd, POLLIN | POLLOUT, 3000);
	pl(fd, POLLIN | POLLRDNORM, 0);
	go(TO_B);
	pl(fd, POLLIN | POLLRDHUP, -1);
	rd(fd, 4, 0);
}

static void b_poll_waits(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "data");
	await(TO_B);
	ms(20);
	close(fd);
}

static void a_select_waits(int fd)
{
	sel(fd, true, false, true, 20);
	go(TO_B);
	sel(fd, true, false, true, 3000);
	rd(fd, 4, 0);
	sel(fd, true, true, true, 3000);
	go(TO_B);
	sel(fd, true, false, false, -1);
	rd(fd, 4, 0);
}

static void b_select_waits(int fd)
{
	b_poll_waits(fd);
}

/* Negative time-outs: poll waits for ever, select and ppoll refuse them. */
static void a_negative(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	struct timeval tv = { -1, 0 };
	struct timespec ts = { -1, 0 }, odd = { 0, 2000000000 };
	fd_set r;
	int n;

	FD_ZERO(&r);
	FD_SET(fd, &r);
	n = select(fd + 1, &r, NULL, NULL, &tv);
	noted("select", n);
	n = pselect(fd + 1, &r, NULL, NULL, &ts, NULL);
	noted("pselect", n);
	n = pselect(fd + 1, &r, NULL, NULL, &odd, NULL);
	noted("pselect_odd", n);
	n = ppoll(&p, 1, &ts, NULL);
	noted("ppoll", n);
	n = ppoll(&p, 1, &odd, NULL);
	noted("ppoll_odd", n);
	n = select(-1, &r, NULL, NULL, NULL);
	noted("select_n", n);
	go(TO_B);
	n = poll(&p, 1, -77);
	note(" poll=%d:%x", n, (unsigned int)p.revents);
	rd(fd, 4, 0);
}

static void b_negative(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "data");
	rd(fd, 1, 0);
}

/* select beyond FD_SETSIZE, and a bad descriptor in the set. */
static void a_high(int fd)
{
	struct rlimit rl = { 4096, 4096 };
	unsigned long set[4096 / 64] = { 0 };
	struct timeval tv = { 3, 0 };
	int high, n;

	setrlimit(RLIMIT_NOFILE, &rl);
	high = fcntl(fd, F_DUPFD, 1500);
	note(" high=%d", high >= 1500);
	set[high / 64] |= 1ul << (high % 64);
	go(TO_B);
	n = select(high + 1, (fd_set *)(void *)set, NULL, NULL, &tv);
	note(" select=%d/%s:%d", n, err(n), (int)(set[high / 64] >> (high % 64) & 1));
	rd(high, 4, 0);
	set[1000 / 64] |= 1ul << (1000 % 64);
	set[high / 64] |= 1ul << (high % 64);
	n = select(high + 1, (fd_set *)(void *)set, NULL, NULL, &tv);
	noted("bad", n);
	close(high);
	go(TO_B);
	sel(fd, true, false, false, 3000);
}

static void b_high(int fd)
{
	await(TO_B);
	wr(fd, "data");
	await(TO_B);
	wr(fd, "more");
	rd(fd, 1, 0);
}

/* A set of connections, pipes, bad and negative descriptors, and the same descriptor twice. */
static void a_mixed_set(int fd)
{
	struct pollfd p[6] = { { fd, POLLIN, 0 }, { -1, POLLIN, 77 }, { 0, POLLIN, 0 }, { 999, POLLIN, 0 },
			       { fd, POLLOUT, 0 }, { fd, 0, 0 } };
	int pp[2], n;

	if (pipe(pp))
		return;
	p[2].fd = pp[0];
	for (int i = 0; i < 3; i++) {
		n = poll(p, 6, 0);
		note(" poll=%d:%x:%x:%x:%x:%x:%x", n, (unsigned int)p[0].revents, (unsigned int)p[1].revents,
		     (unsigned int)p[2].revents, (unsigned int)p[3].revents, (unsigned int)p[4].revents,
		     (unsigned int)p[5].revents);
		if (i == 0 && write(pp[1], "p", 1) == 1)
			continue;
		go(TO_B);
		until_queued(fd, 4);
	}
	noted("nfds", poll(p, 10000000, 0));
	rd(fd, 4, 0);
}

static void b_mixed_set(int fd)
{
	await(TO_B);
	wr(fd, "data");
	await(TO_B);
	rd(fd, 1, 0);
}

/* What the thread itself has made ready must be seen by its next poll, however often it polls. */
static void a_eventfd_poll(int fd)
{
	int ev = eventfd(0, EFD_NONBLOCK), missed = 0, early = 0;
	struct pollfd p[2] = { { fd, POLLIN, 0 }, { ev, POLLIN, 0 } };
	eventfd_t v;

	for (int i = 0; i < 500; i++) {
		early += poll(p, 2, 0) != 0;
		eventfd_write(ev, 1);
		missed += poll(p, 2, 0) != 1;
		eventfd_read(ev, &v);
	}
	note(" missed=%d early=%d", missed, early);
	wr(fd, "x");
}

static void b_eventfd_poll(int fd)
{
	rd(fd, 1, 0);
	rd(fd, 1, 0);
}

/* The same array at the same place, with other descriptors in it. */
static void a_other_array(int fd)
{
	int pp[2], missed = 0;
	struct pollfd p[2];

	if (pipe(pp) || write(pp[1], "x", 1) != 1)
		return;
	for (int i = 0; i < 500; i++) {
		p[0] = p[1] = (struct pollfd){ fd, POLLIN, 0 };
		poll(p, 2, 0);
		p[1].fd = pp[0];
		missed += poll(p, 2, 0) != 1;
	}
	note(" missed=%d", missed);
	wr(fd, "x");
}

static void b_other_array(int fd)
{
	b_eventfd_poll(fd);
}

/* A half-closed connection, young or not, lets its poller sleep. */
static void a_half_closed_idle(int fd)
{
	await(TO_A);
	until_state(fd, CLOSE_WAIT);
	rd(fd, 1, 0);
	rest_begin();
	pl(fd, 0, 400);
	pl(fd, POLLPRI, 400);
	rest_end();
	wr(fd, "x");
	go(TO_B);
}

static void b_half_closed_idle(int fd)
{
	shutdown(fd, SHUT_WR);
	go(TO_A);
	await(TO_B);
	rd(fd, 1, 0);
}

static void a_half_closed_young(int fd)
{
	a_half_closed_idle(fd);
}

static void b_half_closed_young(int fd)
{
	b_half_closed_idle(fd);
}

/* An idle connection on the ring costs nothing while one polls it with time-outs or for ever. */
static void a_idle(int fd)
{
	rest_begin();
	pl(fd, POLLIN, 500);
	rest_end();
	go(TO_B);
	rd(fd, 1, 0);
}

static void b_idle(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "x");
	rd(fd, 1, 0);
}

/* The same while it is in an epoll set as well, in every kind of wait. */
static void a_idle_in_set(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	go(TO_B);
	pl(fd, POLLIN, 3000);
	rd(fd, 1, 0);
	rest_begin();
	pl(fd, POLLIN, 400);
	rest_end();
	rest_begin();
	ew(ep, 400);
	rest_end();
	rcvtimeo(fd, 400);
	rest_begin();
	rd(fd, 1, 0);
	rest_end();
	rest_begin();
	sel(fd, true, false, true, 400);
	rest_end();
}

static void b_idle_in_set(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "x");
	rd(fd, 1, 0);
}

/* And of an edge-triggered set whose event has been told and whose bytes are not read. */
static void a_idle_told(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLET, 1);
	go(TO_B);
	ew(ep, 3000);
	rest_begin();
	ew(ep, 500);
	rest_end();
	ep_mod(ep, fd, EPOLLPRI, 2);
	rest_begin();
	ew(ep, 400);
	rest_end();
}

static void b_idle_told(int fd)
{
	b_idle_in_set(fd);
}

/* A busy poller sees the end of file, a reset and room. */
static void a_busy_poll(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };
	int got = 0;
	ssize_t r;
	char c;

	go(TO_B);
	for (;;) {
		if (poll(&p, 1, 0) != 1)
			continue;
		r = recv(fd, &c, 1, MSG_DONTWAIT);
		if (r != 1)
			break;
		got++;
	}
	note(" got=%d end=%zd/%s", got, r, err(r));
}

static void b_busy_poll(int fd)
{
	await(TO_B);
	for (int i = 0; i < 50; i++) {
		send(fd, "x", 1, MSG_NOSIGNAL);
		ms(1);
	}
	close(fd);
}

/* select() writes back the time that is left; poll does not touch more than revents. */
static void a_time_left(int fd)
{
	struct timeval tv = { 0, 30000 };
	struct pollfd p = { fd, POLLIN, 99 };
	fd_set r;
	int n;

	FD_ZERO(&r);
	FD_SET(fd, &r);
	n = select(fd + 1, &r, NULL, NULL, &tv);
	note(" select=%d left=%d set=%d", n, tv.tv_sec || tv.tv_usec, FD_ISSET(fd, &r) != 0);
	go(TO_B);
	until_queued(fd, 1);
	tv = (struct timeval){ 50, 0 };
	FD_SET(fd, &r);
	n = select(fd + 1, &r, NULL, NULL, &tv);
	note(" select=%d left=%d", n, tv.tv_sec > 10);
	n = poll(&p, 1, 0);
	note(" poll=%d:%x:%x", n, (unsigned int)p.events, (unsigned int)p.revents);
	go(TO_B);
}

static void b_time_left(int fd)
{
	await(TO_B);
	wr(fd, "x");
	await(TO_B);
}

/* What poll calls writable takes a piece of usual size without a wait, though nobody reads. */
static void a_writable(int fd)
{
	static char buf[1 << 16];

	await(TO_A);
	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static void b_writable(int fd)
{
	static char buf[8000];
	struct timeval limit = { 2, 0 };
	struct pollfd p = { fd, POLLOUT, 0 };
	int n, short_of = 0;

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	while (!short_of && poll(&p, 1, 300) == 1) {
		n = (int)write(fd, buf, sizeof(buf));
		short_of = (int)sizeof(buf) - n;
	}
	note(" short=%d", short_of);
	go(TO_A);
	close(fd);
}

/* A look without a wait at more sockets than a program usually has, most of which were never connected. */
static void a_hangers_on(int fd)
{
	struct pollfd p[40];
	int n;

	for (int i = 0; i < 40; i++)
		p[i] = (struct pollfd){ .fd = i == 39 ? fd : socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN };
	for (int i = 0; i < 3; i++) {
		n = poll(p, 40, 0);
		note(" %d/%s:%x:%x", n, err(n), p[0].revents, p[39].revents);
	}
	go(TO_B);
	until_readable(fd);
	n = poll(p, 40, 0);
	note(" %d/%s:%x:%x", n, err(n), p[0].revents, p[39].revents);
	rd(fd, 4, 0);
	for (int i = 0; i < 39; i++)
		close(p[i].fd);
}

static void b_hangers_on(int fd)
{
	await(TO_B);
	wr(fd, "data");
}

static const struct test_case cases[] = {
	CASE(eof_poll, "11,16", WARM),
	CASE(poll_waits, "11", WARM),
	CASE(select_waits, "11", WARM),
	CASE(negative, "11", WARM),
	CASE(high, "11,15", WARM),
	CASE(mixed_set, "11", WARM),
	CASE(eventfd_poll, "11", WARM),
	CASE(other_array, "11", WARM),
	CASE(half_closed_idle, "11,16", WARM),
	CASE(half_closed_young, "11,16", COLD),
	CASE(idle, "11", WARM),
	CASE(idle_in_set, "11,12,13", WARM),
	CASE(idle_told, "12", WARM),
	CASE(busy_poll, "11,16", WARM),
	CASE(time_left, "11", WARM),
	CASE(hangers_on, "11", WARM),
	{ "hangers_on_young", "11", COLD, 0, a_hangers_on, b_hangers_on },
	CASE_F(writable, "9,11", WARM, SLOW),
};
GROUP(poll);
