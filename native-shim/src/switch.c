/* SPDX-License-Identifier: Apache-2.0 */
/*
 * switch.c - each direction's way to the ring (rules 4 and 5) and back (rule 7), and the reset of a broken one
 */
#include <netinet/in.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/ioctl.h>

#include "real.h"
#include "conn.h"

/* ---- rule 4a: has anybody moved bytes past us? ---- */

enum count_result { COUNT_EQUAL, COUNT_UNSURE, COUNT_DIFFERENT };

static enum count_result count_rx(struct conn *c, int fd)
{
	struct tcp_info ti;
	int before, after;

	if (ioctl(fd, SIOCINQ, &before) || !conn_established(fd, &ti) || ioctl(fd, SIOCINQ, &after) || before != after)
		return COUNT_UNSURE;
	return ti.tcpi_bytes_received == LOAD(&c->end->tcp_in) + (uint64_t)before ? COUNT_EQUAL : COUNT_DIFFERENT;
}

static enum count_result count_tx(struct conn *c, int fd)
{
	struct tcp_info ti;
	int before, after;
	/* The active opener's count of acknowledged bytes includes its SYN. */
	uint64_t syn = LOAD(&c->end->flags) & HUT_ENDF_ACTIVE ? 1 : 0;

	if (ioctl(fd, SIOCOUTQ, &before) || !conn_established(fd, &ti) || ioctl(fd, SIOCOUTQ, &after) || before != after)
		return COUNT_UNSURE;
	return ti.tcpi_bytes_acked + (uint64_t)before == LOAD(&c->end->tcp_out) + syn ? COUNT_EQUAL : COUNT_DIFFERENT;
}

void conn_mark_never(struct conn *c, uint32_t reason)
{
	conn_set_flags(c->end, HUT_ENDF_NEVER);
	STORE(&c->end->reason, reason);
	hut_log("fd %u: stays on TCP, reason %u", c->end->fd, reason);
}

/* Rule 4: the consumer lets the producer go to the ring. */
void conn_arm(struct conn *c, int fd)
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
			conn_set_flags(e, HUT_ENDF_ARMED);
			/* Release: raw waits and doorbells were looked at before the producer may rely on it. */
			STORE_REL(&c->rx.dir->cons_state, HUT_CONS_ARMED);
			break;
		case COUNT_DIFFERENT:
			conn_mark_never(c, HUT_R_COUNT);
			break;
		default:
			break;
		}
	}
	unlock_rx(e);
}

/* Rule 5, producer: from S on the bytes go to the ring. */
void conn_start_tx(struct conn *c, int fd)
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
			conn_mark_never(c, HUT_R_COUNT);
			break;
		default:
			break;
		}
	}
	unlock_tx(e);
}

/* Rule 5, consumer: the producer has said S. */
void conn_start_rx(struct conn *c, int fd)
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
void conn_tx_stopped(struct conn *c, int fd)
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
	conn_mark_never(c, HUT_R_PEER_STOP);
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
void conn_rx_ended(struct conn *c, int fd)
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
		conn_set_flags(e, HUT_ENDF_NEVER);
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
		conn_tx_stopped(c, fd);
	conn_mark_never(c, reason);
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
			conn_give_up(c, reason);
		conn_forget(c, fd);
	}
	conn_put(c);
}

/* An impossible cursor, or bytes where none may be: the connection is reset, never guessed at (decision 8). */
void conn_poison(struct conn *c, int fd)
{
	struct linger hard = { 1, 0 };

	conn_mark_never(c, HUT_R_POISONED);
	c->err = ECONNRESET;
	conn_set_flags(c->end, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	STORE(&c->end->rx_path, HUT_PATH_TCP);
	STORE(&c->end->tx_path, HUT_PATH_TCP);
	REAL(setsockopt)(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	REAL(shutdown)(fd, SHUT_RDWR);
	atomic_fetch_add(&c->edges, 1);
	conn_ring_peer(c);
	control_gone(c, HUT_R_POISONED);
}

