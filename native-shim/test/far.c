/* SPDX-License-Identifier: Apache-2.0 */
/*
 * far.c - both agents of a connection between hosts, and the wire and the link between them; see docs/protocol.md, Lines.
 *
 * Each half is one agent's end of a line, in the words of the real one: `outgoing` is what its program sends, `incoming`
 * what it receives.  The halves tell each other all of their state by messages, which stay in order but come late; what
 * the wire carries comes late too, by itself; and TCP, which is loopback, is always before both.  All delays are random,
 * from a seed, so that a FIN overtakes data and a STOP crosses an END all the time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "far.h"

#define LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define FENCE() __atomic_thread_fence(__ATOMIC_SEQ_CST)

#define NEVER UINT64_MAX
#define NO_END UINT64_MAX
#define MS 1000000ull
#define RETRY_NS (2 * MS)
#define LONGEST_RETRY_NS (500 * MS)
#define LINGER_NS (60000 * MS)      /* a half whose program is gone waits for a sign of the other */
#define END_PATIENCE_NS (5000 * MS)
#define DATAGRAM 1400u              /* what comes, comes in multiples of it */
#define PIECE (48 * DATAGRAM)       /* most bytes at a time */
#define PAY_NS (20 * MS)            /* how long a stopped program has to send what it owes before we do */
#define PAY_MORE_NS 2000000ull /* after progress */
#define LONGEST_PAY_NS (160 * MS)

/* What a half tells of the direction that it receives ... */
struct receiving {
	uint32_t armed, opened, stopped, marks;
	uint64_t stopped_at, consumed;
	bool ask, told;
};

/* ... and of the one that it sends. */
struct sending {
	uint32_t started, marks, leave, agreed, done;
	uint64_t start, end;
	bool ended, wish;
};

struct message {
	struct message *next;
	uint64_t due;
	bool bye, closed;
	struct receiving r;
	struct sending s;
};

enum out_phase { OUT_TCP, OUT_ARMED, OUT_STARTED, OUT_LIGHT, OUT_STOPPED };
enum in_phase { IN_TCP, IN_ARMED, IN_LIGHT, IN_LEFT };
enum holding { OPEN, SHUT, GONE };

struct outgoing {
	enum out_phase phase;
	uint32_t round, started, leave, agreed, done, marks;
	uint64_t start, head, tail, limit, end;
	bool ended, delivered;
	bool flow, routed; /* the flow is there, and is on the wire */
	bool heard;
	struct receiving peer;
	uint64_t carry_due, carry_to;
	uint64_t pay_at, pay_ns;
};

struct incoming {
	enum in_phase phase;
	uint32_t round, opened, stopped, marks;
	uint64_t start, head, tail, stopped_at;
	uint64_t asked_at, asked_tail;
	bool announced, gone, ask, told, flow, routed, heard;
	struct sending peer;
	uint64_t ack_due, ack, acked;
};

struct far_half {
	struct far_half *other;
	struct hut_segment *segment;
	struct hut_end *end;
	int bell, kick;
	uint64_t cookie;
	uint8_t local[18], remote[18];
	struct outgoing out;
	struct incoming in;
	bool changed, leaving, gone, peer_gone, rang, removed, closed_due;
	uint64_t look_at, retry_at, retry_ns, sign_at, leave_at, last_due;
	struct message *inbox, **inbox_end;
};

struct line {
	struct line *next;
	struct far_half half[2];
};

bool far_on;
static uint64_t now, delay_ns, leave_ns, random_state;
static uint32_t ring_size, over_size;
static int epoll_fd, diag_fd;
static int die_paying; /* HUTONG_TEST_DIE_PAYING: where in its first payment this agent dies */
static struct line *lines;

static uint64_t draw(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state >> 8;
}

/* At once, or a while later, or now and then much later. */
static uint64_t later(void)
{
	uint64_t x = draw();

	if (!delay_ns || x % 4 == 0)
		return now;
	return now + (x / 64) % delay_ns * (x % 64 < 4 ? 8 : 1);
}

static uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* What no shim may do; the runner looks for it. */
static void hostile(const struct far_half *h, const char *what, uint64_t a, uint64_t b)
{
	fprintf(stderr, "far: hostile: %s: %llu, %llu (round %u out, %u in)\n", what, (unsigned long long)a,
		(unsigned long long)b, h->out.round, h->in.round);
}

/* ---- the segment's words ---- */

static struct hut_dir *tx(const struct far_half *h)
{
	return &h->segment->dir[0];
}

static struct hut_dir *rx(const struct far_half *h)
{
	return &h->segment->dir[1];
}

static bool turn_is(const struct hut_dir *d, uint32_t round, uint32_t how)
{
	return HUT_TURN_STATE(LOAD(&d->turn)) == HUT_STATE(round, how);
}

static uint64_t turn_offset(uint64_t turn, uint64_t near)
{
	return near + (uint64_t)(int64_t)(int32_t)((uint32_t)turn - (uint32_t)near);
}

static bool move(struct hut_dir *d, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(&d->turn, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

static uint32_t next_round(uint32_t round)
{
	return (round + 1) & HUT_ROUND_MASK;
}

static void ring(struct far_half *h)
{
	uint64_t one = 1;

	if (write(h->bell, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		perror("far: bell");
}

/* Marks are only ever added; whoever may sleep for them is woken. */
static void add_marks(struct far_half *h, uint32_t *word, uint32_t bits)
{
	if ((__atomic_fetch_or(word, bits, __ATOMIC_ACQ_REL) & bits) != bits)
		ring(h);
}

/* ---- what has become of the program's socket ---- */

static enum holding holding(const struct far_half *h)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = !memcmp(h->local, mapped, 12);
	struct {
		struct nlmsghdr n;
		struct inet_diag_req_v2 r;
	} ask = { .n = { sizeof(ask), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0 } };
	union {
		struct nlmsghdr n;
		char bytes[4096];
	} got;
	const struct inet_diag_msg *m = NLMSG_DATA(&got.n);
	ssize_t n;

	ask.r.sdiag_family = v4 ? AF_INET : AF_INET6;
	ask.r.sdiag_protocol = IPPROTO_TCP;
	ask.r.idiag_states = ~0u;
	memcpy(&ask.r.id.idiag_sport, h->local + 16, 2);
	memcpy(&ask.r.id.idiag_dport, h->remote + 16, 2);
	memcpy(ask.r.id.idiag_src, h->local + (v4 ? 12 : 0), v4 ? 4 : 16);
	memcpy(ask.r.id.idiag_dst, h->remote + (v4 ? 12 : 0), v4 ? 4 : 16);
	ask.r.id.idiag_cookie[0] = (uint32_t)h->cookie;
	ask.r.id.idiag_cookie[1] = (uint32_t)(h->cookie >> 32);
	if (send(diag_fd, &ask, sizeof(ask), 0) < 0 || (n = recv(diag_fd, &got, sizeof(got), 0)) < 0) {
		perror("far: sock_diag");
		return OPEN;
	}
	if (got.n.nlmsg_type != SOCK_DIAG_BY_FAMILY || n < (ssize_t)NLMSG_LENGTH(sizeof(*m)) || !m->idiag_inode)
		return GONE;
	return m->idiag_state == 1 || m->idiag_state == 8 ? OPEN : SHUT; /* ESTABLISHED, CLOSE_WAIT */
}

/* ---- outgoing: the agent reads what the program sends ---- */

static bool out_is_started(const struct outgoing *o)
{
	return o->phase == OUT_STARTED || o->phase == OUT_LIGHT || o->phase == OUT_STOPPED;
}

/* Bytes that may go on the wire end here. */
static uint64_t out_end(const struct outgoing *o)
{
	return o->tail < o->limit ? o->tail : o->limit;
}

static void out_see_tail(struct far_half *h)
{
	struct outgoing *o = &h->out;
	uint64_t tail = LOAD(&tx(h)->tail);

	if (tail < o->tail || tail - o->head > (uint64_t)ring_size + over_size)
		hostile(h, "a tail", tail, o->tail);
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
		hostile(h, "a start", start, o->tail);
	o->start = o->head = o->tail = start;
	o->limit = NEVER;
	STORE(&tx(h)->head, start);
	out_see_tail(h);
	o->started = o->round;
	h->changed = true;
}

static void out_leave_wire(struct far_half *h)
{
	struct outgoing *o = &h->out;

	if (out_is_started(o) && o->phase != OUT_STOPPED && !o->ended && o->leave != o->round) {
		o->leave = o->round;
		h->changed = true;
	}
}

/* Can anybody write still?  If not, what is in the ring now is all. */
static void out_check_end(struct far_half *h)
{
	struct outgoing *o = &h->out;

	if (o->ended || holding(h) == OPEN)
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

static void out_look(struct far_half *h);

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

static void out_look(struct far_half *h)
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
	o->pay_at = now + PAY_NS;
	o->routed = false;
	h->rang = h->changed = true;
}

/* The far program has consumed so much: the room is ours again. */
static void out_consumed(struct far_half *h, uint64_t at)
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
	if (left <= (LOAD(&d->split) == HUT_NO_SPLIT ? ring_size : over_size) / 2 &&
	    __atomic_exchange_n(&d->prod_wait, 0, __ATOMIC_ACQ_REL))
		ring(h);
}

static void out_on_peer(struct far_half *h, const struct receiving *r)
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

/* ---- incoming: the agent writes what the program receives ---- */

static uint64_t in_consumed(struct far_half *h)
{
	struct incoming *i = &h->in;
	uint64_t head = LOAD(&rx(h)->head);

	if (head > i->tail)
		hostile(h, "a head", head, i->tail);
	else if (head > i->head) /* below S while the program has not come to this round */
		i->head = head;
	return i->head;
}

static void in_announce(struct far_half *h, uint64_t start)
{
	struct incoming *i = &h->in;
	struct hut_dir *d = rx(h);

	if (start < i->tail)
		hostile(h, "a far start", start, i->tail);
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
			hostile(h, "a turn", turn, i->round);
			return;
		}
		if (end < i->start && how == HUT_TURN_OWED)
			end = i->start;
		if (end < i->start || end > i->tail)
			hostile(h, "a stop", end, i->tail);
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

static void in_look(struct far_half *h)
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
		i->asked_at = now;
		i->asked_tail = i->tail;
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
static void in_tell_end(struct far_half *h)
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
static void in_cut(struct far_half *h)
{
	h->in.told = h->rang = true;
	add_marks(h, &rx(h)->prod_mark, HUT_MARK_SHUT | HUT_MARK_END | HUT_MARK_CUT);
	fprintf(stderr, "far: cut in round %u, phase %d\n", h->in.round, (int)h->in.phase);
}

static void in_on_peer(struct far_half *h, const struct sending *s)
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

/* ---- the wire ---- */

/* Where a byte lives in the ring that our program writes, and how many follow there. */
static const uint8_t *out_place(const struct far_half *h, uint64_t at, size_t *n)
{
	const uint8_t *base = (const uint8_t *)h->segment + HUT_PAGE;
	uint64_t split = LOAD(&tx(h)->split); /* only moved when all before it was consumed */
	bool small = at < split;
	uint32_t size = small ? ring_size : over_size;
	size_t from = at & (size - 1);

	if (*n > size - from)
		*n = size - from;
	if (small && *n > split - at)
		*n = split - at;
	return base + (small ? 0 : 2ull * ring_size) + from;
}

static void copy(struct far_half *from, struct far_half *to, uint64_t at, size_t n)
{
	uint8_t *base = (uint8_t *)to->segment + HUT_PAGE + ring_size;

	while (n) {
		size_t part = n, put = at & (ring_size - 1);
		const uint8_t *source = out_place(from, at, &part);

		if (part > ring_size - put)
			part = ring_size - put;
		memcpy(base + put, source, part);
		at += part;
		n -= part;
	}
}

/* The program has been told, and has not sent all that it owes: it may make no call for long. */
static void out_pay(struct far_half *h)
{
	struct outgoing *o = &h->out;
	struct far_debt debt = { tx(h), o->round, h, out_place, die_paying };

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
		o->pay_at = now + o->pay_ns;
	}
	if (LOAD(&tx(h)->prod_done) == o->round)
		h->look_at = now;
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
	return in_consumed(h) + ring_size - h->in.tail;
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
static void in_acknowledge(struct far_half *h, bool arrived)
{
	struct incoming *i = &h->in;

	if (!i->routed)
		return;
	if (i->tail - in_consumed(h) >= ring_size / 2) {
		STORE(&rx(h)->prod_wait, 1);
		FENCE(); /* the flag before the look at the head */
		in_consumed(h);
	}
	if (i->ack_due == NEVER && (arrived || i->head - i->acked >= ring_size / 4)) {
		i->ack = i->head;
		i->ack_due = later();
	}
}

/* What is written is on its way, if there is room for it. */
static void out_produce(struct far_half *h)
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
	if (to - at > DATAGRAM && (draw() & 1)) /* some of it is lost, and comes later */
		to = at + DATAGRAM * (1 + draw() % ((to - at) / DATAGRAM));
	o->carry_to = to;
	o->carry_due = later();
}

static void carry(struct far_half *h)
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

static void acknowledge(struct far_half *h)
{
	struct incoming *i = &h->in;

	i->ack_due = NEVER;
	i->acked = i->ack;
	if (flows(h->other))
		out_consumed(h->other, i->ack);
}

/* ---- the line ---- */

static void look(struct far_half *h)
{
	in_look(h);
	out_look(h);
	if (!h->out.ended && h->retry_at == NEVER && (h->leaving || (h->out.marks & HUT_MARK_SHUT)))
		h->retry_at = now + h->retry_ns;
}

static bool over(const struct far_half *h)
{
	return h->gone && (h->out.delivered || (h->out.ended && h->peer_gone));
}

static void post(struct far_half *h, struct message m)
{
	struct far_half *to = h->other;
	struct message *copied = malloc(sizeof(m));

	if (!copied)
		abort();
	*copied = m;
	copied->next = NULL;
	copied->due = later();
	if (copied->due < to->last_due)
		copied->due = to->last_due; /* the link keeps the order */
	to->last_due = copied->due;
	*to->inbox_end = copied;
	to->inbox_end = &copied->next;
}

static void tell(struct far_half *h)
{
	struct incoming *i = &h->in;
	struct outgoing *o = &h->out;
	struct message m = {
		.bye = over(h), .closed = h->closed_due,
		.r = { i->round, i->opened, i->stopped, i->marks, i->stopped_at, i->announced ? in_consumed(h) : 0, i->ask,
		       i->told },
		.s = { o->started, o->marks, o->leave, o->agreed, o->done, o->start, o->end, o->ended, !o->ended },
	};

	h->changed = h->closed_due = false;
	post(h, m);
}

static void check_socket(struct far_half *h)
{
	enum holding socket = holding(h);

	h->retry_at = NEVER;
	if (socket != OPEN)
		out_check_end(h);
	if (h->leaving && socket == GONE && !h->gone) {
		h->gone = h->in.gone = true;
		h->sign_at = now;
		in_look(h);
	}
	if (!h->out.ended || (h->leaving && !h->gone)) {
		h->retry_ns = h->retry_ns * 2 < LONGEST_RETRY_NS ? h->retry_ns * 2 : LONGEST_RETRY_NS;
		h->retry_at = now + h->retry_ns;
	}
}

/* After a FIN: is the end overdue? */
static void in_on_time(struct far_half *h)
{
	struct incoming *i = &h->in;

	if (!i->ask || i->told || now - i->asked_at < END_PATIENCE_NS)
		return;
	if (i->tail == i->asked_tail && !(i->announced && in_consumed(h) < i->tail)) {
		in_cut(h);
	} else {
		i->asked_tail = i->tail;
		i->asked_at = now;
	}
}

/* The other half knows nothing of the line any more. */
static void on_bye(struct far_half *h)
{
	struct incoming *i = &h->in;

	h->peer_gone = true;
	/* Also when its last word is lost: a writer that nobody reads any more must not wait for room. */
	add_marks(h, &tx(h)->cons_mark, HUT_MARK_GONE);
	look(h);
	if (!i->told && i->round && (i->phase != IN_TCP || i->ask))
		in_cut(h);
}

static void on_message(struct far_half *h, const struct message *m)
{
	if (h->removed) {
		if (!m->bye)
			post(h, (struct message){ .bye = true });
		return;
	}
	h->sign_at = now;
	if (m->closed && h->end) { /* its registration is over: a hint (EndPool.peerGone) */
		STORE(&h->end->agent_gone, 1);
		ring(h);
	}
	if (m->bye) {
		on_bye(h);
		return;
	}
	look(h);
	out_on_peer(h, &m->r);
	in_on_peer(h, &m->s);
	look(h);
}

static void take_message(struct far_half *h)
{
	struct message *m = h->inbox;

	h->inbox = m->next;
	if (!h->inbox)
		h->inbox_end = &h->inbox;
	on_message(h, m);
	free(m);
}

void far_gone(struct far_half *h)
{
	now = clock_ns();
	h->end = NULL;
	h->leaving = true;
	h->closed_due = h->changed = true;
	h->sign_at = now;
	look(h);
	check_socket(h);
}

static bool finished(const struct far_half *h)
{
	return !h->changed && (over(h) || (h->gone && now - h->sign_at >= LINGER_NS));
}

/* Everything of a half that is due. */
static void step(struct far_half *h)
{
	while (h->inbox && h->inbox->due <= now)
		take_message(h);
	if (h->removed)
		return;
	if (h->look_at <= now) {
		h->look_at = NEVER;
		look(h);
	}
	if (h->leave_at <= now) {
		h->leave_at = now + draw() % (2 * leave_ns);
		out_leave_wire(h);
	}
	if (h->out.carry_due <= now)
		carry(h);
	if (h->in.ack_due <= now)
		acknowledge(h);
	if (h->retry_at <= now)
		check_socket(h);
	if (h->out.pay_at <= now)
		out_pay(h);
	in_on_time(h);
	in_acknowledge(h, false);
}

static void produce(struct far_half *h)
{
	if (h->removed)
		return;
	if (h->out.started == h->out.round && out_is_started(&h->out))
		out_see_tail(h);
	out_produce(h);
	if (h->changed)
		tell(h);
	if (h->rang) {
		h->rang = false;
		ring(h);
	}
	if (finished(h))
		h->removed = true;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t half_due(const struct far_half *h)
{
	uint64_t due = h->inbox ? h->inbox->due : NEVER;

	if (h->removed)
		return due;
	if (h->changed || h->rang)
		return 0;
	due = earlier(due, earlier(h->look_at, earlier(h->retry_at, h->out.pay_at)));
	due = earlier(due, earlier(h->leave_at, earlier(h->out.carry_due, h->in.ack_due)));
	if (h->in.ask && !h->in.told)
		due = earlier(due, h->in.asked_at + END_PATIENCE_NS);
	return h->gone ? earlier(due, h->sign_at + LINGER_NS) : due;
}

uint64_t far_due_ns(void)
{
	uint64_t due = NEVER;

	for (const struct line *l = lines; l; l = l->next)
		due = earlier(due, earlier(half_due(&l->half[0]), half_due(&l->half[1])));
	return due;
}

static void free_half(struct far_half *h)
{
	while (h->inbox) {
		struct message *m = h->inbox;

		h->inbox = m->next;
		free(m);
	}
	munmap(h->segment, HUT_PAGE + 2ull * ring_size + 2ull * over_size);
	close(h->bell);
	/* The program has copies of it: closing ours does not take it out of the set. */
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, h->kick, NULL);
	close(h->kick);
}

static void hear_bells(void)
{
	struct epoll_event ev[64];
	int n = epoll_wait(epoll_fd, ev, 64, 0);

	for (int i = 0; i < n; i++) {
		struct far_half *h = ev[i].data.ptr;
		uint64_t count;

		if (read(h->kick, &count, sizeof(count)) == sizeof(count))
			h->look_at = earlier(h->look_at, later());
	}
}

void far_run(void)
{
	now = clock_ns();
	hear_bells();
	for (struct line **at = &lines; *at;) {
		struct line *l = *at;

		step(&l->half[0]);
		step(&l->half[1]);
		produce(&l->half[0]);
		produce(&l->half[1]);
		if (l->half[0].removed && l->half[1].removed) {
			*at = l->next;
			free_half(&l->half[0]);
			free_half(&l->half[1]);
			free(l);
		} else {
			at = &l->next;
		}
	}
}

/* ---- for people ---- */

static void print_dir(const char *what, const struct hut_dir *d)
{
	fprintf(stderr, "    %s: start %llu head %llu tail %llu turn %u.%u:%u cons %u/%x/%u prod %u/%x/%u done %u\n", what,
		(unsigned long long)d->start, (unsigned long long)d->head, (unsigned long long)d->tail,
		(uint32_t)(d->turn >> 34), (uint32_t)(d->turn >> 32) & 3, (uint32_t)d->turn, d->cons_round, d->cons_mark,
		d->cons_wait, d->prod_round, d->prod_mark, d->prod_wait, d->prod_done);
}

static void print_half(const struct far_half *h)
{
	const struct outgoing *o = &h->out;
	const struct incoming *i = &h->in;

	fprintf(stderr, "  half:%s%s%s%s\n", h->leaving ? " leaving" : "", h->gone ? " gone" : "",
		h->peer_gone ? " peer-gone" : "", h->removed ? " removed" : "");
	fprintf(stderr, "    out: phase %d round %u started %u agreed %u done %u%s%s%s%s peer armed %u stopped %u\n",
		(int)o->phase, o->round, o->started, o->agreed, o->done, o->ended ? " ended" : "",
		o->delivered ? " delivered" : "", o->flow ? " flow" : "", o->routed ? " routed" : "", o->peer.armed,
		o->peer.stopped);
	print_dir("out", tx(h));
	fprintf(stderr, "    in: phase %d round %u opened %u stopped %u%s%s%s%s%s\n", (int)i->phase, i->round, i->opened,
		i->stopped, i->announced ? " announced" : "", i->ask ? " ask" : "", i->told ? " told" : "",
		i->flow ? " flow" : "", i->routed ? " routed" : "");
	print_dir("in", rx(h));
	if (h->end)
		fprintf(stderr, "    end: rx %u/%u tx %u/%u flags %x tcp %llu %llu ring %llu %llu reason %u\n", h->end->rx_path,
			h->end->rx_round, h->end->tx_path, h->end->tx_round, h->end->flags,
			(unsigned long long)h->end->tcp_in, (unsigned long long)h->end->tcp_out,
			(unsigned long long)h->end->ring_in, (unsigned long long)h->end->ring_out, h->end->reason);
}

void far_print(void)
{
	for (const struct line *l = lines; l; l = l->next) {
		fprintf(stderr, "line\n");
		print_half(&l->half[0]);
		print_half(&l->half[1]);
	}
}

/* ---- beginning ---- */

int far_fd(void)
{
	return epoll_fd;
}

void far_init(const char *option, uint32_t ring, uint32_t over)
{
	char *rest;

	far_on = true;
	ring_size = ring;
	over_size = over;
	delay_ns = strtoull(option, &rest, 0) * 1000;
	random_state = (*rest == ',' ? strtoull(rest + 1, &rest, 0) : 1) * 0x9e3779b97f4a7c15ull | 1;
	leave_ns = *rest == ',' ? strtoull(rest + 1, NULL, 0) * 1000 : 0;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	die_paying = atoi(getenv("HUTONG_TEST_DIE_PAYING") ? getenv("HUTONG_TEST_DIE_PAYING") : "0");
	diag_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (epoll_fd < 0 || diag_fd < 0) {
		perror("far");
		exit(1);
	}
}

static int begin_half(struct far_half *h, const struct far_program *p)
{
	size_t len = HUT_PAGE + 2ull * ring_size + 2ull * over_size;
	int fd = memfd_create("hutong-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = h };

	h->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->bell = fcntl(p->bell, F_DUPFD_CLOEXEC, 3);
	if (fd < 0 || ftruncate(fd, (off_t)len) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ||
	    h->kick < 0 || h->bell < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, h->kick, &ev)) {
		perror("far: segment");
		exit(1);
	}
	h->segment = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h->segment == MAP_FAILED)
		abort();
	h->segment->magic = HUT_SEG_MAGIC;
	h->segment->version = HUT_ABI_VERSION;
	h->segment->ring_size = ring_size;
	h->segment->over_size = over_size;
	h->segment->dir[0].split = h->segment->dir[1].split = HUT_NO_SPLIT;
	h->end = p->end;
	h->cookie = p->cookie;
	memcpy(h->local, p->local, 18);
	memcpy(h->remote, p->remote, 18);
	h->out.end = NO_END;
	h->out.limit = h->out.carry_due = h->out.pay_at = h->in.ack_due = NEVER;
	h->look_at = now;
	h->retry_at = NEVER;
	h->retry_ns = RETRY_NS;
	h->leave_at = leave_ns ? now + draw() % (2 * leave_ns) : NEVER;
	h->inbox_end = &h->inbox;
	h->changed = true;
	return fd;
}

void far_connect(const struct far_program program[2], struct far_channel channel[2])
{
	struct line *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	now = clock_ns();
	for (int i = 0; i < 2; i++) {
		l->half[i].other = &l->half[1 - i];
		channel[i].half = &l->half[i];
		channel[i].segment = begin_half(&l->half[i], &program[i]);
		channel[i].bell = l->half[i].kick;
	}
	l->next = lines;
	lines = l;
}
