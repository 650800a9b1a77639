/* SPDX-License-Identifier: Apache-2.0 */
/* taken.c - cases about an error that the kernel tells once, and that somebody may take from it too early. */
#include "harness.h"

/* An error is told once: by getsockopt() before anybody has looked. */
static void soerr_then_read(int fd)
{
	go(TO_B);
	until_ended(fd);
	soerr(fd);
	soerr(fd);
	pl(fd, POLLIN | POLLOUT | POLLRDHUP, 0);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	soerr(fd);
	wr(fd, "x");
}

static void a_soerr_first(int fd)
{
	wr(fd, "unread");
	soerr_then_read(fd);
}

static void b_soerr_first(int fd)
{
	await(TO_B);
	until_queued(fd, 6);
	wr(fd, "xyz");
	close(fd);
}

static void a_soerr_reset(int fd)
{
	soerr_then_read(fd);
}

static void b_soerr_reset(int fd)
{
	linger_of(fd, 1, 0);
	await(TO_B);
	wr(fd, "xyz");
	close(fd);
}

/* A peek over the end of what there is leaves the error for who comes to it. */
static void a_peek_reset(int fd)
{
	until_queued(fd, 4);
	go(TO_B);
	until_ended(fd);
	rd(fd, 10, MSG_PEEK);
	rd(fd, 10, MSG_PEEK);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
}

static void b_peek_reset(int fd)
{
	linger_of(fd, 1, 0);
	wr(fd, "abcd");
	await(TO_B);
	close(fd);
}

/* The peer takes the connection off the ring with bytes unread, and resets it. */
static void owed_at_reset(int fd, bool read_first)
{
	wr(fd, "unread");
	go(TO_B);
	until_state(fd, CLOSED);
	if (!read_first)
		pl(fd, POLLIN | POLLOUT, 0);
	rd(fd, 10, 0);
	rd(fd, 10, 0);
	wr(fd, "x");
}

static void a_reset_owed(int fd)
{
	owed_at_reset(fd, true);
}

static void b_reset_owed(int fd)
{
	until_queued(fd, 6);
	await(TO_B);
	fcntl(fd, F_SETOWN, 0);
	linger_of(fd, 1, 0);
	close(fd);
}

static void a_reset_owed_poll(int fd)
{
	owed_at_reset(fd, false);
}

static void b_reset_owed_poll(int fd)
{
	b_reset_owed(fd);
}

/* A peer that is killed over bytes of ours leaves no error in the socket: this is a reset all the same. */
static void a_soerr_kill(int fd)
{
	wr(fd, "unread");
	soerr_then_read(fd);
}

static void b_soerr_kill(int fd)
{
	await(TO_B);
	until_queued(fd, 6);
	raise(SIGKILL);
}

/* recv of nothing takes it, too; and finds the end before it looks at an address. */
static void a_nothing_reset(int fd)
{
	char b[1];

	go(TO_B);
	until_ended(fd);
	noted("recv0", recv(fd, b, 0, 0));
	rd(fd, 1, 0);
	noted("recv0", recv(fd, b, 0, 0));
	noted("efault", recv(fd, NULL, 1, 0));
}

static void b_nothing_reset(int fd)
{
	await(TO_B);
	linger_of(fd, 1, 0);
	close(fd);
}

static void a_nothing_waits(int fd)
{
	char b[1];

	rcvtimeo(fd, 20);
	noted("timeo", recv(fd, b, 0, 0));
	rcvtimeo(fd, 0);
	go(TO_B);
	noted("recv0", recv(fd, b, 0, 0));
	rd(fd, 1, 0);
}

static void b_nothing_waits(int fd)
{
	await(TO_B);
	ms(20);
	linger_of(fd, 1, 0);
	close(fd);
}

static const struct test_case cases[] = {
	CASE_F(soerr_first, "16", WARM, NOT_FAR),
	CASE(soerr_reset, "16", WARM),
	CASE(soerr_kill, "16", WARM),
	CASE(nothing_reset, "16", WARM),
	CASE(nothing_waits, "11,16", WARM),
	CASE(peek_reset, "5,16", WARM),
	CASE(reset_owed, "7,16", WARM),
	CASE(reset_owed_poll, "7,16", WARM),
};
GROUP(taken);
