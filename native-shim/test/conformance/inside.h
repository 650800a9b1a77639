/* SPDX-License-Identifier: Apache-2.0 */
/* inside.h - between the parts of the harness; not for cases. */
#ifndef HUTONG_CONFORMANCE_INSIDE_H
#define HUTONG_CONFORMANCE_INSIDE_H

#include "harness.h"

extern const struct group *const all_groups[];

struct watched {
	pid_t pid;
	bool done;
	int status;
};

/* Waits for both sides and whatever they have left behind, and prints how those that did not end well did end. */
void watch(const char *name, struct watched w[2], int seconds, int agent_fd, void (*serve_agent)(void));

#endif
