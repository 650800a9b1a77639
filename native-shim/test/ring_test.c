/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring_test.c - the rings alone: two threads, random sizes, overflow, wrap, and a peer that scribbles on all it may.
 * Built with ASan+UBSan and with TSan.  usage: ring_test [SEED]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "shim.h"

#define SMALL 16384u
#define OVER 65536u
#define BYTES (16u << 20)
#define PIECE 12000u /* beyond what is copied past the cache when source and target lie badly */

static struct hut_dir dir;
static uint8_t *small_area, *over_area;
static uint64_t seed;
static int passed, failed;

static void check(bool ok, const char *what)
{
	if (ok) {
		passed++;
		return;
	}
	failed++;
	printf("ring_test: FAILED: %s (seed %llu)\n", what, (unsigned long long)seed);
}

static uint64_t rnd(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* For copy.c, which looks twice: every other copy seems slow. */
uint64_t now_ns(void)
{
	static uint64_t t, looks;

	return t += looks++ / 2 % 2 ? 0 : NS_PER_MS;
}

static bool past, plain; /* both ways of copying were met */

static struct ring ring(void)
{
	return (struct ring){ .dir = &dir, .small = small_area, .over = over_area, .small_size = SMALL, .over_size = OVER };
}

static void reset(struct hut_end *e, uint64_t start)
{
	memset(&dir, 0, sizeof(dir));
	dir.split = HUT_NO_SPLIT;
	dir.tail = dir.start = dir.head = start;
	memset(e, 0, sizeof(*e));
	e->rx_head = e->tx_tail = e->tx_head = start;
	e->rx_end = e->tx_split = HUT_NO_SPLIT;
}

static uint8_t value(uint64_t off)
{
	return (uint8_t)(off * 131 + (off >> 8));
}

struct flow {
	struct hut_end end;
	uint64_t rnd, start;
	bool idle_writer;
};

static void *writer(void *arg)
{
	struct flow *f = arg;
	struct ring r = ring();
	static _Alignas(4096) uint8_t pages[8192 + PIECE];

	while (f->end.tx_tail - f->start < BYTES) {
		ssize_t room = ring_space(&r, &f->end, f->idle_writer && rnd(&f->rnd) % 3 == 0);
		size_t n = 1 + rnd(&f->rnd) % PIECE;
		/* Every other time the target is 1 to 63 bytes, modulo the page, beyond the source. */
		uint8_t *buf = pages + (rnd(&f->rnd) % 2 ? (f->end.tx_tail - 1 - rnd(&f->rnd) % 63) % 4096 : rnd(&f->rnd) % 4096);

		if (room < 0)
			return "poisoned";
		if (n > (size_t)room)
			n = (size_t)room;
		for (size_t i = 0; i < n; i++)
			buf[i] = value(f->end.tx_tail + i);
		ring_put(&r, &f->end, buf, n);
		past |= r.copying.past;
		plain |= r.copying.plain;
		ring_publish(&r, &f->end);
		ring_soon(&r, &f->end, n);
		if (!n)
			sched_yield();
	}
	return NULL;
}

static void *reader(void *arg)
{
	struct flow *f = arg;
	struct ring r = ring();
	static uint8_t buf[PIECE + 2000];

	while (f->end.rx_head - f->start < BYTES) {
		size_t n = 1 + rnd(&f->rnd) % sizeof(buf), skip;
		ssize_t avail = rnd(&f->rnd) % 4 ? ring_ahead(&r, &f->end, n) : ring_avail(&r, &f->end);

		if (avail < 0)
			return "poisoned";
		if (ring_some(&r, &f->end) && !avail)
			return "some and none";
		if (n > (size_t)avail)
			n = (size_t)avail;
		skip = n ? rnd(&f->rnd) % n : 0;
		ring_peek(&r, &f->end, skip, buf, n - skip);
		for (size_t i = 0; i < n - skip; i++)
			if (buf[i] != value(f->end.rx_head + skip + i))
				return "byte differs";
		if (n)
			ring_take(&r, &f->end, n);
		else
			sched_yield();
	}
	return NULL;
}

static void two_threads(bool overflow, uint64_t start, const char *what)
{
	static struct flow w, r;
	pthread_t t[2];
	void *why[2];

	reset(&w.end, start);
	reset(&r.end, start);
	w.start = r.start = start;
	w.rnd = seed * 77 + 1;
	r.rnd = seed * 99 + 5;
	w.idle_writer = overflow;
	pthread_create(&t[0], NULL, writer, &w);
	pthread_create(&t[1], NULL, reader, &r);
	pthread_join(t[0], &why[0]);
	pthread_join(t[1], &why[1]);
	if (why[0] || why[1])
		printf("%s / %s\n", (char *)why[0], (char *)why[1]);
	check(!why[0] && !why[1], what);
}

static void limits(void)
{
	struct ring r = ring();
	struct hut_end e;
	static uint8_t buf[OVER];

	reset(&e, 100);
	check(ring_space(&r, &e, false) == SMALL, "an empty ring has all its room");
	ring_put(&r, &e, buf, SMALL);
	check(!ring_publish(&r, &e), "nobody to ring");
	check(ring_space(&r, &e, false) == 0, "full");
	check(ring_avail(&r, &e) == SMALL, "all is there");
	dir.prod_wait = 1;
	check(!ring_take(&r, &e, 1), "one byte is not worth a wake-up");
	check(ring_take(&r, &e, SMALL / 2 - 1), "half of the ring is");
	check(ring_space(&r, &e, false) == SMALL / 2, "half is free");
	ring_put(&r, &e, buf, SMALL / 2);
	check(ring_space(&r, &e, true) == OVER, "the overflow opens for an idle reader");
	ring_put(&r, &e, buf, OVER);
	ring_publish(&r, &e);
	check(ring_avail(&r, &e) == SMALL + OVER, "both areas are full");
	dir.prod_wait = 1;
	check(!ring_take(&r, &e, SMALL + ring_worth(&r) - 1), "with overflow, less than a ring's worth is no wake-up");
	check(ring_take(&r, &e, 1), "a ring's worth of the overflow is");
	ring_take(&r, &e, OVER - ring_worth(&r));
	check(ring_space(&r, &e, false) == SMALL && e.tx_split == HUT_NO_SPLIT, "back to the small ring once empty");
	dir.cons_wait = 1;
	ring_put(&r, &e, buf, 1);
	check(ring_publish(&r, &e) && !dir.cons_wait, "a sleeping reader is rung once");
	e.rx_end = e.rx_head + 1;
	ring_put(&r, &e, buf, 5);
	ring_publish(&r, &e);
	check(ring_avail(&r, &e) == 1, "nothing beyond the end");
}

/* All that a peer can write, at random: answers stay in bounds or say poison; ASan watches the memory. */
static void hostile(unsigned int rounds)
{
	struct ring r = ring();
	struct hut_end e;
	uint64_t s = seed * 31 + 7, poison = 0, lawful = 0;
	static uint8_t buf[SMALL + OVER];
	bool ok = true;

	for (unsigned int i = 0; i < rounds; i++) {
		reset(&e, rnd(&s) >> (rnd(&s) % 64));
		r.tail_seen = 0;
		uint64_t *victim[] = { &dir.tail, &dir.head, &dir.split, &dir.start, &dir.turn };
		uint64_t near_[] = { e.rx_head, 0, UINT64_MAX, SMALL, OVER, rnd(&s) };

		for (int k = rnd(&s) % 4; k >= 0; k--)
			*victim[rnd(&s) % 5] = near_[rnd(&s) % 6] + rnd(&s) % 80000 - 40000;
		ssize_t a = ring_ahead(&r, &e, 1 + rnd(&s) % SMALL), b = ring_space(&r, &e, rnd(&s) % 2);

		if (a > (ssize_t)(SMALL + OVER) || b > (ssize_t)OVER)
			ok = false;
		if (a > 0) {
			ring_peek(&r, &e, 0, buf, (size_t)a);
			ring_take(&r, &e, (size_t)a);
		}
		if (b > 0)
			ring_put(&r, &e, buf, (size_t)b);
		poison += a < 0 || b < 0;
		lawful += a >= 0 && b >= 0;
	}
	check(ok, "hostile cursors stay in bounds");
	check(poison > rounds / 20 && lawful > rounds / 20, "the hostile run meets both poison and lawful states");
}

static size_t present(uint8_t *area, size_t size)
{
	unsigned char page[OVER / 4096];
	size_t n = 0;

	if (mincore(area, size, page))
		return 0;
	for (size_t i = 0; i < size / 4096; i++)
		n += page[i] & 1;
	return n * 4096;
}

/* Pages come in steps: at least what is used, at most twice that, in the end all; also over the wrap and after a jump. */
static void pages(uint64_t from, const char *what)
{
	struct paging p = { 0 };
	uint8_t *area = mmap(NULL, OVER, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bool ok = area != MAP_FAILED;
	int steps = 0;

	for (size_t used = 0; ok && used < OVER; used += 1000) {
		size_t n = OVER - used < 1000 ? OVER - used : 1000;

		if (from + used + n > p.to) {
			pages_get(&p, area, OVER, from + used, n, true);
			steps++;
		}
		ok = present(area, OVER) >= used + n && present(area, OVER) <= 2 * (used + n) + 4 * 4096; /* it may begin anywhere */
	}
	ok = ok && p.to == UINT64_MAX && steps <= 5 + (int)(OVER >> 17);
	p = (struct paging){ .to = from, .done = 4096 };
	pages_get(&p, area, OVER, from + 1000000, 1000, false);
	check(ok && p.to >= from + 1001000, what);
	munmap(area, OVER);
}

int main(int argc, char **argv)
{
	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	/* Guard pages around the areas: a step outside dies. */
	uint8_t *m = mmap(NULL, 3 * 4096 + SMALL + OVER, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	small_area = m + 4096;
	over_area = m + 4096 + SMALL + 4096;
	if (mprotect(small_area, SMALL, PROT_READ | PROT_WRITE) || mprotect(over_area, OVER, PROT_READ | PROT_WRITE))
		return 1;
	limits();
	pages(0, "pages come in steps");
	pages(UINT64_MAX / 2 - 70000, "pages come in steps, over the wrap");
	two_threads(false, 0, "stream from 0 without overflow");
	two_threads(true, 12345, "stream with overflow");
	two_threads(true, UINT64_MAX / 2 - 1000, "stream at a large offset");
#if defined(__SSE2__)
	check(past && plain, "blocks that lie badly were copied past the cache, and by memcpy");
#endif
	hostile(300000);
	printf("ring_test %d %d\n", passed, failed);
	return failed != 0;
}
