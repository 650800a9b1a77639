/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - cases about read, write and their flags. */
#include "harness.h"

/* Bytes, then the end of file, as often as one asks. */
static void a_eof(int fd)
{
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	rdx(fd, 10);
	pl(fd, POLLIN | POLLRDHUP, 0);
}

static void b_eof(int fd)
{
	wr(fd, "bye");
	close(fd);
}

static void a_peek(int fd)
{
	int n = 0;

	await(TO_A);
	rd(fd, 3, MSG_PEEK);
	rd(fd, 10, MSG_PEEK);
	ioctl(fd, FIONREAD, &n);
	note(" fionread=%d", n);
	rd(fd, 2, 0);
	rd(fd, 10, MSG_PEEK);
	rd(fd, 10, 0);
	rd(fd, 10, MSG_DONTWAIT);
	rd(fd, 1, MSG_PEEK | MSG_DONTWAIT);
	go(TO_B);
}

static void b_peek(int fd)
{
	wr(fd, "abcdefg");
	go(TO_A);
	await(TO_B);
}

static void a_waitall(int fd)
{
	rd(fd, 6, MSG_WAITALL);
	rd(fd, 6, MSG_WAITALL);
	rd(fd, 6, MSG_WAITALL);
}

static void b_waitall(int fd)
{
	wr(fd, "ab");
	ms(10);
	wr(fd, "cd");
	ms(10);
	wr(fd, "efgh");
	ms(10);
	close(fd);
}

static void a_timeo(int fd)
{
	rcvtimeo(fd, 50);
	rd(fd, 5, 0);
	go(TO_B);
	rcvtimeo(fd, 3000);
	rd(fd, 5, 0);
	rcvtimeo(fd, 0);
	go(TO_B);
	rd(fd, 5, 0);
}

static void b_timeo(int fd)
{
	await(TO_B);
	wr(fd, "now");
	await(TO_B);
	ms(80);
	wr(fd, "late");
	rd(fd, 1, 0);
}

/* With a time-out WAITALL gives what has come. */
static void a_waitall_timeo(int fd)
{
	rcvtimeo(fd, 60);
	await(TO_A);
	until_queued(fd, 3);
	rd(fd, 10, MSG_WAITALL);
	rd(fd, 10, MSG_WAITALL);
	go(TO_B);
}

static void b_waitall_timeo(int fd)
{
	wr(fd, "abc");
	go(TO_A);
	await(TO_B);
}

/* Each side writes before it reads: what TCP's buffers absorb a ring must absorb too (rule 9). */
static void a_both_write(int fd)
{
	note(" put=%zu", put(fd, 0, 3000000));
	note(" got=%zu", take(fd, 0, 3000000));
}

static void b_both_write(int fd)
{
	a_both_write(fd);
}

static void a_sleeping_reader(int fd)
{
	note(" put=%zu", put(fd, 0, 2500000));
	go(TO_B);
	await(TO_A);
}

static void b_sleeping_reader(int fd)
{
	await(TO_B);
	note(" got=%zu", take(fd, 0, 2500000));
	go(TO_A);
}

/* Full, and then the reader takes a part and waits for word that the rest could be written. */
static void a_partial_reader(int fd)
{
	note(" put=%zu", put(fd, 0, 5500000));
	go(TO_B);
	await(TO_A);
}

static void b_partial_reader(int fd)
{
	ms(100);
	note(" got=%zu", take(fd, 0, 2500000));
	await(TO_B);
	note(" rest=%zu", take(fd, 2500000, 3000000));
	go(TO_A);
}

static void a_nonblock(int fd)
{
	nonblock(fd, true);
	rd(fd, 1, 0);
	rdx(fd, 1);
	go(TO_B);
	pl(fd, POLLIN, 3000);
	rd(fd, 5, 0);
	rd(fd, 5, 0);
	pl(fd, POLLIN, 20);
	pl(fd, POLLOUT, 0);
	nonblock(fd, false);
	go(TO_B);
	rd(fd, 5, 0);
}

static void b_nonblock(int fd)
{
	await(TO_B);
	wr(fd, "data");
	await(TO_B);
	ms(20);
	wr(fd, "block");
	rd(fd, 1, 0);
}

/* A short write means full: after it EAGAIN, until somebody reads. */
static void a_nonblock_full(int fd)
{
	size_t n = 0, more;

	nonblock(fd, true);
	n = fill(fd, 0);
	nonblock(fd, true);
	errno = EAGAIN;
	note(" short=%d/%s", n < 60000000, err(-1));
	pl(fd, POLLOUT, 0);
	go(TO_B);
	pl(fd, POLLOUT, 5000);
	nonblock(fd, false);
	more = put(fd, n, 60000000 - n);
	note(" all=%d", n + more == 60000000);
}

static void b_nonblock_full(int fd)
{
	await(TO_B);
	note(" got=%zu", take(fd, 0, 60000000));
}

static void a_sndtimeo(int fd)
{
	size_t n;

	sndtimeo(fd, 100);
	n = put(fd, 0, 60000000);
	note(" short=%d/%s", n < 60000000, err(-1));
	go(TO_B);
	sndtimeo(fd, 0);
	note(" all=%d", n + put(fd, n, 60000000 - n) == 60000000);
}

static void b_sndtimeo(int fd)
{
	b_nonblock_full(fd);
}

/* Urgent bytes go by TCP, in their place between the others (rule 8). */
static void a_oob(int fd)
{
	rd(fd, 3, MSG_WAITALL);
	pl(fd, POLLPRI, 3000);
	rd(fd, 1, MSG_OOB);
	go(TO_B);
	rd(fd, 3, MSG_WAITALL);
	rd(fd, 1, MSG_OOB);
	go(TO_B);
}

static void b_oob(int fd)
{
	wr(fd, "abc");
	wrf(fd, "!", MSG_OOB | MSG_NOSIGNAL);
	await(TO_B);
	wr(fd, "def");
	await(TO_B);
}

/* A call for no bytes: read gives 0 at once, and so on; nothing is waited for. */
static void a_zero(int fd)
{
	char b[1] = "";
	struct iovec v[2] = { { b, 0 }, { b, 0 } };

	noted("read0", read(fd, b, 0));
	noted("readv0", readv(fd, v, 2));
	noted("write0", write(fd, b, 0));
	noted("send0", send(fd, b, 0, MSG_NOSIGNAL));
	noted("writev0", writev(fd, v, 2));
	noted("recv0dontwait", recv(fd, b, 0, MSG_DONTWAIT));
	go(TO_B);
	until_queued(fd, 1);
	noted("recv0", recv(fd, b, 0, 0));
	noted("peek0", recv(fd, b, 0, MSG_PEEK));
	rd(fd, 1, 0);
}

static void b_zero(int fd)
{
	await(TO_B);
	rd(fd, 1, MSG_DONTWAIT);
	wr(fd, "x");
	rd(fd, 1, 0);
}

/* recv of no bytes waits for data as any other (tcp_recvmsg looks before it counts); read does not. */
static void a_zero_waits(int fd)
{
	char b[1];

	go(TO_B);
	noted("recv0", recv(fd, b, 0, 0));
	rd(fd, 4, MSG_WAITALL);
	go(TO_B);
}

static void b_zero_waits(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "data");
	await(TO_B);
}

static void a_efault(int fd)
{
	struct iovec bad = { (void *)8, 3 };
	struct msghdr m = { .msg_iov = &bad, .msg_iovlen = 1 };

	until_queued(fd, 3);
	noted("read", read(fd, (void *)8, 3));
	noted("readv", readv(fd, &bad, 1));
	noted("recv", recv(fd, NULL, 3, 0));
	noted("recvmsg", recvmsg(fd, &m, 0));
	noted("write", write(fd, (void *)8, 3));
	noted("writev", writev(fd, &bad, 1));
	noted("send", send(fd, NULL, 3, MSG_NOSIGNAL));
	noted("sendmsg", sendmsg(fd, &m, MSG_NOSIGNAL));
	rd(fd, 3, 0);
	wr(fd, "ok");
}

static void b_efault(int fd)
{
	wr(fd, "abc");
	rd(fd, 2, MSG_WAITALL);
	rd(fd, 1, 0);
}

static void a_peek_waitall_fin(int fd)
{
	rd(fd, 10, MSG_PEEK | MSG_WAITALL);
	rd(fd, 10, 0);
	rd(fd, 10, MSG_PEEK | MSG_WAITALL);
}

static void b_peek_waitall_fin(int fd)
{
	wr(fd, "abc");
	ms(20);
	close(fd);
}

static void a_peek_waitall_timeo(int fd)
{
	rcvtimeo(fd, 80);
	until_queued(fd, 3);
	rd(fd, 10, MSG_PEEK | MSG_WAITALL);
	rd(fd, 2, MSG_PEEK | MSG_WAITALL);
	rd(fd, 3, 0);
	go(TO_B);
}

static void b_peek_waitall_timeo(int fd)
{
	wr(fd, "abc");
	await(TO_B);
}

/* MSG_TRUNC on a stream throws bytes away, into no buffer. */
static void a_trunc(int fd)
{
	char b[8] = "none";

	until_queued(fd, 8);
	note(" trunc=%zd", recv(fd, b, 4, MSG_TRUNC));
	note(":%.4s", b);
	rd(fd, 4, 0);
	noted("null", recv(fd, NULL, 3, MSG_TRUNC | MSG_DONTWAIT));
	go(TO_B);
	until_queued(fd, 3);
	noted("null", recv(fd, NULL, 2, MSG_TRUNC));
	rd(fd, 4, 0);
	go(TO_B);
}

static void b_trunc(int fd)
{
	wr(fd, "abcdefgh");
	await(TO_B);
	wr(fd, "xyz");
	await(TO_B);
}

static void a_errqueue(int fd)
{
	char b[8];
	struct iovec v = { b, 8 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	noted("recv", recv(fd, b, 8, MSG_ERRQUEUE));
	noted("recvmsg", recvmsg(fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT));
	pl(fd, POLLERR, 0);
	go(TO_B);
	rd(fd, 3, MSG_WAITALL);
}

static void b_errqueue(int fd)
{
	await(TO_B);
	wr(fd, "abc");
	rd(fd, 1, 0);
}

/* MSG_ZEROCOPY without SO_ZEROCOPY is an ordinary send; MSG_FASTOPEN on a connection that stands is refused. */
static void a_odd_flags(int fd)
{
	wrf(fd, "zero", MSG_ZEROCOPY | MSG_NOSIGNAL);
	wrf(fd, "more", MSG_MORE | MSG_NOSIGNAL);
	wrf(fd, "eor", MSG_EOR | MSG_NOSIGNAL);
	wrf(fd, "conf", MSG_CONFIRM | MSG_NOSIGNAL);
	rd(fd, 3, MSG_WAITALL | MSG_NOSIGNAL);
	wrf(fd, "fast", MSG_FASTOPEN | MSG_NOSIGNAL);
	wr(fd, "last");
}

static void b_odd_flags(int fd)
{
	rd(fd, 15, MSG_WAITALL);
	wr(fd, "abc");
	rd(fd, 12, MSG_WAITALL);
	rd(fd, 1, 0);
}

static void a_fionread(int fd)
{
	int n = -1;

	note(" r=%d", ioctl(fd, FIONREAD, &n));
	note(":%d", n);
	go(TO_B);
	until_queued(fd, 100000);
	ioctl(fd, FIONREAD, &n);
	note(":%d", n);
	note(" got=%zu", take(fd, 0, 30000));
	ioctl(fd, FIONREAD, &n);
	note(":%d", n);
	note(" got=%zu", take(fd, 30000, 70000));
	ioctl(fd, FIONREAD, &n);
	note(":%d", n);
	go(TO_B);
	until_state(fd, CLOSE_WAIT);
	ioctl(fd, FIONREAD, &n);
	note(":%d", n);
}

static void b_fionread(int fd)
{
	await(TO_B);
	note(" put=%zu", put(fd, 0, 100000));
	await(TO_B);
	close(fd);
}

/* recvfrom and sendto: TCP gives no address and takes none. */
static void a_from_to(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char b[8];
	ssize_t r = recvfrom(fd, b, 3, MSG_WAITALL, (struct sockaddr *)&ss, &len);

	note(" recvfrom=%zd:%.3s len=%u", r, b, len);
	ss = conf_address(&len);
	noted("sendto", sendto(fd, "xyz", 3, MSG_NOSIGNAL, (struct sockaddr *)&ss, len));
	noted("sendto", sendto(fd, "123", 3, MSG_NOSIGNAL, NULL, 0));
}

static void b_from_to(int fd)
{
	wr(fd, "abc");
	rd(fd, 6, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* Many sizes through both areas of the ring, to and fro. */
static void a_echo(int fd)
{
	static char buf[300000];
	size_t sum = 0;

	for (size_t n = 1; n < sizeof(buf); n = n * 3 + 7) {
		ssize_t r = recv(fd, buf, n, MSG_WAITALL);

		if (r != (ssize_t)n || !same(buf, n, n) || send(fd, buf, n, MSG_NOSIGNAL) != r)
			break;
		sum += n;
	}
	note(" sum=%zu", sum);
}

static void b_echo(int fd)
{
	size_t sum = 0;

	for (size_t n = 1; n < 300000; n = n * 3 + 7)
		if (put(fd, n, n) == n && take(fd, n, n) == n)
			sum += n;
	note(" sum=%zu", sum);
}

static const struct test_case cases[] = {
	CASE(eof, "16,17", WARM),
	CASE(peek, "5", WARM),
	CASE(waitall, "5,16", WARM),
	CASE(timeo, "11,14", WARM),
	CASE(waitall_timeo, "11", WARM),
	CASE_F(both_write, "9", WARM, SLOW),
	CASE_F(sleeping_reader, "9,13", WARM, SLOW),
	CASE_F(partial_reader, "9,13", WARM, SLOW),
	CASE(nonblock, "11", WARM),
	CASE_F(nonblock_full, "9,5", WARM, SLOW),
	CASE_F(sndtimeo, "9,14", WARM, SLOW),
	CASE(oob, "8,7", WARM),
	CASE(zero, "5", WARM),
	CASE(zero_waits, "5,11", WARM),
	CASE(efault, "1", WARM),
	CASE(peek_waitall_fin, "5,16", WARM),
	CASE(peek_waitall_timeo, "5,14", WARM),
	CASE(trunc, "5", WARM),
	CASE(errqueue, "8", WARM),
	CASE(odd_flags, "8", WARM),
	CASE(fionread, "5", WARM),
	CASE(from_to, "5", WARM),
	CASE(echo, "1,5", WARM),
};
GROUP(io);
