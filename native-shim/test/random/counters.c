/* SPDX-License-Identifier: Apache-2.0 */
/* counters.c - what the launcher finds out about both sides from /proc: the state of their ends, and what is left over. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hutong_abi.h"
#include "random.h"

#define RSS_SLACK_KB 2048

struct counters {
	int fds, segments, slots;
	long rss, anon;
};

static struct counters taken[2][3]; /* when; client, server, agent */

/* The end pool of a process, found as an agent finds it. */
static struct hut_pool *pool_of(pid_t pid)
{
	char path[300], link[100];
	struct hut_pool *pool = NULL;
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir)) != NULL) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, d->d_name);
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = 0;
		if (!strstr(link, "memfd:hutong-ends"))
			continue;
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		pool = mmap(NULL, sizeof(*pool), PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
		break;
	}
	if (dir)
		closedir(dir);
	return pool == MAP_FAILED ? NULL : pool;
}

static void print_ends(const char *name, pid_t pid)
{
	struct hut_pool *pool = pool_of(pid);

	for (uint32_t i = 0; pool && i < HUT_POOL_SLOTS; i++) {
		const struct hut_end *e = &pool->end[i];

		if (e->state == HUT_END_FREE || i >= pool->used)
			continue;
		printf("  %s end %u: fd %u state %u rx path %u round %u head %llu end %lld, tx path %u round %u tail %llu head %llu "
		       "split %lld, tcp in %llu out %llu, ring in %llu out %llu, flags %x holders %u inflight %u raw %u locks %u %u\n",
		       name, i, e->fd, e->state, e->rx_path, e->rx_round, (unsigned long long)e->rx_head, (long long)e->rx_end,
		       e->tx_path, e->tx_round, (unsigned long long)e->tx_tail, (unsigned long long)e->tx_head,
		       (long long)e->tx_split, (unsigned long long)e->tcp_in, (unsigned long long)e->tcp_out,
		       (unsigned long long)e->ring_in, (unsigned long long)e->ring_out, e->flags, e->holders, e->inflight,
		       e->raw_waits, e->rx_lock, e->tx_lock);
	}
	if (pool)
		munmap(pool, sizeof(*pool));
}

static void print_dir(unsigned long inode, int i, const struct hut_dir *d)
{
	printf("  segment %lu dir %d: tail %llu head %llu start %llu split %lld prod round %u done %u mark %u cons round %u mark %u, "
	       "turn round %llu how %llu at %u, waits %u %u\n",
	       inode, i, (unsigned long long)d->tail, (unsigned long long)d->head, (unsigned long long)d->start,
	       (long long)d->split, d->prod_round, d->prod_done, d->prod_mark, d->cons_round, d->cons_mark,
	       (unsigned long long)(d->turn >> 34), (unsigned long long)(d->turn >> 32 & 3), (uint32_t)d->turn, d->cons_wait,
	       d->prod_wait);
}

static void print_segments(pid_t pid)
{
	char path[64], line[300];
	FILE *maps;
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "r");
	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned long at, inode;
		struct hut_segment s;

		if (!strstr(line, "hutong-segment") || sscanf(line, "%lx-%*x %*s %*s %*s %lu", &at, &inode) != 2 ||
		    pread(mem, &s, sizeof(s), (off_t)at) != sizeof(s))
			continue;
		print_dir(inode, 0, &s.dir[0]);
		print_dir(inode, 1, &s.dir[1]);
	}
	if (maps)
		fclose(maps);
	close(mem);
}

static void print_slot(int slot)
{
	const struct seen *s = &sh->slot[slot];
	uint32_t gen = atomic_load(&s->gen);
	struct plan p;
	uint64_t now = mono_ns();

	if (!gen || (atomic_load(&s->done[0]) == gen && atomic_load(&s->done[1]) == gen))
		return;
	gen_plan(slot, gen, &p);
	printf("slot %d generation %u port %u family %u, closed %u %u, bits:%s%s%s%s%s%s%s%s\n", slot, gen, s->port, p.family ? 6 : 4,
	       s->done[0], s->done[1], p.toggles ? " toggles" : "", p.timeouts ? " timeouts" : "", p.signals ? " signals" : "",
	       p.second_set ? " second-set" : "", p.direct_close ? " direct-close" : "",
	       p.connect_nonblock ? " connect-nonblock" : "", p.slow ? " slow" : "",
	       p.late_shut ? " late" : "");
	for (int d = 0; d < 2; d++)
		printf("  %s: total %llu tried %llu sent %llu got %llu%s%s\n", d ? "to client" : "to server",
		       (unsigned long long)p.total[d], (unsigned long long)s->way[d].tried,
		       (unsigned long long)s->way[d].sent, (unsigned long long)s->way[d].got, s->way[d].shut ? " shut" : "",
		       s->way[d].eof ? " eof" : "");
	for (int r = 0; r < 2; r++)
		printf("  %s %s fd %d: in: %s (%.3f s, %u calls, thread %d) out: %s (%.3f s, %u calls, thread %d)\n",
		       r ? "server" : "client", mode_name(p.mode[r]), s->fd[r], s->doing[r][0].what,
		       (double)(now - s->doing[r][0].since_ns) / 1e9, s->doing[r][0].calls, (int)s->doing[r][0].tid,
		       s->doing[r][1].what, (double)(now - s->doing[r][1].since_ns) / 1e9, s->doing[r][1].calls,
		       (int)s->doing[r][1].tid);
}

void state_print(const pid_t pid[2])
{
	for (int i = 0; i < opt->conns; i++)
		print_slot(i);
	print_ends("client", pid[CLIENT]);
	print_ends("server", pid[SERVER]);
	print_segments(pid[CLIENT]);
	if (opt->gdb) {
		char cmd[300];

		for (int r = 0; r < 2; r++) {
			snprintf(cmd, sizeof(cmd), "gdb -p %d -batch -ex 'thread apply all bt' > %s.%s 2>&1 < /dev/null",
				 (int)pid[r], opt->gdb, r ? "server" : "client");
			if (system(cmd))
				printf("gdb failed\n");
		}
	}
	fflush(stdout);
}

/* ---- left over ---- */

static long field(pid_t pid, const char *name)
{
	char path[64], line[200];
	long v = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			v = atol(line + strlen(name));
	if (f)
		fclose(f);
	return v;
}

static int lines_with(pid_t pid, const char *file, const char *word)
{
	char path[64], line[300];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		n += strstr(line, word) != NULL;
	if (f)
		fclose(f);
	return n;
}

static int descriptors(pid_t pid)
{
	char path[64];
	int n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n - 2;
}

static void take(struct counters *k, pid_t pid)
{
	struct hut_pool *pool = pool_of(pid);

	k->fds = descriptors(pid);
	k->segments = lines_with(pid, "maps", "hutong-segment");
	k->rss = field(pid, "VmRSS:");
	k->anon = field(pid, "RssAnon:");
	k->slots = 0;
	for (uint32_t i = 0; pool && i < pool->used && i < HUT_POOL_SLOTS; i++)
		k->slots += pool->end[i].state != HUT_END_FREE || pool->end[i].holders;
	if (pool)
		munmap(pool, sizeof(*pool));
}

void counters_take(int when, const pid_t pid[2])
{
	take(&taken[when][0], pid[0]);
	take(&taken[when][1], pid[1]);
	if (opt->agent)
		take(&taken[when][2], (pid_t)atoi(opt->agent));
}

bool counters_equal(void)
{
	for (int i = 0; i < (opt->agent ? 3 : 2); i++) {
		const struct counters *a = &taken[0][i], *b = &taken[1][i];

		if (b->fds > a->fds || b->segments || b->slots || b->anon > a->anon + RSS_SLACK_KB)
			return false;
	}
	return true;
}

/* What is open, for whoever must find out what is left over. */
void counters_list(const pid_t pid[2])
{
	for (int i = 0; i < (opt->agent ? 3 : 2); i++) {
		char path[64], to[256];
		int p = i < 2 ? (int)pid[i] : atoi(opt->agent);
		struct dirent *d;
		DIR *dir;

		if (taken[1][i].fds <= taken[0][i].fds && !taken[1][i].segments)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/fd", p);
		dir = opendir(path);
		while (dir && (d = readdir(dir)) != NULL) {
			ssize_t n = readlinkat(dirfd(dir), d->d_name, to, sizeof(to));

			if (n > 0)
				printf("%d: %s %.*s\n", p, d->d_name, (int)n, to);
		}
		if (dir)
			closedir(dir);
	}
}

void counters_print(void)
{
	static const char *const names[3] = { "client", "server", "agent" };

	for (int i = 0; i < (opt->agent ? 3 : 2); i++) {
		const struct counters *a = &taken[0][i], *b = &taken[1][i];

		printf("%s: descriptors %d -> %d, segments %d -> %d, pool slots %d -> %d, RSS %ld -> %ld kB (of it private %ld -> %ld, "
		       "slack %d)\n", names[i], a->fds, b->fds, a->segments, b->segments, a->slots, b->slots, a->rss, b->rss,
		       a->anon, b->anon, RSS_SLACK_KB);
	}
}

/* HUTONG_STATS: a line a process. */
void counters_stats(const pid_t pid[2])
{
	char line[300];
	FILE *f = opt->stats ? fopen(opt->stats, "r") : NULL;

	while (f && fgets(line, sizeof(line), f)) {
		for (int r = 0; r < 2; r++)
			if (atoi(line) == (int)pid[r] && strstr(line, "conns_ring"))
				printf("%s: %s", r ? "server" : "client", strstr(line, "conns_ring"));
	}
	if (f)
		fclose(f);
}
