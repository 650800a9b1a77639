/* SPDX-License-Identifier: Apache-2.0 */
/* corners.c - cases about rare arguments and rare ends of calls: recvmmsg, MSG_TRUNC, select, shutdown twice, closes that are not close(). */
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

#include "harness.h"

#define OWED 1500000

/* The sending side is shut twice while its bytes are owed to TCP: the end must not overtake them. */
static void a_shut_twice(int fd)
{
	await(TO_A);
	note(" dup2=%d", dup2(fd, 0)); /* a reader that leaves the ring */
	go(TO_B);
	await(TO_A);
	note(" got=%zu", take(fd, 0, OWED));
	rd(fd, 1, 0);
}

static void b_shut_twice(int fd)
{
	int small = 16384;

	note(" put=%zu", put(fd, 0, OWED));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	go(TO_A);
	await(TO_B);
	noted("shut", shutdown(fd, SHUT_WR));
	noted("shut", shutdown(fd, SHUT_WR));
	go(TO_A);
	rd(fd, 1, 0);
}

static void many(int fd, unsigned int n, int flags, struct timespec *timeout)
{
	struct mmsghdr m[4] = { 0 };
	struct iovec v[4];
	char b[4][8];
	int r;

	for (int i = 0; i < 4; i++) {
		v[i] = (struct iovec){ b[i], 4 };
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	r = recvmmsg(fd, m, n, flags, timeout);
	note(" recvmmsg=%d/%s:%u", r, err(r), m[0].msg_len);
}

/* Reset in the second message: told by the next call. */
static void a_mmsg_reset(int fd)
{
	go(TO_B);
	many(fd, 2, 0, NULL);
	rd(fd, 1, 0);
	rd(fd, 1, 0);
}

static void b_mmsg_reset(int fd)
{
	await(TO_B);
	wr(fd, "data");
	ms(50);
	linger_of(fd, 1, 0);
	close(fd);
}

/* Reset before: this call looks for errors first. */
static void a_mmsg_after_reset(int fd)
{
	until_queued(fd, 4);
	go(TO_B);
	until_ended(fd);
	ms(30);
	many(fd, 2, MSG_DONTWAIT, NULL);
	rd(fd, 4, 0);
	rd(fd, 4, 0);
}

static void data_then_reset(int fd)
{
	wr(fd, "data");
	await(TO_B);
	linger_of(fd, 1, 0);
	close(fd);
}

static void b_mmsg_after_reset(int fd)
{
	data_then_reset(fd);
}

static void a_mmsg_timeout(int fd)
{
	struct timespec far = { 0, 2000000000 }, before = { -1, 0 };

	until_queued(fd, 8);
	many(fd, 1, 0, &far);
	many(fd, 1, 0, &before);
	rd(fd, 8, MSG_DONTWAIT);
	go(TO_B);
}

static void b_mmsg_timeout(int fd)
{
	wr(fd, "datadata");
	await(TO_B);
}

#define LOTS 2000

static void a_mmsg_lots(int fd)
{
	static struct mmsghdr m[LOTS];
	static struct iovec v = { (void *)"x", 1 };

	for (int i = 0; i < LOTS; i++) {
		m[i].msg_hdr.msg_iov = &v;
		m[i].msg_hdr.msg_iovlen = 1;
	}
	noted("sendmmsg", sendmmsg(fd, m, LOTS, MSG_NOSIGNAL));
	noted("sendmmsg", sendmmsg(fd, m, 0, MSG_NOSIGNAL));
}

static void b_mmsg_lots(int fd)
{
	char b[4096];

	while (recv(fd, b, sizeof(b), 0) > 0)
		;
}

static void a_trunc_peek(int fd)
{
	until_queued(fd, 50000);
	noted("peek", recv(fd, NULL, 100000, MSG_PEEK | MSG_TRUNC));
	noted("peek", recv(fd, NULL, 40000, MSG_PEEK | MSG_TRUNC));
	noted("take", recv(fd, NULL, 100000, MSG_TRUNC));
	go(TO_B);
}

static void b_trunc_peek(int fd)
{
	note(" put=%zu", put(fd, 0, 50000));
	await(TO_B);
}

static void a_trunc_reset(int fd)
{
	until_queued(fd, 16384);
	go(TO_B);
	until_ended(fd);
	ms(30);
	noted("take", recv(fd, NULL, 20000, MSG_TRUNC));
	rd(fd, 1, 0);
	rd(fd, 1, 0);
}

static void b_trunc_reset(int fd)
{
	put(fd, 0, 16384);
	await(TO_B);
	linger_of(fd, 1, 0);
	close(fd);
}

/* The size of the table instead of the highest number: what lies behind the set is none of it. */
static void a_select_table(int fd)
{
	static struct {
		fd_set set;
		unsigned char behind[1 << 18];
	} u;
	struct timeval tv = { 2, 0 };
	int n, p[2];

	memset(&u, 0xff, sizeof(u));
	FD_ZERO(&u.set);
	FD_SET(fd, &u.set);
	go(TO_B);
	n = select((int)sysconf(_SC_OPEN_MAX), &u.set, NULL, NULL, &tv);
	note(" select=%d/%s set=%d", n, err(n), FD_ISSET(fd, &u.set) != 0);
	rd(fd, 4, MSG_DONTWAIT);
	if (pipe(p) || write(p[1], "x", 1) != 1)
		return;
	FD_ZERO(&u.set);
	FD_SET(p[0], &u.set);
	n = select((int)sysconf(_SC_OPEN_MAX), &u.set, NULL, NULL, &tv);
	note(" select=%d/%s set=%d", n, err(n), FD_ISSET(p[0], &u.set) != 0);
}

static void b_select_table(int fd)
{
	await(TO_B);
	wr(fd, "data");
	rd(fd, 1, 0);
}

static void a_rare_arguments(int fd)
{
	struct iovec v = { (char[4]){ 0 }, 4 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_namelen = 77, .msg_flags = 5 };
	int f = memfd_create("file", 0);

	until_queued(fd, 4);
	noted("recvmsg", recvmsg(fd, &m, MSG_CMSG_CLOEXEC));
	note(" namelen=%d flags=%x", (int)m.msg_namelen, (unsigned int)m.msg_flags);
	if (ftruncate(f, 100))
		return;
	noted("sendfile", sendfile(fd, f, NULL, (size_t)-1));
	noted("sendfile", sendfile(fd, open("/proc/self/exe", O_PATH), NULL, 10));
	go(TO_B);
}

static void b_rare_arguments(int fd)
{
	wr(fd, "data");
	await(TO_B);
}

static void a_accept_length(int listener)
{
	struct sockaddr_storage ss;
	socklen_t len = (socklen_t)-1;

	noted("accept", accept(listener, (struct sockaddr *)&ss, &len));
}

static void b_accept_length(int none)
{
	int fd = dial();

	(void)none;
	ms(50);
	close(fd);
}

/* ---- closed by other ways than close(); the number is used again ---- */

static void number_is_a_pipe(int fd)
{
	char b[4] = "";
	int p[2];

	if (pipe(p))
		return;
	note(" same=%d", p[0] == fd);
	if (write(p[1], "abc", 3) != 3)
		return;
	pl(p[0], POLLIN, 1000);
	noted("read", read(p[0], b, 3));
	note(":%.3s", b);
	go(TO_B);
	noted("close", close(p[0]));
}

static void a_fclose_pipe(int fd)
{
	FILE *f;

	until_queued(fd, 4);
	f = fdopen(fd, "w");
	fputs("by stdio", f);
	noted("fclose", fclose(f));
	number_is_a_pipe(fd);
}

static void b_fclose_pipe(int fd)
{
	wr(fd, "data");
	rd(fd, 8, MSG_WAITALL);
	await(TO_B);
}

static void a_raw_close_pipe(int fd)
{
	until_queued(fd, 4);
	noted("close", syscall(SYS_close, fd));
	number_is_a_pipe(fd);
}

static void b_raw_close_pipe(int fd)
{
	wr(fd, "data");
	await(TO_B);
}

/* Closed with unread bytes; the next connection gets the number and must not inherit the reset. */
static void a_raw_close_next(int fd)
{
	int next;

	until_queued(fd, 4);
	syscall(SYS_close, fd);
	go(TO_B);
	next = pick(conf_listener);
	note(" same=%d", next == fd);
	wr(next, "hello");
	rd(next, 6, MSG_WAITALL);
	ms(30);
	close(next);
	go(TO_B);
}

static void b_raw_close_next(int fd)
{
	int next;

	wr(fd, "data");
	await(TO_B);
	next = dial();
	wr(next, "to you");
	rd(next, 5, MSG_WAITALL);
	await(TO_B);
	pl(next, POLLIN, 1000);
	rd(next, 5, 0);
}

static const struct test_case cases[] = {
	CASE(shut_twice, "7,16", WARM),
	CASE(mmsg_reset, "16", WARM),
	CASE(mmsg_after_reset, "16", WARM),
	CASE(mmsg_timeout, "11", WARM),
	CASE(mmsg_lots, "5", WARM),
	CASE(trunc_peek, "5", WARM),
	CASE(trunc_reset, "16", WARM),
	CASE(select_table, "15", WARM),
	CASE(rare_arguments, "5", WARM),
	CASE(accept_length, "11", RAW_COLD),
	CASE_F(fclose_pipe, "8,16", WARM, NOT_FAR),
	CASE(raw_close_pipe, "8,16", WARM),
	CASE_F(raw_close_next, "8,16", WARM, LISTENER | NOT_SWAPPED),
};
GROUP(corners);
