/* SPDX-License-Identifier: Apache-2.0 */
/* given.c - cases about connections that another image gets before they have come to the ring (rules 8 and 10). */
#include <spawn.h>

#include "harness.h"

extern char **environ;

/* So long to and fro that a connection that may move has moved. */
static void busy(int fd, bool first)
{
	char c;

	for (int i = 0; i < 200; i++) {
		bool well = first ? send(fd, "x", 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1 :
				    recv(fd, &c, 1, 0) == 1 && send(fd, "x", 1, MSG_NOSIGNAL) == 1;

		if (!well) {
			note(" broken at %d", i);
			return;
		}
		if (first && i % 5 == 0)
			ms(2);
	}
}

static int turn[2];

/* The child speaks later, when this process has made its calls. */
static const char *late_child(char *cmd, size_t size, int fd)
{
	if (pipe(turn))
		note(" no pipe: %s", err(-1));
	snprintf(cmd, size, "read x <&%d; echo child >&%d", turn[0], fd);
	return cmd;
}

static void busy_before_child(int fd)
{
	busy(fd, true);
	if (write(turn[1], "\n", 1) != 1)
		note(" no turn: %s", err(-1));
	go(TO_B);
}

static void with_child(int fd, pid_t p)
{
	busy_before_child(fd);
	reap(p);
	wr(fd, "own");
	rd(fd, 1, 0);
}

static void b_with_child(int fd)
{
	busy(fd, false);
	await(TO_B);
	rd(fd, 9, MSG_WAITALL);
	wr(fd, "x");
}

static void a_young_spawn(int fd)
{
	char cmd[64], *argv[] = { (char *)"sh", (char *)"-c", cmd, NULL };
	pid_t p;

	late_child(cmd, sizeof(cmd), fd);
	note(" spawn=%d", posix_spawn(&p, "/bin/sh", NULL, NULL, argv, environ));
	with_child(fd, p);
}

static void b_young_spawn(int fd)
{
	b_with_child(fd);
}

static void a_young_vfork(int fd)
{
	char cmd[64], *argv[] = { (char *)"sh", (char *)"-c", cmd, NULL };
	pid_t p;

	late_child(cmd, sizeof(cmd), 1);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	p = vfork();
	if (p == 0) {
		dup2(fd, 1);
		execve("/bin/sh", argv, environ);
		_exit(1);
	}
	with_child(fd, p);
}

static void b_young_vfork(int fd)
{
	b_with_child(fd);
}

static void a_young_exec(int fd)
{
	char cmd[64], *argv[] = { (char *)"sh", (char *)"-c", cmd, NULL };
	pid_t p;

	late_child(cmd, sizeof(cmd), fd);
	p = fork();
	if (p == 0) {
		execve("/bin/sh", argv, environ);
		_exit(1);
	}
	with_child(fd, p);
}

static void b_young_exec(int fd)
{
	b_with_child(fd);
}

/* The shell is gone at once, and what it has left in the background speaks. */
static void a_young_system(int fd)
{
	char late[64], cmd[80];

	snprintf(cmd, sizeof(cmd), "(%s) & :", late_child(late, sizeof(late), fd));
	note(" system=%d", system(cmd));
	busy_before_child(fd);
	rd(fd, 1, 0);
}

static void b_young_system(int fd)
{
	busy(fd, false);
	await(TO_B);
	rd(fd, 6, MSG_WAITALL);
	wr(fd, "x");
}

/* ---- actions of posix_spawn that were noted long before ---- */

static void spawn_answers(int fd, const posix_spawn_file_actions_t *acts)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)"read x; echo got $x", NULL };
	pid_t p;

	note(" spawn=%d", posix_spawn(&p, "/bin/sh", acts, NULL, argv, environ));
	reap(p);
	wr(fd, "own");
	rd(fd, 1, 0);
}

static void b_spawn_answers(int fd)
{
	wr(fd, "line\n");
	rd(fd, 12, MSG_WAITALL);
	wr(fd, "x");
}

/* While the connection was young. */
static void a_actions_early(int fd)
{
	posix_spawn_file_actions_t acts;

	fcntl(fd, F_SETFD, FD_CLOEXEC);
	posix_spawn_file_actions_init(&acts);
	posix_spawn_file_actions_adddup2(&acts, fd, 0);
	posix_spawn_file_actions_adddup2(&acts, fd, 1);
	busy(fd, true);
	go(TO_B);
	spawn_answers(fd, &acts);
	posix_spawn_file_actions_destroy(&acts);
}

static void b_actions_early(int fd)
{
	busy(fd, false);
	await(TO_B);
	b_spawn_answers(fd);
}

#define LATER 77

/* Before the number was a socket at all. */
static void a_actions_first(int fd)
{
	posix_spawn_file_actions_t acts;

	posix_spawn_file_actions_init(&acts);
	posix_spawn_file_actions_adddup2(&acts, LATER, 0);
	posix_spawn_file_actions_adddup2(&acts, LATER, 1);
	dup3(fd, LATER, O_CLOEXEC);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	go(TO_B);
	until_queued(fd, 5);
	spawn_answers(fd, &acts);
	posix_spawn_file_actions_destroy(&acts);
}

static void b_actions_first(int fd)
{
	await(TO_B);
	b_spawn_answers(fd);
}

static const struct test_case cases[] = {
	CASE(young_spawn, "8,10", COLD),
	CASE(young_vfork, "8,18", COLD),
	CASE(young_exec, "8,10", COLD),
	CASE(young_system, "8,10", COLD),
	CASE(actions_early, "8,10", COLD),
	CASE(actions_first, "8,10", WARM),
};
GROUP(given);
