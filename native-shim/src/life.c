/* SPDX-License-Identifier: Apache-2.0 */
/* life.c - the end and the doubling of descriptors: close, dup, exec, posix_spawn (rules 8, 10, 16, 18). */
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>

#include "conn.h"
#include "real.h"

/*
 * A vfork child (Python's subprocess, posix_spawn of old) runs in the parent's memory: it must change nothing there.
 * A fork child has set hut_pid anew before it runs any of the program's code; one that libc's fork() did not make finds
 * it wiped.
 */
bool life_in_vfork_child(void)
{
	if (UNLIKELY(hut_pid == 0))
		fork_late_child();
	return (pid_t)syscall(SYS_getpid) != hut_pid;
}

/* ---- close ---- */

/* Bytes that the program has not read: TCP would answer a close with a reset. */
static bool unread(struct conn *c)
{
	struct hut_end *e = c->end;
	uint32_t flags = LOAD(&e->flags);

	if (e->rx_path == HUT_PATH_RING || e->rx_path == HUT_PATH_SWITCH)
		return ring_avail(&c->rx, e) > 0;
	if (!(flags & (HUT_ENDF_ARMED | HUT_ENDF_STOPPED)) || LOAD_ACQ(&c->rx.dir->prod_round) != e->rx_round)
		return false;
	return LOAD_ACQ(&c->rx.dir->prod_done) != e->rx_round && LOAD(&c->rx.dir->tail) > e->tcp_in + e->ring_in;
}

static void tell_gone(struct conn *c)
{
	uint32_t state;

	if (!c->end)
		return;
	state = conn_state(c); /* once: the agent's answer may come just now */
	if (conn_is_owner(c) && (state == HUT_END_CHANNEL || state == HUT_END_PENDING || c->gone_due))
		control_gone(c, conn_gone_reason(c, HUT_R_NONE));
	c->gone_due = false;
}

/* The last descriptor of this process goes: rule 16. */
void life_last_close(struct conn *c, int fd)
{
	struct hut_end *e = c->end;

	if (!e)
		return;
	c->closing = fd;
	if (conn_state(c) == HUT_END_CHANNEL && LOAD(&e->holders) == 1 &&
	    !(LOAD(&e->flags) & (HUT_ENDF_ERR | HUT_ENDF_HANDED))) {
		conn_before_fin(c, fd, true);
		/* Between hosts a reset would overtake what we have written: the peer finds out by our mark after that. */
		if (conn_state(c) == HUT_END_CHANNEL && !conn_is_remote(c) && unread(c)) {
			struct linger hard = { 1, 0 };

			REAL(setsockopt)(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		}
		/* Release: our cursors before the mark.  A peer that we have told of a half-close learns by it that this is more. */
		__atomic_fetch_or(&c->rx.dir->cons_mark, HUT_MARK_GONE, __ATOMIC_ACQ_REL);
		if (LOAD(&e->flags) & HUT_ENDF_WRSHUT)
			conn_ring_peer(c);
	}
	tell_gone(c);
	c->closing = -1;
}

/*
 * Other threads sleep in recv or send on the descriptor that goes: the kernel would let them go on, and end the
 * connection when the last of them comes back.  So it stays open under a number of ours until then.
 */
static void keep(struct conn *c)
{
	int kept, fd = table_fd_of(c);

	if (!c->end || fd < 0 || atomic_load(&c->nfds) != 1 || atomic_load(&c->plain) || c->keep_fd >= 0 ||
	    !wait_by_others(c))
		return;
	kept = table_hide_copy(fd);
	if (kept < 0)
		return;
	table_alias(kept, c);
	epset_leave(c);
	__atomic_store_n(&c->keep_fd, kept, __ATOMIC_SEQ_CST);
}

void life_unkeep(struct conn *c)
{
	int fd = __atomic_exchange_n(&c->keep_fd, -1, __ATOMIC_ACQ_REL);
	struct conn *known;

	if (fd < 0)
		return;
	known = table_remove(fd); /* none where it has turned plain */
	if (known) {
		raw_settle(c);
		if (atomic_load(&c->nfds) == 0)
			life_last_close(c, fd);
	}
	table_unhide(fd);
	if (known)
		conn_put(c);
}

/* A number of ours for a socket that turns, or has turned, plain; until nobody sleeps in a call on it any more. */
void life_keep_plain(struct conn *c, int fd)
{
	int kept, none = -1;

	if (__atomic_load_n(&c->keep_fd, __ATOMIC_ACQUIRE) >= 0)
		return;
	kept = table_hide_copy(fd);
	if (kept >= 0 && !__atomic_compare_exchange_n(&c->keep_fd, &none, kept, false, __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE))
		table_unhide(kept);
}

/*
 * Everything of it is plain TCP from now on, and its numbers are the program's, which may make something else of them
 * before another thread that sleeps in recv or send has woken up.  Such a thread goes on by a number of ours.  Not this
 * one, whose number was right just now, and may be closed by a handler or after a jump.
 */
void life_forget(struct conn *c)
{
	bool others = atomic_load(&c->callers) && wait_by_others(c) && !life_in_vfork_child();
	int fd = others ? table_fd_of(c) : -1;

	if (fd >= 0 && raw_begin(c, fd)) {
		life_keep_plain(c, fd);
		raw_end(c);
	}
	table_forget(c);
	if (UNLIKELY(others) && !atomic_load(&c->rx_waiters) && !atomic_load(&c->tx_waiters))
		life_unkeep(c);
}

/* A child has the socket still: the kernel goes on telling this process's epoll sets of it. */
static bool held_elsewhere(const struct conn *c)
{
	return c->end && !c->inherited && LOAD(&c->end->holders) > 1;
}

/* What the kernel knows is what there is to tell then. */
static void stop_for_others(struct conn *c, int fd)
{
	c->closing = fd;
	if (conn_state(c) == HUT_END_CHANNEL)
		conn_stop(c, fd, HUT_R_SHARED);
	c->closing = -1;
}

/* In a fork child nobody sleeps on it: only the parent has to keep it. */
void life_unkeep_child(struct conn *c, void *arg)
{
	int fd = c->keep_fd;

	(void)arg;
	if (fd < 0 || (table_peek(fd) != c && !atomic_load(&c->plain))) /* also of one that was never used */
		return;
	c->keep_fd = -1;
	if (table_remove(fd))
		conn_put(c);
	table_unhide(fd);
}

static struct conn *detach(int fd)
{
	struct conn *c;

	if (LIKELY(!table_peek(fd) && !epset_get(fd)))
		return NULL;
	if (life_in_vfork_child()) {
		table_child_closes(fd);
		return NULL;
	}
	epset_drop(fd);
	c = conn_get(fd);
	if (c) {
		keep(c); /* before the number goes: a sleeper that looks meanwhile must find one of the two */
		epset_number_goes(c, fd);
		conn_put(c);
	}
	c = table_remove(fd);
	if (!c)
		return NULL;
	raw_settle(c);
	if (atomic_load(&c->nfds) == 0) {
		bool lives_on = held_elsewhere(c);

		if (UNLIKELY(lives_on && c->regs))
			stop_for_others(c, fd);
		life_last_close(c, fd);
		epset_conn_gone(c, lives_on);
	} else if (UNLIKELY(c->keep_fd >= 0)) {
		if (atomic_load(&c->callers)) /* they go on by the new number; a poll learns of it with the next event */
			conn_wake_self(c);
		if (!atomic_load(&c->rx_waiters) && !atomic_load(&c->tx_waiters))
			life_unkeep(c);
	}
	return c;
}

/* Once we have let go of the connection nothing may come in between. */
static int close_ours(int fd)
{
	struct conn *c;
	int rc, saved = errno, state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	c = detach(fd);
	rc = (int)syscall(SYS_close, fd);
	if (rc)
		saved = errno;
	if (c)
		conn_put(c);
	pthread_setcancelstate(state, NULL);
	errno = saved;
	return rc;
}

int life_close(int fd, bool cancellable)
{
	if (UNLIKELY(table_is_hidden(fd))) {
		errno = EBADF; /* a program that closes everything: ours stay, as if they were not there */
		return -1;
	}
	stir();
	if (UNLIKELY(table_peek(fd) || epset_get(fd)))
		return close_ours(fd);
	return cancellable ? REAL(close)(fd) : (int)syscall(SYS_close, fd);
}

void life_replaced(int fd)
{
	struct conn *c = detach(fd);

	if (c)
		conn_put(c);
}

/*
 * The number has just been born: if we know it still, it was closed where we do not see it.  Whatever is left of the
 * connection must not touch what the number names now; to the peer it ends as by a kill.
 */
void life_forgotten(int fd)
{
	struct conn *c;

	if (LIKELY(!table_peek(fd) && !epset_get(fd)) || life_in_vfork_child())
		return;
	if (epset_get(fd)) {
		epset_drop(fd);
		return;
	}
	c = table_remove(fd);
	if (!c)
		return;
	raw_settle(c);
	if (atomic_load(&c->nfds) == 0) {
		tell_gone(c);
		epset_conn_gone(c, false);
	}
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

void life_copied(int from, int to)
{
	if (to >= 0 && to <= LAST_STDIO)
		conn_never(from, HUT_R_STDIO);
	life_duplicated(from, to);
}

/* ---- exec ---- */

static bool goes_over(int fd)
{
	int f = REAL(fcntl)(fd, F_GETFD);

	return f >= 0 && !(f & FD_CLOEXEC);
}

/* A new image gets the socket and is none of us: the connection never comes back to the ring. */
static void hand_over(int fd, struct conn *c)
{
	if (!c->end)
		return;
	/* A young one as well: the agent's answer may come at any time, and the counts tell only until then. */
	if (conn_state(c) != HUT_END_CHANNEL)
		conn_mark_never(c, HUT_R_EXEC);
	conn_leave(c, fd, HUT_R_EXEC);
	__atomic_fetch_or(&c->end->flags, HUT_ENDF_HANDED, __ATOMIC_ACQ_REL);
}

static void hand_over_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (goes_over(fd))
		hand_over(fd, c);
}

/* A copy that goes over, made where nothing is tracked. */
void life_given(int fd)
{
	int saved = errno;
	struct conn *c = conn_get(fd);

	if (c) {
		hand_over(fd, c);
		conn_put(c);
	}
	errno = saved;
}

/* exec closes it as a kill would; the peer takes from the ring what it can. */
static void settle_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (c->end && !c->inherited && !goes_over(fd) && conn_state(c) == HUT_END_CHANNEL && conn_progress(c, fd) &&
	    (LOAD_ACQ(&c->tx.dir->cons_mark) & HUT_MARK_LEFT))
		conn_settle_debt(c, fd);
}

/* Once a connection, not once a descriptor. */
static void let_go_one(struct conn *c, void *arg)
{
	(void)arg;
	if (!c->end || !c->inherited)
		return;
	c->exec_state = conn_state(c);
	control_let_go(c->end);
}

/* The last holder has freed the slot, which is given to another connection only after all others: it is taken back. */
static void hold_again_one(struct conn *c, void *arg)
{
	(void)arg;
	if (c->end && c->inherited && __atomic_fetch_add(&c->end->holders, 1, __ATOMIC_ACQ_REL) == 0)
		STORE_REL(&c->end->state, c->exec_state);
}

void life_before_exec(void)
{
	int saved = errno;

	table_each(hand_over_one, NULL);
	if (!life_in_vfork_child()) {
		table_each(settle_one, NULL);
		table_conns(let_go_one, NULL);
		stats_write();
	}
	errno = saved;
}

void life_exec_failed(void)
{
	int saved = errno;

	if (!life_in_vfork_child())
		table_conns(hold_again_one, NULL);
	errno = saved;
}

/* posix_spawn, system, popen: their child runs inside libc, where we see nothing. */
void life_before_spawn(void)
{
	int saved = errno;

	if (!life_in_vfork_child())
		table_each(hand_over_one, NULL);
	errno = saved;
}
