/* SPDX-License-Identifier: Apache-2.0 */
/* stop_rx.c - the consumer's way back to TCP, and what it still takes from the ring then (rule 7). */
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "real.h"
#include "conn.h"

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

void conn_stop_rx(struct conn *c, int fd, uint32_t reason)
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
