/* SPDX-License-Identifier: Apache-2.0 */
/* hooks_socket.c - interposed: birth, names, options and state of sockets. */
#include <netinet/in.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "real.h"

#define TCP_ULP_OPTION 31
#define TCP_INQ_OPTION 36
#define TCP_REPAIR_OPTION 19
#define ZEROCOPY_RECEIVE 35
#define TIMESTAMP_NEW 63
#define TIMESTAMPNS_NEW 64
#define TIMESTAMPING_NEW 65
#define RCVTIMEO_NEW 66
#define SNDTIMEO_NEW 67

static bool tcp_like(int domain, int type, int protocol)
{
	return (domain == AF_INET || domain == AF_INET6) && (type & 0xf) == SOCK_STREAM &&
	       (protocol == 0 || protocol == IPPROTO_TCP);
}

HUT_EXPORT int socket(int domain, int type, int protocol)
{
	int fd = REAL(socket)(domain, type, protocol);

	if (fd < 0)
		return fd;
	life_forgotten(fd);
	/* In a vfork child's parent, whose table of connections this is, the number may name another one, or nothing. */
	if (atomic_load_explicit(&hut_enabled, memory_order_relaxed) && tcp_like(domain, type, protocol) &&
	    fd > LAST_STDIO && !life_in_vfork_child()) {
		struct conn *c = table_new(fd, domain, type & SOCK_NONBLOCK);

		if (c) /* born without time-outs; an accepted one may have its listener's */
			c->timeo_known[0] = c->timeo_known[1] = true;
	}
	return fd;
}

HUT_EXPORT int __socket(int domain, int type, int protocol) __THROW __attribute__((alias("socket")));

HUT_EXPORT int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct conn *c = conn_get(fd);
	int rc, saved;

	stir();
	if (LIKELY(!c))
		return REAL(connect)(fd, addr, len);
	rc = REAL(connect)(fd, addr, len);
	saved = errno;
	if (addr && len >= sizeof(sa_family_t) && (rc == 0 || saved == EINPROGRESS || saved == EINTR)) {
		if (addr->sa_family == AF_UNSPEC)
			conn_never(fd, HUT_R_STATE);
		else
			conn_connected(fd, c, addr);
	}
	conn_put(c);
	errno = saved;
	return rc;
}

HUT_EXPORT int __connect(int fd, const struct sockaddr *addr, socklen_t len) __attribute__((alias("connect")));

HUT_EXPORT int listen(int fd, int backlog)
{
	struct conn *c = table_peek(fd);

	if (c && !life_in_vfork_child())
		conn_never(fd, HUT_R_STATE); /* listeners are never touched */
	return REAL(listen)(fd, backlog);
}

static int accepted(int listener, int fd, const struct sockaddr_storage *peer, struct sockaddr *addr, socklen_t *len,
		    socklen_t got, int flags)
{
	int saved = errno;

	if (addr && len) {
		socklen_t n = *len < got ? *len : got;

		memcpy(addr, peer, n);
		*len = got;
	}
	if (fd < 0)
		return fd;
	life_forgotten(fd);
	if (atomic_load_explicit(&hut_enabled, memory_order_relaxed) && fd > LAST_STDIO)
		conn_accepted(listener, fd, (const struct sockaddr *)peer, flags);
	errno = saved;
	return fd;
}

HUT_EXPORT int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct sockaddr_storage peer;
	socklen_t got = sizeof(peer);
	int new_fd;

	if (addr && (!len || (int)*len < 0)) /* EFAULT and EINVAL are the kernel's to say */
		return REAL(accept)(fd, addr, len);
	new_fd = REAL(accept)(fd, (struct sockaddr *)&peer, &got);
	return new_fd < 0 ? new_fd : accepted(fd, new_fd, &peer, addr, len, got, 0);
}

HUT_EXPORT int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	struct sockaddr_storage peer;
	socklen_t got = sizeof(peer);
	int new_fd;

	if (addr && (!len || (int)*len < 0))
		return REAL(accept4)(fd, addr, len, flags);
	new_fd = REAL(accept4)(fd, (struct sockaddr *)&peer, &got, flags);
	return new_fd < 0 ? new_fd : accepted(fd, new_fd, &peer, addr, len, got, flags);
}

/* True: the kernel may be told at once. */
static bool shut_sides(struct conn *c, int fd, int how)
{
	struct hut_end *e = c->end;
	uint32_t bits = (how != SHUT_RD ? HUT_ENDF_WRSHUT : 0) | (how != SHUT_WR ? HUT_ENDF_RDSHUT : 0);
	uint32_t was = LOAD(&e->flags);
	bool now = true;

	if (!lock_tx(e))
		return true;
	/* From here on other threads' sends fail, so that TCP gets no bytes between the ring's end and the FIN. */
	__atomic_fetch_or(&e->flags, bits, __ATOMIC_ACQ_REL);
	unlock_tx(e);
	if (conn_state(c) != HUT_END_CHANNEL)
		return true;
	if ((bits & ~was) & HUT_ENDF_WRSHUT) {
		/* Rule 16: the mark first, so that whoever sees the FIN sees it too. */
		__atomic_fetch_or(&c->tx.dir->prod_mark, HUT_MARK_HALF_CLOSE, __ATOMIC_ACQ_REL);
		now = conn_before_fin(c, fd, false);
		c->shut_due = !now;
	} else if ((bits & HUT_ENDF_WRSHUT) && c->shut_due) {
		now = conn_flush_debt(c, fd); /* told once, the kernel not yet */
	}
	if (((was | bits) & (HUT_ENDF_WRSHUT | HUT_ENDF_RDSHUT)) == (HUT_ENDF_WRSHUT | HUT_ENDF_RDSHUT)) {
		/* TCP answers bytes that come now with a reset: the peer shall send them there. */
		__atomic_fetch_or(&c->rx.dir->cons_mark, HUT_MARK_GONE, __ATOMIC_ACQ_REL);
		conn_ring_peer(c);
	}
	return now;
}

HUT_EXPORT int shutdown(int fd, int how)
{
	struct conn *c = conn_get(fd);
	struct hut_end *e;
	int rc, before = errno, saved;

	stir();
	if (LIKELY(!c))
		return REAL(shutdown)(fd, how);
	e = c->end;
	if (e && how >= SHUT_RD && how <= SHUT_RDWR && conn_progress(c, fd) && !shut_sides(c, fd, how)) {
		rc = how == SHUT_RDWR ? REAL(shutdown)(fd, SHUT_RD) : 0;
	} else {
		rc = REAL(shutdown)(fd, how);
	}
	saved = rc ? errno : before;
	if (e && conn_state(c) == HUT_END_CHANNEL) {
		atomic_fetch_add(&c->edges, 1);
		epset_activity(c);
		conn_wake_self(c);
	}
	conn_put(c);
	errno = saved;
	return rc;
}

/* A negative time means "at once", which getsockopt() cannot tell from "never". */
static void note_timeo(struct conn *c, bool send, const void *val, socklen_t len)
{
	struct timeval tv = { 0, 0 };

	if (val && len >= sizeof(tv))
		memcpy(&tv, val, sizeof(tv));
	c->timeo_known[send] = tv.tv_sec < 0;
	*(send ? &c->sndtimeo_ns : &c->rcvtimeo_ns) = tv.tv_sec < 0 ? TIMEO_AT_ONCE : 0;
}

/* Options that only the kernel can honour: what is readable, and control messages (rule 8); sockets inherit them. */
static const struct {
	int level, name, usual;
} odd_option[] = {
	{ SOL_SOCKET, SO_RCVLOWAT, 1 },    { SOL_SOCKET, SO_PEEK_OFF, -1 },    { SOL_SOCKET, SO_ZEROCOPY, 0 },
	{ SOL_SOCKET, SO_TIMESTAMP, 0 },   { SOL_SOCKET, SO_TIMESTAMPNS, 0 },  { SOL_SOCKET, SO_TIMESTAMPING, 0 },
	{ SOL_SOCKET, TIMESTAMP_NEW, 0 },  { SOL_SOCKET, TIMESTAMPNS_NEW, 0 }, { SOL_SOCKET, TIMESTAMPING_NEW, 0 },
	{ SOL_SOCKET, SO_MAX_PACING_RATE, -1 },
	{ IPPROTO_IP, IP_RECVERR, 0 },     { IPPROTO_IPV6, IPV6_RECVERR, 0 }, /* errors that a connection survives */
	{ IPPROTO_TCP, TCP_INQ_OPTION, 0 },
};

#define ODD_OPTIONS (sizeof(odd_option) / sizeof(odd_option[0]))

/* This process has set one of them, perhaps on a listener. */
static _Atomic bool odd_set;

bool socket_has_odd_option(int fd)
{
	if (LIKELY(!atomic_load(&odd_set)))
		return false;
	for (size_t i = 0; i < ODD_OPTIONS; i++) {
		int value = odd_option[i].usual;
		socklen_t len = sizeof(value);

		if (REAL(getsockopt)(fd, odd_option[i].level, odd_option[i].name, &value, &len) == 0 &&
		    value != odd_option[i].usual)
			return true;
	}
	return false;
}

/* A time-out for what the peer's *host* does not answer: between hosts the kernel sees nothing of it. */
static bool limits_remote(const struct conn *c, const void *val, socklen_t len)
{
	unsigned int ms = 0;
	uint32_t state;

	if (!c->end || !val || len < sizeof(ms))
		return false;
	memcpy(&ms, val, sizeof(ms));
	state = conn_state(c);
	return ms && (state == HUT_END_PENDING || (state == HUT_END_CHANNEL && conn_is_remote(c)));
}

/* Our own calls go on, and find what is in the rings: nobody has to wait for it here, as before a reader of another kind. */
static void stay_with_kernel(struct conn *c, int fd)
{
	int saved = errno;

	if (conn_state(c) == HUT_END_CHANNEL)
		conn_stop(c, fd, HUT_R_OPTION);
	else
		conn_never(fd, HUT_R_OPTION);
	errno = saved;
}

static bool cannot_honour(int level, int name)
{
	if (level == IPPROTO_TCP && (name == TCP_ULP_OPTION || name == TCP_REPAIR_OPTION))
		return true;
	if (level == SOL_SOCKET && (name == SO_ATTACH_FILTER || name == SO_ATTACH_BPF))
		return true; /* which may drop, or cut, what comes */
	for (size_t i = 0; i < ODD_OPTIONS; i++) {
		if (odd_option[i].level == level && odd_option[i].name == name) {
			atomic_store(&odd_set, true);
			return true;
		}
	}
	return false;
}

HUT_EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	struct conn *c = table_peek(fd);
	int rc;

	if (UNLIKELY(cannot_honour(level, name))) {
		if (level == SOL_SOCKET && (name == SO_ZEROCOPY || name == SO_MAX_PACING_RATE))
			conn_send_past(fd, HUT_R_OPTION); /* these are about sending */
		else
			conn_never(fd, HUT_R_OPTION);
	}
	if (LIKELY(!c))
		return REAL(setsockopt)(fd, level, name, val, len);
	rc = REAL(setsockopt)(fd, level, name, val, len);
	if (UNLIKELY(level == IPPROTO_TCP && name == USER_TIMEOUT) && rc == 0 && (c = conn_get(fd))) {
		if (limits_remote(c, val, len)) /* now: who offers it after this has seen the option */
			stay_with_kernel(c, fd);
		conn_put(c);
	}
	c = rc == 0 && level == SOL_SOCKET ? conn_get(fd) : NULL;
	if (c) {
		if (name == SO_RCVTIMEO || name == SO_SNDTIMEO || name == RCVTIMEO_NEW || name == SNDTIMEO_NEW)
			note_timeo(c, name == SO_SNDTIMEO || name == SNDTIMEO_NEW, val, len);
		conn_put(c);
	}
	return rc;
}

/* The error that we took from the socket to tell it after the queued bytes; or one that we are not to tell again. */
static void tell_error(struct conn *c, int fd, int *val)
{
	if (conn_state(c) == HUT_END_CHANNEL && !*val)
		conn_check_socket(c, fd); /* a peer that was killed leaves no error in the socket */
	if ((LOAD(&c->end->flags) & HUT_ENDF_ERR) && c->err) {
		*val = c->err;
		c->err = 0;
	} else if (*val) {
		conn_error_told(c, fd, *val);
	} else {
		*val = remote_tell_late(c);
	}
}

HUT_EXPORT int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	int rc, saved = errno;
	struct conn *c;

	if (UNLIKELY(level == IPPROTO_TCP && name == ZEROCOPY_RECEIVE))
		conn_never(fd, HUT_R_OPTION); /* it takes bytes */
	rc = REAL(getsockopt)(fd, level, name, val, len);
	if (LIKELY(level != SOL_SOCKET || name != SO_ERROR || rc || !(c = table_peek(fd))))
		return rc;
	c = conn_get(fd);
	if (c && c->end && *len >= sizeof(int))
		tell_error(c, fd, val);
	if (c)
		conn_put(c);
	errno = saved;
	return rc;
}

static void note_nonblock(int fd, bool on)
{
	struct conn *c = conn_get(fd);

	if (!c)
		return;
	c->nonblock = on;
	if (c->end)
		STORE(&c->end->nonblock, on);
	conn_put(c);
}

static int do_fcntl(int fd, int cmd, void *arg)
{
	int rc;

	if (cmd == F_SETOWN || cmd == F_SETSIG || cmd == 15 /* F_SETOWN_EX */ ||
	    (cmd == F_SETFL && ((long)arg & O_ASYNC)))
		conn_send_past(fd, HUT_R_OPTION);
	if ((cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) && UNLIKELY(table_peek(fd) && life_in_vfork_child()))
		life_given(fd);
	rc = REAL(fcntl)(fd, cmd, arg);
	if (rc < 0)
		return rc;
	if (cmd == F_SETFL)
		note_nonblock(fd, (long)arg & O_NONBLOCK);
	else if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC) {
		life_forgotten(rc);
		life_copied(fd, rc);
	}
	return rc;
}

HUT_EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	return LIKELY(!table_peek(fd) && cmd != F_DUPFD && cmd != F_DUPFD_CLOEXEC) ? REAL(fcntl)(fd, cmd, arg) :
										      do_fcntl(fd, cmd, arg);
}

HUT_EXPORT int fcntl64(int fd, int cmd, ...) __attribute__((alias("fcntl")));
HUT_EXPORT int __fcntl(int fd, int cmd, ...) __attribute__((alias("fcntl")));

/* TCP has no more, and may be past its end: what a writer that shut its side has left in the ring, see conn_end_of_tcp(). */
static int left_over(const struct conn *c)
{
	const struct hut_end *e = c->end;
	bool ended = (LOAD(&e->flags) & HUT_ENDF_EARLY) || (LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_SHUT);
	uint64_t n = 0;

	if (ended && !(LOAD(&e->flags) & HUT_ENDF_POISONED) && e->tcp_in + e->ring_in >= LOAD(&c->rx.dir->start))
		n = remote_rest(c);

	return n <= (uint64_t)c->rx.small_size + c->rx.over_size ? (int)n : 0;
}

/* What can be read now without a gap: the part that TCP has, the part in the ring, or both. */
static int readable(struct conn *c, int kernel)
{
	struct hut_end *e = c->end;
	uint64_t at = e->tcp_in + e->ring_in;
	ssize_t ring;

	switch (e->rx_path) {
	case HUT_PATH_RING:
		ring = ring_avail(&c->rx, e);
		if (ring < 0)
			return 0;
		return (int)ring + (e->rx_head + (uint64_t)ring == e->rx_end ? kernel : 0);
	case HUT_PATH_SWITCH:
		ring = ring_avail(&c->rx, e);
		kernel += ring > 0 && (uint64_t)kernel >= e->rx_start - at ? (int)ring : 0;
		break;
	default:
		conn_rx_tell(c);
		if (!kernel)
			kernel = left_over(c);
	}
	/* The same bytes, if the kernel has some of them already. */
	ring = (ssize_t)conn_rx_told(c);
	return kernel > ring ? kernel : (int)ring;
}

static void count_readable(struct conn *c, int fd, int *n)
{
	if (!lock_rx(c->end))
		return;
	if (REAL(ioctl)(fd, SIOCINQ, n) == 0) {
		if (!*n && conn_is_remote(c) && c->seg)
			remote_asked_how_many(c, fd);
		*n = readable(c, *n);
	}
	unlock_rx(c->end);
}

static int unsent(struct conn *c)
{
	struct hut_end *e = c->end;
	int n = 0;

	if (!lock_tx(e))
		return 0;
	/* ring_space() takes the reader's cursor in. */
	if (e->tx_path == HUT_PATH_DRAIN || (e->tx_path == HUT_PATH_RING && ring_space(&c->tx, e, false) >= 0))
		n = (int)(e->tx_tail - e->tx_head);
	unlock_tx(e);
	return n;
}

/* Urgent bytes come by TCP alone: with others before them in the ring the reader is not at the mark. */
static bool bytes_before_tcp(struct conn *c)
{
	return LOAD(&c->end->rx_path) == HUT_PATH_RING ? ring_avail(&c->rx, c->end) > 0 : conn_rx_told(c) > 0;
}

HUT_EXPORT int ioctl(int fd, unsigned long req, ...)
{
	struct conn *c;
	va_list ap;
	void *arg;
	int rc;

	va_start(ap, req);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (LIKELY(!table_peek(fd)))
		return REAL(ioctl)(fd, req, arg);
	if (req == FIOASYNC || req == FIOSETOWN || req == SIOCSPGRP)
		conn_send_past(fd, HUT_R_OPTION);
	rc = REAL(ioctl)(fd, req, arg);
	if (rc || !arg)
		return rc;
	if (req == FIONBIO)
		note_nonblock(fd, *(int *)arg != 0);
	c = req == SIOCINQ || req == SIOCOUTQ || req == SIOCATMARK ? conn_get(fd) : NULL;
	if (c) {
		if (conn_state(c) == HUT_END_CHANNEL && conn_progress(c, fd)) {
			if (req == SIOCINQ)
				count_readable(c, fd, arg);
			else if (req == SIOCATMARK)
				*(int *)arg &= !bytes_before_tcp(c);
			else
				*(int *)arg += unsent(c);
		}
		conn_put(c);
	}
	return rc;
}

/* libc's asks inside, past us. */
HUT_EXPORT int sockatmark(int fd)
{
	int at;

	return ioctl(fd, SIOCATMARK, &at) ? -1 : at;
}
