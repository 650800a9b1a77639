/* SPDX-License-Identifier: Apache-2.0 */
/* hooks_io.c - interposed: everything that moves bytes. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "real.h"
#include "io.h"

/* A connection that is (or was just) between members; others go straight to libc. */
static inline struct conn *tracked(int fd)
{
	struct conn *c;

	if (LIKELY(!table_peek(fd)))
		return NULL;
	c = conn_get(fd);
	if (c && !c->end) {
		conn_put(c);
		return NULL;
	}
	return c;
}

/* Also when the thread is cancelled. */
static void unpin(struct conn **c)
{
	int saved = errno;

	if (*c)
		conn_put(*c);
	errno = saved;
}
#define PINNED __attribute__((cleanup(unpin)))

static ssize_t recv_iov(struct conn *c, int fd, const struct iovec *iov, size_t n, int flags)
{
	struct conn *pinned PINNED = c;
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	int saved = errno;
	ssize_t r = io_recv(pinned, fd, &m, flags);

	if (r >= 0)
		errno = saved; /* as after a system call that succeeds */
	return r;
}

static ssize_t send_iov(struct conn *c, int fd, const struct iovec *iov, size_t n, int flags)
{
	struct conn *pinned PINNED = c;
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };
	int saved = errno;
	ssize_t r = io_send(pinned, fd, &m, flags);

	if (r >= 0)
		errno = saved;
	return r;
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
	ssize_t r;

	if (LIKELY(!c))
		return REAL(recvmsg)(fd, m, flags);
	int saved = errno;

	r = io_recv(c, fd, m, flags);
	if (r >= 0)
		errno = saved;
	if (r >= 0 && !(flags & MSG_ERRQUEUE)) {
		if (m->msg_name)
			m->msg_namelen = 0;
		m->msg_controllen = 0;
		m->msg_flags = flags & MSG_CMSG_CLOEXEC; /* the kernel leaves it there */
	}
	return r;
}

/* An error that came after something was done is the next call's. */
static void put_back(int fd, int error)
{
	struct conn *c = conn_get(fd);

	if (!c)
		return;
	io_put_back(c, error);
	conn_put(c);
}

HUT_EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned int n, int flags, struct timespec *timeout)
{
	unsigned int i;

	if (LIKELY(!table_peek(fd)))
		return REAL(recvmmsg)(fd, v, n, flags, timeout);
	if (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec > 999999999)) {
		errno = EINVAL;
		return -1;
	}
	uint64_t deadline = timeout ? now_ns() + (uint64_t)timeout->tv_sec * 1000000000ull + (uint64_t)timeout->tv_nsec :
				      NS_FOREVER;
	int pending = 0;
	socklen_t len = sizeof(pending);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &pending, &len) == 0 && pending) {
		errno = pending; /* this call alone looks for it before it looks for bytes */
		return -1;
	}
	if (n > IOV_MAX)
		n = IOV_MAX;
	for (i = 0; i < n; i++) {
		bool wait = i == 0 || !(flags & MSG_WAITFORONE);
		ssize_t r = recvmsg(fd, &v[i].msg_hdr, (flags & ~MSG_WAITFORONE) | (wait ? 0 : MSG_DONTWAIT));

		if (r < 0 && i)
			put_back(fd, errno);
		if (r < 0)
			return i ? (int)i : -1;
		v[i].msg_len = (unsigned int)r;
		if (now_ns() >= deadline) /* looked at between messages only, as the kernel does */
			return (int)i + 1;
	}
	return (int)i;
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
		conn_never(fd, HUT_R_OPTION);
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
		conn_never(fd, HUT_R_OPTION);
	if (!c)
		stir();
	if (LIKELY(!c))
		return REAL(sendmsg)(fd, m, flags);
	int saved = errno;
	ssize_t r = io_send(c, fd, m, flags);

	if (r >= 0)
		errno = saved;
	return r;
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

		if (r < 0)
			return i ? (int)i : -1;
		v[i].msg_len = (unsigned int)r;
		if ((size_t)r < length(&v[i].msg_hdr))
			return (int)i + 1; /* the next message may not overtake the rest of this one */
	}
	return (int)i;
}

#define FILE_CHUNK 65536

/* The kernel's own would go past us: read and send, with the same account of the file's offset. */
HUT_EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t count)
{
	struct conn *c = tracked(out);
	ssize_t total = 0;

	if (UNLIKELY(table_peek(in) != NULL))
		conn_never(in, HUT_R_OPTION);
	struct stat st;

	if (LIKELY(!c)) {
		stir();
		return REAL(sendfile)(out, in, offset, count);
	}
	int mode = REAL(fcntl)(in, F_GETFL);

	if (count > SSIZE_MAX || mode < 0 || (mode & (O_PATH | O_ACCMODE)) == (O_PATH | O_RDONLY) || fstat(in, &st) ||
	    !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
		conn_put(c); /* whatever the kernel makes of it */
		conn_never(out, HUT_R_OPTION);
		return REAL(sendfile)(out, in, offset, count);
	}
	off_t at = offset ? *offset : lseek(in, 0, SEEK_CUR);

	while (count) {
		char buf[FILE_CHUNK];
		size_t part = count < sizeof(buf) ? count : sizeof(buf);
		ssize_t n = pread(in, buf, part, at);

		if (n <= 0) {
			total = total ? total : n;
			break;
		}
		struct msghdr m = { .msg_iov = &(struct iovec){ buf, (size_t)n }, .msg_iovlen = 1 };
		ssize_t sent = io_send(c, out, &m, 0);

		if (sent < 0) {
			total = total ? total : sent;
			break;
		}
		at += sent;
		total += sent;
		count -= (size_t)sent;
		if (sent < n)
			break;
	}
	if (offset)
		*offset = at;
	else if (total > 0)
		lseek(in, at, SEEK_SET);
	conn_put(c);
	return total;
}

HUT_EXPORT ssize_t sendfile64(int out, int in, off_t *offset, size_t count) __attribute__((alias("sendfile")));

HUT_EXPORT ssize_t splice(int in, off64_t *inoff, int out, off64_t *outoff, size_t len, unsigned int flags)
{
	stir();
	if (table_peek(in))
		conn_never(in, HUT_R_OPTION);
	if (table_peek(out))
		conn_never(out, HUT_R_OPTION);
	return REAL(splice)(in, inoff, out, outoff, len, flags);
}

/* ---- calls whose own system calls are made inside libc, past us ---- */

HUT_EXPORT int eventfd_write(int fd, eventfd_t value)
{
	return write(fd, &value, sizeof(value)) == (ssize_t)sizeof(value) ? 0 : -1;
}

HUT_EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	if (table_peek(fd) && offset == -1 && !flags)
		return readv(fd, iov, n);
	if (table_peek(fd) && offset == -1)
		conn_never(fd, HUT_R_OPTION);
	return REAL(preadv2)(fd, iov, n, offset, flags);
}

HUT_EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
	__attribute__((alias("preadv2")));

HUT_EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
{
	stir();
	if (table_peek(fd) && offset == -1 && !flags)
		return writev(fd, iov, n);
	if (table_peek(fd) && offset == -1)
		conn_never(fd, HUT_R_OPTION);
	return REAL(pwritev2)(fd, iov, n, offset, flags);
}

HUT_EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off_t offset, int flags)
	__attribute__((alias("pwritev2")));

HUT_EXPORT int vdprintf(int fd, const char *format, va_list ap)
{
	char *text = NULL;
	int len, done = 0;

	stir();
	if (!table_peek(fd))
		return REAL(vdprintf)(fd, format, ap);
	len = vasprintf(&text, format, ap);
	while (len > 0 && done < len) {
		ssize_t n = write(fd, text + done, (size_t)(len - done));

		if (n < 0) {
			len = -1;
			break;
		}
		done += (int)n;
	}
	int saved = errno;

	free(text);
	errno = saved;
	return len;
}

HUT_EXPORT int dprintf(int fd, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vdprintf(fd, format, ap);
	va_end(ap);
	return n;
}

HUT_EXPORT int __vdprintf_chk(int fd, int flag, const char *format, va_list ap)
{
	if (!table_peek(fd)) {
		stir();
		return REAL(__vdprintf_chk)(fd, flag, format, ap);
	}
	return vdprintf(fd, format, ap);
}

HUT_EXPORT int __dprintf_chk(int fd, int flag, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = __vdprintf_chk(fd, flag, format, ap);
	va_end(ap);
	return n;
}

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
