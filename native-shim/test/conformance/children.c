/* SPDX-License-Identifier: Apache-2.0 */
/* children.c - cases about the socket in another program: exec, posix_spawn, system, popen (rules 8 and 10). */
#include <spawn.h>

#include "harness.h"

extern char **environ;

/* inetd: an exec'd cat gets the socket as its standard input and output. */
static void a_inetd(int fd)
{
	pid_t p;

	wr(fd, "pre");
	p = fork();
	if (p == 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		execlp("cat", "cat", NULL);
		_exit(9);
	}
	close(fd);
	reap(p);
}

static void b_inetd(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	note(" put=%zu", put(fd, 0, 30000));
	note(" got=%zu", take(fd, 0, 30000));
	wr(fd, "echo me");
	rd(fd, 7, MSG_WAITALL);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

/* The program replaces itself, with the socket as a number above 2, unread bytes and all. */
static void a_exec_self(int fd)
{
	char command[100];

	until_queued(fd, 5);
	wr(fd, "pre");
	snprintf(command, sizeof(command), "cat <&%d >&%d; exit 5", fd, fd);
	fcntl(fd, F_SETFD, 0);
	execl("/bin/sh", "sh", "-c", command, NULL);
}

static void b_exec_self(int fd)
{
	wr(fd, "first");
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 5, MSG_WAITALL);
	wr(fd, "echo me");
	rd(fd, 7, MSG_WAITALL);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

/* exec of a socket that closes on exec is its end; an exec that fails is not. */
static void a_exec_cloexec(int fd)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	noted("exec", execl("/no/such/file", "x", NULL));
	wr(fd, "still here");
	rd(fd, 2, MSG_WAITALL);
	execl("/bin/true", "true", NULL);
}

static void b_exec_cloexec(int fd)
{
	rd(fd, 10, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

static void a_vfork_exec(int fd)
{
	pid_t p;

	wr(fd, "pre");
	p = vfork();
	if (p == 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		execl("/bin/cat", "cat", NULL);
		_exit(9);
	}
	go(TO_B);
	reap(p);
	wr(fd, "own");
}

static void b_vfork_exec(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	await(TO_B);
	wr(fd, "echo me");
	rd(fd, 7, MSG_WAITALL);
	shutdown(fd, SHUT_WR);
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* A vfork child that talks itself, when the connection is due: its descriptors are not the parent's. */
static int talk(int fd, int rounds)
{
	int right = 0;

	for (int i = 0; i < rounds; i++) {
		char c = (char)i;

		right += write(fd, &c, 1) == 1 && read(fd, &c, 1) == 1 && c == (char)i;
		usleep(3000);
	}
	return right;
}

static void a_vfork_talks(int fd)
{
	volatile int right = 0;
	pid_t p;

	ms(40);
	p = vfork();
	if (p == 0) {
		right = talk(fd, 12);
		_exit(0);
	}
	reap(p);
	note(" right=%d", right);
	go(TO_B);
	rest_begin();
	rd(fd, 1, 0);
	rest_end();
	note(" right=%d", talk(fd, 60));
	wr(fd, "e");
}

static void b_vfork_talks(int fd)
{
	char c;
	int n = 0;

	while (n < 12 && read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1)
		n++;
	await(TO_B);
	ms(300);
	wr(fd, "g");
	while (n < 72 && read(fd, &c, 1) == 1 && write(fd, &c, 1) == 1)
		n++;
	note(" n=%d", n);
	rd(fd, 1, 0);
}

/* A vfork child's own connections: their numbers are free in the parent. */
static void number_is_free(int fd)
{
	int f = open("/proc/self/comm", O_RDWR);
	char line[20] = "";

	note(" same=%d", f == fd);
	noted("read", read(f, line, 6));
	noted("write", write(f, "other", 5));
	noted("seek", lseek(f, 0, SEEK_SET));
	noted("read", read(f, line, 6));
	close(f);
}

static void a_vfork_accepts(int listener)
{
	volatile int fd = -1;
	pid_t p = vfork();

	if (p == 0) {
		fd = accept(listener, NULL, NULL);
		_exit(write(fd, "hello", 5) != 5);
	}
	reap(p);
	number_is_free(fd);
}

static void b_vfork_accepts(int none)
{
	int fd = dial();

	(void)none;
	rd(fd, 5, MSG_WAITALL);
	rd(fd, 1, 0);
}

static void a_vfork_connects(int listener)
{
	int fd = pick(listener);

	rd(fd, 5, MSG_WAITALL);
	rd(fd, 1, 0);
}

static void b_vfork_connects(int none)
{
	volatile int fd = -1;
	pid_t p = vfork();

	(void)none;
	if (p == 0) {
		fd = dial();
		_exit(write(fd, "hello", 5) != 5);
	}
	reap(p);
	number_is_free(fd);
}

/* Or not free: what the child has closed is open there. */
static void a_vfork_reuses(int fd)
{
	volatile bool same = false;
	pid_t p;

	wr(fd, "pre");
	p = vfork();
	if (p == 0) {
		close(fd);
		int s;

		do
			s = socket(AF_INET, SOCK_STREAM, 0);
		while (s >= 0 && s < fd);
		same = s == fd;
		_exit(0);
	}
	reap(p);
	note(" same=%d", same);
	wr(fd, "own");
	rd(fd, 3, MSG_WAITALL);
	note(" right=%d", talk(fd, 5));
}

/* Says "yes" to so many bytes, and sends back what comes after them. */
static void agree(int fd, size_t bytes)
{
	char c;

	rd(fd, bytes, MSG_WAITALL);
	wr(fd, "yes");
	while (recv(fd, &c, 1, 0) == 1)
		send(fd, &c, 1, MSG_NOSIGNAL);
}

static void b_vfork_reuses(int fd)
{
	agree(fd, 6);
}

/* The same with a file, which it writes to, and with an epoll set, for which it waits. */
static void a_vfork_logs(int fd)
{
	int set = epoll_create1(0), other = epoll_create1(0), out[2];
	struct epoll_event ev = { 0 };
	volatile ssize_t n = 0;
	char text[8] = "";
	pid_t p;

	ep_add(set, fd, EPOLLIN, 1);
	noted("pipe", pipe2(out, O_NONBLOCK));
	ep_add(other, out[0], EPOLLIN, 2);
	p = vfork();
	if (p == 0) {
		close(fd);
		dup2(out[1], fd);
		n = write(fd, "log", 3);
		dup2(fd, set);
		n += write(set, "more", 4);
		dup2(other, set);
		n += 10 * epoll_wait(set, &ev, 1, 0) + 100 * (int)ev.data.u64;
		_exit(0);
	}
	reap(p);
	note(" n=%zd", n);
	noted("read", read(out[0], text, 7));
	note(" %s", text);
	wr(fd, "own");
	rd(fd, 3, MSG_WAITALL);
	note(" right=%d", talk(fd, 5));
	ew(set, 0);
}

static void b_vfork_logs(int fd)
{
	agree(fd, 3);
}

static void a_spawn(int fd)
{
	posix_spawn_file_actions_t acts;
	char *argv[] = { "cat", NULL };
	pid_t p;

	wr(fd, "pre");
	posix_spawn_file_actions_init(&acts);
	posix_spawn_file_actions_adddup2(&acts, fd, 0);
	posix_spawn_file_actions_adddup2(&acts, fd, 1);
	note(" spawn=%d", posix_spawnp(&p, "cat", &acts, NULL, argv, environ));
	reap(p);
	posix_spawn_file_actions_destroy(&acts);
	wr(fd, "own");
}

static void b_spawn(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "echo me");
	rd(fd, 7, MSG_WAITALL);
	shutdown(fd, SHUT_WR);
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* system() and popen() with children that do not use the socket, and one that does. */
static void a_system(int fd)
{
	char command[60], line[20] = "";
	FILE *f;

	wr(fd, "1");
	note(" system=%d", system("exit 3"));
	wr(fd, "2");
	f = popen("echo hello", "r");
	note(" gets=%.5s", fgets(line, sizeof(line), f));
	note(" pclose=%d", pclose(f));
	rd(fd, 1, 0);
	snprintf(command, sizeof(command), "echo shell >&%d", fd);
	note(" system=%d", system(command));
	wr(fd, "3");
	rd(fd, 1, 0);
}

static void b_system(int fd)
{
	rd(fd, 2, MSG_WAITALL);
	wr(fd, "a");
	rd(fd, 7, MSG_WAITALL);
	wr(fd, "b");
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(inetd, "8,10,18", WARM),
	CASE(exec_self, "8,10,7", WARM),
	CASE(exec_cloexec, "10,16", WARM),
	CASE(vfork_exec, "8,10,18", WARM),
	CASE(vfork_talks, "18", COLD),
	CASE(vfork_accepts, "18", RAW_COLD),
	CASE(vfork_connects, "18", RAW_COLD),
	CASE(vfork_reuses, "18", WARM),
	CASE(vfork_logs, "18", WARM),
	CASE(spawn, "8,10", WARM),
	CASE(system, "8,10", WARM),
};
GROUP(children);
