/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the hostile peer: a coverage-guided search for states of the segment that the shim does not stand.
 *
 * usage: hostile [--states N] [--seed S] [--scribble SECONDS] [--case FILE]
 *        hostile --live SECONDS [--seed S]
 *        hostile --replay FILE
 *
 * A test case is a start (one of the templates of world.c) and a list of steps: the peer writes a value, makes a lawful
 * move, does something on TCP; time goes on; the victim's program makes a call.  A state counts when at least one write of
 * the peer has changed something that a peer may write, and a real function of the shim has run on it then.  Cases that
 * reach an edge of the shim's code in a state of the connection that was not seen before are kept and changed again.
 * What must hold: calls.c for what a call gives, world.c for the cursors; no report of a sanitizer; cover.c and kernel.c
 * for a call that does not end.
 */
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "hostile.h"

#define CORPUS 4096

static struct script corpus[CORPUS], now_running;
static unsigned int corpus_n;
static uint64_t states, seed, cases, poisoned;
static unsigned int step_now;
static const char *case_file = "hostile-case";
static bool loud, busy; /* a case is under way */

void save_case(void)
{
	FILE *f;

	if (!busy)
		return;
	busy = false;
	f = fopen(case_file, "w");
	fprintf(stderr, "hostile: seed %llu, case %llu, step %u; kept in %s\n", (unsigned long long)seed,
		(unsigned long long)cases, step_now, case_file);
	world_print(stderr);
	script_print(&now_running, stderr);
	if (f) {
		script_print(&now_running, f);
		fclose(f);
	}
}

void violation(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "hostile: VIOLATION: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	save_case();
	abort();
}

static void run(const struct script *s, bool count)
{
	bool dirty = false;
	int left_over = 2; /* calls on a connection that is over: they must find it so, but there is little to see */

	now_running = *s;
	busy = true;
	world_reset(s->start);
	for (step_now = 0; step_now < s->n; step_now++) {
		const struct step *st = &s->step[step_now];

		switch (st->kind) {
		case STEP_WRITE:
			dirty |= move_write(st);
			break;
		case STEP_PEER:
			move_peer(st);
			break;
		case STEP_TCP:
			move_tcp(st);
			break;
		case STEP_TIME:
			vnow += (1 + st->v % 1100) * NS_PER_MS;
			break;
		default:
			world_state();
			cover_budget = 20000000;
			call_run(st);
			cover_budget = INT64_MAX;
			cover_state = 0;
			if (UNLIKELY(loud)) {
				fprintf(stderr, "---- %u %s\n", step_now, call_name(st->a));
				world_print(stderr);
			}
			world_check(call_name(st->a));
			states += dirty && count;
			dirty = false;
			if (world_over() && !left_over--)
				goto out;
			break;
		}
	}
out:
	poisoned += victim_end->flags & HUT_ENDF_POISONED ? 1 : 0;
	cases++;
	if (cases % 64 == 0)
		world_check_other();
	busy = false;
}

static void search(uint64_t n, double *seconds)
{
	struct timespec a, b;
	uint64_t shown = 0;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &a);
	while (states < n) {
		struct script s;
		uint64_t before = cover_new;

		if (!corpus_n || below(16) == 0) {
			script_random(&s);
		} else {
			s = corpus[below(4) ? below(corpus_n) : corpus_n - 1 - below(corpus_n < 64 ? corpus_n : 64)];
			script_mutate(&s, &corpus[below(corpus_n)]);
		}
		run(&s, true);
		if (cover_new != before)
			corpus[corpus_n < CORPUS ? corpus_n++ : below(CORPUS)] = s;
		if (states / 10000000 != shown) {
			shown = states / 10000000;
			fprintf(stderr, "hostile: %llu states, %llu cases, %llu edges, %llu by state, %u kept\n",
				(unsigned long long)states, (unsigned long long)cases, (unsigned long long)cover_edges,
				(unsigned long long)cover_new, corpus_n);
		}
	}
	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b);
	*seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

/* ---- mode 2: a thread that writes while the calls run ---- */

static _Atomic uint64_t scribbles;
static _Atomic bool scribbling;

static void *scribble(void *arg)
{
	uint64_t x = seed ^ 0x5851f42d4c957f2dull;

	(void)arg;
	while (atomic_load(&scribbling)) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		struct step s = { STEP_WRITE, (uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16), (uint32_t)(x >> 32) };

		if (move_write(&s))
			atomic_fetch_add(&scribbles, 1);
		for (unsigned int i = x >> 24 & 63; i; i--)
			__builtin_ia32_pause();
	}
	return NULL;
}

static uint64_t run_scribbled(double seconds)
{
	struct timespec a, b;
	uint64_t n = 0;
	pthread_t thread;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &a);
	b = a;
	atomic_store(&scribbling, true);
	if (pthread_create(&thread, NULL, scribble, NULL))
		violation("no thread");
	while ((double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9 < seconds) {
		now_running = (struct script){ .start = (uint8_t)below(TEMPLATES) };
		busy = true;
		world_reset(now_running.start);
		for (int i = 0; i < 12 && !world_over(); i++) {
			struct step s = { STEP_CALL, (uint8_t)below(CALLS), 0, (uint8_t)rnd(), (uint32_t)rnd() };
			struct step t = { STEP_PEER, (uint8_t)rnd(), 0, 0, (uint32_t)rnd() };
			uint64_t before = atomic_load(&scribbles);

			now_running.step[now_running.n++] = t;
			now_running.step[now_running.n++] = s;
			move_peer(&t);
			cover_budget = 20000000;
			call_run(&s);
			cover_budget = INT64_MAX;
			world_check(call_name(s.a));
			n += atomic_load(&scribbles) != before;
			vnow += below(4) * NS_PER_MS;
		}
		busy = false;
		if (++cases % 64 == 0) {
			world_check_other();
			syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b);
		}
	}
	atomic_store(&scribbling, false);
	pthread_join(thread, NULL);
	return n;
}

int main(int argc, char **argv)
{
	uint64_t n = 1000000, scribbled = 0;
	double scribble_s = 0, live_s = 0, took = 0;
	const char *replay = NULL;

	seed = (uint64_t)getpid();
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--states"))
			n = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--scribble"))
			scribble_s = atof(argv[i + 1]);
		else if (!strcmp(argv[i], "--live"))
			live_s = atof(argv[i + 1]);
		else if (!strcmp(argv[i], "--replay"))
			replay = argv[i + 1];
		else if (!strcmp(argv[i], "--case"))
			case_file = argv[i + 1];
	}
	signal(SIGPIPE, SIG_IGN);
	__asan_set_death_callback(save_case);
	if (live_s > 0) {
		kernel_live = true;
		rnd_seed(seed);
		return live_run(live_s, seed) ? 0 : 1;
	}
	kernel_init();
	world_init();
	rnd_seed(seed);
	if (replay) {
		struct script s;
		FILE *f = fopen(replay, "r");

		if (!f || !script_read(&s, f))
			return 2;
		loud = true;
		run(&s, true);
		world_check_other();
		printf("hostile: replayed without a finding\n");
		return 0;
	}
	search(n, &took);
	printf("hostile: %llu mutated states in %.1f s (%llu cases, %llu poisoned, %llu edges, %llu by state, %u kept), seed %llu\n",
	       (unsigned long long)states, took, (unsigned long long)cases, (unsigned long long)poisoned,
	       (unsigned long long)cover_edges, (unsigned long long)cover_new, corpus_n, (unsigned long long)seed);
	if (scribble_s > 0) {
		scribbled = run_scribbled(scribble_s);
		printf("hostile: %llu states written during the calls (%llu writes)\n", (unsigned long long)scribbled,
		       (unsigned long long)atomic_load(&scribbles));
	}
	printf("hostile: %llu states, no finding\n", (unsigned long long)(states + scribbled));
	return 0;
}
