/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farline.h - what the parts of the test agent between hosts know of a line: its two halves, what they tell each other,
 * and the words of a segment.
 *
 *   far.c      lines, messages between halves, time
 *   farout.c   outgoing: what a half's program sends
 *   farin.c    incoming: what it receives
 *   farwire.c  what the datagrams carry, and what is paid for a stopped program
 *   farsock.c  what has become of a program's socket
 *   farprint.c for people
 */
#ifndef HUTONG_TEST_FARLINE_H
#define HUTONG_TEST_FARLINE_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
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
#define PAY_MORE_NS (2 * MS)        /* after progress */
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
	bool changed, leaving, gone, peer_gone, rang, removed, lost, closed_due, wishes;
	uint64_t look_at, retry_at, retry_ns, sign_at, leave_at, wish_at, last_due;
	unsigned int changes; /* of `wishes` */
	struct message *inbox, **inbox_end;
};

extern uint64_t far_now; /* of this turn */
extern uint32_t far_ring_size, far_over_size;

/* At once, or a while later, or now and then much later. */
uint64_t far_later(void);
uint64_t far_draw(void);

/* What no shim may do; the runner looks for it. */
void far_hostile(const struct far_half *h, const char *what, uint64_t a, uint64_t b);

enum holding far_holding(const struct far_half *h);
void far_socket_init(void);
void far_print_half(const struct far_half *h);

bool out_is_started(const struct outgoing *o);
uint64_t out_end(const struct outgoing *o);
void out_see_tail(struct far_half *h);
void out_check_end(struct far_half *h);
void out_leave_wire(struct far_half *h);
void out_look(struct far_half *h);
void out_consumed(struct far_half *h, uint64_t at);
void out_on_peer(struct far_half *h, const struct receiving *r);

uint64_t in_consumed(struct far_half *h);
void in_look(struct far_half *h);
void in_tell_end(struct far_half *h);
void in_cut(struct far_half *h);
void in_on_peer(struct far_half *h, const struct sending *s);

void out_pay(struct far_half *h);
void out_produce(struct far_half *h);
void in_acknowledge(struct far_half *h, bool arrived);
void carry(struct far_half *h);
void acknowledge(struct far_half *h);

/* ---- the segment's words ---- */

static inline struct hut_dir *tx(const struct far_half *h)
{
	return &h->segment->dir[0];
}

static inline struct hut_dir *rx(const struct far_half *h)
{
	return &h->segment->dir[1];
}

static inline bool turn_is(const struct hut_dir *d, uint32_t round, uint32_t how)
{
	return HUT_TURN_STATE(LOAD(&d->turn)) == HUT_STATE(round, how);
}

static inline uint64_t turn_offset(uint64_t turn, uint64_t near)
{
	return near + (uint64_t)(int64_t)(int32_t)((uint32_t)turn - (uint32_t)near);
}

static inline bool move(struct hut_dir *d, uint64_t from, uint64_t to)
{
	return __atomic_compare_exchange_n(&d->turn, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE);
}

static inline uint32_t next_round(uint32_t round)
{
	return (round + 1) & HUT_ROUND_MASK;
}

static inline void ring(struct far_half *h)
{
	uint64_t one = 1;

	if (write(h->bell, &one, sizeof(one)) != sizeof(one) && errno != EAGAIN)
		perror("far: bell");
}

/* Marks are only ever added; whoever may sleep for them is woken. */
static inline void add_marks(struct far_half *h, uint32_t *word, uint32_t bits)
{
	if ((__atomic_fetch_or(word, bits, __ATOMIC_ACQ_REL) & bits) != bits)
		ring(h);
}

#endif
