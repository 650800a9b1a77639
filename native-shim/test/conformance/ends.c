/* SPDX-License-Identifier: Apache-2.0 */
/* ends.c - cases about shutdown, close, reset, linger and kill. */
#include <sys/syscall.h>

#include "harness.h"

static void a_half(int fd)
{
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	wr(fd, "after");
	ms(10);
	wr(fd, "more");
	close(fd);
}

static void b_half(int fd)
{
	wr(fd, "x");
	noted("shutdown", shutdown(fd, SHUT_WR));
	rd(fd, 9, MSG_WAITALL);
	rd(fd, 1, 0);
	wr(fd, "z");
}

static void a_write_after_close(int fd)
{
	until_ended(fd);
	wr(fd, "1");
	write_until_error(fd);
	wr(fd, "3");
	rd(fd, 1, 0);
	soerr(fd);
}

static void b_write_after_close(int fd)
{
	close(fd);
}

static void a_sigpipe(int fd)
{
	handle(SIGPIPE, 0);
	until_ended(fd);
	noted("write", write(fd, "1", 1));
	write_until_error(fd);
	note(" signals=%d", signals);
	noted("write", write(fd, "2", 1));
	note(" signals=%d", signals);
	noted("writev", writev(fd, &(struct iovec){ "3", 1 }, 1));
	noted("send", send(fd, "4", 1, 0));
	noted("nosignal", send(fd, "5", 1, MSG_NOSIGNAL));
	noted("sendmsg", sendmsg(fd, &(struct msghdr){ .msg_iov = &(struct iovec){ "6", 1 }, .msg_iovlen = 1 }, 0));
	note(" signals=%d", signals);
}

static void b_sigpipe(int fd)
{
	close(fd);
}

/* After its own SHUT_WR a program gets EPIPE and SIGPIPE, and still reads. */
static void a_sigpipe_own(int fd)
{
	handle(SIGPIPE, 0);
	shutdown(fd, SHUT_WR);
	noted("write", write(fd, "1", 1));
	wr(fd, "2");
	note(" signals=%d", signals);
	pl(fd, POLLOUT, 0);
	go(TO_B);
	rd(fd, 4, 0);
	noted("again", shutdown(fd, SHUT_WR));
	noted("both", shutdown(fd, SHUT_RDWR));
	noted("how", shutdown(fd, 7));
	go(TO_B);
}

static void b_sigpipe_own(int fd)
{
	await(TO_B);
	wr(fd, "data");
	await(TO_B);
	rd(fd, 1, 0);
}

static void a_unread_reset(int fd)
{
	wr(fd, "unread");
	go(TO_B);
	until_ended(fd);
	pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

static void b_unread_reset(int fd)
{
	await(TO_B);
	until_queued(fd, 6);
	close(fd);
}

static void a_linger0(int fd)
{
	until_state(fd, CLOSED);
	pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	wr(fd, "x");
}

static void b_linger0(int fd)
{
	linger_of(fd, 1, 0);
	close(fd);
}

/* What had come before the reset is still read, then the reset is told. */
static void a_reset_queued(int fd)
{
	until_state(fd, CLOSED);
	pl(fd, POLLIN, 0);
	rd(fd, 2, 0);
	soerr(fd);
	rd(fd, 2, 0);
	rd(fd, 2, 0);
	rd(fd, 2, 0);
}

static void b_reset_queued(int fd)
{
	wr(fd, "abc");
	linger_of(fd, 1, 0);
	close(fd);
}

static void a_kill(int fd)
{
	note(" got=%zu", take(fd, 0, 100000));
	rd(fd, 1, 0);
	wr(fd, "1");
	write_until_error(fd);
}

static void b_kill(int fd)
{
	note(" put=%zu", put(fd, 0, 100000));
	raise(SIGKILL);
}

static void a_kill_unread(int fd)
{
	wr(fd, "unread");
	go(TO_B);
	until_ended(fd);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

static void b_kill_unread(int fd)
{
	await(TO_B);
	until_queued(fd, 6);
	raise(SIGKILL);
}

/* Killed in the middle of a write: what has come is a true beginning of it, and then it ends. */
static void a_kill_writing(int fd)
{
	static char buf[65536];
	size_t n = take(fd, 0, 1000000);
	ssize_t r;

	note(" got=%zu", n);
	go(TO_B);
	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0 && same(buf, n, (size_t)r))
		n += (size_t)r;
	note(" end=%zd/%s", r, err(r));
}

static void b_kill_writing(int fd)
{
	pid_t me = getpid(), p = fork();

	if (p == 0) {
		close(fd);
		await(TO_B);
		kill(me, SIGKILL);
		_exit(0);
	}
	put(fd, 0, 1000000000);
}

static void a_simple_close(int fd)
{
	until_state(fd, CLOSE_WAIT);
	rd(fd, 1, 0);
	noted("close", close(fd));
	noted("again", close(fd));
}

static void b_simple_close(int fd)
{
	noted("shutdown", shutdown(fd, SHUT_RDWR));
	noted("close", close(fd));
}

/* A thorough end (Open MPI's): shutdown both ways over bytes that the peer has not read; it reads them, then the end. */
static void a_shut_rdwr_own(int fd)
{
	wr(fd, "unread");
	shutdown(fd, SHUT_RDWR);
	rd(fd, 1, 0);
	wr(fd, "x");
	close(fd);
	go(TO_B);
}

static void b_shut_rdwr_own(int fd)
{
	await(TO_B);
	until_state(fd, CLOSE_WAIT);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	wr(fd, "1");
	write_until_error(fd);
}

/* The peer shuts both ways over bytes that it has not read: on TCP that is an end of file, not a reset. */
static void a_shut_rdwr_peer(int fd)
{
	wr(fd, "unread");
	go(TO_B);
	until_state(fd, CLOSE_WAIT);
	rd(fd, 1, 0);
	pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	rd(fd, 1, 0);
	go(TO_B);
}

static void b_shut_rdwr_peer(int fd)
{
	await(TO_B);
	until_queued(fd, 6);
	shutdown(fd, SHUT_RDWR);
	await(TO_B);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

static void a_shut_rd(int fd)
{
	until_queued(fd, 3);
	noted("shutdown", shutdown(fd, SHUT_RD));
	pl(fd, POLLIN | POLLRDHUP | POLLOUT, 0);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	pl(fd, POLLIN | POLLRDHUP | POLLOUT, 0);
	wr(fd, "x");
	await(TO_A);
	until_queued(fd, 1);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

static void b_shut_rd(int fd)
{
	wr(fd, "abc");
	rd(fd, 1, 0);
	wr(fd, "d");
	go(TO_A);
	rd(fd, 1, 0);
}

/* SHUT_RD over bytes that have come: they are still read, and the peer notices nothing. */
static void a_shut_rd_unread(int fd)
{
	until_queued(fd, 100000);
	shutdown(fd, SHUT_RD);
	note(" got=%zu", take(fd, 0, 100000));
	rd(fd, 1, 0);
	go(TO_B);
	await(TO_A);
}

static void b_shut_rd_unread(int fd)
{
	note(" put=%zu", put(fd, 0, 100000));
	await(TO_B);
	pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	wr(fd, "ok");
	go(TO_A);
}

/* SO_LINGER waits for the peer's kernel, not for its program to read. */
static void a_linger(int fd)
{
	linger_of(fd, 1, 60);
	wr(fd, "abc");
	noted("close", close(fd));
	go(TO_B);
}

static void b_linger(int fd)
{
	await(TO_B);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

/* With linger 0 the end of the process resets, however it ends. */
static void a_linger0_exit(int fd)
{
	until_ended(fd);
	rd(fd, 2, 0);
	rd(fd, 2, 0);
	rd(fd, 2, 0);
	rd(fd, 2, 0);
}

static void b_linger0_exit(int fd)
{
	wr(fd, "abc");
	linger_of(fd, 1, 0);
	exit(0);
}

static void a_linger0_kill(int fd)
{
	a_linger0_exit(fd);
}

static void b_linger0_kill(int fd)
{
	wr(fd, "abc");
	linger_of(fd, 1, 0);
	raise(SIGKILL);
}

static void a_linger_off(int fd)
{
	linger_of(fd, 0, 0);
	note(" put=%zu", put(fd, 0, 1500000));
	close(fd);
	go(TO_B);
}

static void b_linger_off(int fd)
{
	await(TO_B);
	note(" got=%zu", take(fd, 0, 1500000));
	rd(fd, 1, 0);
}

static void a_simultaneous(int fd)
{
	wr(fd, "x");
	rd(fd, 1, 0);
	go(TO_B);
	await(TO_A);
	noted("shutdown", shutdown(fd, SHUT_WR));
	rd(fd, 1, 0);
	pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	noted("close", close(fd));
}

static void b_simultaneous(int fd)
{
	wr(fd, "x");
	rd(fd, 1, 0);
	go(TO_A);
	await(TO_B);
	noted("shutdown", shutdown(fd, SHUT_WR));
	rd(fd, 1, 0);
	pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	noted("close", close(fd));
}

/* A nonblocking socket's close, and exit without close, deliver what was written (MPICH's way to end). */
static void a_exit_in_flight(int fd)
{
	note(" got=%zu", take(fd, 0, 3000000));
	rd(fd, 1, 0);
}

static void b_exit_in_flight(int fd)
{
	note(" put=%zu", put(fd, 0, 3000000));
	exit(0);
}

static void a__exit_in_flight(int fd)
{
	a_exit_in_flight(fd);
}

static void b__exit_in_flight(int fd)
{
	note(" put=%zu", put(fd, 0, 3000000));
	_exit(0);
}

/*
 * Bytes and the end come together, and a program that waits for edges takes a short read for all that there is: the end
 * must be told with the bytes, or be an edge of its own.
 */
static void a_edge_then_end(int fd)
{
	int ep = epoll_create1(0), got = 0;
	bool ended = false;
	struct epoll_event e;
	char b[100];

	for (int i = 0; i < 60; i++) /* until a channel stands, and a round is armed that nobody begins */
		poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 2);
	ep_add(ep, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, 1);
	go(TO_B);
	while (!ended && epoll_wait(ep, &e, 1, 2000) == 1) {
		ssize_t n;

		ms(30);
		do { /* to the end if that was told, else until a read comes short */
			n = recv(fd, b, sizeof(b), MSG_DONTWAIT);
			got += n > 0 ? (int)n : 0;
			ended = n == 0;
		} while (n == sizeof(b) || (n > 0 && (e.events & EPOLLRDHUP)));
	}
	note(" got=%d end=%d", got, ended);
	close(ep);
}

static void b_edge_then_end(int fd)
{
	ms(30);
	poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, 0); /* offered, and nothing more */
	await(TO_B);
	ms(5);
	syscall(SYS_sendto, fd, "data", 4, MSG_MORE, NULL, 0); /* goes with the FIN */
	raise(SIGKILL);
}

static const struct test_case cases[] = {
	CASE(edge_then_end, "5,12,16,17", COLD),
	CASE(half, "16", WARM),
	CASE(write_after_close, "16", WARM),
	CASE(sigpipe, "16", WARM),
	CASE(sigpipe_own, "16", WARM),
	CASE(unread_reset, "16", WARM),
	CASE(linger0, "16", WARM),
	CASE(reset_queued, "16", WARM),
	CASE(kill, "16,17", WARM),
	CASE(kill_unread, "16", WARM),
	CASE(kill_writing, "1,16,17", WARM),
	CASE(simple_close, "16", WARM),
	CASE(shut_rdwr_own, "16,17", WARM),
	CASE(shut_rdwr_peer, "16", WARM),
	CASE(shut_rd, "16", WARM),
	CASE(shut_rd_unread, "16", WARM),
	CASE(linger, "16", WARM),
	CASE(linger0_exit, "16", WARM),
	CASE(linger0_kill, "16", WARM),
	CASE(linger_off, "16,17", WARM),
	CASE(simultaneous, "16", WARM),
	CASE_F(exit_in_flight, "16,17", WARM, SLOW),
	CASE_F(_exit_in_flight, "16,17", WARM, SLOW),
};
GROUP(ends);
