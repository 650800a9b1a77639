/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the echo programs (libevent, libuv) send: a stream of bytes for each connection that both the one that sends
 * and the one that checks can compute, and the sum that the server answers after the end of a stream. NioEcho.java
 * has the same, so any client can talk to any server.
 */
#ifndef HUTONG_TEST_PATTERN_H
#define HUTONG_TEST_PATTERN_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* xorshift64, eight bytes a step. */
struct pattern {
	uint64_t state;
	unsigned used;
};

static inline struct pattern pattern_of(uint64_t seed, unsigned connection)
{
	return (struct pattern){ .state = (seed + connection * UINT64_C(0x9e3779b97f4a7c15)) | 1, .used = 8 };
}

static inline unsigned char pattern_next(struct pattern *p)
{
	if (p->used == 8) {
		p->state ^= p->state << 13;
		p->state ^= p->state >> 7;
		p->state ^= p->state << 17;
		p->used = 0;
	}
	return (unsigned char)(p->state >> (8 * p->used++));
}

#define SUM_START UINT64_C(0xcbf29ce484222325)

/* FNV-1a over the bytes of a stream. */
static inline uint64_t sum_of(uint64_t sum, const unsigned char *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		sum = (sum ^ data[i]) * UINT64_C(1099511628211);
	return sum;
}

/* The connections have streams of unlike lengths, from half of `bytes` to one and a half of it. */
static inline uint64_t length_of(uint64_t bytes, unsigned connection)
{
	return bytes / 2 + (connection * UINT64_C(7919)) % bytes;
}

/* How much to hand over at once: small, large and odd sizes. */
static inline size_t piece_of(struct pattern *p, uint64_t left)
{
	unsigned kind = pattern_next(p) % 4u;
	size_t piece = 1u + pattern_next(p) * (kind == 0 ? 1u : kind == 1 ? 16u : kind == 2 ? 151u : 400u);
	return piece < left ? piece : (size_t)left;
}

static inline long number(const char *text, long most)
{
	char *end;
	errno = 0;
	long value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < 1 || value > most) {
		fprintf(stderr, "%s: %s is no number from 1 to %ld\n", program_invocation_short_name, text, most);
		exit(2);
	}
	return value;
}

#endif /* HUTONG_TEST_PATTERN_H */
