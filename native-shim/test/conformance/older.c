/* SPDX-License-Identifier: Apache-2.0 */
/* older.c - cases about POLLRDNORM and POLLWRNORM by themselves, as older programs ask. */
#include "harness.h"

static void a_rdnorm_edge(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLRDNORM | EPOLLET, 7);
	for (int i = 0; i < 3; i++) {
		go(TO_B);
		ew(ep, 3000);
		ew(ep, 50);
	}
	rd(fd, 10, 0);
	ew(ep, 20);
	go(TO_B);
	ew(ep, 3000);
	rd(fd, 10, 0);
}

static void b_rdnorm_edge(int fd)
{
	for (int i = 0; i < 4; i++) {
		await(TO_B);
		ms(5);
		wr(fd, "ab");
	}
	rd(fd, 1, 0);
}

static void t_poll_for(struct thr *t)
{
	struct pollfd p = { t->fd, (short)t->arg, 0 };
	int n = poll(&p, 1, 4000);

	t->used += (size_t)snprintf(t->text + t->used, sizeof(t->text) - t->used, " poll=%d:%x", n, (unsigned int)p.revents);
}

/* Every sleeper hears of it. */
static void a_rdnorm_two(int fd)
{
	struct thr t[4];

	for (int i = 0; i < 4; i++)
		thr_start(&t[i], t_poll_for, fd, i == 3 ? POLLIN : POLLRDNORM);
	for (int i = 0; i < 4; i++)
		thr_asleep(&t[i]);
	go(TO_B);
	for (int i = 0; i < 4; i++)
		thr_join(&t[i]);
	rd(fd, 4, 0);
}

static void b_rdnorm_two(int fd)
{
	await(TO_B);
	wr(fd, "abcd");
	rd(fd, 1, 0);
}

/* One who waits for room without a reader gets as much as TCP would give (rule 9). */
static size_t write_by(int fd, size_t n, bool (*room)(int, int), int ep)
{
	static char buf[100000];
	size_t done = 0;

	nonblock(fd, true);
	while (done < n) {
		pattern(buf, done, sizeof(buf));
		ssize_t r = send(fd, buf, n - done < sizeof(buf) ? n - done : sizeof(buf), MSG_NOSIGNAL);

		if (r > 0)
			done += (size_t)r;
		else if (errno != EAGAIN || !room(fd, ep))
			break;
	}
	return done;
}

static bool room_by_poll(int fd, int ep)
{
	struct pollfd p = { fd, POLLWRNORM, 0 };

	(void)ep;
	return poll(&p, 1, 3000) == 1 && p.revents == POLLWRNORM;
}

static bool room_by_epoll(int fd, int ep)
{
	struct epoll_event e;

	(void)fd;
	return epoll_wait(ep, &e, 1, 3000) == 1 && e.events == EPOLLWRNORM;
}

static void a_wrnorm_poll(int fd)
{
	note(" wrote=%zu", write_by(fd, 1000000, room_by_poll, -1));
	go(TO_B);
	note(" wrote=%zu", write_by(fd, 12000000, room_by_poll, -1));
}

static void b_wrnorm_poll(int fd)
{
	await(TO_B);
	note(" got=%zu", take(fd, 0, 1000000));
	note(" got=%zu", take(fd, 0, 12000000));
	rd(fd, 1, 0);
}

static void wrnorm_epoll(int fd, uint32_t how)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLWRNORM | how, 1);
	note(" wrote=%zu", write_by(fd, 1000000, room_by_epoll, ep));
	go(TO_B);
	note(" wrote=%zu", write_by(fd, 12000000, room_by_epoll, ep));
}

static void a_wrnorm_level(int fd)
{
	wrnorm_epoll(fd, 0);
}

static void b_wrnorm_level(int fd)
{
	b_wrnorm_poll(fd);
}

static void a_wrnorm_edge(int fd)
{
	wrnorm_epoll(fd, EPOLLET);
}

static void b_wrnorm_edge(int fd)
{
	b_wrnorm_poll(fd);
}

static const struct test_case cases[] = {
	CASE(rdnorm_edge, "5,12", WARM),
	CASE(rdnorm_two, "11,13", WARM),
	CASE(wrnorm_poll, "9,11", WARM),
	CASE(wrnorm_level, "9,12", WARM),
	CASE(wrnorm_edge, "9,12", WARM),
};
GROUP(older);
