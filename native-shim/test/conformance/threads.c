/* SPDX-License-Identifier: Apache-2.0 */
/* threads.c - cases about several threads on one connection. */
#include <sys/eventfd.h>

#include "harness.h"

static void t_poll(struct thr *t)
{
	pl(t->fd, (short)t->arg, 3000);
}

static void t_epoll(struct thr *t)
{
	ew(t->arg, 3000);
}

/* shutdown() by one thread ends the waits of the others. */
static void a_shutdown_wakes(int fd)
{
	struct thr t[3];
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLRDHUP, 1);
	thr_start(&t[0], t_recv, fd, 5);
	thr_start(&t[1], t_poll, fd, POLLIN);
	thr_start(&t[2], t_epoll, fd, ep);
	for (int i = 0; i < 3; i++)
		thr_asleep(&t[i]);
	noted("shutdown", shutdown(fd, SHUT_RDWR));
	for (int i = 0; i < 3; i++)
		thr_join(&t[i]);
	wr(fd, "x");
	pl(fd, POLLIN | POLLOUT, 0);
}

static void b_shutdown_wakes(int fd)
{
	rd(fd, 5, 0);
}

/* A reader and a writer asleep at the same time on one connection (rule 13). */
static void a_two_waits(int fd)
{
	struct thr t;
	size_t n;

	thr_start(&t, t_recv, fd, 4);
	thr_asleep(&t);
	n = put(fd, 0, 9000000);
	thr_join(&t);
	note(" put=%zu", n);
}

static void b_two_waits(int fd)
{
	ms(60);
	note(" got=%zu", take(fd, 0, 9000000));
	wr(fd, "done");
	rd(fd, 1, 0);
}

/* Two bytes for two sleepers: whoever takes one leaves the other to the other. */
static void a_two_sleepers(int fd)
{
	struct thr t[2];
	char sum = 0;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 2; i++)
			thr_start(&t[i], t_recv, fd, 1);
		for (int i = 0; i < 2; i++)
			thr_asleep(&t[i]);
		go(TO_B);
		for (int i = 0; i < 2; i++) {
			pthread_join(t[i].t, NULL);
			sum = (char)(sum + (t[i].used ? t[i].text[t[i].used - 1] - 'a' : 50));
		}
	}
	note(" sum=%d", sum);
}

static void b_two_sleepers(int fd)
{
	for (int round = 0; round < 20; round++) {
		await(TO_B);
		send(fd, "bc", 2, MSG_NOSIGNAL);
	}
	rd(fd, 1, 0);
}

/* One byte wakes every thread that polls for it, in whatever way. */
static void a_two_pollers(int fd)
{
	struct thr t[4];
	int ep = epoll_create1(0), edge = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	ep_add(edge, fd, EPOLLIN | EPOLLET, 2);
	thr_start(&t[0], t_poll, fd, POLLIN);
	thr_start(&t[1], t_poll, fd, POLLIN);
	thr_start(&t[2], t_epoll, fd, ep);
	thr_start(&t[3], t_epoll, fd, edge);
	for (int i = 0; i < 4; i++)
		thr_asleep(&t[i]);
	go(TO_B);
	for (int i = 0; i < 4; i++)
		thr_join(&t[i]);
	rd(fd, 1, 0);
}

static void b_two_pollers(int fd)
{
	await(TO_B);
	wr(fd, "x");
	rd(fd, 1, 0);
}

static _Atomic int bytes_read, bytes_wrong;

static void t_read_all(struct thr *t)
{
	char buf[700];
	ssize_t r;

	while ((r = recv(t->fd, buf, sizeof(buf), 0)) > 0) {
		bytes_read += (int)r;
		for (ssize_t i = 0; i < r; i++)
			bytes_wrong += buf[i] != 'x' && buf[i] != 'y';
	}
	note(" end=%zd/%s", r, err(r));
}

static void t_write_some(struct thr *t)
{
	char buf[1000];
	int n = 0;

	memset(buf, t->arg, sizeof(buf));
	for (int i = 0; i < 1000; i++)
		n += send(t->fd, buf, sizeof(buf), MSG_NOSIGNAL) == (ssize_t)sizeof(buf);
	note(" writes=%d", n);
}

/* Two readers and two writers on each end: nothing is lost or made up. */
static void a_crowd(int fd)
{
	struct thr t[4];

	thr_start(&t[0], t_read_all, fd, 0);
	thr_start(&t[1], t_read_all, fd, 0);
	thr_start(&t[2], t_write_some, fd, 'x');
	thr_start(&t[3], t_write_some, fd, 'y');
	thr_join(&t[2]);
	thr_join(&t[3]);
	noted("shutdown", shutdown(fd, SHUT_WR));
	thr_join(&t[0]);
	thr_join(&t[1]);
	note(" bytes=%d wrong=%d", bytes_read, bytes_wrong);
}

static void b_crowd(int fd)
{
	a_crowd(fd);
}

static void t_put(struct thr *t)
{
	note(" put=%zu", put(t->fd, 0, (size_t)t->arg));
}

static void a_duplex(int fd)
{
	struct thr t;

	thr_start(&t, t_put, fd, 12000000);
	note(" got=%zu", take(fd, 0, 12000000));
	thr_join(&t);
}

static void b_duplex(int fd)
{
	a_duplex(fd);
}

/* Another thread's close() does not disturb a recv that has begun: it gets its data, and then the socket goes. */
static void a_close_in_recv(int fd)
{
	struct thr t;

	thr_start(&t, t_recv, fd, 4);
	thr_asleep(&t);
	noted("close", close(fd));
	go(TO_B);
	thr_join(&t);
	noted("closed", recv(fd, &(char){ 0 }, 1, 0));
}

static void b_close_in_recv(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "late");
	rd(fd, 1, 0);
}

static void a_close_in_poll(int fd)
{
	struct thr t;

	thr_start(&t, t_poll, fd, POLLIN);
	thr_asleep(&t);
	noted("close", close(fd));
	go(TO_B);
	thr_join(&t);
}

static void b_close_in_poll(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "late");
	rd(fd, 1, 0);
}

static void t_epoll_short(struct thr *t)
{
	ew(t->arg, 150);
}

/* A set forgets a descriptor that is closed, also while somebody waits. */
static void a_close_in_epoll(int fd)
{
	struct thr t;
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN, 1);
	thr_start(&t, t_epoll_short, fd, ep);
	thr_asleep(&t);
	noted("close", close(fd));
	go(TO_B);
	thr_join(&t);
}

static void b_close_in_epoll(int fd)
{
	await(TO_B);
	rd(fd, 1, 0);
	wr(fd, "late");
	write_until_error(fd);
}

static void t_send_full(struct thr *t)
{
	size_t n = put(t->fd, 0, 60000000);

	note(" short=%d/%s", n < 60000000, err(-1));
}

/* shutdown() while another thread sits in send: what has gone stays gone, the rest is refused. */
static void a_shutdown_in_send(int fd)
{
	struct thr t;

	thr_start(&t, t_send_full, fd, 0);
	thr_asleep(&t);
	shutdown(fd, SHUT_WR);
	thr_join(&t);
	wr(fd, "more");
	go(TO_B);
	rd(fd, 1, 0);
}

static void b_shutdown_in_send(int fd)
{
	static char buf[65536];
	size_t n = 0;
	ssize_t r;

	await(TO_B);
	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0 && same(buf, n, (size_t)r))
		n += (size_t)r;
	note(" some=%d end=%zd/%s", n > 0, r, err(r));
}

/*
 * A number that is closed and used again by a new connection while a thread still sits in a call on the old one: each
 * gets its own bytes.
 */
static void reuse(int listener, bool shut)
{
	int right = 0, got_old = 0, same_number = 0;

	for (int i = 0; i < 12; i++) {
		int fd = pick(listener), next;
		struct thr t;
		char b[8];

		warm(fd, false);
		thr_start(&t, t_recv, fd, 3);
		thr_asleep(&t);
		await(TO_A);
		if (shut)
			shutdown(fd, SHUT_RDWR);
		close(fd);
		next = pick(listener);
		same_number += next == fd;
		right += recv(next, b, 4, MSG_WAITALL) == 4 && !memcmp(b, "data", 4);
		right += send(next, "ok", 2, MSG_NOSIGNAL) == 2;
		go(TO_B);
		pthread_join(t.t, NULL);
		t.text[t.used] = 0;
		got_old += strstr(t.text, shut ? "=0/-" : ":old") != NULL;
		right += recv(next, b, 4, MSG_WAITALL) == 4 && !memcmp(b, "more", 4);
		close(next);
	}
	note(" same=%d right=%d old=%d", same_number, right, got_old);
	close(listener);
}

static void reuse_peer(bool shut)
{
	int right = 0;

	for (int i = 0; i < 12; i++) {
		int fd = dial(), next;
		char b[8];

		warm(fd, true);
		next = dial();
		send(next, "data", 4, MSG_NOSIGNAL);
		go(TO_A);
		right += recv(next, b, 2, MSG_WAITALL) == 2 && !memcmp(b, "ok", 2);
		await(TO_B);
		if (!shut)
			send(fd, "old", 3, MSG_NOSIGNAL);
		right += send(next, "more", 4, MSG_NOSIGNAL) == 4;
		right += recv(next, b, 1, 0) == 0;
		close(next);
		close(fd);
	}
	note(" right=%d", right);
}

static void a_number_again(int listener)
{
	reuse(listener, true);
}

static void b_number_again(int none)
{
	(void)none;
	reuse_peer(true);
}

static void a_number_again_in_recv(int listener)
{
	reuse(listener, false);
}

static void b_number_again_in_recv(int none)
{
	(void)none;
	reuse_peer(false);
}

static void t_worker(struct thr *t)
{
	for (int i = 0; i < 3; i++) {
		struct epoll_event e = { 0 };
		int n = epoll_wait(t->arg, &e, 1, 2000);

		note(" %d:%s", n, n != 1 ? "-" : e.data.u64 == 42 ? "ours" : e.data.u64 == 43 ? "eventfd" : "FOREIGN");
		if (n != 1 || e.data.u64 != 42 || recv(t->fd, &(char){ 0 }, 1, MSG_DONTWAIT) != 1)
			break;
	}
}

/* A thread already inside epoll_wait on a set without connections when another adds one. */
static void a_added_later(int fd)
{
	int ep = epoll_create1(0), ev = eventfd(0, 0);
	struct thr t;

	ep_add(ep, ev, EPOLLIN, 43);
	thr_start(&t, t_worker, fd, ep);
	thr_asleep(&t);
	ep_add(ep, fd, EPOLLIN, 42);
	go(TO_B);
	thr_join(&t);
}

static void b_added_later(int fd)
{
	await(TO_B);
	ms(20);
	wr(fd, "xyz");
	rd(fd, 1, 0);
}

/* The same with a young connection that switches while the thread sits there. */
static void a_added_young(int fd)
{
	int ep = epoll_create1(0), ev = eventfd(0, 0);
	struct thr t;

	ep_add(ep, ev, EPOLLIN, 43);
	thr_start(&t, t_worker, fd, ep);
	thr_asleep(&t);
	ep_add(ep, fd, EPOLLIN, 42);
	push(fd);
	go(TO_B);
	thr_join(&t);
}

static void b_added_young(int fd)
{
	pull(fd);
	await(TO_B);
	ms(20);
	wr(fd, "xyz");
	rd(fd, 1, 0);
}

static const struct test_case cases[] = {
	CASE(shutdown_wakes, "11,12", WARM),
	CASE_F(two_waits, "13,9", WARM, SLOW),
	CASE(two_sleepers, "13", WARM),
	CASE(two_pollers, "11,13", WARM),
	CASE_F(crowd, "13,1", WARM, SLOW),
	CASE_F(duplex, "9,13", WARM, SLOW),
	CASE(close_in_recv, "16", WARM),
	CASE(close_in_poll, "16,11", WARM),
	CASE(close_in_epoll, "12,16", WARM),
	CASE_F(shutdown_in_send, "9,16", WARM, SLOW),
	CASE(number_again, "16,19", RAW),
	CASE(number_again_in_recv, "16,19", RAW),
	CASE(added_later, "12", WARM),
	CASE(added_young, "4,12", YOUNG),
};
GROUP(threads);
