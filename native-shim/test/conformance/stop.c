/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop.c - cases about the way back to TCP (rule 7) with bytes left in the ring.
 *
 * "b" writes and then closes, exits, dies or stays away; "a" makes the connection go back to TCP before or after that by
 * something that the shim cannot follow, and must still get every byte, and the end after them.
 */
#include <sys/syscall.h>

#include "harness.h"

enum stop { BY_FORK, BY_STDIO, BY_EXEC, BY_PASS, BY_TRUNC };
enum end { CLOSES, SHUTS, EXITS, _EXITS, DIES, STAYS, BUSY };

/* Less than TCP's first window: the end of file must be able to arrive behind it. */
#define BYTES 40000

/* ---- the writer's side ---- */

static void write_and_end(int fd, enum end end, bool before)
{
	note(" put=%zu", put(fd, 0, BYTES));
	if (!before) {
		go(TO_A);
		await(TO_B);
	}
	switch (end) {
	case CLOSES:
		close(fd);
		break;
	case SHUTS:
		shutdown(fd, SHUT_WR);
		break;
	case EXITS:
		exit(0);
	case _EXITS:
		_exit(0);
	case DIES:
		raise(SIGKILL);
		break;
	default:
		break;
	}
	if (before)
		go(TO_A);
	if (end == SHUTS)
		rd(fd, 1, 0);
	else if (before)
		await(TO_B);
}

/* ---- the reader's ---- */

/* What is left of the stream: nothing of it may be missing, and nothing may come twice. */
static void rest_of(int fd, FILE *f, size_t n, bool with_end)
{
	static char buf[10000];
	ssize_t r = 1;

	while (n < BYTES) {
		size_t want = BYTES - n < sizeof(buf) ? BYTES - n : sizeof(buf);

		r = f ? (ssize_t)fread(buf, 1, want, f) : read(fd, buf, want);
		if (r <= 0 || !same(buf, n, (size_t)r))
			break;
		n += (size_t)r;
	}
	note(" rest=%zu", n);
	if (r < 0)
		note("/%s", err(r));
	if (with_end && n == BYTES)
		noted("end", f ? fgetc(f) : read(fd, buf, 1));
}

/*
 * By system calls alone, as a program without the shim would read.  The writer is gone, and what it left in the ring can
 * come to such a reader on no way: then it must be told, never be given a clean end too early.
 */
static void rest_or_told(int fd, size_t n)
{
	static char buf[10000];
	ssize_t r = 1;

	while (n < BYTES && (r = syscall(SYS_read, fd, buf, BYTES - n < sizeof(buf) ? BYTES - n : sizeof(buf))) > 0 &&
	       same(buf, n, (size_t)r))
		n += (size_t)r;
	note(" all or told=%d", n == BYTES || (r < 0 && errno == ECONNRESET));
}

static void leave_by(int fd, enum stop stop, size_t n, bool with_end)
{
	int sv[2];
	pid_t p;
	FILE *f;

	switch (stop) {
	case BY_FORK:
		p = kid();
		if (p == 0) {
			note(" got=%zu", take(fd, n, 100));
			go(TO_A);
			rest_of(fd, NULL, n + 100, with_end);
			_exit(0);
		}
		await(TO_A);
		reap(p);
		break;
	case BY_STDIO:
		f = fdopen(fd, "r");
		note(" fdopen=%d", f != NULL);
		rest_of(fd, f, n, with_end);
		break;
	case BY_EXEC:
		p = fork();
		if (p == 0) {
			char command[100];

			snprintf(command, sizeof(command), "head -c %zu <&%d | cksum >&%d", BYTES - n, fd, fd);
			execl("/bin/sh", "sh", "-c", command, NULL);
			_exit(9);
		}
		reap(p);
		break;
	case BY_PASS:
		socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
		union {
			char buf[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} u = { { 0 } };
		struct msghdr m = { .msg_iov = &(struct iovec){ "x", 1 }, .msg_iovlen = 1, .msg_control = u.buf,
				    .msg_controllen = sizeof(u.buf) };

		u.align = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
		memcpy(CMSG_DATA(&u.align), &fd, sizeof(fd));
		noted("pass", sendmsg(sv[0], &m, 0));
		rest_or_told(fd, n);
		break;
	case BY_TRUNC:
		noted("trunc", recv(fd, NULL, 1000, MSG_TRUNC | MSG_WAITALL));
		note(" got=%zu", take(fd, n + 1000, BYTES - n - 1000));
		if (with_end)
			rd(fd, 1, 0);
		break;
	}
}

static void read_after(int fd, enum stop stop)
{
	await(TO_A);
	until_ended(fd);
	note(" got=%zu", take(fd, 0, 5000));
	leave_by(fd, stop, 5000, true);
	go(TO_B);
}

/* ---- the writer has ended before the reader goes back to TCP ---- */

#define AFTER(name, stop, how)                                                                                         \
	static void a_##name(int fd)                                                                                   \
	{                                                                                                              \
		read_after(fd, stop);                                                                                  \
	}                                                                                                              \
	static void b_##name(int fd)                                                                                   \
	{                                                                                                              \
		write_and_end(fd, how, true);                                                                          \
	}

AFTER(closed_fork, BY_FORK, CLOSES)
AFTER(closed_stdio, BY_STDIO, CLOSES)
AFTER(closed_pass, BY_PASS, CLOSES)
AFTER(closed_trunc, BY_TRUNC, CLOSES)
AFTER(shut_fork, BY_FORK, SHUTS)
AFTER(shut_stdio, BY_STDIO, SHUTS)

/* Exit, _exit and SIGKILL leave no time for a word: the end itself is waited for. */
#define AFTER_DEATH(name, stop, how)                                                                                   \
	static void a_##name(int fd)                                                                                   \
	{                                                                                                              \
		until_ended(fd);                                                                                       \
		note(" got=%zu", take(fd, 0, 5000));                                                                   \
		leave_by(fd, stop, 5000, true);                                                                        \
	}                                                                                                              \
	static void b_##name(int fd)                                                                                   \
	{                                                                                                              \
		write_and_end(fd, how, true);                                                                          \
	}

AFTER_DEATH(exited_fork, BY_FORK, EXITS)
AFTER_DEATH(_exited_fork, BY_FORK, _EXITS)
AFTER_DEATH(killed_fork, BY_FORK, DIES)
AFTER_DEATH(_exited_stdio, BY_STDIO, _EXITS)
AFTER_DEATH(killed_stdio, BY_STDIO, DIES)
AFTER_DEATH(killed_pass, BY_PASS, DIES)

/* ---- the reader goes back to TCP first; then the writer ends without another call on the socket ---- */

static void read_before(int fd)
{
	pid_t p;

	await(TO_A);
	note(" got=%zu", take(fd, 0, 5000));
	p = kid();
	if (p == 0) {
		/* Any use of the socket takes it back to TCP; the bytes may come when the writer wakes. */
		int none = fcntl(fd, F_GETFL) & O_NONBLOCK;

		note(" flags=%d", none);
		pl(fd, POLLOUT, 0);
		go(TO_B);
		note(" got=%zu", take(fd, 5000, BYTES - 5000));
		rd(fd, 1, 0);
		_exit(0);
	}
	close(fd);
	reap(p);
}

#define BEFORE(name, how)                                                                                              \
	static void a_##name(int fd)                                                                                   \
	{                                                                                                              \
		read_before(fd);                                                                                       \
	}                                                                                                              \
	static void b_##name(int fd)                                                                                   \
	{                                                                                                              \
		write_and_end(fd, how, false);                                                                         \
	}

BEFORE(then_closes, CLOSES)
BEFORE(then_shuts, SHUTS)
BEFORE(then_exits, EXITS)
BEFORE(then__exits, _EXITS)
BEFORE(then_dies, DIES)

/* ---- the writer lives on and makes no call on the socket, or sits in another ---- */

static void read_from_idle(int fd, enum stop stop)
{
	await(TO_A);
	note(" got=%zu", take(fd, 0, 5000));
	leave_by(fd, stop, 5000, false);
	go(TO_B);
}

static void a_idle_fork(int fd)
{
	read_from_idle(fd, BY_FORK);
}

static void b_idle_fork(int fd)
{
	note(" put=%zu", put(fd, 0, BYTES));
	go(TO_A);
	await(TO_B);
}

static void a_idle_stdio(int fd)
{
	read_from_idle(fd, BY_STDIO);
}

static void b_idle_stdio(int fd)
{
	b_idle_fork(fd);
}

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

/* The writer sits in a read: it is woken, and sends by TCP what the new program image is to read. */
static void a_waiting_exec(int fd)
{
	read_from_idle(fd, BY_EXEC);
}

static void b_waiting_exec(int fd)
{
	note(" put=%zu", put(fd, 0, BYTES));
	go(TO_A);
	rd(fd, 16, MSG_WAITALL);
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(closed_fork, "7,16", WARM),
	CASE(closed_stdio, "7,8,16", WARM),
	CASE(closed_pass, "7,8,16", WARM),
	CASE(closed_trunc, "7,16", WARM),
	CASE(shut_fork, "7,16", WARM),
	CASE(shut_stdio, "7,8,16", WARM),
	CASE(exited_fork, "7,16", WARM),
	CASE(_exited_fork, "7,16", WARM),
	CASE(killed_fork, "7,16", WARM),
	CASE(_exited_stdio, "7,8,16", WARM),
	CASE(killed_stdio, "7,8,16", WARM),
	CASE(killed_pass, "7,8,16", WARM),
	CASE(then_closes, "7,16,18", WARM),
	CASE(then_shuts, "7,16,18", WARM),
	CASE(then_exits, "7,16,18", WARM),
	CASE(then__exits, "7,16,18", WARM),
	CASE(then_dies, "7,16,18", WARM),
	CASE(idle_fork, "7,18", WARM),
	CASE(idle_stdio, "7,8", WARM),
	CASE(waiting_exec, "7,8,10", WARM),
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
};
GROUP(stop);
