/* SPDX-License-Identifier: Apache-2.0 */
/* turned.c - calls that are under way when the connection turns plain, and what becomes of the number meanwhile. */
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/time.h>

#include "harness.h"

#define FILE_SIZE (24 << 20)

static sigjmp_buf away;
static int the_socket;

static void closes(int sig)
{
	(void)sig;
	close(the_socket);
}

static void jumps(int sig)
{
	(void)sig;
	siglongjmp(away, 1);
}

/*
 * A handler closes the socket, or jumps out of the call, long after the agent has declined the connection: the number is
 * the program's, and nothing of ours holds the socket.
 */
static void declined_and(void (*handler)(int), int timeo)
{
	struct sigaction sa = { .sa_handler = handler, .sa_flags = SA_RESTART };
	struct itimerval soon = { .it_value = { 0, 500000 } };
	int own = listen_at(2);

	go(TO_B);
	the_socket = pick(own);
	rcvtimeo(the_socket, timeo);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	if (sigsetjmp(away, 1) == 0)
		rd(the_socket, 1, 0);
	noted("close", close(the_socket));
	await(TO_A);
}

static void sees_end(int fd)
{
	pl(fd, POLLIN, 6000);
	rd(fd, 1, MSG_DONTWAIT);
	go(TO_A);
}

static void a_declined_closes(int listener)
{
	(void)listener;
	declined_and(closes, 0);
}

static void b_declined_closes(int none)
{
	(void)none;
	await(TO_B);
	sees_end(dial_to(2, 0));
}

static void a_declined_jumps(int listener)
{
	(void)listener;
	declined_and(jumps, 0);
}

#define b_declined_jumps b_declined_closes

static void a_declined_jumps_timed(int listener)
{
	(void)listener;
	declined_and(jumps, 20000);
}

#define b_declined_jumps_timed b_declined_closes

/* A child that closes its numbers has nothing of the socket, though the parent sleeps in recv on what turned plain. */
static void a_kid_without(int fd)
{
	struct thr t;
	pid_t p;

	rcvtimeo(fd, 20000);
	thr_start(&t, t_recv, fd, 1);
	thr_asleep(&t);
	dup2(fd, 0);
	ms(300);
	thr_asleep(&t);
	p = kid();
	if (p == 0) {
		close(fd);
		close(0);
		await(TO_KID);
		_exit(0);
	}
	ms(100);
	go(TO_B);
	thr_join(&t);
	close(fd);
	close(0);
	await(TO_A);
	go(TO_KID);
	reap(p);
}

static void b_kid_without(int fd)
{
	await(TO_B);
	wr(fd, "x");
	sees_end(fd);
}

static void t_sendfile(struct thr *t)
{
	int in = memfd_create("file", 0);

	if (ftruncate(in, FILE_SIZE))
		abort();
	noted("sendfile", sendfile(t->fd, in, NULL, FILE_SIZE));
}

/* The number is another's while a thread is in sendfile: all of the file goes where it was to go. */
static void a_sendfile_on(int listener)
{
	struct thr t;
	int own = listen_at(2), fd, p[2], queued = -1;

	(void)listener;
	go(TO_B);
	fd = pick(own);
	thr_start(&t, t_sendfile, fd, 0);
	thr_asleep(&t);
	ms(300);
	thr_asleep(&t);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, p) || dup2(p[0], fd) != fd)
		note(" no pair");
	go(TO_B);
	thr_join(&t);
	ioctl(p[1], FIONREAD, &queued);
	note(" queued=%d", queued);
}

static void b_sendfile_on(int none)
{
	int fd;

	(void)none;
	await(TO_B);
	fd = dial_to(2, 0);
	await(TO_B);
	read_out(fd);
}

/* The peer was killed, and its host answers with a reset: polls that ask for nothing learn of it, too. */
static void a_reset_after_kill(int fd)
{
	until_ended(fd);
	wr(fd, "1");
	until_state(fd, CLOSED);
	ms(20);
	pl(fd, 0, 2000);
	pl(fd, POLLPRI, 2000);
	pl(fd, POLLOUT, 2000);
	pl(fd, POLLIN, 2000);
	rd(fd, 1, 0);
	pl(fd, 0, 2000);
	rd(fd, 1, 0);
}

static void b_reset_after_kill(int fd)
{
	(void)fd;
	raise(SIGKILL);
}

static void a_reset_is_edge(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, 1);
	go(TO_B);
	until_ended(fd);
	ms(20);
	ew(ep, 2000);
	rd(fd, 1, 0);
	ew(ep, 0);
	wr(fd, "1");
	until_state(fd, CLOSED);
	ew(ep, 2000);
	ew(ep, 0);
}

static void b_reset_is_edge(int fd)
{
	await(TO_B);
	b_reset_after_kill(fd);
}

static const struct test_case cases[] = {
	CASE(declined_closes, "14,20", NEVER),
	CASE(declined_jumps, "14,20", NEVER),
	CASE(declined_jumps_timed, "14,20", NEVER),
	CASE(kid_without, "18", WARM),
	CASE(sendfile_on, "8,20", NEVER),
	CASE(reset_after_kill, "12,16", WARM),
	CASE(reset_is_edge, "12,16", WARM),
};
GROUP(turned);
