/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.c - what a connection is ready for, and what a sleeper must ask the kernel and the peer
 */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"

#define STALL_NS (2 * NS_PER_MS)          /* the reader has not moved */
#define OVERFULL_NS (1000 * NS_PER_MS)    /* and on Xen, where the overflow area is small, TCP may take more */
#define SLOW_NS (10 * NS_PER_MS)          /* it moves, but does not make room */
#define HALF_CLOSED_NS (1000 * NS_PER_MS)
#define CHECK_NS (8 * NS_PER_MS)

/* ---- what has become of the socket itself while its bytes travel in the ring ---- */

/* The peer went away with bytes of ours unread: TCP would have been reset. */
static bool peer_died(struct conn *c)
{
	const struct hut_end *e = c->end;
	uint64_t head = LOAD_ACQ(&c->tx.dir->head);

	if (head < e->tx_start)
		head = e->tx_start; /* it has not come to the ring */
	if (LOAD(&e->tx_path) != HUT_PATH_RING || head >= e->tx_tail || c->err || LOAD(&c->late_told))
		return false;
	c->err = ECONNRESET;
	return true;
}

/* After our own SHUT_RD the socket says "end of file" to every question but this one. */
bool conn_peer_shut(struct conn *c, int fd)
{
	enum { TIME_WAIT = 6, CLOSED = 7, CLOSE_WAIT = 8, LAST_ACK = 9, CLOSING = 11 };
	struct tcp_info ti;

	if (!(LOAD(&c->end->flags) & HUT_ENDF_RDSHUT))
		return true;
	if (!raw_begin(c, fd))
		return false;
	conn_established(fd, &ti); /* zero, which is no state, if the kernel does not say */
	raw_end(c);
	return ti.tcpi_state == TIME_WAIT || ti.tcpi_state == CLOSED || ti.tcpi_state == CLOSE_WAIT ||
	       ti.tcpi_state == LAST_ACK || ti.tcpi_state == CLOSING;
}

/*
 * The peer's bytes still come by TCP, whose own calls tell of their end; but our writer is on the ring and must learn
 * that nobody reads it any more.
 */
static void check_from_tcp(struct conn *c, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };
	uint32_t flags = LOAD(&c->end->flags);

	if (LOAD(&c->end->tx_path) != HUT_PATH_RING || (flags & HUT_ENDF_PEERGONE) || !raw_begin(c, fd))
		return;
	if (remote_end_unknown(c)) { /* a close or a half-close */
		bool fin = poll_now(&p, 1) > 0 && (p.revents & (POLLRDHUP | POLLHUP)) && conn_peer_shut(c, fd);

		raw_end(c);
		if (fin)
			remote_ask_end(c);
		return;
	}
	bool any = poll_now(&p, 1) > 0 && ((p.revents & (POLLERR | POLLHUP)) || conn_peer_shut(c, fd));

	raw_end(c);
	if (!any)
		return;
	bool half = LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_HALF_CLOSE;

	if (!(flags & HUT_ENDF_RDHUP))
		atomic_fetch_add(&c->edges, 1);
	conn_set_flags(c->end, HUT_ENDF_RDHUP | (half ? HUT_ENDF_HALF : 0));
	if (!half && !(p.revents & POLLERR) && peer_died(c))
		conn_set_flags(c->end, HUT_ENDF_RESET | HUT_ENDF_ERR);
	if ((p.revents & (POLLERR | POLLHUP)) || !half || (LOAD_ACQ(&c->tx.dir->cons_mark) & HUT_MARK_GONE)) {
		conn_set_flags(c->end, HUT_ENDF_PEERGONE);
		atomic_fetch_add(&c->edges, 1);
	}
}

static void saw_fin(struct conn *c, int fd);

/*
 * The peer has half-closed: only a reset, or its mark, tells that it reads no more either.  Or we have shut our receiving
 * side: only TCP's state tells of its FIN.
 */
static void check_half_closed(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	struct pollfd p = { .fd = fd };
	int err = 0;
	socklen_t len = sizeof(err);

	if (LOAD(&e->flags) & HUT_ENDF_PEERGONE)
		return;
	if (LOAD_ACQ(&c->tx.dir->cons_mark) & HUT_MARK_GONE) {
		conn_set_flags(e, HUT_ENDF_PEERGONE);
		atomic_fetch_add(&c->edges, 1);
	}
	if (!raw_begin(c, fd))
		return;
	if (!(LOAD(&e->flags) & HUT_ENDF_HALF))
		saw_fin(c, fd);
	if (poll_now(&p, 1) > 0 && (p.revents & POLLERR) &&
	    REAL(getsockopt)(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err) {
		c->err = err;
		conn_set_flags(e, HUT_ENDF_ERR | HUT_ENDF_PEERGONE);
		atomic_fetch_add(&c->edges, 1);
	}
	raw_end(c);
}

static void saw_error(struct conn *c, int err)
{
	c->err = err;
	conn_set_flags(c->end, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	atomic_fetch_add(&c->edges, 1);
}

/* On a channel, and the socket is not of the connection any more. */
bool conn_is_dead(struct conn *c, int fd)
{
	struct tcp_info ti;

	if (conn_state(c) != HUT_END_CHANNEL || !raw_begin(c, fd))
		return false;
	conn_established(fd, &ti);
	raw_end(c);
	return ti.tcpi_state == TCP_IS_CLOSED;
}

/*
 * The program has taken the socket's error by getsockopt(), and we would find an end without one.  Errors that the
 * connection survives leave no trace.  Between hosts bytes may follow, see remote.c.
 */
void conn_error_told(struct conn *c, int fd, int err)
{
	if (!conn_is_dead(c, fd))
		return;
	if (!remote_end_open(c))
		saw_error(c, 0);
	else if (err != EPIPE)
		remote_late_told(c);
}

static void saw_fin(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	/* Rule 16.  Acquire: the mark was set before the FIN was sent. */
	bool half = LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_HALF_CLOSE;
	bool gone = LOAD_ACQ(&c->tx.dir->cons_mark) & HUT_MARK_GONE;
	bool shut = conn_peer_shut(c, fd);
	uint32_t bits = HUT_ENDF_FIN;

	if (conn_is_remote(c) && remote_is_cut(c)) {
		saw_error(c, remote_cut_error(c));
		return;
	}
	int late = remote_end_open(c) ? 0 : remote_take_late(c); /* taken from the socket before the end was named */

	if (late) {
		saw_error(c, late);
		return;
	}
	if (remote_end_unknown(c)) {
		if (shut)
			remote_ask_end(c);
		if (!(LOAD(&e->flags) & HUT_ENDF_RDSHUT) && remote_end_open(c)) {
			remote_tcp_ended(c);
			return;
		}
		half = true; /* until we know, see conn_end_named(); our own SHUT_RD is the end for our reads anyway */
	}
	if (!half && shut && peer_died(c))
		bits |= HUT_ENDF_RESET | HUT_ENDF_ERR;
	if (half)
		bits |= HUT_ENDF_HALF;
	if (gone || (!half && shut))
		bits |= HUT_ENDF_PEERGONE;
	if ((LOAD(&e->flags) & bits) == bits)
		return;
	conn_set_flags(e, bits);
	atomic_fetch_add(&c->edges, 1);
}

int conn_queued_by_tcp(struct conn *c, int fd)
{
	int queued = 0;

	if (!raw_begin(c, fd))
		return -1;
	if (REAL(ioctl)(fd, SIOCINQ, &queued))
		queued = -1;
	raw_end(c);
	return queued;
}

/* Asks the kernel about the socket itself. */
void conn_check_socket(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	char byte;
	ssize_t n;

	c->check_ns = now_coarse_ns();
	if (LOAD(&e->flags) & HUT_ENDF_ERR)
		return;
	if (LOAD(&e->flags) & HUT_ENDF_FIN) {
		if (LOAD(&e->flags) & (HUT_ENDF_HALF | HUT_ENDF_RDSHUT))
			check_half_closed(c, fd);
		return;
	}
	/* Before the look at the path: TCP has bytes lawfully until a later round is on the ring. */
	uint32_t round = LOAD_ACQ(&e->rx_round);

	if (LOAD_ACQ(&e->rx_path) != HUT_PATH_RING) {
		check_from_tcp(c, fd);
		return;
	}
	if (!raw_begin(c, fd))
		return;
	n = syscall(SYS_recvfrom, fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL);
	int err = errno;

	raw_end(c);
	if (n < 0 && (err == EAGAIN || err == EINTR))
		return;
	if (n < 0) {
		if (!remote_late_error(c, err))
			saw_error(c, err);
	} else if (n == 0) {
		saw_fin(c, fd);
	} else if (LOAD(&e->rx_end) != HUT_NO_SPLIT || conn_turn_is(&c->rx, round, HUT_TURN_ENDED)) {
		/* Lawful only after the peer has ended its ring, which it says before it sends. */
		conn_rx_ended(c, fd);
		check_from_tcp(c, fd); /* the end of the stream is behind them */
	} else if (lock_rx(e)) {
		/* Not in a round that another thread has brought us to meanwhile. */
		bool wrong = e->rx_round == round && e->rx_path == HUT_PATH_RING && (e->flags & HUT_ENDF_ARMED) &&
			     e->rx_end == HUT_NO_SPLIT && !conn_turn_is(&c->rx, round, HUT_TURN_ENDED);

		unlock_rx(e);
		if (wrong)
			conn_poison(c, fd);
	}
}

/* Between hosts: a FIN that we have seen was taken for a half-close until the agent says what it is. */
void conn_end_named(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint32_t both = HUT_ENDF_FIN | HUT_ENDF_HALF;

	if ((LOAD(&e->flags) & both) == both && !(LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_HALF_CLOSE)) {
		conn_set_flags(e, HUT_ENDF_PEERGONE | (peer_died(c) ? HUT_ENDF_RESET | HUT_ENDF_ERR : 0));
		__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_HALF, __ATOMIC_ACQ_REL);
		atomic_fetch_add(&c->edges, 1);
	}
	conn_check_socket(c, fd);
}

/* ---- room ---- */

/* tx_lock held: the ring has been short of room for so long that a writer may go to the overflow area (rule 9). */
static bool reader_slow(struct conn *c)
{
	uint64_t head = c->end->tx_head, now = now_ns();

	if (!c->full_ns)
		c->full_ns = now;
	if (c->stall_head != head || !c->stall_ns) {
		c->stall_head = head;
		c->stall_ns = now;
	}
	return now - c->stall_ns >= STALL_NS || now - c->full_ns >= SLOW_NS;
}

static uint64_t overflow_room(const struct conn *c)
{
	const struct hut_end *e = c->end;
	uint64_t split = e->tx_split, from = e->tx_head > split ? e->tx_head : split;

	return split == HUT_NO_SPLIT ? c->tx.over_size : c->tx.over_size - (e->tx_tail - from);
}

/* When a writer without room is to look again although nobody rings. */
uint64_t conn_stall_ns(struct conn *c)
{
	uint64_t due;

	if (conn_state(c) != HUT_END_CHANNEL || LOAD(&c->end->tx_path) != HUT_PATH_RING || !c->full_ns)
		return NS_FOREVER;
	/* A peer that has half-closed and is killed does not say so, and with our receiving side shut no event does.  One
	   that nobody reads waits for TCP, but the mark that says so may come and go as the peer likes. */
	if ((LOAD(&c->end->flags) & (HUT_ENDF_HALF | HUT_ENDF_RDSHUT)) || conn_tx_unread(c))
		return now_ns() + HALF_CLOSED_NS / 4;
	/* With the overflow full as well (see ring_out_ready()) there is nothing to look for until the reader rings. */
	if (overflow_room(c) < c->tx.small_size / 2)
		return c->port ? c->stall_ns + OVERFULL_NS : NS_FOREVER;
	due = c->stall_ns + STALL_NS;
	return due < c->full_ns + SLOW_NS ? due : c->full_ns + SLOW_NS;
}

/* tx_lock held: bytes that may be put now; exactly, unless there is room for `enough`. */
ssize_t conn_tx_room(struct conn *c, size_t enough)
{
	struct hut_end *e = c->end;
	uint64_t half = c->tx.small_size / 2, room = c->tx.small_size - (e->tx_tail - e->tx_head);
	ssize_t n;

	/* While there is room by what we know the reader's line, which it writes with each read, is left alone. */
	if (e->tx_split == HUT_NO_SPLIT && room >= (enough < half ? enough : half)) {
		c->full_ns = 0;
		if (room >= half)
			c->stall_ns = 0;
		return (ssize_t)room;
	}
	n = ring_space(&c->tx, e, false);
	if (n >= (ssize_t)half) {
		c->stall_ns = 0;
		c->full_ns = 0;
	} else if (n >= 0) {
		bool slow = reader_slow(c);

		/* Some room is no shortage: a fast stream fills the ring all the time, and shall stay in the cache. */
		if (n > 0)
			c->full_ns = 0;
		else if (slow)
			n = ring_space(&c->tx, e, true);
	}
	return n;
}

/*
 * Granted pages are few, so that the overflow area holds less than TCP would: when it is full, and the reader does not
 * move, the writer goes back to TCP, which may still have room (rule 9).
 */
bool conn_overfull(struct conn *c)
{
	struct hut_end *e = c->end;
	bool full;

	if (LIKELY(!c->full_ns) || LOAD(&e->tx_split) == HUT_NO_SPLIT || !lock_tx(e))
		return false;
	full = e->tx_path == HUT_PATH_RING && c->full_ns && overflow_room(c) < c->tx.small_size / 2 &&
	       LOAD(&c->tx.dir->head) == c->stall_head && now_ns() - c->stall_ns >= OVERFULL_NS;
	unlock_tx(e);
	return full;
}

/* A half-closed peer that takes nothing for long may have been killed: TCP would find out, so TCP it is. */
bool conn_half_closed_stall(const struct conn *c)
{
	uint64_t head = LOAD(&c->tx.dir->head);

	if (head < c->end->tx_start)
		head = c->end->tx_start; /* it has not come to the ring */
	return c->full_ns && head == c->stall_head && now_ns() - c->stall_ns >= HALF_CLOSED_NS;
}

static short ring_out_ready(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	bool enough;
	ssize_t n;

	if (LOAD(&e->flags) & (HUT_ENDF_ERR | HUT_ENDF_WRSHUT))
		return POLLOUT;
	if (!lock_tx(e))
		return 0;
	n = e->tx_path == HUT_PATH_RING ? conn_tx_room(c, c->tx.small_size) : 1 << 30;
	/*
	 * Like TCP, not for a few bytes: a blocking write after this must not wait for a reader that does the same.  Few
	 * in the ring are enough when no more will come, since behind them is the overflow area; few there are not.
	 */
	enough = n >= (ssize_t)(c->tx.small_size / 2) ||
		 (n > 0 && e->tx_split == HUT_NO_SPLIT && reader_slow(c));
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
	ssize_t n;

	if (ring_some(&c->rx, e))
		return READABLE;
	n = ring_avail(&c->rx, e);

	if (UNLIKELY(n < 0)) {
		/* Another thread may have read between the two loads; only under the lock is it the peer who is wrong. */
		if (!lock_rx(e))
			return 0;
		n = e->rx_path == HUT_PATH_RING ? ring_avail(&c->rx, e) : 0;
		unlock_rx(e);
	}
	if (n < 0) {
		conn_poison(c, fd);
		return READABLE;
	}
	return n > 0 || (LOAD(&e->flags) & (HUT_ENDF_FIN | HUT_ENDF_RDSHUT)) ? READABLE : 0;
}

static short state_bits(struct conn *c)
{
	uint32_t f = LOAD(&c->end->flags);
	short got = 0;

	/* To the kernel our own SHUT_RD is the same as the peer's FIN. */
	if (f & (HUT_ENDF_FIN | HUT_ENDF_RDSHUT))
		got |= POLLRDHUP;
	if ((f & (HUT_ENDF_FIN | HUT_ENDF_RDSHUT)) && (f & HUT_ENDF_WRSHUT))
		got |= POLLHUP;
	if (f & HUT_ENDF_ERR)
		got |= READABLE | WRITABLE | POLLRDHUP | POLLHUP;
	if (c->err && (f & HUT_ENDF_ERR))
		got |= POLLERR;
	return got;
}

short conn_ready(struct conn *c, int fd, short want)
{
	struct hut_end *e = c->end;
	struct pollfd p = { .fd = fd, .events = 0 };
	short got = 0;
	bool early;

	if (conn_state(c) != HUT_END_CHANNEL) {
		p.events = want;
		if (raw_begin(c, fd)) {
			got = poll_now(&p, 1) > 0 ? p.revents : 0;
			raw_end(c);
		}
		return got;
	}
	if (UNLIKELY(LOAD(&e->flags) & HUT_ENDF_POISONED))
		return (short)(state_bits(c) & (want | POLLERR | POLLHUP));
	/* After the waits were armed: a round that began meanwhile. */
	if (UNLIKELY(LOAD(&e->rx_path) == HUT_PATH_TCP && conn_rx_due(c)))
		conn_progress_rx(c, fd);
	early = conn_is_remote(c) && remote_early(c, fd);
	/* What the ring cannot tell: at once for who asks for it, else now and then. */
	if (((LOAD(&e->rx_path) == HUT_PATH_RING && !early && !(LOAD(&e->flags) & HUT_ENDF_FIN)) ||
	     UNLIKELY((LOAD(&e->flags) & (HUT_ENDF_RDSHUT | HUT_ENDF_PEERGONE)) == HUT_ENDF_RDSHUT)) &&
	    ((want & POLLRDHUP) || (LOAD(&c->rx.dir->prod_mark) & HUT_MARK_SHUT) ||
	     now_coarse_ns() - c->check_ns >= CHECK_NS))
		conn_check_socket(c, fd);
	if (LOAD(&e->rx_path) == HUT_PATH_RING) {
		if (want & READABLE)
			got |= (short)(ring_in_ready(c, fd) & want);
		if (UNLIKELY(LOAD(&e->rx_end) != HUT_NO_SPLIT))
			p.events |= (short)(want & (POLLRDHUP | POLLPRI));
	} else if (early) {
		/* Where a writer has found the error, the reader may not have got that far. */
		if ((want & READABLE) && (remote_rest(c) || (UNLIKELY(LOAD(&c->late_err) || LOAD(&c->late_told)) && conn_queued_by_tcp(c, fd) > 0)))
			got |= (short)(want & READABLE);
	} else {
		p.events |= (short)(want & (READABLE | POLLPRI | POLLRDHUP));
		if (conn_is_remote(c))
			p.events |= POLLRDHUP; /* an end that may not be the stream's is to be known as such */
		if ((want & READABLE) && (conn_rx_told(c) || (UNLIKELY(LOAD(&e->flags) & HUT_ENDF_STOPPED) && conn_rx_tell(c))))
			got |= (short)(want & READABLE);
	}
	if (LOAD(&e->tx_path) == HUT_PATH_RING && !conn_tx_unread(c)) {
		if ((want & WRITABLE) && ring_out_ready(c, fd))
			got |= (short)(want & WRITABLE);
	} else if (LOAD(&e->tx_path) != HUT_PATH_DRAIN) {
		p.events |= (short)(want & WRITABLE);
	}
	/* Errors and a hang-up are told whatever is asked for. */
	if ((p.events || LOAD(&e->rx_path) != HUT_PATH_RING || LOAD(&e->rx_end) != HUT_NO_SPLIT ||
	     UNLIKELY(LOAD(&e->flags) & HUT_ENDF_FIN)) &&
	    raw_begin(c, fd)) {
		short told = poll_now(&p, 1) > 0 ? p.revents : 0;

		raw_end(c);
		if (early)
			told &= (short)~(POLLRDHUP | POLLHUP | POLLERR);
		if (conn_is_remote(c)) {
			told = remote_hide_end(c, fd, told);
			told &= (short)(want | POLLERR | POLLHUP);
		}
		got |= told;
	}
	got |= (short)(state_bits(c) & (want | POLLERR | POLLHUP));
	return got;
}

/* After the waits were armed: nothing is, or is about to be, in a ring.  A sleep in the kernel sees all that may come. */
bool conn_all_by_tcp(const struct conn *c)
{
	const struct hut_end *e = c->end;

	return LOAD(&e->rx_path) == HUT_PATH_TCP && LOAD(&e->tx_path) == HUT_PATH_TCP && !conn_rx_due(c) &&
	       !conn_rx_told(c) && !c->fin_ns &&
	       !(LOAD(&e->flags) & (HUT_ENDF_POISONED | HUT_ENDF_STOPPED | HUT_ENDF_EARLY | HUT_ENDF_FIN | HUT_ENDF_ERR));
}

/* Between hosts: nor will it be, unless the far agent comes to wish it, since nothing is armed. */
bool conn_stays_on_tcp(const struct conn *c)
{
	return conn_is_remote(c) && conn_state(c) == HUT_END_CHANNEL && conn_all_by_tcp(c) && !(LOAD(&c->end->flags) & HUT_ENDF_ARMED) &&
	       LOAD_ACQ(&c->rx.dir->prod_done) == LOAD(&c->end->rx_round) &&
	       !(LOAD(&c->rx.dir->prod_mark) & (HUT_MARK_WISH | HUT_MARK_CUT | HUT_MARK_END)) && !conn_chaos;
}

/* Between hosts the end of TCP has been seen, and is of no meaning yet. */
static bool early_fin(const struct conn *c)
{
	return conn_is_remote(c) && (LOAD(&c->rx.dir->cons_mark) & HUT_MARK_FIN) && remote_end_open(c);
}

/* What the kernel is to be asked about the socket by a sleeper that wants `want`. */
short conn_sock_events(struct conn *c, short want)
{
	struct hut_end *e = c->end;
	short ev = 0;

	if (conn_state(c) != HUT_END_CHANNEL)
		return want;
	if (UNLIKELY(LOAD(&e->flags) & HUT_ENDF_EARLY)) {
		/* the doorbell tells of what comes */
	} else if (LOAD(&e->rx_path) == HUT_PATH_RING) {
		/* Rule 12: only what tells of the end; and not even that once it is known, or TCP has bytes for later. */
		if (!(LOAD(&e->flags) & HUT_ENDF_FIN) && e->rx_end == HUT_NO_SPLIT)
			ev |= POLLIN | POLLRDHUP;
		else if (e->rx_end != HUT_NO_SPLIT) /* drained by another thread just now: TCP is next */
			ev |= (short)(want & (READABLE | POLLPRI | (early_fin(c) ? 0 : POLLRDHUP)));
	} else {
		ev |= (short)(want & (READABLE | POLLPRI | POLLRDHUP));
		if (early_fin(c))
			ev &= (short)~POLLRDHUP;
	}
	/* The end of TCP's bytes is news for a writer on the ring; not if our own SHUT_RD makes it look so. */
	if ((LOAD(&e->rx_path) != HUT_PATH_RING || e->rx_end != HUT_NO_SPLIT) && LOAD(&e->tx_path) == HUT_PATH_RING &&
	    !(conn_is_remote(c) && (LOAD(&c->rx.dir->cons_mark) & HUT_MARK_FIN)) &&
	    !(LOAD(&e->flags) & (HUT_ENDF_EARLY | HUT_ENDF_PEERGONE | HUT_ENDF_RDHUP | HUT_ENDF_FIN | HUT_ENDF_RDSHUT)))
		ev |= POLLRDHUP;
	if (LOAD(&e->tx_path) != HUT_PATH_RING || conn_tx_unread(c))
		ev |= (short)(want & WRITABLE);
	if (LOAD(&e->tx_path) == HUT_PATH_DRAIN)
		ev |= POLLOUT; /* whoever waits, for whatever, goes on with what is owed */
	return ev;
}

/* The kernel tells of a hang-up whatever is asked: a socket whose end has been seen too early is not asked at all. */
int conn_sock_fd(const struct conn *c, int fd, short events)
{
	return (!events || c->late_err) && UNLIKELY(LOAD(&c->end->flags) & HUT_ENDF_EARLY) ? -1 : fd;
}

void conn_arm_waits(struct conn *c, short want)
{
	if (conn_state(c) != HUT_END_CHANNEL)
		return;
	/* The reader's flag is set whatever is wanted: switches and marks are told by the same bell. */
	STORE(&c->rx.dir->cons_wait, 1);
	if (want & WRITABLE)
		STORE(&c->tx.dir->prod_wait, 1);
	/* Orders the flags before the look at the cursors that must follow; pairs with ring_publish()/ring_take(). */
	FULL_FENCE();
}

