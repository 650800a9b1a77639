/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - options and the launcher of random: two programs that make random legal calls, see random.h.
 *
 * usage: random [--seed N] [--conns N] [--seconds S] ... (see the table below)
 * The launcher itself is not preloaded; --preload LIB is for its two sides.  It prints the seed, and on failure what both
 * sides were doing and the command that repeats the run.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "random.h"

static struct options options = {
	.conns = 8, .only = -1, .seconds = 10, .warmup = 2, .stall = 10, .bytes = 32000000, .kinds = (1ull << X_KINDS) - 1,
	.modes = (1u << M_MODES) - 1, .signals = 1, .forks = 1, .workers = 3, .port = 7900, .repeats = 3,
	.address = { "10.99.0.1", "fd99::1" },
};

struct shared *sh;
struct options *opt = &options;
enum role my_role;
static int shared_fd = -1, side = -1;

enum { O_FIRST = 256, SEED, CONNS, ONLY, GENS, SECONDS, WARMUP, STALL, BYTES, WITHOUT, MODES, SIGNALS, FORKS, FAMILY, WORKERS,
       CHAOS, PRELOAD, PRELOAD_CLIENT, PRELOAD_SERVER, AGENT, RECORD, REPLAY, STATS, ADDRESS4, ADDRESS6, PORT, SHRINK, COUNTERS,
       REPEATS, GDB, SIDE, SHARED };

static const struct option table[] = {
	{ "seed", 1, NULL, SEED },
	{ "conns", 1, NULL, CONNS },         /* slots, each with one connection at a time */
	{ "only", 1, NULL, ONLY },           /* this slot alone */
	{ "gens", 1, NULL, GENS },           /* connections a slot; else as many as the time allows */
	{ "seconds", 1, NULL, SECONDS },
	{ "warmup", 1, NULL, WARMUP },       /* before the first counters */
	{ "stall", 1, NULL, STALL },         /* seconds without a byte that are a failure */
	{ "bytes", 1, NULL, BYTES },         /* at most, a direction of a connection */
	{ "without", 1, NULL, WITHOUT },     /* kinds of calls, comma-separated */
	{ "modes", 1, NULL, MODES },         /* ways of waiting, comma-separated */
	{ "signals", 1, NULL, SIGNALS },
	{ "forks", 1, NULL, FORKS },
	{ "family", 1, NULL, FAMILY },       /* 4 or 6; else both */
	{ "workers", 1, NULL, WORKERS },     /* threads a shared epoll set */
	{ "chaos", 1, NULL, CHAOS },         /* microseconds between changes of the path */
	{ "preload", 1, NULL, PRELOAD },
	{ "preload-client", 1, NULL, PRELOAD_CLIENT },
	{ "preload-server", 1, NULL, PRELOAD_SERVER },
	{ "agent", 1, NULL, AGENT },         /* its pid, for the counters */
	{ "record", 1, NULL, RECORD },
	{ "replay", 1, NULL, REPLAY },
	{ "stats", 1, NULL, STATS },
	{ "address4", 1, NULL, ADDRESS4 },
	{ "address6", 1, NULL, ADDRESS6 },
	{ "port", 1, NULL, PORT },
	{ "shrink", 0, NULL, SHRINK },       /* looks for a smaller run that still fails */
	{ "repeats", 1, NULL, REPEATS },     /* how often a smaller run is tried */
	{ "counters", 0, NULL, COUNTERS },   /* what is left over */
	{ "gdb", 1, NULL, GDB },             /* on failure all stacks go to FILE.client and FILE.server */
	{ "side", 1, NULL, SIDE },
	{ "shared", 1, NULL, SHARED },
	{ NULL, 0, NULL, 0 },
};

static void names(const char *list, int (*by_name)(const char *), uint64_t *bits)
{
	char copy[400], *save, *word;

	snprintf(copy, sizeof(copy), "%s", list);
	for (word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		int i = by_name(word);

		if (i < 0) {
			fprintf(stderr, "random: no such name: %s\n", word);
			exit(2);
		}
		*bits |= 1ull << i;
	}
}

static void parse(int argc, char **argv)
{
	uint64_t bits;
	int o;

	while ((o = getopt_long(argc, argv, "", table, NULL)) != -1) {
		switch (o) {
		case SEED: opt->seed = strtoull(optarg, NULL, 0); break;
		case CONNS: opt->conns = atoi(optarg); break;
		case ONLY: opt->only = atoi(optarg); break;
		case GENS: opt->gens = atoi(optarg); break;
		case SECONDS: opt->seconds = atof(optarg); break;
		case WARMUP: opt->warmup = atof(optarg); break;
		case STALL: opt->stall = atof(optarg); break;
		case BYTES: opt->bytes = strtoull(optarg, NULL, 0); break;
		case WITHOUT:
			bits = 0;
			names(optarg, kind_by_name, &bits);
			opt->kinds &= ~bits;
			break;
		case MODES:
			bits = 0;
			names(optarg, mode_by_name, &bits);
			opt->modes = (uint32_t)bits;
			break;
		case SIGNALS: opt->signals = atoi(optarg); break;
		case FORKS: opt->forks = atoi(optarg); break;
		case FAMILY: opt->family = atoi(optarg); break;
		case WORKERS: opt->workers = atoi(optarg); break;
		case CHAOS: opt->chaos = (uint32_t)atoi(optarg); break;
		case PRELOAD: opt->preload[0] = opt->preload[1] = optarg; break;
		case PRELOAD_CLIENT: opt->preload[CLIENT] = optarg; break;
		case PRELOAD_SERVER: opt->preload[SERVER] = optarg; break;
		case AGENT: opt->agent = optarg; break;
		case RECORD: opt->record = optarg; break;
		case REPLAY: opt->replay = optarg; break;
		case STATS: opt->stats = optarg; break;
		case ADDRESS4: opt->address[0] = optarg; break;
		case ADDRESS6: opt->address[1] = optarg; break;
		case PORT: opt->port = atoi(optarg); break;
		case SHRINK: opt->shrink = true; break;
		case REPEATS: opt->repeats = atoi(optarg); break;
		case COUNTERS: opt->counters = true; break;
		case GDB: opt->gdb = optarg; break;
		case SIDE: side = atoi(optarg); break;
		case SHARED: shared_fd = atoi(optarg); break;
		default: exit(2);
		}
	}
	if (opt->conns < 1 || opt->conns > MAX_SLOTS || !opt->modes || optind != argc) {
		fprintf(stderr, "random: wrong options\n");
		exit(2);
	}
}

/* ---- the same options as a command line, for the sides and for whoever wants to see it again ---- */

#define ARGS_MOST 80

struct args {
	char *v[ARGS_MOST];
	int n;
};

static void add(struct args *a, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void add(struct args *a, const char *name, const char *fmt, ...)
{
	va_list ap;

	if (a->n + 3 > ARGS_MOST)
		abort();
	a->v[a->n++] = strdup(name);
	va_start(ap, fmt);
	if (vasprintf(&a->v[a->n++], fmt, ap) < 0)
		abort();
	va_end(ap);
	a->v[a->n] = NULL;
}

static void list_of(uint64_t bits, int n, const char *(*name)(int), char *to, size_t size)
{
	size_t at = 0;

	to[0] = 0;
	for (int i = 0; i < n && at < size; i++)
		if (bits >> i & 1)
			at += (size_t)snprintf(to + at, size - at, "%s%s", at ? "," : "", name(i));
}

static void args_of(struct args *a)
{
	uint64_t off = ~opt->kinds & ((1ull << X_KINDS) - 1);
	char text[400];

	a->n = 0;
	add(a, "--seed", "%llu", (unsigned long long)opt->seed);
	add(a, "--conns", "%d", opt->conns);
	if (opt->only >= 0)
		add(a, "--only", "%d", opt->only);
	if (opt->gens)
		add(a, "--gens", "%d", opt->gens);
	add(a, "--seconds", "%g", opt->seconds);
	add(a, "--stall", "%g", opt->stall);
	add(a, "--bytes", "%llu", (unsigned long long)opt->bytes);
	list_of(off, X_KINDS, kind_name, text, sizeof(text));
	if (off)
		add(a, "--without", "%s", text);
	list_of(opt->modes, M_MODES, mode_name, text, sizeof(text));
	if (opt->modes != (1u << M_MODES) - 1)
		add(a, "--modes", "%s", text);
	add(a, "--signals", "%d", opt->signals);
	add(a, "--forks", "%d", opt->forks);
	if (opt->family)
		add(a, "--family", "%d", opt->family);
	add(a, "--workers", "%d", opt->workers);
	if (opt->chaos)
		add(a, "--chaos", "%u", opt->chaos);
	if (opt->preload[0])
		add(a, opt->preload[0] == opt->preload[1] ? "--preload" : "--preload-client", "%s", opt->preload[0]);
	if (opt->preload[1] && opt->preload[0] != opt->preload[1])
		add(a, "--preload-server", "%s", opt->preload[1]);
	if (opt->record)
		add(a, "--record", "%s", opt->record);
	if (opt->replay)
		add(a, "--replay", "%s", opt->replay);
	if (opt->port != 7900)
		add(a, "--port", "%d", opt->port);
	if (strcmp(opt->address[0], "10.99.0.1"))
		add(a, "--address4", "%s", opt->address[0]);
	if (strcmp(opt->address[1], "fd99::1"))
		add(a, "--address6", "%s", opt->address[1]);
}

static void args_free(struct args *a)
{
	for (int i = 0; i < a->n; i++)
		free(a->v[i]);
}

void print_command(FILE *to)
{
	struct args a;

	args_of(&a);
	fprintf(to, "random");
	for (int i = 0; i < a.n; i++)
		fprintf(to, " %s", a.v[i]);
	fprintf(to, "\n");
	args_free(&a);
}

/* ---- the launcher ---- */

static pid_t start_side(enum role role)
{
	struct args a;
	char fd[16], number[16];
	pid_t p;

	args_of(&a);
	snprintf(fd, sizeof(fd), "%d", shared_fd);
	snprintf(number, sizeof(number), "%d", (int)role);
	fflush(NULL);
	p = fork();
	if (p) {
		args_free(&a);
		return p;
	}
	if (opt->preload[role])
		setenv("LD_PRELOAD", opt->preload[role], 1);
	if (opt->stats)
		setenv("HUTONG_STATS", opt->stats, 1);
	if (opt->chaos) {
		char text[16];

		snprintf(text, sizeof(text), "%u", opt->chaos);
		setenv("HUTONG_CHAOS", text, 1);
	}
	memmove(&a.v[1], &a.v[0], (size_t)(a.n + 1) * sizeof(a.v[0]));
	a.v[0] = (char *)"random";
	a.n++;
	add(&a, "--side", "%s", number);
	add(&a, "--shared", "%s", fd);
	execv("/proc/self/exe", a.v);
	_exit(127);
}

static void print_totals(void)
{
	uint64_t calls = 0, conns = 0, bytes = 0;

	for (int r = 0; r < 2; r++)
		for (int i = 0; i < C_CALLS; i++)
			calls += sh->made[r][i];
	for (int i = 0; i < opt->conns; i++)
		conns += sh->slot[i].gen;
	bytes = sh->bytes[0] + sh->bytes[1];
	printf("%llu connections, %llu bytes, %llu calls, %llu signals, %llu children; writable but EAGAIN: %llu\n",
	       (unsigned long long)conns, (unsigned long long)bytes, (unsigned long long)calls,
	       (unsigned long long)(sh->signals[0] + sh->signals[1]), (unsigned long long)(sh->forks[0] + sh->forks[1]),
	       (unsigned long long)(sh->blunt_out[0] + sh->blunt_out[1]));
}

bool launch(bool quiet)
{
	pid_t pid[2];
	bool right;

	shared_fd = memfd_create("random-shared", 0);
	if (shared_fd < 0 || ftruncate(shared_fd, sizeof(*sh)))
		abort();
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	if (sh == MAP_FAILED)
		abort();
	if (opt->stats)
		unlink(opt->stats);
	pid[SERVER] = start_side(SERVER);
	pid[CLIENT] = start_side(CLIENT);
	right = watch_run(pid);
	if (!right) {
		printf("FAILED: %s\n", sh->message);
		if (!quiet) {
			state_print(pid);
			print_command(stdout);
		}
	} else if (!quiet) {
		counters_stats(pid);
		print_totals();
	}
	if (!right)
		sleep_us(200000); /* the records are written */
	for (int i = 0; i < 2; i++)
		if (kill(pid[i], SIGKILL) == 0)
			waitpid(pid[i], NULL, 0);
	munmap(sh, sizeof(*sh));
	close(shared_fd);
	fflush(stdout);
	return right;
}

int main(int argc, char **argv)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	opt->seed = (uint64_t)ts.tv_nsec;
	parse(argc, argv);
	if (side >= 0) {
		sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
		if (sh == MAP_FAILED)
			return 1;
		close(shared_fd);
		return side_main((enum role)side);
	}
	if (opt->replay) {
		my_role = CLIENT;
		script_load(opt->replay);
	}
	printf("seed %llu\n", (unsigned long long)opt->seed);
	fflush(stdout);
	if (opt->shrink)
		return shrink();
	return !launch(false);
}
