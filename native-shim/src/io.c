/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - moving bytes on a tracked connection, by TCP or ring, as one stream (rule 5). */
#include <limits.h>
#include <sched.h>
#include <string.h>

#include "real.h"

#define CHUNK 65536u
#define IOV_STACK 16
#define CHECK_NS (8 * NS_PER_MS)
#define RECV_FLAGS (MSG_PEEK | MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC)
#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR | MSG_CONFIRM)

/* A place in an iovec array. */
struct cursor {
	const struct iovec *iov;
	size_t left; /* entries */
	size_t at;   /* bytes of the first entry that are done */
};

static size_t iov_total(const struct msghdr *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->msg_iovlen; i++)
		n += m->msg_iov[i].iov_len;
	return n;
}

static void advance(struct cursor *k, size_t n)
{
	while (k->left && n >= k->iov->iov_len - k->at) {
		n -= k->iov->iov_len - k->at;
		k->iov++;
		k->left--;
		k->at = 0;
	}
	k->at += n;
}

/* The next at most `limit` bytes from the cursor as an iovec array; returns entries used. */
static size_t slice(const struct cursor *k, size_t limit, struct iovec *out, size_t max)
{
	size_t n = 0, at = k->at;

	for (size_t i = 0; i < k->left && n < max && limit; i++, at = 0) {
		size_t len = k->iov[i].iov_len - at;

		if (len > limit)
			len = limit;
		if (!len)
			continue;
		out[n].iov_base = (char *)k->iov[i].iov_base + at;
		out[n++].iov_len = len;
		limit -= len;
	}
	return n;
}

static bool blocks(const struct conn *c, int flags)
{
	return !(flags & MSG_DONTWAIT) && !LOAD(&c->end->nonblock);
}

static uint64_t deadline_of(uint64_t timeo)
{
	return timeo ? now_ns() + timeo : NS_FOREVER;
}

/* ---- receive ---- */

static ssize_t tcp_recv(struct conn *c, int fd, const struct cursor *k, size_t limit, int flags)
{
	struct iovec iov[IOV_STACK];
	struct msghdr m = { .msg_iov = iov };
	ssize_t n;

	m.msg_iovlen = slice(k, limit, iov, IOV_STACK);
	n = REAL(recvmsg)(fd, &m, (flags & (MSG_PEEK | MSG_CMSG_CLOEXEC)) | MSG_DONTWAIT);
	if (n > 0 && !(flags & MSG_PEEK))
		__atomic_fetch_add(&c->end->tcp_in, (uint64_t)n, __ATOMIC_RELAXED);
	return n;
}

/* rx_lock held.  Queued bytes first, then the error, then end of file (rule 16). */
static ssize_t ring_end(struct conn *c, int fd)
{
	struct hut_end *e = c->end;

	if (c->err) {
		errno = c->err;
		c->err = 0;
		return -1;
	}
	if (e->flags & HUT_ENDF_FIN)
		return 0;
	if (e->flags & HUT_ENDF_RDSHUT) {
		char byte;

		return REAL(recv)(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	}
	errno = EAGAIN;
	return -1;
}

static void ring_copy_out(struct conn *c, const struct cursor *k, uint64_t skip, size_t len)
{
	struct cursor w = *k;

	while (len) {
		size_t part = w.iov->iov_len - w.at;

		if (part > len)
			part = len;
		ring_peek(&c->rx, c->end, skip, (uint8_t *)w.iov->iov_base + w.at, part);
		skip += part;
		len -= part;
		advance(&w, part);
	}
}

/* rx_lock held */
static ssize_t ring_recv(struct conn *c, int fd, const struct cursor *k, size_t want, int flags, bool *wake)
{
	struct hut_end *e = c->end;
	ssize_t avail = ring_avail(&c->rx, e);
	size_t n;

	if (avail < 0)
		return -2;
	if (avail == 0)
		return ring_end(c, fd);
	n = (size_t)avail < want ? (size_t)avail : want;
	if (flags & MSG_PEEK) {
		ring_copy_out(c, k, 0, n);
		return (ssize_t)n;
	}
	/* In pieces, so that a writer that waits for room can go on while we copy. */
	struct cursor w = *k;

	for (size_t done = 0; done < n;) {
		size_t part = n - done < CHUNK ? n - done : CHUNK;

		ring_copy_out(c, &w, 0, part);
		*wake |= ring_take(&c->rx, e, part);
		advance(&w, part);
		done += part;
	}
	__atomic_fetch_add(&e->ring_in, n, __ATOMIC_RELAXED);
	if (e->rx_head == e->rx_end) {
		STORE(&e->rx_path, HUT_PATH_TCP);
		atomic_fetch_add(&c->edges, 1);
	}
	return (ssize_t)n;
}

/* Before the channel stands: a raw call, counted; the switch waits for those under way. */
static bool early_begin(struct conn *c)
{
	__atomic_fetch_add(&c->end->inflight, 1, __ATOMIC_SEQ_CST);
	if (conn_state(c) != HUT_END_CHANNEL)
		return true;
	__atomic_fetch_sub(&c->end->inflight, 1, __ATOMIC_SEQ_CST);
	return false;
}

static void early_end(struct conn *c)
{
	__atomic_fetch_sub(&c->end->inflight, 1, __ATOMIC_SEQ_CST);
}

static ssize_t recv_locked(struct conn *c, int fd, const struct cursor *k, size_t want, int flags, bool *wake)
{
	struct hut_end *e = c->end;
	uint64_t to_s;
	ssize_t n;

	switch (e->rx_path) {
	case HUT_PATH_RING:
		return ring_recv(c, fd, k, want, flags, wake);
	case HUT_PATH_SWITCH:
		to_s = e->rx_start - (e->tcp_in + e->ring_in);
		n = tcp_recv(c, fd, k, want < to_s ? want : to_s, flags);
		if (n <= 0 || (uint64_t)n < to_s)
			return n;
		if (flags & MSG_PEEK) {
			/* A peek joins both sides. */
			struct cursor w = *k;
			ssize_t avail = ring_avail(&c->rx, e);
			size_t more = want - (size_t)n;

			advance(&w, (size_t)n);
			if (avail > 0 && more) {
				more = (size_t)avail < more ? (size_t)avail : more;
				ring_copy_out(c, &w, 0, more);
				n += (ssize_t)more;
			}
			return n;
		}
		STORE(&e->rx_path, HUT_PATH_RING);
		atomic_fetch_add(&c->edges, 1);
		return n;
	default:
		return tcp_recv(c, fd, k, want, flags);
	}
}

static ssize_t recv_once(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;
	bool wake = false;
	ssize_t n;
	int saved;

	if (conn_state(c) != HUT_END_CHANNEL && early_begin(c)) {
		n = tcp_recv(c, fd, k, want, flags);
		saved = errno;
		early_end(c);
		errno = saved;
		return n;
	}
	if (!lock_rx(e)) {
		errno = EINTR; /* a signal handler's call inside our own: as if it had come first */
		return -1;
	}
	n = recv_locked(c, fd, k, want, flags, &wake);
	saved = errno;
	unlock_rx(e);
	if (wake)
		conn_ring_peer(c);
	if (n == -2) {
		conn_poison(c, fd);
		c->err = 0;
		saved = ECONNRESET;
		n = -1;
	}
	errno = saved;
	return n;
}

static bool crossed(struct conn *c, uint32_t path_before)
{
	return conn_state(c) == HUT_END_CHANNEL && LOAD(&c->end->rx_path) != path_before;
}

/* An empty ring may hide the socket's end: programs that only ever try must learn of it too. */
static bool look_at_socket(struct conn *c, int fd)
{
	if (conn_state(c) != HUT_END_CHANNEL || now_coarse_ns() - c->check_ns < CHECK_NS)
		return false;
	uint32_t before = atomic_load(&c->edges);

	conn_check_socket(c, fd);
	return atomic_load(&c->edges) != before;
}

static ssize_t finish(struct conn *c, size_t done, ssize_t n)
{
	int saved = errno;

	if (conn_state(c) == HUT_END_CHANNEL)
		epset_activity(c);
	errno = saved;
	return done ? (ssize_t)done : n;
}

ssize_t io_recv(struct conn *c, int fd, struct msghdr *m, int flags)
{
	struct cursor k = { m->msg_iov, m->msg_iovlen, 0 };
	size_t want = iov_total(m), done = 0;
	uint64_t deadline = NS_FOREVER;
	bool timed = false;

	if ((flags & ~RECV_FLAGS) || !want || want > SSIZE_MAX) {
		if (flags & (MSG_OOB | MSG_TRUNC))
			conn_never(fd, HUT_R_OPTION);
		return REAL(recvmsg)(fd, m, flags);
	}
	for (;;) {
		if (atomic_load(&c->nfds) == 0 && !atomic_load(&c->plain)) {
			errno = EBADF;
			return finish(c, done, -1);
		}
		if (!conn_progress(c, fd)) {
			struct iovec iov[IOV_STACK];
			struct msghdr rest = { .msg_iov = iov };
			ssize_t n;

			if (done && !(flags & MSG_WAITALL))
				return (ssize_t)done;
			rest.msg_iovlen = slice(&k, want - done, iov, IOV_STACK);
			n = REAL(recvmsg)(fd, &rest, flags);
			return n < 0 ? (done ? (ssize_t)done : n) : (ssize_t)done + n;
		}
		uint32_t path = LOAD(&c->end->rx_path);
		ssize_t n = recv_once(c, fd, &k, want - done, flags | (done ? MSG_DONTWAIT : 0));

		if (n > 0) {
			if (flags & MSG_PEEK) {
				if (!(flags & MSG_WAITALL) || (size_t)n == want || !blocks(c, flags))
					return n;
				struct timespec ms = { 0, 1000000 };

				nanosleep(&ms, NULL); /* PEEK|WAITALL: no event tells of "more" */
				continue;
			}
			done += (size_t)n;
			advance(&k, (size_t)n);
			if (done == want)
				return finish(c, done, n);
			/* Short only when the stream itself is empty: look beyond a boundary. */
			if (crossed(c, path))
				continue;
			if (!(flags & MSG_WAITALL) || !blocks(c, flags))
				return finish(c, done, n);
			continue;
		}
		if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
			if (n < 0 && done && conn_state(c) == HUT_END_CHANNEL && errno != EINTR)
				c->err = errno; /* bytes first, the error at the next call */
			return finish(c, done, n);
		}
		if (crossed(c, path) || look_at_socket(c, fd))
			continue;
		if (!blocks(c, flags) || (done && !(flags & MSG_WAITALL))) {
			errno = EAGAIN;
			return finish(c, done, -1);
		}
		if (!timed) {
			deadline = deadline_of(c->rcvtimeo_ns);
			timed = true;
		}
		int r = wait_conn(c, fd, POLLIN, deadline);

		if (r == 0)
			errno = EAGAIN;
		if (r <= 0)
			return finish(c, done, -1);
	}
}

/* ---- send ---- */

static ssize_t tcp_send(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct iovec iov[IOV_STACK];
	struct msghdr m = { .msg_iov = iov };
	ssize_t n;

	m.msg_iovlen = slice(k, want, iov, IOV_STACK);
	n = REAL(sendmsg)(fd, &m, flags | MSG_DONTWAIT);
	if (n > 0)
		__atomic_fetch_add(&c->end->tcp_out, (uint64_t)n, __ATOMIC_RELAXED);
	return n;
}

/* tx_lock held */
static ssize_t ring_send(struct conn *c, const struct cursor *k, size_t want)
{
	struct hut_end *e = c->end;
	struct cursor r = *k;
	size_t done = 0;
	ssize_t room = conn_tx_room(c);

	if (room < 0)
		return -2;
	while (done < want && room > 0) {
		size_t n = r.iov->iov_len - r.at;

		if (n > (size_t)room)
			n = (size_t)room;
		if (n > CHUNK)
			n = CHUNK;
		if (n > want - done)
			n = want - done;
		if (n) {
			ring_put(&c->tx, e, (const uint8_t *)r.iov->iov_base + r.at, n);
			done += n;
			room -= (ssize_t)n;
		}
		advance(&r, n);
		/* Small pieces of one call are shown together. */
		if (!n || (done < want && room > 0 && r.left && r.at == 0 && n < CHUNK))
			continue;
		if (ring_publish(&c->tx, e))
			conn_ring_peer(c); /* a write to an eventfd never waits */
		if (!room && done < want)
			room = conn_tx_room(c);
	}
	if (room < 0)
		return -2;
	__atomic_fetch_add(&e->ring_out, done, __ATOMIC_RELAXED);
	if (done)
		return (ssize_t)done;
	errno = EAGAIN;
	return -1;
}

static ssize_t send_locked(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;

	if (c->err && (e->flags & HUT_ENDF_ERR)) {
		errno = c->err;
		c->err = 0;
		return -1;
	}
	/* Nobody reads the ring, or we have closed it: the kernel knows what TCP does then. */
	if (e->flags & (HUT_ENDF_PEERGONE | HUT_ENDF_WRSHUT | HUT_ENDF_ERR))
		return tcp_send(c, fd, k, want, flags);
	switch (e->tx_path) {
	case HUT_PATH_RING:
		return ring_send(c, k, want);
	case HUT_PATH_DRAIN:
		errno = EAGAIN;
		return -1;
	default:
		return tcp_send(c, fd, k, want, flags);
	}
}

static ssize_t send_once(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;
	ssize_t n;
	int saved;

	if (conn_state(c) != HUT_END_CHANNEL && early_begin(c)) {
		n = tcp_send(c, fd, k, want, flags);
		saved = errno;
		early_end(c);
		errno = saved;
		return n;
	}
	if (now_coarse_ns() - c->check_ns >= CHECK_NS)
		conn_check_socket(c, fd);
	if (!lock_tx(e)) {
		errno = EINTR;
		return -1;
	}
	n = send_locked(c, fd, k, want, flags);
	saved = errno;
	unlock_tx(e);
	if (n == -2) {
		conn_poison(c, fd);
		c->err = 0;
		saved = ECONNRESET;
		n = -1;
	}
	errno = saved;
	return n;
}

ssize_t io_send(struct conn *c, int fd, const struct msghdr *m, int flags)
{
	struct cursor k = { m->msg_iov, m->msg_iovlen, 0 };
	size_t want = iov_total(m), done = 0;
	uint64_t deadline = NS_FOREVER;
	bool timed = false;

	if ((flags & ~SEND_FLAGS) || !want || want > SSIZE_MAX || m->msg_controllen) {
		if (want)
			conn_never(fd, HUT_R_OPTION);
		return REAL(sendmsg)(fd, m, flags);
	}
	for (;;) {
		if (atomic_load(&c->nfds) == 0 && !atomic_load(&c->plain)) {
			errno = EBADF;
			return finish(c, done, -1);
		}
		if (!conn_progress(c, fd)) {
			struct iovec iov[IOV_STACK];
			struct msghdr rest = { .msg_iov = iov };
			ssize_t n;

			rest.msg_iovlen = slice(&k, want - done, iov, IOV_STACK);
			n = REAL(sendmsg)(fd, &rest, flags);
			if (n > 0 && done + (size_t)n < want && rest.msg_iovlen == IOV_STACK) {
				done += (size_t)n;
				advance(&k, (size_t)n);
				continue;
			}
			return n < 0 ? (done ? (ssize_t)done : n) : (ssize_t)done + n;
		}
		ssize_t n = send_once(c, fd, &k, want - done, flags);

		if (n > 0) {
			done += (size_t)n;
			advance(&k, (size_t)n);
			if (done == want)
				return finish(c, done, n);
			continue;
		}
		if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
			return finish(c, done, n);
		atomic_fetch_add(&c->tx_short, 1);
		if (!blocks(c, flags))
			return finish(c, done, -1);
		if (!timed) {
			deadline = deadline_of(c->sndtimeo_ns);
			timed = true;
		}
		int r = wait_conn(c, fd, POLLOUT, deadline);

		if (r == 0)
			errno = EAGAIN;
		if (r <= 0)
			return finish(c, done, -1);
	}
}
