/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - moving bytes on a tracked connection, by TCP or ring, as one stream (rule 5). */
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>

#include "real.h"

#define CHUNK 65536u
#define IOV_STACK 16
#define CHECK_NS (8 * NS_PER_MS)
#define RECV_FLAGS (MSG_PEEK | MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC | MSG_TRUNC)
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

/*
 * An address that is none: the kernel says EFAULT.  Only what needs no system call is looked at; a pointer to a page
 * that is not mapped faults in the program, as any other use of it would.
 */
static bool bad_address(const struct msghdr *m)
{
	for (size_t i = 0; i < m->msg_iovlen; i++)
		if (UNLIKELY(m->msg_iov[i].iov_len && (uintptr_t)m->msg_iov[i].iov_base < HUT_PAGE))
			return true;
	return false;
}

/*
 * The next at most `limit` bytes of the cursor as an argument of recvmsg() or sendmsg(): the program's own array where
 * it fits as it is.  Sets *all to false when there are more parts than `few` holds.
 */
static void parts(const struct cursor *k, size_t limit, size_t total, struct iovec *few, struct msghdr *m, bool *all)
{
	*all = true;
	if (!k->at && limit >= total) {
		m->msg_iov = (struct iovec *)k->iov;
		m->msg_iovlen = k->left;
		return;
	}
	size_t sum = 0;

	m->msg_iov = few;
	m->msg_iovlen = slice(k, limit, few, IOV_STACK);
	for (size_t i = 0; i < m->msg_iovlen; i++)
		sum += few[i].iov_len;
	*all = sum >= limit;
}

/* ---- receive ---- */

#define RECV_POISONED (-2) /* the peer published nonsense */
#define RECV_AGAIN (-3)    /* the path has changed: look again */

static ssize_t tcp_recv(struct conn *c, int fd, const struct cursor *k, size_t limit, size_t total, int flags)
{
	struct iovec iov[IOV_STACK];
	struct msghdr m = { .msg_iov = iov };
	bool all;
	ssize_t n;

	parts(k, limit, total, iov, &m, &all);
	if (!raw_begin(c, fd)) {
		errno = EAGAIN; /* closed meanwhile, or plain now: the caller looks again */
		return RECV_AGAIN;
	}
	/* Not by libc's function, which is a cancellation point: locks may be held here. */
	n = syscall(SYS_recvmsg, fd, &m, (flags & (MSG_PEEK | MSG_CMSG_CLOEXEC)) | MSG_DONTWAIT);
	raw_end(c);
	if (n > 0 && !(flags & MSG_PEEK))
		__atomic_fetch_add(&c->end->tcp_in, (uint64_t)n, __ATOMIC_RELAXED);
	return n;
}

/* What a socket tells whose end has come: the error, once, and then the end of file. */
static ssize_t ended(struct conn *c)
{
	if (c->err) {
		errno = c->err;
		c->err = 0;
		return -1;
	}
	return 0;
}

/* rx_lock held, the ring is empty.  Queued bytes first, then the error, then end of file (rule 16). */
static ssize_t ring_end(struct conn *c, int fd)
{
	struct hut_end *e = c->end;

	if (e->flags & HUT_ENDF_RDSHUT) {
		char byte;
		ssize_t n;

		if (c->err || !raw_begin(c, fd))
			return ended(c);
		n = syscall(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL);
		raw_end(c);
		return n;
	}
	if (!(LOAD_ACQ(&e->flags) & HUT_ENDF_FIN) && !c->err) {
		errno = EAGAIN;
		return -1;
	}
	/* Acquire, above: whoever noted the end did so after the last bytes were published; they may be new to us. */
	if (ring_avail(&c->rx, e) != 0)
		return RECV_AGAIN;
	return ended(c);
}

static void ring_copy_from(const struct ring *r, const struct hut_end *e, const struct cursor *k, uint64_t skip,
			   size_t len)
{
	struct cursor w = *k;

	while (len) {
		size_t part = w.iov->iov_len - w.at;

		if (part > len)
			part = len;
		ring_peek(r, e, skip, (uint8_t *)w.iov->iov_base + w.at, part);
		skip += part;
		len -= part;
		advance(&w, part);
	}
}

static void ring_copy_out(struct conn *c, const struct cursor *k, uint64_t skip, size_t len)
{
	ring_copy_from(&c->rx, c->end, k, skip, len);
}

/* rx_lock held.  A peek that reaches the end of the ring's bytes goes on in TCP's. */
static ssize_t peek_beyond(struct conn *c, int fd, const struct cursor *k, size_t want, size_t n, int flags)
{
	struct cursor w = *k;

	advance(&w, n);
	ssize_t more = tcp_recv(c, fd, &w, want - n, want - n, flags);

	return more > 0 ? (ssize_t)n + more : (ssize_t)n;
}

/* rx_lock held */
static ssize_t ring_recv(struct conn *c, int fd, const struct cursor *k, size_t want, int flags, bool *wake)
{
	struct hut_end *e = c->end;
	ssize_t avail = ring_avail(&c->rx, e);
	size_t n;

	if (avail < 0)
		return RECV_POISONED;
	if (avail == 0 && e->rx_head == e->rx_end) {
		conn_rx_leave(c);
		return RECV_AGAIN;
	}
	if (avail == 0)
		return ring_end(c, fd);
	n = (size_t)avail < want ? (size_t)avail : want;
	if (flags & MSG_PEEK) {
		ring_copy_out(c, k, 0, n);
		return n < want && e->rx_head + n == e->rx_end ? peek_beyond(c, fd, k, want, n, flags) : (ssize_t)n;
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
	if (e->rx_head == e->rx_end)
		conn_rx_leave(c);
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

/* rx_lock held.  A peek that reaches the end of TCP's bytes goes on in the ring. */
static ssize_t peek_on(struct conn *c, const struct cursor *k, size_t want, ssize_t n)
{
	struct cursor w = *k;
	ssize_t avail = ring_avail(&c->rx, c->end);
	size_t more = want - (size_t)n;

	advance(&w, (size_t)n);
	if (avail <= 0 || !more)
		return n;
	more = (size_t)avail < more ? (size_t)avail : more;
	ring_copy_out(c, &w, 0, more);
	return n + (ssize_t)more;
}

/* rx_lock held: TCP up to S, then the ring. */
static ssize_t switch_recv(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;
	uint64_t to_s = e->rx_start - (e->tcp_in + e->ring_in);
	ssize_t n = tcp_recv(c, fd, k, want < to_s ? want : to_s, want, flags);

	if (n == 0) {
		/* The writer has sent all before S before it went to the ring: an end here is a reset's. */
		errno = ECONNRESET;
		return -1;
	}
	if (n < 0 || (uint64_t)n < to_s)
		return n;
	if (flags & MSG_PEEK)
		return peek_on(c, k, want, n);
	STORE(&e->rx_path, HUT_PATH_RING);
	atomic_fetch_add(&c->edges, 1);
	if (e->rx_head == e->rx_end)
		conn_rx_leave(c);
	return n;
}

/* rx_lock held: bytes of a stopped round that its writer does not know of yet; 0: there are none. */
static ssize_t unclaimed_recv(struct conn *c, const struct cursor *k, size_t want, int flags)
{
	uint64_t turn;
	size_t n;

	if (!(flags & MSG_PEEK))
		return conn_rx_claim(c, want) ? RECV_AGAIN : 0;
	/* A look needs no claim: whoever carries them, the bytes are the same. */
	n = conn_rx_unclaimed(c, &turn);
	if (!n)
		return 0;
	struct hut_end at = { .rx_head = c->end->tcp_in + c->end->ring_in };

	n = n < want ? n : want;
	ring_copy_from(&c->rx, &at, k, 0, n);
	return (ssize_t)n;
}

/* rx_lock held: all by TCP, as far as we know. */
static ssize_t plain_recv(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;
	ssize_t n;

	if (e->flags & HUT_ENDF_POISONED)
		return ended(c); /* what TCP has are bytes of nobody knows whom */
	if (UNLIKELY(e->flags & HUT_ENDF_STOPPED)) {
		n = unclaimed_recv(c, k, want, flags);
		if (n)
			return n;
	}
	n = tcp_recv(c, fd, k, want, want, flags);
	if (n > 0 || n == RECV_AGAIN || (n < 0 && (errno == EAGAIN || errno == EINTR || errno == EFAULT)))
		return n;
	if (n == 0 && c->err)
		return ended(c);
	int err = n < 0 ? errno : 0;

	if (!conn_end_of_tcp(c)) {
		if (err) /* told now; our writer shall not go on in a ring that nobody reads */
			__atomic_fetch_or(&e->flags, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE, __ATOMIC_ACQ_REL);
		errno = err;
		return n;
	}
	if (err) { /* taken from the socket: told after the ring's bytes */
		c->err = err;
		__atomic_fetch_or(&e->flags, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE, __ATOMIC_ACQ_REL);
	}
	return RECV_AGAIN;
}

static ssize_t recv_locked(struct conn *c, int fd, const struct cursor *k, size_t want, int flags, bool *wake)
{
	switch (c->end->rx_path) {
	case HUT_PATH_RING:
		return ring_recv(c, fd, k, want, flags, wake);
	case HUT_PATH_SWITCH:
		return switch_recv(c, fd, k, want, flags);
	default:
		return plain_recv(c, fd, k, want, flags);
	}
}

static ssize_t recv_once(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;
	bool wake = false;
	ssize_t n;
	int saved;

	if (conn_state(c) != HUT_END_CHANNEL && early_begin(c)) {
		n = tcp_recv(c, fd, k, want, want, flags);
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
	if (n == RECV_POISONED) {
		conn_poison(c, fd);
		return RECV_AGAIN;
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

/* The descriptor number may have been closed, or given away, by another thread: the connection lives on in another. */
static bool resolve(struct conn *c, int *fd)
{
	if (LIKELY(table_peek(*fd) == c) || atomic_load(&c->plain))
		return true;
	int other = table_fd_of(c);

	if (other < 0) {
		errno = EBADF;
		return false;
	}
	*fd = other;
	return true;
}

/* The connection has become plain TCP: libc does the rest. */
static ssize_t recv_plainly(const struct cursor *k, int fd, struct msghdr *whole, size_t done, size_t want, int flags)
{
	struct iovec iov[IOV_STACK];
	struct msghdr rest = { 0 };
	bool all;
	ssize_t n;

	if (!done)
		return REAL(recvmsg)(fd, whole, flags);
	if (!(flags & MSG_WAITALL))
		flags |= MSG_DONTWAIT;
	parts(k, want - done, want - done, iov, &rest, &all);
	n = REAL(recvmsg)(fd, &rest, flags);
	return n < 0 ? (ssize_t)done : n + (ssize_t)done;
}

/* read(2) and readv(2) of nothing end at once; recv(2) waits for something to be there, as the kernel does. */
static ssize_t recv_nothing(struct conn *c, int fd, int flags)
{
	struct waiting w WAITING = { 0 };

	while (conn_progress(c, fd) && !conn_ready(c, fd, POLLIN)) {
		if (!blocks(c, flags)) {
			errno = EAGAIN;
			return -1;
		}
		wait_begin(&w, c, POLLIN);
		int r = wait_conn(c, fd, POLLIN, deadline_of(conn_timeo(c, fd, false)), false);

		if (r == 0)
			errno = EAGAIN;
		if (r <= 0)
			return -1;
	}
	return 0;
}

/* PEEK|WAITALL: no event tells of "more", so it looks again now and then.  True: that was all. */
static bool peeked_all(struct conn *c, int fd, ssize_t n, size_t want, int flags, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (!(flags & MSG_WAITALL) || (size_t)n == want || !blocks(c, flags))
		return true;
	if ((LOAD(&c->end->flags) & (HUT_ENDF_FIN | HUT_ENDF_ERR | HUT_ENDF_RDSHUT)) || now_ns() >= deadline)
		return true;
	conn_check_socket(c, fd);
	if (LOAD(&c->end->rx_path) == HUT_PATH_TCP && poll_now(&p, 1) > 0)
		return true;
	return REAL(ppoll)(NULL, 0, &(struct timespec){ 0, (long)NS_PER_MS }, NULL) < 0;
}

/* MSG_TRUNC: the bytes are dropped, and only counted (tcp(7)). */
static ssize_t recv_discard(struct conn *c, int fd, size_t want, int flags)
{
	char bin[16384];
	ssize_t total = 0;

	flags &= ~MSG_TRUNC;
	while ((size_t)total < want) {
		struct iovec iov = { bin, want - (size_t)total < sizeof(bin) ? want - (size_t)total : sizeof(bin) };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
		bool more = total && !(flags & MSG_WAITALL);
		ssize_t n = io_recv(c, fd, &m, flags | (more ? MSG_DONTWAIT : 0));

		if (n <= 0)
			return total ? total : n;
		total += n;
		if ((size_t)n < iov.iov_len || (flags & MSG_PEEK))
			break;
	}
	return total;
}

ssize_t io_recv(struct conn *c, int fd, struct msghdr *m, int flags)
{
	struct cursor k = { m->msg_iov, m->msg_iovlen, 0 };
	size_t want = iov_total(m), done = 0;
	uint64_t deadline = NS_FOREVER;
	struct waiting w WAITING = { 0 };
	bool timed = false;

	if ((flags & ~RECV_FLAGS) || want > SSIZE_MAX) {
		if (flags & MSG_OOB)
			conn_never(fd, HUT_R_OPTION);
		return REAL(recvmsg)(fd, m, flags);
	}
	if (!want)
		return recv_nothing(c, fd, flags);
	if (UNLIKELY(flags & MSG_TRUNC))
		return recv_discard(c, fd, want, flags);
	if (bad_address(m)) {
		if (recv_nothing(c, fd, flags))
			return -1;
		errno = EFAULT;
		return -1;
	}
	for (;;) {
		if (!resolve(c, &fd))
			return finish(c, done, -1);
		if (!conn_progress(c, fd))
			return recv_plainly(&k, fd, m, done, want, flags);
		uint32_t path = LOAD(&c->end->rx_path);
		bool sliced = k.left > IOV_STACK && (k.at || path == HUT_PATH_SWITCH);
		ssize_t n = recv_once(c, fd, &k, want - done, flags);

		if (n == RECV_AGAIN)
			continue;
		if (n > 0 && (flags & MSG_PEEK)) {
			if (!timed && (flags & MSG_WAITALL)) {
				deadline = deadline_of(conn_timeo(c, fd, false));
				timed = true;
			}
			if (peeked_all(c, fd, n, want, flags, deadline))
				return finish(c, 0, n);
			continue;
		}
		if (n > 0) {
			done += (size_t)n;
			advance(&k, (size_t)n);
			if (done == want)
				return finish(c, done, n);
			/* Short only when the stream itself is empty: look beyond a boundary. */
			if (crossed(c, path) || sliced)
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
			deadline = deadline_of(conn_timeo(c, fd, false));
			timed = true;
		}
		wait_begin(&w, c, POLLIN);
		int r = wait_conn(c, fd, POLLIN, deadline, done > 0);

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
	bool all;
	ssize_t n;

	parts(k, want, want, iov, &m, &all);
	if (!raw_begin(c, fd)) {
		errno = EAGAIN;
		return RECV_AGAIN;
	}
	n = syscall(SYS_sendmsg, fd, &m, flags | MSG_DONTWAIT);
	raw_end(c);
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
		return RECV_POISONED;
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
			conn_ring_peer(c); /* never waits, see bell.c */
		if (UNLIKELY(conn_tx_turned(c)))
			break; /* after the fence in ring_publish(): see conn_rx_unclaimed() */
		if (!room && done < want)
			room = conn_tx_room(c);
	}
	if (room < 0)
		return RECV_POISONED;
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
	if (UNLIKELY(e->flags & HUT_ENDF_WRSHUT) && conn_state(c) == HUT_END_CHANNEL) {
		/* Shut by us; the kernel is told when it has the bytes that are still owed. */
		if (!(flags & MSG_NOSIGNAL))
			raise(SIGPIPE);
		errno = EPIPE;
		return -1;
	}
	/* Nobody reads the ring: the kernel knows what TCP does then. */
	if (e->flags & (HUT_ENDF_PEERGONE | HUT_ENDF_ERR))
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
	if (UNLIKELY(LOAD(&e->tx_path) == HUT_PATH_RING && conn_tx_turned(c)))
		conn_tx_stopped(c, fd); /* the caller may make no other call for long */
	if (n == RECV_POISONED) {
		conn_poison(c, fd);
		return RECV_AGAIN;
	}
	errno = saved;
	return n;
}

static ssize_t send_plainly(const struct cursor *k, int fd, const struct msghdr *whole, size_t done, size_t want,
			    int flags)
{
	struct iovec iov[IOV_STACK];
	struct cursor rest = *k;

	if (!done)
		return REAL(sendmsg)(fd, whole, flags);
	for (;;) {
		struct msghdr m = { 0 };
		bool all;

		parts(&rest, want - done, want - done, iov, &m, &all);
		ssize_t n = REAL(sendmsg)(fd, &m, flags);

		if (n < 0)
			return (ssize_t)done;
		done += (size_t)n;
		advance(&rest, (size_t)n);
		if (done == want || all)
			return (ssize_t)done;
	}
}

ssize_t io_send(struct conn *c, int fd, const struct msghdr *m, int flags)
{
	struct cursor k = { m->msg_iov, m->msg_iovlen, 0 };
	size_t want = iov_total(m), done = 0;
	uint64_t deadline = NS_FOREVER;
	struct waiting w WAITING = { 0 };
	bool timed = false;

	if ((flags & ~SEND_FLAGS) || !want || want > SSIZE_MAX || m->msg_controllen) {
		if (want || m->msg_controllen)
			conn_never(fd, HUT_R_OPTION);
		return REAL(sendmsg)(fd, m, flags);
	}
	if (bad_address(m)) {
		errno = EFAULT;
		return -1;
	}
	for (;;) {
		if (!resolve(c, &fd))
			return finish(c, done, -1);
		if (!conn_progress(c, fd))
			return send_plainly(&k, fd, m, done, want, flags);
		ssize_t n = send_once(c, fd, &k, want - done, flags);

		if (n == RECV_AGAIN)
			continue;
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
			deadline = deadline_of(conn_timeo(c, fd, true));
			timed = true;
		}
		wait_begin(&w, c, POLLOUT);
		int r = wait_conn(c, fd, POLLOUT, deadline, done > 0);

		if (r == 0)
			errno = EAGAIN;
		if (r <= 0)
			return finish(c, done, -1);
	}
}
