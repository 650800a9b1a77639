/* SPDX-License-Identifier: Apache-2.0 */
/* switch.c - each direction's way to the ring (rules 4 and 5), in rounds; stop.c has the way back. */
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

	if (!raw_begin(c, fd))
		return COUNT_UNSURE;
	bool ok = !REAL(ioctl)(fd, SIOCINQ, &before) && conn_established(fd, &ti) &&
		  !REAL(ioctl)(fd, SIOCINQ, &after) && before == after;

	raw_end(c);
	if (!ok)
		return COUNT_UNSURE;
	return ti.tcpi_bytes_received == LOAD(&c->end->tcp_in) + (uint64_t)before ? COUNT_EQUAL : COUNT_DIFFERENT;
}

/* What the kernel says that was sent; tx_lock held.  False: acknowledgements come in just now. */
bool conn_sent_by_tcp(struct conn *c, int fd, struct tcp_info *ti, uint64_t *bytes)
{
	int before, after;
	/* The active opener's count of acknowledged bytes includes its SYN. */
	uint64_t syn = LOAD(&c->end->flags) & HUT_ENDF_ACTIVE ? 1 : 0;

	if (!raw_begin(c, fd))
		return false;
	bool ok = !REAL(ioctl)(fd, SIOCOUTQ, &before);

	conn_established(fd, ti);
	ok = !REAL(ioctl)(fd, SIOCOUTQ, &after) && ok && before == after;
	raw_end(c);
	*bytes = ti->tcpi_bytes_acked + (uint64_t)before - syn;
	return ok;
}

static enum count_result count_tx(struct conn *c, int fd)
{
	struct tcp_info ti;
	uint64_t sent;

	if (!conn_sent_by_tcp(c, fd, &ti, &sent) || ti.tcpi_state != TCP_IS_ESTABLISHED)
		return COUNT_UNSURE;
	return sent == LOAD(&c->end->tcp_out) ? COUNT_EQUAL : COUNT_DIFFERENT;
}

void conn_mark_never(struct conn *c, uint32_t reason)
{
	STORE(&c->end->reason, reason);
	conn_set_flags(c->end, HUT_ENDF_NEVER);
	hut_log("fd %u: stays on TCP, reason %u", c->end->fd, reason);
}

bool conn_willing(const struct conn *c)
{
	return !(LOAD(&c->end->flags) & (HUT_ENDF_NEVER | HUT_ENDF_PAUSED | HUT_ENDF_ERR));
}

/* Cheap: is there anything that conn_arm() could do? */
bool conn_may_arm(const struct conn *c)
{
	const struct hut_end *e = c->end;

	/*
	 * Between hosts only where the far agent wants it, and where no epoll set can tell of TCP's end past us: until a
	 * round is armed TCP alone says where the stream ends.
	 */
	if (conn_is_remote(c) && (!(LOAD(&c->rx.dir->prod_mark) & HUT_MARK_WISH) || LOAD(&c->end_told) ||
				  !LOAD_ACQ(&c->sets_told)))
		return false;
	return LOAD(&e->rx_path) == HUT_PATH_TCP &&
	       !(LOAD(&e->flags) & (HUT_ENDF_ARMED | HUT_ENDF_FIN | HUT_ENDF_RDSHUT | HUT_ENDF_NEVER | HUT_ENDF_PAUSED |
				    HUT_ENDF_ERR | HUT_ENDF_RDHUP)) &&
	       LOAD_ACQ(&c->rx.dir->prod_done) == LOAD(&e->rx_round);
}

/* rx_lock held; everything else has been looked at */
static void arm(struct conn *c)
{
	struct hut_end *e = c->end;
	struct hut_dir *d = c->rx.dir;

	e->rx_round = conn_next_round(e->rx_round);
	e->rx_end = HUT_NO_SPLIT;
	__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_STOPPED, __ATOMIC_ACQ_REL);
	conn_set_flags(e, HUT_ENDF_ARMED);
	/* Nobody else moves `turn` now: the last round is over for both, and the next one is not announced. */
	STORE(&d->turn, HUT_TURN(e->rx_round, HUT_TURN_OPEN, 0));
	/* Release: raw waits, doorbells and `turn` before the producer may rely on it. */
	STORE_REL(&d->cons_round, e->rx_round);
	if (conn_is_remote(c)) /* its producer is an agent, which makes no calls of its own */
		conn_ring_peer(c);
}

/* Rule 4: the consumer lets the producer go to the ring. */
void conn_arm(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint64_t now = now_coarse_ns();

	if (LOAD(&e->holders) != 1 || c->arm_ns == now || LOAD(&e->raw_waits) || !conn_is_owner(c))
		return;
	c->arm_ns = now;
	if (!lock_rx(e))
		return;
	/* Again, with the lock: a reader that goes to sleep in the kernel has looked with it whether anything is armed. */
	if (conn_may_arm(c) && !LOAD(&e->inflight) && !__atomic_load_n(&e->raw_waits, __ATOMIC_SEQ_CST)) {
		switch (count_rx(c, fd)) {
		case COUNT_EQUAL:
			arm(c);
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

/*
 * The kernel holds a part of a segment back for what is written next (TCP_CORK for 0.2 s, Nagle's algorithm until an
 * answer comes), and that goes to the ring.  Setting TCP_NODELAY sends what is queued, corked or not (tcp(7)).
 */
static void push(struct conn *c, int fd)
{
	int held, was, on = 1;
	socklen_t len = sizeof(was);

	if (!raw_begin(c, fd))
		return;
	if (REAL(ioctl)(fd, SIOCOUTQNSD, &held) == 0 && held > 0 &&
	    REAL(getsockopt)(fd, IPPROTO_TCP, TCP_NODELAY, &was, &len) == 0 &&
	    REAL(setsockopt)(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 && !was)
		REAL(setsockopt)(fd, IPPROTO_TCP, TCP_NODELAY, &was, sizeof(was));
	raw_end(c);
}

/* tx_lock held */
static void start_tx(struct conn *c, uint32_t round)
{
	struct hut_end *e = c->end;
	struct hut_dir *d = c->tx.dir;

	e->tx_round = round;
	e->tx_start = e->tx_head = e->tx_tail = e->tcp_out + e->ring_out;
	e->tx_split = HUT_NO_SPLIT;
	STORE(&d->split, HUT_NO_SPLIT);
	STORE(&d->start, e->tx_start);
	/* Release: a tail beyond the old round's is for a reader that has seen this round's start and split. */
	STORE_REL(&d->tail, e->tx_tail);
	/* Release: start, tail and split are valid once the round is announced. */
	STORE_REL(&d->prod_round, round);
	STORE(&e->tx_path, HUT_PATH_RING);
	conn_changed(c);
	atomic_fetch_add(&c->to_ring, 1);
	/* The reader may have looked for the round just before it went to sleep, and waits for TCP. */
	conn_ring_peer(c);
	hut_log("fd %u: sends on the ring from %llu", e->fd, (unsigned long long)e->tx_start);
}

/* Rule 5, producer: from S on the bytes go to the ring. */
void conn_start_tx(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint32_t round = conn_next_round(LOAD(&e->tx_round));

	if (!conn_is_owner(c) || !lock_tx(e))
		return;
	if (e->tx_path != HUT_PATH_TCP || conn_next_round(e->tx_round) != round) {
		/* another thread was quicker */
	} else if (conn_turn_is(&c->tx, round, HUT_TURN_STOPPED)) {
		e->tx_round = round; /* stopped before it began */
		conn_tx_done(c);
	} else if (conn_turn_is(&c->tx, round, HUT_TURN_OPEN) && conn_willing(c) && LOAD(&e->holders) == 1 &&
		   !(LOAD(&e->flags) & (HUT_ENDF_WRSHUT | HUT_ENDF_PEERGONE)) && !LOAD(&e->inflight) && !LOAD(&c->more) &&
		   !(conn_is_remote(c) && LOAD(&e->raw_waits))) { /* whom no doorbell could tell what becomes of the round */
		switch (count_tx(c, fd)) {
		case COUNT_EQUAL:
			start_tx(c, round);
			push(c, fd);
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

/* rx_lock held.  False: the writer has gone back before we came; it sends all of the round by TCP. */
static bool take_up(struct conn *c)
{
	struct hut_end *e = c->end;

	if (conn_move(&c->rx, HUT_TURN(e->rx_round, HUT_TURN_OPEN, 0), HUT_TURN(e->rx_round, HUT_TURN_OPEN, 1)))
		return true;
	if (conn_turn_is(&c->rx, e->rx_round, HUT_TURN_ENDED))
		return true; /* it has closed: TCP has no bytes past S */
	if (conn_turn_is(&c->rx, e->rx_round, HUT_TURN_OWED)) {
		conn_set_flags(e, HUT_ENDF_STOPPED);
		__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_ARMED, __ATOMIC_ACQ_REL);
	}
	return false;
}

/* rx_lock held */
void conn_rx_on(struct conn *c, uint32_t path)
{
	STORE(&c->end->rx_path, path);
	c->check_ns = 0; /* TCP may just have told of the end: the next read of an empty ring has to find it, too */
	conn_changed(c);
}

/* Rule 5, consumer: the producer has said S. */
void conn_start_rx(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	struct ring *r = &c->rx;

	if (!lock_rx(e))
		return;
	/* Again under the lock: another thread may have been through this round meanwhile, and have armed the next one. */
	bool due = e->rx_path == HUT_PATH_TCP && conn_rx_due(c), up = due && take_up(c);

	if (due && !up && (e->flags & HUT_ENDF_ARMED)) {
		unlock_rx(e);
		conn_poison(c, fd); /* a turn that no writer could have made */
		return;
	}
	if (up) {
		uint64_t at = e->tcp_in + e->ring_in;
		uint64_t s = LOAD(&r->dir->start);

		if (s < at || s - at > (1ull << 40)) {
			unlock_rx(e);
			conn_poison(c, fd);
			return;
		}
		e->rx_start = e->rx_head = s;
		STORE_REL(&r->dir->head, s);
		conn_rx_on(c, s == at ? HUT_PATH_RING : HUT_PATH_SWITCH);
		atomic_fetch_add(&c->to_ring, 1);
		hut_log("fd %d: receives on the ring from %llu (at %llu)", fd, (unsigned long long)s,
			(unsigned long long)at);
	}
	unlock_rx(e);
	epset_activity(c);
}
