/* SPDX-License-Identifier: Apache-2.0 */
/* script.c - test cases: made, changed, printed and read. */
#include <inttypes.h>
#include <string.h>

#include "hostile.h"

static uint64_t rnd_state = 1;

void rnd_seed(uint64_t seed)
{
	rnd_state = seed * 0x9e3779b97f4a7c15ull + 1;
}

uint64_t rnd(void)
{
	uint64_t x = rnd_state += 0x9e3779b97f4a7c15ull;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint32_t below(uint32_t n)
{
	return (uint32_t)((rnd() >> 32) * n >> 32);
}

static uint32_t some_length(void)
{
	static const uint32_t usual[8] = { 1, 10, 100, 1000, SMALL, SMALL / 2, SMALL + OVER, 20000 };

	return below(2) ? usual[below(8)] : 1 + below(6000);
}

static struct step some_step(uint8_t kind)
{
	uint64_t r = rnd();
	struct step s = { kind, (uint8_t)r, (uint8_t)(r >> 8), (uint8_t)(r >> 16), (uint32_t)(r >> 32) };

	if (kind == STEP_CALL) {
		/* Mostly what moves bytes; what ends the connection is rare. */
		s.a = below(3) ? (uint8_t)below(14) : (uint8_t)below(CALLS);
		if ((s.a == 26 || s.a == 22 || s.a == 25) && below(2))
			s.a = 27;
		s.v = some_length();
	} else if (kind == STEP_WRITE && below(4) == 0) {
		s.a = (uint8_t)(below(2) * 12 + 4); /* `turn` is where most is decided */
		s.b = 6;
	} else if (kind == STEP_PEER && below(2)) {
		s.v = some_length();
	}
	return s;
}

static uint8_t some_kind(void)
{
	static const uint8_t kinds[32] = { [0 ... 18] = STEP_WRITE, [19 ... 27] = STEP_PEER, [28 ... 30] = STEP_TCP, STEP_TIME };

	return kinds[below(32)];
}

void script_random(struct script *s)
{
	unsigned int n = 4 + below(12);

	*s = (struct script){ .start = (uint8_t)below(TEMPLATES) };
	while (s->n < n) {
		s->step[s->n++] = some_step(some_kind());
		if (below(3))
			s->step[s->n++] = some_step(STEP_CALL);
	}
}

static void insert(struct script *s, unsigned int at, struct step st)
{
	if (s->n == STEPS_MAX)
		return;
	memmove(&s->step[at + 1], &s->step[at], (s->n - at) * sizeof(st));
	s->step[at] = st;
	s->n++;
}

static void drop(struct script *s, unsigned int at)
{
	memmove(&s->step[at], &s->step[at + 1], (s->n - at - 1u) * sizeof(s->step[0]));
	s->n--;
}

static void change(struct step *st)
{
	switch (below(6)) {
	case 0:
		*st = some_step(st->kind);
		break;
	case 1:
		st->a = (uint8_t)rnd();
		break;
	case 2:
		st->b = (uint8_t)rnd();
		break;
	case 3:
		st->c ^= (uint8_t)(1u << below(8));
		break;
	case 4:
		st->v = below(2) ? (uint32_t)rnd() : st->v ^ 1u << below(32);
		break;
	default:
		st->v += (uint32_t)below(17) - 8;
		break;
	}
}

void script_mutate(struct script *s, const struct script *with)
{
	for (unsigned int times = 1 + below(4); times; times--) {
		unsigned int at = s->n ? below(s->n) : 0;

		switch (below(8)) {
		case 0:
			insert(s, at, some_step(STEP_CALL));
			insert(s, at, some_step(some_kind()));
			break;
		case 1:
			if (s->n > 3)
				drop(s, at);
			break;
		case 2: /* splice: our head, the other's tail */
			if (with->n && below(2)) {
				unsigned int from = below(with->n), n = with->n - from;

				if (n > STEPS_MAX - at)
					n = STEPS_MAX - at;
				memcpy(&s->step[at], &with->step[from], n * sizeof(s->step[0]));
				s->n = (uint8_t)(at + n);
			}
			break;
		case 3:
			if (below(4) == 0)
				s->start = (uint8_t)below(TEMPLATES);
			break;
		case 4:
			for (unsigned int n = 2 + below(4); n; n--) {
				insert(s, s->n, some_step(STEP_WRITE));
				insert(s, s->n, some_step(STEP_CALL));
			}
			break;
		default:
			if (s->n)
				change(&s->step[at]);
			break;
		}
	}
}

static const char *const kinds[STEP_KINDS] = { "write", "peer", "tcp", "time", "call" };

void script_print(const struct script *s, FILE *f)
{
	fprintf(f, "start %u\n", s->start);
	for (unsigned int i = 0; i < s->n; i++) {
		const struct step *st = &s->step[i];

		fprintf(f, "%s %u %u %u %" PRIu32 " %s\n", kinds[st->kind], st->a, st->b, st->c, st->v,
			st->kind == STEP_CALL ? call_name(st->a) : "-");
	}
}

bool script_read(struct script *s, FILE *f)
{
	char kind[16];
	unsigned int start, a, b, c;
	uint32_t v;

	if (fscanf(f, "start %u\n", &start) != 1)
		return false;
	*s = (struct script){ .start = (uint8_t)start };
	while (s->n < STEPS_MAX && fscanf(f, "%15s %u %u %u %" SCNu32 " %*[^\n]\n", kind, &a, &b, &c, &v) == 5) {
		struct step *st = &s->step[s->n++];

		*st = (struct step){ 0, (uint8_t)a, (uint8_t)b, (uint8_t)c, v };
		while (strcmp(kind, kinds[st->kind]))
			if (++st->kind == STEP_KINDS)
				return false;
	}
	return s->n > 0;
}
