/* SPDX-License-Identifier: Apache-2.0 */
/* rare.c - cases about arguments that few programs give. */
#include <sched.h>
#include <sys/select.h>
#include <sys/sendfile.h>

#include "harness.h"

static int file_with(off_t n)
{
	FILE *f = tmpfile();
	int fd = dup(fileno(f));

	fclose(f);
	if (write(fd, "content", 7) != 7 || ftruncate(fd, n))
		abort();
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* The kernel sends no files to what is open for appending, a socket too. */
static void a_sendfile_append(int fd)
{
	int in = file_with(7), flags = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, flags | O_APPEND);
	noted("append", sendfile(fd, in, NULL, 7));
	note(" pos=%ld", (long)lseek(in, 0, SEEK_CUR));
	fcntl(fd, F_SETFL, flags);
	noted("plain", sendfile(fd, in, NULL, 7));
	wr(fd, "end");
}

static void b_sendfile_append(int fd)
{
	rd(fd, 10, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* No call moves more than 2 GiB less a page. */
static void a_sendfile_most(int fd)
{
	int in = file_with((off_t)1 << 32);
	off_t at = 0;

	noted("sendfile", sendfile(fd, in, &at, (size_t)1 << 32));
	note(" at=%ld", (long)at);
}

static void b_sendfile_most(int fd)
{
	read_out(fd);
}

/* dup3 with a flag that is none changes nothing. */
static void a_dup3_flags(int fd)
{
	int p[2];

	if (pipe(p))
		return;
	noted("dup3", dup3(p[0], fd, 0x12345));
	wr(fd, "still");
	rd(fd, 5, MSG_WAITALL);
	noted("dup3", dup3(fd, p[0], 0x12345));
	pl(fd, POLLIN | POLLOUT, 0);
}

static void b_dup3_flags(int fd)
{
	rd(fd, 5, MSG_WAITALL);
	wr(fd, "there");
	rd(fd, 1, 0);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* A hang-up is nothing to who waits for urgent bytes alone. */
static void except_only(int fd, int n_ms)
{
	fd_set e;
	uint64_t t = now();
	struct timeval tv = { 0, n_ms * 1000 };

	FD_ZERO(&e);
	FD_SET(fd, &e);
	int r = select(fd + 1, NULL, NULL, &e, &tv);

	note(" select=%d waited=%d", r, now() - t >= (uint64_t)n_ms / 2);
}

static void a_except_only(int fd)
{
	except_only(fd, 60);
	go(TO_B);
	until_state(fd, CLOSED);
	except_only(fd, 60);
	pl(fd, POLLPRI, 0);
	rd(fd, 1, 0);
	except_only(fd, 60);
}

static void b_except_only(int fd)
{
	linger_of(fd, 1, 0);
	await(TO_B);
	close(fd);
}

/* A thread with a table of descriptors of its own: what it closes stays open for the others. */
static void t_own_table(struct thr *t)
{
	int rc = unshare(CLONE_FILES);

	t->used += (size_t)snprintf(t->text, sizeof(t->text), " unshare=%d close=%d", rc, close(t->fd));
}

static void a_own_table(int fd)
{
	struct thr t = { 0 };

	until_queued(fd, 3);
	thr_start(&t, t_own_table, fd, 0);
	thr_join(&t);
	go(TO_B);
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "answer");
}

static void b_own_table(int fd)
{
	wr(fd, "abc");
	await(TO_B);
	rd(fd, 6, MSG_WAITALL);
}

/* close_range() does both. */
static void t_close_range(struct thr *t)
{
	int rc = close_range((unsigned int)t->fd, (unsigned int)t->fd, 2);

	t->used += (size_t)snprintf(t->text, sizeof(t->text), " close_range=%d", rc);
}

static void a_own_range(int fd)
{
	struct thr t = { 0 };

	until_queued(fd, 3);
	thr_start(&t, t_close_range, fd, 0);
	thr_join(&t);
	go(TO_B);
	rd(fd, 3, MSG_WAITALL);
	wr(fd, "answer");
}

static void b_own_range(int fd)
{
	wr(fd, "abc");
	await(TO_B);
	rd(fd, 6, MSG_WAITALL);
}

/* A one-shot registration that has fired tells nothing, not even of a hang-up, until it is armed again. */
static void a_fired_hup(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLONESHOT, 5);
	go(TO_B);
	ew(ep, 3000);
	fcntl(fd, F_SETOWN, 0);
	rd(fd, 4, 0);
	go(TO_B);
	until_queued(fd, 2);
	rd(fd, 4, 0);
	ew(ep, 20);
	go(TO_B);
	until_state(fd, CLOSED);
	ew(ep, 100);
	ep_mod(ep, fd, EPOLLIN, 6);
	ew(ep, 100);
}

static void b_fired_hup(int fd)
{
	await(TO_B);
	wr(fd, "abcd");
	await(TO_B);
	wr(fd, "ef");
	linger_of(fd, 1, 0);
	await(TO_B);
	close(fd);
}

/* The same on the ring. */
static void a_fired_hup_ring(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLONESHOT, 5);
	go(TO_B);
	ew(ep, 3000);
	rd(fd, 4, 0);
	ew(ep, 20);
	go(TO_B);
	until_queued(fd, 2);
	ew(ep, 20);
	go(TO_B);
	until_state(fd, CLOSED);
	ew(ep, 100);
	rd(fd, 4, 0);
	ew(ep, 100);
	rd(fd, 4, 0);
	ew(ep, 100);
	ep_mod(ep, fd, EPOLLIN, 6);
	ew(ep, 100);
}

static void b_fired_hup_ring(int fd)
{
	b_fired_hup(fd);
}

/* Two numbers in two sets, of which one goes. */
static void a_edge_dup(int fd)
{
	int e1 = epoll_create1(0), e2 = epoll_create1(0), d = dup(fd);

	ep_add(e1, fd, EPOLLIN | EPOLLET, 1);
	ep_add(e1, d, EPOLLIN | EPOLLET | EPOLLONESHOT, 2);
	ep_add(e2, d, EPOLLIN | EPOLLRDHUP, 3);
	go(TO_B);
	until_queued(fd, 4);
	ewn(e1, 4, 1000);
	ewn(e1, 4, 0);
	rd(fd, 2, MSG_PEEK);
	ewn(e1, 4, 0);
	ewn(e2, 4, 0);
	close(d);
	ewn(e2, 4, 0);
	ewn(e1, 4, 0);
	go(TO_B);
	until_queued(fd, 8);
	ewn(e1, 4, 1000);
	ewn(e2, 4, 0);
	rd(fd, 8, 0);
	ewn(e2, 4, 0);
	go(TO_B);
	until_ended(fd);
	ewn(e1, 4, 1000);
	ewn(e2, 4, 1000);
	rd(fd, 8, 0);
}

static void b_edge_dup(int fd)
{
	for (int i = 0; i < 2; i++) {
		await(TO_B);
		wr(fd, "abcd");
	}
	await(TO_B);
	close(fd);
}

#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif
#define TCP_FASTOPEN_NO_COOKIE 34

/* connect() that sends nothing: the first write does it, and waits. */
static void a_tfo(int listener)
{
	int fd;

	ms(20);
	fd = pick(listener);
	rd(fd, 4, MSG_WAITALL);
	cross(fd);
	rd(fd, 4, MSG_WAITALL);
	wr(fd, "x");
}

static void b_tfo(int none)
{
	socklen_t len;
	struct sockaddr_storage ss = conf_address(&len);
	int fd = socket(ss.ss_family, SOCK_STREAM, 0), one = 1;

	(void)none;
	noted("option", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)));
	noted("option", setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, &one, sizeof(one)));
	noted("connect", connect(fd, (struct sockaddr *)&ss, len));
	note(" state=%d", tcp_state(fd));
	noted("write", write(fd, "fast", 4));
	cross(fd);
	wr(fd, "last");
	rd(fd, 1, 0);
}

/* The same with more than a window. */
static void a_tfo_big(int listener)
{
	int fd = pick(listener);

	note(" got=%zu", take(fd, 0, 1000000));
	wr(fd, "x");
}

static void b_tfo_big(int none)
{
	socklen_t len;
	struct sockaddr_storage ss = conf_address(&len);
	int fd = socket(ss.ss_family, SOCK_STREAM, 0), one = 1;
	static char buf[1000000];

	(void)none;
	pattern(buf, 0, sizeof(buf));
	setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, &one, sizeof(one));
	noted("connect", connect(fd, (struct sockaddr *)&ss, len));
	noted("write", write(fd, buf, sizeof(buf)));
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(sendfile_append, "5", WARM),
	CASE_F(sendfile_most, "5", WARM, SLOW),
	CASE(dup3_flags, "8,16", WARM),
	CASE(except_only, "11,16", WARM),
	CASE(own_table, "8,18", WARM),
	CASE(own_range, "8,18", WARM),
	CASE(fired_hup, "8,12", WARM),
	CASE(fired_hup_ring, "12", WARM),
	CASE(edge_dup, "5,12", WARM),
	CASE(tfo, "6,8", RAW_COLD),
	CASE(tfo_big, "6,8", RAW_COLD),
};
GROUP(rare);
