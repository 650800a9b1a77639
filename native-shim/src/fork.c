/* SPDX-License-Identifier: Apache-2.0 */
/* fork.c - begin and end of processes: fork in all its forms, exit, the library's own start (rules 10 and 18). */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"
#include "policy.h"

static pid_t unwiped;
pid_t *hut_pid_word = &unwiped;
static char stats_file[PATH_MAX]; /* a copy: programs that set their title write over the environment */
static struct {
	_Atomic uint64_t conns, to_ring, ring_in, ring_out, tcp_in, tcp_out, light;
} stats;

/* ---- what a process has moved, for benchmarks and tests: HUTONG_STATS=FILE ---- */

void stats_add(const struct conn *c)
{
	const struct hut_end *e = c->end;

	if (e->rx_round || e->tx_round)
		atomic_fetch_add(&stats.conns, 1);
	atomic_fetch_add(&stats.to_ring, atomic_load(&c->to_ring));
	atomic_fetch_add(&stats.ring_in, e->ring_in);
	atomic_fetch_add(&stats.ring_out, e->ring_out);
	if (LOAD(&e->flags) & HUT_ENDF_REMOTE)
		atomic_fetch_add(&stats.light, e->ring_in + e->ring_out);
	atomic_fetch_add(&stats.tcp_in, e->tcp_in);
	atomic_fetch_add(&stats.tcp_out, e->tcp_out);
}

static void stats_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (c->end && !c->inherited && table_fd_of(c) == fd)
		stats_add(c);
}

void stats_write(void)
{
	char line[300];
	int fd, n;

	if (!*stats_file || life_in_vfork_child())
		return;
	table_each(stats_one, NULL);
	n = snprintf(line, sizeof(line), "%d %s conns_ring=%llu ring_in=%llu ring_out=%llu tcp_in=%llu tcp_out=%llu to_ring=%llu light=%llu\n",
		     (int)getpid(), program_invocation_short_name, (unsigned long long)stats.conns,
		     (unsigned long long)stats.ring_in, (unsigned long long)stats.ring_out,
		     (unsigned long long)stats.tcp_in, (unsigned long long)stats.tcp_out,
		     (unsigned long long)stats.to_ring, (unsigned long long)stats.light);
	fd = open(stats_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	(void)!REAL(write)(fd, line, (size_t)n);
	REAL(close)(fd);
}

/* ---- fork ---- */

/* The control lock is held, so that no connection gets or loses its end between here and the child. */
static void hold_one(struct conn *c, void *arg)
{
	bool held = c->end != NULL;

	(void)arg;
	if (c->held != held) /* what is not written is not copied */
		c->held = held;
	if (!held)
		return;
	__atomic_fetch_add(&c->end->holders, 1, __ATOMIC_ACQ_REL);
	conn_timeo_shared(c);
}

/* A child that nobody has counted counts itself. */
static void hold_late(struct conn *c, void *arg)
{
	bool all = *(bool *)arg;

	if (c->end && (all || !c->held))
		__atomic_fetch_add(&c->end->holders, 1, __ATOMIC_ACQ_REL);
}

static bool table_held;

static void fork_prepare(void)
{
	xen_before_fork();
	epset_fork(true);
	control_fork(true);
	table_held = table_lock();
	table_conns(hold_one, NULL);
}

static void fork_parent(void)
{
	if (table_held)
		table_unlock();
	control_fork(false);
	epset_fork(false);
}

static void child_begins(bool late)
{
	hut_pid = (pid_t)syscall(SYS_getpid);
	hut_leaver = 0; /* the parent's */
	memset(&stats, 0, sizeof(stats));
	table_after_fork_child(late);
	control_fork(false);
	control_after_fork_child();
	if (late)
		epset_late_child();
	else
		epset_fork(false);
	table_conns(hold_late, &late);
	if (!late)
		table_conns(life_unkeep_child, NULL);
	xen_in_child();
}

static void fork_child(void)
{
	child_begins(false);
}

/*
 * _Fork() and clone() call no handlers of pthread_atfork(): the child finds its process id wiped (MADV_WIPEONFORK) at
 * its first call that matters, and makes up for it.  Until then the parent does not know of it; whatever the child
 * touches is stopped first in any case (rule 18).
 */
void fork_late_child(void)
{
	int saved = errno;

	child_begins(true);
	errno = saved;
}

/* ---- begin and end of the library ---- */

static void exit_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (c->end && !c->inherited && table_fd_of(c) == fd)
		life_last_close(c, fd);
}

static void let_go_one(struct conn *c, void *arg)
{
	(void)arg;
	if (c->end && c->inherited)
		control_let_go(c->end); /* the parent is alone with it again */
}

_Atomic pid_t hut_leaver;

/* Once, by exit(), quick_exit() or _exit(). */
static void leave(void)
{
	static _Atomic bool left;

	if (!atomic_load_explicit(&hut_enabled, memory_order_relaxed) || life_in_vfork_child() ||
	    atomic_exchange(&left, true))
		return;
	stats_write();
	hut_leaver = hut_tid();
	table_each(exit_one, NULL);
	table_conns(let_go_one, NULL);
}

void fork_child_exits(void)
{
	leave();
}

static void end(int status, void *arg)
{
	(void)status;
	(void)arg;
	if (!life_in_vfork_child())
		stdio_flush();
	leave();
}

static bool env_true(const char *name)
{
	const char *v = getenv(name);

	return v && *v && strcmp(v, "0") != 0;
}

__attribute__((constructor(101))) static void begin(void)
{
	pid_t *word = mmap(NULL, HUT_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	real_init();
	if (word != MAP_FAILED && !madvise(word, HUT_PAGE, MADV_WIPEONFORK))
		hut_pid_word = word;
	hut_pid = (pid_t)syscall(SYS_getpid);
	hut_log_init(env_true("HUTONG_LOG"));
	const char *file = secure_getenv("HUTONG_STATS");

	if (file && strlen(file) < sizeof(stats_file))
		strcpy(stats_file, file);
	if (!table_init() || env_true("HUTONG_OFF"))
		return;
	const char *n = secure_getenv("HUTONG_CHAOS");

	policy_init();
	conn_chaos = n ? (uint32_t)strtoul(n, NULL, 10) : 0;
	pthread_atfork(fork_prepare, fork_parent, fork_child);
	/* Not a destructor, which would come before those of the program's libraries: they may use their connections still. */
	on_exit(end, NULL);
	at_quick_exit(leave);
	atomic_store(&hut_enabled, true);
}
