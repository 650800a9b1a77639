/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - the program's own policy: HUTONG_INCLUDE and HUTONG_EXCLUDE (docs/operations.md, "Policy").
 *
 * It can only keep connections on TCP.  The agent's policy comes on top, and its `deny` has the last word.
 */
#ifndef HUTONG_POLICY_H
#define HUTONG_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define POLICY_RULES 64 /* of each kind */

/* The program, as rules may name it. */
struct policy_self {
	const char *comm; /* as /proc/PID/comm has it: cut off after 15 bytes */
	const char *exe;  /* last part of the executable's path */
	uint32_t uid;
};

/* Reads the environment; once, before the program's own code runs. */
void policy_init(void);

/*
 * Takes rules (NULL: none).  On a syntax error says false, writes what is wrong into `why`, and from then on allows nothing.
 */
bool policy_parse(const char *include, const char *exclude, const struct policy_self *self, char *why, size_t size);

/* Whether a connection may leave TCP; `local` may be NULL while it is not known.  Cheap when there are no rules. */
bool policy_allows(const struct sockaddr *local, const struct sockaddr *peer);

#endif /* HUTONG_POLICY_H */
