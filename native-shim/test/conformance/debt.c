/* SPDX-License-Identifier: Apache-2.0 */
/* debt.c - cases about bytes that a writer still owes after the way back to TCP (rule 7), and about S = 0. */
#include "harness.h"

/* Less than TCP's first window. */
#define BYTES 40000

/* The writer sits in recv, poll, epoll_wait, select or nanosleep while it owes bytes. */
static void owe_in(int fd, int where)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	note(" put=%zu", put(fd, 0, BYTES));
	go(TO_A);
	if (where == 0)
		rd(fd, 2, MSG_WAITALL);
	else if (where == 1)
		pl(fd, POLLIN, 8000);
	else if (where == 2)
		ew(ep, 8000);
	else
		await(TO_B);
}

static void answer_after(int fd)
{
	pid_t p;

	await(TO_A);
	note(" got=%zu", take(fd, 0, 5000));
	ms(20);
	p = kid();
	if (p == 0) {
		note(" got=%zu", take(fd, 5000, BYTES - 5000));
		wr(fd, "ok");
		_exit(0);
	}
	reap(p);
	go(TO_B);
}

static void a_owes_in_recv(int fd)
{
	answer_after(fd);
}

static void b_owes_in_recv(int fd)
{
	owe_in(fd, 0);
}

static void a_owes_in_poll(int fd)
{
	answer_after(fd);
}

static void b_owes_in_poll(int fd)
{
	owe_in(fd, 1);
}

static void a_owes_in_epoll(int fd)
{
	answer_after(fd);
}

static void b_owes_in_epoll(int fd)
{
	owe_in(fd, 2);
}

static void a_owes_elsewhere(int fd)
{
	answer_after(fd);
}

static void b_owes_elsewhere(int fd)
{
	owe_in(fd, 3);
}

/* A debt larger than TCP's buffers, paid while both go on. */
static void a_big_debt(int fd)
{
	pid_t p;

	await(TO_A);
	p = kid();
	if (p == 0) {
		note(" got=%zu", take(fd, 0, 4000000));
		wr(fd, "ok");
		_exit(0);
	}
	close(fd);
	reap(p);
}

static void b_big_debt(int fd)
{
	int small = 16384;

	note(" put=%zu", put(fd, 0, 1500000));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	go(TO_A);
	note(" put=%zu", put(fd, 1500000, 2500000));
	rd(fd, 2, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* The reader stays away for longer than anybody would wait in close(): the bytes are owed all the same. */
static void a_long_debt(int fd)
{
	pid_t p;

	await(TO_A);
	note(" got=%zu", take(fd, 0, 5000));
	p = kid();
	if (p == 0) {
		pl(fd, POLLOUT, 0);
		go(TO_B);
		ms(10500);
		note(" got=%zu", take(fd, 5000, 2495000));
		rd(fd, 1, 0);
		_exit(0);
	}
	close(fd);
	reap(p);
}

static void b_long_debt(int fd)
{
	note(" put=%zu", put(fd, 0, 2500000));
	go(TO_A);
	await(TO_B);
	noted("close", close(fd));
}

/* A direction that goes to the ring before its first byte (S = 0), and then back. */
static void to_ring_silent(int fd)
{
	for (int i = 0; i < 60; i++) {
		struct pollfd p = { fd, POLLIN, 0 };

		poll(&p, 1, 2);
	}
}

static void a_s_zero(int fd)
{
	pid_t p;

	to_ring_silent(fd);
	go(TO_B);
	await(TO_A);
	p = kid();
	if (p == 0) {
		rd(fd, 3, MSG_WAITALL);
		wr(fd, "kid");
		rd(fd, 4, MSG_WAITALL);
		_exit(0);
	}
	reap(p);
	wr(fd, "parent");
	rd(fd, 3, MSG_WAITALL);
}

static void b_s_zero(int fd)
{
	to_ring_silent(fd);
	await(TO_B);
	wr(fd, "one");
	go(TO_A);
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "four");
	rd(fd, 6, MSG_WAITALL);
	wr(fd, "end");
	rd(fd, 1, 0);
}

/* The same, where the STOP comes before any byte at all. */
static void a_s_zero_stop(int fd)
{
	pid_t p;

	to_ring_silent(fd);
	p = kid();
	if (p == 0) {
		pl(fd, POLLIN | POLLOUT, 0);
		_exit(0);
	}
	reap(p);
	wr(fd, "first");
	go(TO_B);
	note(" got=%zu", take(fd, 0, BYTES));
	wr(fd, "end");
}

static void b_s_zero_stop(int fd)
{
	to_ring_silent(fd);
	await(TO_B);
	note(" put=%zu", put(fd, 0, BYTES));
	rd(fd, 8, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* One end has never sent a byte when it takes the connection back, and is owed more than TCP takes at once. */
static void small_buffers(int fd)
{
	int small = 8192;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
}

static void a_s_zero_owed(int fd)
{
	pid_t p;

	small_buffers(fd);
	pull(fd);
	to_ring_silent(fd);
	go(TO_B);
	ms(50);
	p = kid();
	if (p == 0) {
		for (int i = 0; i < 5; i++) {
			wr(fd, "hello");
			ms(5);
		}
		go(TO_B);
		note(" got=%zu", take(fd, 0, 150000));
		wr(fd, "last");
		_exit(0);
	}
	close(fd);
	reap(p);
}

static void t_owe(struct thr *t)
{
	note(" put=%zu", put(t->fd, 0, 150000));
}

static void b_s_zero_owed(int fd)
{
	struct thr t;

	small_buffers(fd);
	push(fd);
	to_ring_silent(fd);
	await(TO_B);
	thr_start(&t, t_owe, fd, 0);
	for (int i = 0; i < 5; i++)
		rd(fd, 5, MSG_WAITALL);
	await(TO_B);
	for (int i = 0; i < 5; i++)
		rd(fd, 5, MSG_DONTWAIT | MSG_PEEK);
	thr_join(&t);
	rd(fd, 4, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* Both ends take it back at the same time. */
static void a_both_stop(int fd)
{
	pid_t p = kid();

	if (p == 0) {
		wr(fd, "kid");
		note(" got=%zu", take(fd, 0, 100000));
		wr(fd, "done");
		_exit(0);
	}
	reap(p);
	rd(fd, 4, MSG_WAITALL);
}

static void b_both_stop(int fd)
{
	pid_t p = kid();

	if (p == 0) {
		note(" put=%zu", put(fd, 0, 100000));
		rd(fd, 7, MSG_WAITALL);
		wr(fd, "last");
		_exit(0);
	}
	reap(p);
	rd(fd, 1, 0);
}

#define MUCH 1500000

/* Calls that notice what the agents want, and move no byte. */
static void look_around(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	for (int i = 0; i < 60; i++) {
		poll(&p, 1, 0);
		ms(1);
	}
}

/*
 * A writer is sent back to TCP whose reader has not come to the ring, though the ring is full already; it pays as much as
 * TCP takes, and shuts its side.  The rest is behind bytes that the reader has by TCP; it reads when it is told to.
 */
static int debtor(int listener)
{
	int fd = pick(listener);

	warm(fd, false);
	await(TO_A);
	look_around(fd);
	go(TO_B);
	await(TO_A);
	look_around(fd);
	go(TO_B);
	await(TO_A);
	return fd;
}

static void a_rest_of_debt(int listener)
{
	int fd = debtor(listener);
	size_t got = 0;

	for (int n = 1; n > 0; got += (size_t)n) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, 8000) != 1 || ioctl(fd, FIONREAD, &n) || take(fd, got, (size_t)n) != (size_t)n) {
			note(" nothing");
			break;
		}
	}
	note(" got=%zu", got);
	rd(fd, 1, 0);
	wr(fd, "x");
}

/* The same by somebody who asks only how many bytes there are. */
static void a_rest_is_counted(int listener)
{
	int fd = debtor(listener);
	size_t got = 0;

	for (int idle = 0; got < MUCH && idle < 8000; idle++) {
		int n = 0;

		if (ioctl(fd, FIONREAD, &n) || take(fd, got, (size_t)n) != (size_t)n)
			break;
		got += (size_t)n;
		if (n)
			idle = 0;
		else
			ms(1);
	}
	note(" got=%zu", got);
	rd(fd, 1, 0);
	wr(fd, "x");
}

static void b_rest_of_debt(int none)
{
	int some = 200000, fd = dial(); /* more than the ring, which is full of what comes by TCP then; less than the debt */

	(void)none;
	warm(fd, true);
	agent_switch();
	go(TO_A);
	look_around(fd);
	await(TO_B);
	agent_switch();
	go(TO_A);
	await(TO_B);
	note(" put=%zu", put(fd, 0, MUCH));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &some, sizeof(some));
	ms(50);
	agent_switch();
	look_around(fd);
	noted("shut", shutdown(fd, SHUT_WR));
	go(TO_A);
	rd(fd, 1, 0);
}

static void b_rest_is_counted(int none)
{
	b_rest_of_debt(none);
}

/*
 * The reader shuts its side while bytes are owed to it: nothing has ended but what it has so far, and the rest comes once,
 * when the writer pays.
 */
static void a_shut_rd_owed(int fd)
{
	size_t got = 0;

	await(TO_A);
	setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &(int){ 1 }, sizeof(int)); /* takes it back to TCP */
	go(TO_B);
	await(TO_A);
	noted("shut", shutdown(fd, SHUT_RD));
	for (int idle = 0; got < MUCH && idle < 8000; idle++) {
		got += take(fd, got, MUCH - got);
		ms(1);
	}
	note(" got=%zu", got);
	wr(fd, "x");
	await(TO_A);
	rd(fd, 1, 0);
	go(TO_B);
}

static void b_shut_rd_owed(int fd)
{
	int some = 200000;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	note(" put=%zu", put(fd, 0, MUCH));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &some, sizeof(some));
	go(TO_A);
	await(TO_B);
	look_around(fd);
	go(TO_A);
	for (int i = 0; i < 16000 && poll(&p, 1, 0) == 0; i++)
		ms(1);
	rd(fd, 1, 0);
	look_around(fd);
	go(TO_A);
	await(TO_B);
}

static const struct test_case cases[] = {
	CASE(owes_in_recv, "7,11", WARM),
	CASE(owes_in_poll, "7,11", WARM),
	CASE(owes_in_epoll, "7,12", WARM),
	CASE(owes_elsewhere, "7", WARM),
	CASE(big_debt, "7,9", WARM),
	CASE_F(long_debt, "7,9,16", WARM, SLOW),
	CASE(s_zero, "5,6,7", COLD),
	CASE(s_zero_stop, "5,6,7", COLD),
	CASE(s_zero_owed, "5,6,7", YOUNG),
	CASE(both_stop, "7,18", WARM),
	CASE_F(rest_of_debt, "7,17", RAW, OWN_AGENT),
	CASE_F(rest_is_counted, "7,17", RAW, OWN_AGENT),
	CASE(shut_rd_owed, "7,17", WARM),
};
GROUP(debt);
