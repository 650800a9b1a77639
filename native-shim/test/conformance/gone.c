/* SPDX-License-Identifier: Apache-2.0 */
/* gone.c - cases about a peer that half-closes and goes away while we send: we must hear of it (rule 16). */
#include "harness.h"

/* The peer half-closes, reads a little and goes away while we send: we must hear of it. */
static void send_until_error(int fd)
{
	size_t n = put(fd, 0, 1000000000);

	note(" short=%d/%s", n < 1000000000, err(-1));
	wr(fd, "x");
	rd(fd, 1, 0);
}

static void a_half_reset(int fd)
{
	send_until_error(fd);
}

static void b_half_reset(int fd)
{
	shutdown(fd, SHUT_WR);
	note(" got=%zu", take(fd, 0, 100000));
	close(fd);
}

static void a_half_kill(int fd)
{
	send_until_error(fd);
}

static void b_half_kill(int fd)
{
	shutdown(fd, SHUT_WR);
	note(" got=%zu", take(fd, 0, 100000));
	raise(SIGKILL);
}

/* It goes away cleanly: the first write is answered by a reset, the second by EPIPE. */
static void a_half_close(int fd)
{
	until_ended(fd);
	await(TO_A);
	wr(fd, "first");
	write_until_error(fd);
}

static void b_half_close(int fd)
{
	shutdown(fd, SHUT_WR);
	until_state(fd, FIN_WAIT2);
	close(fd);
	go(TO_A);
}

/* The same, heard by a thread that polls for room, in the three ways. */
static void full_then_told(int fd, int how)
{
	int ep = epoll_create1(0), told = 0, e = 0;
	size_t n;

	ep_add(ep, fd, how == 1 ? EPOLLOUT : EPOLLOUT | EPOLLET, 1);
	n = fill(fd, 0);
	nonblock(fd, true);
	note(" full=%d", n < 60000000);
	while (how == 2 && epoll_wait(ep, &(struct epoll_event){ 0 }, 1, 0) == 1)
		;
	go(TO_B);
	for (int i = 0; i < 200 && !e; i++) {
		struct pollfd p = { fd, POLLOUT, 0 };

		told += how == 0 ? poll(&p, 1, 5000) : i ? 1 : epoll_wait(ep, &(struct epoll_event){ 0 }, 1, 5000);
		if (put(fd, n, 100000) == 100000)
			continue;
		e = errno == EAGAIN ? 0 : errno;
		ms(20);
	}
	note(" told=%d ends=%s", told > 0, e ? strerrorname_np(e) : "never");
}

static void a_full_kill_poll(int fd)
{
	full_then_told(fd, 0);
}

static void a_full_kill_level(int fd)
{
	full_then_told(fd, 1);
}

static void a_full_kill_edge(int fd)
{
	full_then_told(fd, 2);
}

static void b_full_kill_poll(int fd)
{
	shutdown(fd, SHUT_WR);
	await(TO_B);
	raise(SIGKILL);
}

static void b_full_kill_level(int fd)
{
	b_full_kill_poll(fd);
}

static void b_full_kill_edge(int fd)
{
	b_full_kill_poll(fd);
}

static const struct test_case cases[] = {
	CASE(half_reset, "16", WARM),
	CASE(half_kill, "16", WARM),
	CASE(half_close, "16", WARM),
	CASE_F(full_kill_poll, "11,16", WARM, SLOW),
	CASE_F(full_kill_level, "12,16", WARM, SLOW),
	CASE_F(full_kill_edge, "12,16", WARM, SLOW),
};
GROUP(gone);
