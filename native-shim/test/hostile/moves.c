/* SPDX-License-Identifier: Apache-2.0 */
/* moves.c - what the peer does: any value anywhere, or as a lawful peer, or on TCP. */
#include "hostile.h"

uint64_t *dir_word(struct hut_dir *d, unsigned int field, bool *narrow)
{
	*narrow = false;
	switch (field) {
	case 0:
		return &d->tail;
	case 1:
		return &d->start;
	case 2:
		return &d->split;
	case 3:
		return &d->head;
	case 4:
		return &d->turn;
	default:
		break;
	}
	uint32_t *small[] = { &d->prod_round, &d->prod_mark, &d->prod_done, &d->cons_round, &d->cons_mark, &d->cons_wait,
			      &d->prod_wait };

	*narrow = true;
	return (uint64_t *)(void *)small[field - 5];
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 31)) * 0xbf58476d1ce4e5b9ull;
	return x ^ (x >> 29);
}

/* A word of `turn` that means something, or nearly. */
static uint64_t some_turn(uint32_t round, const struct step *s)
{
	static const int by[4] = { 0, 0, 1, -1 };
	uint32_t how = s->c >> 2 & 3;
	uint64_t offset = (s->c & 16) ? s->v & 3 : place_near(s->v) + (uint64_t)(int64_t)(int8_t)(s->v >> 8);

	if (s->c & 32)
		offset += 1u << (s->v >> 16 & 31);
	return HUT_TURN(round + (uint32_t)by[s->c & 3], how, offset);
}

static uint64_t new_value(const struct step *s, unsigned int field, uint64_t old, uint32_t round)
{
	static const uint64_t special[16] = { 0, 1, 2, 3, UINT32_MAX, UINT64_MAX, 1ull << 31, 1ull << 32, 1ull << 63,
					      UINT64_MAX - 1, SMALL, OVER, SMALL + OVER, HUT_ROUND_MASK, 1ull << 40, 7 };
	static const uint64_t size[8] = { SMALL, OVER, SMALL + OVER, SMALL / 2, 1ull << 31, 1ull << 32, 1ull << 40, 1ull << 63 };
	bool narrow;

	switch (s->b % 8) {
	case 0:
		return special[s->c % 16];
	case 1:
		return place_near(s->c) + (uint64_t)(int64_t)(int8_t)s->v;
	case 2:
		return place_near(s->c) + (s->v & 1 ? size[s->v >> 1 & 7] : -size[s->v >> 1 & 7]) + (s->v >> 4 & 3) - 1;
	case 3:
		return old ^ 1ull << s->c % 64;
	case 4:
		return old + (uint64_t)(int64_t)(int16_t)s->v;
	case 5:
		return mix((uint64_t)s->v << 8 | s->c);
	case 6:
		if (field == 4)
			return some_turn(round, s);
		if (field == 5 || field == 7 || field == 8)
			return (round + s->c % 3 - 1) & HUT_ROUND_MASK;
		if (field == 6 || field == 9)
			return s->c % 4;
		return place_near(s->c);
	default:
		return LOAD(dir_word(s->c & 1 ? victim->rx.dir : victim->tx.dir, s->v % 5, &narrow));
	}
}

static bool write_bytes(const struct step *s)
{
	const struct ring *r = s->a % FIELDS < 26 ? &victim->rx : &victim->tx;
	uint8_t *area = s->a & 1 ? r->over : r->small;
	uint32_t size = s->a & 1 ? OVER : SMALL, at = s->v % size, len = 1 + s->c % 64;

	if (len > size - at)
		len = size - at;
	for (uint32_t i = 0; i < len; i++)
		area[at + i] = (uint8_t)(area[at + i] + 1 + (s->b + i) % 255);
	return true;
}

bool move_write(const struct step *s)
{
	unsigned int a = s->a % FIELDS, field = a % 12;
	bool rx = a < 12, narrow;
	uint32_t round = rx ? victim_end->rx_round : victim_end->tx_round;
	uint64_t *p, old, fresh;

	if (a >= 24)
		return write_bytes(s);
	p = dir_word(rx ? victim->rx.dir : victim->tx.dir, field, &narrow);
	old = narrow ? LOAD((uint32_t *)(void *)p) : LOAD(p);
	fresh = new_value(s, field, old, round);
	if (narrow)
		fresh = (uint32_t)fresh;
	if (fresh == old)
		return false;
	if (narrow)
		STORE((uint32_t *)(void *)p, (uint32_t)fresh);
	else
		STORE(p, fresh);
	return true;
}

static void accept_stop(struct hut_dir *d)
{
	uint64_t turn = LOAD(&d->turn), at = victim_end->tcp_in + victim_end->ring_in;
	uint32_t round = LOAD(&d->prod_round);
	uint64_t owed = d->tail - at;

	if (HUT_TURN_STATE(turn) != HUT_STATE(round, HUT_TURN_STOPPED))
		return;
	STORE(&d->turn, HUT_TURN(round, HUT_TURN_OWED, turn));
	if (owed <= INQ_MAX - ksock[0].inq && !ksock[0].fin) {
		ksock[0].inq += (uint32_t)owed;
		ksock[0].in_total += owed;
		ksock[0].changed = true;
	}
	STORE(&d->prod_done, round);
}

void move_peer(const struct step *s)
{
	struct hut_dir *in = victim->rx.dir, *out = victim->tx.dir;
	uint32_t r = LOAD(&out->prod_round), next = (LOAD(&in->prod_round) + 1) & HUT_ROUND_MASK;
	uint64_t n = s->v % (SMALL + OVER + 1), turn = LOAD(&out->turn), have = out->tail - out->head;

	switch (s->a % 16) {
	case 0: /* arm */
		if (out->prod_done != out->cons_round)
			break;
		r = (out->cons_round + 1) & HUT_ROUND_MASK;
		STORE(&out->turn, HUT_TURN(r, HUT_TURN_OPEN, 0));
		STORE_REL(&out->cons_round, r);
		break;
	case 1: /* take up */
		if (turn != HUT_TURN(r, HUT_TURN_OPEN, 0))
			break;
		STORE(&out->turn, HUT_TURN(r, HUT_TURN_OPEN, 1));
		STORE(&out->head, out->start);
		break;
	case 2: /* take */
		if (have <= SMALL + OVER)
			STORE_REL(&out->head, out->head + (n < have ? n : have));
		break;
	case 3: /* stop */
		if (HUT_TURN_STATE(turn) == HUT_STATE(r, HUT_TURN_OPEN))
			STORE(&out->turn, HUT_TURN(r, HUT_TURN_STOPPED, out->head));
		break;
	case 4: /* announce */
		if (in->cons_round != next)
			break;
		in->start = in->tail = ksock[0].in_total + victim_end->ring_in;
		in->split = HUT_NO_SPLIT;
		STORE_REL(&in->prod_round, next);
		break;
	case 5: /* publish */
		have = in->tail - victim_end->rx_head;
		if (have < SMALL)
			STORE_REL(&in->tail, in->tail + (n < SMALL - have ? n : SMALL - have));
		break;
	case 6: /* the same in the overflow area */
		have = in->tail - victim_end->rx_head;
		if (in->split == HUT_NO_SPLIT)
			in->split = in->tail;
		if (have < OVER)
			STORE_REL(&in->tail, in->tail + (n < OVER - have ? n : OVER - have));
		break;
	case 7: /* end the round */
		r = LOAD(&in->prod_round);
		if (LOAD(&in->turn) != HUT_TURN(r, HUT_TURN_OPEN, 1))
			break;
		STORE(&in->turn, HUT_TURN(r, HUT_TURN_ENDED, in->tail));
		STORE_REL(&in->prod_done, r);
		break;
	case 8:
		in->prod_mark |= s->v & 3;
		break;
	case 9:
		out->cons_mark |= s->v & 3;
		break;
	case 10:
		accept_stop(in);
		break;
	case 11: /* a round that we have not seen is void */
		r = LOAD(&in->prod_round);
		if (LOAD(&in->turn) == HUT_TURN(r, HUT_TURN_OPEN, 0))
			STORE(&in->turn, HUT_TURN(r, HUT_TURN_OWED, in->start));
		break;
	case 12: /* sleeps */
		in->prod_wait = out->cons_wait = 1;
		break;
	default: /* reads all and goes on */
		out->head = out->tail;
		break;
	}
}

void move_tcp(const struct step *s)
{
	struct ksock *k = &ksock[0];
	uint32_t n = s->v % 4096;

	k->changed = true;
	switch (s->a % 8) {
	case 0:
		if (k->fin || k->dead || k->rst || n > INQ_MAX - k->inq)
			break;
		k->inq += n;
		k->in_total += n;
		break;
	case 1:
		k->outq -= n < k->outq ? n : k->outq;
		break;
	case 2:
		k->fin = true;
		break;
	case 3: /* the window shrinks */
		k->out_cap = k->outq + (k->outq ? n % 128 : 64);
		break;
	case 4:
		k->out_cap = k->outq + 8192;
		break;
	case 5:
		kernel_peer_dies(s->v & 1);
		break;
	case 6:
		if (s->v % 8 == 0)
			k->rst = !k->dead;
		break;
	default:
		k->outq = 0;
		break;
	}
}
