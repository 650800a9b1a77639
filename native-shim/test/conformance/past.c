/* SPDX-License-Identifier: Apache-2.0 */
/* past.c - cases about calls that go past the shim, limits that it must not meet, and little room (rules 8, 11 and 15). */
#include <aio.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "harness.h"

/* ---- POSIX asynchronous I/O ---- */

static void asynchronous(struct aiocb *cb, bool write)
{
	const struct aiocb *list[1] = { cb };
	struct timespec t = { 3, 0 };
	int rc;

	noted("aio", write ? aio_write(cb) : aio_read(cb));
	go(TO_B);
	rc = aio_suspend(list, 1, &t);
	noted("suspend", rc);
	if (!rc)
		note(" n=%zd", aio_return(cb));
}

static void a_aio_reads(int fd)
{
	static char b[8];
	static struct aiocb cb;

	cb = (struct aiocb){ .aio_fildes = fd, .aio_buf = b, .aio_nbytes = 5 };
	asynchronous(&cb, false);
	note(":%.5s", b);
	wr(fd, "x");
}

static void b_aio_reads(int fd)
{
	await(TO_B);
	wr(fd, "bytes");
	rd(fd, 1, 0);
}

static void a_aio_writes(int fd)
{
	static char b[8] = "bytes";
	static struct aiocb cb;

	cb = (struct aiocb){ .aio_fildes = fd, .aio_buf = b, .aio_nbytes = 5 };
	asynchronous(&cb, true);
	wr(fd, "more");
	rd(fd, 1, 0);
}

static void b_aio_writes(int fd)
{
	await(TO_B);
	rd(fd, 9, MSG_WAITALL);
	wr(fd, "x");
}

/* ---- seccomp's strict mode: nothing but read(), write() and the thread's exit ---- */

/* A child's. */
static void a_strict_child(int fd)
{
	static const char answer[] = "fine\n";
	char b[5];
	pid_t p = kid();

	if (p == 0) {
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		ssize_t n = read(fd, b, 5);

		if (n == 5)
			n = write(fd, answer, 5);
		syscall(SYS_exit, n == 5 ? 7 : 8);
	}
	go(TO_B);
	reap(p);
	go(TO_B);
}

static void b_strict_child(int fd)
{
	await(TO_B);
	wr(fd, "12345");
	rcvtimeo(fd, 3000);
	rd(fd, 5, MSG_WAITALL);
	await(TO_B);
}

/* Its own, over bytes that wait. */
static void a_strict(int fd)
{
	static const char answer[] = "fine\n";
	char b[5];

	until_queued(fd, 5);
	go(TO_B);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL))
		_exit(1);
	ssize_t n = read(fd, b, 5);

	if (n == 5)
		n = write(fd, answer, 5);
	syscall(SYS_exit, 0);
}

static void b_strict(int fd)
{
	wr(fd, "12345");
	await(TO_B);
	rcvtimeo(fd, 3000);
	rd(fd, 5, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* While the peer sleeps. */
static void a_strict_writes(int fd)
{
	static const char answer[] = "fine\n", more[] = "more\n";

	go(TO_B);
	ms(150);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	ssize_t n = write(fd, answer, 5);

	if (n == 5)
		n = write(fd, more, 5);
	syscall(SYS_exit, 0);
}

static void b_strict_writes(int fd)
{
	await(TO_B);
	rcvtimeo(fd, 3000);
	rd(fd, 10, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* ---- cancellation of a close ---- */

static int cancel_fd;

static void *by_syscall(void *p)
{
	int *done = p;

	pthread_cancel(pthread_self());
	*done = 1;
	*done = 10 + (int)syscall(SYS_close, cancel_fd);
	return NULL;
}

static void *by_close(void *p)
{
	int *done = p;

	pthread_cancel(pthread_self());
	*done = 1;
	*done = 10 + close(cancel_fd);
	return NULL;
}

static void cancelled(int fd, void *(*fn)(void *))
{
	pthread_t t;
	int done = 0;

	cancel_fd = fd;
	pthread_create(&t, NULL, fn, &done);
	pthread_join(t, NULL);
	note(" done=%d open=%d", done, fcntl(fd, F_GETFD) >= 0);
}

/* No cancellation point. */
static void a_cancel_raw_close(int fd)
{
	cancelled(fd, by_syscall);
	go(TO_B);
	await(TO_A);
}

static void b_cancel_raw_close(int fd)
{
	await(TO_B);
	rcvtimeo(fd, 3000);
	rd(fd, 1, 0);
	go(TO_A);
}

/* One before it has closed anything. */
static void a_cancel_close(int fd)
{
	until_queued(fd, 3);
	cancelled(fd, by_close);
	rcvtimeo(fd, 3000);
	rd(fd, 3, 0);
	wr(fd, "abc");
	rd(fd, 3, 0);
}

static void b_cancel_close(int fd)
{
	wr(fd, "123");
	rcvtimeo(fd, 3000);
	rd(fd, 3, 0);
	wr(fd, "xyz");
	rd(fd, 1, 0);
}

/* ---- options that give control messages, flags that TCP does not look at, time that is left ---- */

#define TCP_INQ_OPTION 36

static void a_control_at_once(int fd)
{
	int one = 1;
	char b[8], ctl[256];

	noted("set", setsockopt(fd, IPPROTO_TCP, TCP_INQ_OPTION, &one, sizeof(one)));
	go(TO_B);
	ms(80); /* nothing else may be called in between */
	for (int i = 0; i < 2; i++) {
		struct iovec v = { b, 2 };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof(ctl) };
		ssize_t n = recvmsg(fd, &m, 0);
		const struct cmsghdr *cm = CMSG_FIRSTHDR(&m);

		note(" n=%zd control=%d", n, cm ? cm->cmsg_type : -1);
	}
	go(TO_B);
}

static void b_control_at_once(int fd)
{
	await(TO_B);
	wr(fd, "abcd");
	await(TO_B);
}

static void a_recv_flags(int fd)
{
	static const int flags[] = { MSG_WAITFORONE, 0x10, 0x200, 0x400, 0x800, 0x1000, MSG_BATCH, MSG_ZEROCOPY,
				     MSG_FASTOPEN, 0x20000, 0x80000 };

	until_queued(fd, 20);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		rd(fd, 1, flags[i] | MSG_DONTWAIT);
	go(TO_B);
}

static void b_recv_flags(int fd)
{
	wr(fd, "abcdefghijklmnopqrst");
	await(TO_B);
}

static void a_mmsg_time_left(int fd)
{
	struct timespec t = { 5, 0 };
	char b[8];
	struct iovec v = { b, 8 };
	struct mmsghdr m = { .msg_hdr = { .msg_iov = &v, .msg_iovlen = 1 } };

	until_queued(fd, 8);
	noted("recvmmsg", recvmmsg(fd, &m, 1, 0, &t));
	note(" left=%ld", (long)t.tv_sec);
	go(TO_B);
}

static void b_mmsg_time_left(int fd)
{
	wr(fd, "datadata");
	await(TO_B);
}

/* More messages than may be: the array need not be so long. */
static void a_mmsg_beyond(int fd)
{
	size_t size = IOV_MAX * sizeof(struct mmsghdr), whole = (size + 4095) & ~4095ul;
	char *m = mmap(NULL, whole + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int sv[2];

	mprotect(m + whole, 4096, PROT_NONE);
	socketpair(AF_UNIX, SOCK_DGRAM, 0, sv);
	note(" some=%d", sendmmsg(sv[0], (void *)(m + whole - size), 100000, MSG_DONTWAIT) > 0);
	note(" none=%d/%s", sendmmsg(sv[0], NULL, 1, MSG_DONTWAIT), strerrorname_np(errno));
	wr(fd, "x");
	rd(fd, 1, 0);
}

static void b_mmsg_beyond(int fd)
{
	rd(fd, 1, 0);
	wr(fd, "y");
}

/* ---- little room ---- */

static void a_small_files(int listener)
{
	struct rlimit r = { 4096, 4096 };
	int fd;

	setrlimit(RLIMIT_FSIZE, &r);
	fd = pick(listener);
	wr(fd, "x");
	rd(fd, 1, 0);
}

static void b_small_files(int none)
{
	int fd = dial();

	(void)none;
	rd(fd, 1, 0);
	wr(fd, "y");
}

/* In a thread with little stack. */
struct little {
	pthread_t t;
	int fd;
	int error;
	ssize_t result;
};

static void *little_nothing(void *arg)
{
	return arg;
}

static void *little_sendfile(void *arg)
{
	struct little *l = arg;
	int in = open("/proc/self/exe", O_RDONLY);
	off_t at = 0;

	l->result = sendfile(l->fd, in, &at, 100000);
	l->error = errno;
	close(in);
	return NULL;
}

static void *little_trunc(void *arg)
{
	struct little *l = arg;

	l->result = recv(l->fd, NULL, 2, MSG_TRUNC);
	l->error = errno;
	return NULL;
}

static void *little_select(void *arg)
{
	struct little *l = arg;
	struct timeval tv = { 1, 0 };
	fd_set r;

	FD_ZERO(&r);
	FD_SET(l->fd, &r);
	l->result = select(l->fd + 1, &r, NULL, NULL, &tv);
	l->error = errno;
	return NULL;
}

/* The least that there can be: how much glibc keeps of a stack for thread-local data is found by trying. */
static void with_little(int fd, void *(*fn)(void *))
{
	struct little l = { .fd = fd };
	pthread_attr_t attr;
	size_t size = PTHREAD_STACK_MIN;

	pthread_attr_init(&attr);
	for (;; size += 4096) {
		pthread_attr_setstacksize(&attr, size);
		if (!pthread_create(&l.t, &attr, little_nothing, NULL))
			break;
	}
	pthread_join(l.t, NULL);
	pthread_attr_setstacksize(&attr, size + 4096);
	noted("create", pthread_create(&l.t, &attr, fn, &l));
	pthread_join(l.t, NULL);
	errno = l.error;
	noted("result", l.result);
}

static void a_little_sendfile(int fd)
{
	with_little(fd, little_sendfile);
	go(TO_B);
}

static void b_little_sendfile(int fd)
{
	char c;
	size_t n = 0;

	while (n < 100000 && recv(fd, &c, 1, 0) == 1)
		n++;
	note(" n=%zu", n);
	await(TO_B);
}

static void a_little_trunc(int fd)
{
	until_queued(fd, 4);
	with_little(fd, little_trunc);
	rd(fd, 4, MSG_DONTWAIT);
	go(TO_B);
}

static void b_little_trunc(int fd)
{
	wr(fd, "four");
	await(TO_B);
}

static void a_little_select(int fd)
{
	until_queued(fd, 4);
	with_little(fd, little_select);
	go(TO_B);
}

static void b_little_select(int fd)
{
	wr(fd, "four");
	await(TO_B);
}

static const struct test_case cases[] = {
	CASE(aio_reads, "8", WARM),
	CASE(aio_writes, "8", WARM),
	CASE(strict_child, "8", WARM),
	CASE(strict, "8", WARM),
	CASE(strict_writes, "8", WARM),
	CASE(cancel_raw_close, "14,16", WARM),
	CASE(cancel_close, "14,16", WARM),
	CASE(control_at_once, "8", WARM),
	CASE(recv_flags, "5", WARM),
	CASE(mmsg_time_left, "11", WARM),
	CASE(mmsg_beyond, "5", WARM),
	CASE(small_files, "15", RAW_COLD),
	CASE_F(little_sendfile, "5", WARM, SLOW),
	CASE_F(little_trunc, "5", WARM, SLOW),
	CASE_F(little_select, "11", WARM, SLOW),
};
GROUP(past);
