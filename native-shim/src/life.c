/* SPDX-License-Identifier: Apache-2.0 */
/* life.c - begin and end of descriptors and processes: close, dup, fork, vfork, exec (rules 8, 10, 16, 18). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "real.h"

pid_t hut_pid;
static const char *stats_file;
static struct {
	_Atomic uint64_t conns, ring_in, ring_out, tcp_in, tcp_out;
} stats;

/* ---- what a process has moved, for benchmarks and tests: HUTONG_STATS=FILE ---- */

void stats_add(const struct conn *c)
{
	const struct hut_end *e = c->end;

	if (e->ring_in || e->ring_out)
		atomic_fetch_add(&stats.conns, 1);
	atomic_fetch_add(&stats.ring_in, e->ring_in);
	atomic_fetch_add(&stats.ring_out, e->ring_out);
	atomic_fetch_add(&stats.tcp_in, e->tcp_in);
	atomic_fetch_add(&stats.tcp_out, e->tcp_out);
}

static void stats_one(int fd, struct conn *c, void *arg)
{
	(void)fd;
	(void)arg;
	if (c->end && !c->inherited)
		stats_add(c);
}

void stats_write(void)
{
	char line[300];
	int fd, n;

	if (!stats_file || life_in_vfork_child())
		return;
	table_each(stats_one, NULL);
	n = snprintf(line, sizeof(line), "%d %s conns_ring=%llu ring_in=%llu ring_out=%llu tcp_in=%llu tcp_out=%llu\n",
		     (int)getpid(), program_invocation_short_name, (unsigned long long)stats.conns,
		     (unsigned long long)stats.ring_in, (unsigned long long)stats.ring_out,
		     (unsigned long long)stats.tcp_in, (unsigned long long)stats.tcp_out);
	fd = open(stats_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	(void)!REAL(write)(fd, line, (size_t)n);
	REAL(close)(fd);
}

/*
 * A vfork child (Python's subprocess, posix_spawn of old) runs in the parent's memory: it must change nothing there.
 * A fork child has set hut_pid anew before it runs any of the program's code.
 */
bool life_in_vfork_child(void)
{
	return (pid_t)syscall(SYS_getpid) != hut_pid;
}

/* ---- close ---- */

static bool unread(struct conn *c)
{
	struct hut_end *e = c->end;

	if (e->rx_path == HUT_PATH_RING)
		return ring_avail(&c->rx, e) > 0;
	return (e->flags & HUT_ENDF_ARMED) && !e->rx_head && LOAD_ACQ(&c->rx.dir->prod_state) == HUT_PROD_RING &&
	       LOAD(&c->rx.dir->turn) == HUT_TURN_OPEN && LOAD(&c->rx.dir->tail) > LOAD(&c->rx.dir->start);
}

/* SO_LINGER: close waits until the peer has taken everything, or the time is over. */
static void linger(struct conn *c, int fd, int seconds)
{
	uint64_t deadline = now_ns() + (uint64_t)seconds * 1000000000ull;

	while (LOAD_ACQ(&c->tx.dir->head) < c->end->tx_tail && now_ns() < deadline) {
		struct pollfd p[2] = { { .fd = fd, .events = POLLRDHUP }, { .fd = c->bell, .events = POLLIN } };
		uint64_t n;

		conn_arm_waits(c, POLLOUT);
		if (LOAD_ACQ(&c->tx.dir->head) >= c->end->tx_tail)
			break;
		if (REAL(poll)(p, 2, 100) > 0 && p[1].revents)
			(void)!REAL(read)(c->bell, &n, sizeof(n));
		if (p[0].revents & (POLLERR | POLLHUP))
			break;
	}
}

/* The last descriptor of this process goes: rule 16. */
static void last_close(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	struct linger l = { 0, 0 };
	socklen_t len = sizeof(l);

	if (!e)
		return;
	if (conn_state(c) == HUT_END_CHANNEL && conn_is_owner(c)) {
		conn_flush_debt(c, fd, true);
		if (LOAD(&e->holders) == 1 && !(e->flags & HUT_ENDF_ERR)) {
			REAL(getsockopt)(fd, SOL_SOCKET, SO_LINGER, &l, &len);
			if (unread(c)) {
				l = (struct linger){ 1, 0 }; /* as TCP: a close over unread bytes resets */
				REAL(setsockopt)(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
			} else if (l.l_onoff && l.l_linger > 0 && e->tx_path == HUT_PATH_RING) {
				linger(c, fd, l.l_linger);
			}
		}
	}
	if (conn_is_owner(c) && (conn_state(c) == HUT_END_CHANNEL || conn_state(c) == HUT_END_PENDING))
		control_gone(c, HUT_R_NONE);
}

static struct conn *detach(int fd)
{
	struct conn *c;

	if (LIKELY(!table_peek(fd) && !epset_get(fd)))
		return NULL;
	if (life_in_vfork_child())
		return NULL;
	epset_drop(fd);
	c = table_remove(fd);
	if (!c)
		return NULL;
	if (atomic_load(&c->nfds) == 0) {
		last_close(c, fd);
		epset_conn_gone(c, fd, false);
	}
	return c;
}

int life_close(int fd)
{
	struct conn *c;
	int rc, saved;

	if (UNLIKELY(table_is_hidden(fd))) {
		errno = EBADF; /* a program that closes everything: ours stay, as if they were not there */
		return -1;
	}
	hut_stirs++;
	c = detach(fd);
	rc = REAL(close)(fd);
	saved = errno;
	if (c)
		conn_put(c);
	errno = saved;
	return rc;
}

void life_replaced(int fd)
{
	struct conn *c = detach(fd);

	if (c)
		conn_put(c);
}

void life_duplicated(int from, int to)
{
	struct conn *c;
	struct epset *s;

	if (to < 0 || (!table_peek(from) && !epset_get(from)) || life_in_vfork_child())
		return;
	s = epset_get(from);
	if (s) {
		epset_alias(to, s);
		return;
	}
	c = conn_get(from);
	if (!c)
		return;
	table_alias(to, c);
	conn_put(c);
}

/* ---- exec ---- */

static bool goes_over(int fd)
{
	int f = REAL(fcntl)(fd, F_GETFD);

	return f >= 0 && !(f & FD_CLOEXEC);
}

static void before_exec_one(int fd, struct conn *c, void *arg)
{
	bool vforked = *(bool *)arg;

	if (!c->end)
		return;
	if (goes_over(fd)) {
		if (conn_state(c) == HUT_END_CHANNEL) {
			conn_stop(c, fd, HUT_R_EXEC);
			conn_flush_debt(c, fd, true);
		}
		/* The new image holds the socket and is not one of us: it never comes back to the ring. */
		__atomic_fetch_add(&c->end->holders, 1, __ATOMIC_ACQ_REL);
	} else if (c->inherited) {
		__atomic_fetch_sub(&c->end->holders, 1, __ATOMIC_ACQ_REL);
	} else if (!vforked && atomic_load(&c->nfds) == 1) {
		last_close(c, fd); /* exec closes it */
	}
}

void life_before_exec(void)
{
	bool vforked = life_in_vfork_child();
	int saved = errno;

	table_each(before_exec_one, &vforked);
	if (!vforked)
		stats_write();
	errno = saved;
}

static void exec_failed_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (!c->end)
		return;
	if (goes_over(fd))
		__atomic_fetch_sub(&c->end->holders, 1, __ATOMIC_ACQ_REL);
	else if (c->inherited)
		__atomic_fetch_add(&c->end->holders, 1, __ATOMIC_ACQ_REL);
}

void life_exec_failed(void)
{
	int saved = errno;

	table_each(exec_failed_one, NULL);
	errno = saved;
}

static void before_spawn_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (!c->end || !goes_over(fd))
		return;
	if (conn_state(c) == HUT_END_CHANNEL) {
		conn_stop(c, fd, HUT_R_EXEC);
		conn_flush_debt(c, fd, true);
	}
	__atomic_fetch_add(&c->end->holders, 1, __ATOMIC_ACQ_REL);
}

/* posix_spawn, system, popen: their child runs inside libc, where we see nothing. */
void life_before_spawn(void)
{
	int saved = errno;

	if (!life_in_vfork_child())
		table_each(before_spawn_one, NULL);
	errno = saved;
}

/* ---- fork ---- */

static void hold_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	/* Once a connection, not once a descriptor. */
	if (c->end && table_fd_of(c) == fd)
		__atomic_fetch_add(&c->end->holders, 1, __ATOMIC_ACQ_REL);
}

static void fork_prepare(void)
{
	epset_fork(true);
	control_fork(true);
	table_lock();
	table_each(hold_one, NULL);
}

static void fork_parent(void)
{
	table_unlock();
	control_fork(false);
	epset_fork(false);
}

static void fork_child(void)
{
	hut_tid_forget();
	hut_pid = (pid_t)syscall(SYS_getpid);
	memset(&stats, 0, sizeof(stats));
	table_after_fork_child();
	control_fork(false);
	control_after_fork_child();
	epset_fork(false);
}

/* ---- begin and end of the library ---- */

static void exit_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (c->end && !c->inherited && table_fd_of(c) == fd)
		last_close(c, fd);
}

static bool env_true(const char *name)
{
	const char *v = getenv(name);

	return v && *v && strcmp(v, "0") != 0;
}

__attribute__((constructor(101))) static void begin(void)
{
	real_init();
	hut_pid = (pid_t)syscall(SYS_getpid);
	hut_log_init(env_true("HUTONG_LOG"));
	stats_file = secure_getenv("HUTONG_STATS");
	if (!table_init() || env_true("HUTONG_OFF"))
		return;
	pthread_atfork(fork_prepare, fork_parent, fork_child);
	atomic_store(&hut_enabled, true);
}

__attribute__((destructor)) static void end(void)
{
	if (life_in_vfork_child())
		return;
	stats_write();
	table_each(exit_one, NULL);
}
