/* SPDX-License-Identifier: Apache-2.0 */
/* numbers.c - cases about descriptors' numbers: closed, used again, given to children; and what epoll sets make of it. */
#include <spawn.h>

#include "harness.h"

extern char **environ;

/* The registered number is closed while another of the connection lives on; then the connection moves. */
static void a_number_gone(int fd)
{
	int ep = epoll_create1(0), other;

	ep_add(ep, fd, EPOLLIN, 111);
	other = dup(fd);
	close(fd);
	cross(other);
	go(TO_B);
	ew(ep, 3000);
	rd(other, 4, MSG_DONTWAIT);
	go(TO_B);
	rd(other, 4, 0);
}

static void b_number_gone(int fd)
{
	cross(fd);
	await(TO_B);
	wr(fd, "data");
	await(TO_B);
	close(fd);
}

/* The same, and the number is a pipe's in the same set: that one's registration stays what it is. */
static int pipe_for_number(int ep, int *fd, int *other)
{
	int p[2], n;

	*other = dup(*fd);
	if (pipe(p))
		return -1;
	close(*fd);
	n = dup(p[0]);
	note(" same=%d", n == *fd);
	ep_add(ep, n, EPOLLIN, 222);
	return p[1];
}

static void a_number_reused(int fd)
{
	int ep = epoll_create1(0), other, p;

	ep_add(ep, fd, EPOLLIN, 111);
	p = pipe_for_number(ep, &fd, &other);
	ew(ep, 0);
	pl(ep, POLLIN, 10);
	if (write(p, "x", 1) != 1)
		return;
	ew(ep, 2000);
	go(TO_B);
	until_queued(other, 4);
	ewn(ep, 4, 2000);
	rd(other, 4, 0);
}

static void b_number_reused(int fd)
{
	await(TO_B);
	wr(fd, "data");
	rd(fd, 1, 0);
}

static void waits_in_set(struct thr *t)
{
	ew(t->arg, 5000);
}

static void a_number_reused_asleep(int fd)
{
	int ep = epoll_create1(0), other, p;
	struct thr t = { 0 };

	ep_add(ep, fd, EPOLLOUT | EPOLLET, 111);
	ew(ep, 1000);
	p = pipe_for_number(ep, &fd, &other);
	thr_start(&t, waits_in_set, fd, ep);
	thr_asleep(&t);
	go(TO_B);
	pl(other, POLLIN, 3000);
	rd(other, 4, 0);
	ms(20);
	if (write(p, "x", 1) != 1)
		return;
	thr_join(&t);
	ew(ep, 100);
}

static void b_number_reused_asleep(int fd)
{
	b_number_reused(fd);
}

/* Two one-shots of one connection in a set: both have fired, and neither fires again. */
static void a_two_oneshots(int fd)
{
	int ep = epoll_create1(0), other = dup(fd);

	ep_add(ep, fd, EPOLLIN | EPOLLONESHOT, 1);
	ep_add(ep, other, EPOLLIN | EPOLLONESHOT, 2);
	go(TO_B);
	until_queued(fd, 4);
	ewn(ep, 4, 1000);
	ewn(ep, 4, 0);
	rd(fd, 4, 0);
	go(TO_B);
	until_queued(fd, 4);
	ewn(ep, 4, 50);
	rd(fd, 4, 0);
	go(TO_B);
}

static void b_two_oneshots(int fd)
{
	await(TO_B);
	wr(fd, "data");
	await(TO_B);
	ms(40);
	wr(fd, "more");
	await(TO_B);
}

/* Refused, and without effect. */
static void a_exclusive_mod(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	noted("mod", ep_mod(ep, fd, EPOLLIN | EPOLLEXCLUSIVE, 2));
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 4, 0);
}

static void b_exclusive_mod(int fd)
{
	b_number_reused(fd);
}

static void waits_until_late(struct thr *t)
{
	ew(t->arg, 2000);
}

/* A set is closed under a sleeper; the next one, of the same number, wakes its own. */
static void a_set_closed_asleep(int fd)
{
	int first = epoll_create1(0), next, other = dup(fd);
	struct thr t = { 0 }, u = { 0 };

	ep_add(first, other, EPOLLIN, 4);
	thr_start(&t, waits_until_late, fd, first);
	thr_asleep(&t);
	close(first);
	next = epoll_create1(0);
	note(" same=%d", next == first);
	ep_add(next, fd, EPOLLIN, 5);
	thr_join(&t);
	thr_start(&u, waits_until_late, fd, next);
	thr_asleep(&u);
	ep_mod(next, fd, EPOLLOUT, 6);
	thr_join(&u);
	go(TO_B);
	rd(fd, 4, 0);
}

static void b_set_closed_asleep(int fd)
{
	b_number_reused(fd);
}

/*
 * Bytes and room at once, edge-triggered: a byte that comes while room is told of is told of too. Before that held it was
 * lost once in some ten thousand rounds.
 */
#define EDGE_ROUNDS 20000

static void a_edge_of_both(int fd)
{
	int ep = epoll_create1(0), told = 0;
	uint32_t both = EPOLLIN | EPOLLOUT | EPOLLET;
	struct epoll_event e = { 0 };

	nonblock(fd, true);
	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){ both, { .u64 = 7 } });
	for (int i = 0; i < EDGE_ROUNDS && told == i; i++) {
		if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
			break;
		for (volatile int k = 0; k < i % 2000; k++)
			;
		epoll_ctl(ep, EPOLL_CTL_MOD, fd, &(struct epoll_event){ both, { .u64 = 7 } });
		do
			e.events = 0;
		while (epoll_wait(ep, &e, 1, 3000) == 1 && !(e.events & EPOLLIN));
		told += (e.events & EPOLLIN) && recv(fd, &(char){ 0 }, 1, 0) == 1;
	}
	note(" told=%d", told);
}

static void b_edge_of_both(int fd)
{
	char c;
	int i = 0;

	while (recv(fd, &c, 1, 0) == 1 && send(fd, &c, 1, MSG_NOSIGNAL) == 1)
		for (volatile int k = 0; k < i % 1999; k++, i += 7)
			;
}

/* ---- a close-on-exec connection that a child gets as its stdio ---- */

enum giving { SPAWN, VFORK, VFORK_DUP };

static pid_t start(enum giving how, int fd, int as, int out, char *const argv[])
{
	posix_spawn_file_actions_t acts;
	pid_t pid = -1;

	fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (how == SPAWN) {
		posix_spawn_file_actions_init(&acts);
		posix_spawn_file_actions_adddup2(&acts, fd, as);
		if (out >= 0)
			posix_spawn_file_actions_adddup2(&acts, out, 1);
		noted("spawn", posix_spawnp(&pid, argv[0], &acts, NULL, argv, environ));
		return pid;
	}
	pid = vfork();
	if (pid == 0) {
		if (how == VFORK_DUP) {
			close(as);
			dup(fd); /* the lowest */
		} else {
			dup2(fd, as);
		}
		if (out >= 0)
			dup2(out, 1);
		execvp(argv[0], argv);
		_exit(9);
	}
	return pid;
}

static void child_reads(int fd, enum giving how)
{
	char *const argv[] = { (char *)"head", (char *)"-c", (char *)"4", NULL };
	char out[8] = "";
	int p[2], n;
	pid_t pid;

	if (pipe(p))
		return;
	pid = start(how, fd, 0, p[1], argv);
	ms(100); /* it sits in its read */
	go(TO_B);
	pl(p[0], POLLIN, 4000);
	n = poll(&(struct pollfd){ p[0], POLLIN, 0 }, 1, 0) == 1 ? (int)read(p[0], out, 4) : -1;
	note(" child=%d:%s", n, out);
	if (n != 4)
		kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	rd(fd, 4, MSG_DONTWAIT);
}

static void a_spawn_reads(int fd)
{
	child_reads(fd, SPAWN);
}

static void b_spawn_reads(int fd)
{
	b_number_reused(fd);
}

static void a_vfork_reads(int fd)
{
	child_reads(fd, VFORK);
}

static void b_vfork_reads(int fd)
{
	b_number_reused(fd);
}

static void a_vfork_dup_reads(int fd)
{
	child_reads(fd, VFORK_DUP);
}

static void b_vfork_dup_reads(int fd)
{
	b_number_reused(fd);
}

static void child_writes(int fd, enum giving how)
{
	char *const argv[] = { (char *)"echo", (char *)"hello", NULL };

	wr(fd, "head:");
	waitpid(start(how, fd, 1, -1, argv), NULL, 0);
	wr(fd, ":tail");
	go(TO_B);
	rd(fd, 3, 0);
}

static void child_wrote(int fd)
{
	await(TO_B);
	rd(fd, 16, MSG_WAITALL);
	wr(fd, "bye");
	rd(fd, 1, 0);
}

static void a_spawn_writes(int fd)
{
	child_writes(fd, SPAWN);
}

static void b_spawn_writes(int fd)
{
	child_wrote(fd);
}

static void a_vfork_writes(int fd)
{
	child_writes(fd, VFORK);
}

static void b_vfork_writes(int fd)
{
	child_wrote(fd);
}

static const struct test_case cases[] = {
	CASE(number_gone, "4,12", YOUNG),
	CASE(number_reused, "12", WARM),
	CASE(number_reused_asleep, "12", WARM),
	CASE(two_oneshots, "12", COLD),
	CASE(exclusive_mod, "12", WARM),
	CASE(set_closed_asleep, "12,13", WARM),
	CASE_F(edge_of_both, "5,12", WARM, SLOW),
	CASE(spawn_reads, "8,10", WARM),
	CASE(vfork_reads, "8,18", WARM),
	CASE(vfork_dup_reads, "8,18", WARM),
	CASE(spawn_writes, "8,10", WARM),
	CASE(vfork_writes, "8,18", WARM),
};
GROUP(numbers);
