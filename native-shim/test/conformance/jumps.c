/* SPDX-License-Identifier: Apache-2.0 */
/* jumps.c - handlers that jump out of a call, a failed exec, masks, and options and arguments that are seldom used. */
#include <limits.h>
#include <setjmp.h>
#include <sys/select.h>
#include "harness.h"

static sigjmp_buf away;

static void jump(int sig)
{
	(void)sig;
	siglongjmp(away, 1);
}

static void jump_on(int sig)
{
	struct sigaction sa = { .sa_handler = jump };

	sigaction(sig, &sa, NULL);
}

/* Sends until the peer's end is noticed, which a handler of SIGPIPE leaves by a jump. */
static void jump_on_pipe(int fd)
{
	jump_on(SIGPIPE);
	await(TO_A);
	if (sigsetjmp(away, 1)) {
		note(" jumped");
		return;
	}
	for (int i = 0; i < 1000; i++) {
		if (send(fd, "x", 1, 0) < 0 && errno == EPIPE)
			break;
		ms(1);
	}
	note(" not");
}

/* siglongjmp out of a blocking recv, then close: the peer must see the end */
static void a_jclose(int fd)
{
	struct poker p;

	jump_on(SIGUSR1);
	poke_me(&p, SIGUSR1, -1);
	if (sigsetjmp(away, 1) == 0)
		rd(fd, 1, 0);
	poke_done(&p);
	note(" close=%d", close(fd));
	go(TO_B);
	await(TO_A);
}
static void b_jclose(int fd)
{
	await(TO_B);
	pl(fd, POLLIN, 3000);
	rd(fd, 1, MSG_DONTWAIT);
	go(TO_A);
}
/* The same in poll. */
static void a_jclosep(int fd)
{
	struct poker p;

	jump_on(SIGUSR1);
	poke_me(&p, SIGUSR1, -1);
	if (sigsetjmp(away, 1) == 0)
		pl(fd, POLLIN, -1);
	poke_done(&p);
	note(" close=%d", close(fd));
	go(TO_B);
	await(TO_A);
}
#define b_jclosep b_jclose

/* A handler of SIGPIPE that jumps, then the next send */
static void a_jpipe(int fd)
{
	jump_on_pipe(fd);
	wr(fd, "y");
	wr(fd, "y");
	note(" shut=%d", shutdown(fd, SHUT_RDWR));
	note(" close=%d", close(fd));
}
static void b_jpipe(int fd) { close(fd); go(TO_A); }
static void *closer(void *p) { close(*(int *)p); return NULL; }
static void a_jpipeclose(int fd)
{
	pthread_t t;

	jump_on_pipe(fd);
	pthread_create(&t, NULL, closer, &fd);
	pthread_join(t, NULL);
	note(" closed");
}
#define b_jpipeclose b_jpipe

/* exec that fails in a child that is alone with the connection */
static void a_execfail(int fd)
{
	pid_t p;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	p = kid();
	if (p == 0) {
		char *argv[] = { (char *)"x", NULL };
		await(TO_KID);
		note(" exec=%d/%s", execve("/nonexistent", argv, argv), err(-1));
		wr(fd, "sorry");
		rd(fd, 4, 0);
		close(fd);
		_exit(0);
	}
	close(fd);
	ms(20);
	go(TO_KID);
	reap(p);
}
static void b_execfail(int fd)
{
	wr(fd, "data");
	rd(fd, 5, MSG_WAITALL);
	rd(fd, 5, MSG_WAITALL);
}

/* A pending signal, let in by ppoll with bytes there */
static void a_ppsig(int fd)
{
	sigset_t none, one;
	struct pollfd p = { fd, POLLIN, 0 };
	int n;
	handle(SIGUSR1, 0);
	sigemptyset(&none); sigemptyset(&one); sigaddset(&one, SIGUSR1);
	sigprocmask(SIG_BLOCK, &one, NULL);
	go(TO_B);
	pl(fd, POLLIN, 3000);
	raise(SIGUSR1);
	n = ppoll(&p, 1, NULL, &none);
	note(" ppoll=%d/%s signals=%d", n, err(n), signals);
	rd(fd, 4, 0);
}
static void b_ppsig(int fd) { await(TO_B); wr(fd, "data"); }

/* Nothing there, timeout 0, twice, signal between */
static void a_ppsig0(int fd)
{
	sigset_t none, one;
	struct pollfd p = { fd, POLLIN, 0 };
	struct timespec z = { 0, 0 };
	int lost = 0;
	handle(SIGUSR1, 0);
	sigemptyset(&none); sigemptyset(&one); sigaddset(&one, SIGUSR1);
	sigprocmask(SIG_BLOCK, &one, NULL);
	for (int i = 0; i < 50; i++) {
		ppoll(&p, 1, &z, &none);
		raise(SIGUSR1);
		if (ppoll(&p, 1, &z, &none) >= 0) lost++;
		ms(1);
		ppoll(&p, 1, &z, &none);
	}
	note(" lost=%s", lost > 5 ? "many" : "none");
	go(TO_B);
}
static void b_ppsig0(int fd) { (void)fd; await(TO_B); }
/* Flags that TCP's recv does not look at */
static void a_oddflags(int fd)
{
	await(TO_A);
	pl(fd, POLLIN, 3000);
	rd(fd, 1, MSG_DONTWAIT | MSG_DONTROUTE);
	rd(fd, 1, MSG_DONTWAIT | MSG_MORE);
	rd(fd, 1, MSG_DONTWAIT | MSG_EOR);
	/* Not on the stack, whose top may be nearer than so many bytes: the kernel says EFAULT then. */
	{ static char b[64]; ssize_t r = recv(fd, b, (size_t)-1, MSG_DONTWAIT); note(" huge=%zd/%s", r, err(r)); }
}
static void b_oddflags(int fd) { wr(fd, "data"); go(TO_A); }
/* A listener's SO_RCVLOWAT */
static void a_lowat(int l)
{
	int n = 10, fd, got = 0;
	socklen_t len = sizeof(got);
	setsockopt(l, SOL_SOCKET, SO_RCVLOWAT, &n, sizeof(n));
	go(TO_B);
	fd = pick(l);
	getsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &got, &len);
	note(" lowat=%d", got);
	pid_t p = kid();
	if (p == 0) { _exit(0); }
	reap(p);
	rcvtimeo(fd, 2000);
	go(TO_B);
	rd(fd, 1, 0);
}
static void b_lowat(int fd)
{
	(void)fd;
	await(TO_B);
	fd = dial();
	await(TO_B);
	ms(50);
	wr(fd, "x");
	ms(2500);
}
/* Waits longer than the clock has nanoseconds for. */
static void a_longep(int fd)
{
	int ep = epoll_create1(0), pp[2];
	struct epoll_event e = { .events = EPOLLIN }, out;
	struct timespec t = { LONG_MAX, 0 };
	(void)!pipe(pp);
	epoll_ctl(ep, EPOLL_CTL_ADD, pp[0], &e);
	struct poker p;
	handle(SIGUSR1, 0);
	poke_me(&p, SIGUSR1, -1);
	int n = epoll_pwait2(ep, &out, 1, &t, NULL);
	note(" n=%d/%s", n, err(n));
	poke_done(&p);
	(void)fd;
	go(TO_B);
}
#define b_longep b_ppsig0
/* select writes back */
static void a_selback(int fd)
{
	fd_set r;
	struct timeval tv = { 1L << 62, 0 };
	await(TO_A);
	pl(fd, POLLIN, 3000);
	FD_ZERO(&r); FD_SET(fd, &r);
	int n = select(fd + 1, &r, NULL, NULL, &tv);
	note(" n=%d left=%s", n, tv.tv_sec > 1000000 ? "long" : "nothing");
}
#define b_selback b_oddflags
/* recvfrom without bytes */
static void a_fromlen(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char b[1];
	ssize_t r = recvfrom(fd, b, 1, MSG_DONTWAIT, (struct sockaddr *)&ss, &len);
	note(" r=%zd/%s len=%d", r, err(r), (int)len);
	go(TO_B);
}
#define b_fromlen b_ppsig0
#define a_jcold a_jclose
#define b_jcold b_jclose
static void a_epsig0(int fd)
{
	sigset_t none, one;
	struct epoll_event ev;
	int lost = 0, ep = epoll_create1(0);
	ep_add(ep, fd, EPOLLIN, 1);
	handle(SIGUSR1, 0);
	sigemptyset(&none); sigemptyset(&one); sigaddset(&one, SIGUSR1);
	sigprocmask(SIG_BLOCK, &one, NULL);
	for (int i = 0; i < 50; i++) {
		epoll_pwait(ep, &ev, 1, 0, &none);
		raise(SIGUSR1);
		if (epoll_pwait(ep, &ev, 1, 0, &none) >= 0) lost++;
		ms(1);
		epoll_pwait(ep, &ev, 1, 0, &none);
	}
	note(" lost=%s", lost > 5 ? "many" : "none");
	go(TO_B);
}
#define b_epsig0 b_ppsig0

static const struct test_case cases[] = {
	CASE(jclose, "14", WARM),  CASE(jclosep, "14", WARM), CASE_F(jpipe, "14", WARM, NOT_FAR),    CASE(jpipeclose, "14", WARM),
	CASE(jcold, "14", COLD),   CASE(execfail, "8", WARM), CASE(ppsig, "11,14", WARM), CASE(ppsig0, "11,14", WARM),
	CASE(epsig0, "14", WARM),  CASE(oddflags, "8", WARM), CASE(lowat, "8", RAW_COLD),
	CASE(longep, "12", WARM),  CASE(selback, "11", WARM), CASE(fromlen, "8", WARM),
};
GROUP(jumps);
