/* SPDX-License-Identifier: Apache-2.0 */
/* stop.c - each direction's way back to TCP (rules 7 and 8), what is owed then, and the reset of a broken connection. */
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"

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
		e->tx_head += sent - e->tcp_out;
		e->tcp_out = sent;
		if (e->tx_head > e->tx_tail)
			e->tx_head = e->tx_tail;
	}
	__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_PAYER, __ATOMIC_ACQ_REL);
	return true;
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
		if (!raw_begin(c, fd))
			return false;
		sent = syscall(SYS_sendmsg, fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		int err = errno;

		raw_end(c);
		if (sent <= 0)
			return sent < 0 && err != EAGAIN && err != EINTR;
		e->tx_head += (uint64_t)sent;
		e->tcp_out += (uint64_t)sent;
	}
	/* Release: the next round may be armed, and nobody needs the ring's bytes any more. */
	STORE_REL(&c->tx.dir->prod_done, e->tx_round);
	if (conn_is_remote(c))
		conn_ring_peer(c);
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
static void stop_tx(struct conn *c, int fd, bool closing)
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
	stop_tx(c, fd, true);
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
	stop_tx(c, fd, false);
	conn_ring_peer(c);
}

/* ---- the consumer ---- */

/* rx_lock held: the round is drained, up to the writer's end or our own stop. */
void conn_rx_leave(struct conn *c)
{
	__atomic_fetch_and(&c->end->flags, ~(uint32_t)HUT_ENDF_ARMED, __ATOMIC_ACQ_REL);
	STORE(&c->end->rx_path, HUT_PATH_TCP);
	conn_changed(c);
}

/* The peer's tail, if it is one that can be: not before `from`, and no more than the areas hold. */
static bool tail_from(const struct conn *c, uint64_t from, uint64_t *tail)
{
	*tail = LOAD_ACQ(&c->rx.dir->tail);
	return *tail >= from && *tail - from <= (uint64_t)c->rx.small_size + c->rx.over_size;
}

/* The peer's writer ends its ring at `end`: we drain it and go on with TCP. */
void conn_rx_ended(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint64_t turn, end, tail;

	if (!lock_rx(e))
		return;
	turn = conn_turn(&c->rx);
	if ((e->rx_path == HUT_PATH_RING || e->rx_path == HUT_PATH_SWITCH) && e->rx_end == HUT_NO_SPLIT &&
	    HUT_TURN_STATE(turn) == HUT_STATE(e->rx_round, HUT_TURN_ENDED)) {
		end = conn_turn_offset(turn, e->rx_head);
		if (!tail_from(c, e->rx_head, &tail) || end < e->rx_head || end > tail) {
			unlock_rx(e);
			conn_poison(c, fd);
			return;
		}
		e->rx_end = end;
		STORE(&e->reason, HUT_R_PEER_STOP);
	}
	/* Also before S, where nothing was put into the ring: a peek would not see that TCP goes on. */
	if (e->rx_path != HUT_PATH_TCP && e->rx_head == e->rx_end)
		conn_rx_leave(c);
	unlock_rx(e);
}

/* The ring's bytes are next, or only such that the kernel has come before them. */
static bool all_there(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	int queued = 0;

	if (e->rx_path != HUT_PATH_SWITCH || !raw_begin(c, fd))
		return e->rx_path == HUT_PATH_RING;
	REAL(ioctl)(fd, SIOCINQ, &queued);
	raw_end(c);
	return e->rx_head <= e->tcp_in + e->ring_in + (uint64_t)queued; /* more: the writer is sending them again */
}

/*
 * Where we stop, if we have taken all before `at`.  Between hosts an agent accepts the stop before the writer knows of it,
 * and the writer sends what it owes when it makes a call again: what has come already is not given back, unless the
 * descriptor goes, or may go, where the ring cannot be read.
 */
static uint64_t stop_at(const struct conn *c, uint64_t at, uint32_t reason)
{
	uint64_t tail;

	if (!conn_is_remote(c) || LOAD(&c->end->rx_path) == HUT_PATH_TCP || reason == HUT_R_SHARED ||
	    (LOAD(&c->rx.dir->cons_mark) & HUT_MARK_LEFT) || !tail_from(c, at, &tail))
		return at;
	return tail;
}

static void stop_rx(struct conn *c, int fd, uint32_t reason)
{
	struct hut_end *e = c->end;
	uint64_t at, end, turn, tail;

	if (!lock_rx(e))
		return;
	if ((e->flags & HUT_ENDF_ARMED) && e->rx_end == HUT_NO_SPLIT) {
		/* Before the reader has come to S this says: nothing was taken. */
		at = e->rx_path == HUT_PATH_TCP ? e->tcp_in + e->ring_in : e->rx_head;
		turn = conn_turn(&c->rx);
		end = stop_at(c, at, reason);
		if (HUT_TURN_STATE(turn) != HUT_STATE(e->rx_round, HUT_TURN_OPEN) ||
		    !conn_move(&c->rx, turn, HUT_TURN(e->rx_round, HUT_TURN_STOPPED, end))) {
			/* the writer has gone back itself */
		} else if (end > at) {
			conn_set_flags(e, HUT_ENDF_STOPPED);
			STORE(&e->rx_end, end); /* drained as after an end of the writer's */
		} else {
			conn_set_flags(e, HUT_ENDF_STOPPED);
			__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_ARMED, __ATOMIC_ACQ_REL);
			/* Acquire, in tail_from(): what the writer puts from now on it takes back itself. */
			if (all_there(c, fd) && tail_from(c, at, &tail))
				STORE(&c->told, tail);
			STORE(&e->rx_path, HUT_PATH_TCP);
		}
	}
	unlock_rx(e);
}

/* rx_lock held: the next bytes, of a stopped round, are to be taken from the ring after all, up to `end`. */
static void take_on(struct conn *c, uint64_t at, uint64_t end)
{
	struct hut_end *e = c->end;

	e->rx_head = at;
	e->rx_end = end;
	conn_rx_on(c, HUT_PATH_RING);
}

/*
 * We have stopped, the writer has not accepted it, and TCP has nothing more before the bytes that are in the ring: how
 * many there are.  The writer looks at `turn` after it has published, and we look at `tail` after we have moved `turn`;
 * full fences on both sides make one of us see the other.
 */
static size_t unclaimed(const struct conn *c, uint64_t at, uint64_t *turn)
{
	const struct hut_end *e = c->end;
	const struct hut_dir *d = c->rx.dir;
	uint64_t tail;

	*turn = conn_turn(&c->rx);
	if (conn_is_remote(c) && LOAD(&e->rx_path) == HUT_PATH_RING && LOAD(&e->rx_end) != HUT_NO_SPLIT)
		return LOAD(&e->rx_end) > LOAD(&e->rx_head) ? LOAD(&e->rx_end) - LOAD(&e->rx_head) : 0; /* see stop_at() */
	if (LOAD(&e->rx_path) != HUT_PATH_TCP || !(LOAD(&e->flags) & HUT_ENDF_STOPPED) ||
	    HUT_TURN_STATE(*turn) != HUT_STATE(LOAD(&e->rx_round), HUT_TURN_STOPPED) ||
	    LOAD_ACQ(&d->prod_round) != LOAD(&e->rx_round) || at < LOAD(&d->start) || !tail_from(c, at, &tail))
		return 0;
	return tail - at;
}

size_t conn_rx_unclaimed(const struct conn *c)
{
	uint64_t turn;

	return unclaimed(c, LOAD(&c->end->tcp_in) + LOAD(&c->end->ring_in), &turn);
}

/* The same for a program that is going to hear of them. */
size_t conn_rx_tell(struct conn *c)
{
	uint64_t at = LOAD(&c->end->tcp_in) + LOAD(&c->end->ring_in), turn;
	size_t n = unclaimed(c, at, &turn);

	if (n && at + n > LOAD(&c->told))
		STORE(&c->told, at + n);
	return n;
}

/*
 * The program may know of bytes, by a readiness report or a peek, that were in the ring then, and the writer may have
 * taken them back since: it sends them by TCP in the same breath.  Until they are there they count as readable.
 */
size_t conn_rx_told(const struct conn *c)
{
	uint64_t at = LOAD(&c->end->tcp_in) + LOAD(&c->end->ring_in), told = LOAD(&c->told);

	return LOAD(&c->end->rx_path) != HUT_PATH_RING && told > at ? told - at : 0;
}

/*
 * rx_lock held: takes `want` of them, by raising the offset as far as this read goes and no further, so that whoever
 * leaves finds nothing left over.  False: the writer was quicker, they come by TCP.
 */
bool conn_rx_claim(struct conn *c, size_t want)
{
	struct hut_end *e = c->end;
	uint64_t turn, at = e->tcp_in + e->ring_in;
	size_t n = unclaimed(c, at, &turn);

	if (n > want)
		n = want;
	if (!n || !conn_move(&c->rx, turn, HUT_TURN(e->rx_round, HUT_TURN_STOPPED, at + n)))
		return false;
	take_on(c, at, at + n);
	return true;
}

/* rx_lock held: the ring's bytes from `at` on are next, if there are any. */
bool conn_rx_rest(struct conn *c, uint64_t at, uint64_t *tail)
{
	if (!tail_from(c, at, tail) || *tail == at)
		return false;
	take_on(c, at, *tail);
	return true;
}

/*
 * rx_lock held.  TCP has come to its end while we read from it: by end of file, or by an error that `c->err` keeps.
 * The ring may hold bytes that come before that end: of a round that we had not noticed yet, or of one that we have
 * stopped and whose writer went away before it had sent the rest by TCP.  True: look again.
 */
bool conn_end_of_tcp(struct conn *c)
{
	struct hut_end *e = c->end;
	struct hut_dir *d = c->rx.dir;
	uint64_t at = e->tcp_in + e->ring_in, tail;

	if (!c->seg || !e->rx_round || LOAD_ACQ(&d->prod_round) != e->rx_round)
		return false;
	if (e->flags & HUT_ENDF_ARMED)
		return e->rx_path == HUT_PATH_TCP; /* conn_start_rx() has not been called yet */
	if (!(e->flags & HUT_ENDF_STOPPED) || LOAD_ACQ(&d->prod_done) == e->rx_round || at < LOAD(&d->start) ||
	    !conn_rx_rest(c, at, &tail))
		return false;
	return true;
}

/* ---- both ---- */

static void stop(struct conn *c, int fd, uint32_t reason)
{
	hut_log("fd %d: STOP, reason %u", fd, reason);
	stop_rx(c, fd, reason);
	stop_tx(c, fd, false);
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

/* An impossible cursor, or bytes where none may be: the connection is reset, never guessed at (decision 8). */
void conn_poison_by(struct conn *c, int fd, const char *who)
{
	/* Disconnecting sends a reset, drops what is queued, and leaves the socket as a reset from the peer would. */
	const struct sockaddr none = { .sa_family = AF_UNSPEC };

	conn_mark_never(c, HUT_R_POISONED);
	hut_log("fd %d: reset, found wrong by %s", fd, who);
	c->err = ECONNRESET;
	conn_set_flags(c->end, HUT_ENDF_POISONED | HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	__atomic_fetch_and(&c->end->flags, ~(uint32_t)(HUT_ENDF_ARMED | HUT_ENDF_STOPPED), __ATOMIC_ACQ_REL);
	STORE(&c->end->rx_path, HUT_PATH_TCP);
	STORE(&c->end->tx_path, HUT_PATH_TCP);
	c->shut_due = false;
	if (raw_begin(c, fd)) {
		syscall(SYS_connect, fd, &none, sizeof(none));
		raw_end(c);
	}
	conn_changed(c);
	conn_ring_peer(c);
	control_gone(c, HUT_R_POISONED);
}
