/* SPDX-License-Identifier: Apache-2.0 */
/* io.c - places in iovecs, and the beginning and the end of a call that moves bytes; see recv.c and send.c. */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"
#include "io.h"
#include "wait.h"

size_t io_total(const struct msghdr *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->msg_iovlen; i++)
		n += m->msg_iov[i].iov_len;
	return n;
}

void io_advance(struct cursor *k, size_t n)
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
size_t io_slice(const struct cursor *k, size_t limit, struct iovec *out, size_t max)
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

bool io_blocks(const struct conn *c, int flags)
{
	return !(flags & MSG_DONTWAIT) && !LOAD(&c->end->nonblock);
}

uint64_t io_deadline(uint64_t timeo)
{
	return timeo && timeo != NS_FOREVER ? now_ns() + timeo : NS_FOREVER;
}

/*
 * An address that is none: the kernel says EFAULT.  Only what needs no system call is looked at; a pointer to a page
 * that is not mapped faults in the program, as any other use of it would.
 */
bool io_bad_address(const struct msghdr *m)
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
void io_parts(const struct cursor *k, size_t limit, size_t total, struct iovec *few, struct msghdr *m, bool *all)
{
	*all = true;
	if (!k->at && limit >= total) {
		m->msg_iov = (struct iovec *)k->iov;
		m->msg_iovlen = k->left;
		return;
	}
	size_t sum = 0;

	m->msg_iov = few;
	m->msg_iovlen = io_slice(k, limit, few, IOV_STACK);
	for (size_t i = 0; i < m->msg_iovlen; i++)
		sum += few[i].iov_len;
	*all = sum >= limit;
}

/*
 * Few bytes in several pieces, as MPI's headers and data are, put together: each piece costs the kernel more than that.  Not
 * before a channel stands: the kernel tells of bad pointers, and a copy only dies of them, so it is made before raw_begin().
 */
void io_put_together(const struct conn *c, struct msghdr *m, struct iovec *one, char *together)
{
	size_t n = 0;

	if (m->msg_iovlen < 2 || conn_state(c) != HUT_END_CHANNEL)
		return;
	for (size_t i = 0; i < m->msg_iovlen; i++) {
		/* Once each: they are the program's, whose other threads may change them. */
		size_t len = LOAD(&m->msg_iov[i].iov_len);
		const void *base = LOAD(&m->msg_iov[i].iov_base);

		if (len > TOGETHER - n)
			return;
		if (len)
			memcpy(together + n, base, len);
		n += len;
	}
	*one = (struct iovec){ together, n };
	m->msg_iov = one;
	m->msg_iovlen = 1;
}

/* The system calls, past libc's functions, which are cancellation points.  One piece goes by the shorter ones. */
ssize_t io_raw_send(int fd, const struct msghdr *m, int flags)
{
	if (LIKELY(m->msg_iovlen == 1))
		return syscall(SYS_sendto, fd, m->msg_iov->iov_base, m->msg_iov->iov_len, flags, NULL, 0);
	return syscall(SYS_sendmsg, fd, m, flags);
}

ssize_t io_raw_recv(int fd, const struct msghdr *m, int flags)
{
	if (LIKELY(m->msg_iovlen == 1))
		return syscall(SYS_recvfrom, fd, m->msg_iov->iov_base, m->msg_iov->iov_len, flags, NULL, NULL);
	return syscall(SYS_recvmsg, fd, m, flags);
}

/* Before the channel stands: a raw call, counted; the switch waits for those under way. */
bool io_early_begin(struct conn *c)
{
	__atomic_fetch_add(&c->end->inflight, 1, __ATOMIC_SEQ_CST);
	if (conn_state(c) != HUT_END_CHANNEL)
		return true;
	__atomic_fetch_sub(&c->end->inflight, 1, __ATOMIC_SEQ_CST);
	return false;
}

void io_early_end(struct conn *c)
{
	__atomic_fetch_sub(&c->end->inflight, 1, __ATOMIC_SEQ_CST);
}

ssize_t io_finish(struct conn *c, size_t done, ssize_t n)
{
	int saved = errno;

	if (conn_state(c) == HUT_END_CHANNEL)
		epset_activity(c);
	errno = saved;
	return done ? (ssize_t)done : n;
}

/* An error of the call itself says nothing of the connection. */
static bool the_calls(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == EFAULT || error == EPIPE ||
	       error == EBADF || error == ENOTSOCK || error == ENOMEM || error == ENOBUFS || error == EINVAL;
}

/* A writer tells the socket's error: whoever comes to the end of the stream afterwards tells no other one. */
void io_told(struct conn *c, int fd, int error)
{
	if (!the_calls(error) && conn_is_dead(c, fd))
		remote_late_told(c);
	errno = error;
}

/* A call that came short has taken the socket's error: the next one is to tell it, whatever it is, and getsockopt(). */
void io_put_back(struct conn *c, int error)
{
	if (the_calls(error) || conn_state(c) != HUT_END_CHANNEL)
		return;
	c->err = error;
	/* Release, in it: who sees the flag finds the error. */
	__atomic_fetch_or(&c->end->flags, HUT_ENDF_ERR, __ATOMIC_ACQ_REL);
}

/*
 * Bytes have been moved already, and the next try goes to the socket itself: would it only take the error, which is the
 * next call's?  On a channel it can be put back.
 */
bool io_error_waits(struct conn *c, int fd, short want)
{
	struct pollfd p = { .fd = fd, .events = want };
	struct tcp_info ti;
	int queued = 0;

	if (conn_state(c) == HUT_END_CHANNEL && conn_progress(c, fd)) /* after which it may be plain */
		return false;
	if (poll_now(&p, 1) <= 0 || !(p.revents & POLLERR) || conn_established(fd, &ti))
		return false; /* an established one has only something in its error queue */
	return !(want & POLLIN) || REAL(ioctl)(fd, SIOCINQ, &queued) || !queued;
}

/* Who has slept does not know what has become of the program's number meanwhile, see life_forget(). */
int io_plain_fd(const struct conn *c, int fd, const struct waiting *w)
{
	int kept = w->c ? __atomic_load_n(&c->keep_fd, __ATOMIC_ACQUIRE) : -1;

	return kept >= 0 ? kept : fd;
}

/* By a number of ours the socket stays the one that the call began with, whatever others do to the program's. */
int io_plain_own(struct plain *s, short want)
{
	if (__libc_single_threaded) /* nobody else can, and it may be closed by a handler, or after a jump out of one */
		return s->fd;
	wait_begin(s->w, s->c, want);
	life_keep_plain(s->c, s->fd);
	s->fd = io_plain_fd(s->c, s->fd, s->w);
	return s->fd;
}

/*
 * After a try on the plain socket that gave n: waits for what would let the next one succeed, as long as that call was to
 * block: until the deadline, 0 for not at all.  `restarts`: handlers with SA_RESTART do not end it (rule 14).  False: the call
 * ends, with n or, where it has waited, with EAGAIN or EINTR.
 */
bool io_wait_plainly(struct plain *s, short want, ssize_t n, uint64_t deadline, bool restarts)
{
	struct pollfd p = { .events = want };
	struct timespec ts;
	int ready;

	if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || !deadline)
		return false;
	p.fd = io_plain_own(s, want);
	if (REAL(fcntl)(p.fd, F_GETFL) & O_NONBLOCK) {
		errno = EAGAIN;
		return false;
	}
	do {
		ready = -1;
		errno = EINTR;
		if (signals_sleep(-1))
			ready = REAL(ppoll)(&p, 1, wait_until(deadline, &ts), NULL);
		signals_woke();
	} while (ready < 0 && errno == EINTR && restarts && deadline == NS_FOREVER && !signals_interrupted());
	if (ready == 0)
		errno = EAGAIN;
	/* The error queue (MSG_ZEROCOPY) has something: that ends no call, but every poll. */
	if (ready > 0 && !(p.revents & (want | POLLHUP)))
		REAL(ppoll)(NULL, 0, &(struct timespec){ 0, (long)NS_PER_MS }, NULL);
	return ready > 0;
}

/* The descriptor number may have been closed, or given away, by another thread: the connection lives on in another. */
bool io_resolve(struct conn *c, int *fd)
{
	if (LIKELY(table_peek(*fd) == c) || atomic_load(&c->plain))
		return true;
	int other = table_fd_of(c);

	if (other >= 0)
		*fd = other;
	else if (!atomic_load(&c->plain)) { /* not just now: whoever forgets it says so first */
		errno = EBADF;
		return false;
	}
	return true;
}
