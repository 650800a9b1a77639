/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farwire.c - what the datagrams of a line carry and acknowledge, late and in random pieces, and what is paid for a
 * program that was stopped and makes no call.
 */
#include "farline.h"

/* Where a byte lives in the ring that our program writes, and how many follow there. */
static const uint8_t *out_place(const struct far_half *h, uint64_t at, size_t *n)
{
	const uint8_t *base = (const uint8_t *)h->segment + HUT_PAGE;
	uint64_t split = LOAD(&tx(h)->split); /* only moved when all before it was consumed */
	bool small = at < split;
	uint32_t size = small ? far_ring_size : far_over_size;
	size_t from = at & (size - 1);

	if (*n > size - from)
		*n = size - from;
	if (small && *n > split - at)
		*n = split - at;
	return base + (small ? 0 : 2ull * far_ring_size) + from;
}

static void copy(struct far_half *from, struct far_half *to, uint64_t at, size_t n)
{
	uint8_t *base = (uint8_t *)to->segment + HUT_PAGE + far_ring_size;

	while (n) {
		size_t part = n, put = at & (far_ring_size - 1);
		const uint8_t *source = out_place(from, at, &part);

		if (part > far_ring_size - put)
			part = far_ring_size - put;
		memcpy(base + put, source, part);
		at += part;
		n -= part;
	}
}

/* The program has been told, and has not sent all that it owes: it may make no call for long. */
void out_pay(struct far_half *h)
{
	struct outgoing *o = &h->out;
	struct far_debt debt = { tx(h), o->round, h, out_place, far_die_at };

	o->pay_at = NEVER;
	if (o->phase != OUT_STOPPED || o->ended || h->gone || !h->end)
		return;
	if (LOAD(&tx(h)->prod_done) != o->round) {
		if (far_pay(h->end, h->cookie, &debt)) {
			h->rang = true; /* who sleeps must look again */
			o->pay_ns = PAY_MORE_NS;
		} else {
			o->pay_ns = o->pay_ns * 2 < LONGEST_PAY_NS ? o->pay_ns * 2 : LONGEST_PAY_NS;
		}
		o->pay_at = far_now + o->pay_ns;
	}
	if (LOAD(&tx(h)->prod_done) == o->round)
		h->look_at = far_now;
}

/* Both ends of the flow are on the wire. */
static bool flows(const struct far_half *h)
{
	const struct outgoing *o = &h->out;
	const struct incoming *i = &h->other->in;

	return o->flow && o->routed && i->flow && i->routed && o->round == i->round;
}

static uint64_t in_room(struct far_half *h)
{
	return in_consumed(h) + far_ring_size - h->in.tail;
}

static void in_publish(struct far_half *h, uint64_t tail)
{
	struct hut_dir *d = rx(h);

	h->in.tail = tail;
	STORE(&d->tail, tail);
	FENCE(); /* our cursor before the look at the flag (rule 13) */
	if (LOAD(&d->cons_wait) && __atomic_exchange_n(&d->cons_wait, 0, __ATOMIC_ACQ_REL))
		ring(h);
}

/* The receiver tells, some time, what its program has consumed: with data, or when it is much. */
void in_acknowledge(struct far_half *h, bool arrived)
{
	struct incoming *i = &h->in;

	if (!i->routed)
		return;
	if (i->tail - in_consumed(h) >= far_ring_size / 2) {
		STORE(&rx(h)->prod_wait, 1);
		FENCE(); /* the flag before the look at the head */
		in_consumed(h);
	}
	if (i->ack_due == NEVER && (arrived || i->head - i->acked >= far_ring_size / 4)) {
		i->ack = i->head;
		i->ack_due = far_later();
	}
}

/* What is written is on its way, if there is room for it. */
void out_produce(struct far_half *h)
{
	struct outgoing *o = &h->out;
	uint64_t to, room, at = h->other->in.tail;

	if (!flows(h) || o->carry_due != NEVER)
		return;
	to = out_end(o);
	room = in_room(h->other);
	if (to > at + room)
		to = at + room;
	if (to > at + PIECE)
		to = at + PIECE;
	if (to <= at)
		return;
	if (to - at > DATAGRAM && (far_draw() & 1)) /* some of it is lost, and comes later */
		to = at + DATAGRAM * (1 + far_draw() % ((to - at) / DATAGRAM));
	o->carry_to = to;
	o->carry_due = far_later();
}

void carry(struct far_half *h)
{
	struct far_half *o = h->other;
	uint64_t at = o->in.tail;

	h->out.carry_due = NEVER;
	if (!flows(h) || h->out.carry_to <= at || h->out.carry_to > out_end(&h->out))
		return; /* taken off the wire meanwhile: sent again if it comes back */
	copy(h, o, at, h->out.carry_to - at);
	in_publish(o, h->out.carry_to);
	in_acknowledge(o, true);
	in_tell_end(o);
	if (o->in.phase == IN_LIGHT)
		in_look(o);
}

void acknowledge(struct far_half *h)
{
	struct incoming *i = &h->in;

	i->ack_due = NEVER;
	i->acked = i->ack;
	if (flows(h->other))
		out_consumed(h->other, i->ack);
}
