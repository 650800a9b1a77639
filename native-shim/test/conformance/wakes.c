/* SPDX-License-Identifier: Apache-2.0 */
/* wakes.c - cases about what wakes a thread that sleeps: ends of every kind, and other threads' epoll_ctl. */
#include <sys/select.h>

#include "harness.h"

static void t_poll(struct thr *t)
{
	pl(t->fd, (short)t->arg, 5000);
}

static void t_epoll(struct thr *t)
{
	ew(t->arg, 5000);
}

static void t_select(struct thr *t)
{
	fd_set r, e;
	int n;

	FD_ZERO(&r);
	FD_ZERO(&e);
	FD_SET(t->fd, &r);
	FD_SET(t->fd, &e);
	n = select(t->fd + 1, &r, NULL, &e, NULL);
	note(" select=%d:%d:%d", n, FD_ISSET(t->fd, &r) != 0, FD_ISSET(t->fd, &e) != 0);
}

/* Five threads wait for what the peer will do. */
static void wait_for_end(int fd)
{
	struct thr t[5];
	int ep = epoll_create1(0), edge = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLRDHUP, 1);
	ep_add(edge, fd, EPOLLRDHUP | EPOLLET, 2);
	thr_start(&t[0], t_poll, fd, POLLIN);
	thr_start(&t[1], t_poll, fd, POLLRDHUP);
	thr_start(&t[2], t_select, fd, 0);
	thr_start(&t[3], t_epoll, fd, ep);
	thr_start(&t[4], t_epoll, fd, edge);
	for (int i = 0; i < 5; i++)
		thr_asleep(&t[i]);
	go(TO_B);
	for (int i = 0; i < 5; i++)
		thr_join(&t[i]);
	until_ended(fd);
	rd(fd, 1, 0);
	rd(fd, 1, 0);
	go(TO_B);
}

static void a_wait_half(int fd)
{
	wait_for_end(fd);
}

static void b_wait_half(int fd)
{
	await(TO_B);
	shutdown(fd, SHUT_WR);
	await(TO_B);
}

static void a_wait_close(int fd)
{
	wait_for_end(fd);
}

static void b_wait_close(int fd)
{
	await(TO_B);
	close(fd);
	await(TO_B);
}

static void a_wait_death(int fd)
{
	wait_for_end(fd);
}

static void b_wait_death(int fd)
{
	(void)fd;
	await(TO_B);
	raise(SIGKILL);
}

static void a_wait_reset(int fd)
{
	wait_for_end(fd);
}

static void b_wait_reset(int fd)
{
	linger_of(fd, 1, 0);
	await(TO_B);
	close(fd);
	await(TO_B);
}

/* The same for a reader, of whom there can be only one: it takes the error. */
static void read_to_end(int fd)
{
	struct thr t;

	thr_start(&t, t_recv, fd, 5);
	thr_asleep(&t);
	go(TO_B);
	thr_join(&t);
	rd(fd, 1, 0);
	write_until_error(fd);
}

static void a_read_death(int fd)
{
	read_to_end(fd);
}

static void b_read_death(int fd)
{
	b_wait_death(fd);
}

static void a_read_reset(int fd)
{
	read_to_end(fd);
}

static void b_read_reset(int fd)
{
	linger_of(fd, 1, 0);
	await(TO_B);
	close(fd);
}

/* A writer asleep in a full connection hears that its reader has gone. */
static void t_put(struct thr *t)
{
	size_t n = put(t->fd, 0, 1000000000);

	note(" short=%d/%s", n < 1000000000, err(-1));
}

static void write_to_end(int fd)
{
	struct thr t;

	thr_start(&t, t_put, fd, 0);
	thr_asleep(&t);
	go(TO_B);
	thr_join(&t);
	wr(fd, "x");
}

static void a_write_death(int fd)
{
	write_to_end(fd);
}

static void b_write_death(int fd)
{
	b_wait_death(fd);
}

static void a_write_close(int fd)
{
	write_to_end(fd);
}

static void b_write_close(int fd)
{
	await(TO_B);
	close(fd);
}

/* A poll for nothing still tells of a hang-up, which on TCP needs both directions to be over. */
static void a_wait_hup(int fd)
{
	struct thr t[2];
	int ep = epoll_create1(0);

	ep_add(ep, fd, 0, 1);
	thr_start(&t[0], t_poll, fd, 0);
	thr_start(&t[1], t_epoll, fd, ep);
	thr_asleep(&t[0]);
	thr_asleep(&t[1]);
	go(TO_B);
	until_ended(fd);
	pl(fd, 0, 20);
	shutdown(fd, SHUT_WR);
	thr_join(&t[0]);
	thr_join(&t[1]);
}

static void b_wait_hup(int fd)
{
	await(TO_B);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

/* MOD by another thread takes effect for those that wait already (libevent does so); so does DEL. */
static void a_mod_wakes(int fd)
{
	struct thr t;
	int ep = epoll_create1(0), other = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	thr_start(&t, t_epoll, fd, ep);
	thr_asleep(&t);
	ep_mod(ep, fd, EPOLLIN | EPOLLOUT, 2);
	thr_join(&t);
	ep_mod(ep, fd, EPOLLIN | EPOLLONESHOT, 3);
	go(TO_B);
	ew(ep, 3000);
	thr_start(&t, t_epoll, fd, ep);
	thr_asleep(&t);
	ep_mod(ep, fd, EPOLLIN | EPOLLONESHOT, 4);
	thr_join(&t);
	rd(fd, 5, 0);
	thr_start(&t, t_epoll, fd, ep);
	thr_asleep(&t);
	epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
	go(TO_B);
	until_queued(fd, 4);
	ep_add(other, fd, EPOLLIN, 5);
	ew(other, 0);
	ep_add(ep, fd, EPOLLIN, 6);
	thr_join(&t);
	rd(fd, 5, 0);
}

static void b_mod_wakes(int fd)
{
	for (int i = 0; i < 2; i++) {
		await(TO_B);
		wr(fd, "data");
	}
	rd(fd, 1, 0);
}

/* One of two numbers is closed while a thread waits by the other. */
static void a_close_dup(int fd)
{
	int other = dup(fd), ep = epoll_create1(0);
	struct thr t[3];

	ep_add(ep, other, EPOLLIN, 1);
	thr_start(&t[0], t_poll, other, POLLIN);
	thr_start(&t[1], t_epoll, other, ep);
	thr_start(&t[2], t_select, other, 0);
	for (int i = 0; i < 3; i++)
		thr_asleep(&t[i]);
	close(fd);
	go(TO_B);
	for (int i = 0; i < 3; i++)
		thr_join(&t[i]);
	rd(other, 4, 0);
	wr(other, "ok");
}

static void b_close_dup(int fd)
{
	await(TO_B);
	ms(10);
	wr(fd, "data");
	rd(fd, 2, MSG_WAITALL);
	rd(fd, 1, 0);
}

/* SHUT_RD by another thread ends a recv that sleeps; bytes that come later are still read. */
static void a_shut_rd_wakes(int fd)
{
	struct thr t;

	thr_start(&t, t_recv, fd, 5);
	thr_asleep(&t);
	shutdown(fd, SHUT_RD);
	thr_join(&t);
	wr(fd, "x");
	go(TO_B);
	until_queued(fd, 4);
	rd(fd, 5, 0);
	rd(fd, 5, 0);
}

static void b_shut_rd_wakes(int fd)
{
	rd(fd, 1, 0);
	await(TO_B);
	wr(fd, "late");
	rd(fd, 1, 0);
}

/* A sleeper costs nothing while the connection is used by others for the other direction. */
static void t_count(struct thr *t)
{
	char c;

	rest_begin();
	recv(t->fd, &c, 1, 0);
	rest_end();
}

static void a_sleeps_through(int fd)
{
	struct thr t;

	thr_start(&t, t_count, fd, 0);
	thr_asleep(&t);
	for (int i = 0; i < 300; i++) {
		send(fd, "x", 1, MSG_NOSIGNAL);
		if (i % 10 == 0)
			ms(1);
	}
	go(TO_B);
	thr_join(&t);
}

static void b_sleeps_through(int fd)
{
	note(" got=%zd", recv(fd, (char[300]){ 0 }, 300, MSG_WAITALL));
	await(TO_B);
	wr(fd, "x");
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(wait_half, "11,12,16", WARM),
	CASE(wait_close, "11,12,16", WARM),
	CASE(wait_death, "11,12,16", WARM),
	CASE(wait_reset, "11,12,16", WARM),
	CASE(read_death, "11,16", WARM),
	CASE(read_reset, "11,16", WARM),
	CASE_F(write_death, "9,11,16", WARM, SLOW),
	CASE_F(write_close, "9,11,16", WARM, SLOW),
	CASE(wait_hup, "11,12,16", WARM),
	CASE(mod_wakes, "12", WARM),
	CASE(close_dup, "11,12,16", WARM),
	CASE(shut_rd_wakes, "11,16", WARM),
	CASE(sleeps_through, "13", WARM),
};
GROUP(wakes);
