/* SPDX-License-Identifier: Apache-2.0 */
/* forks.c - cases that fork at every moment of a connection's life: young, registered, channel, on the ring. */
#include <sys/mman.h>
#include <sys/syscall.h>

#include "harness.h"

#define MOMENTS 12
#define ROUNDS 30

static int echo(int fd, int rounds)
{
	int right = 0;

	for (int i = 0; i < rounds; i++) {
		char c = (char)(i + 1);

		right += send(fd, &c, 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1 && c == (char)(i + 1);
		ms(1);
	}
	return right;
}

/* Gives back whatever comes, by whichever process of the other end it was sent, until the end of file. */
static void echo_all(int fd)
{
	char buf[64];
	ssize_t r;

	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0)
		if (send(fd, buf, (size_t)r, MSG_NOSIGNAL) != r)
			break;
	if (r)
		noted("end", r);
	close(fd);
}

static void echo_server(int connections)
{
	for (int i = 0; i < connections; i++)
		echo_all(dial());
}

enum how { CLOSES, USES, EXITS, DIES, EXECS, GOES_ON, CLONES };

/* What the child does with the socket; the parent waits for it, and then goes on. */
static int at_moment(int listener, int moment, enum how how)
{
	int fd = pick(listener), right = echo(fd, moment * 3), status = 0;
	pid_t p = how == CLONES ? (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) : fork();

	if (p == 0) {
		bool good = true;

		if (how == CLOSES)
			close(fd);
		else if (how == USES || how == CLONES)
			good = echo(fd, 3) == 3;
		else if (how == DIES)
			raise(SIGKILL);
		else if (how == EXECS)
			execl("/bin/true", "true", NULL);
		else if (how == GOES_ON)
			good = echo(fd, ROUNDS + 30) == ROUNDS + 30;
		_exit(good ? 0 : 1);
	}
	if (how == GOES_ON) {
		close(fd);
		waitpid(p, &status, 0);
		return right == moment * 3 && status == 0;
	}
	waitpid(p, &status, 0);
	right += echo(fd, ROUNDS);
	close(fd);
	return right == moment * 3 + ROUNDS && (how == DIES ? WIFSIGNALED(status) : status == 0);
}

static void all_moments(int listener, enum how how)
{
	int right = 0;

	for (int m = 0; m < MOMENTS; m++)
		right += at_moment(listener, m, how);
	note(" right=%d", right);
}

#define AT_MOMENTS(name, how)                                                                                          \
	static void a_##name(int listener)                                                                             \
	{                                                                                                              \
		all_moments(listener, how);                                                                            \
	}                                                                                                              \
	static void b_##name(int none)                                                                                 \
	{                                                                                                              \
		(void)none;                                                                                            \
		echo_server(MOMENTS);                                                                                  \
	}

AT_MOMENTS(kid_closes, CLOSES)
AT_MOMENTS(kid_uses, USES)
AT_MOMENTS(kid_exits, EXITS)
AT_MOMENTS(kid_dies, DIES)
AT_MOMENTS(kid_execs, EXECS)
AT_MOMENTS(kid_goes_on, GOES_ON)
AT_MOMENTS(kid_cloned, CLONES)

/* The child closes a connection that is in the epoll set that both have; the parent's events go on. */
static void a_kid_closes_in_set(int listener)
{
	int right = 0;

	for (int m = 0; m < MOMENTS; m++) {
		int fd = pick(listener), ep = epoll_create1(0);
		struct epoll_event e;
		pid_t p;
		char c;

		ep_add(ep, fd, EPOLLIN, 1);
		right += echo(fd, m * 3) == m * 3;
		p = fork();
		if (p == 0) {
			close(fd);
			_exit(0);
		}
		waitpid(p, NULL, 0);
		for (int i = 0; i < ROUNDS; i++) {
			c = (char)i;
			if (send(fd, &c, 1, MSG_NOSIGNAL) != 1 || epoll_wait(ep, &e, 1, 1000) != 1 || e.data.u64 != 1 ||
			    recv(fd, &c, 1, MSG_DONTWAIT) != 1)
				break;
			right++;
		}
		close(fd);
		close(ep);
	}
	note(" right=%d", right);
}

static void b_kid_closes_in_set(int none)
{
	(void)none;
	echo_server(MOMENTS);
}

/* Forked between a registration and its answer; the parent takes the answer, then the child uses the socket. */
static void a_kid_between(int listener)
{
	int right = 0;

	for (int m = 0; m < 8; m++) {
		int fd = pick(listener);
		char c;
		pid_t p;

		right += recv(fd, &c, 1, 0) == 1;
		ms(22 + m);
		right += send(fd, "b", 1, MSG_NOSIGNAL) == 1;
		p = kid();
		if (p == 0) {
			await(TO_KID);
			wr(fd, "child");
			_exit(0);
		}
		go(TO_B);
		for (int i = 0; i < 10; i++)
			right += recv(fd, &c, 1, 0) == 1;
		go(TO_KID);
		reap(p);
		right += recv(fd, &c, 1, 0) == 1 && c == 'z';
		right += send(fd, "e", 1, MSG_NOSIGNAL) == 1;
		close(fd);
	}
	note(" right=%d", right);
}

static void b_kid_between(int none)
{
	int right = 0;

	(void)none;
	for (int m = 0; m < 8; m++) {
		int fd = dial();
		char b[8];

		right += send(fd, "a", 1, MSG_NOSIGNAL) == 1 && recv(fd, b, 1, 0) == 1;
		await(TO_B);
		for (int i = 0; i < 10; i++) {
			right += send(fd, "x", 1, MSG_NOSIGNAL) == 1;
			ms(4);
		}
		right += recv(fd, b, 5, MSG_WAITALL) == 5 && !memcmp(b, "child", 5);
		right += send(fd, "z", 1, MSG_NOSIGNAL) == 1;
		right += recv(fd, b, 2, MSG_WAITALL) == 1;
		close(fd);
	}
	note(" right=%d", right);
}

/* A child that is killed in the middle of its writes must not leave a lock behind (rule 2). */
static void a_kid_dies_writing(int fd)
{
	int whole = 0;

	for (int i = 0; i < 10; i++) {
		pid_t p = fork();

		if (p == 0) {
			for (;;)
				send(fd, "cccccccccc", 10, MSG_NOSIGNAL);
		}
		for (int k = 0; k < 200; k++)
			whole += send(fd, "pppppppppp", 10, MSG_NOSIGNAL) == 10;
		kill(p, SIGKILL);
		waitpid(p, NULL, 0);
	}
	note(" whole=%d", whole);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_kid_dies_writing(int fd)
{
	size_t ours = 0, other = 0;
	char buf[1000];
	ssize_t r;

	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0) {
		for (ssize_t i = 0; i < r; i++) {
			ours += buf[i] == 'p';
			other += buf[i] != 'p' && buf[i] != 'c';
		}
	}
	note(" ours=%zu other=%zu end=%zd", ours, other, r);
}

/* fork in one thread while another sits in recv, and while a third writes. */
static void t_writes(struct thr *t)
{
	int n = 0;

	for (int i = 0; i < 300; i++) {
		n += send(t->fd, "w", 1, MSG_NOSIGNAL) == 1;
		if (i % 10 == 0)
			ms(1);
	}
	note(" writes=%d", n);
}

static void t_reads(struct thr *t)
{
	char c;
	int n = 0;

	while (recv(t->fd, &c, 1, 0) == 1 && c != '.')
		n++;
	note(" reads=%d", n);
}

static void a_forks_and_threads(int fd)
{
	struct thr w, r;

	thr_start(&r, t_reads, fd, 0);
	thr_start(&w, t_writes, fd, 0);
	for (int i = 0; i < 12; i++) {
		pid_t p = fork();

		if (p == 0) {
			if (i % 2)
				close(fd);
			_exit(0);
		}
		waitpid(p, NULL, 0);
		ms(1);
	}
	thr_join(&w);
	wr(fd, ".");
	thr_join(&r);
}

static void b_forks_and_threads(int fd)
{
	char c = 0;

	while (c != '.' && recv(fd, &c, 1, 0) == 1)
		send(fd, &c, 1, MSG_NOSIGNAL);
	note(" last=%c", c);
}

/* The parent sleeps in every kind of wait after a fork; the child does nothing, and lives until the last. */
static void waits_after_fork(int fd, bool in_set)
{
	int ep = epoll_create1(0);
	pid_t p;

	if (in_set)
		ep_add(ep, fd, EPOLLIN, 1);
	p = fork();
	if (p == 0) {
		await(TO_KID);
		_exit(0);
	}
	for (int i = 0; i < 5; i++) {
		if (i == 4)
			rcvtimeo(fd, 3000);
		go(TO_B);
		if (i == 0)
			pl(fd, POLLIN, 3000);
		else if (i == 1)
			rd(fd, 1, MSG_PEEK);
		else if (i == 2 && in_set)
			ew(ep, 3000);
		else
			rd(fd, 2, MSG_PEEK);
		rd(fd, 4, MSG_WAITALL);
	}
	go(TO_KID);
	reap(p);
}

static void a_fork_waits(int fd)
{
	waits_after_fork(fd, false);
}

static void b_fork_waits(int fd)
{
	for (int i = 0; i < 5; i++) {
		await(TO_B);
		ms(30);
		wr(fd, "data");
	}
	rd(fd, 1, 0);
}

static void a_fork_waits_set(int fd)
{
	waits_after_fork(fd, true);
}

static void b_fork_waits_set(int fd)
{
	b_fork_waits(fd);
}

static pid_t forked;

static void forks(int sig)
{
	on_signal(sig);
	forked = kid();
}

/* A handler that forks while it interrupts a call: the child comes back from that call too, and goes on. */
static void in_handler(int fd, bool polls)
{
	struct sigaction sa = { .sa_handler = forks };
	struct poker p;

	sigaction(SIGUSR1, &sa, NULL);
	poke_me(&p, SIGUSR1, -1);
	if (polls)
		pl(fd, POLLIN, 8000);
	else
		rd(fd, 4, 0);
	if (forked == 0) {
		await(TO_KID); /* the bytes are in the ring: nobody has called anything since the fork */
		rd(fd, 4, MSG_WAITALL);
		wr(fd, "kid");
		close(fd);
		_exit(0);
	}
	poke_done(&p);
	go(TO_B);
	reap(forked);
	wr(fd, "parent");
	rd(fd, 1, 0);
}

static void a_fork_in_handler(int fd)
{
	in_handler(fd, false);
}

static void b_fork_in_handler(int fd)
{
	await(TO_B);
	wr(fd, "data");
	go(TO_KID);
	rd(fd, 9, MSG_WAITALL);
	wr(fd, "x");
}

static void a_fork_in_handler_poll(int fd)
{
	in_handler(fd, true);
}

static void b_fork_in_handler_poll(int fd)
{
	b_fork_in_handler(fd);
}

/* One connection put over another: the one ends, the other has two numbers. */
static void a_dup2_conn(int listener)
{
	int one = pick(listener), two;

	warm(one, false);
	two = pick(listener);
	warm(two, false);
	note(" dup2=%d", dup2(one, two) == two);
	wr(two, "by two");
	close(one);
	wr(two, "alone");
	rd(two, 2, MSG_WAITALL);
	close(two);
}

static void b_dup2_conn(int none)
{
	int one = dial(), two;

	(void)none;
	warm(one, true);
	two = dial();
	warm(two, true);
	rd(two, 1, 0);
	rd(one, 11, MSG_WAITALL);
	wr(one, "ok");
	rd(one, 1, 0);
}

static const struct test_case cases[] = {
	CASE(kid_closes, "18,6", RAW_COLD),
	CASE(kid_uses, "18,7", RAW_COLD),
	CASE(kid_exits, "18", RAW_COLD),
	CASE(kid_dies, "18,2", RAW_COLD),
	CASE(kid_execs, "18,10", RAW_COLD),
	CASE(kid_goes_on, "18", RAW_COLD),
	CASE(kid_cloned, "18", RAW_COLD),
	CASE(kid_closes_in_set, "12,18", RAW_COLD),
	CASE(kid_between, "18,19", RAW_COLD),
	CASE(kid_dies_writing, "2,18", WARM),
	CASE(forks_and_threads, "18,13", WARM),
	CASE(fork_waits, "11,18", WARM),
	CASE(fork_waits_set, "11,12,18", WARM),
	CASE(fork_in_handler, "14,18", WARM),
	CASE(fork_in_handler_poll, "14,18", WARM),
	CASE(dup2_conn, "8,16", RAW),
};
GROUP(forks);
