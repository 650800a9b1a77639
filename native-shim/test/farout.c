/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farout.c - outgoing: the agent reads what its program sends, in the words of the real one.
 */
#include "farline.h"

bool out_is_started(const struct outgoing *o)
{
	return o->phase == OUT_STARTED || o->phase == OUT_LIGHT || o->phase == OUT_STOPPED;
}

/* Bytes that may go on the wire end here. */
uint64_t out_end(const struct outgoing *o)
{
	return o->tail < o->limit ? o->tail : o->limit;
}

void out_see_tail(struct far_half *h)
{
	struct outgoing *o = &h->out;
	uint64_t tail = LOAD(&tx(h)->tail);

	if (tail < o->tail || tail - o->head > (uint64_t)far_ring_size + far_over_size)
		far_hostile(h, "a tail", tail, o->tail);
	o->tail = tail;
}

static void out_begin(struct far_half *h)
{
	struct outgoing *o = &h->out;
	uint64_t start;

	/* Either this, or the program has closed already: the bytes are to be taken in both cases. */
	move(tx(h), HUT_TURN(o->round, HUT_TURN_OPEN, 0), HUT_TURN(o->round, HUT_TURN_OPEN, 1));
	start = LOAD(&tx(h)->start);
	if (start < o->tail)
		far_hostile(h, "a start", start, o->tail);
	o->start = o->head = o->tail = start;
	o->limit = NEVER;
	STORE(&tx(h)->head, start);
	out_see_tail(h);
	o->started = o->round;
	h->changed = true;
}

void out_leave_wire(struct far_half *h)
{
	struct outgoing *o = &h->out;

	if (out_is_started(o) && o->phase != OUT_STOPPED && !o->ended && o->leave != o->round) {
		o->leave = o->round;
		h->changed = true;
	}
}

/* Can anybody write still?  If not, what is in the ring now is all. */
void out_check_end(struct far_half *h)
{
	struct outgoing *o = &h->out;

	if (o->ended || far_holding(h) == OPEN)
		return;
	o->ended = true;
	/* It may have started just before it closed, or have been stopped in that moment. */
	if ((o->phase == OUT_ARMED || o->phase == OUT_STOPPED) && o->started != o->round &&
	    LOAD(&tx(h)->prod_round) == o->round) {
		out_begin(h);
		o->phase = OUT_STARTED;
	}
	/* A round that the program has ended is over for it at once, but its bytes are in the ring. */
	if (o->round && o->started == o->round &&
	    (turn_is(tx(h), o->round, HUT_TURN_ENDED) || LOAD(&tx(h)->prod_done) != o->round)) {
		o->limit = NEVER; /* also what it owed to TCP */
		out_see_tail(h);
		o->routed = o->flow;
		o->end = o->tail;
	}
	h->changed = true;
}

/* The far program has armed: ours may go to the ring. */
static void out_arm(struct far_half *h)
{
	struct outgoing *o = &h->out;

	if (o->phase != OUT_TCP || o->ended || !o->heard || o->peer.armed != next_round(o->round))
		return;
	o->round = next_round(o->round);
	o->phase = OUT_ARMED;
	STORE(&tx(h)->turn, HUT_TURN(o->round, HUT_TURN_OPEN, 0));
	STORE(&tx(h)->cons_round, o->round);
	out_look(h);
}

static void out_over(struct far_half *h)
{
	struct outgoing *o = &h->out;

	o->done = o->round;
	o->flow = o->routed = false;
	o->phase = OUT_TCP;
	h->changed = true;
	out_arm(h);
}

void out_look(struct far_half *h)
{
	struct outgoing *o = &h->out;
	uint32_t said;

	STORE(&tx(h)->cons_wait, 1);
	FENCE(); /* the flag before the look; pairs with the program's (rule 13) */
	if (o->phase == OUT_ARMED && LOAD(&tx(h)->prod_round) == o->round) {
		out_begin(h);
		o->phase = OUT_STARTED;
	}
	if (o->started == o->round && out_is_started(o))
		out_see_tail(h);
	if (o->phase == OUT_STOPPED && LOAD(&tx(h)->prod_done) == o->round)
		out_over(h);
	said = LOAD(&tx(h)->prod_mark);
	if (said & HUT_MARK_BACK)
		out_leave_wire(h);
	said &= HUT_MARK_SHUT | HUT_MARK_HALF_CLOSE;
	if (said != o->marks) {
		o->marks = said;
		h->changed = true;
	}
	if (said & HUT_MARK_SHUT)
		out_check_end(h);
}

/* The far program takes nothing at or after `at`: ours is stopped there (rule 7). */
static void out_stop(struct far_half *h, uint64_t at)
{
	struct outgoing *o = &h->out;
	uint64_t turn = LOAD(&tx(h)->turn);

	if (o->agreed == o->round || o->ended)
		return; /* it has closed: all of it is delivered, whatever the reader has said */
	if (at < o->start)
		at = o->start;
	if (HUT_TURN_STATE(turn) == HUT_STATE(o->round, HUT_TURN_OPEN))
		move(tx(h), turn, HUT_TURN(o->round, HUT_TURN_STOPPED, at));
	if (!turn_is(tx(h), o->round, HUT_TURN_STOPPED) && !turn_is(tx(h), o->round, HUT_TURN_OWED))
		return; /* the same */
	o->limit = at;
	o->agreed = o->round;
	o->phase = OUT_STOPPED;
	o->pay_ns = PAY_NS;
	o->pay_at = far_now + PAY_NS;
	o->routed = false;
	h->rang = h->changed = true;
}

/* The far program has consumed so much: the room is ours again. */
void out_consumed(struct far_half *h, uint64_t at)
{
	struct outgoing *o = &h->out;
	struct hut_dir *d = tx(h);
	uint64_t left;

	if (at <= o->head)
		return;
	o->head = at < o->tail ? at : o->tail;
	STORE(&d->head, o->head);
	FENCE(); /* our cursor before the look at the flag (rule 13) */
	if (!LOAD(&d->prod_wait))
		return;
	left = LOAD(&d->tail) - o->head;
	if (left <= (LOAD(&d->split) == HUT_NO_SPLIT ? far_ring_size : far_over_size) / 2 &&
	    __atomic_exchange_n(&d->prod_wait, 0, __ATOMIC_ACQ_REL))
		ring(h);
}

void out_on_peer(struct far_half *h, const struct receiving *r)
{
	struct outgoing *o = &h->out;

	o->peer = *r;
	o->heard = true;
	if (r->marks)
		add_marks(h, &tx(h)->cons_mark, r->marks);
	out_arm(h);
	if (r->opened == o->round && !o->flow && o->started == o->round && out_is_started(o)) {
		o->flow = o->routed = true;
		if (o->phase == OUT_STARTED)
			o->phase = OUT_LIGHT;
	}
	if (o->round && r->stopped == o->round && o->phase != OUT_TCP)
		out_stop(h, r->stopped_at);
	if (o->started == o->round && out_is_started(o) && r->armed == o->round)
		out_consumed(h, r->consumed);
	if (r->ask)
		out_check_end(h);
	if (r->told && o->ended && !o->delivered)
		o->delivered = h->changed = true;
}
