/* SPDX-License-Identifier: Apache-2.0 */
/* hooks_io.c - interposed: everything that moves bytes. */
#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "real.h"
#include "io.h"
#include "wait.h"

/* As libc's: a thread that is to be cancelled ends here, whatever there is to be done; success leaves errno alone. */
static ssize_t recv_ours(struct conn *c, int fd, struct msghdr *m, int flags)
{
	int saved = errno;

	pthread_testcancel();
	ssize_t r = io_recv(c, fd, m, flags);

	if (r >= 0)
		errno = saved;
	return r;
}

static ssize_t send_ours(struct conn *c, int fd, const struct msghdr *m, int flags)
{
	struct waiting w WAITING = { 0 };
	int saved = errno;

	pthread_testcancel();
	ssize_t r = io_send(c, fd, m, flags, &w);

	if (r >= 0)
		errno = saved;
	return r;
}

static ssize_t recv_iov(struct conn *c, int fd, const struct iovec *iov, size_t n, int flags)
{
	struct conn *pinned PINNED = c;
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };

	return recv_ours(pinned, fd, &m, flags);
}

static ssize_t send_iov(struct conn *c, int fd, const struct iovec *iov, size_t n, int flags)
{
	struct conn *pinned PINNED = c;
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };

	return send_ours(pinned, fd, &m, flags);
}

/* An array that is none: the kernel says what is wrong with it. */
static bool odd(const struct iovec *iov, size_t n)
{
	if (n == 0 || n > 1024 || (uintptr_t)iov < HUT_PAGE)
		return true;
	for (size_t i = 0; i < n; i++)
		if (iov[i].iov_len > SSIZE_MAX)
			return true;
	return false;
}

HUT_EXPORT ssize_t read(int fd, void *buf, size_t len)
{
	struct conn *c = len ? tracked(fd) : NULL; /* nothing: the kernel answers at once, whatever is queued */

	return LIKELY(!c) ? REAL(read)(fd, buf, len) : recv_iov(c, fd, &(struct iovec){ buf, len }, 1, 0);
}

static bool nothing(const struct iovec *iov, int n)
{
	for (int i = 0; i < n; i++)
		if (iov[i].iov_len)
			return false;
	return true;
}

HUT_EXPORT ssize_t readv(int fd, const struct iovec *iov, int n)
{
	struct conn *c = table_peek(fd) && !odd(iov, (size_t)n) && !nothing(iov, n) ? tracked(fd) : NULL;

	return LIKELY(!c) ? REAL(readv)(fd, iov, n) : recv_iov(c, fd, iov, (size_t)n, 0);
}

/* recv(2) takes any length for as much as one call may move. */
static size_t most(size_t len)
{
	return len > 0x7ffff000 ? 0x7ffff000 : len;
}

HUT_EXPORT ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	struct conn *c = tracked(fd);

	return LIKELY(!c) ? REAL(recv)(fd, buf, len, flags) : recv_iov(c, fd, &(struct iovec){ buf, most(len) }, 1, flags);
}

HUT_EXPORT ssize_t recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *from, socklen_t *fromlen)
{
	struct conn *c = tracked(fd);

	if (LIKELY(!c))
		return REAL(recvfrom)(fd, buf, len, flags, from, fromlen);
	ssize_t n = recv_iov(c, fd, &(struct iovec){ buf, most(len) }, 1, flags);

	if (n >= 0 && from && fromlen)
		*fromlen = 0; /* TCP gives no address here */
	return n;
}

static bool odd_message(const struct msghdr *m)
{
	return m->msg_iovlen && odd(m->msg_iov, m->msg_iovlen);
}

HUT_EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	struct conn *c PINNED = m && table_peek(fd) && !odd_message(m) ? tracked(fd) : NULL;

	return LIKELY(!c) ? REAL(recvmsg)(fd, m, flags) : recv_ours(c, fd, m, flags);
}

/* An error that came after something was done is the next call's. */
static void put_back(int fd, int error)
{
	struct conn *c PINNED = conn_get(fd);

	if (c)
		io_put_back(c, error);
}

static bool next_would_fail(int fd)
{
	struct conn *c PINNED = conn_get(fd);

	return c && c->end && io_error_waits(c, fd, POLLIN);
}

/* One after the other, until the time is up, which is looked at between messages only, as the kernel does. */
static int recv_many(int fd, struct mmsghdr *v, unsigned int n, int flags, uint64_t deadline)
{
	for (unsigned int i = 0; i < n; i++) {
		bool wait = i == 0 || !(flags & MSG_WAITFORONE);

		if (i && next_would_fail(fd))
			return (int)i;
		ssize_t r = recvmsg(fd, &v[i].msg_hdr, (flags & ~MSG_WAITFORONE) | (wait ? 0 : MSG_DONTWAIT));

		if (r < 0 && i)
			put_back(fd, errno);
		if (r < 0)
			return i ? (int)i : -1;
		v[i].msg_len = (unsigned int)r;
		if (deadline != NS_FOREVER && now_ns() >= deadline)
			return (int)i + 1;
	}
	return (int)n;
}

HUT_EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned int n, int flags, struct timespec *timeout)
{
	if (LIKELY(!table_peek(fd)))
		return REAL(recvmmsg)(fd, v, n, flags, timeout);
	if (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999)) {
		errno = EINVAL;
		return -1;
	}
	uint64_t span = timeout ? wait_span(timeout) : NS_FOREVER;
	uint64_t deadline = span == NS_FOREVER ? NS_FOREVER : now_ns() + span;
	int pending = 0, saved = errno;
	socklen_t len = sizeof(pending);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &len) == 0 && pending) {
		errno = pending; /* this call alone looks for it before it looks for bytes */
		return -1;
	}
	int done = recv_many(fd, v, n < IOV_MAX ? n : IOV_MAX, flags, deadline);

	if (done > 0 && deadline != NS_FOREVER)
		wait_until(deadline, timeout); /* what is left of it */
	if (done >= 0)
		errno = saved; /* why there were no more is not told */
	return done;
}

HUT_EXPORT ssize_t write(int fd, const void *buf, size_t len)
{
	struct conn *c = tracked(fd);

	return LIKELY(!c) ? (stir(), REAL(write)(fd, buf, len)) : send_iov(c, fd, &(struct iovec){ (void *)buf, len }, 1, 0);
}

HUT_EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
	struct conn *c = table_peek(fd) && !odd(iov, (size_t)n) ? tracked(fd) : NULL;

	return LIKELY(!c) ? (stir(), REAL(writev)(fd, iov, n)) : send_iov(c, fd, iov, (size_t)n, 0);
}

HUT_EXPORT ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	struct conn *c = tracked(fd);

	return LIKELY(!c) ? (stir(), REAL(send)(fd, buf, len, flags)) :
			    send_iov(c, fd, &(struct iovec){ (void *)buf, len }, 1, flags);
}

HUT_EXPORT ssize_t sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *to, socklen_t tolen)
{
	struct conn *c = tracked(fd);

	if (UNLIKELY(flags & MSG_FASTOPEN) && table_peek(fd))
		conn_send_past(fd, HUT_R_OPTION);
	if (!c)
		stir();
	if (LIKELY(!c))
		return REAL(sendto)(fd, buf, len, flags, to, tolen);
	return send_iov(c, fd, &(struct iovec){ (void *)buf, len }, 1, flags); /* TCP ignores the address */
}

/* Rule 8: a descriptor that leaves by SCM_RIGHTS leaves our sight. */
static void passed_on(const struct msghdr *m)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(m); cm; cm = CMSG_NXTHDR((struct msghdr *)m, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS || cm->cmsg_len < CMSG_LEN(0))
			continue;
		size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(int));
			if (table_peek(fd))
				conn_never(fd, HUT_R_PASSED);
		}
	}
}

HUT_EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct conn *c PINNED = m && table_peek(fd) && !odd_message(m) ? tracked(fd) : NULL;

	if (UNLIKELY(m && m->msg_controllen))
		passed_on(m);
	if (UNLIKELY(flags & MSG_FASTOPEN) && table_peek(fd))
		conn_send_past(fd, HUT_R_OPTION);
	if (!c)
		stir();
	return LIKELY(!c) ? REAL(sendmsg)(fd, m, flags) : send_ours(c, fd, m, flags);
}

static size_t length(const struct msghdr *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->msg_iovlen; i++)
		n += m->msg_iov[i].iov_len;
	return n;
}

HUT_EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned int n, int flags)
{
	unsigned int i;
	int saved = errno;

	if (LIKELY(!table_peek(fd))) {
		/* The kernel looks at no more than so many; there may be no more. */
		for (i = 0; i < n && i < IOV_MAX && (uintptr_t)v >= HUT_PAGE; i++)
			if (UNLIKELY(v[i].msg_hdr.msg_controllen))
				passed_on(&v[i].msg_hdr);
		stir();
		return REAL(sendmmsg)(fd, v, n, flags);
	}
	if (n > IOV_MAX)
		n = IOV_MAX;
	for (i = 0; i < n; i++) {
		ssize_t r = sendmsg(fd, &v[i].msg_hdr, flags);

		if (r < 0 && !i)
			return -1;
		if (r < 0) {
			errno = saved;
			return (int)i;
		}
		v[i].msg_len = (unsigned int)r;
		if ((size_t)r < length(&v[i].msg_hdr))
			return (int)i + 1; /* the next message may not overtake the rest of this one */
	}
	return (int)i;
}

/* ---- readv and writev with flags, where the offset is -1; a socket has no other ---- */

/* RWF_NOWAIT is MSG_DONTWAIT for one call; what the others mean for a socket is for the kernel to say. */
static bool can_follow(int fd, off_t offset, int flags)
{
	if (!table_peek(fd) || offset != -1)
		return false;
	if (!(flags & ~RWF_NOWAIT))
		return true;
	conn_never(fd, HUT_R_OPTION);
	return false;
}

HUT_EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	struct conn *c = can_follow(fd, offset, flags) && !odd(iov, (size_t)n) && !nothing(iov, n) ? tracked(fd) : NULL;

	return LIKELY(!c) ? REAL(preadv2)(fd, iov, n, offset, flags) :
			    recv_iov(c, fd, iov, (size_t)n, flags ? MSG_DONTWAIT : 0);
}

HUT_EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	struct conn *c = can_follow(fd, offset, flags) && !odd(iov, (size_t)n) ? tracked(fd) : NULL;

	if (!c)
		stir();
	return LIKELY(!c) ? REAL(pwritev2)(fd, iov, n, offset, flags) :
			    send_iov(c, fd, iov, (size_t)n, flags ? MSG_DONTWAIT : 0);
}

HUT_EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
	__attribute__((alias("preadv2")));
HUT_EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
	__attribute__((alias("pwritev2")));

/* ---- other names that libc exports ---- */

HUT_EXPORT ssize_t __read(int fd, void *buf, size_t len) __attribute__((alias("read")));
HUT_EXPORT ssize_t __write(int fd, const void *buf, size_t len) __attribute__((alias("write")));
HUT_EXPORT ssize_t __send(int fd, const void *buf, size_t len, int flags) __attribute__((alias("send")));
HUT_EXPORT ssize_t __recv(int fd, void *buf, size_t len, int flags) __attribute__((alias("recv")));

/* ---- the checked aliases of _FORTIFY_SOURCE ---- */

void __chk_fail(void) __attribute__((noreturn));

HUT_EXPORT ssize_t __read_chk(int fd, void *buf, size_t len, size_t room)
{
	if (len > room)
		__chk_fail();
	return read(fd, buf, len);
}

HUT_EXPORT ssize_t __recv_chk(int fd, void *buf, size_t len, size_t room, int flags)
{
	if (len > room)
		__chk_fail();
	return recv(fd, buf, len, flags);
}

HUT_EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t len, size_t room, int flags, struct sockaddr *from,
				  socklen_t *fromlen)
{
	if (len > room)
		__chk_fail();
	return recvfrom(fd, buf, len, flags, from, fromlen);
}
