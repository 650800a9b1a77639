/* SPDX-License-Identifier: Apache-2.0 */
/* extra.c - what is done between the calls that move bytes: looks, options, second descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "random.h"

static void count(int kind)
{
	atomic_fetch_add(&sh->made[my_role][kind], 1);
}

void set_nonblock(struct conn *c, bool on, uint32_t arg)
{
	int fl = fcntl(c->fd, F_GETFL), bit = on;

	if (fl < 0 || !(fl & O_NONBLOCK) == c->nonblock)
		fail(c, "F_GETFL gave %x, O_NONBLOCK should be %d", (unsigned int)fl, c->nonblock);
	if (arg & 1 ? fcntl(c->fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK) : ioctl(c->fd, FIONBIO, &bit))
		fail(c, "O_NONBLOCK: %s", strerror(errno));
	c->nonblock = on;
}

static void timeo(struct conn *c, int dir, uint32_t arg)
{
	int name = dir == IN ? SO_RCVTIMEO : SO_SNDTIMEO;
	bool on = arg & 1;
	struct timeval tv = { 0, on ? 1000 + (arg >> 1) % 20000 : 0 }, back;
	socklen_t len = sizeof(back);

	if (!c->plan.timeouts)
		return;
	if (setsockopt(c->fd, SOL_SOCKET, name, &tv, sizeof(tv)) || getsockopt(c->fd, SOL_SOCKET, name, &back, &len))
		fail(c, "time-out: %s", strerror(errno));
	if (on != (back.tv_sec || back.tv_usec))
		fail(c, "time-out set to %ld and read as %ld", (long)tv.tv_usec, (long)back.tv_usec);
	c->timed[dir == OUT] = on;
}

/* Only the reader, where each direction has its own thread. */
static void change_alias(struct conn *c, uint32_t arg)
{
	int fd;

	if (c->alias >= 0) {
		/* The other way round where nothing else knows the number. */
		if ((arg & 1) && !c->may_block && c->ep < 0 && !c->set) {
			fd = c->fd;
			c->fd = c->alias;
			c->alias = fd;
			atomic_store(&c->seen->fd[my_role], c->fd);
		}
		if (close(c->alias))
			fail(c, "close of a second descriptor: %s", strerror(errno));
		c->alias = -1;
		return;
	}
	switch (arg >> 1 & 7) {
	case 0:
		fd = dup(c->fd);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		break;
	case 1:
	case 2:
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (dup3(c->fd, fd, O_CLOEXEC) != fd)
			fail(c, "dup3: %s", strerror(errno));
		break;
	case 3:
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (dup2(c->fd, fd) != fd)
			fail(c, "dup2: %s", strerror(errno));
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		break;
	default:
		fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3 + (arg >> 4) % 500);
		break;
	}
	if (fd < 0)
		fail(c, "dup: %s", strerror(errno));
	c->alias = fd;
}

static void option(struct conn *c, int dir, uint32_t arg)
{
	int fd = any_fd(c, dir, arg), v = arg >> 8 & 1, size = 4096 + (int)(arg >> 12) % 400000, rc = 0;
	struct sockaddr_storage ss;
	struct tcp_info ti;
	socklen_t len = sizeof(v);

	switch (arg >> 4 & 7) {
	case 0:
		rc = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v));
		break;
	case 1:
		rc = setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &v, sizeof(v));
		break;
	case 2:
		rc = setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &v, sizeof(v));
		break;
	case 3:
		rc = getsockopt(fd, SOL_SOCKET, SO_ERROR, &v, &len);
		if (!rc && v)
			fail(c, "SO_ERROR is %s", strerror(v));
		break;
	case 4:
		len = sizeof(ss);
		rc = arg & 0x1000 ? getpeername(fd, (struct sockaddr *)&ss, &len) :
				    getsockname(fd, (struct sockaddr *)&ss, &len);
		break;
	case 5:
		len = sizeof(ti);
		rc = getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len);
		break;
	case 6:
		/* Below some segments TCP itself nearly stops: the loopback's are of 64 KiB. */
		size += dir == IN ? 262144 : 0;
		rc = setsockopt(fd, SOL_SOCKET, dir == IN ? SO_RCVBUF : SO_SNDBUF, &size, sizeof(size));
		break;
	default:
		if (dir != OUT)
			break;
		/* What the peer has read may be there for some time more, until it says so. */
		rc = ioctl(fd, SIOCOUTQ, &v);
		if (!rc && (v < 0 || (uint64_t)v > c->sent))
			fail(c, "SIOCOUTQ is %d, sent %llu", v, (unsigned long long)c->sent);
		break;
	}
	/* The connection may be over for the kernel while bytes of it are still unread. */
	if (rc && !(errno == ENOTCONN && atomic_load(&c->shut) && atomic_load(&c->in->shut)))
		fail(c, "option %u: %s", arg >> 4 & 7, strerror(errno));
}

void extra_before(struct conn *c, int dir, const struct op *o)
{
	if (o->pause_us)
		sleep_us(o->pause_us);
	if (o->extra)
		count(o->extra);
	switch (o->extra) {
	case X_TOGGLE:
		if (c->plan.toggles && !(c->may_block && dir == OUT))
			set_nonblock(c, !c->nonblock, o->arg);
		break;
	case X_TIMEO:
		timeo(c, dir, o->arg);
		break;
	case X_DUP:
		if (!(c->may_block && dir == OUT))
			change_alias(c, o->arg);
		break;
	case X_OPTION:
		option(c, dir, o->arg);
		break;
	default:
		break;
	}
}

/* Asks without waiting, in one of the ways that there are. */
static int ask_now(struct conn *c, uint32_t arg, int want)
{
	int fd = any_fd(c, IN, arg), rc, got = 0;
	struct epoll_event ev;

	if (c->ep2 >= 0 && want == IN && (arg & 6) == 6) {
		do
			rc = epoll_wait(c->ep2, &ev, 1, 0);
		while (rc < 0 && errno == EINTR && c->plan.signals);
		if (rc < 0 || (rc && ev.data.fd != c->fd))
			fail(c, "epoll_wait of the second set: %d, data %d: %s", rc, rc > 0 ? ev.data.fd : 0, strerror(errno));
		return rc && (ev.events & EPOLLIN) ? IN : 0;
	}
	if ((arg & 2) && fd < FD_SETSIZE) {
		struct timeval zero = { 0, 0 };
		fd_set r, w;

		do {
			FD_ZERO(&r);
			FD_ZERO(&w);
			FD_SET(fd, want == IN ? &r : &w);
			rc = select(fd + 1, &r, &w, NULL, &zero);
		} while (rc < 0 && errno == EINTR && c->plan.signals);
		got = rc > 0 ? want : 0;
	} else {
		struct pollfd p = { fd, want == IN ? POLLIN : POLLOUT, 0 };

		do
			rc = poll(&p, 1, 0);
		while (rc < 0 && errno == EINTR && c->plan.signals);
		if (rc > 0 && (p.revents & (POLLERR | POLLNVAL)))
			fail(c, "poll says %x", (unsigned int)p.revents);
		got = rc > 0 && (p.revents & (want == IN ? POLLIN : POLLOUT)) ? want : 0;
	}
	if (rc < 0)
		fail(c, "poll or select: %s", strerror(errno));
	return got;
}

static int queued(struct conn *c, uint32_t arg)
{
	uint64_t tried;
	int v = -1;

	if (ioctl(any_fd(c, IN, arg), FIONREAD, &v) || v < 0)
		fail(c, "FIONREAD: %d, %s", v, strerror(errno));
	tried = atomic_load(&c->in->tried);
	if ((uint64_t)v > tried - c->got)
		fail(c, "FIONREAD says %d, sent and not read are %llu", v, (unsigned long long)(tried - c->got));
	return v;
}

/* n bytes are known to be there. */
static void take(struct conn *c, uint32_t arg, size_t n, const char *why)
{
	ssize_t r;

	doing(c, IN, "recv %zu after %s", n, why);
	do
		r = recv(any_fd(c, IN, arg), c->buf_in, n, MSG_DONTWAIT);
	while (r < 0 && errno == EINTR && c->plan.signals);
	if (r != (ssize_t)n)
		fail(c, "%s said that %zu bytes are there, recv of as many gave %zd: %s", why, n, r,
		     r < 0 ? strerror(errno) : "");
	check(c, "recv after a look", n, n);
	came(c, n);
}

static bool fionread(struct conn *c, const struct op *o)
{
	int v = queued(c, o->arg);
	size_t n = (size_t)v < MAX_CALL ? (size_t)v : MAX_CALL;

	if (!n)
		return false;
	take(c, o->arg >> 3, n, "FIONREAD");
	return true;
}

static bool peek(struct conn *c, const struct op *o, bool told)
{
	uint64_t left = c->plan.total[!my_role] - c->got;
	bool block = c->may_block && !c->nonblock && (o->arg & 0x100), all = block && (o->arg & 0x200);
	size_t n = o->size;
	ssize_t r;
	int v;

	/* The kernel waits for ever for bytes that do not fit in its own buffer: only for such as are there. */
	if (all)
		n = 1 + o->arg % 2000 < (uint32_t)queued(c, o->arg) ? 1 + o->arg % 2000 : 1;
	all &= n > 1;
	doing(c, IN, "peek %zu%s%s", n, block ? "" : " nowait", all ? " all" : "");
	r = recv(any_fd(c, IN, o->arg), c->buf_in, n, MSG_PEEK | (block ? 0 : MSG_DONTWAIT) | (all ? MSG_WAITALL : 0));
	count(X_PEEK);
	if (r < 0 && errno == EINTR && c->plan.signals)
		return false;
	if (r < 0 && errno == EAGAIN && !told && (!block || c->timed[0] || c->plan.toggles))
		return false;
	if (r < 0 || (size_t)r > n)
		fail(c, "peek of %zu%s gave %zd: %s", n, told ? " after a report" : "", r, strerror(errno));
	if (r == 0) {
		if (left || !atomic_load(&c->in->shut))
			fail(c, "peek: end of file with %llu bytes to come", (unsigned long long)left);
		return false;
	}
	if (all && (size_t)r < n && !c->plan.signals && !c->timed[0] && !c->plan.toggles)
		fail(c, "peek of %zu with MSG_WAITALL gave %zd", n, r);
	check(c, "peek", n, (size_t)r);
	if ((o->arg & 0x400) && !ask_now(c, o->arg >> 12, IN))
		fail(c, "%zd bytes were peeked at, and a look without waiting (%x) does not say that there are any", r,
		     o->arg >> 12 & 7);
	v = o->arg & 0x800 ? queued(c, o->arg) : (int)r;
	if (v < r)
		fail(c, "%zd bytes were peeked at, FIONREAD says %d", r, v);
	take(c, o->arg >> 3, (size_t)r, "a peek");
	return true;
}

bool extra_reads(struct conn *c, const struct op *o, bool *told)
{
	if (o->extra == X_FIONREAD && fionread(c, o))
		return true;
	/* Only where nobody else takes what was seen. */
	if (o->extra == X_POLL && ask_now(c, o->arg, IN))
		*told = true;
	return o->peek && peek(c, o, *told);
}

/* The end of file stays. */
void extra_eof(struct conn *c, uint32_t arg)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN | POLLRDHUP };
	int times = 1 + (int)(arg & 3);

	if (!kind_on(X_EOF_AGAIN))
		return;
	for (int i = 0; i < times; i++) {
		ssize_t r;

		doing(c, IN, "recv at the end");
		do
			r = recv(any_fd(c, IN, arg >> i), c->buf_in, 100, arg >> (2 + 2 * i) & (MSG_PEEK | MSG_DONTWAIT | 1) & ~1);
		while (r < 0 && errno == EINTR && c->plan.signals);
		if (r)
			fail(c, "after the end of file recv gave %zd: %s", r, r < 0 ? strerror(errno) : "");
		count(X_EOF_AGAIN);
	}
	do
		times = poll(&p, 1, 0);
	while (times < 0 && errno == EINTR && c->plan.signals);
	if (times != 1 || (p.revents & (POLLIN | POLLRDHUP)) != (POLLIN | POLLRDHUP) ||
	    (p.revents & (POLLERR | POLLNVAL)))
		fail(c, "after the end of file poll gave %d, events %x", times, (unsigned int)p.revents);
}
