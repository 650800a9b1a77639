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
enum end { CLOSES, SHUTS, EXITS, _EXITS, QUITS, DIES, STAYS, BUSY };

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
	case QUITS:
		quick_exit(0);
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

		u.align.cmsg_level = SOL_SOCKET;
		u.align.cmsg_type = SCM_RIGHTS;
		u.align.cmsg_len = CMSG_LEN(sizeof(int));
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

/* The reader cannot look into the ring any more: the writer's last act is to send what is there. */
static void a_left_quits(int fd)
{
	int one = 1;

	await(TO_A);
	note(" got=%zu", take(fd, 0, 5000));
	noted("lowat", setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one)));
	go(TO_B);
	note(" got=%zu", take(fd, 5000, BYTES - 5000));
	rd(fd, 1, 0);
}

static void b_left_quits(int fd)
{
	write_and_end(fd, QUITS, false);
}

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
	CASE(left_quits, "7,8,16", WARM),
	CASE(idle_fork, "7,18", WARM),
	CASE(idle_stdio, "7,8", WARM),
	CASE(waiting_exec, "7,8,10", WARM),
};
GROUP(stop);
