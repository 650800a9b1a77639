/* SPDX-License-Identifier: Apache-2.0 */
/* inside.h - between the parts of the harness; not for cases. */
#ifndef HUTONG_CONFORMANCE_INSIDE_H
#define HUTONG_CONFORMANCE_INSIDE_H

#include "harness.h"

extern const struct group *const all_groups[];

extern const char *conf_where;
extern int conf_port;
extern int ask_agent[2], agent_answers[2];
extern _Atomic int *on_ring_count;
extern bool never;
void must(bool ok, const char *what); /* else the harness itself does not work */

struct watched {
	pid_t pid;
	bool done;
	int status;
};

/* Waits for both sides and whatever they have left behind, and prints how those that did not end well did end. */
void watch(const char *name, struct watched w[2], int seconds, int agent_fd, void (*serve_agent)(void));

#endif
