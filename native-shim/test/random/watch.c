/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c - the launcher's eye on both sides: failures, ends, and connections on which nothing moves any more. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random.h"

static struct {
	uint64_t mark[3], since[3];
} last[MAX_SLOTS];

static bool idle(int slot)
{
	const struct seen *s = &sh->slot[slot];
	uint32_t gen = atomic_load(&s->gen);

	return atomic_load(&s->done[0]) == gen && atomic_load(&s->done[1]) == gen;
}

static bool all_idle(void)
{
	for (int i = 0; i < opt->conns; i++)
		if (!idle(i))
			return false;
	return true;
}

static bool all_gens(void)
{
	for (int i = 0; i < opt->conns; i++)
		if ((opt->only < 0 || i == opt->only) &&
		    (atomic_load(&sh->slot[i].gen) < (uint32_t)opt->gens || !idle(i)))
			return false;
	return true;
}

/* All has come, and the shutdown may have to wait for the other direction. */
static bool waits(const struct way *w, const struct way *other)
{
	return !w->shut && w->got == w->total && other->got != other->total;
}

/* True: nothing has moved for too long in something that is not over. */
static bool stuck(int slot, uint64_t now)
{
	const struct seen *s = &sh->slot[slot];
	uint64_t mark[3];
	bool over[3];

	for (int d = 0; d < 2; d++) {
		const struct way *w = &s->way[d];

		mark[d] = ((uint64_t)s->gen << 40) + w->sent + w->got + w->shut + w->eof;
		over[d] = w->eof || waits(w, &s->way[!d]);
	}
	mark[2] = ((uint64_t)s->gen << 40) + ((uint64_t)s->done[0] << 20) + s->done[1];
	over[2] = !s->way[0].eof || !s->way[1].eof;
	for (int d = 0; d < 3; d++) {
		if (over[d] || idle(slot) || last[slot].mark[d] != mark[d]) {
			last[slot].mark[d] = mark[d];
			last[slot].since[d] = now;
		} else if ((double)(now - last[slot].since[d]) / 1e9 > opt->stall) {
			snprintf(sh->message, sizeof(sh->message), "slot %d, generation %u: nothing moves %s", slot, s->gen,
				 d == 0 ? "to the server" : d == 1 ? "to the client" : "in closing");
			return true;
		}
	}
	return false;
}

static bool any_stuck(uint64_t now)
{
	static uint64_t looked;
	uint64_t pause = looked && now - looked > 500000000ull ? now - looked : 0;
	bool any = false;

	/* Time in which not even we have run, on a machine that was stopped, is nobody's fault. */
	for (int i = 0; i < opt->conns; i++)
		for (int d = 0; d < 3; d++)
			last[i].since[d] += pause;
	looked = now;
	for (int i = 0; i < opt->conns && !any; i++)
		any = (opt->only < 0 || i == opt->only) && atomic_load(&sh->slot[i].gen) && stuck(i, now);
	if (any)
		atomic_store(&sh->failed, 2);
	return any;
}

static bool any_dead(const pid_t pid[2])
{
	int status;

	for (int i = 0; i < 2; i++) {
		if (waitpid(pid[i], &status, WNOHANG) != pid[i])
			continue;
		snprintf(sh->message, sizeof(sh->message), "the %s ended by itself, status %x", i ? "server" : "client",
			 (unsigned int)status);
		return true;
	}
	return false;
}

/* False: something is wrong. */
static bool watch(const pid_t pid[2])
{
	if (any_dead(pid) || any_stuck(mono_ns()))
		return false;
	if (!atomic_load(&sh->failed))
		return true;
	while (atomic_load(&sh->failed) != 2) /* the message is being written */
		sleep_us(1000);
	return false;
}

/* Runs for some time, and then until no connection is open. */
static bool run_for(const pid_t pid[2], double seconds)
{
	uint64_t until = mono_ns() + (uint64_t)(seconds * 1e9);

	atomic_store(&sh->phase, RUN);
	while (mono_ns() < until && !(opt->gens && all_gens())) {
		if (!watch(pid))
			return false;
		sleep_us(20000);
	}
	atomic_store(&sh->phase, DRAIN);
	while (!all_idle()) {
		if (!watch(pid))
			return false;
		sleep_us(20000);
	}
	return true;
}

static bool finish(const pid_t pid[2])
{
	uint64_t until = mono_ns() + 20000000000ull;
	bool gone[2] = { false, false };

	atomic_store(&sh->phase, END);
	while (!gone[0] || !gone[1]) {
		for (int i = 0; i < 2; i++) {
			int status;

			if (gone[i] || waitpid(pid[i], &status, WNOHANG) != pid[i])
				continue;
			gone[i] = true;
			if (!WIFEXITED(status) || WEXITSTATUS(status)) {
				snprintf(sh->message, sizeof(sh->message), "the %s ended with status %x",
					 i ? "server" : "client", (unsigned int)status);
				return false;
			}
		}
		if (mono_ns() > until) {
			snprintf(sh->message, sizeof(sh->message), "a side does not end");
			return false;
		}
		sleep_us(10000);
	}
	return true;
}

bool watch_run(const pid_t pid[2])
{
	memset(last, 0, sizeof(last));
	if (opt->counters) {
		if (!run_for(pid, opt->warmup))
			return false;
		sleep_us(500000);
		counters_take(0, pid);
	}
	if (!run_for(pid, opt->seconds))
		return false;
	if (opt->counters) {
		int tries = 0;

		/* What others have to notice, as the agent a closed socket, takes its time. */
		do {
			sleep_us(250000);
			counters_take(1, pid);
		} while (!counters_equal() && ++tries < 20);
		counters_print();
		if (!counters_equal()) {
			counters_list(pid);
			snprintf(sh->message, sizeof(sh->message), "something is left over");
			return false;
		}
	}
	return finish(pid);
}
