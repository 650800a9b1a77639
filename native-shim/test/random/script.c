/* SPDX-License-Identifier: Apache-2.0 */
/*
 * script.c - a run as text, a line a call, and the way back.
 *
 *   p SLOT GEN TOTAL0 TOTAL1 FAMILY MODE0 MODE1 BITS
 *   o ROLE SLOT GEN in|out N AT_US CALL EXTRA FLAGS PARTS SIZE PAUSE_US ARG = RESULT ERRNO
 *
 * A replay makes the same calls, each thread in its order and not before the time at which it was made; a thread whose
 * lines are used up goes on with plain calls.  Lines may be left out by hand.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "random.h"

#define BUFFER (1u << 20)

struct line {
	uint32_t key_slot, key_gen, n;
	int role, dir;
	struct op op;
};

struct planned {
	int slot;
	uint32_t gen;
	struct plan plan;
};

static struct line *lines;
static size_t n_lines;
static struct planned *plans;
static size_t n_plans;
static bool active;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *buffer;
static size_t used;
static int out_fd = -1;

bool script_active(void)
{
	return active;
}

static uint32_t plan_bits(const struct plan *p)
{
	return p->toggles | p->timeouts << 1 | p->signals << 2 | p->second_set << 3 | p->direct_close << 4 |
	       p->connect_nonblock << 5 | p->slow << 6 | p->late_shut << 7;
}

static uint32_t op_bits(const struct op *o)
{
	return o->more | o->dontwait << 1 | o->waitall << 2 | o->trunc << 3 | o->peek << 4;
}

static void add_plan(const char *text)
{
	struct planned q = { 0 };
	unsigned long long t0, t1;
	char mode[2][32];
	unsigned int family, bits;

	if (sscanf(text, "p %d %u %llu %llu %u %31s %31s %x", &q.slot, &q.gen, &t0, &t1, &family, mode[0], mode[1], &bits) != 8)
		return;
	q.plan = (struct plan){ { t0, t1 }, (uint8_t)family,
				{ (uint8_t)mode_by_name(mode[0]), (uint8_t)mode_by_name(mode[1]) },
				bits & 1, bits & 2, bits & 4, bits & 8, bits & 16, bits & 32, bits & 64, bits & 128 };
	plans = realloc(plans, (n_plans + 1) * sizeof(*plans));
	plans[n_plans++] = q;
}

static void add_op(const char *text)
{
	struct line l = { 0 };
	char role[8], dir[8], call[16], extra[16];
	unsigned int flags, parts;
	unsigned long long at;

	if (sscanf(text, "o %7s %u %u %7s %u %llu %15s %15s %x %u %u %u %x", role, &l.key_slot, &l.key_gen, dir, &l.n, &at,
		   call, extra, &flags, &parts, &l.op.size, &l.op.pause_us, &l.op.arg) != 13)
		return;
	l.role = role[0] == 's';
	l.dir = dir[0] == 'o' ? OUT : IN;
	l.op.at_us = at;
	l.op.call = (uint8_t)kind_by_name(call);
	l.op.extra = extra[0] == '-' ? 0 : (uint8_t)kind_by_name(extra);
	l.op.parts = (uint8_t)parts;
	l.op.more = flags & 1;
	l.op.dontwait = flags & 2;
	l.op.waitall = flags & 4;
	l.op.trunc = flags & 8;
	l.op.peek = flags & 16;
	lines = realloc(lines, (n_lines + 1) * sizeof(*lines));
	lines[n_lines++] = l;
}

static int by_key(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->role != y->role)
		return x->role < y->role ? -1 : 1;
	if (x->key_slot != y->key_slot)
		return x->key_slot < y->key_slot ? -1 : 1;
	if (x->key_gen != y->key_gen)
		return x->key_gen < y->key_gen ? -1 : 1;
	if (x->dir != y->dir)
		return x->dir < y->dir ? -1 : 1;
	return x->n < y->n ? -1 : x->n > y->n;
}

void script_load(const char *path)
{
	char text[400];
	FILE *f = fopen(path, "r");
	uint32_t n = 0;

	if (!f)
		fail(NULL, "no script %s", path);
	while (fgets(text, sizeof(text), f)) {
		if (text[0] == 'p')
			add_plan(text);
		else if (text[0] == 'o')
			add_op(text);
	}
	fclose(f);
	qsort(lines, n_lines, sizeof(*lines), by_key);
	/* Numbered anew, since lines may be missing. */
	for (size_t i = 0; i < n_lines; i++) {
		bool same = i && lines[i].role == lines[i - 1].role && lines[i].key_slot == lines[i - 1].key_slot &&
			    lines[i].key_gen == lines[i - 1].key_gen && lines[i].dir == lines[i - 1].dir;

		n = same ? n + 1 : 0;
		lines[i].n = n;
	}
	active = true;
}

bool script_plan(int slot, uint32_t gen, struct plan *p)
{
	for (size_t i = 0; i < n_plans; i++) {
		if (plans[i].slot != slot || plans[i].gen != gen)
			continue;
		*p = plans[i].plan;
		return true;
	}
	return false;
}

bool script_op(const struct conn *c, int dir, uint32_t n, struct op *o)
{
	struct line key = { .key_slot = (uint32_t)c->slot, .key_gen = c->gen, .n = n, .role = my_role, .dir = dir };
	struct line *l = bsearch(&key, lines, n_lines, sizeof(*lines), by_key);
	uint64_t now = (mono_ns() - c->born_ns) / 1000;

	if (!l)
		return false;
	*o = l->op;
	if (l->op.at_us > now)
		sleep_us(l->op.at_us - now);
	return true;
}

static void put(const char *text, int n)
{
	pthread_mutex_lock(&lock);
	if (!buffer)
		buffer = malloc(BUFFER);
	if (used + (size_t)n > BUFFER) {
		if (out_fd < 0)
			out_fd = open(opt->record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
		(void)!write(out_fd, buffer, used);
		used = 0;
	}
	memcpy(buffer + used, text, (size_t)n);
	used += (size_t)n;
	pthread_mutex_unlock(&lock);
}

void script_begin(struct conn *c, int dir, const struct op *o)
{
	if (!opt->record)
		return;
	c->now[dir == OUT] = *o;
	c->now[dir == OUT].at_us = (mono_ns() - c->born_ns) / 1000;
	atomic_store(&c->pending[dir == OUT], true);
}

void script_note(struct conn *c, int dir, uint32_t n, const struct op *o, long result, int err)
{
	char text[256];

	if (!opt->record || !atomic_exchange(&c->pending[dir == OUT], false))
		return;
	put(text, snprintf(text, sizeof(text), "o %s %d %u %s %u %llu %s %s %x %u %u %u %x = %ld %d\n",
			   my_role == CLIENT ? "client" : "server", c->slot, c->gen, dir == OUT ? "out" : "in", n,
			   (unsigned long long)c->now[dir == OUT].at_us, kind_name(o->call),
			   o->extra ? kind_name(o->extra) : "-", op_bits(o), o->parts, o->size, o->pause_us, o->arg, result,
			   err));
}

void script_note_plan(int slot, uint32_t gen, const struct plan *p)
{
	char text[256];

	if (!opt->record || my_role != CLIENT)
		return;
	put(text, snprintf(text, sizeof(text), "p %d %u %llu %llu %u %s %s %x\n", slot, gen, (unsigned long long)p->total[0],
			   (unsigned long long)p->total[1], p->family, mode_name(p->mode[0]), mode_name(p->mode[1]),
			   plan_bits(p)));
}

/* At the end; also of what is still under way. */
void script_flush(void)
{
	if (!opt->record)
		return;
	for (int i = 0; i < opt->conns; i++) {
		struct conn *c = conn_at(i);

		for (int d = 0; d < 2; d++)
			script_note(c, d ? OUT : IN, (d ? c->n_out : c->n_in) - 1, &c->now[d], -1, 0);
	}
	pthread_mutex_lock(&lock);
	if (out_fd < 0)
		out_fd = open(opt->record, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (used)
		(void)!write(out_fd, buffer, used);
	used = 0;
	pthread_mutex_unlock(&lock);
}
