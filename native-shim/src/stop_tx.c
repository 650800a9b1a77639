/* SPDX-License-Identifier: Apache-2.0 */
/* stop_tx.c - the producer's way back to TCP, and what it owes then (rule 7). */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"
#include "io.h"

#define DEBT_PATIENCE_NS (10000 * NS_PER_MS)

bool conn_move(struct ring *r, uint64_t from, uint64_t to)
{
	/* Release: the bytes and cursors before the decision.  Also a full fence, see conn_rx_unclaimed(). */
	return __atomic_compare_exchange_n(&r->dir->turn, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

/* ---- the producer ---- */

/* tx_lock held: [from, tail) has to go by TCP. */
static void owe(struct conn *c, uint64_t from)
{
	struct hut_end *e = c->end;

	e->tx_head = from;
	e->ring_out -= e->tx_tail - from;
	STORE(&e->tx_path, HUT_PATH_DRAIN);
	conn_changed(c);
	hut_log("fd %u: goes back to TCP at %llu, %llu owed", e->fd, (unsigned long long)from,
		(unsigned long long)(e->tx_tail - from));
}

static bool owed_by_agent(const struct conn *c, uint64_t turn)
{
	return conn_is_remote(c) && HUT_TURN_STATE(turn) == HUT_STATE(c->end->tx_round, HUT_TURN_OWED);
}

/* The peer's reader has stopped: we accept the offset, and what it did not take goes by TCP. */
void conn_tx_stopped(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint64_t turn, stop;

	if (!lock_tx(e))
		return;
	turn = conn_turn(&c->tx);
	/* The reader may raise the offset until we have accepted it; an agent that did so for us may have died over it. */
	while (e->tx_path == HUT_PATH_RING &&
	       (HUT_TURN_STATE(turn) == HUT_STATE(e->tx_round, HUT_TURN_STOPPED) || owed_by_agent(c, turn))) {
		if (!conn_move(&c->tx, turn, HUT_TURN(e->tx_round, HUT_TURN_OWED, turn))) {
			turn = conn_turn(&c->tx);
			continue;
		}
		stop = conn_turn_offset(turn, e->tx_tail);
		if (stop < e->tx_start)
			stop = e->tx_start;
		if (stop < e->tx_head || stop > e->tx_tail) {
			unlock_tx(e);
			conn_poison(c, fd);
			return;
		}
		STORE(&e->reason, HUT_R_PEER_STOP);
		if (owed_by_agent(c, turn))
			e->ring_out = e->tx_tail - LOAD(&e->tcp_out); /* as it was: that agent may have taken it off already */
		owe(c, stop);
		if (conn_is_remote(c))
			remote_is_back(c);
	}
	unlock_tx(e);
	if (!conn_flush_debt(c, fd))
		epset_activity(c);
}

/*
 * tx_lock held.  The agent was paying for us and has died before it wrote down how much it had sent: the kernel knows.
 * False: not just now.
 */
static bool recount(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	struct tcp_info ti;
	uint64_t sent;

	if (LIKELY(!(LOAD(&e->flags) & HUT_ENDF_PAYER)))
		return true;
	if (!conn_sent_by_tcp(c, fd, &ti, &sent))
		return false;
	if (ti.tcpi_state == TCP_IS_ESTABLISHED || ti.tcpi_state == TCP_IS_CLOSE_WAIT) { /* others carry nothing more */
		/* From the sum, which an agent that died between two stores has not changed. */
		e->tx_head = sent + e->ring_out;
		STORE(&e->tcp_out, sent);
		if (e->tx_head > e->tx_tail)
			e->tx_head = e->tx_tail;
	}
	__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_PAYER, __ATOMIC_ACQ_REL);
	return true;
}

/* tx_lock held: nothing of the present round is in the ring, or will be. */
void conn_tx_done(struct conn *c)
{
	/* Release: the next round may be armed, and nobody needs the ring's bytes any more. */
	STORE_REL(&c->tx.dir->prod_done, c->end->tx_round);
	if (conn_is_remote(c) || c->port) /* an agent; or a program that may make no call, and is to let go of the pages */
		conn_ring_peer(c);
}

/* tx_lock held.  False: TCP takes no more at present.  A broken connection owes nothing that TCP could carry. */
static bool pay(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint8_t buf[2048]; /* the stack may be small */

	if (!recount(c, fd))
		return false;
	while (e->tx_head < e->tx_tail) {
		size_t n = e->tx_tail - e->tx_head;
		struct hut_end cursor = { .rx_head = e->tx_head };
		struct iovec iov = { buf, n < sizeof(buf) ? n : sizeof(buf) };
		struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t sent;

		/* Our own ring and our own split: the peer may spoil the copy, which only spoils its own bytes. */
		ring_peek(&c->tx, &cursor, 0, buf, iov.iov_len);
		if (UNLIKELY(c->port) && xen_pages_gone(c))
			conn_cut(c, fd); /* or the peer would take what is read there for the stream */
		if (!raw_begin(c, fd))
			return false;
		sent = syscall(SYS_sendmsg, fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		int err = errno;

		raw_end(c);
		if (sent <= 0 && (sent == 0 || err == EAGAIN || err == EINTR))
			return false;
		if (sent < 0) {
			/*
			 * Taken from the socket: whoever calls next is to hear of it.  But not of EPIPE: that came
			 * behind the peer's FIN, where a reader finds the end, and a writer hears of it by itself.
			 */
			if (err != EPIPE && !remote_late_error(c, err))
				io_put_back(c, err);
			return true;
		}
		e->tx_head += (uint64_t)sent;
		e->tcp_out += (uint64_t)sent;
	}
	conn_tx_done(c);
	return true;
}

/* Sends [tx_head, tx_tail) on TCP, as far as it goes without waiting. */
bool conn_flush_debt(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	bool done;

	if (LOAD(&e->tx_path) != HUT_PATH_DRAIN)
		return true;
	if (!lock_tx(e))
		return false;
	done = e->tx_path != HUT_PATH_DRAIN || pay(c, fd);
	if (done && e->tx_path == HUT_PATH_DRAIN) {
		STORE(&e->tx_path, HUT_PATH_TCP);
		if (c->shut_due && raw_begin(c, fd)) {
			c->shut_due = false;
			REAL(shutdown)(fd, SHUT_WR);
			raw_end(c);
		}
		conn_changed(c);
	}
	unlock_tx(e);
	if (done)
		epset_activity(c);
	return done;
}

/* Between hosts a writer that goes back waits for its agent's word first. */
static bool settled(struct conn *c, int fd)
{
	if (conn_is_remote(c) && LOAD(&c->end->tx_path) == HUT_PATH_RING) {
		conn_tx_stopped(c, fd);
		if (LOAD(&c->end->tx_path) == HUT_PATH_RING)
			return false;
	}
	return conn_flush_debt(c, fd);
}

/*
 * Before the descriptor leaves us: TCP must have what is owed.  Waits as long as TCP takes something now and then; a
 * connection that gets stuck is reset, since a clean end would hide that bytes are missing.
 */
void conn_settle_debt(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint64_t head = LOAD(&e->tx_head), until = now_ns() + DEBT_PATIENCE_NS;

	while (!settled(c, fd)) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		bool asked = LOAD(&e->tx_path) == HUT_PATH_RING;
		uint64_t now = now_ns();

		if (LOAD(&e->tx_head) != head) {
			head = LOAD(&e->tx_head);
			until = now + DEBT_PATIENCE_NS;
		} else if (now >= until) {
			conn_poison(c, fd);
			return;
		}
		syscall(SYS_ppoll, &p, asked ? 0 : 1, &(struct timespec){ 0, (asked ? 1 : 100) * NS_PER_MS }, NULL, 0);
	}
}

/* tx_lock held, tx_path is RING: all that we have put is for the reader to take, nothing follows in this round. */
static bool end_round(struct conn *c, bool closing)
{
	struct hut_end *e = c->end;
	uint64_t ended = HUT_TURN(e->tx_round, HUT_TURN_ENDED, e->tx_tail);

	if (!conn_move(&c->tx, HUT_TURN(e->tx_round, HUT_TURN_OPEN, 1), ended) &&
	    !(closing && conn_move(&c->tx, HUT_TURN(e->tx_round, HUT_TURN_OPEN, 0), ended)))
		return false;
	STORE_REL(&c->tx.dir->prod_done, e->tx_round);
	STORE(&e->tx_path, HUT_PATH_TCP);
	conn_changed(c);
	return true;
}

/* `closing`: TCP carries nothing after this. */
void conn_stop_tx(struct conn *c, int fd, bool closing)
{
	struct hut_end *e = c->end;

	if (!closing && conn_is_remote(c)) {
		if (LOAD(&e->tx_path) == HUT_PATH_RING)
			remote_ask_back(c);
		conn_tx_stopped(c, fd);
		return;
	}
	if (!lock_tx(e))
		return;
	if (e->tx_path == HUT_PATH_RING && !end_round(c, closing) &&
	    conn_move(&c->tx, HUT_TURN(e->tx_round, HUT_TURN_OPEN, 0),
		      HUT_TURN(e->tx_round, HUT_TURN_OWED, e->tx_start)) &&
	    e->tx_head == e->tx_start) /* not so: taken without taking the round up, and overwritten since */
		owe(c, e->tx_start);
	/* The reader may have taken the round up just now. */
	if (e->tx_path == HUT_PATH_RING)
		end_round(c, closing);
	bool wrong = e->tx_path == HUT_PATH_RING && !conn_turn_is(&c->tx, e->tx_round, HUT_TURN_STOPPED);

	unlock_tx(e);
	if (wrong) { /* a turn that no reader could have made, and no way back to TCP */
		conn_poison(c, fd);
		return;
	}
	conn_tx_stopped(c, fd); /* or it was the reader who stopped */
}

/*
 * Before the FIN.  What is in the ring stays there for the reader, also what we owe to a reader that has stopped: it
 * finds it when TCP ends.  Only a reader that has left must get it by TCP.  True: the FIN may go out now.
 */
bool conn_before_fin(struct conn *c, int fd, bool closing)
{
	struct hut_end *e = c->end;

	conn_progress(c, fd);
	if (conn_state(c) != HUT_END_CHANNEL)
		return true;
	conn_stop_tx(c, fd, true);
	__atomic_fetch_or(&c->tx.dir->prod_mark, HUT_MARK_SHUT, __ATOMIC_SEQ_CST);
	if (conn_is_remote(c))
		conn_ring_peer(c); /* its agent carries what is left, and says where the end is */
	FULL_FENCE(); /* SHUT before the look at LEFT; pairs with conn_leave() */
	if (LOAD(&e->tx_path) != HUT_PATH_DRAIN || !(LOAD_ACQ(&c->tx.dir->cons_mark) & HUT_MARK_LEFT))
		return true;
	if (closing)
		conn_settle_debt(c, fd);
	return closing || conn_flush_debt(c, fd);
}

/* The writer alone goes back: the peer may have gone, and TCP will tell. */
void conn_end_tx(struct conn *c, int fd)
{
	hut_log("fd %d: sends on TCP again", fd);
	conn_stop_tx(c, fd, false);
	conn_ring_peer(c);
}
