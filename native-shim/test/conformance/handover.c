/* SPDX-License-Identifier: Apache-2.0 */
/* handover.c - cases about handing the descriptor to something that the shim cannot follow (rule 8). */
#include <sys/syscall.h>

#include "harness.h"

static void a_stdio(int fd)
{
	char line[20] = "";
	FILE *f;

	wr(fd, "raw");
	f = fdopen(dup(fd), "r+");
	note(" gets=%.5s", fgets(line, sizeof(line), f));
	fprintf(f, "line\n");
	fflush(f);
	note(" gets=%.5s", fgets(line, sizeof(line), f));
	fclose(f);
	wr(fd, "end");
}

static void b_stdio(int fd)
{
	wr(fd, "hello\n");
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 5, MSG_WAITALL);
	wr(fd, "again\n");
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* Both ends by stdio, one descriptor for each way, many lines. */
static void lines(int fd, bool first)
{
	FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
	char line[64];
	int right = 0;

	for (int i = 0; i < 300; i++) {
		if (first) {
			fprintf(out, "line %d of many\n", i);
			fflush(out);
		}
		if (fgets(line, sizeof(line), in) && atoi(line + 5) == i)
			right++;
		if (!first) {
			fprintf(out, "line %d of many\n", i);
			fflush(out);
		}
	}
	note(" right=%d", right);
	fclose(out);
	fclose(in);
}

static void a_stdio_both(int fd)
{
	lines(fd, false);
}

static void b_stdio_both(int fd)
{
	lines(fd, true);
}

/* What was read ahead by nobody, and what waits in the ring, when stdio takes over. */
static void a_stdio_unread(int fd)
{
	char buf[5000];
	size_t n;
	FILE *f;

	until_queued(fd, 40000);
	note(" got=%zu", take(fd, 0, 1234));
	f = fdopen(fd, "r");
	for (n = 1234; n < 40000; n += sizeof(buf)) {
		size_t part = 40000 - n < sizeof(buf) ? 40000 - n : sizeof(buf);

		if (fread(buf, 1, part, f) != part || !same(buf, n, part))
			break;
	}
	note(" all=%d", n >= 40000);
	note(" next=%d", fgetc(f));
	fclose(f);
}

static void b_stdio_unread(int fd)
{
	note(" put=%zu", put(fd, 0, 40000));
	close(fd);
}

/* dup2 onto 0 to 2, where stdio and children look. */
static void a_onto_stdin(int fd)
{
	char line[40];

	note(" got=%zu", take(fd, 0, 100));
	noted("dup2", dup2(fd, 0));
	noted("dup2", dup2(fd, 1));
	close(fd);
	note(" gets=%.6s", fgets(line, sizeof(line), stdin));
	printf("by printf\n");
	fflush(stdout);
	wr(1, "raw");
	rd(0, 4, MSG_WAITALL);
	fclose(stdin);
	fclose(stdout);
}

static void b_onto_stdin(int fd)
{
	char line[11] = "";

	note(" put=%zu", put(fd, 0, 100));
	wr(fd, "line 1\n");
	note(" recv=%zd", recv(fd, line, 10, MSG_WAITALL));
	note(":%.9s", line);
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "data");
	rd(fd, 1, 0);
}

/* ---- SCM_RIGHTS ---- */

static void pass(int over, int fd)
{
	char b = 'x', control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &b, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	noted("pass", sendmsg(over, &m, 0));
}

static int passed(int over)
{
	char b, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &b, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(over, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void a_pass(int fd)
{
	int sv[2];
	pid_t p;

	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	wr(fd, "pre");
	p = kid();
	if (p == 0) {
		close(fd);
		fd = passed(sv[1]);
		rd(fd, 3, MSG_WAITALL);
		wr(fd, "passed");
		_exit(0);
	}
	pass(sv[0], fd);
	go(TO_B);
	reap(p);
	wr(fd, "own");
	rd(fd, 1, 0);
}

static void b_pass(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	await(TO_B);
	wr(fd, "abc");
	rd(fd, 6, MSG_WAITALL);
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "z");
	rd(fd, 1, 0);
}

/* Given away for good with unread bytes, used there, and given back. */
static void a_pass_back(int fd)
{
	int sv[2];
	pid_t p;

	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	until_queued(fd, 100000);
	note(" got=%zu", take(fd, 0, 1000));
	p = kid();
	if (p == 0) {
		close(fd);
		fd = passed(sv[1]);
		note(" got=%zu", take(fd, 1000, 50000));
		wr(fd, "kid");
		pass(sv[1], fd);
		_exit(0);
	}
	pass(sv[0], fd);
	close(fd);
	fd = passed(sv[0]);
	reap(p);
	note(" got=%zu", take(fd, 51000, 49000));
	wr(fd, "back");
	rd(fd, 2, MSG_WAITALL);
}

static void b_pass_back(int fd)
{
	note(" put=%zu", put(fd, 0, 100000));
	rd(fd, 7, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

/* In flight when its sender closes it: the message holds the socket open. */
static void a_pass_in_flight(int fd)
{
	int sv[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	wr(fd, "pre");
	pass(sv[0], fd);
	close(fd);
	go(TO_B);
	await(TO_A);
	fd = passed(sv[1]);
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "out");
}

static void b_pass_in_flight(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	await(TO_B);
	pl(fd, POLLIN | POLLRDHUP, 50);
	wr(fd, "abc");
	go(TO_A);
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* ---- splice ---- */

static void a_splice(int fd)
{
	int p[2];
	char b[16] = "";
	size_t n = 0;
	ssize_t r;

	if (pipe(p))
		return;
	until_queued(fd, 10);
	while (n < 10 && (r = splice(fd, NULL, p[1], NULL, 10 - n, 0)) > 0)
		n += (size_t)r;
	note(" in=%zu", n);
	note(" read=%zd:%.10s", read(p[0], b, 10), b);
	(void)!write(p[1], "from pipe", 9);
	noted("out", splice(p[0], NULL, fd, NULL, 9, SPLICE_F_MORE));
	noted("offset", splice(fd, &(off64_t){ 0 }, p[1], NULL, 9, 0));
	nonblock(fd, true);
	noted("nonblock", splice(fd, NULL, p[1], NULL, 9, SPLICE_F_NONBLOCK));
	nonblock(fd, false);
	wr(fd, "own");
	rd(fd, 2, MSG_WAITALL);
	noted("tee", tee(fd, p[1], 9, 0));
}

static void b_splice(int fd)
{
	wr(fd, "0123456789");
	rd(fd, 12, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

/* ---- calls that nothing can intercept, before the switch ---- */

static long raw_write(int fd, const void *p, size_t n)
{
	return syscall(SYS_write, fd, p, n);
}

static long raw_read(int fd, void *p, size_t n)
{
	return syscall(SYS_read, fd, p, n);
}

/* A peer that makes raw system calls all the time: it stays on TCP, and nothing is lost (rule 4a). */
static void a_raw_peer(int fd)
{
	int right = 0;

	for (int i = 0; i < 60; i++) {
		char c;

		right += recv(fd, &c, 1, 0) == 1 && c == (char)i && send(fd, &c, 1, MSG_NOSIGNAL) == 1;
	}
	note(" right=%d", right);
	rd(fd, 1, 0);
}

static void b_raw_peer(int fd)
{
	int right = 0;

	for (int i = 0; i < 60; i++) {
		char c = (char)i;

		right += raw_write(fd, &c, 1) == 1 && raw_read(fd, &c, 1) == 1 && c == (char)i;
		ms(1);
	}
	note(" right=%d", right);
}

/*
 * One raw write or read among the ordinary calls: the counts tell (rule 4a). It is the first, so that it comes before the
 * switch on the slowest machine; after it raw calls are a documented limit of the shim.
 */
static void raw_once(int fd, bool in)
{
	int right = 0;

	for (int i = 0; i < 60; i++) {
		char c = (char)i;

		right += (i == 0 && !in ? raw_write(fd, &c, 1) : send(fd, &c, 1, MSG_NOSIGNAL)) == 1;
		right += (i == 0 && in ? raw_read(fd, &c, 1) : recv(fd, &c, 1, 0)) == 1 && c == (char)i;
		ms(1);
	}
	note(" right=%d", right);
}

static void a_raw_write_once(int fd)
{
	a_raw_peer(fd);
}

static void b_raw_write_once(int fd)
{
	raw_once(fd, false);
}

static void a_raw_read_once(int fd)
{
	a_raw_peer(fd);
}

static void b_raw_read_once(int fd)
{
	raw_once(fd, true);
}

static const struct test_case cases[] = {
	CASE(stdio, "8,7", WARM),
	CASE(stdio_both, "8,7", WARM),
	CASE(stdio_unread, "8,7", WARM),
	CASE(onto_stdin, "8,7", WARM),
	CASE(pass, "8,7", WARM),
	CASE(pass_back, "8,7", WARM),
	CASE(pass_in_flight, "8,19", WARM),
	CASE(splice, "8,7", WARM),
	CASE(raw_peer, "4", COLD),
	CASE(raw_write_once, "4", COLD),
	CASE(raw_read_once, "4", COLD),
};
GROUP(handover);
