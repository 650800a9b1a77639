/* SPDX-License-Identifier: Apache-2.0 */
/* wait.h - what wait.c (one socket) and poll.c (many) share and nobody else needs. */
#ifndef HUTONG_WAIT_H
#define HUTONG_WAIT_H

#include "shim.h"

struct timespec *wait_until(uint64_t deadline, struct timespec *ts); /* what is left of it; NULL: for ever */
void wait_drain(struct conn *c, int fd, short mine);                 /* empties the doorbell; others may need it too */
void wait_count(struct conn *c, short want, int by);

static inline uint64_t wait_sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Longer than two hundred years is for ever. */
static inline uint64_t wait_span(const struct timespec *t)
{
	if ((uint64_t)t->tv_sec >= NS_FOREVER / 3000000000ull)
		return NS_FOREVER;
	return (uint64_t)t->tv_sec * 1000000000ull + (uint64_t)t->tv_nsec;
}

#endif /* HUTONG_WAIT_H */
