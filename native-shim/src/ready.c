/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.c - what a connection is ready for, and what a sleeper must ask the kernel and the peer
 */
#include <string.h>

#include "real.h"
#include "conn.h"

#define STALL_NS (2 * NS_PER_MS)
#define CHECK_NS (8 * NS_PER_MS)

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
	conn_set_flags(c->end, HUT_ENDF_RDHUP);
	if ((p.revents & (POLLERR | POLLHUP)) || !(LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_HALF_CLOSE))
		conn_set_flags(c->end, HUT_ENDF_PEERGONE);
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
			conn_rx_ended(c, fd);
		else if (LOAD(&e->rx_path) == HUT_PATH_RING)
			conn_poison(c, fd);
		return;
	}
	if (n < 0) {
		c->err = errno;
		conn_set_flags(e, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	} else {
		/* Rule 16.  Acquire: the mark was set before the FIN was sent. */
		bool half = LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_HALF_CLOSE;

		if (!half && !(e->flags & HUT_ENDF_RDSHUT) && LOAD(&e->tx_path) == HUT_PATH_RING &&
		    LOAD_ACQ(&c->tx.dir->head) < e->tx_tail && !c->err)
			c->err = ECONNRESET; /* the peer went away with bytes of ours unread */
		conn_set_flags(e, half || (e->flags & HUT_ENDF_RDSHUT) ? HUT_ENDF_FIN : HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
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

