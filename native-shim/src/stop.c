/* SPDX-License-Identifier: Apache-2.0 */
/* stop.c - both directions back to TCP, for a while or for good (rule 8), and the reset of a broken connection. */
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"

static void stop(struct conn *c, int fd, uint32_t reason)
{
	hut_log("fd %d: STOP, reason %u", fd, reason);
	c->stop_ns = now_coarse_ns();
	conn_stop_rx(c, fd, reason);
	conn_stop_tx(c, fd, false);
	STORE(&c->end->reason, reason);
	conn_changed(c);
	conn_ring_peer(c);
	epset_activity(c);
}

/* Takes both directions back to TCP for good; any process that holds the end may do it (rules 8 and 18). */
void conn_stop(struct conn *c, int fd, uint32_t reason)
{
	if (conn_state(c) != HUT_END_CHANNEL)
		return;
	conn_mark_never(c, reason);
	stop(c, fd, reason);
	if (!conn_is_owner(c))
		conn_wake_self(c);
}

/* The same before a wait of which we may see nothing: nobody would notice later that the agent lets the writer go. */
void conn_stop_here(struct conn *c, int fd, uint32_t reason)
{
	conn_stop(c, fd, reason);
	if (conn_is_remote(c))
		conn_settle_debt(c, fd);
}

/* Takes both directions back to TCP until conn_resume(). */
void conn_pause(struct conn *c, int fd, uint32_t reason)
{
	conn_set_flags(c->end, HUT_ENDF_PAUSED);
	stop(c, fd, reason);
}

void conn_resume(struct conn *c)
{
	STORE(&c->end->reason, HUT_R_NONE);
	__atomic_fetch_and(&c->end->flags, ~(uint32_t)HUT_ENDF_PAUSED, __ATOMIC_ACQ_REL);
}

/* Takes both directions back for somebody who will read without knowing of the ring (rule 8). */
void conn_leave(struct conn *c, int fd, uint32_t reason)
{
	struct hut_end *e = c->end;
	struct hut_dir *d;
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (conn_state(c) != HUT_END_CHANNEL)
		return;
	d = c->rx.dir;
	if (conn_is_remote(c)) /* before any stop, see stop_at() */
		__atomic_fetch_or(&d->cons_mark, HUT_MARK_LEFT, __ATOMIC_SEQ_CST);
	if (!conn_progress(c, fd))
		return; /* plain TCP, with nothing left anywhere */
	conn_mark_never(c, reason);
	__atomic_fetch_or(&d->cons_mark, HUT_MARK_LEFT, __ATOMIC_SEQ_CST);
	stop(c, fd, reason);
	FULL_FENCE(); /* LEFT and the stop before the look at SHUT; pairs with conn_before_fin() */
	if (!conn_is_owner(c))
		conn_wake_self(c);
	conn_settle_debt(c, fd);
	/* A round that the writer ended, or made void, before we could stop it: what it left is for us to look at. */
	conn_progress_rx(c, fd);
	/*
	 * Bytes that nobody will send by TCP: the writer has ended the ring and gone on, or has shut its side.  A reader
	 * without the ring would see a gap, or a clean end too early: better an error.
	 */
	bool left = false;

	if (lock_rx(e)) { /* also before we have come to S */
		left = e->rx_path != HUT_PATH_TCP && ring_avail(&c->rx, e) != 0;
		unlock_rx(e);
	}
	if (!left && (LOAD(&e->flags) & HUT_ENDF_STOPPED) && LOAD(&d->prod_round) == e->rx_round)
		left = ((LOAD(&d->prod_mark) & HUT_MARK_SHUT) || poll_now(&p, 1) > 0) &&
		       LOAD_ACQ(&d->prod_done) != e->rx_round && LOAD(&d->tail) > e->tcp_in + e->ring_in;
	if (!left && conn_is_remote(c))
		left = !remote_leave_agreed(c);
	if (left)
		conn_poison(c, fd);
	/* What others read from now on is not counted: nothing may be fetched from the ring any more. */
	__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_STOPPED, __ATOMIC_ACQ_REL);
	STORE(&c->told, 0); /* what they know of is what TCP has */
}

/* Before a call that hands the descriptor to something that the shim cannot follow. */
void conn_never(int fd, uint32_t reason)
{
	struct conn *c = conn_get(fd);

	if (!c)
		return;
	if (conn_state(c) == HUT_END_CHANNEL) {
		conn_leave(c, fd, reason);
		conn_progress(c, fd); /* plain at once, where that can be: the next call may be one for the kernel alone */
	} else {
		uint32_t was = HUT_END_FREE;

		if (c->end) {
			STORE(&c->end->reason, reason);
			was = __atomic_exchange_n(&c->end->state, HUT_END_TCP, __ATOMIC_ACQ_REL);
		}
		conn_forget(c); /* first: whoever is just offering it looks for that afterwards */
		/* A channel: the agent's answer has come since we looked; nothing has moved to it yet. */
		if ((was == HUT_END_PENDING || was == HUT_END_CHANNEL) && conn_is_owner(c))
			control_gone(c, reason);
	}
	conn_put(c);
}

/*
 * Before a call of the kernel's that only sends, or one that is about events: our own calls go on reading, and find what is
 * in the ring, so that nobody has to wait for its writer.
 */
void conn_send_past(int fd, uint32_t reason)
{
	struct conn *c = conn_get(fd);

	if (c && conn_state(c) == HUT_END_CHANNEL) {
		conn_stop(c, fd, reason);
		conn_settle_debt(c, fd);
		conn_progress(c, fd);
	} else if (c) {
		conn_never(fd, reason);
	}
	if (c)
		conn_put(c);
}

/* Disconnecting sends a reset, drops what is queued, and leaves the socket as a reset from the peer would. */
void conn_cut(struct conn *c, int fd)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };

	if (!raw_begin(c, fd))
		return;
	/* Some kernels refuse while another thread sleeps on it: that ends the sleep. */
	if (syscall(SYS_connect, fd, &none, sizeof(none)) && errno == EBUSY)
		REAL(shutdown)(fd, SHUT_RDWR);
	raw_end(c);
}

/* An impossible cursor, or bytes where none may be: the connection is reset, never guessed at (decision 8). */
void conn_poison_by(struct conn *c, int fd, const char *who)
{
	conn_mark_never(c, HUT_R_POISONED);
	hut_log("fd %d: reset, found wrong by %s", fd, who);
	c->err = remote_cut_error(c);
	conn_set_flags(c->end, HUT_ENDF_POISONED | HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	__atomic_fetch_and(&c->end->flags, ~(uint32_t)(HUT_ENDF_ARMED | HUT_ENDF_STOPPED), __ATOMIC_ACQ_REL);
	STORE(&c->end->rx_path, HUT_PATH_TCP);
	STORE(&c->end->tx_path, HUT_PATH_TCP);
	c->shut_due = false;
	conn_cut(c, fd);
	conn_changed(c);
	conn_ring_peer(c);
	xen_let_go(c);
	control_gone(c, HUT_R_POISONED);
}
