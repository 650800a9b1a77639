/* SPDX-License-Identifier: Apache-2.0 */
/* beside.c - cases about what a call does beside its work: errno, which it leaves alone, and cancellation as it begins. */
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>

#include "harness.h"

/* ---- a call that succeeds leaves errno: programs tell a time-out from a signal by it, or close first and ask then ---- */

#define KEEPS(name, call)                                                                                              \
	do {                                                                                                           \
		errno = EDOM;                                                                                          \
		long r_ = (long)(call);                                                                                \
		int e_ = errno;                                                                                        \
		note(" " name "=%ld", r_);                                                                             \
		if (e_ != EDOM)                                                                                        \
			note("/%s", strerrorname_np(e_));                                                              \
	} while (0)

static const struct timespec soon = { 0, 10000000 };

static void waits(int fd, int ep, int timeout, const struct timespec *ts)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct timeval tv = { 0, ts->tv_nsec / 1000 };
	struct epoll_event ev;
	fd_set r;

	KEEPS("poll", poll(&p, 1, timeout));
	KEEPS("ppoll", ppoll(&p, 1, ts, NULL));
	FD_ZERO(&r);
	FD_SET(fd, &r);
	KEEPS("select", select(fd + 1, &r, NULL, NULL, &tv));
	FD_ZERO(&r);
	FD_SET(fd, &r);
	KEEPS("pselect", pselect(fd + 1, &r, NULL, NULL, ts, NULL));
	KEEPS("epoll_wait", epoll_wait(ep, &ev, 1, timeout));
	KEEPS("epoll_pwait2", epoll_pwait2(ep, &ev, 1, ts, NULL));
}

static void many_messages(int fd)
{
	char buf[2][4];
	struct iovec iov[2] = { { buf[0], 4 }, { buf[1], 4 } };
	struct mmsghdr v[2] = { { .msg_hdr = { .msg_iov = &iov[0], .msg_iovlen = 1 } },
				{ .msg_hdr = { .msg_iov = &iov[1], .msg_iovlen = 1 } } };

	KEEPS("recvmmsg", recvmmsg(fd, v, 2, MSG_WAITFORONE, NULL));
	KEEPS("sendmmsg", sendmmsg(fd, v, 2, MSG_NOSIGNAL));
}

static void calls(int fd)
{
	int ep = epoll_create1(0), n, in = memfd_create("file", 0), p[2];
	struct epoll_event ev = { .events = EPOLLIN };
	struct timeval tv = { 5, 0 };
	socklen_t len = sizeof(n);
	char buf[8];

	if (pipe(p) || write(in, "file", 4) != 4)
		abort();
	lseek(in, 0, SEEK_SET);
	KEEPS("add", epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	waits(fd, ep, 0, &(struct timespec){ 0, 0 });
	waits(fd, ep, 10, &soon);
	KEEPS("mod", epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	go(TO_B);
	KEEPS("recv", recv(fd, buf, 4, 0));
	await(TO_A);
	until_queued(fd, 4);
	waits(fd, ep, -1, &soon);
	KEEPS("FIONREAD", ioctl(fd, FIONREAD, &n));
	many_messages(fd);
	KEEPS("del", epoll_ctl(ep, EPOLL_CTL_DEL, fd, &ev));
	KEEPS("send", send(fd, "send", 4, MSG_NOSIGNAL));
	KEEPS("sendfile", sendfile(fd, in, NULL, 4));
	KEEPS("dprintf", dprintf(fd, "%d", 4));
	KEEPS("SO_ERROR", getsockopt(fd, SOL_SOCKET, SO_ERROR, &n, &len));
	KEEPS("SO_RCVTIMEO", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	KEEPS("F_GETFL", fcntl(fd, F_GETFL) & 0);
	KEEPS("dup", (n = dup(fd)) < 0);
	KEEPS("dup2", dup2(fd, n) != n);
	KEEPS("close", close(n));
	KEEPS("SHUT_RD", shutdown(fd, SHUT_RD));
	KEEPS("SHUT_WR", shutdown(fd, SHUT_WR));
	await(TO_A);
	KEEPS("close", close(fd));
}

static void answers(int fd)
{
	await(TO_B);
	ms(10);
	wr(fd, "left");
	ms(10);
	wr(fd, "more");
	go(TO_A);
	rd(fd, 17, MSG_WAITALL);
	rd(fd, 1, 0);
	KEEPS("close", close(fd));
	go(TO_A);
}

static void a_errno(int fd)
{
	calls(fd);
}

static void b_errno(int fd)
{
	answers(fd);
}

static void a_errno_young(int fd)
{
	calls(fd);
}

static void b_errno_young(int fd)
{
	answers(fd);
}

/* The pattern: clean up, then tell why. */
static void a_errno_of_failure(int fd)
{
	nonblock(fd, true);
	for (int i = 0; i < 2; i++) {
		int copy = dup(fd);
		char c;
		ssize_t r = recv(fd, &c, 1, 0);

		close(copy);
		if (i)
			close(fd);
		noted("recv", r);
	}
	go(TO_B);
}

static void b_errno_of_failure(int fd)
{
	await(TO_B);
	rd(fd, 1, 0);
}

/* ---- a thread that is to be cancelled ends as its next call begins, though there is something to do for it ---- */

static _Atomic bool cancelled;
static int set;

enum point {
	RECV, READ, READV, RECVMSG, RECVMMSG, SEND, WRITE, WRITEV, SENDMSG, SENDMMSG, POLL, PPOLL, SELECT, PSELECT, EPOLL, SPLICE,
	POINTS
};

static void t_point(struct thr *t)
{
	char buf[4] = "none";
	struct iovec iov = { buf, 4 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &iov, .msg_iovlen = 1 } };
	struct pollfd p = { .fd = t->fd, .events = POLLIN | POLLOUT };
	struct epoll_event ev;
	int to[2];
	fd_set r;

	FD_ZERO(&r);
	FD_SET(t->fd, &r);
	if (pipe(to))
		abort();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	while (!cancelled)
		ms(1);
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	switch ((enum point)t->arg) {
	case RECV:
		noted("recv", recv(t->fd, buf, 4, 0));
		break;
	case READ:
		noted("read", read(t->fd, buf, 4));
		break;
	case READV:
		noted("readv", readv(t->fd, &iov, 1));
		break;
	case RECVMSG:
		noted("recvmsg", recvmsg(t->fd, &m.msg_hdr, 0));
		break;
	case RECVMMSG:
		noted("recvmmsg", recvmmsg(t->fd, &m, 1, 0, NULL));
		break;
	case SEND:
		noted("send", send(t->fd, buf, 4, MSG_NOSIGNAL));
		break;
	case WRITE:
		noted("write", write(t->fd, buf, 4));
		break;
	case WRITEV:
		noted("writev", writev(t->fd, &iov, 1));
		break;
	case SENDMSG:
		noted("sendmsg", sendmsg(t->fd, &m.msg_hdr, MSG_NOSIGNAL));
		break;
	case SENDMMSG:
		noted("sendmmsg", sendmmsg(t->fd, &m, 1, MSG_NOSIGNAL));
		break;
	case POLL:
		noted("poll", poll(&p, 1, -1));
		break;
	case PPOLL:
		noted("ppoll", ppoll(&p, 1, NULL, NULL));
		break;
	case SELECT:
		noted("select", select(t->fd + 1, &r, NULL, NULL, NULL));
		break;
	case PSELECT:
		noted("pselect", pselect(t->fd + 1, &r, NULL, NULL, NULL, NULL));
		break;
	case EPOLL:
		noted("epoll", epoll_wait(set, &ev, 1, -1));
		break;
	default:
		noted("splice", splice(t->fd, NULL, to[1], NULL, 4, 0));
	}
}

static void a_cancel_ready(int fd)
{
	set = epoll_create1(0);
	ep_add(set, fd, EPOLLIN, 1);
	until_queued(fd, 4);
	for (int i = 0; i < POINTS; i++) {
		struct thr t;

		cancelled = false;
		thr_start(&t, t_point, fd, i);
		pthread_cancel(t.t);
		cancelled = true;
		thr_join(&t);
	}
	rd(fd, 4, MSG_WAITALL);
	wr(fd, "sent");
}

static void b_cancel_ready(int fd)
{
	wr(fd, "data");
	rd(fd, 20, MSG_WAITALL);
}

/* One that works all the time is to be ended some time. */
static void t_busy(struct thr *t)
{
	char c = 'c';

	for (;;)
		if (send(t->fd, &c, 1, MSG_NOSIGNAL) != 1)
			break;
}

static void a_cancel_busy(int fd)
{
	struct thr t;

	thr_start(&t, t_busy, fd, 0);
	await(TO_A);
	pthread_cancel(t.t);
	thr_join(&t);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_cancel_busy(int fd)
{
	char buf[4096];
	int turns = 0;

	while (recv(fd, buf, sizeof(buf), 0) > 0)
		if (++turns == 100)
			go(TO_A);
}

/* sendfile(2) is none of those calls. */
static void t_sendfile(struct thr *t)
{
	int in = memfd_create("file", 0);

	if (ftruncate(in, 16 << 20))
		abort();
	noted("sendfile", sendfile(t->fd, in, NULL, 16 << 20));
	pthread_testcancel();
}

static void a_cancel_sendfile(int fd)
{
	struct thr t;

	thr_start(&t, t_sendfile, fd, 0);
	thr_asleep(&t);
	pthread_cancel(t.t);
	go(TO_B);
	thr_join(&t);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_cancel_sendfile(int fd)
{
	await(TO_B);
	read_out(fd);
}

/* A part of a millisecond is no millisecond; the shortest of some waits tells, whatever else the machine does. */
static void a_fine_wait(int fd)
{
	struct timespec tenth = { 0, 100000 }, from, to;
	int ep = epoll_create1(0);
	long best = 1000000000;
	struct epoll_event ev;

	ep_add(ep, fd, EPOLLIN, 1);
	for (int i = 0; i < 50; i++) {
		clock_gettime(CLOCK_MONOTONIC, &from);
		if (epoll_pwait2(ep, &ev, 1, &tenth, NULL))
			note(" something");
		clock_gettime(CLOCK_MONOTONIC, &to);
		long took = (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec;

		best = took < best ? took : best;
	}
	note(" early=%d late=%d", best < tenth.tv_nsec, best > 900000);
	go(TO_B);
}

static void b_fine_wait(int fd)
{
	await(TO_B);
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(errno, "11", WARM),
	CASE(errno_young, "6,11", COLD),
	CASE(errno_of_failure, "11", WARM),
	CASE(fine_wait, "11", WARM),
	CASE(cancel_ready, "14", WARM),
	CASE(cancel_busy, "14", WARM),
	CASE(cancel_sendfile, "14", WARM),
};
GROUP(beside);
