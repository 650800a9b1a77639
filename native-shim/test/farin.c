/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farin.c - incoming: the agent writes what its program receives, in the words of the real one.
 */
#include "farline.h"

uint64_t in_consumed(struct far_half *h)
{
	struct incoming *i = &h->in;
	uint64_t head = LOAD(&rx(h)->head);

	if (head > i->tail)
		far_hostile(h, "a head", head, i->tail);
	else if (head > i->head) /* below S while the program has not come to this round */
		i->head = head;
	return i->head;
}

static void in_announce(struct far_half *h, uint64_t start)
{
	struct incoming *i = &h->in;
	struct hut_dir *d = rx(h);

	if (start < i->tail)
		far_hostile(h, "a far start", start, i->tail);
	i->start = i->head = i->tail = i->acked = start;
	i->ack_due = NEVER;
	i->announced = true;
	STORE(&d->split, HUT_NO_SPLIT);
	STORE(&d->start, start);
	STORE(&d->tail, start);
	STORE(&d->prod_round, i->round);
	ring(h);
}

static void in_open(struct far_half *h)
{
	struct incoming *i = &h->in;

	in_announce(h, i->peer.start);
	i->flow = i->routed = true;
	if (i->phase == IN_ARMED)
		i->phase = IN_LIGHT;
	i->opened = i->round;
	h->changed = true;
}

/* Leaves the ring for TCP, at an offset from which on the program takes nothing (D5). */
static void in_leave(struct far_half *h)
{
	struct incoming *i = &h->in;
	struct hut_dir *d = rx(h);
	uint32_t how;
	uint64_t turn, end;

	do {
		turn = LOAD(&d->turn);
		if (HUT_TURN_STATE(turn) == HUT_STATE(i->round, HUT_TURN_STOPPED)) {
			end = turn_offset(turn, i->tail);
			how = HUT_TURN_OWED;
		} else if (turn == HUT_TURN(i->round, HUT_TURN_OPEN, 1)) {
			end = i->tail;
			how = HUT_TURN_ENDED;
		} else if (turn == HUT_TURN(i->round, HUT_TURN_OPEN, 0)) {
			end = i->start; /* not come to the ring: TCP brings all */
			how = HUT_TURN_OWED;
		} else {
			far_hostile(h, "a turn", turn, i->round);
			return;
		}
		if (end < i->start && how == HUT_TURN_OWED)
			end = i->start;
		if (end < i->start || end > i->tail)
			far_hostile(h, "a stop", end, i->tail);
	} while (!move(d, turn, HUT_TURN(i->round, how, end)));
	ring(h);
	i->routed = false; /* what came from now on would not be shown */
	i->stopped = i->round;
	i->stopped_at = end;
	i->phase = IN_LEFT;
	h->changed = true;
}

/* The far program sends by TCP what ours did not take: what comes by the ring after all is behind that. */
static void in_accept(struct far_half *h)
{
	struct hut_dir *d = rx(h);
	uint64_t turn = LOAD(&d->turn);

	while (HUT_TURN_STATE(turn) == HUT_STATE(h->in.round, HUT_TURN_STOPPED) &&
	       !move(d, turn, HUT_TURN(h->in.round, HUT_TURN_OWED, turn)))
		turn = LOAD(&d->turn);
}

void in_look(struct far_half *h)
{
	struct incoming *i = &h->in;
	struct hut_dir *d = rx(h);
	uint32_t said;

	if (i->phase == IN_TCP && LOAD(&d->cons_round) == next_round(i->round)) {
		i->round = next_round(i->round);
		i->announced = false;
		i->phase = IN_ARMED;
		h->changed = true;
	}
	bool closing = i->heard && i->peer.ended && i->peer.started == i->round;

	if (i->phase == IN_LIGHT && !closing && turn_is(d, i->round, HUT_TURN_STOPPED)) {
		in_leave(h);
	} else if (i->phase == IN_ARMED && i->stopped != i->round && turn_is(d, i->round, HUT_TURN_STOPPED)) {
		i->stopped = i->round; /* before it began: nobody has taken anything */
		i->stopped_at = turn_offset(LOAD(&d->turn), i->tail);
		i->phase = IN_LEFT;
		h->changed = true;
	}
	said = LOAD(&d->cons_mark) | (i->gone ? (uint32_t)HUT_MARK_GONE : 0);
	if ((said & (HUT_MARK_GONE | HUT_MARK_LEFT)) != i->marks) {
		i->marks = said & (HUT_MARK_GONE | HUT_MARK_LEFT);
		h->changed = true;
	}
	if ((said & HUT_MARK_FIN) && !i->ask) {
		i->ask = h->changed = true;
		i->asked_at = far_now;
		i->asked_tail = i->tail;
		if (h->peer_gone && !i->told && i->phase != IN_TCP)
			in_cut(h);
	}
}

static void in_over(struct far_half *h)
{
	struct incoming *i = &h->in;

	i->flow = i->routed = false;
	i->ack_due = NEVER;
	i->phase = IN_TCP;
	STORE(&rx(h)->prod_done, i->round);
	in_look(h);
	h->rang = true;
}

/* Says where the stream ends, once all before that is shown. */
void in_tell_end(struct far_half *h)
{
	struct incoming *i = &h->in;

	if (i->told || !i->heard || !i->peer.ended)
		return;
	if (i->peer.end != NO_END && i->peer.started == i->round && i->peer.done != i->round &&
	    (!i->announced || i->tail < i->peer.end))
		return;
	i->told = h->rang = h->changed = true;
	add_marks(h, &rx(h)->prod_mark, (i->peer.marks & HUT_MARK_HALF_CLOSE) | HUT_MARK_SHUT | HUT_MARK_END);
}

/* The rest will not come. */
void in_cut(struct far_half *h)
{
	h->in.told = h->rang = true;
	add_marks(h, &rx(h)->prod_mark, HUT_MARK_SHUT | HUT_MARK_END | HUT_MARK_CUT);
	fprintf(stderr, "far: cut in round %u, phase %d\n", h->in.round, (int)h->in.phase);
}

void in_on_peer(struct far_half *h, const struct sending *s)
{
	struct incoming *i = &h->in;

	i->peer = *s;
	i->heard = true;
	if (s->wish)
		add_marks(h, &rx(h)->prod_mark, HUT_MARK_WISH);
	else
		__atomic_fetch_and(&rx(h)->prod_mark, ~(uint32_t)HUT_MARK_WISH, __ATOMIC_ACQ_REL);
	if (i->round && s->agreed == i->round && i->phase == IN_LEFT)
		in_accept(h);
	bool current = i->round && s->started == i->round && s->done != i->round;

	/* A round that the program has stopped is opened only if the far program has closed over it. */
	if (current && !i->flow && (i->phase == IN_ARMED || (i->phase == IN_LEFT && s->ended)))
		in_open(h);
	if (s->leave == i->round && i->phase == IN_LIGHT)
		in_leave(h);
	if (i->round && s->agreed == i->round && (i->marks & HUT_MARK_LEFT))
		add_marks(h, &rx(h)->prod_mark, HUT_MARK_AGREED);
	if (i->round && s->done == i->round && i->phase != IN_TCP)
		in_over(h);
	if (current && s->ended && i->phase == IN_LEFT)
		i->routed = i->flow; /* after all: the far program went away, and what it left comes by the ring */
	in_tell_end(h);
}
