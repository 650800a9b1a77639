/* SPDX-License-Identifier: Apache-2.0 */
/* epoll.c - cases about epoll sets of one thread. */
#include "harness.h"

static void a_epoll_mixed(int fd)
{
	int ep = epoll_create1(0), pp[2];

	if (pipe(pp))
		return;
	ep_add(ep, fd, EPOLLIN, 111);
	ep_add(ep, pp[0], EPOLLIN, 222);
	ew(ep, 10);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 9, 0);
	if (write(pp[1], "p", 1) == 1)
		ew(ep, 2000);
	noted("add", ep_add(ep, fd, EPOLLIN, 5));
	noted("del", epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	noted("mod", ep_mod(ep, fd, EPOLLIN, 5));
	noted("del", epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	go(TO_B);
	until_queued(fd, 4);
	ew(ep, 0);
	rd(fd, 9, 0);
	close(ep);
	noted("closed", epoll_wait(ep, &(struct epoll_event){ 0 }, 1, 0));
}

static void b_epoll_mixed(int fd)
{
	await(TO_B);
	wr(fd, "data");
	await(TO_B);
	wr(fd, "rest");
	rd(fd, 1, 0);
}

static void a_edge(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLET, 7);
	ew(ep, 500);
	ew(ep, 20);
	go(TO_B);
	ew(ep, 2000);
	ew(ep, 20);
	rd(fd, 2, 0);
	ew(ep, 20);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 20, 0);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 20, 0);
	ep_mod(ep, fd, EPOLLIN | EPOLLET, 8);
	ew(ep, 0);
	close(ep);
}

static void b_edge(int fd)
{
	await(TO_B);
	ms(5);
	wr(fd, "data");
	await(TO_B);
	ms(5);
	wr(fd, "more");
	await(TO_B);
	ms(5);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void a_oneshot(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLONESHOT, 7);
	go(TO_B);
	ew(ep, 2000);
	ew(ep, 20);
	ep_mod(ep, fd, EPOLLIN | EPOLLONESHOT, 8);
	ew(ep, 2000);
	rd(fd, 9, 0);
	ep_mod(ep, fd, EPOLLIN | EPOLLONESHOT, 9);
	ew(ep, 20);
	go(TO_B);
	ew(ep, 2000);
	close(ep);
}

static void b_oneshot(int fd)
{
	await(TO_B);
	ms(5);
	wr(fd, "data");
	await(TO_B);
	ms(5);
	wr(fd, "data");
	rd(fd, 1, 0);
}

/* Level-triggered: told again and again, by everything there is; MOD to other interests and back. */
static void a_level(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	go(TO_B);
	until_queued(fd, 4);
	ew(ep, 0);
	ew(ep, 0);
	ep_mod(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI, 2);
	ew(ep, 0);
	rd(fd, 2, 0);
	ew(ep, 0);
	ep_mod(ep, fd, EPOLLOUT, 3);
	ew(ep, 0);
	ep_mod(ep, fd, 0, 4);
	ew(ep, 0);
	ep_mod(ep, fd, EPOLLIN, 5);
	rd(fd, 2, 0);
	ew(ep, 0);
	go(TO_B);
	ew(ep, 2000);
	until_state(fd, CLOSE_WAIT);
	ep_mod(ep, fd, EPOLLIN | EPOLLRDHUP | EPOLLHUP, 6);
	ew(ep, 0);
	rd(fd, 2, 0);
	ew(ep, 0);
	close(fd);
	ew(ep, 0);
}

static void b_level(int fd)
{
	await(TO_B);
	wr(fd, "data");
	await(TO_B);
	close(fd);
}

/* The writer is told of room when somebody reads, once an edge. */
static void write_room(int fd, uint32_t extra)
{
	int ep = epoll_create1(0);
	size_t n;

	nonblock(fd, true);
	ep_add(ep, fd, EPOLLOUT | extra, 1);
	ew(ep, 1000);
	n = fill(fd, 0);
	nonblock(fd, true);
	errno = EAGAIN;
	note(" full=%d/%s", n < 60000000, err(-1));
	ew(ep, 0);
	go(TO_B);
	while (n < 60000000) {
		struct epoll_event e;

		if (epoll_wait(ep, &e, 1, 5000) != 1) {
			note(" never told");
			break;
		}
		n += put(fd, n, 60000000 - n);
	}
	note(" all=%d", n == 60000000);
}

static void a_room_level(int fd)
{
	write_room(fd, 0);
}

static void a_room_edge(int fd)
{
	write_room(fd, EPOLLET);
}

static void b_room_level(int fd)
{
	await(TO_B);
	note(" got=%zu", take(fd, 0, 60000000));
}

static void b_room_edge(int fd)
{
	b_room_level(fd);
}

/* Room is told by edges to one thread, while another one writes; nobody reads before all is sent. */
static _Atomic int rooms;

static void t_rooms(struct thr *t)
{
	struct epoll_event e;

	while (epoll_wait(t->arg, &e, 1, 8000) == 1 && e.data.u64 == 1)
		rooms += (e.events & EPOLLOUT) != 0;
}

static void a_room_beside(int fd)
{
	int ep = epoll_create1(0), stop[2];
	size_t n = 0, all = 1500000;
	struct thr t;

	if (pipe(stop))
		return;
	rooms = 0;
	ep_add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLET, 1);
	ep_add(ep, stop[0], EPOLLIN, 2);
	thr_start(&t, t_rooms, fd, ep);
	thr_asleep(&t);
	nonblock(fd, true);
	for (int idle = 0; idle < 4000; ) {
		int told = rooms;

		n += put(fd, n, all - n);
		if (n == all)
			break;
		for (; rooms == told && idle < 4000; idle++)
			ms(1);
	}
	note(" sent=%zu", n);
	go(TO_B);
	noted("stop", write(stop[1], "", 1));
	thr_join(&t);
}

static void b_room_beside(int fd)
{
	await(TO_B);
	note(" got=%zu", take(fd, 0, 1500000));
	rd(fd, 1, 0);
}

/* A ready connection must not starve the other descriptors of the set. */
static void fair(int fd, int max)
{
	int ep = epoll_create1(0), pp[2], of_pipe = 0, of_conn = 0;

	if (pipe(pp) || write(pp[1], "x", 1) != 1)
		return;
	ep_add(ep, fd, EPOLLOUT, 1);
	ep_add(ep, pp[0], EPOLLIN, 2);
	for (int i = 0; i < 1000; i++) {
		struct epoll_event e[2];
		int n = epoll_wait(ep, e, max, -1);

		for (int k = 0; k < n; k++) {
			of_conn += e[k].data.u64 == 1;
			of_pipe += e[k].data.u64 == 2;
		}
	}
	note(" conn=%d pipe=%d", of_conn > 100, of_pipe > 100);
}

static void a_fair(int fd)
{
	fair(fd, 1);
	fair(fd, 2);
	wr(fd, "x");
}

static void b_fair(int fd)
{
	rd(fd, 1, 0);
	rd(fd, 1, 0);
}

/* An epoll set in an epoll set. */
static void nested(int fd, int how)
{
	int in = epoll_create1(0), out = epoll_create1(0), got = 0, lost = 0;
	char c;

	ep_add(in, fd, EPOLLIN, 1);
	ep_add(out, in, EPOLLIN, 9);
	for (int i = 0; i < 5; i++) {
		struct pollfd p = { in, POLLIN, 0 };
		struct epoll_event e;
		fd_set r;
		struct timeval tv = { 1, 0 };
		int n;

		FD_ZERO(&r);
		FD_SET(in, &r);
		go(TO_B);
		if (how == 0)
			n = epoll_wait(out, &e, 1, 1000);
		else
			n = how == 1 ? poll(&p, 1, 1000) : select(in + 1, &r, NULL, NULL, &tv);
		lost += n != 1;
		while (epoll_wait(in, &e, 1, 0) == 1 && recv(fd, &c, 1, MSG_DONTWAIT) == 1)
			got++;
	}
	note(" got=%d lost=%d", got, lost);
	go(TO_B);
	until_queued(fd, 1);
	pl(in, POLLIN, 0);
	ew(out, 0);
	rd(fd, 1, 0);
	pl(in, POLLIN, 0);
	ew(out, 0);
}

static void a_nested_epoll(int fd)
{
	nested(fd, 0);
}

static void a_poll_on_epoll(int fd)
{
	nested(fd, 1);
}

static void a_select_on_epoll(int fd)
{
	nested(fd, 2);
}

static void b_nested_epoll(int fd)
{
	for (int i = 0; i < 6; i++) {
		await(TO_B);
		ms(15);
		send(fd, "x", 1, MSG_NOSIGNAL);
	}
	rd(fd, 1, 0);
}

static void b_poll_on_epoll(int fd)
{
	b_nested_epoll(fd);
}

static void b_select_on_epoll(int fd)
{
	b_nested_epoll(fd);
}

static void a_exclusive(int fd)
{
	int ep = epoll_create1(0);

	noted("add", ep_add(ep, fd, EPOLLIN | EPOLLEXCLUSIVE, 1));
	noted("mod", ep_mod(ep, fd, EPOLLIN, 1));
	noted("bad", ep_add(epoll_create1(0), fd, EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, 1));
	for (int i = 0; i < 3; i++) {
		go(TO_B);
		ew(ep, 2000);
		rd(fd, 1, 0);
	}
	ew(ep, 0);
}

static void b_exclusive(int fd)
{
	for (int i = 0; i < 3; i++) {
		await(TO_B);
		ms(10);
		wr(fd, "x");
	}
	rd(fd, 1, 0);
}

static void a_exclusive_young(int fd)
{
	int ep = epoll_create1(0);

	noted("add", ep_add(ep, fd, EPOLLIN | EPOLLEXCLUSIVE, 1));
	cross(fd);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 1, 0);
	ew(ep, 0);
}

static void b_exclusive_young(int fd)
{
	cross(fd);
	await(TO_B);
	ms(10);
	wr(fd, "x");
	rd(fd, 1, 0);
}

/* Negative time-outs, bad arguments. */
static void a_epoll_bad(int fd)
{
	int ep = epoll_create1(0);
	struct epoll_event e = { 0 };

	ep_add(ep, fd, EPOLLIN, 1);
	noted("max0", epoll_wait(ep, &e, 0, 0));
	noted("max-1", epoll_wait(ep, &e, -1, 0));
	noted("notepoll", epoll_wait(fd, &e, 1, 0));
	noted("badfd", epoll_wait(-1, &e, 1, 0));
	noted("ctl_op", epoll_ctl(ep, 77, fd, &e));
	noted("ctl_fd", epoll_ctl(ep, EPOLL_CTL_ADD, 999, &e));
	noted("ctl_self", epoll_ctl(ep, EPOLL_CTL_ADD, ep, &e));
	noted("ctl_ep", epoll_ctl(fd, EPOLL_CTL_ADD, ep, &e));
	noted("ctl_null", epoll_ctl(ep, EPOLL_CTL_MOD, fd, NULL));
	go(TO_B);
	noted("wait_null", epoll_wait(ep, NULL, 1, 0));
	ew(ep, -5);
	noted("pwait2", epoll_pwait2(ep, &e, 1, &(struct timespec){ 1, 0 }, NULL));
	noted("pwait2_bad", epoll_pwait2(ep, &e, 1, &(struct timespec){ -1, 0 }, NULL));
	rd(fd, 1, 0);
	noted("pwait2_0", epoll_pwait2(ep, &e, 1, &(struct timespec){ 0, 20000000 }, NULL));
}

static void b_epoll_bad(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "x");
	rd(fd, 1, 0);
}

/* One connection in two sets, and twice in one by two numbers. */
static void a_two_sets(int fd)
{
	int one = epoll_create1(0), two = epoll_create1(0), other = dup(fd);

	ep_add(one, fd, EPOLLIN, 1);
	ep_add(two, fd, EPOLLIN | EPOLLET, 2);
	ep_add(one, other, EPOLLIN | EPOLLONESHOT, 3);
	go(TO_B);
	until_queued(fd, 1);
	ew(one, 1000);
	ew(two, 1000);
	ew(one, 0);
	ew(two, 0);
	close(fd);
	ew(one, 0);
	rd(other, 1, 0);
	ew(one, 0);
	go(TO_B);
	ew(two, 1000);
	ew(one, 0);
	rd(other, 1, 0);
	close(other);
	ew(one, 0);
}

static void b_two_sets(int fd)
{
	await(TO_B);
	wr(fd, "x");
	await(TO_B);
	wr(fd, "y");
	rd(fd, 1, 0);
}

/* A reset while in the set: HUP and ERR come unasked. */
static void a_epoll_reset(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLOUT | EPOLLET, 1);
	ew(ep, 1000);
	go(TO_B);
	ew(ep, 2000);
	ew(ep, 0);
	ep_mod(ep, fd, 0, 2);
	ew(ep, 0);
	soerr(fd);
	ew(ep, 0);
	rd(fd, 1, 0);
}

static void b_epoll_reset(int fd)
{
	await(TO_B);
	ms(10);
	linger_of(fd, 1, 0);
	close(fd);
}

static const struct test_case cases[] = {
	CASE(epoll_mixed, "12", WARM),
	CASE(edge, "5,12", WARM),
	CASE(oneshot, "12", WARM),
	CASE(level, "12,16", WARM),
	CASE_F(room_level, "9,12,13", WARM, SLOW),
	CASE_F(room_edge, "5,9,12,13", WARM, SLOW),
	CASE(room_beside, "9,12,13", WARM),
	CASE(fair, "12", WARM),
	CASE(nested_epoll, "12", WARM),
	CASE(poll_on_epoll, "12,11", WARM),
	CASE(select_on_epoll, "12,11", WARM),
	CASE(exclusive, "12", WARM),
	CASE(exclusive_young, "4,12", COLD),
	CASE(epoll_bad, "12", WARM),
	CASE(two_sets, "12", WARM),
	CASE(epoll_reset, "12,16", WARM),
};
GROUP(epoll);
