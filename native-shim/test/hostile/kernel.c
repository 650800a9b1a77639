/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.c - a TCP socket, doorbells and an epoll set without system calls; calls reach them through below.c.  A sleep that nothing ends is where the peer's socket is closed: after that no call may sleep for long.
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>

#include "hostile.h"

#define DEAD_PATIENCE (60000 * NS_PER_MS) /* virtual time that a call may sleep on after the peer's death */
#define DEAD_SLEEPS 5000

struct ksock ksock[2];
uint64_t vnow = 1000000 * NS_PER_MS, kernel_sleeps;
bool kernel_live;

static uint64_t bell_count[2];
static bool bell_changed[2];
static unsigned int patience, sleeps_dead;
static bool abrupt_end;
static uint64_t died_at;

static struct registration {
	bool used;
	uint32_t events;
	uint64_t data;
	bool changed, disabled;
} registered[3]; /* the victim's socket, its doorbell, and what is always readable */

struct ksock *sock_of(int fd)
{
	return fd == VICTIM_FD ? &ksock[0] : fd == OTHER_FD ? &ksock[1] : NULL;
}

int fail(int err)
{
	errno = err;
	return -1;
}

/* ---- the socket ---- */

ssize_t k_recv(struct ksock *k, const struct iovec *iov, size_t n, bool peek)
{
	size_t done = 0;

	if (k->inq && !k->dead) {
		for (size_t i = 0; i < n && done < k->inq; i++) {
			size_t part = iov[i].iov_len < k->inq - done ? iov[i].iov_len : k->inq - done;

			memset(iov[i].iov_base, 0x54, part);
			done += part;
		}
		if (!peek)
			k->inq -= (uint32_t)done;
		return (ssize_t)done;
	}
	if (k->rst) {
		k->rst = false;
		k->dead = true;
		return fail(ECONNRESET);
	}
	if (k->unconnected)
		return fail(ENOTCONN);
	if (k->fin || k->shut_rd || k->dead)
		return 0;
	return fail(EAGAIN);
}

ssize_t k_send(struct ksock *k, const struct iovec *iov, size_t n)
{
	static volatile uint8_t sink;
	size_t done = 0, room;

	if (k->rst) {
		k->rst = false;
		k->dead = true;
		return fail(ECONNRESET);
	}
	if (k->dead || k->shut_wr)
		return fail(EPIPE);
	room = k->out_cap - k->outq;
	if (!room)
		return fail(EAGAIN);
	for (size_t i = 0; i < n && done < room; i++) {
		size_t part = iov[i].iov_len < room - done ? iov[i].iov_len : room - done;

		if (part) /* for the sanitizer: the first and the last byte are there */
			sink = (uint8_t)(((uint8_t *)iov[i].iov_base)[0] + ((uint8_t *)iov[i].iov_base)[part - 1]);
		done += part;
	}
	(void)sink;
	k->outq += (uint32_t)done;
	k->out_total += done;
	if (k->peer_dead)
		k->rst = k->changed = true;
	return (ssize_t)done;
}

short k_poll(const struct ksock *k, short want)
{
	short got = 0;

	if (k->inq || k->fin || k->rst || k->dead || k->shut_rd)
		got |= POLLIN | POLLRDNORM;
	if (k->fin || k->rst || k->dead || k->shut_rd)
		got |= POLLRDHUP;
	if (k->outq < k->out_cap || k->rst || k->dead || k->shut_wr)
		got |= POLLOUT | POLLWRNORM;
	got &= want;
	if (k->rst)
		got |= POLLERR;
	if (k->dead || k->rst || ((k->fin || k->shut_rd) && k->shut_wr))
		got |= POLLHUP;
	return got;
}

int k_shutdown(struct ksock *k, int how)
{
	if (k->dead)
		return fail(ENOTCONN);
	if (how != SHUT_WR)
		k->shut_rd = true;
	if (how != SHUT_RD)
		k->shut_wr = true;
	k->changed = true;
	return 0;
}

int k_option(const struct ksock *k, int level, int name, void *val, socklen_t *len)
{
	if (level == IPPROTO_TCP && name == TCP_INFO) {
		struct tcp_info *ti = val;

		ti->tcpi_state = k->dead || k->rst ? 7 : k->fin ? (k->shut_wr ? 9 : 8) : k->shut_wr ? 4 : 1;
		ti->tcpi_bytes_received = k->in_total;
		ti->tcpi_bytes_acked = k->out_total - k->outq;
		return 0;
	}
	memset(val, 0, *len);
	if (level == SOL_SOCKET && name == SO_ERROR && k->rst) {
		*(int *)val = ECONNRESET;
		ksock[k - ksock].rst = false;
		ksock[k - ksock].dead = true;
	}
	return 0;
}

void kernel_peer_dies(bool abrupt)
{
	ksock[0].peer_dead = ksock[0].changed = true;
	if (abrupt || ksock[0].outq) { /* what was on its way to it is answered by a reset */
		ksock[0].rst = !ksock[0].dead;
		ksock[0].inq = 0;
	} else {
		ksock[0].fin = true;
	}
}

/* ---- sleeping ---- */

void kernel_begin_call(unsigned int sleeps, bool abrupt)
{
	patience = sleeps;
	abrupt_end = abrupt;
	sleeps_dead = 0;
	died_at = 0;
}

/* Nothing is ready: time goes on, and in the end the peer's socket is closed.  False: the time is up. */
static bool sleep_on(uint64_t *left)
{
	uint64_t step = *left;

	kernel_sleeps++;
	if (died_at && (++sleeps_dead > DEAD_SLEEPS || vnow - died_at > DEAD_PATIENCE))
		violation("a call sleeps on though the peer's socket is closed");
	if (*left != NS_FOREVER && died_at) {
		vnow += step;
		*left = 0;
		return false;
	}
	if (patience && *left != NS_FOREVER) {
		patience--;
		vnow += step;
		*left = 0;
		return false;
	}
	vnow += NS_PER_MS;
	if (died_at && *left == NS_FOREVER)
		violation("a call sleeps for ever though the peer's socket is closed");
	kernel_peer_dies(abrupt_end);
	died_at = vnow;
	if (*left != NS_FOREVER) {
		vnow += step;
		*left = 0;
		return false;
	}
	return true;
}

static int poll_once(struct pollfd *p, nfds_t n)
{
	int ready = 0;

	for (nfds_t i = 0; i < n; i++) {
		p[i].revents = 0;
		if (p[i].fd < 0)
			continue;
		if (sock_of(p[i].fd))
			p[i].revents = k_poll(sock_of(p[i].fd), p[i].events);
		else if (p[i].fd == BELL_FD)
			p[i].revents = (short)(bell_count[0] ? p[i].events & POLLIN : 0);
		else
			violation("a poll of descriptor %d", p[i].fd);
		ready += p[i].revents != 0;
	}
	return ready;
}

int k_sleep(struct pollfd *p, nfds_t n, const struct timespec *ts)
{
	uint64_t left = ts ? (uint64_t)ts->tv_sec * 1000000000ull + (uint64_t)ts->tv_nsec : NS_FOREVER;
	int ready;

	for (;;) {
		ready = poll_once(p, n);
		if (ready || !left)
			return ready;
		if (!sleep_on(&left))
			return poll_once(p, n);
	}
}

static int epoll_once(struct epoll_event *ev, int max)
{
	int out = 0;

	for (int i = 0; i < 3 && out < max; i++) {
		struct registration *r = &registered[i];
		bool never = false, *edge = i == 2 ? &never : i ? &bell_changed[0] : &ksock[0].changed;
		short got;

		if (!r->used || r->disabled)
			continue;
		if (*edge)
			r->changed = true;
		*edge = false;
		got = i ? (short)(i == 2 || bell_count[0] ? POLLIN : 0) :
			  k_poll(&ksock[0], (short)(r->events & (POLLIN | POLLOUT | POLLPRI | POLLRDHUP)));
		if (!got || ((r->events & EPOLLET) && !r->changed))
			continue;
		r->changed = false;
		r->disabled = r->events & EPOLLONESHOT;
		ev[out++] = (struct epoll_event){ .events = (uint32_t)(unsigned short)got, .data.u64 = r->data };
	}
	return out;
}

int k_epoll_wait(struct epoll_event *ev, int max, int timeout)
{
	uint64_t left = timeout < 0 ? NS_FOREVER : (uint64_t)timeout * NS_PER_MS;
	int n;

	for (;;) {
		n = epoll_once(ev, max);
		if (n || !left)
			return n;
		if (!sleep_on(&left))
			return epoll_once(ev, max);
	}
}

int k_epoll_ctl(int op, int fd, const struct epoll_event *ev)
{
	struct registration *r = fd == VICTIM_FD ? &registered[0] : fd == BELL_FD ? &registered[1] :
				 fd == bell_ready() ? &registered[2] : NULL;

	if (!r)
		violation("epoll_ctl for descriptor %d", fd);
	if (op == EPOLL_CTL_ADD && r->used)
		return fail(EEXIST);
	if (op != EPOLL_CTL_ADD && !r->used)
		return fail(ENOENT);
	*r = op == EPOLL_CTL_DEL ? (struct registration){ 0 } :
				   (struct registration){ true, ev->events, ev->data.u64, true, false };
	return 0;
}

/* ---- doorbells ---- */

void k_ring(int fd)
{
	if (fd != BELL_FD && fd != PEER_BELL_FD)
		violation("rings descriptor %d", fd);
	bell_count[fd == PEER_BELL_FD]++;
	bell_changed[fd == PEER_BELL_FD] = true;
}

void k_drain(void)
{
	bell_count[0] = 0;
}

void kernel_reset(void)
{
	memset(bell_count, 0, sizeof(bell_count));
	memset(bell_changed, 0, sizeof(bell_changed));
	memset(registered, 0, sizeof(registered));
}
