/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - the life of a connection: candidate, registered, channel, and each direction's way to the ring and back.
 *
 * Every intercepted call on a tracked socket passes conn_progress(), which is where a connection moves on; nothing
 * moves in the background.  In the steady state it is a handful of loads.
 */
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "real.h"

#define TCP_IS_ESTABLISHED 1 /* netinet/tcp.h has the name, but an older struct tcp_info */
#define ARM_RETRY_NS NS_PER_MS
#define STALL_NS (2 * NS_PER_MS)
#define CHECK_NS (8 * NS_PER_MS)
#define MAX_AREA (64u << 20)

/* ---- locks of an end: shared by the processes that hold it, so the holder may be a dead one ---- */

static bool end_lock(uint32_t *word)
{
	uint32_t me = (uint32_t)hut_tid(), holder = 0;

	for (unsigned int spins = 0; !__atomic_compare_exchange_n(word, &holder, me, false, __ATOMIC_ACQUIRE,
								  __ATOMIC_RELAXED); spins++) {
		if (holder == me)
			return false;
		if (spins > 100)
			sched_yield();
		if (spins % 1024 == 1023 && syscall(SYS_tkill, (pid_t)holder, 0) && errno == ESRCH)
			__atomic_compare_exchange_n(word, &holder, 0, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
		holder = 0;
	}
	return true;
}

bool lock_rx(struct hut_end *e)
{
	return end_lock(&e->rx_lock);
}

void unlock_rx(struct hut_end *e)
{
	STORE_REL(&e->rx_lock, 0);
}

bool lock_tx(struct hut_end *e)
{
	return end_lock(&e->tx_lock);
}

void unlock_tx(struct hut_end *e)
{
	STORE_REL(&e->tx_lock, 0);
}

static void set_flags(struct hut_end *e, uint32_t bits)
{
	__atomic_fetch_or(&e->flags, bits, __ATOMIC_ACQ_REL);
}

bool conn_is_owner(const struct conn *c)
{
	return LIKELY(LOAD(&c->end->owner_pid) == (uint32_t)hut_pid);
}

bool conn_has_bell(const struct conn *c)
{
	return c->bell >= 0;
}

static void ring_bell(int fd)
{
	uint64_t one = 1;
	int saved = errno;

	if (fd >= 0)
		(void)!syscall(SYS_write, fd, &one, sizeof(one));
	errno = saved;
}

void conn_ring_peer(struct conn *c)
{
	ring_bell(c->peer_bell);
}

void conn_wake_self(struct conn *c)
{
	ring_bell(c->bell);
}

/* ---- beginning ---- */

static bool start(struct conn *c, int fd, enum member_kind kind, bool active)
{
	if (kind != MEMBER_NEAR && kind != MEMBER_UNKNOWN)
		return false;
	if (!control_slot(c))
		return false;
	c->end->nonblock = c->nonblock;
	c->end->fd = (uint32_t)fd;
	c->end->flags = active ? HUT_ENDF_ACTIVE : 0;
	c->end->reason = HUT_R_YOUNG;
	c->born_ns = now_coarse_ns();
	c->spin_budget = 1;
	STORE_REL(&c->end->state, HUT_END_CANDIDATE);
	return true;
}

void conn_connected(int fd, struct conn *c, const struct sockaddr *peer)
{
	if (c->end) { /* connect() once more, after a failure or to hear the outcome */
		if (c->end->tcp_in || c->end->tcp_out || conn_state(c) != HUT_END_CANDIDATE)
			return;
		control_free_slot(c);
	}
	if (!start(c, fd, control_member(peer), true)) {
		epset_conn_gone(c, fd, true);
		table_forget(c);
	}
}

void conn_accepted(int listener, int fd, const struct sockaddr *peer, int flags)
{
	struct conn *c;
	enum member_kind kind = control_member(peer);

	(void)listener;
	if (kind != MEMBER_NEAR && kind != MEMBER_UNKNOWN)
		return;
	c = table_new(fd, peer->sa_family, flags & SOCK_NONBLOCK);
	if (c && !start(c, fd, kind, false))
		table_forget(c);
}

uint64_t conn_young_ns(const struct conn *c)
{
	uint64_t due;

	if (conn_state(c) != HUT_END_CANDIDATE)
		return NS_FOREVER;
	due = c->born_ns + control_after_ns();
	if (due > now_coarse_ns())
		return due;
	return now_coarse_ns() + 20 * NS_PER_MS; /* was not possible yet: look again */
}

static void give_up(struct conn *c, uint32_t reason)
{
	STORE(&c->end->reason, reason);
	STORE_REL(&c->end->state, HUT_END_TCP);
}

/* Everything of this connection is plain TCP from now on. */
static bool forget(struct conn *c, int fd)
{
	if (c->gone_due) {
		c->gone_due = false;
		control_gone(c, c->end->reason);
	}
	epset_conn_gone(c, fd, true);
	table_forget(c);
	return false;
}

static bool established(int fd, struct tcp_info *ti)
{
	socklen_t len = sizeof(*ti);

	memset(ti, 0, sizeof(*ti));
	return REAL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, ti, &len) == 0 && ti->tcpi_state == TCP_IS_ESTABLISHED;
}

static uint32_t near_or_reason(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int proto = 0;
	socklen_t plen = sizeof(proto);

	if (getpeername(fd, (struct sockaddr *)&ss, &len))
		return HUT_R_STATE;
	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_PROTOCOL, &proto, &plen) || proto != IPPROTO_TCP)
		return HUT_R_OPTION;
	switch (control_member((struct sockaddr *)&ss)) {
	case MEMBER_NEAR:
		return HUT_R_NONE;
	case MEMBER_UNKNOWN:
		return HUT_R_YOUNG; /* the agent has not answered yet */
	case MEMBER_SELF:
		return HUT_R_SAME_VM;
	case MEMBER_REMOTE:
		return HUT_R_INTER_HOST;
	default:
		return HUT_R_NOT_MEMBER;
	}
}

/* Rule 6: old enough or busy enough, and not yet offered. */
static bool try_register(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	struct tcp_info ti;
	uint32_t state = HUT_END_CANDIDATE, reason;
	uint64_t now = now_coarse_ns();

	if (now - c->born_ns < control_after_ns() && LOAD(&e->tcp_in) + LOAD(&e->tcp_out) < control_after_bytes())
		return true;
	if (!conn_is_owner(c)) {
		/* A forked child that is left alone with the socket becomes its owner (a forking server's child). */
		if (LOAD(&e->holders) == 1) {
			give_up(c, HUT_R_SHARED);
			return forget(c, fd);
		}
		return true;
	}
	if (LOAD(&e->holders) != 1)
		return true;
	if (!control_enabled() || (LOAD(&e->flags) & HUT_ENDF_NEVER)) {
		give_up(c, HUT_R_OFF);
		return forget(c, fd);
	}
	if (c->arm_ns && now - c->arm_ns < ARM_RETRY_NS)
		return true;
	if (!established(fd, &ti)) {
		c->arm_ns = now;
		return true;
	}
	reason = near_or_reason(fd);
	if (reason == HUT_R_YOUNG) {
		c->arm_ns = now;
		if (now - c->born_ns < 1000 * NS_PER_MS)
			return true;
		reason = HUT_R_AGENT_DOWN;
	}
	if (reason != HUT_R_NONE) {
		give_up(c, reason);
		return forget(c, fd);
	}
	if (!__atomic_compare_exchange_n(&e->state, &state, HUT_END_PENDING, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return true;
	if (c->bell < 0)
		c->bell = table_hide(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (c->bell < 0) {
		give_up(c, HUT_R_DESCRIPTORS);
		return forget(c, fd);
	}
	epset_bell_added(c, fd);
	STORE(&e->reason, HUT_R_PEER_SILENT);
	if (!control_register(c, fd)) {
		give_up(c, HUT_R_AGENT_DOWN);
		return forget(c, fd);
	}
	return true;
}

/* ---- the agent's answers; the control lock is held, so nothing here may wait or talk to the agent ---- */

void conn_on_declined(struct conn *c, uint32_t reason)
{
	if (conn_state(c) == HUT_END_PENDING)
		give_up(c, reason);
}

static bool map_segment(struct conn *c, const struct hut_msg *m, int fd)
{
	size_t len = HUT_PAGE + 2ull * m->ring_size + 2ull * m->over_size;
	int seals = REAL(fcntl)(fd, F_GET_SEALS);
	struct stat st;

	if (m->ring_size < HUT_PAGE || m->ring_size > MAX_AREA || (m->ring_size & (m->ring_size - 1)) ||
	    m->over_size < HUT_PAGE || m->over_size > MAX_AREA || (m->over_size & (m->over_size - 1)) || m->side > 1)
		return false;
	/* A file that could shrink would kill the program by SIGBUS. */
	if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
		return false;
	if (fstat(fd, &st) || (size_t)st.st_size != len)
		return false;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return false;
	struct hut_segment *seg = p;

	if (seg->magic != HUT_SEG_MAGIC || seg->version != HUT_ABI_VERSION) {
		munmap(p, len);
		return false;
	}
	uint8_t *rings = (uint8_t *)p + HUT_PAGE, *overs = rings + 2ull * m->ring_size;

	for (uint32_t i = 0; i < 2; i++) {
		struct ring *r = i == m->side ? &c->tx : &c->rx;

		r->dir = &seg->dir[i];
		r->small = rings + (size_t)i * m->ring_size;
		r->over = overs + (size_t)i * m->over_size;
		r->small_size = m->ring_size;
		r->over_size = m->over_size;
	}
	c->seg_len = len;
	c->seg = p;
	return true;
}

void conn_on_channel(struct conn *c, const struct hut_msg *m, int seg_fd, int bell_fd)
{
	if (conn_state(c) != HUT_END_PENDING || c->seg || !conn_is_owner(c)) {
		REAL(close)(bell_fd);
		return;
	}
	c->peer_bell = table_hide(bell_fd);
	if (c->peer_bell < 0 || !map_segment(c, m, seg_fd)) {
		c->gone_due = true;
		give_up(c, c->peer_bell < 0 ? HUT_R_DESCRIPTORS : HUT_R_SEGMENT);
		return;
	}
	c->end->chan = m->chan;
	c->sets_due = true;
	STORE(&c->end->reason, HUT_R_NONE);
	STORE_REL(&c->end->state, HUT_END_CHANNEL);
	hut_log("fd %u: channel %x", c->end->fd, m->chan);
}

/* ---- rule 4a: has anybody moved bytes past us? ---- */

enum count_result { COUNT_EQUAL, COUNT_UNSURE, COUNT_DIFFERENT };

static enum count_result count_rx(struct conn *c, int fd)
{
	struct tcp_info ti;
	int before, after;

	if (ioctl(fd, SIOCINQ, &before) || !established(fd, &ti) || ioctl(fd, SIOCINQ, &after) || before != after)
		return COUNT_UNSURE;
	return ti.tcpi_bytes_received == LOAD(&c->end->tcp_in) + (uint64_t)before ? COUNT_EQUAL : COUNT_DIFFERENT;
}

static enum count_result count_tx(struct conn *c, int fd)
{
	struct tcp_info ti;
	int before, after;
	/* The active opener's count of acknowledged bytes includes its SYN. */
	uint64_t syn = LOAD(&c->end->flags) & HUT_ENDF_ACTIVE ? 1 : 0;

	if (ioctl(fd, SIOCOUTQ, &before) || !established(fd, &ti) || ioctl(fd, SIOCOUTQ, &after) || before != after)
		return COUNT_UNSURE;
	return ti.tcpi_bytes_acked + (uint64_t)before == LOAD(&c->end->tcp_out) + syn ? COUNT_EQUAL : COUNT_DIFFERENT;
}

static void never(struct conn *c, uint32_t reason)
{
	set_flags(c->end, HUT_ENDF_NEVER);
	STORE(&c->end->reason, reason);
	hut_log("fd %u: stays on TCP, reason %u", c->end->fd, reason);
}

/* Rule 4: the consumer lets the producer go to the ring. */
static void arm(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint64_t now = now_coarse_ns();

	if ((LOAD(&e->flags) & (HUT_ENDF_NEVER | HUT_ENDF_FIN | HUT_ENDF_ERR)) || LOAD(&e->holders) != 1 ||
	    c->arm_ns == now || LOAD(&e->raw_waits) || LOAD(&c->rx.dir->turn) != HUT_TURN_OPEN)
		return;
	c->arm_ns = now;
	if (!lock_rx(e))
		return;
	if (!(e->flags & HUT_ENDF_ARMED) && !LOAD(&e->inflight)) {
		switch (count_rx(c, fd)) {
		case COUNT_EQUAL:
			set_flags(e, HUT_ENDF_ARMED);
			/* Release: raw waits and doorbells were looked at before the producer may rely on it. */
			STORE_REL(&c->rx.dir->cons_state, HUT_CONS_ARMED);
			break;
		case COUNT_DIFFERENT:
			never(c, HUT_R_COUNT);
			break;
		default:
			break;
		}
	}
	unlock_rx(e);
}

/* Rule 5, producer: from S on the bytes go to the ring. */
static void start_tx(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	struct ring *r = &c->tx;

	if ((LOAD(&e->flags) & (HUT_ENDF_NEVER | HUT_ENDF_WRSHUT | HUT_ENDF_PEERGONE | HUT_ENDF_ERR)) ||
	    LOAD(&e->holders) != 1 || LOAD(&r->dir->turn) != HUT_TURN_OPEN || !lock_tx(e))
		return;
	if (e->tx_path == HUT_PATH_TCP && !LOAD(&e->inflight)) {
		switch (count_tx(c, fd)) {
		case COUNT_EQUAL:
			e->tx_start = e->tx_head = e->tx_tail = e->tcp_out + e->ring_out;
			STORE(&r->dir->tail, e->tx_tail);
			STORE(&r->dir->start, e->tx_start);
			/* Release: start and tail are valid once the state says RING. */
			STORE_REL(&r->dir->prod_state, HUT_PROD_RING);
			STORE(&e->tx_path, HUT_PATH_RING);
			atomic_fetch_add(&c->edges, 1);
			hut_log("fd %d: sends on the ring from %llu", fd, (unsigned long long)e->tx_start);
			break;
		case COUNT_DIFFERENT:
			never(c, HUT_R_COUNT);
			break;
		default:
			break;
		}
	}
	unlock_tx(e);
}

/* Rule 5, consumer: the producer has said S. */
static void start_rx(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	struct ring *r = &c->rx;

	if (!lock_rx(e))
		return;
	if (e->rx_path == HUT_PATH_TCP && (e->flags & HUT_ENDF_ARMED) && e->rx_start == 0 && !e->rx_head) {
		uint64_t at = e->tcp_in + e->ring_in;
		uint64_t s = LOAD(&r->dir->start);

		if (s < at || s - at > (1ull << 40)) {
			unlock_rx(e);
			conn_poison(c, fd);
			return;
		}
		e->rx_start = e->rx_head = s;
		STORE_REL(&r->dir->head, s);
		STORE(&e->rx_path, s == at ? HUT_PATH_RING : HUT_PATH_SWITCH);
		atomic_fetch_add(&c->edges, 1);
		hut_log("fd %d: receives on the ring from %llu (at %llu)", fd, (unsigned long long)s,
			(unsigned long long)at);
	}
	unlock_rx(e);
	epset_activity(c);
}

/* ---- going back (rule 7) ---- */

/* The peer's reader has stopped at c: what it did not take goes by TCP. */
static void tx_stopped(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint64_t stop;

	if (!lock_tx(e))
		return;
	if (e->tx_path == HUT_PATH_RING) {
		stop = LOAD(&c->tx.dir->stop);
		if (stop < e->tx_start)
			stop = e->tx_start;
		if (stop < e->tx_head || stop > e->tx_tail) {
			unlock_tx(e);
			conn_poison(c, fd);
			return;
		}
		e->tx_head = stop;
		e->ring_out -= e->tx_tail - stop;
		STORE(&e->tx_path, HUT_PATH_DRAIN);
		atomic_fetch_add(&c->edges, 1);
	}
	unlock_tx(e);
	never(c, HUT_R_PEER_STOP);
	conn_flush_debt(c, fd, false);
}

/* Sends [tx_head, tx_tail) on TCP; true when nothing is owed any more. */
bool conn_flush_debt(struct conn *c, int fd, bool wait)
{
	struct hut_end *e = c->end;
	uint64_t deadline = wait ? now_ns() + 10000 * NS_PER_MS : 0;
	uint8_t buf[16384];
	bool done = true;

	if (LOAD(&e->tx_path) != HUT_PATH_DRAIN)
		return true;
	if (!lock_tx(e))
		return false;
	while (e->tx_path == HUT_PATH_DRAIN && e->tx_head < e->tx_tail) {
		size_t n = e->tx_tail - e->tx_head;
		struct hut_end cursor = { .rx_head = e->tx_head };
		ssize_t sent;

		if (n > sizeof(buf))
			n = sizeof(buf);
		ring_peek(&c->tx, &cursor, 0, buf, n);
		sent = REAL(send)(fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			e->tx_head += (uint64_t)sent;
			e->tcp_out += (uint64_t)sent;
			continue;
		}
		done = sent < 0 && errno != EAGAIN && errno != EINTR; /* a broken connection owes nothing */
		if (done || !wait || now_ns() > deadline)
			break;
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		REAL(poll)(&p, 1, 100);
	}
	if (e->tx_head == e->tx_tail || done) {
		STORE(&e->tx_path, HUT_PATH_TCP);
		atomic_fetch_add(&c->edges, 1);
		done = true;
	}
	unlock_tx(e);
	return done;
}

/* The peer's writer ends its ring at `end`: we drain it and go on with TCP. */
static void rx_ended(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint64_t end, tail;

	if (!lock_rx(e))
		return;
	if (e->rx_end == HUT_NO_SPLIT) {
		end = LOAD(&c->rx.dir->end);
		tail = LOAD_ACQ(&c->rx.dir->tail);
		if (end < e->rx_head || end > tail) {
			unlock_rx(e);
			conn_poison(c, fd);
			return;
		}
		e->rx_end = end;
		set_flags(e, HUT_ENDF_NEVER);
		STORE(&e->reason, HUT_R_PEER_STOP);
	}
	if (e->rx_path == HUT_PATH_RING && e->rx_head == e->rx_end) {
		STORE(&e->rx_path, HUT_PATH_TCP);
		atomic_fetch_add(&c->edges, 1);
	}
	unlock_rx(e);
}

static void stop_rx(struct conn *c)
{
	struct hut_end *e = c->end;
	struct hut_dir *d = c->rx.dir;
	uint32_t open = HUT_TURN_OPEN;

	if (!lock_rx(e))
		return;
	if ((e->flags & HUT_ENDF_ARMED) && LOAD(&d->turn) == HUT_TURN_OPEN) {
		/* c = 0 says: nothing was taken, everything from S on is owed. */
		STORE(&d->stop, e->rx_path == HUT_PATH_RING ? e->rx_head : 0);
		/* Release: the offset before the decision. */
		if (__atomic_compare_exchange_n(&d->turn, &open, HUT_TURN_STOPPED, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			STORE(&e->rx_path, HUT_PATH_TCP);
	}
	unlock_rx(e);
}

static void stop_tx(struct conn *c)
{
	struct hut_end *e = c->end;
	struct hut_dir *d = c->tx.dir;
	uint32_t open = HUT_TURN_OPEN;

	if (!lock_tx(e))
		return;
	if (e->tx_path == HUT_PATH_RING) {
		STORE(&d->end, e->tx_tail);
		if (__atomic_compare_exchange_n(&d->turn, &open, HUT_TURN_ENDED, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			STORE(&e->tx_path, HUT_PATH_TCP);
	}
	unlock_tx(e);
}

/* Takes both directions back to TCP for good; any process that holds the end may do it (rules 8 and 18). */
void conn_stop(struct conn *c, int fd, uint32_t reason)
{
	if (conn_state(c) != HUT_END_CHANNEL)
		return;
	hut_log("fd %d: STOP, reason %u", fd, reason);
	stop_rx(c);
	stop_tx(c);
	if (LOAD(&c->tx.dir->turn) == HUT_TURN_STOPPED)
		tx_stopped(c, fd);
	never(c, reason);
	atomic_fetch_add(&c->edges, 1);
	conn_ring_peer(c);
	if (!conn_is_owner(c))
		conn_wake_self(c);
	epset_activity(c);
}

/* Before a call that hands the descriptor to something that the shim cannot follow. */
void conn_never(int fd, uint32_t reason)
{
	struct conn *c = conn_get(fd);

	if (!c)
		return;
	if (conn_state(c) == HUT_END_CHANNEL) {
		conn_stop(c, fd, reason);
		conn_flush_debt(c, fd, true);
	} else {
		if (c->end && conn_state(c) == HUT_END_PENDING && conn_is_owner(c))
			control_gone(c, reason);
		if (c->end)
			give_up(c, reason);
		forget(c, fd);
	}
	conn_put(c);
}

/* An impossible cursor, or bytes where none may be: the connection is reset, never guessed at (decision 8). */
void conn_poison(struct conn *c, int fd)
{
	struct linger hard = { 1, 0 };

	never(c, HUT_R_POISONED);
	c->err = ECONNRESET;
	set_flags(c->end, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	STORE(&c->end->rx_path, HUT_PATH_TCP);
	STORE(&c->end->tx_path, HUT_PATH_TCP);
	REAL(setsockopt)(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	REAL(shutdown)(fd, SHUT_RDWR);
	atomic_fetch_add(&c->edges, 1);
	conn_ring_peer(c);
	control_gone(c, HUT_R_POISONED);
}

/* ---- the step that every call takes ---- */

/* We have armed, and the peer may take us at our word at any time. */
static bool may_still_switch(struct conn *c)
{
	return (LOAD(&c->end->flags) & HUT_ENDF_ARMED) && LOAD_ACQ(&c->rx.dir->turn) == HUT_TURN_OPEN &&
	       !(LOAD(&c->end->flags) & HUT_ENDF_ERR);
}

static bool progress_channel(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint32_t rx_path = LOAD(&e->rx_path), tx_path = LOAD(&e->tx_path);

	if (UNLIKELY(c->sets_due)) {
		c->sets_due = false;
		epset_switched(c, fd);
	}
	if (UNLIKELY(!conn_is_owner(c)) && !(LOAD(&e->flags) & HUT_ENDF_NEVER))
		conn_stop(c, fd, HUT_R_SHARED);
	if (tx_path == HUT_PATH_RING) {
		if (UNLIKELY(LOAD_ACQ(&c->tx.dir->turn) == HUT_TURN_STOPPED))
			tx_stopped(c, fd);
	} else if (tx_path == HUT_PATH_DRAIN) {
		conn_flush_debt(c, fd, false);
	} else if (LOAD_ACQ(&c->tx.dir->cons_state) == HUT_CONS_ARMED) {
		start_tx(c, fd);
	}
	if (rx_path == HUT_PATH_TCP && !(LOAD(&e->flags) & HUT_ENDF_ARMED))
		arm(c, fd);
	if (rx_path != HUT_PATH_RING && (LOAD(&e->flags) & HUT_ENDF_ARMED) && !e->rx_start &&
	    LOAD_ACQ(&c->rx.dir->prod_state) == HUT_PROD_RING && LOAD_ACQ(&c->rx.dir->turn) != HUT_TURN_STOPPED)
		start_rx(c, fd);
	if (UNLIKELY(LOAD_ACQ(&c->rx.dir->turn) == HUT_TURN_ENDED) && LOAD(&e->rx_path) != HUT_PATH_TCP)
		rx_ended(c, fd);
	if (UNLIKELY((LOAD(&e->flags) & HUT_ENDF_NEVER) && LOAD(&e->rx_path) == HUT_PATH_TCP &&
		     LOAD(&e->tx_path) == HUT_PATH_TCP && !may_still_switch(c)))
		return forget(c, fd);
	return true;
}

bool conn_progress(struct conn *c, int fd)
{
	uint32_t note;

	if (UNLIKELY(atomic_load_explicit(&c->plain, memory_order_relaxed)))
		return false;
	if (LIKELY(conn_state(c) == HUT_END_CHANNEL))
		return progress_channel(c, fd);
	switch (conn_state(c)) {
	case HUT_END_CANDIDATE:
		return try_register(c, fd);
	case HUT_END_PENDING:
		note = LOAD_ACQ(&c->end->agent_note);
		if (note == atomic_load(&c->note_seen))
			return true;
		atomic_store(&c->note_seen, note);
		control_poll();
		return conn_progress(c, fd);
	case HUT_END_TCP:
		return forget(c, fd);
	default:
		return true;
	}
}

/* ---- readiness ---- */

/*
 * The peer's bytes still come by TCP, whose own calls tell of their end; but our writer is on the ring and must learn
 * that nobody reads it any more.
 */
static void check_from_tcp(struct conn *c, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (LOAD(&c->end->tx_path) != HUT_PATH_RING || REAL(poll)(&p, 1, 0) <= 0)
		return;
	set_flags(c->end, HUT_ENDF_RDHUP);
	if ((p.revents & (POLLERR | POLLHUP)) || !(LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_HALF_CLOSE))
		set_flags(c->end, HUT_ENDF_PEERGONE);
	atomic_fetch_add(&c->edges, 1);
}

/* Asks the kernel what has become of the socket itself while its bytes travel in the ring. */
void conn_check_socket(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	char byte;
	ssize_t n;

	c->check_ns = now_coarse_ns();
	if (LOAD(&e->flags) & (HUT_ENDF_FIN | HUT_ENDF_ERR))
		return;
	if (LOAD(&e->rx_path) != HUT_PATH_RING) {
		check_from_tcp(c, fd);
		return;
	}
	n = REAL(recv)(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0) {
		/* Lawful only after the peer has ended its ring, which it says before it sends. */
		if (LOAD_ACQ(&c->rx.dir->turn) == HUT_TURN_ENDED)
			rx_ended(c, fd);
		else if (LOAD(&e->rx_path) == HUT_PATH_RING)
			conn_poison(c, fd);
		return;
	}
	if (n < 0) {
		c->err = errno;
		set_flags(e, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	} else {
		/* Rule 16.  Acquire: the mark was set before the FIN was sent. */
		bool half = LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_HALF_CLOSE;

		if (!half && !(e->flags & HUT_ENDF_RDSHUT) && LOAD(&e->tx_path) == HUT_PATH_RING &&
		    LOAD_ACQ(&c->tx.dir->head) < e->tx_tail && !c->err)
			c->err = ECONNRESET; /* the peer went away with bytes of ours unread */
		set_flags(e, half || (e->flags & HUT_ENDF_RDSHUT) ? HUT_ENDF_FIN : HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	}
	atomic_fetch_add(&c->edges, 1);
}

static bool reader_idle(struct conn *c)
{
	uint64_t head = c->end->tx_head, now = now_ns();

	if (c->stall_head != head || !c->stall_ns) {
		c->stall_head = head;
		c->stall_ns = now;
		return false;
	}
	return now - c->stall_ns >= STALL_NS;
}

uint64_t conn_stall_ns(struct conn *c)
{
	if (conn_state(c) != HUT_END_CHANNEL || LOAD(&c->end->tx_path) != HUT_PATH_RING || !c->stall_ns)
		return NS_FOREVER;
	/* With the overflow full as well there is nothing to look for until the reader rings. */
	uint64_t split = c->end->tx_split, head = c->end->tx_head;

	if (split != HUT_NO_SPLIT && c->end->tx_tail - (head > split ? head : split) >= c->tx.over_size)
		return NS_FOREVER;
	return c->stall_ns + STALL_NS;
}

ssize_t conn_tx_room(struct conn *c)
{
	ssize_t n = ring_space(&c->tx, c->end, false);

	if (n >= (ssize_t)(c->tx.small_size / 2))
		c->stall_ns = 0;
	else if (n >= 0 && reader_idle(c) && n == 0)
		n = ring_space(&c->tx, c->end, true);
	return n;
}

static short ring_out_ready(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	bool enough;
	ssize_t n;

	if (LOAD(&e->flags) & (HUT_ENDF_PEERGONE | HUT_ENDF_ERR | HUT_ENDF_WRSHUT))
		return POLLOUT;
	if (!lock_tx(e))
		return 0;
	n = e->tx_path == HUT_PATH_RING ? conn_tx_room(c) : 1 << 30;
	/* Like TCP, not for a few bytes, unless no more will come: the reader rings when half of the ring is free. */
	enough = n >= (ssize_t)(c->tx.small_size / 2) || (n > 0 && reader_idle(c));
	unlock_tx(e);
	if (n < 0) {
		conn_poison(c, fd);
		return POLLOUT;
	}
	return enough ? POLLOUT : 0;
}

static short ring_in_ready(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	ssize_t n = ring_avail(&c->rx, e);

	if (n < 0) {
		conn_poison(c, fd);
		return POLLIN | POLLRDNORM;
	}
	return n > 0 || (LOAD(&e->flags) & (HUT_ENDF_FIN | HUT_ENDF_RDSHUT)) ? POLLIN | POLLRDNORM : 0;
}

static short state_bits(struct conn *c)
{
	uint32_t f = LOAD(&c->end->flags);
	short got = 0;

	if (f & HUT_ENDF_FIN)
		got |= POLLRDHUP;
	if ((f & HUT_ENDF_FIN) && (f & HUT_ENDF_WRSHUT))
		got |= POLLHUP;
	if (c->err && (f & HUT_ENDF_ERR))
		got |= POLLERR | POLLHUP;
	return got;
}

short conn_ready(struct conn *c, int fd, short want)
{
	struct hut_end *e = c->end;
	struct pollfd p = { .fd = fd, .events = 0 };
	short in = POLLIN | POLLRDNORM, out = POLLOUT | POLLWRNORM, got = 0;

	if (conn_state(c) != HUT_END_CHANNEL) {
		p.events = want;
		return REAL(poll)(&p, 1, 0) > 0 ? p.revents : 0;
	}
	/* What the ring cannot tell: at once for who asks for it, else now and then. */
	if (LOAD(&e->rx_path) == HUT_PATH_RING && !(LOAD(&e->flags) & HUT_ENDF_FIN) &&
	    ((want & POLLRDHUP) || now_coarse_ns() - c->check_ns >= CHECK_NS))
		conn_check_socket(c, fd);
	if (LOAD(&e->rx_path) == HUT_PATH_RING) {
		if (want & in)
			got |= (short)(ring_in_ready(c, fd) & want);
	} else {
		p.events |= (short)(want & (in | POLLPRI | POLLRDHUP));
	}
	if (LOAD(&e->tx_path) == HUT_PATH_RING) {
		if ((want & out) && ring_out_ready(c, fd))
			got |= (short)(want & out);
	} else if (LOAD(&e->tx_path) == HUT_PATH_TCP) {
		p.events |= (short)(want & out);
	}
	if (p.events && REAL(poll)(&p, 1, 0) > 0)
		got |= p.revents;
	got |= (short)(state_bits(c) & (want | POLLERR | POLLHUP));
	return got;
}

/* What the kernel is to be asked about the socket by a sleeper that wants `want`. */
short conn_sock_events(struct conn *c, short want)
{
	struct hut_end *e = c->end;
	short ev = 0;

	if (conn_state(c) != HUT_END_CHANNEL)
		return want;
	if (LOAD(&e->rx_path) == HUT_PATH_RING) {
		/* Rule 12: only what tells of the end; and not even that once it is known, or TCP has bytes for later. */
		if (!(LOAD(&e->flags) & HUT_ENDF_FIN) && LOAD(&c->rx.dir->turn) == HUT_TURN_OPEN)
			ev |= POLLIN | POLLRDHUP;
	} else {
		ev |= (short)(want & (POLLIN | POLLRDNORM | POLLPRI | POLLRDHUP));
		if (LOAD(&e->tx_path) == HUT_PATH_RING && !(LOAD(&e->flags) & (HUT_ENDF_PEERGONE | HUT_ENDF_RDHUP)))
			ev |= POLLRDHUP;
	}
	if (LOAD(&e->tx_path) != HUT_PATH_RING)
		ev |= (short)(want & (POLLOUT | POLLWRNORM));
	return ev;
}

void conn_arm_waits(struct conn *c, short want)
{
	if (conn_state(c) != HUT_END_CHANNEL)
		return;
	/* The reader's flag is set whatever is wanted: switches and marks are told by the same bell. */
	STORE(&c->rx.dir->cons_wait, 1);
	if (want & (POLLOUT | POLLWRNORM))
		STORE(&c->tx.dir->prod_wait, 1);
	/* Orders the flags before the look at the cursors that must follow; pairs with ring_publish()/ring_take(). */
	FULL_FENCE();
}

/* ---- end ---- */

void conn_release(struct conn *c)
{
	if (c->end)
		stats_add(c);
	if (c->seg)
		munmap(c->seg, c->seg_len);
	c->seg = NULL;
	if (c->bell >= 0)
		table_unhide(c->bell);
	if (c->peer_bell >= 0)
		table_unhide(c->peer_bell);
	c->bell = c->peer_bell = -1;
	control_free_slot(c);
}
