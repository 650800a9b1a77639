/* SPDX-License-Identifier: Apache-2.0 */
/*
 * world.c - the victim: a connection with its end, its two directions and rings, and another one beside it that must not
 * feel anything.  Each area is an allocation of its own, so that AddressSanitizer sees the first byte beyond it.
 */
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

struct conn *victim, *other;
struct hut_end *victim_end, *other_end;
uint64_t taken, given;

static uint64_t base_in, base_out;
static struct ring victim_rx, victim_tx; /* as set up: not even a bit of their places and sizes may change */

/* What a reset puts back. */
static struct snapshot {
	struct conn conn;
	struct hut_end end;
	struct hut_dir rx, tx;
	struct ksock sock;
	uint64_t at;
} templates[TEMPLATES], other_before;

static struct ring new_ring(void)
{
	struct ring r = { .small_size = SMALL, .over_size = OVER };

	r.dir = calloc(1, sizeof(*r.dir));
	r.small = calloc(1, SMALL);
	r.over = calloc(1, OVER);
	return r;
}

static struct conn *new_conn(int fd, struct hut_end **end)
{
	struct conn *c = table_new(fd, AF_INET, true);

	*end = calloc(1, sizeof(**end));
	c->end = *end;
	c->rx = new_ring();
	c->tx = new_ring();
	c->seg = c->rx.dir;
	c->bell = BELL_FD;
	c->peer_bell = PEER_BELL_FD;
	conn_get(fd); /* our own pin: a close does not take the object away */
	return c;
}

static void fresh(struct conn *c, struct hut_end *e, struct ksock *k, uint64_t in, uint64_t out)
{
	memset(e, 0, sizeof(*e));
	c->rx.tail_seen = 0;
	memset(c->rx.dir, 0, sizeof(*c->rx.dir));
	memset(c->tx.dir, 0, sizeof(*c->tx.dir));
	e->owner_pid = (uint32_t)hut_pid;
	e->holders = 1;
	e->state = HUT_END_CHANNEL;
	e->nonblock = 1;
	e->rx_end = e->tx_split = HUT_NO_SPLIT;
	e->tcp_in = in;
	e->tcp_out = out;
	c->timeo_known[0] = c->timeo_known[1] = true;
	c->check_ns = vnow;
	*k = (struct ksock){ .in_total = in, .out_total = out, .out_cap = 8192, .changed = true };
}

enum { PEER_ARM = 0, PEER_TAKE_UP, PEER_TAKE, PEER_STOP, PEER_ANNOUNCE, PEER_PUBLISH, PEER_OVERFLOW, PEER_END };
enum { TCP_SEND = 0, TCP_ACK, TCP_FIN };
#define P(m, v) { STEP_PEER, m, 0, 0, v }
#define T(m, v) { STEP_TCP, m, 0, 0, v }
#define C(m, v) { STEP_CALL, m, 0, 0, v }
enum { DO_RECV = 0, DO_SEND = 7, DO_PAUSE = 20, DO_PROGRESS = 27 };
#define UP P(PEER_ARM, 0), C(DO_PROGRESS, 0), P(PEER_TAKE_UP, 0), P(PEER_ANNOUNCE, 0), C(DO_PROGRESS, 0)

static const struct plan {
	uint64_t in, out;
	uint32_t round;
	struct step step[14];
} plans[TEMPLATES] = {
	{ 0, 0, 0, { C(DO_PROGRESS, 0) } },
	{ 100, 200, 0, { P(PEER_ARM, 0), C(DO_PROGRESS, 0), P(PEER_ANNOUNCE, 0), P(PEER_PUBLISH, 300) } },
	/* TCP bytes up to S, then the ring's */
	{ 1000, 5000, 0, { C(DO_PROGRESS, 0), T(TCP_SEND, 500), P(PEER_ARM, 0), P(PEER_ANNOUNCE, 0), P(PEER_PUBLISH, 2000),
			   C(DO_PROGRESS, 0), C(DO_SEND, 700) } },
	{ 77, 4000, 0, { UP, P(PEER_PUBLISH, 3000), C(DO_SEND, 1500), P(PEER_TAKE, 100), C(DO_RECV, 10) } },
	/* a full ring and the overflow area, in both directions */
	{ 0xfffff000, 0xfffff800, 0, { UP, P(PEER_PUBLISH, SMALL), P(PEER_OVERFLOW, 5000), C(DO_SEND, SMALL),
				       { STEP_TIME, 0, 0, 0, 30 }, C(DO_SEND, 3000), { STEP_TIME, 0, 0, 0, 30 },
				       C(DO_SEND, 5000) } },
	/* stopped by both readers; TCP takes nothing of what is owed */
	{ 10, 20, 0, { UP, P(PEER_PUBLISH, 900), C(DO_SEND, 4000), T(3, 64), P(PEER_STOP, 0),
		       C(DO_PAUSE, 0) } },
	{ 10, 20, 0, { UP, P(PEER_PUBLISH, 900), P(PEER_END, 0), C(DO_PROGRESS, 0), T(TCP_SEND, 600) } },
	/* half-closed by the peer, our ring to it is full */
	{ 3, 4, 0, { UP, C(DO_SEND, SMALL), P(8, 1), T(TCP_FIN, 0), { STEP_TIME, 0, 0, 0, 20 }, C(DO_RECV, 10) } },
	/* numbers about to wrap */
	{ 0xfffffff0, 0xffffffff, HUT_ROUND_MASK - 1, { UP, P(PEER_PUBLISH, 100), P(PEER_END, 0), C(DO_RECV, 100),
							C(DO_PROGRESS, 0), P(PEER_ANNOUNCE, 0) } },
	{ 1, UINT64_MAX / 2, 5, { UP, P(PEER_PUBLISH, 64), C(DO_SEND, 64), P(PEER_STOP, 0) } },
};

static void copy_back(struct conn *c, const struct conn *from)
{
	struct epreg *regs = c->regs;
	struct conn *next = c->next_free;

	/* All but what is counted elsewhere; only our own pin and the table's are there. */
	memcpy(c, from, offsetof(struct conn, pins));
	memcpy((char *)c + offsetof(struct conn, note_seen), (const char *)from + offsetof(struct conn, note_seen),
	       sizeof(*c) - offsetof(struct conn, note_seen));
	c->regs = regs;
	c->next_free = next;
}

static void save(struct snapshot *s, const struct conn *c, const struct hut_end *e, const struct ksock *k)
{
	memcpy(&s->conn, c, sizeof(*c));
	s->end = *e;
	s->rx = *c->rx.dir;
	s->tx = *c->tx.dir;
	s->sock = *k;
	s->at = vnow;
}

static void build(unsigned int i)
{
	const struct plan *p = &plans[i];

	kernel_reset();
	fresh(victim, victim_end, &ksock[0], p->in, p->out);
	victim_end->rx_round = victim_end->tx_round = p->round;
	for (struct hut_dir *d = victim->rx.dir; d; d = d == victim->rx.dir ? victim->tx.dir : NULL) {
		d->prod_round = d->prod_done = d->cons_round = p->round;
		d->turn = HUT_TURN(p->round, HUT_TURN_ENDED, 0);
		d->split = HUT_NO_SPLIT;
	}
	for (unsigned int k = 0; k < sizeof(p->step) / sizeof(p->step[0]); k++) {
		const struct step *s = &p->step[k];

		if (s->kind == STEP_PEER)
			move_peer(s);
		else if (s->kind == STEP_TCP)
			move_tcp(s);
		else if (s->kind == STEP_CALL)
			call_run(s);
		else if (s->kind == STEP_TIME)
			vnow += s->v * NS_PER_MS;
		vnow += 2 * NS_PER_MS; /* arming is not tried twice in one tick */
	}
	save(&templates[i], victim, victim_end, &ksock[0]);
	/* They are what they are meant to be, or the rest would test little. */
	static const struct {
		uint32_t rx, tx;
	} path[TEMPLATES] = { { 0, 0 }, { 0, 2 }, { 1, 2 }, { 2, 2 }, { 2, 2 }, { 0, 3 }, { 2, 2 }, { 2, 2 }, { 0, 2 }, { 2, 2 } };

	if (victim_end->rx_path != path[i].rx || victim_end->tx_path != path[i].tx || world_over() ||
	    (i == 4 && victim_end->tx_split == HUT_NO_SPLIT) || (i == 7 && !(victim_end->flags & HUT_ENDF_HALF)) ||
	    (i == 6 && victim_end->rx_end == HUT_NO_SPLIT) || (i == 5 && !(victim_end->flags & HUT_ENDF_STOPPED)))
		violation("template %u is not what it is meant to be: paths %u %u, flags %x, split %llx", i,
			  victim_end->rx_path, victim_end->tx_path, victim_end->flags,
			  (unsigned long long)victim_end->tx_split);
}

void world_init(void)
{
	char byte = 1;

	victim = new_conn(VICTIM_FD, &victim_end);
	other = new_conn(OTHER_FD, &other_end);
	epset_new(EPOLL_FD);
	victim_rx = victim->rx;
	victim_tx = victim->tx;
	call_buffers();
	for (unsigned int i = 0; i < TEMPLATES; i++)
		build(i);
	/* The other connection: on the ring both ways, three bytes to be read. */
	fresh(other, other_end, &ksock[1], 10, 10);
	other_end->rx_path = other_end->tx_path = HUT_PATH_RING;
	other_end->rx_round = other_end->tx_round = 1;
	other_end->flags = HUT_ENDF_ARMED;
	other_end->rx_start = other_end->rx_head = other_end->tx_start = other_end->tx_head = other_end->tx_tail = 10;
	for (struct hut_dir *d = other->rx.dir; d; d = d == other->rx.dir ? other->tx.dir : NULL)
		*d = (struct hut_dir){ .tail = 10, .start = 10, .head = 10, .split = HUT_NO_SPLIT, .prod_round = 1,
				       .cons_round = 1, .turn = HUT_TURN(1, HUT_TURN_OPEN, 1) };
	other->rx.dir->tail = 13;
	memset(other->rx.small, byte, SMALL);
	other->check_ns = UINT64_MAX / 2; /* it does not look at its socket by itself */
	save(&other_before, other, other_end, &ksock[1]);
}

void world_reset(unsigned int template)
{
	const struct snapshot *s = &templates[template % TEMPLATES];
	uint64_t later = vnow - s->at;

	if (victim->regs) {
		epset_conn_gone(victim, false);
	}
	if (table_peek(VICTIM_FD) != victim)
		table_alias(VICTIM_FD, victim);
	kernel_reset();
	copy_back(victim, &s->conn);
	*victim_end = s->end;
	*victim->rx.dir = s->rx;
	*victim->tx.dir = s->tx;
	ksock[0] = s->sock;
	victim->check_ns += later;
	if (victim->stall_ns)
		victim->stall_ns += later;
	if (victim->full_ns)
		victim->full_ns += later;
	taken = given = 0;
	base_in = victim_end->tcp_in + victim_end->ring_in;
	base_out = victim_end->tcp_out + victim_end->ring_out;
	if (victim_end->tx_path == HUT_PATH_DRAIN)
		base_out += victim_end->tx_tail - victim_end->tx_head;
}

bool world_over(void)
{
	return (victim_end->flags & HUT_ENDF_POISONED) || atomic_load(&victim->plain) || ksock[0].dead ||
	       table_peek(VICTIM_FD) != victim;
}

#define MUST(x) \
	do { \
		if (UNLIKELY(!(x))) \
			violation("after %s: not so: %s", after, #x); \
	} while (0)

/* For whoever looks for the cause. */
void world_print(FILE *f)
{
	const struct hut_end *e = victim_end;
	const struct ksock *k = &ksock[0];
	const struct hut_dir *d = victim->rx.dir;

	fprintf(f, "rx path %u round %u head %llx end %llx start %llx in %llx\n", e->rx_path, e->rx_round,
		(unsigned long long)e->rx_head, (unsigned long long)e->rx_end, (unsigned long long)e->rx_start,
		(unsigned long long)(e->tcp_in + e->ring_in));
	fprintf(f, "tx path %u round %u start %llx head %llx tail %llx split %llx out %llx flags %x err %d\n", e->tx_path,
		e->tx_round, (unsigned long long)e->tx_start, (unsigned long long)e->tx_head,
		(unsigned long long)e->tx_tail, (unsigned long long)e->tx_split,
		(unsigned long long)(e->tcp_out + e->ring_out), e->flags, victim->err);
	fprintf(f, "tcp in %llx (%u) out %llx (%u of %u) fin %d rst %d dead %d\n", (unsigned long long)k->in_total, k->inq,
		(unsigned long long)k->out_total, k->outq, k->out_cap, k->fin, k->rst, k->dead);
	for (int i = 0; i < 2; i++, d = victim->tx.dir)
		fprintf(f, "%s tail %llx start %llx split %llx head %llx turn %x.%u.%x rounds %x %x %x marks %x %x\n",
			i ? "tx" : "rx", (unsigned long long)d->tail, (unsigned long long)d->start,
			(unsigned long long)d->split, (unsigned long long)d->head, (unsigned int)(d->turn >> 34),
			(unsigned int)(d->turn >> 32 & 3), (unsigned int)d->turn, d->prod_round, d->prod_done,
			d->cons_round, d->prod_mark, d->cons_mark);
}

/* The private cursors stay within bounds of each other. */
void world_check_cursors(const char *after)
{
	const struct hut_end *e = victim_end;
	uint64_t at = e->tcp_in + e->ring_in, out = e->tcp_out + e->ring_out;

	MUST(e->rx_path <= HUT_PATH_RING && (e->tx_path == HUT_PATH_TCP || e->tx_path >= HUT_PATH_RING));
	MUST(e->tx_path <= HUT_PATH_DRAIN);
	if (e->tx_path == HUT_PATH_RING) {
		MUST(e->tx_start <= e->tx_head && e->tx_head <= e->tx_tail && e->tx_tail <= out); /* less once the peer has said GONE */
		MUST(e->tx_tail - e->tx_head <= (uint64_t)SMALL + OVER);
		MUST(e->tx_split == HUT_NO_SPLIT || (e->tx_start <= e->tx_split && e->tx_split <= e->tx_tail));
	}
	if (e->tx_path == HUT_PATH_DRAIN)
		MUST(e->tx_start <= e->tx_head && e->tx_head <= e->tx_tail && e->tx_tail - e->tx_head <= SMALL + OVER);
	if (e->rx_path == HUT_PATH_RING)
		MUST(e->rx_head == at && e->rx_head <= e->rx_end);
	if (e->rx_path == HUT_PATH_SWITCH)
		MUST(at <= e->rx_start && e->rx_start == e->rx_head && e->rx_head <= e->rx_end);
}

void world_check(const char *after)
{
	const struct hut_end *e = victim_end;
	const struct conn *c = victim;
	uint64_t at = e->tcp_in + e->ring_in, out = e->tcp_out + e->ring_out;

	MUST(!memcmp(&c->rx, &victim_rx, offsetof(struct ring, tail_seen)) &&
	     !memcmp(&c->tx, &victim_tx, offsetof(struct ring, tail_seen)));
	MUST(!e->rx_lock && !e->tx_lock && !atomic_load(&c->raw) && !e->inflight && !e->raw_waits);
	MUST(!atomic_load(&c->rx_waiters) && !atomic_load(&c->tx_waiters));
	MUST(e->state == HUT_END_CHANNEL && e->holders == 1 && e->owner_pid == (uint32_t)hut_pid);
	MUST(c->bell == BELL_FD && c->peer_bell == PEER_BELL_FD);
	if (e->flags & HUT_ENDF_POISONED) {
		MUST(e->rx_path == HUT_PATH_TCP && e->tx_path == HUT_PATH_TCP && ksock[0].dead);
		return;
	}
	world_check_cursors(after);
	if (table_peek(VICTIM_FD) != c)
		return; /* closed, or plain TCP: the shim counts no more */
	MUST(at == base_in + taken);
	if (!(e->flags & HUT_ENDF_ERR) && !ksock[0].dead && !ksock[0].rst && !ksock[0].peer_dead && !ksock[0].shut_wr)
		MUST(out + (e->tx_path == HUT_PATH_DRAIN ? e->tx_tail - e->tx_head : 0) == base_out + given);
}

void world_check_other(void)
{
	const char *after = "the victim's case, the other connection";
	const struct snapshot *b = &other_before;
	char got[8];

	MUST(!memcmp(other_end, &b->end, sizeof(b->end)) && !memcmp(other->rx.dir, &b->rx, sizeof(b->rx)) &&
	     !memcmp(other->tx.dir, &b->tx, sizeof(b->tx)) && !memcmp(&ksock[1], &b->sock, sizeof(b->sock)));
	kernel_begin_call(0, false);
	MUST(recv(OTHER_FD, got, sizeof(got), MSG_DONTWAIT) == 3 && got[0] == 1 && got[2] == 1);
	MUST(send(OTHER_FD, got, 3, MSG_DONTWAIT) == 3 && other->tx.dir->tail == 13 && other_end->tx_tail == 13);
	copy_back(other, &b->conn);
	*other_end = b->end;
	*other->rx.dir = b->rx;
	*other->tx.dir = b->tx;
	ksock[1] = b->sock;
}

void world_state(void)
{
	const struct hut_end *e = victim_end;
	/* Few enough for the map. */
	uint32_t f = e->flags & (HUT_ENDF_FIN | HUT_ENDF_STOPPED | HUT_ENDF_PEERGONE | HUT_ENDF_RDSHUT);

	f |= e->rx_path << 16 | e->tx_path << 18 | (uint32_t)(e->rx_end != HUT_NO_SPLIT) << 21;
	cover_state = f * 0x85ebca6bu >> 12;
}

uint64_t place_near(unsigned int which)
{
	const struct hut_end *e = victim_end;

	switch (which % 14) {
	case 0:
		return e->rx_head;
	case 1:
		return e->rx_end;
	case 2:
		return e->rx_start;
	case 3:
		return e->tcp_in + e->ring_in;
	case 4:
		return e->tx_tail;
	case 5:
		return e->tx_head;
	case 6:
		return e->tx_start;
	case 7:
		return e->tx_split;
	case 8:
		return e->tcp_out + e->ring_out;
	case 9:
		return LOAD(&victim->rx.dir->tail);
	case 10:
		return LOAD(&victim->rx.dir->head);
	case 11:
		return LOAD(&victim->tx.dir->tail);
	case 12:
		return LOAD(&victim->tx.dir->head);
	default:
		return ksock[0].in_total;
	}
}
