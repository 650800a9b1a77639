/* SPDX-License-Identifier: Apache-2.0 */
/* recv.c - receiving on a tracked connection, by TCP or ring, as one stream (rule 5). */
#include <limits.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"
#include "io.h"

#define SOON_NS (500 * NS_PER_MS) /* longer than a sender is kept from its next call, or TCP stops for a closed window */

#define RECV_FLAGS (MSG_PEEK | MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL | MSG_CMSG_CLOEXEC | MSG_TRUNC)
#define KERNELS_FLAGS (MSG_OOB | MSG_ERRQUEUE | (int)0x80000000u /* MSG_CMSG_COMPAT, which it refuses */)

/* No read goes on past an urgent byte, as it would from the ring's end into TCP. */
static bool at_mark(int fd)
{
	int at = 0;

	return REAL(ioctl)(fd, SIOCATMARK, &at) == 0 && at;
}

static ssize_t tcp_recv(struct conn *c, int fd, const struct cursor *k, size_t limit, size_t total, int flags)
{
	struct iovec iov[IOV_STACK];
	struct msghdr m = { .msg_iov = iov };
	bool all;
	ssize_t n;

	io_parts(k, limit, total, iov, &m, &all);
	if (!raw_begin(c, fd)) {
		errno = EAGAIN; /* closed meanwhile, or plain now: the caller looks again */
		return IO_AGAIN;
	}
	/* Not by libc's function, which is a cancellation point: locks may be held here. */
	n = io_raw_recv(fd, &m, (flags & (MSG_PEEK | MSG_CMSG_CLOEXEC)) | MSG_DONTWAIT);
	raw_end(c);
	if (n > 0 && !(flags & MSG_PEEK))
		__atomic_fetch_add(&c->end->tcp_in, (uint64_t)n, __ATOMIC_RELAXED);
	return n;
}

/* What a socket tells whose end has come: the error, once, and then the end of file. */
static ssize_t ended(struct conn *c)
{
	int err = c->err ? c->err : remote_tell_late(c);

	c->err = 0;
	if (err == EPIPE) { /* a writer's alone: to a reader it is the end of file */
		c->err = err;
		conn_set_flags(c->end, HUT_ENDF_ERR);
		return 0;
	}
	if (!err)
		return 0;
	errno = err;
	return -1;
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
		if (n <= 0)
			return n;
		/* Bytes of TCP: lawful only when the writer has just ended the ring. */
		return conn_turn_is(&c->rx, e->rx_round, HUT_TURN_ENDED) ? IO_AGAIN : IO_POISONED;
	}
	/* An error means the end too: it may have been told by a send, before the ring was reached. */
	if (!(LOAD_ACQ(&e->flags) & (HUT_ENDF_FIN | HUT_ENDF_ERR)) && !c->err) {
		errno = EAGAIN;
		return -1;
	}
	/* Acquire, above: whoever noted the end did so after the last bytes were published; they may be new to us. */
	if (ring_avail(&c->rx, e) != 0)
		return IO_AGAIN;
	return ended(c);
}

static void ring_copy_from(struct ring *r, const struct hut_end *e, const struct cursor *k, uint64_t skip,
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
		io_advance(&w, part);
	}
}

static void ring_copy_out(struct conn *c, const struct cursor *k, uint64_t skip, size_t len)
{
	ring_copy_from(&c->rx, c->end, k, skip, len);
}

/* n bytes have been copied from the ring: n, if they were there. */
static ssize_t were_there(const struct conn *c, ssize_t n)
{
	return UNLIKELY(c->port) && xen_pages_gone(c) ? IO_POISONED : n;
}

/* TCP has no more bytes, or an urgent one: a look at it would only take the error, which is for whoever comes to it. */
static bool nothing_beyond(struct conn *c, int fd)
{
	return conn_queued_by_tcp(c, fd) <= 0 || at_mark(fd);
}

/* rx_lock held.  A peek that reaches the end of the ring's bytes goes on in TCP's. */
static ssize_t peek_beyond(struct conn *c, int fd, const struct cursor *k, size_t want, size_t n, int flags)
{
	struct cursor w = *k;

	if (nothing_beyond(c, fd))
		return (ssize_t)n;
	io_advance(&w, n);
	ssize_t more = tcp_recv(c, fd, &w, want - n, want - n, flags);

	return more > 0 ? (ssize_t)n + more : (ssize_t)n;
}

/* In pieces, so that a writer that waits for room can go on while we copy. */
static void take_out(struct conn *c, struct cursor *w, size_t n, bool *wake)
{
	for (size_t done = 0; done < n;) {
		size_t part = n - done < CHUNK ? n - done : CHUNK;

		ring_copy_out(c, w, 0, part);
		*wake |= ring_take(&c->rx, c->end, part);
		io_advance(w, part);
		done += part;
	}
}

/* rx_lock held */
static ssize_t ring_recv(struct conn *c, int fd, const struct cursor *k, size_t want, int flags, bool *wake)
{
	struct hut_end *e = c->end;
	ssize_t avail = ring_ahead(&c->rx, e, want);
	size_t n;

	if (avail < 0)
		return IO_POISONED;
	if (avail == 0 && e->rx_head == e->rx_end) {
		conn_rx_leave(c);
		return IO_AGAIN;
	}
	if (avail == 0)
		return ring_end(c, fd);
	n = (size_t)avail < want ? (size_t)avail : want;
	if (flags & MSG_PEEK) {
		ring_copy_out(c, k, 0, n);
		return were_there(c, n < want && e->rx_head + n == e->rx_end ? peek_beyond(c, fd, k, want, n, flags) : (ssize_t)n);
	}
	struct cursor w = *k;

	take_out(c, &w, n, wake);
	/* And what has come while we copied, as TCP does; poison is for the next call. */
	while (n < want && (avail = ring_ahead(&c->rx, e, want - n)) > 0) {
		size_t part = (size_t)avail < want - n ? (size_t)avail : want - n;

		take_out(c, &w, part, wake);
		n += part;
	}
	STORE(&e->ring_in, e->ring_in + n);
	STORE(&c->one_way, LOAD(&c->one_way) + 1);
	heard();
	if (e->rx_head == e->rx_end)
		conn_rx_leave(c);
	return were_there(c, (ssize_t)n);
}

/* A peek at what TCP has after its next `skip` bytes, which end in a bin. */
static ssize_t tcp_peek_after(struct conn *c, int fd, const struct cursor *k, size_t skip, size_t limit)
{
	struct iovec iov[BINS + IOV_STACK];
	struct msghdr m = { .msg_iov = iov };
	ssize_t n;

	if (skip > BINS * BIN_SIZE || !raw_begin(c, fd))
		return 0;
	m.msg_iovlen = io_bins(iov, skip);
	m.msg_iovlen += io_slice(k, limit, iov + m.msg_iovlen, IOV_STACK);
	n = syscall(SYS_recvmsg, fd, &m, MSG_PEEK | MSG_DONTWAIT);
	raw_end(c);
	return n > (ssize_t)skip ? n - (ssize_t)skip : 0;
}

/* rx_lock held.  A peek that reaches the end of TCP's bytes goes on in the ring, and after an ended ring in TCP again. */
static ssize_t peek_on(struct conn *c, int fd, const struct cursor *k, size_t want, ssize_t n)
{
	struct hut_end *e = c->end;
	struct cursor w = *k;
	ssize_t avail = ring_avail(&c->rx, e);
	size_t more = want - (size_t)n;

	io_advance(&w, (size_t)n);
	if (avail <= 0 || !more)
		return n;
	more = (size_t)avail < more ? (size_t)avail : more;
	ring_copy_out(c, &w, 0, more);
	io_advance(&w, more);
	if ((size_t)n + more < want && e->rx_head + more == e->rx_end)
		more += (size_t)tcp_peek_after(c, fd, &w, (size_t)n, want - (size_t)n - more);
	return were_there(c, n + (ssize_t)more);
}

static bool tells_nothing_new(ssize_t n)
{
	return n > 0 || n == IO_AGAIN || (n < 0 && (errno == EAGAIN || errno == EINTR || errno == EFAULT));
}

/* The end of the stream, or an error that the socket has told: not one of the call itself, as of a number that is closed. */
static bool of_the_socket(int err)
{
	return err != EBADF && err != ENOTSOCK && err != EINVAL && err != ENOMEM && err != ENOBUFS;
}

/* Our writer shall not go on in a ring that nobody reads. */
static void broken_by(struct hut_end *e)
{
	conn_set_flags(e, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
}

/* rx_lock held: TCP up to S, then the ring. */
static ssize_t switch_recv(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;
	uint64_t to_s = e->rx_start - (e->tcp_in + e->ring_in);
	ssize_t n = tcp_recv(c, fd, k, want < to_s ? want : to_s, want, flags);

	if (n == 0 && ((LOAD(&e->flags) & HUT_ENDF_ERR) || LOAD(&c->late_told)))
		return ended(c);
	if (n == 0 && (LOAD(&e->flags) & HUT_ENDF_RDSHUT))
		return 0; /* by us */
	if (n == 0) {
		/* The writer has sent all before S before it went to the ring: an end here is a reset's. */
		remote_take_late(c);
		errno = ECONNRESET;
		n = -1;
	}
	if (!tells_nothing_new(n) && of_the_socket(errno))
		broken_by(e);
	if (n < 0 || (uint64_t)n < to_s)
		return n;
	if (flags & MSG_PEEK)
		return peek_on(c, fd, k, want, n);
	conn_rx_on(c, HUT_PATH_RING);
	if (e->rx_head == e->rx_end)
		conn_rx_leave(c);
	return n;
}

/* rx_lock held: bytes of a stopped round that its writer does not know of yet; 0: there are none. */
static ssize_t unclaimed_recv(struct conn *c, const struct cursor *k, size_t want, int flags)
{
	size_t n;

	if (!(flags & MSG_PEEK))
		return conn_rx_claim(c, want) ? IO_AGAIN : 0;
	/* A look needs no claim: whoever carries them, the bytes are the same. */
	n = conn_rx_tell(c);
	if (!n)
		return 0;
	struct hut_end at = { .rx_head = c->end->tcp_in + c->end->ring_in };

	n = n < want ? n : want;
	ring_copy_from(&c->rx, &at, k, 0, n);
	return were_there(c, (ssize_t)n);
}

/* rx_lock held.  TCP has told of its end, or of an error, which is in errno: what does that mean for the stream? */
static ssize_t over_by_tcp(struct conn *c, int fd, ssize_t n)
{
	struct hut_end *e = c->end;
	int err = n < 0 ? errno : 0;

	if (UNLIKELY(xen_round_lost(c)))
		return IO_POISONED;
	/* Nobody has ended it but our own SHUT_RD: what a writer owes still comes by TCP, and is read then. */
	if (n == 0 && !c->err && (LOAD(&e->flags) & HUT_ENDF_RDSHUT) && !conn_peer_shut(c, fd))
		return 0;
	if (conn_is_remote(c)) {
		if (err)
			c->late_err = err; /* before anybody may note that the end is not early any more */
		enum remote_next next = remote_after_tcp(c);

		if (next == REMOTE_MORE)
			return IO_AGAIN;
		if (next == REMOTE_WAIT) {
			errno = EAGAIN;
			return -1;
		}
		if (err)
			remote_take_late(c);
	}
	if (n == 0 && (c->err || c->late_err))
		return ended(c);
	if (!conn_end_of_tcp(c)) {
		if (err) { /* told now */
			c->err = 0;
			broken_by(e);
		}
		errno = err;
		return n;
	}
	if (err) { /* taken from the socket: told after the ring's bytes */
		c->err = err;
		broken_by(e);
	}
	return IO_AGAIN;
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
	return tells_nothing_new(n) ? n : over_by_tcp(c, fd, n);
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

	if (conn_state(c) != HUT_END_CHANNEL && io_early_begin(c)) {
		n = tcp_recv(c, fd, k, want, want, flags);
		saved = errno;
		io_early_end(c);
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
	if (n == 0 && !(LOAD(&e->flags) & HUT_ENDF_RDHUP)) {
		conn_check_socket(c, fd); /* for our writer, who may be on the ring still */
		__atomic_fetch_or(&e->flags, HUT_ENDF_RDHUP, __ATOMIC_ACQ_REL);
	}
	if (n == IO_POISONED) {
		conn_poison(c, fd);
		return IO_AGAIN;
	}
	errno = saved;
	return n;
}

/*
 * Between hosts, where the agents leave the connection on TCP for now: a thread that sends and then waits for the answer
 * may sleep in the kernel as any other does, since nothing that a doorbell could tell is for it.  That the far program's
 * bytes are wanted on the ring it finds out when it comes back with some (so none may wait for a lot).  Until then
 * neither direction can leave TCP (rule 4b); therefore not where another thread is the one that sends.
 */
struct direct {
	struct conn *c;
	pid_t pid; /* a child that a handler has forked comes back from the sleep, too */
};

static void direct_end(struct direct *d)
{
	if (d->c && d->pid == hut_pid)
		__atomic_fetch_sub(&d->c->end->raw_waits, 1, __ATOMIC_SEQ_CST);
}

static bool direct_begin(struct conn *c)
{
	struct hut_end *e = c->end;
	bool direct = false;

	if (!conn_stays_on_tcp(c) || atomic_load_explicit(&c->sender, memory_order_relaxed) != hut_tid() || !lock_rx(e))
		return false;
	if (lock_tx(e)) {
		direct = conn_stays_on_tcp(c);
		if (direct)
			__atomic_fetch_add(&e->raw_waits, 1, __ATOMIC_SEQ_CST);
		unlock_tx(e);
	}
	unlock_rx(e);
	return direct;
}

/*
 * A blocking call on such a connection, which is the kernel's from its beginning to its end: time-outs, signals, WAITALL.
 * IO_AGAIN: not on such a one, or what it told is not the stream's end.
 */
static ssize_t direct_recv(struct conn *c, int fd, const struct msghdr *whole, int flags, struct waiting *w)
{
	struct direct d __attribute__((cleanup(direct_end))) = { direct_begin(c) ? c : NULL, hut_pid };
	struct msghdr m = { .msg_iov = whole->msg_iov, .msg_iovlen = whole->msg_iovlen };
	int saved;
	ssize_t n;

	if (!d.c)
		return IO_AGAIN;
	wait_begin(w, c, POLLIN);
	n = REAL(recvmsg)(fd, &m, flags & (MSG_WAITALL | MSG_CMSG_CLOEXEC));
	if (n > 0)
		__atomic_fetch_add(&c->end->tcp_in, (uint64_t)n, __ATOMIC_RELAXED);
	if (n <= 0 && (LOAD(&c->end->flags) & HUT_ENDF_POISONED))
		return IO_AGAIN; /* reset by another thread, which has left the error for us */
	if (n == 0)
		return IO_AGAIN; /* it tells so again */
	if (tells_nothing_new(n) || !of_the_socket(errno))
		return n;
	saved = errno;
	if (!lock_rx(c->end)) {
		errno = saved;
		return n;
	}
	errno = saved;
	n = over_by_tcp(c, fd, n);
	saved = errno;
	unlock_rx(c->end);
	errno = saved;
	return n < 0 && errno == EAGAIN ? IO_AGAIN : n;
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

/* The stream has come to its end: nothing follows what is there. */
static bool no_more(struct conn *c, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (LOAD(&c->end->flags) & (HUT_ENDF_FIN | HUT_ENDF_ERR | HUT_ENDF_RDSHUT))
		return true;
	conn_check_socket(c, fd);
	if (conn_is_remote(c) && remote_end_open(c))
		return false;
	/* Also while TCP still has bytes before S, or some for after the ring's: their end is the stream's. */
	return (LOAD(&c->end->rx_path) != HUT_PATH_RING || LOAD(&c->end->rx_end) != HUT_NO_SPLIT) && poll_now(&p, 1) > 0;
}

/* The program has heard of more than came: the writer is sending it by TCP.  True: look again. */
static bool more_soon(struct conn *c, int fd, size_t have, size_t want, int flags, uint64_t *until)
{
	size_t told = conn_state(c) == HUT_END_CHANNEL ? conn_rx_told(c) : 0;
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (LIKELY(!told) || have >= want || ((flags & MSG_PEEK) && have >= told))
		return false;
	if (!*until)
		*until = now_ns() + SOON_NS;
	if (now_ns() >= *until) {
		STORE(&c->told, 0); /* it keeps its bytes to itself: once is enough */
		return false;
	}
	if (no_more(c, fd)) {
		*until = 1; /* what came before the end may be newer than our look: once more */
		return true;
	}
	REAL(ppoll)(&p, flags & MSG_PEEK ? 0 : 1, &(struct timespec){ 0, flags & MSG_PEEK ? 20000 : (long)NS_PER_MS }, NULL);
	return true;
}

/* PEEK|WAITALL: no event tells of "more", so it looks again now and then.  True: that was all. */
static bool peeked_all(struct conn *c, int fd, ssize_t n, size_t want, uint64_t deadline, bool *last)
{
	if ((size_t)n == want || *last || now_ns() >= deadline)
		return true;
	*last = no_more(c, fd);
	if (*last)
		return false; /* what came before the end may be newer than our look */
	return REAL(ppoll)(NULL, 0, &(struct timespec){ 0, (long)NS_PER_MS }, NULL) < 0;
}

/* *kernels: the kernel has filled in all of *m. */
static ssize_t recv_stream(struct conn *c, int fd, struct msghdr *m, int flags, bool *kernels)
{
	struct cursor k = { m->msg_iov, m->msg_iovlen, 0 };
	size_t want = io_total(m), done = 0;
	struct waiting w WAITING = { 0 };
	bool timed = false, last = false;
	bool blocks = io_blocks(c, flags); /* asked once, as the kernel does: later changes are for later calls */
	uint64_t deadline = blocks ? NS_FOREVER : 0, until = 0;

	signals_clear();
	flags &= RECV_FLAGS | KERNELS_FLAGS; /* TCP looks at no others */
	if ((flags & ~RECV_FLAGS) || want > SSIZE_MAX) {
		*kernels = true;
		if (flags & MSG_OOB)
			conn_send_past(fd, HUT_R_OPTION);
		return REAL(recvmsg)(fd, m, flags);
	}
	if (!want)
		return recv_nothing(c, fd, blocks);
	if (want > IO_MOST)
		want = IO_MOST;
	if (UNLIKELY(flags & MSG_TRUNC))
		return recv_discard(c, fd, want, flags);
	if (io_bad_address(m)) {
		ssize_t n = recv_look(c, fd, flags);

		if (n <= 0)
			return n;
		errno = EFAULT;
		return -1;
	}
	for (;;) {
		if (!io_resolve(c, &fd))
			return io_finish(c, done, -1);
		if (!conn_progress(c, fd))
			return recv_plainly(c, fd, &k, m, done, want, flags, timed,
					    timed || !blocks ? deadline : io_deadline(conn_timeo(c, fd, false)), &w,
					    kernels);
		if (done && io_error_waits(c, fd, POLLIN))
			return io_finish(c, done, -1);
		/* Only as the first thing that this call does: a time-out or a signal counts from there. */
		if (blocks && !done && !w.c && !signals_interrupted() && !(flags & MSG_PEEK) &&
		    (!(flags & MSG_WAITALL) || want <= CHUNK)) {
			ssize_t all = direct_recv(c, fd, m, flags, &w);

			if (all != IO_AGAIN)
				return io_finish(c, 0, all);
		}
		uint32_t path = LOAD(&c->end->rx_path);
		bool sliced = k.left > IOV_STACK && (k.at || path == HUT_PATH_SWITCH);
		ssize_t n = recv_once(c, fd, &k, want - done, flags);

		if (n == IO_AGAIN)
			continue;
		if (n > 0 && (flags & MSG_PEEK)) {
			if (!timed && (flags & MSG_WAITALL)) {
				deadline = io_deadline(conn_timeo(c, fd, false));
				timed = true;
			}
			if (more_soon(c, fd, (size_t)n, want, flags, &until))
				continue;
			if (!(flags & MSG_WAITALL) || !blocks || peeked_all(c, fd, n, want, deadline, &last))
				return io_finish(c, 0, n);
			continue;
		}
		if (n > 0) {
			done += (size_t)n;
			io_advance(&k, (size_t)n);
			if (done == want)
				return io_finish(c, done, n);
			if (UNLIKELY(LOAD(&c->end->rx_path) != path) && at_mark(fd))
				return io_finish(c, done, n);
			/* Short only when the stream itself is empty: look beyond a boundary. */
			if (crossed(c, path) || sliced || more_soon(c, fd, done, want, flags, &until))
				continue;
			if (!(flags & MSG_WAITALL) || !blocks)
				return io_finish(c, done, n);
			continue;
		}
		if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
			if (n < 0 && done)
				io_put_back(c, errno); /* bytes first, the error at the next call */
			return io_finish(c, done, n);
		}
		if (crossed(c, path) || more_soon(c, fd, done, want, flags, &until) || look_at_socket(c, fd))
			continue;
		if (!blocks || (done && !(flags & MSG_WAITALL))) {
			errno = EAGAIN;
			return io_finish(c, done, -1);
		}
		if (!timed) {
			deadline = io_deadline(conn_timeo(c, fd, false));
			timed = true;
		}
		wait_begin(&w, c, POLLIN);
		int r = wait_conn(c, fd, POLLIN, deadline, done > 0);

		if (r == 0)
			errno = EAGAIN;
		if (r <= 0)
			return io_finish(c, done, -1);
	}
}

ssize_t io_recv(struct conn *c, int fd, struct msghdr *m, int flags)
{
	bool kernels = false;
	ssize_t n = recv_stream(c, fd, m, flags, &kernels);

	if (n < 0 || kernels)
		return n;
	/* TCP gives no address, and no control messages but those of options that keep a connection on TCP. */
	if (m->msg_name)
		m->msg_namelen = 0;
	m->msg_controllen = 0;
	m->msg_flags = flags & MSG_CMSG_CLOEXEC; /* the kernel leaves it there */
	return n;
}
