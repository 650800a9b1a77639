/* SPDX-License-Identifier: Apache-2.0 */
/* vector.c - cases about calls with several parts or messages, and the rarer ways to read and write. */
#include <stdarg.h>
#include <sys/sendfile.h>

#include "harness.h"

static size_t chop(struct iovec *v, int parts, char *buf, size_t n)
{
	for (int i = 0; i < parts; i++) {
		size_t from = n * (size_t)i / (size_t)parts, to = n * ((size_t)i + 1) / (size_t)parts;

		v[i] = (struct iovec){ buf + from, to - from };
	}
	return n;
}

/* readv of many parts takes all that is there; a short transfer would mean "drained" to an edge-triggered program. */
static void read_parts(int fd, int parts)
{
	static char buf[1 << 16];
	struct iovec v[1024];
	size_t n = (size_t)parts * 11;
	ssize_t r;

	chop(v, parts, buf, n);
	until_queued(fd, (int)n);
	r = readv(fd, v, parts);
	note(" readv(%d)=%zd/%s %s", parts, r, err(r), r > 0 && same(buf, n, (size_t)r) ? "right" : "wrong");
	go(TO_B);
}

static void a_readv(int fd)
{
	for (int parts = 1; parts <= 1024; parts *= 4) {
		read_parts(fd, parts);
		read_parts(fd, parts == 1024 ? 1023 : parts + 1);
	}
}

static void b_readv(int fd)
{
	for (int parts = 1; parts <= 1024; parts *= 4) {
		put(fd, (size_t)parts * 11, (size_t)parts * 11);
		await(TO_B);
		size_t n = (size_t)(parts == 1024 ? 1023 : parts + 1) * 11;

		put(fd, n, n);
		await(TO_B);
	}
}

/* The same on a connection that has not switched yet. */
static void a_readv_young(int fd)
{
	read_parts(fd, 17);
	read_parts(fd, 64);
	cross(fd);
	read_parts(fd, 64);
}

static void b_readv_young(int fd)
{
	put(fd, 17 * 11, 17 * 11);
	await(TO_B);
	put(fd, 64 * 11, 64 * 11);
	await(TO_B);
	cross(fd);
	put(fd, 64 * 11, 64 * 11);
	await(TO_B);
}

static void a_writev(int fd)
{
	static char buf[1024 * 3000];
	struct iovec v[1024];
	const int parts[] = { 1, 2, 16, 17, 64, 1024 };

	pattern(buf, 0, sizeof(buf));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		chop(v, parts[i], buf, (size_t)parts[i] * 3000);
		noted("writev", writev(fd, v, parts[i]));
	}
}

static void b_writev(int fd)
{
	const size_t parts[] = { 1, 2, 16, 17, 64, 1024 };

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		note(" got=%zu", take(fd, 0, parts[i] * 3000));
}

/* WAITALL for more than ring and overflow hold. */
static void a_waitall_big(int fd)
{
	static char buf[9000000];
	ssize_t r = recv(fd, buf, sizeof(buf), MSG_WAITALL);

	note(" recv=%zd %s", r, r > 0 && same(buf, 0, (size_t)r) ? "right" : "wrong");
	r = recv(fd, buf, sizeof(buf), MSG_WAITALL);
	note(" recv=%zd %s", r, r > 0 && same(buf, 9000000, (size_t)r) ? "right" : "wrong");
}

static void b_waitall_big(int fd)
{
	note(" put=%zu", put(fd, 0, 14000000));
	close(fd);
}

/* Parts of no bytes, a bad part in the middle, too many parts, a negative number of them. */
static void a_bad_parts(int fd)
{
	char b[16] = "abcdef";
	struct iovec v[4] = { { b, 2 }, { b, 0 }, { (void *)8, 4 }, { b + 2, 2 } };
	static struct iovec many[1025];

	noted("none", writev(fd, v, 0));
	noted("negative", writev(fd, v, -1));
	noted("many", writev(fd, many, 1025));
	noted("long", writev(fd, &(struct iovec){ b, SIZE_MAX }, 1));
	noted("null", writev(fd, NULL, 2));
	noted("readv_none", readv(fd, v, 0));
	noted("readv_many", readv(fd, many, 1025));
	noted("readv_null", readv(fd, NULL, 2));
	v[2] = (struct iovec){ NULL, 0 };
	noted("good", writev(fd, v, 4));
}

static void b_bad_parts(int fd)
{
	rd(fd, 4, MSG_WAITALL);
	rd(fd, 1, 0);
}

static void a_msg(int fd)
{
	char b[20] = "", control[64];
	struct sockaddr_storage from;
	struct iovec v[2] = { { b, 3 }, { b + 3, 9 } };
	struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = v, .msg_iovlen = 2,
			    .msg_control = control, .msg_controllen = sizeof(control), .msg_flags = 77 };
	ssize_t r;

	until_queued(fd, 8);
	r = recvmsg(fd, &m, 0);
	note(" recvmsg=%zd/%s:%.12s name=%u control=%zu flags=%x", r, err(r), b, m.msg_namelen, m.msg_controllen,
	     (unsigned int)m.msg_flags);
	m.msg_iovlen = 0;
	noted("empty", recvmsg(fd, &m, MSG_DONTWAIT));
	go(TO_B);
	m = (struct msghdr){ .msg_iov = v, .msg_iovlen = 1 };
	r = recvmsg(fd, &m, MSG_WAITALL);
	note(" recvmsg=%zd:%.3s flags=%x", r, b, (unsigned int)m.msg_flags);
}

static void b_msg(int fd)
{
	struct iovec v[2] = { { "abcd", 4 }, { "efgh", 4 } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	noted("sendmsg", sendmsg(fd, &m, MSG_NOSIGNAL));
	await(TO_B);
	m.msg_iovlen = 1;
	noted("sendmsg", sendmsg(fd, &m, MSG_NOSIGNAL));
	rd(fd, 1, 0);
}

static void parts_of(struct mmsghdr *m, struct iovec *v, char (*b)[8], int n, size_t len)
{
	memset(m, 0, sizeof(*m) * (size_t)n);
	for (int i = 0; i < n; i++) {
		v[i] = (struct iovec){ b[i], len };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
}

static void many(int fd, int n, int flags, struct timespec *t)
{
	struct mmsghdr m[6];
	struct iovec v[6];
	char b[6][8];
	int r;

	parts_of(m, v, b, n, 2);
	r = recvmmsg(fd, m, (unsigned int)n, flags, t);
	note(" recvmmsg(%d,%x)=%d/%s", n, (unsigned int)flags, r, err(r));
	for (int i = 0; i < r; i++)
		note(":%.*s", (int)m[i].msg_len, b[i]);
}

/* recvmmsg waits for all its messages, with MSG_WAITFORONE only for the first. */
static void a_recvmmsg(int fd)
{
	until_queued(fd, 2);
	go(TO_B);
	many(fd, 3, MSG_WAITALL, NULL);
	go(TO_B);
	until_queued(fd, 3);
	many(fd, 4, MSG_WAITFORONE, NULL);
	many(fd, 2, MSG_DONTWAIT, NULL);
	go(TO_B);
	many(fd, 2, 0, NULL);
}

static void b_recvmmsg(int fd)
{
	wr(fd, "ab");
	await(TO_B);
	ms(20);
	wr(fd, "cd");
	ms(20);
	wr(fd, "ef");
	await(TO_B);
	wr(fd, "xyz");
	await(TO_B);
	wr(fd, "1");
	ms(20);
	close(fd);
}

static void a_sendmmsg(int fd)
{
	struct mmsghdr m[3];
	struct iovec v[3];
	char b[3][8] = { "one", "two", "three" };
	int r;

	parts_of(m, v, b, 3, 3);
	r = sendmmsg(fd, m, 3, MSG_NOSIGNAL);
	note(" sendmmsg=%d/%s:%u:%u:%u", r, err(r), m[0].msg_len, m[1].msg_len, m[2].msg_len);
	r = sendmmsg(fd, m, 0, MSG_NOSIGNAL);
	note(" sendmmsg=%d/%s", r, err(r));
	v[1].iov_base = (void *)8;
	r = sendmmsg(fd, m, 3, MSG_NOSIGNAL);
	note(" sendmmsg=%d/%s", r, err(r));
}

static void b_sendmmsg(int fd)
{
	rd(fd, 9, MSG_WAITALL);
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* With offset -1 preadv2 and pwritev2 are readv and writev with flags; all other offsets are refused on a socket. */
static void a_pwritev2(int fd)
{
	char b[20] = "";
	struct iovec v = { b, 6 };
	ssize_t r;

	rd(fd, 3, MSG_WAITALL);
	until_queued(fd, 6);
	r = preadv2(fd, &v, 1, -1, 0);
	note(" preadv2=%zd/%s:%.6s", r, err(r), b);
	noted("nowait", preadv2(fd, &v, 1, -1, RWF_NOWAIT));
	go(TO_B);
	noted("offset", preadv2(fd, &v, 1, 0, 0));
	noted("preadv", preadv(fd, &v, 1, 0));
	noted("pread", pread(fd, b, 3, 0));
	rd(fd, 3, MSG_WAITALL);
}

static void b_pwritev2(int fd)
{
	struct iovec v = { "qwerty", 6 };

	wr(fd, "abc");
	noted("pwritev2", pwritev2(fd, &v, 1, -1, 0));
	noted("offset", pwritev2(fd, &v, 1, 0, 0));
	noted("pwritev", pwritev(fd, &v, 1, 0));
	noted("pwrite", pwrite(fd, "zzz", 3, 0));
	await(TO_B);
	wr(fd, "xyz");
	rd(fd, 1, 0);
}

static int vd(int fd, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vdprintf(fd, fmt, ap);
	va_end(ap);
	return r;
}

/* dprintf writes from inside libc, where nothing can be interposed (rule 8). */
static void a_dprintf(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 7, MSG_WAITALL);
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 5, MSG_WAITALL);
	rd(fd, 3, MSG_WAITALL);
}

static void b_dprintf(int fd)
{
	wr(fd, "abc");
	note(" dprintf=%d", dprintf(fd, "n=%d.", 1234));
	wr(fd, "xyz");
	note(" vdprintf=%d", vd(fd, "v=%d.", 56));
	wr(fd, "end");
	rd(fd, 1, 0);
}

static int file_of(size_t n)
{
	static char buf[65536];
	FILE *f = tmpfile();
	int fd = dup(fileno(f));

	fclose(f);
	for (size_t at = 0; at < n; at += sizeof(buf)) {
		size_t part = n - at < sizeof(buf) ? n - at : sizeof(buf);

		pattern(buf, at, part);
		if (write(fd, buf, part) != (ssize_t)part)
			abort();
	}
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void a_sendfile(int fd)
{
	int in = file_of(3000000);
	off_t at = 1000000;
	size_t n = 0;
	ssize_t r;

	noted("part", sendfile(fd, in, NULL, 300000));
	note(" pos=%ld", (long)lseek(in, 0, SEEK_CUR));
	while (n < 700000 && (r = sendfile(fd, in, NULL, 700000 - n)) > 0)
		n += (size_t)r;
	note(" more=%zu pos=%ld", n, (long)lseek(in, 0, SEEK_CUR));
	while (at < 3000000 && sendfile(fd, in, &at, 3000000) > 0)
		;
	note(" at=%ld pos=%ld", (long)at, (long)lseek(in, 0, SEEK_CUR));
	noted("past", sendfile(fd, in, &at, 10));
	noted("badfd", sendfile(fd, -1, NULL, 10));
	noted("socket_in", sendfile(fd, fd, NULL, 10));
	at = -1;
	noted("negative", sendfile(fd, in, &at, 10));
	noted("zero", sendfile(fd, in, NULL, 0));
	wr(fd, "end");
}

static void b_sendfile(int fd)
{
	note(" got=%zu", take(fd, 0, 3000000));
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* Whether sendfile can read from a pipe is for the kernel to say. */
static void a_sendfile_pipe(int fd)
{
	int p[2];
	off_t at = 0;

	if (pipe(p) || write(p[1], "pipe", 4) != 4)
		return;
	noted("offset", sendfile(fd, p[0], &at, 4));
	noted("pipe", sendfile(fd, p[0], NULL, 4));
	wr(fd, "end");
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void b_sendfile_pipe(int fd)
{
	rd(fd, 20, MSG_WAITALL);
	close(fd);
}

/* Out of a file opened for writing only, and a nonblocking socket that fills up. */
static void a_sendfile_nonblock(int fd)
{
	int in = file_of(16000000), bad = open("/dev/null", O_WRONLY);
	size_t n = 0;
	off_t at = 0;

	noted("writeonly", sendfile(fd, bad, NULL, 10));
	nonblock(fd, true);
	while (n < 16000000) {
		ssize_t r = sendfile(fd, in, &at, 16000000 - n);

		if (r > 0)
			n += (size_t)r;
		else if (r == 0 || errno != EAGAIN || at != (off_t)n ||
			 poll(&(struct pollfd){ fd, POLLOUT, 0 }, 1, 5000) != 1)
			break;
	}
	note(" sent=%zu", n);
}

static void b_sendfile_nonblock(int fd)
{
	note(" got=%zu", take(fd, 0, 16000000));
	rd(fd, 1, 0);
}

/* The same from the beginning on, so that the connection moves, or does not, in the middle of it. */
static void a_sendfile_young(int fd)
{
	a_sendfile_nonblock(fd);
}

static void b_sendfile_young(int fd)
{
	b_sendfile_nonblock(fd);
}

/* A young connection's sendfile is the kernel's own, and so is its signal, if nobody has blocked that. */
static void a_sendfile_epipe(int fd)
{
	int in = file_of(1000);
	off_t at = 0;
	sigset_t set, was;

	handle(SIGPIPE, SA_RESTART);
	nonblock(fd, true);
	noted("first", sendfile(fd, in, &at, 600));
	shutdown(fd, SHUT_WR);
	noted("shut", sendfile(fd, in, &at, 600));
	note(" at=%ld signals=%d", (long)at, signals);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, &was);
	noted("blocked", sendfile(fd, in, &at, 600));
	sigpending(&set);
	note(" signals=%d pending=%d", signals, sigismember(&set, SIGPIPE));
	sigprocmask(SIG_SETMASK, &was, NULL);
	note(" signals=%d", signals);
}

static void b_sendfile_epipe(int fd)
{
	note(" got=%zu", take(fd, 0, 600));
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(readv, "5", WARM),
	CASE(readv_young, "5", YOUNG),
	CASE(writev, "5,1", WARM),
	CASE_F(waitall_big, "5,9", WARM, SLOW),
	CASE(bad_parts, "5", WARM),
	CASE(msg, "5", WARM),
	CASE(recvmmsg, "5,11", WARM),
	CASE(sendmmsg, "5", WARM),
	CASE(pwritev2, "4,8", WARM),
	CASE(dprintf, "4,8", WARM),
	CASE(sendfile, "5", WARM),
	CASE(sendfile_pipe, "5", WARM),
	CASE_F(sendfile_nonblock, "5,9", WARM, SLOW),
	CASE_F(sendfile_young, "5,6", COLD, SLOW),
	CASE(sendfile_epipe, "5,6", COLD),
};
GROUP(vector);
