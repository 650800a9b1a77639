/* SPDX-License-Identifier: Apache-2.0 */
/* kept.c - cases about epoll registrations that outlive their numbers, sets beside sockets in poll(), and what is heard when. */
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "harness.h"

/* Single bytes to and fro, for so long that a connection that may move has moved. */
static void busy(int fd, bool first)
{
	char c;

	for (int i = 0; i < 200; i++) {
		bool well = first ? send(fd, "x", 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1 :
				    recv(fd, &c, 1, 0) == 1 && send(fd, "x", 1, MSG_NOSIGNAL) == 1;

		if (!well) {
			note(" broken at %d", i);
			return;
		}
		if (first && i % 5 == 0)
			ms(2);
	}
}

static void b_one_byte(int fd)
{
	await(TO_B);
	wr(fd, "x");
	await(TO_B);
}

/* ---- a set that is asked for together with a socket before it ---- */

static int other_in_set(int ep)
{
	int third = pick(conf_listener);

	warm(third, true);
	ep_add(ep, third, EPOLLIN, 7);
	ew(ep, 0);
	go(TO_B);
	ew(ep, 3000);
	return third;
}

static void b_other_in_set(void)
{
	int third = dial();

	warm(third, false);
	await(TO_B);
	wr(third, "x");
	await(TO_B);
}

static void a_poll_with_set(int fd)
{
	int ep = epoll_create1(0), n;

	other_in_set(ep);
	struct pollfd p[2] = { { fd, POLLIN, 0 }, { ep, POLLIN, 0 } };

	n = poll(p, 2, 300);
	note(" poll=%d %x %x", n, (unsigned int)p[0].revents, (unsigned int)p[1].revents);
	go(TO_B);
}

static void b_poll_with_set(int fd)
{
	(void)fd;
	b_other_in_set();
}

static void a_select_with_set(int fd)
{
	int ep = epoll_create1(0), n;
	struct timeval tv = { 0, 300000 };
	fd_set r;

	other_in_set(ep);
	FD_ZERO(&r);
	FD_SET(fd, &r);
	FD_SET(ep, &r);
	n = select((ep > fd ? ep : fd) + 1, &r, NULL, NULL, &tv);
	note(" select=%d %d %d", n, !!FD_ISSET(fd, &r), !!FD_ISSET(ep, &r));
	go(TO_B);
}

static void b_select_with_set(int fd)
{
	(void)fd;
	b_other_in_set();
}

/* ---- the registered number is closed, another of the connection lives on ---- */

/* And then the set is polled. */
static void a_kept_polled(int fd)
{
	int ep = epoll_create1(0), d;
	struct pollfd p = { ep, POLLIN, 0 };

	ep_add(ep, fd, EPOLLIN, 5);
	d = dup(fd);
	close(fd);
	note(" poll=%d", poll(&p, 1, 0));
	busy(d, true);
	go(TO_B);
	ew(ep, 1000);
	note(" poll=%d", poll(&p, 1, 500));
	rd(d, 1, 0);
	go(TO_B);
}

static void b_kept_polled(int fd)
{
	busy(fd, false);
	b_one_byte(fd);
}

#define MANY 70

static void a_kept_many(int listener)
{
	int ep = epoll_create1(0);
	struct pollfd p = { ep, POLLIN, 0 };

	for (int i = 0; i < MANY; i++) {
		int fd = pick(listener);

		ep_add(ep, fd, EPOLLIN, (uint64_t)i);
		dup(fd);
		close(fd);
	}
	note(" poll=%d", poll(&p, 1, 0));
	go(TO_B);
}

static void b_kept_many(int none)
{
	(void)none;
	for (int i = 0; i < MANY; i++)
		dial();
	await(TO_B);
}

/* There is no room for a number of ours: what the old one names next is not touched. */
static void a_kept_no_room(int fd)
{
	int ep = epoll_create1(0), null = open("/dev/null", O_RDWR), d, p[2], end;
	struct rlimit r = { 100, 100 };

	ep_add(ep, fd, EPOLLIN, 5);
	for (int i = 75; i < 100; i++)
		dup2(null, i);
	setrlimit(RLIMIT_NOFILE, &r);
	d = dup(fd);
	close(fd);
	if (pipe(p))
		return;
	end = p[0] == fd ? p[0] : dup2(p[0], fd);
	noted("add", ep_add(ep, end, EPOLLIN, 99));
	ew(ep, 0);
	dup2(d, 0); /* everything goes to TCP */
	pl(d, POLLIN, 0);
	if (write(p[1], "x", 1) != 1)
		return;
	ew(ep, 300);
	note(" read=%zd", read(end, &(char){ 0 }, 1));
	go(TO_B);
	ew(ep, 3000);
	rd(d, 1, 0);
	go(TO_B);
}

static void b_kept_no_room(int fd)
{
	b_one_byte(fd);
}

/* The same number for the same connection: to the kernel the registration has never gone. */
static void a_kept_back(int fd)
{
	int ep = epoll_create1(0), d;

	ep_add(ep, fd, EPOLLIN, 5);
	ew(ep, 0);
	d = dup(fd);
	close(fd);
	note(" same=%d", dup2(d, fd) == fd);
	noted("add", ep_add(ep, fd, EPOLLIN, 6));
	noted("mod", ep_mod(ep, fd, EPOLLIN, 8));
	go(TO_B);
	ew(ep, 2000);
	noted("del", epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	ew(ep, 100);
	rd(fd, 1, 0);
	go(TO_B);
}

static void b_kept_back(int fd)
{
	b_one_byte(fd);
}

/* An edge that was told of is not told of again. */
static void edge_once(int fd)
{
	int ep = epoll_create1(0), d;

	ep_add(ep, fd, EPOLLIN | EPOLLET, 5);
	until_queued(fd, 1);
	ew(ep, 1000);
	ew(ep, 0);
	d = dup(fd);
	close(fd);
	ew(ep, 50);
	rd(d, 1, 0);
	go(TO_B);
	ew(ep, 3000);
	rd(d, 1, 0);
	go(TO_B);
}

static void b_edge_once(int fd)
{
	wr(fd, "x");
	b_one_byte(fd);
}

static void a_kept_edge(int fd)
{
	edge_once(fd);
}

static void b_kept_edge(int fd)
{
	b_edge_once(fd);
}

static void a_kept_edge_young(int fd)
{
	edge_once(fd);
}

static void b_kept_edge_young(int fd)
{
	b_edge_once(fd);
}

/* Closed here, held by a child: the set goes on telling until the child ends. */
static void a_held_by_child(int fd)
{
	int ep = epoll_create1(0);
	pid_t p;

	ep_add(ep, fd, EPOLLIN, 5);
	p = kid();
	if (p == 0) {
		await(TO_KID);
		_exit(0);
	}
	close(fd);
	go(TO_B);
	ew(ep, 3000);
	go(TO_KID);
	reap(p);
	ew(ep, 0);
	go(TO_B);
}

static void b_held_by_child(int fd)
{
	b_one_byte(fd);
}

/* A child that has closed its own by close_range() holds nothing. */
static void a_child_holds_none(int fd)
{
	int ep = epoll_create1(0), d;
	pid_t p;

	ep_add(ep, fd, EPOLLIN, 5);
	d = dup(fd);
	close(fd);
	p = kid();
	if (p == 0) {
		noted("close", syscall(SYS_close_range, (unsigned int)d, (unsigned int)d, 0));
		go(TO_A);
		await(TO_KID);
		_exit(0);
	}
	await(TO_A);
	close(d);
	go(TO_B);
	await(TO_A);
	go(TO_KID);
	reap(p);
}

static void b_child_holds_none(int fd)
{
	await(TO_B);
	rcvtimeo(fd, 3000);
	rd(fd, 1, 0);
	go(TO_A);
}

/* A thread sleeps on it while it is closed, and a child is made: the sleeper's end is the end. */
static void sit(struct thr *t)
{
	char c;

	noted("recv", recv(t->fd, &c, 1, 0));
}

static void a_child_keeps_none(int fd)
{
	static struct thr t;
	pid_t p;

	thr_start(&t, sit, fd, 0);
	thr_asleep(&t);
	close(fd);
	p = kid();
	if (p == 0) {
		await(TO_KID);
		_exit(0);
	}
	go(TO_B);
	thr_join(&t);
	go(TO_B);
	await(TO_A);
	go(TO_KID);
	reap(p);
}

static void b_child_keeps_none(int fd)
{
	await(TO_B);
	wr(fd, "x");
	await(TO_B);
	rcvtimeo(fd, 3000);
	rd(fd, 1, 0);
	go(TO_A);
}

/* ---- what another process did before it sent is seen after its bytes ---- */

#define TIMES 500

static int other_way(int *far)
{
	int p[2];

	if (pipe2(p, O_NONBLOCK))
		return -1;
	*far = p[1];
	return p[0];
}

/* The pipe's other end, by its place in the other process. */
static void tell_far(int fd, int far)
{
	int32_t where[2] = { getpid(), far };

	send(fd, where, sizeof(where), 0);
}

static void b_heard(int fd)
{
	int32_t where[2];
	char path[64], c;
	int p;

	recv(fd, where, sizeof(where), MSG_WAITALL);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", where[0], where[1]);
	p = open(path, O_WRONLY);
	for (int i = 0; i < TIMES; i++)
		if (write(p, "p", 1) != 1 || send(fd, "x", 1, 0) != 1 || recv(fd, &c, 1, 0) != 1)
			note(" broken at %d", i);
}

static void a_heard_poll(int fd)
{
	int far = -1, p = other_way(&far), unseen = 0;
	char c;

	tell_far(fd, far);
	for (int i = 0; i < TIMES; i++) {
		struct pollfd q[2] = { { fd, POLLIN, 0 }, { p, POLLIN, 0 } };

		do
			poll(q, 2, 0);
		while (!q[0].revents);
		recv(fd, &c, 1, 0);
		poll(q, 2, 0);
		unseen += !(q[1].revents & POLLIN);
		if (read(p, &c, 1) != 1)
			note(" none at %d", i);
		send(fd, "a", 1, 0);
	}
	note(" unseen=%d", unseen);
}

static void b_heard_poll(int fd)
{
	b_heard(fd);
}

static void a_heard_epoll(int fd)
{
	int far = -1, p = other_way(&far), ep = epoll_create1(0), unseen = 0;
	char c;

	ep_add(ep, fd, EPOLLIN, 1);
	ep_add(ep, p, EPOLLIN, 2);
	tell_far(fd, far);
	for (int i = 0; i < TIMES; i++) {
		struct epoll_event e[4];
		bool came = false, seen = false;
		int n;

		while (!came) {
			n = epoll_wait(ep, e, 4, 0);
			for (int k = 0; k < n; k++)
				came |= e[k].data.u64 == 1;
		}
		recv(fd, &c, 1, 0);
		n = epoll_wait(ep, e, 4, 0);
		for (int k = 0; k < n; k++)
			seen |= e[k].data.u64 == 2;
		unseen += !seen;
		if (read(p, &c, 1) != 1)
			note(" none at %d", i);
		send(fd, "a", 1, 0);
	}
	note(" unseen=%d", unseen);
}

static void b_heard_epoll(int fd)
{
	b_heard(fd);
}

static const struct test_case cases[] = {
	CASE_F(poll_with_set, "8,12", WARM, LISTENER | NOT_SWAPPED),
	CASE_F(select_with_set, "8,12", WARM, LISTENER | NOT_SWAPPED),
	CASE(kept_polled, "8,12", COLD),
	CASE(kept_many, "8,12", RAW_COLD),
	CASE(kept_no_room, "12,15", WARM),
	CASE(kept_back, "12", WARM),
	CASE(kept_edge, "5,12", WARM),
	CASE(kept_edge_young, "5,12", COLD),
	CASE_F(held_by_child, "12,18", WARM, NOT_FAR),
	CASE(child_holds_none, "12,18", WARM),
	CASE(child_keeps_none, "16,18", WARM),
	CASE(heard_poll, "11", WARM),
	CASE(heard_epoll, "11", WARM),
};
GROUP(kept);
