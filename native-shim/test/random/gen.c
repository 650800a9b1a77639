/* SPDX-License-Identifier: Apache-2.0 */
/* gen.c - everything that is drawn from the seed. */
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "random.h"

static const char *const kinds[X_KINDS] = {
	"send", "write", "writev", "sendmsg", "sendto", "sendmmsg", "sendfile", "recv", "read", "readv", "recvmsg",
	"recvfrom", "recvmmsg", "more", "dontwait", "waitall", "trunc", "peek", "fionread", "poll", "toggle", "timeo",
	"dup", "option", "pause", "eof",
};

static const char *const modes[M_MODES] = {
	"threads", "threads-epoll", "poll", "ppoll", "select", "pselect", "level", "edge", "edge-short", "oneshot",
	"tries", "work-level", "work-edge", "work-oneshot",
};

const char *kind_name(int kind)
{
	return kinds[kind];
}

const char *mode_name(int mode)
{
	return modes[mode];
}

int kind_by_name(const char *name)
{
	for (int i = 0; i < X_KINDS; i++)
		if (!strcasecmp(kinds[i], name))
			return i;
	return -1;
}

int mode_by_name(const char *name)
{
	for (int i = 0; i < M_MODES; i++)
		if (!strcasecmp(modes[i], name))
			return i;
	return -1;
}

bool kind_on(int kind)
{
	return opt->kinds >> kind & 1;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t rng_next(struct rng *r)
{
	return mix(r->s += 0x9e3779b97f4a7c15ull);
}

struct rng rng_of(uint64_t a, uint64_t b, uint64_t c)
{
	return (struct rng){ mix(mix(mix(opt->seed + 0x1234567) + a) + b) + c * 0x9e3779b97f4a7c15ull };
}

#define DRAW(r, n) ((uint32_t)(rng_next(r) % (n)))

static uint64_t some_total(struct rng *r)
{
	uint64_t x = rng_next(r), n;

	switch (DRAW(r, 20)) {
	case 0: case 1: n = 0; break;
	case 2: case 3: case 4: n = x % 1000; break;
	case 5: case 6: case 7: case 8: case 9: n = x % 100000; break;
	case 10: case 11: n = 1 + x % 32000000; break;
	default: n = x % 2000000; break;
	}
	return n < opt->bytes ? n : x % (opt->bytes + 1);
}

static uint8_t some_mode(struct rng *r)
{
	uint32_t x = DRAW(r, M_MODES);

	while (!(opt->modes >> x & 1))
		x = (x + 1) % M_MODES;
	return (uint8_t)x;
}

void gen_plan(int slot, uint32_t gen, struct plan *p)
{
	struct rng r = rng_of(1, (uint64_t)slot, gen);
	uint32_t bits = (uint32_t)rng_next(&r);

	if (script_plan(slot, gen, p))
		return;
	memset(p, 0, sizeof(*p));
	p->total[0] = some_total(&r);
	p->total[1] = some_total(&r);
	p->family = opt->family ? opt->family == 6 : bits & 1;
	p->mode[0] = some_mode(&r);
	p->mode[1] = some_mode(&r);
	p->toggles = bits & 2;
	p->timeouts = (bits & 12) == 12;
	p->signals = opt->signals && (bits & 48) == 48;
	p->second_set = bits & 64;
	p->direct_close = bits & 128;
	p->connect_nonblock = bits & 256;
	p->late_shut = bits & 0x7000;
	p->slow = (bits & 0xe00) == 0xe00;
}

static uint32_t some_size(struct rng *r)
{
	uint32_t x = (uint32_t)(rng_next(r) >> 20);

	switch (DRAW(r, 12)) {
	case 0: case 1: return 1 + x % 16;
	case 2: case 3: return 1 + x % 1500;
	case 4: return 1 + x % 70000;
	case 5: return 1 + x % MAX_CALL;
	case 6: return 4096u << x % 5;
	default: return 1 + x % 8192;
	}
}

struct op gen_op(const struct conn *c, int dir)
{
	uint64_t key = (uint64_t)my_role << 1 | (dir == OUT);
	uint32_t n = dir == OUT ? c->n_out : c->n_in;
	struct rng r = rng_of(key + 2, (uint64_t)c->slot << 32 | c->gen, n);
	uint32_t bits = (uint32_t)rng_next(&r), x = (uint32_t)rng_next(&r);
	struct op o = { 0 };

	if (script_active()) {
		if (script_op(c, dir, n, &o))
			return o;
		return (struct op){ .call = dir == OUT ? C_SEND : C_RECV, .size = 65536, .parts = 1 };
	}
	o.size = some_size(&r);
	o.call = (uint8_t)(dir == OUT ? C_SEND + x % (C_RECV - C_SEND) : C_RECV + x % (C_CALLS - C_RECV));
	if (!kind_on(o.call))
		o.call = dir == OUT ? C_SEND : C_RECV;
	o.parts = (uint8_t)(1 + (bits & 1 ? DRAW(&r, 4) : bits & 2 ? DRAW(&r, MAX_PARTS) : 0));
	o.more = kind_on(X_MORE) && (bits & 0xfc) == 0xfc;
	o.dontwait = kind_on(X_DONTWAIT) && (bits & 0x300) == 0;
	o.waitall = kind_on(X_WAITALL) && (bits & 0xc00) == 0xc00;
	o.trunc = kind_on(X_TRUNC) && (bits & 0x1f000) == 0x1f000;
	o.peek = kind_on(X_PEEK) && (bits & 0xe0000) == 0xe0000;
	o.arg = (uint32_t)rng_next(&r);
	if ((bits & 0x700000) == 0x700000) {
		o.extra = (uint8_t)(X_FIONREAD + DRAW(&r, X_EOF_AGAIN - X_FIONREAD));
		if (!kind_on(o.extra))
			o.extra = 0;
	}
	if (o.extra == X_PAUSE)
		o.pause_us = DRAW(&r, 10) ? DRAW(&r, 300) : DRAW(&r, 20000);
	else if (c->plan.slow && kind_on(X_PAUSE) && !DRAW(&r, 4))
		o.pause_us = DRAW(&r, 2000);
	return o;
}

/* The stream of a direction: 8 bytes at a time. */
void gen_bytes(const struct conn *c, int out, uint64_t at, uint8_t *to, size_t n)
{
	int dir = my_role == CLIENT ? !out : out;
	uint64_t key = rng_of(99, (uint64_t)c->slot << 32 | c->gen, (uint64_t)dir).s;
	uint64_t k = at >> 3;
	size_t skip = at & 7;

	while (n) {
		uint64_t w = (k++ ^ key) * 0x9e3779b97f4a7c15ull;
		size_t part = 8 - skip < n ? 8 - skip : n;

		w ^= w >> 32;
		memcpy(to, (uint8_t *)&w + skip, part);
		to += part;
		n -= part;
		skip = 0;
	}
}
