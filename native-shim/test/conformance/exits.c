/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exits.c - cases about a process that ends while others of its threads send, and about two processes that see an end
 * which bytes have yet to follow (rules 16 to 18).
 */
#include "harness.h"

enum { MUCH = 1 << 30, SOME = 1 << 20, CROWD = 8 };

static void t_send_on(struct thr *t)
{
	put(t->fd, 0, MUCH);
}

/* What was accepted before is all there, and then the end is a clean one. */
static void to_the_end(int fd)
{
	note(" some=%d", take(fd, 0, MUCH) > 0);
	rd(fd, 1, 0);
}

/* The thread sleeps for want of room, and wakes as its process ends. */
static void a_exit_beside_sleeper(int fd)
{
	await(TO_A);
	ms(50);
	to_the_end(fd);
}

static void b_exit_beside_sleeper(int fd)
{
	struct thr t;

	thr_start(&t, t_send_on, fd, 0);
	thr_asleep(&t);
	ms(50);
	go(TO_A);
	exit(0);
}

/* It is in the middle of sending. */
static void a_exit_beside_sender(int fd)
{
	to_the_end(fd);
}

static void b_exit_beside_sender(int fd)
{
	struct thr t;

	thr_start(&t, t_send_on, fd, 0);
	ms(30);
	exit(0);
}

/* The same with _exit(), and many connections to be ended. */
static void a_exit_beside_crowd(int listener)
{
	int fds[CROWD];

	for (int i = 0; i < CROWD; i++) {
		fds[i] = pick(listener);
		pull(fds[i]);
	}
	go(TO_B);
	ms(50);
	for (int i = 0; i < CROWD; i++) {
		to_the_end(fds[i]);
		close(fds[i]);
	}
}

static void b_exit_beside_crowd(int none)
{
	static struct thr t[CROWD];
	int fds[CROWD];

	(void)none;
	for (int i = 0; i < CROWD; i++) {
		fds[i] = dial();
		push(fds[i]);
	}
	await(TO_B);
	for (int i = 0; i < CROWD; i++)
		thr_start(&t[i], t_send_on, fds[i], 0);
	ms(100);
	_exit(0);
}

/* Both processes notice the FIN, which the agents' bytes follow; neither may take it for the end, now or later. */
static void fork_sees_end(int fd, bool kid_first)
{
	pid_t p = kid();

	if (!p) {
		if (!kid_first)
			await(TO_KID);
		pl(fd, POLLIN, 5000);
		if (kid_first)
			go(TO_A);
		_exit(0);
	}
	if (kid_first)
		await(TO_A);
	pl(fd, POLLIN, 5000);
	if (!kid_first)
		go(TO_KID);
	reap(p);
	pl(fd, POLLIN, 5000);
	note(" all=%d", take(fd, 0, SOME) == SOME);
	rd(fd, 1, 0);
}

static void a_fork_sees_end(int fd)
{
	await(TO_A);
	ms(100);
	fork_sees_end(fd, false);
}

static void b_fork_sees_end(int fd)
{
	go(TO_A);
	put(fd, 0, SOME);
}

static void a_fork_sees_end_first(int fd)
{
	await(TO_A);
	ms(100);
	fork_sees_end(fd, true);
}

static void b_fork_sees_end_first(int fd)
{
	b_fork_sees_end(fd);
}

static const struct test_case cases[] = {
	CASE(exit_beside_sleeper, "16,17", WARM),
	CASE(exit_beside_sender, "16,17", WARM),
	CASE(exit_beside_crowd, "16,17", RAW),
	CASE(fork_sees_end, "17,18", WARM),
	CASE(fork_sees_end_first, "17,18", WARM),
};
GROUP(exits);
