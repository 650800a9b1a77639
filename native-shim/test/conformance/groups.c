/* SPDX-License-Identifier: Apache-2.0 */
/* groups.c - the table of all cases. */
#include "inside.h"

#define GROUPS(X)                                                                                                      \
	X(io) X(vector) X(poll) X(epoll) X(sets) X(threads) X(wakes) X(process) X(forks) X(children) X(options)         \
	X(ends) X(exits) X(gone) X(closing) X(signals) X(cancel) X(handover) X(stop) X(debt) X(switch) X(connect) X(members)            \
	X(agent) X(uring) X(jumps) X(corners) X(numbers) X(files) X(given) X(broken) X(kept) X(past) X(fresh)          \
	X(older) X(taken) X(pipes) X(rare) X(beside) X(crew) X(turned)

#define X(g) extern const struct group group_##g;
GROUPS(X)
#undef X

const struct group *const all_groups[] = {
#define X(g) &group_##g,
	GROUPS(X)
#undef X
	NULL,
};
