/* SPDX-License-Identifier: Apache-2.0 */
/* process.c - cases about fork and its relatives, dup and close. */
#include <linux/close_range.h>
#include <sched.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "harness.h"

extern char **environ;

static void a_dup(int fd)
{
	int d = dup(fd), e;

	close(fd);
	rd(d, 3, MSG_WAITALL);
	e = fcntl(d, F_DUPFD_CLOEXEC, 50);
	note(" num=%d cloexec=%d", e >= 50, fcntl(e, F_GETFD));
	close(d);
	rd(e, 3, MSG_WAITALL);
	wr(e, "yes");
	d = dup3(e, 60, O_CLOEXEC);
	note(" dup3=%d", d);
	noted("same", dup3(d, d, 0));
	noted("dup2_same", dup2(d, d) == d ? 0 : -1);
	noted("bad", dup2(999, d));
	close(e);
	wr(d, "still");
	close(d);
	noted("closed", send(d, "x", 1, MSG_NOSIGNAL));
}

static void b_dup(int fd)
{
	wr(fd, "one");
	wr(fd, "two");
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 5, MSG_WAITALL);
	rd(fd, 3, 0);
}

/* The JVM's way to close: a dead descriptor is put over the socket, and threads that sit in it wake. */
static void a_dup2_over(int fd)
{
	int sv[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	close(sv[1]);
	rd(fd, 3, 0);
	noted("over", dup2(sv[0], fd) == fd ? 0 : -1);
	rd(fd, 3, 0);
	close(fd);
	close(sv[0]);
	go(TO_B);
}

static void b_dup2_over(int fd)
{
	wr(fd, "one");
	rd(fd, 3, 0);
	await(TO_B);
	wr(fd, "x");
	write_until_error(fd);
}

/* Flags belong to the open file, not to the number. */
static void a_dup_flags(int fd)
{
	int d = dup(fd), on = 1;

	nonblock(fd, true);
	rd(d, 1, 0);
	note(" flags=%x", (unsigned int)fcntl(d, F_GETFL));
	nonblock(d, false);
	go(TO_B);
	rd(fd, 4, 0);
	ioctl(d, FIONBIO, &on);
	rd(fd, 1, 0);
	on = 0;
	ioctl(fd, FIONBIO, &on);
	go(TO_B);
	rd(d, 4, 0);
	close(fd);
	nonblock(d, true);
	rd(d, 1, 0);
}

static void b_dup_flags(int fd)
{
	for (int i = 0; i < 2; i++) {
		await(TO_B);
		ms(20);
		wr(fd, "data");
	}
	rd(fd, 1, 0);
}

static void a_fork_child(int fd)
{
	pid_t p;

	wr(fd, "p");
	p = kid();
	if (p == 0) {
		rd(fd, 3, MSG_WAITALL);
		wr(fd, "child");
		_exit(0);
	}
	close(fd);
	reap(p);
}

static void b_fork_child(int fd)
{
	rd(fd, 1, 0);
	wr(fd, "abc");
	rd(fd, 5, MSG_WAITALL);
	rd(fd, 1, 0);
}

static void a_fork_both(int fd)
{
	pid_t p = kid();

	if (p == 0) {
		wr(fd, "child");
		_exit(0);
	}
	reap(p);
	wr(fd, "parent");
	rd(fd, 3, 0);
}

static void b_fork_both(int fd)
{
	rd(fd, 5, MSG_WAITALL);
	rd(fd, 6, MSG_WAITALL);
	wr(fd, "fin");
	rd(fd, 1, 0);
}

/* Parent and child write at the same time: every record of ten bytes stays whole and in its writer's order. */
static void a_fork_race(int fd)
{
	pid_t p = kid();

	for (int i = 0; i < 2000; i++) {
		char rec[11];

		snprintf(rec, sizeof(rec), "%c%08d\n", p ? 'p' : 'c', i);
		if (send(fd, rec, 10, MSG_NOSIGNAL) != 10)
			note(" failed at %d: %s", i, err(-1));
	}
	if (p == 0)
		_exit(0);
	reap(p);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_fork_race(int fd)
{
	int next[2] = { 0, 0 }, wrong = 0;
	char rec[11] = "";

	while (recv(fd, rec, 10, MSG_WAITALL) == 10) {
		int *n = &next[rec[0] == 'c'];

		wrong += atoi(rec + 1) != (*n)++ || rec[9] != '\n';
	}
	note(" parent=%d child=%d wrong=%d", next[0], next[1], wrong);
}

/* _Fork() and raw clone() call no handlers (rule 18). */
static void odd_child(int fd, bool raw)
{
	pid_t p = raw ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) : _Fork();

	if (p == 0) {
		kid_is(1);
		wr(fd, "child");
		rd(fd, 2, MSG_WAITALL);
		_exit(0);
	}
	reap(p);
	wr(fd, "parent");
	rd(fd, 3, 0);
}

static void a_under_fork(int fd)
{
	odd_child(fd, false);
}

static void b_under_fork(int fd)
{
	rd(fd, 5, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 6, MSG_WAITALL);
	wr(fd, "fin");
	rd(fd, 1, 0);
}

static void a_raw_clone(int fd)
{
	odd_child(fd, true);
}

static void b_raw_clone(int fd)
{
	b_under_fork(fd);
}

static void a_child_closes_all(int fd)
{
	pid_t p;

	wr(fd, "1");
	p = fork();
	if (p == 0) {
		for (int i = 3; i < 20000; i++)
			close(i);
		execl("/bin/true", "true", NULL);
		_exit(9);
	}
	reap(p);
	wr(fd, "2");
	rd(fd, 2, MSG_WAITALL);
}

static void b_child_closes_all(int fd)
{
	rd(fd, 1, 0);
	rd(fd, 1, 0);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

static void a_child_closes_range(int fd)
{
	pid_t p;

	wr(fd, "1");
	for (int i = 0; i < 4; i++) {
		p = i == 2 ? vfork() : fork();
		if (p == 0) {
			if (i == 0)
				close_range(3, ~0u, 0);
			else if (i == 1)
				closefrom(3);
			else
				close_range(3, ~0u, i == 2 ? CLOSE_RANGE_UNSHARE : CLOSE_RANGE_CLOEXEC);
			execl("/bin/true", "true", NULL);
			_exit(9);
		}
		reap(p);
	}
	wr(fd, "2");
	rd(fd, 2, MSG_WAITALL);
}

static void b_child_closes_range(int fd)
{
	b_child_closes_all(fd);
}

/* close_range in the process itself: the connection among what it closes ends, those outside stay. */
static void a_close_range(int fd)
{
	int low = dup2(fd, 100), high = dup2(fd, 200);

	close(fd);
	noted("close_range", close_range(150, 250, 0));
	noted("high", send(high, "x", 1, MSG_NOSIGNAL));
	wr(low, "low");
	noted("none", close_range(300, 299, 0));
	noted("cloexec", close_range(100, 100, CLOSE_RANGE_CLOEXEC));
	note(" fd=%d", fcntl(low, F_GETFD));
	rd(low, 2, MSG_WAITALL);
	closefrom(50);
	noted("low", send(low, "x", 1, MSG_NOSIGNAL));
}

static void b_close_range(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

static void a_vfork(int fd)
{
	pid_t p;

	wr(fd, "1");
	p = vfork();
	if (p == 0) {
		close(fd);
		close(0);
		execl("/bin/true", "true", NULL);
		_exit(9);
	}
	reap(p);
	wr(fd, "2");
	p = vfork();
	if (p == 0)
		_exit(7);
	reap(p);
	rd(fd, 2, MSG_WAITALL);
}

static void b_vfork(int fd)
{
	b_child_closes_all(fd);
}

/* A child that is killed while it holds the socket, and one that has used it. */
static void a_child_killed(int fd)
{
	for (int i = 0; i < 2; i++) {
		pid_t p = kid();

		if (p == 0) {
			if (i)
				wr(fd, "k");
			go(TO_KID);
			pause();
		}
		await(TO_KID);
		kill(p, SIGKILL);
		reap(p);
		wr(fd, "p");
	}
	rd(fd, 3, MSG_WAITALL);
}

static void b_child_killed(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "fin");
	rd(fd, 1, 0);
}

/* Only the last holder's close is the end. */
static void a_last_holder(int fd)
{
	pid_t p = kid();

	if (p == 0) {
		await(TO_KID);
		wr(fd, "child");
		_exit(0);
	}
	close(fd);
	go(TO_B);
	reap(p);
}

static void b_last_holder(int fd)
{
	await(TO_B);
	pl(fd, POLLIN | POLLRDHUP, 60);
	go(TO_KID);
	rd(fd, 9, 0);
	rd(fd, 9, 0);
}

/* The child closes the connection alone; the parent's epoll set, which it shares, must go on. */
static void a_child_closes_one(int fd)
{
	int ep = epoll_create1(0);
	pid_t p;

	ep_add(ep, fd, EPOLLIN, 1);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 1, 0);
	ew(ep, 20);
	p = kid();
	if (p == 0) {
		close(fd);
		_exit(0);
	}
	reap(p);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 3, MSG_DONTWAIT);
	ew(ep, 20);
}

static void b_child_closes_one(int fd)
{
	await(TO_B);
	ms(10);
	wr(fd, "1");
	await(TO_B);
	ms(10);
	wr(fd, "xyz");
	rd(fd, 1, 0);
}

/* An epoll set used by two processes (rule 8). */
static void a_child_epoll(int fd)
{
	int ep = epoll_create1(0);
	pid_t p;

	ep_add(ep, fd, EPOLLIN, 1);
	ew(ep, 20);
	p = kid();
	if (p == 0) {
		go(TO_B);
		ew(ep, 2000);
		rd(fd, 1, 0);
		ew(ep, 20);
		_exit(0);
	}
	reap(p);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 1, 0);
	ew(ep, 20);
}

static void b_child_epoll(int fd)
{
	for (int i = 0; i < 2; i++) {
		await(TO_B);
		ms(10);
		wr(fd, "x");
	}
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(dup, "8,16", WARM),
	CASE(dup2_over, "8,16", WARM),
	CASE(dup_flags, "11", WARM),
	CASE(fork_child, "18", WARM),
	CASE(fork_both, "18,7", WARM),
	CASE_F(fork_race, "18,7,2", WARM, SLOW),
	CASE(under_fork, "18", WARM),
	CASE(raw_clone, "18", WARM),
	CASE(child_closes_all, "18", WARM),
	CASE(child_closes_range, "18", WARM),
	CASE(close_range, "15,16", WARM),
	CASE(vfork, "18", WARM),
	CASE(child_killed, "18,2", WARM),
	CASE(last_holder, "16,18", WARM),
	CASE(child_closes_one, "12,18", WARM),
	CASE(child_epoll, "8,12,18", WARM),
};
GROUP(process);
