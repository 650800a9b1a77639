/* SPDX-License-Identifier: Apache-2.0 */
/* recv_odd.c - receiving that is not copying: of nothing, of bytes that are dropped, and of the rest by libc; see recv.c. */
#include "real.h"
#include "io.h"

/*
 * The connection has become plain TCP: libc does the rest.  *kernels: all of it.  Not where the call has slept already, whose
 * time-out goes on, or has moved bytes, so that an error is the next call's to tell: then it never sleeps in the kernel's.
 */
ssize_t recv_plainly(struct conn *c, int fd, const struct cursor *k, struct msghdr *whole, size_t done, size_t want,
		     int flags, bool slept, uint64_t deadline, struct waiting *w, bool *kernels)
{
	struct plain s = { c, w, io_plain_fd(c, fd, w) };
	struct iovec iov[IOV_STACK];
	struct msghdr rest;
	struct cursor at = *k;
	ssize_t n = -1;
	bool all;

	*kernels = !done && (!slept || (flags & MSG_PEEK) || (deadline == NS_FOREVER && !signals_interrupted()));
	if (*kernels)
		return REAL(recvmsg)(s.fd, whole, flags);
	while (done < want && !(done && io_error_waits(c, s.fd, POLLIN))) {
		bool more = !done || (flags & MSG_WAITALL);

		rest = (struct msghdr){ 0 };
		io_parts(&at, want - done, want - done, iov, &rest, &all);
		n = REAL(recvmsg)(s.fd, &rest, flags | MSG_DONTWAIT);
		if (n > 0) {
			done += (size_t)n;
			io_advance(&at, (size_t)n);
			if (!(flags & MSG_WAITALL) && all)
				break;
		} else if (!more || !io_wait_plainly(&s, POLLIN, n, deadline, !done)) {
			break;
		}
	}
	return done ? (ssize_t)done : n;
}

/* What the next byte would give, without taking it; an error is taken. */
ssize_t recv_look(struct conn *c, int fd, int flags)
{
	struct msghdr m = { .msg_iov = &(struct iovec){ &(char){ 0 }, 1 }, .msg_iovlen = 1 };

	return io_recv(c, fd, &m, (flags & MSG_DONTWAIT) | MSG_PEEK);
}

/*
 * read(2) and readv(2) of nothing end at once; recv(2) waits for something to be there, as the kernel does, which then asks
 * no more what it was.
 */
ssize_t recv_nothing(struct conn *c, int fd, bool blocks)
{
	struct waiting w WAITING = { 0 };
	uint64_t deadline;

	if (recv_look(c, fd, MSG_DONTWAIT) >= 0)
		return 0;
	if (!blocks || errno != EAGAIN)
		return -1;
	deadline = io_deadline(conn_timeo(c, fd, false));
	wait_begin(&w, c, POLLIN);
	while (!conn_ready(c, fd, POLLIN) && wait_conn(c, fd, POLLIN, deadline, true) > 0 && !atomic_load(&c->plain))
		;
	return 0;
}

/* Where bytes go that nobody wants.  Not on the stack, which may be small; many may write here, and nobody reads. */
static char bin[BIN_SIZE];

/* Places for `len` bytes, one over the other; returns how many.  There are BINS of them at most. */
size_t io_bins(struct iovec *iov, size_t len)
{
	size_t n = 0;

	for (; len && n < BINS; len -= iov[n++].iov_len)
		iov[n] = (struct iovec){ bin, len < sizeof(bin) ? len : sizeof(bin) };
	return n;
}

/* MSG_TRUNC: the bytes are dropped, and only counted (tcp(7)). */
ssize_t recv_discard(struct conn *c, int fd, size_t want, int flags)
{
	struct iovec iov[BINS];
	ssize_t total = 0;

	flags &= ~MSG_TRUNC;
	while ((size_t)total < want) {
		struct msghdr m = { .msg_iov = iov };
		bool more = total && !(flags & MSG_WAITALL);

		if (total && io_error_waits(c, fd, POLLIN))
			break;
		m.msg_iovlen = io_bins(iov, want - (size_t)total);
		size_t asked = io_total(&m);
		ssize_t n = io_recv(c, fd, &m, flags | (more ? MSG_DONTWAIT : 0));

		if (n < 0 && total)
			io_put_back(c, errno);
		if (n <= 0)
			return total ? total : n;
		total += n;
		if ((size_t)n < asked || (flags & MSG_PEEK))
			break;
	}
	return total;
}
