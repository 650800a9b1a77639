/* SPDX-License-Identifier: Apache-2.0 */
/*
 * far.h - the test agent between hosts: each end of a connection has a segment of its own, and what two agents and the
 * light protocol do between them is done here, in one process.
 */
#ifndef HUTONG_TEST_FAR_H
#define HUTONG_TEST_FAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hutong_abi.h"

struct far_half;

/* What is known of a program's end. */
struct far_program {
	int bell;            /* duplicated */
	struct hut_end *end; /* of its pool, until far_gone() */
	uint64_t cookie;
	const uint8_t *local, *remote; /* 16 bytes of address, 2 of port */
};

/* What it gets. */
struct far_channel {
	struct far_half *half;
	int segment; /* the caller's to close */
	int bell;    /* of our end, ours */
};

/* What a program owes to TCP that was stopped in a round; see farpay.c. */
struct far_debt {
	struct hut_dir *dir;
	uint32_t round;
	struct far_half *half;
	const uint8_t *(*place)(const struct far_half *h, uint64_t at, size_t *n);
	int die; /* for tests: the place where, 0 for none */
};

/* In its first payment, or a while after it has sent a CHANNEL to both ends, with neither told to look. */
enum far_die { FAR_DIE_SENDING = 1, FAR_DIE_COUNTING, FAR_DIE_ACCEPTING, FAR_DIE_GIVING };

uint32_t far_mark(void);
bool far_pay(struct hut_end *e, uint64_t cookie, const struct far_debt *debt);

extern bool far_on;
extern int far_die_at; /* HUTONG_TEST_DIE_AT: where this agent dies, 0 for nowhere */

void far_init(const char *option, uint32_t ring, uint32_t over); /* DELAY_US,SEED[,LEAVE_US] */
void far_connect(const struct far_program program[2], struct far_channel channel[2]);
void far_gone(struct far_half *h); /* its registration is over */
bool far_on_tcp(void);             /* all lines are */
void far_lose(void);               /* agents are replaced by such as cannot go on with their lines: of one end, or of both */
bool far_is_lost(const struct far_half *h);
int far_fd(void);                  /* readable: far_run() has something to do */
uint64_t far_due_ns(void);         /* CLOCK_MONOTONIC: so has it then */
void far_run(void);
void far_print(void);               /* all lines, to stderr */

#endif
