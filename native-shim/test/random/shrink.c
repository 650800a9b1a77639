/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shrink.c - looks for a smaller run that still fails: fewer connections, ways of waiting, kinds of calls and bytes, with
 * the seed as it is.  Failures depend on timing, so each candidate gets several tries.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "random.h"

static int runs;

/* Does it still fail?  If not, the options are as before. */
static bool still_fails(const struct options *before, const char *what)
{
	for (int i = 0; i < opt->repeats; i++) {
		runs++;
		if (launch(true))
			continue;
		printf("smaller: %s\n", what);
		fflush(stdout);
		return true;
	}
	*opt = *before;
	return false;
}

#define TRY(what, change)                                                                                              \
	do {                                                                                                               \
		struct options before = *opt;                                                                                  \
		change;                                                                                                        \
		if (memcmp(&before, opt, sizeof(before)))                                                                      \
			any |= still_fails(&before, what);                                                                         \
	} while (0)

/* Halves first, then one by one. */
static bool fewer_bits(uint64_t *bits, int n, bool keep_one, const char *(*name)(int))
{
	bool any = false;

	for (int len = n / 2; len >= 1; len /= 2) {
		for (int from = 0; from < n; from += len) {
			uint64_t mask = ((1ull << len) - 1) << from, before = *bits;
			char what[100];
			struct options saved = *opt;

			if (!(before & mask) || (keep_one && !(before & ~mask)))
				continue;
			snprintf(what, sizeof(what), "without %s%s", name(from), len > 1 ? " and its neighbours" : "");
			*bits = before & ~mask;
			opt->modes = bits == &opt->kinds ? opt->modes : (uint32_t)*bits;
			if (still_fails(&saved, what))
				any = true;
			else
				*bits = before;
		}
	}
	return any;
}

static bool one_round(void)
{
	bool any = false;
	uint64_t modes = opt->modes;

	TRY("no children", opt->forks = 0);
	TRY("no signals", opt->signals = 0);
	for (int n = opt->conns; opt->only < 0 && n > 1 && n > opt->conns / 4; n--) {
		int slot = n - 1;

		TRY("a single slot", opt->only = slot);
	}
	for (int n = opt->conns / 2; n >= 1 && opt->only < 0; n /= 2)
		TRY("fewer connections", opt->conns = opt->conns > n ? n : opt->conns);
	for (int n = 1; n <= 8; n *= 2)
		TRY("fewer generations", opt->gens = opt->gens && opt->gens <= n ? opt->gens : n);
	any |= fewer_bits(&modes, M_MODES, true, mode_name);
	any |= fewer_bits(&opt->kinds, X_KINDS, false, kind_name);
	for (uint64_t b = opt->bytes / 16; b >= 1000; b /= 16)
		TRY("fewer bytes", opt->bytes = b);
	TRY("one family", opt->family = opt->family ? opt->family : 4);
	TRY("one worker", opt->workers = 1);
	TRY("no change of the path", opt->chaos = 0);
	return any;
}

int shrink(void)
{
	const char *record = opt->record;
	struct options start;

	opt->record = NULL;
	start = *opt;
	if (!still_fails(&start, "nothing yet, the run as it is")) {
		printf("did not fail in %d runs\n", runs);
		return 0;
	}
	for (int i = 0; i < 3 && one_round(); i++)
		;
	printf("smallest failing run, after %d runs:\n", runs);
	print_command(stdout);
	if (record) {
		int again = 0;

		opt->record = record;
		do
			unlink(record);
		while (launch(true) && ++again < 5 * opt->repeats);
		opt->record = NULL;
		opt->replay = record;
		printf("its script is in %s, replay it with: ", record);
		print_command(stdout);
	}
	return 1;
}
