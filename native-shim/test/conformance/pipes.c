/* SPDX-License-Identifier: Apache-2.0 */
/* pipes.c - cases about splice, and other calls of the kernel's beside the ring, while bytes wait whose sender is away. */
#include <sys/sendfile.h>

#include "harness.h"

/* RWF_NOWAIT takes what is there. */
static void a_nowait_bytes(int fd)
{
	char b[8] = "";
	struct iovec v = { b, 4 };
	ssize_t r;

	until_queued(fd, 6);
	r = preadv2(fd, &v, 1, -1, RWF_NOWAIT);
	note(" preadv2=%zd/%s:%.4s", r, err(r), b);
	v.iov_len = 2;
	r = preadv2(fd, &v, 1, -1, RWF_NOWAIT);
	note(" preadv2=%zd/%s:%.2s", r, err(r), b);
	noted("empty", preadv2(fd, &v, 1, -1, RWF_NOWAIT));
	noted("write", pwritev2(fd, &v, 1, -1, RWF_NOWAIT));
	go(TO_B);
	rd(fd, 1, 0);
}

static void b_nowait_bytes(int fd)
{
	wr(fd, "abcdef");
	await(TO_B);
	rd(fd, 2, MSG_WAITALL);
}

/* What is there goes into a pipe without a wait, also when its sender is away. */
static void a_splice_nonblock(int fd)
{
	char b[16] = "";
	int p[2];

	if (pipe(p))
		return;
	until_queued(fd, 10);
	noted("splice", splice(fd, NULL, p[1], NULL, 4, SPLICE_F_NONBLOCK));
	noted("splice", splice(fd, NULL, p[1], NULL, 100, SPLICE_F_NONBLOCK));
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	note(" read=%zd:%.16s", read(p[0], b, 16), b);
	go(TO_B);
	wr(fd, "x");
}

static void b_splice_nonblock(int fd)
{
	wr(fd, "0123456789");
	await(TO_B);
	rd(fd, 1, 0);
}

/* As much as the pipe takes, and no more; with a pipe that nobody reads, an error. */
static void a_splice_full(int fd)
{
	static char b[70000];
	size_t n = 0;
	ssize_t r;
	int p[2];

	if (pipe(p))
		return;
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	until_queued(fd, 10000);
	if (write(p[1], b, 4096) != 4096)
		return;
	noted("full", splice(fd, NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK));
	if (read(p[0], b, 4096) != 4096)
		return;
	while (n < 10000 && (r = splice(fd, NULL, p[1], NULL, 10000 - n, SPLICE_F_NONBLOCK)) > 0) {
		r = read(p[0], b + n, sizeof(b) - n);
		n += r > 0 ? (size_t)r : 0;
	}
	note(" n=%zu %s", n, same(b, 0, n) ? "right" : "wrong");
	go(TO_B);
	until_queued(fd, 4);
	close(p[0]);
	noted("broken", splice(fd, NULL, p[1], NULL, 10, 0));
	rd(fd, 10, 0);
	noted("nonsense", splice(fd, NULL, p[1], NULL, 10, 0x100));
	wr(fd, "x");
}

/* Nothing has come, and nobody reads from the pipe. */
static void a_splice_unread(int fd)
{
	int p[2];

	if (pipe(p))
		return;
	close(p[0]);
	handle(SIGPIPE, 0);
	noted("splice", splice(fd, NULL, p[1], NULL, 10, 0));
	note(" signals=%d", signals);
	wr(fd, "x");
}

static void b_splice_unread(int fd)
{
	rd(fd, 1, 0);
	rd(fd, 1, 0);
}

static void b_splice_full(int fd)
{
	put(fd, 0, 10000);
	await(TO_B);
	wr(fd, "more");
	rd(fd, 1, 0);
}

/* The end, and an error, behind bytes. */
static void splice_end(int fd)
{
	char b[16] = "";
	int p[2];

	if (pipe(p))
		return;
	until_queued(fd, 4);
	go(TO_B);
	until_ended(fd);
	for (int i = 0; i < 4; i++)
		noted("splice", splice(fd, NULL, p[1], NULL, 3, 0));
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	note(" read=%zd:%.16s", read(p[0], b, 16), b);
}

static void a_splice_fin(int fd)
{
	splice_end(fd);
}

static void b_splice_fin(int fd)
{
	wr(fd, "abcd");
	await(TO_B);
	close(fd);
}

static void a_splice_reset(int fd)
{
	splice_end(fd);
}

static void b_splice_reset(int fd)
{
	linger_of(fd, 1, 0);
	b_splice_fin(fd);
}

static void t_splice(struct thr *t)
{
	char b[8] = "";
	int p[2];
	ssize_t r;

	if (pipe(p))
		return;
	r = splice(t->fd, NULL, p[1], NULL, 4, 0);
	t->used += (size_t)snprintf(t->text, sizeof(t->text), " splice=%zd", r);
	if (r > 0 && read(p[0], b, 4) > 0)
		t->used += (size_t)snprintf(t->text + t->used, sizeof(t->text) - t->used, ":%s", b);
}

/* Nothing is there yet, and then the end is. */
static void a_splice_waits(int fd)
{
	struct thr t = { 0 };

	thr_start(&t, t_splice, fd, 0);
	thr_asleep(&t);
	go(TO_B);
	thr_join(&t);
	wr(fd, "x");
	thr_start(&t, t_splice, fd, 0);
	thr_asleep(&t);
	go(TO_B);
	thr_join(&t);
}

static void b_splice_waits(int fd)
{
	await(TO_B);
	wr(fd, "abcd");
	rd(fd, 1, 0);
	await(TO_B);
	close(fd);
}

/* From the ring and from TCP, as one stream. */
static void a_splice_stream(int fd)
{
	static char buf[70000];
	size_t n = 0;
	int p[2];
	ssize_t r;
	bool right = true;

	if (pipe(p))
		return;
	while ((r = splice(fd, NULL, p[1], NULL, 65536, 0)) > 0) {
		ssize_t k = 0;

		while (k < r) {
			ssize_t m = read(p[0], buf, (size_t)(r - k));

			if (m <= 0)
				break;
			right &= same(buf, n, (size_t)m);
			n += (size_t)m;
			k += m;
		}
	}
	note(" n=%zu right=%d end=%zd", n, right, r);
}

static void b_splice_stream(int fd)
{
	note(" put=%zu", put(fd, 0, 20000000));
	close(fd);
}

/* ---- calls that only send, or are about events, while bytes wait whose sender is away ---- */
static void a_sends_past(int fd)
{
	int p[2];

	if (pipe(p) || write(p[1], "pipe", 4) != 4)
		return;
	until_queued(fd, 4);
	noted("splice", splice(p[0], NULL, fd, NULL, 4, 0));
	rd(fd, 2, 0);
	rd(fd, 2, 0);
	go(TO_B);
	rd(fd, 2, 0);
}

static void b_sends_past(int fd)
{
	wr(fd, "abcd");
	await(TO_B);
	rd(fd, 4, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

static void a_oob_past(int fd)
{
	until_queued(fd, 4);
	wrf(fd, "oob", MSG_OOB | MSG_NOSIGNAL);
	rd(fd, 4, MSG_WAITALL);
	go(TO_B);
	rd(fd, 2, 0);
}

static void b_oob_past(int fd)
{
	wr(fd, "abcd");
	await(TO_B);
	rd(fd, 2, MSG_WAITALL);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

/* A signal for what comes after it; what had come before is there. */
static void a_async_past(int fd)
{
	until_queued(fd, 4);
	handle(SIGIO, SA_RESTART);
	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC);
	rd(fd, 2, 0);
	pl(fd, POLLIN, 0);
	rd(fd, 2, 0);
	pl(fd, POLLIN, 0);
	int before = signals;
	go(TO_B);
	until_queued(fd, 2);
	note(" before=%d signals=%d", before, signals > 0);
	rd(fd, 4, 0);
}

static void b_async_past(int fd)
{
	wr(fd, "abcd");
	await(TO_B);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

/* A look for an urgent byte, where there is none. */
static void a_oob_look(int fd)
{
	until_queued(fd, 4);
	rd(fd, 1, MSG_OOB | MSG_DONTWAIT);
	rd(fd, 4, MSG_WAITALL);
	go(TO_B);
	rd(fd, 2, 0);
}

static void b_away(int fd)
{
	wr(fd, "abcd");
	await(TO_B);
	wr(fd, "ok");
	rd(fd, 1, 0);
}

static void b_oob_look(int fd)
{
	b_away(fd);
}

/* To a pipe the kernel sends what a socket has, too. */
static void a_sendfile_to_pipe(int fd)
{
	char b[8] = "";
	int p[2];

	if (pipe(p))
		return;
	until_queued(fd, 4);
	noted("sendfile", sendfile(p[1], fd, NULL, 4));
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	note(" read=%zd:%.4s", read(p[0], b, 4), b);
	go(TO_B);
	rd(fd, 2, 0);
}

static void b_sendfile_to_pipe(int fd)
{
	b_away(fd);
}

/* Two threads that splice from one connection: each byte comes once, and so none is left when all have come. */
enum { BOTH = 60000 };
static int both_pipe[2];
static _Atomic bool both_go, both_done;

static void t_both(struct thr *t)
{
	while (!both_go)
		;
	while (!both_done)
		if (splice(t->fd, NULL, both_pipe[1], NULL, 100, SPLICE_F_NONBLOCK) < 0 && errno != EAGAIN)
			both_done = true;
}

static void a_splice_threads(int fd)
{
	char b[4096];
	size_t got = 0;
	int left = -1;
	struct thr t[2];

	if (pipe(both_pipe))
		return;
	until_queued(fd, BOTH);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 2; i++)
		thr_start(&t[i], t_both, fd, i);
	both_go = true;
	for (ssize_t n; got < BOTH && (n = read(both_pipe[0], b, sizeof(b))) > 0;)
		got += (size_t)n;
	both_done = true;
	for (int i = 0; i < 2; i++)
		thr_join(&t[i]);
	ioctl(fd, FIONREAD, &left);
	note(" got=%zu left=%d", got, left);
	go(TO_B);
}

static void b_splice_threads(int fd)
{
	put(fd, 0, BOTH);
	await(TO_B);
}

/* An option for what is sent. */
static void a_zc_unread(int fd)
{
	int n = 1;

	until_queued(fd, 4);
	noted("zc", setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &n, sizeof(n)));
	pl(fd, POLLIN, 500);
	rd(fd, 4, 0);
	go(TO_B);
	rd(fd, 2, 0);
}

static void b_zc_unread(int fd)
{
	b_away(fd);
}

static const struct test_case cases[] = {
	CASE(nowait_bytes, "5,8", WARM),
	CASE(splice_nonblock, "5,8", WARM),
	CASE(splice_full, "5,8", WARM),
	CASE(splice_unread, "5,8", WARM),
	CASE(splice_fin, "8,16", WARM),
	CASE(splice_reset, "8,16", WARM),
	CASE(splice_waits, "8,11", WARM),
	CASE(splice_threads, "5,8", WARM),
	CASE(splice_stream, "5,7,8", WARM),
	CASE(sends_past, "5,8", WARM),
	CASE(oob_past, "5,8", WARM),
	CASE(async_past, "5,8", WARM),
	CASE(oob_look, "5,8", WARM),
	CASE(sendfile_to_pipe, "5,8", WARM),
	CASE(zc_unread, "5,8", WARM),
};
GROUP(pipes);
