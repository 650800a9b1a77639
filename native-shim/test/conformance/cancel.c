/* SPDX-License-Identifier: Apache-2.0 */
/* cancel.c - cases about calls that never return: cancelled, left by longjmp; and about stopped processes (rule 14). */
#include <setjmp.h>
#include <sys/resource.h>
#include <sys/select.h>

#include "harness.h"

/* `arg` is the set, for all of these. */
static void t_recv_byte(struct thr *t)
{
	rd(t->fd, 1, 0);
}

static void t_poll(struct thr *t)
{
	pl(t->fd, POLLIN, -1);
}

static void t_epoll(struct thr *t)
{
	ew(t->arg, -1);
}

static void t_select(struct thr *t)
{
	fd_set r;

	FD_ZERO(&r);
	FD_SET(t->fd, &r);
	noted("select", select(t->fd + 1, &r, NULL, NULL, NULL));
}

static void t_send(struct thr *t)
{
	put(t->fd, 0, 1000000000);
	note(" sent all");
}

/* A thread is cancelled where it sleeps; the connection works on for the others. */
static void a_cancel(int fd)
{
	void (*const where[])(struct thr *) = { t_recv_byte, t_poll, t_epoll, t_select };
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	for (int i = 0; i < 4; i++) {
		struct thr t;

		thr_start(&t, where[i], fd, ep);
		thr_asleep(&t);
		pthread_cancel(t.t);
		thr_join(&t);
		go(TO_B);
		ew(ep, 2000);
		rd(fd, 4, 0);
		wr(fd, "ok");
	}
}

static void b_cancel(int fd)
{
	for (int i = 0; i < 4; i++) {
		await(TO_B);
		wr(fd, "data");
		rd(fd, 2, MSG_WAITALL);
	}
	rd(fd, 1, 0);
}

static void a_cancel_send(int fd)
{
	struct thr t;

	thr_start(&t, t_send, fd, 0);
	thr_asleep(&t);
	pthread_cancel(t.t);
	thr_join(&t);
	go(TO_B);
	rd(fd, 4, 0);
	pl(fd, POLLOUT, 5000);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_cancel_send(int fd)
{
	static char buf[65536];
	size_t n = 0;
	ssize_t r;

	await(TO_B);
	wr(fd, "data");
	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0 && same(buf, n, (size_t)r))
		n += (size_t)r;
	note(" some=%d end=%zd", n > 0, r);
}

/* A handler that leaves the call by siglongjmp: no lock may be left behind. */
static sigjmp_buf away;

static void jump(int sig)
{
	(void)sig;
	signals++;
	siglongjmp(away, 1);
}

static void a_longjmp(int fd)
{
	struct sigaction sa = { .sa_handler = jump };
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	sigaction(SIGUSR1, &sa, NULL);
	for (volatile int i = 0; i < 4; i++) {
		struct poker p;

		poke_me(&p, SIGUSR1, -1);
		if (sigsetjmp(away, 1) == 0) {
			if (i == 0)
				rd(fd, 1, 0);
			else if (i == 1)
				pl(fd, POLLIN, -1);
			else if (i == 2)
				ew(ep, -1);
			else
				put(fd, 0, 1000000000);
			note(" came back");
		}
		poke_done(&p);
		go(TO_B);
		ew(ep, 3000);
		rd(fd, 4, MSG_WAITALL);
	}
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_longjmp(int fd)
{
	static char buf[65536];
	size_t n = 0;
	ssize_t r;

	for (int i = 0; i < 4; i++) {
		await(TO_B);
		wr(fd, "data");
	}
	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0 && same(buf, n, (size_t)r))
		n += (size_t)r;
	note(" some=%d end=%zd", n > 0, r);
}

/* What such a call would have been woken by is gone when the connection is: a later signal must not write where it was. */
static void a_longjmp_closed(int fd)
{
	struct sigaction sa = { .sa_handler = jump };
	int ep = epoll_create1(0), p[2], n = 0;
	struct rlimit rl;
	struct poker k;

	ep_add(ep, fd, EPOLLIN, 1);
	sigaction(SIGUSR1, &sa, NULL);
	poke_me(&k, SIGUSR1, -1);
	if (sigsetjmp(away, 1) == 0) {
		ew(ep, -1);
		note(" came back");
	}
	poke_done(&k);
	close(fd);
	if (pipe(p) || getrlimit(RLIMIT_NOFILE, &rl))
		abort();
	for (int i = 0; i < 8; i++) /* where a library may have kept something */
		note(" %d", fcntl(p[1], F_DUPFD, (int)(rl.rlim_cur - rl.rlim_cur / 4)) >= 0);
	handle(SIGUSR1, 0);
	raise(SIGUSR1);
	ioctl(p[0], FIONREAD, &n);
	note(" in=%d", n);
}

static void b_longjmp_closed(int fd)
{
	rd(fd, 1, 0);
}

/* SIGSTOP and SIGCONT: recv and poll go on, epoll_wait ends with EINTR (signal(7)). */
static void a_stopped(int fd)
{
	int ep = epoll_create1(0);
	pid_t me = getpid();

	ep_add(ep, fd, EPOLLIN, 1);
	for (int i = 0; i < 3; i++) {
		pid_t p = fork();

		if (p == 0) {
			close(fd);
			until_asleep(me);
			kill(me, SIGSTOP);
			ms(20);
			kill(me, SIGCONT);
			ms(10);
			until_asleep(me);
			go(TO_B);
			_exit(0);
		}
		if (i == 1)
			pl(fd, POLLIN, 8000);
		else if (i == 2)
			ew(ep, 8000);
		else
			rd(fd, 4, MSG_PEEK);
		reap(p);
		until_queued(fd, 4);
		rd(fd, 4, MSG_WAITALL);
	}
}

static void b_stopped(int fd)
{
	for (int i = 0; i < 3; i++) {
		await(TO_B);
		wr(fd, "data");
	}
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(cancel, "14,11", WARM),
	CASE_F(cancel_send, "14,9", WARM, SLOW),
	CASE_F(longjmp, "14", WARM, SLOW),
	CASE(longjmp_closed, "14", WARM),
	CASE(stopped, "14,12", WARM),
};
GROUP(cancel);
