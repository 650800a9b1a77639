/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - sleeping: blocking calls on one socket, poll and select (rules 11 to 14).
 *
 * Every sleep is a poll of the socket and its doorbell, so that it sees data, room, FIN, RST and a switch alike.
 * Before a connection has a doorbell the sleep is cut at the age at which it is offered to the agent (rule 6).
 */
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "real.h"

#define POLL_STACK 64

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/* One look at the cursors, without locks: is it worth asking conn_ready()? */
static bool stirred(const struct conn *c, short want)
{
	const struct hut_end *e = c->end;

	if ((want & POLLIN) && (LOAD(&c->rx.dir->tail) != LOAD(&e->rx_head) || !conn_is_open(&c->rx, LOAD(&e->rx_round))))
		return true;
	return (want & POLLOUT) &&
	       (LOAD(&c->tx.dir->head) != LOAD(&e->tx_head) || !conn_is_open(&c->tx, LOAD(&e->tx_round)));
}

static bool can_spin(const struct conn *c, short want)
{
	return conn_state(c) == HUT_END_CHANNEL && (want & (POLLIN | POLLOUT)) &&
	       !((want & POLLIN) && LOAD(&c->end->rx_path) != HUT_PATH_RING) &&
	       !((want & POLLOUT) && LOAD(&c->end->tx_path) != HUT_PATH_RING);
}

/*
 * A short spin instead of a sleep, only while it has been paying: one miss ends it for the next fifteen waits.  Yields
 * all the time, so that on a busy machine the peer gets this core.
 */
bool spin_for(struct conn *const *c, const short *want, int n)
{
	uint64_t max, until;
	bool any = false, paying = false;

	for (int i = 0; i < n; i++) {
		if (!can_spin(c[i], want[i]))
			continue;
		any = true;
		paying |= c[i]->spin_budget || ++c[i]->spin_miss % 16 == 0;
	}
	if (!any || !paying || !(max = control_spin_ns()))
		return false;
	until = now_ns() + max;
	do {
		for (int k = 0; k < 50; k++) {
			for (int i = 0; i < n; i++) {
				if (!can_spin(c[i], want[i]) || !stirred(c[i], want[i]))
					continue;
				c[i]->spin_budget = 1;
				return true;
			}
			relax();
		}
		sched_yield();
	} while (now_ns() < until);
	for (int i = 0; i < n; i++)
		c[i]->spin_budget = 0;
	return false;
}

_Atomic uint32_t hut_stirs;

#define FRESH_NS 20000

/*
 * Busy pollers (MPI polls with timeout 0 all the time) are answered from memory as far as accelerated connections go.
 * What the kernel knows of the other descriptors in the set may then be as old as FRESH_NS, but never older than this
 * process's last call that could have made one of them ready.  `n` says what is asked for, beside the address.
 */
bool wait_may_skip_kernel(const void *set, size_t n)
{
	static __thread struct {
		const void *set;
		size_t n;
		uint64_t asked_ns;
		uint32_t stirs;
	} last __attribute__((tls_model("initial-exec")));
	uint64_t now = now_ns();
	uint32_t stirs = atomic_load(&hut_stirs);

	if (last.set == set && last.n == n && last.stirs == stirs && now - last.asked_ns < FRESH_NS)
		return true;
	last.set = set;
	last.n = n;
	last.stirs = stirs;
	last.asked_ns = now;
	return false;
}

static struct timespec *until(uint64_t deadline, struct timespec *ts)
{
	uint64_t now;

	if (deadline == NS_FOREVER)
		return NULL;
	now = now_ns();
	uint64_t left = deadline > now ? deadline - now : 0;

	ts->tv_sec = (time_t)(left / 1000000000ull);
	ts->tv_nsec = (long)(left % 1000000000ull);
	return ts;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * After a drain others may have lost a ring that was theirs (rule 13): whoever drains looks for them, and rings again
 * if what they wait for is there.
 */
static void drain(struct conn *c, int fd, short mine)
{
	short others = 0;

	bell_drain(c->bell);
	if (conn_state(c) != HUT_END_CHANNEL)
		return;
	epset_nudge(c);
	if (atomic_load(&c->rx_waiters) > ((mine & POLLIN) ? 1 : 0))
		others |= POLLIN;
	if (atomic_load(&c->tx_waiters) > ((mine & POLLOUT) ? 1 : 0))
		others |= POLLOUT;
	if (!others)
		return;
	conn_arm_waits(c, others);
	if (conn_ready(c, fd, others) & others) {
		conn_wake_self(c);
		sched_yield();
	}
}

static void waiters(struct conn *c, short want, int by)
{
	if (want & POLLIN)
		atomic_fetch_add(&c->rx_waiters, by);
	if (want & POLLOUT)
		atomic_fetch_add(&c->tx_waiters, by);
	if (UNLIKELY(by < 0 && c->keep_fd >= 0) && !atomic_load(&c->rx_waiters) && !atomic_load(&c->tx_waiters))
		life_unkeep(c);
}

void wait_begin(struct waiting *w, struct conn *c, short want)
{
	if (w->c)
		return;
	w->want = want;
	waiters(c, want, 1);
	w->c = c;
}

void wait_end(struct waiting *w)
{
	int saved = errno;

	if (w->c)
		waiters(w->c, w->want, -1);
	errno = saved;
}

/* A sleep that the doorbell cannot end: no switch meanwhile (rule 4b).  Ends also when the thread is cancelled. */
static void raw_wait_end(struct conn **c)
{
	if (*c)
		__atomic_fetch_sub(&(*c)->end->raw_waits, 1, __ATOMIC_SEQ_CST);
}

static int sleep_once(struct conn *c, int fd, short want, uint64_t deadline)
{
	struct pollfd p[2] = { { .fd = fd }, { .fd = c->bell, .events = POLLIN } };
	struct timespec ts;
	bool bell = conn_has_bell(c);
	struct conn *raw __attribute__((cleanup(raw_wait_end))) = NULL;
	int n;

	if (!bell) {
		__atomic_fetch_add(&c->end->raw_waits, 1, __ATOMIC_SEQ_CST);
		raw = c;
	}
	conn_arm_waits(c, want);
	if (conn_ready(c, fd, want))
		return 1;
	p[0].events = conn_sock_events(c, want);
	deadline = sooner(deadline, conn_young_ns(c));
	if (want & POLLOUT)
		deadline = sooner(deadline, conn_stall_ns(c));
	signals_clear();
	n = REAL(ppoll)(p, bell ? 2 : 1, until(deadline, &ts), NULL);
	if (n > 0 && p[0].revents && conn_state(c) == HUT_END_CHANNEL)
		conn_check_socket(c, fd);
	if (n > 0 && bell && p[1].revents)
		drain(c, fd, want);
	return n;
}

/* 1: worth another try; 0: the deadline has passed; -1: errno (EINTR, EBADF) */
int wait_conn(struct conn *c, int fd, short want, uint64_t deadline, bool some)
{
	for (;;) {
		if (atomic_load(&c->plain))
			return 1;
		if (table_peek(fd) != c && (fd = table_fd_of(c)) < 0) {
			errno = EBADF;
			return -1;
		}
		if (!conn_progress(c, fd) || conn_ready(c, fd, want) || spin_for(&c, &want, 1))
			return 1;
		int n = sleep_once(c, fd, want, deadline);

		/*
		 * A handler with SA_RESTART ran: recv and send go on (rule 14), unless they have a time-out, or have
		 * moved bytes already, of which they tell then.
		 */
		if (n < 0 && errno == EINTR && !some && !((want & POLLIN) ? c->rcvtimeo_ns : c->sndtimeo_ns) &&
		    !signals_interrupted())
			continue;
		if (n < 0)
			return -1;
		if (n == 0 && now_ns() >= deadline)
			return 0;
	}
}

/* ---- poll ---- */

bool wait_poll_concerns(const struct pollfd *fds, nfds_t n)
{
	if (UNLIKELY(n > 1024 && n > table_high()))
		return false; /* more than a process can have: the kernel says EINVAL */
	for (nfds_t i = 0; i < n; i++) {
		struct conn *c = table_peek(fds[i].fd);
		struct epset *s;

		if (UNLIKELY(c != NULL) && c->end)
			return true;
		if (UNLIKELY(!c && (s = epset_get(fds[i].fd)) != NULL))
			epset_watch(s);
	}
	return false;
}

struct poll_job {
	void *big;             /* memory of its own, or MAP_FAILED */
	size_t big_size;
	bool *counted;         /* raw waits noted, by entry */
	bool sleeping;         /* count_in() without its count_out() */
	struct pollfd *user;
	nfds_t n;
	struct pollfd *work;   /* n entries for the program's, then up to n doorbells */
	struct conn **conns;   /* pinned, NULL where not tracked */
	nfds_t bells;
	uint64_t deadline;     /* earliest need to look again */
	int ready;
};

/* Looks at everything without sleeping.  Fills `work` with what a sleep would need. */
static void scan(struct poll_job *j)
{
	j->ready = 0;
	j->deadline = NS_FOREVER;
	for (nfds_t i = 0; i < j->n; i++) {
		struct pollfd *u = &j->user[i];
		struct conn *c = j->conns[i];

		u->revents = 0;
		j->work[i] = *u;
		if (!c || table_peek(u->fd) != c || !conn_progress(c, u->fd) || conn_state(c) != HUT_END_CHANNEL)
			continue;
		u->revents = conn_ready(c, u->fd, u->events);
		if (u->revents)
			j->ready++;
		j->work[i].fd = -1;
	}
}

static void prepare_sleep(struct poll_job *j)
{
	nfds_t k = j->n;

	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];
		struct pollfd *u = &j->user[i];

		if (!c || !c->end || table_peek(u->fd) != c)
			continue;
		j->deadline = sooner(j->deadline, conn_young_ns(c));
		if (u->events & POLLOUT)
			j->deadline = sooner(j->deadline, conn_stall_ns(c));
		conn_arm_waits(c, u->events);
		if (conn_state(c) == HUT_END_CHANNEL) {
			j->work[i].fd = u->fd;
			j->work[i].events = conn_sock_events(c, u->events);
		}
		if (conn_has_bell(c))
			j->work[k++] = (struct pollfd){ .fd = c->bell, .events = POLLIN };
	}
	j->bells = k - j->n;
}

static bool any_ready(struct poll_job *j)
{
	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];

		if (c && conn_state(c) == HUT_END_CHANNEL && table_peek(j->user[i].fd) == c &&
		    conn_ready(c, j->user[i].fd, j->user[i].events))
			return true;
	}
	return false;
}

/* True: the kernel told of descriptors that are none of ours. */
static bool after_sleep(struct poll_job *j)
{
	nfds_t k = j->n;
	bool raw = false;

	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];

		if (j->work[i].revents && !(c && conn_state(c) == HUT_END_CHANNEL))
			raw = true;
		if (!c || table_peek(j->user[i].fd) != c)
			continue;
		if (conn_state(c) == HUT_END_CHANNEL && j->work[i].revents)
			conn_check_socket(c, j->user[i].fd);
		if (k < j->n + j->bells && j->work[k].fd == c->bell) {
			if (j->work[k].revents)
				drain(c, j->user[i].fd, j->user[i].events);
			k++;
		}
	}
	return raw;
}

static void count_in(struct poll_job *j)
{
	bool *counted = j->counted;

	j->sleeping = true;
	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];

		if (!c)
			continue;
		waiters(c, j->user[i].events, 1);
		counted[i] = c->end && !conn_has_bell(c);
		if (counted[i])
			__atomic_fetch_add(&c->end->raw_waits, 1, __ATOMIC_SEQ_CST);
	}
}

static void count_out(struct poll_job *j)
{
	bool *counted = j->counted;

	j->sleeping = false;
	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];

		if (!c)
			continue;
		waiters(c, j->user[i].events, -1);
		if (counted[i])
			__atomic_fetch_sub(&c->end->raw_waits, 1, __ATOMIC_SEQ_CST);
	}
}

static int poll_raw(struct poll_job *j, const struct timespec *ts, const sigset_t *mask)
{
	int n = REAL(ppoll)(j->work, j->n, ts, mask);

	if (n < 0)
		return n;
	for (nfds_t i = 0; i < j->n; i++) {
		if (j->work[i].fd >= 0 && j->work[i].revents) {
			j->user[i].revents = j->work[i].revents;
			j->ready++;
		}
	}
	return j->ready;
}

static bool poll_spin(struct poll_job *j)
{
	struct conn *c[SPIN_MOST];
	short want[SPIN_MOST];
	int n = 0;

	for (nfds_t i = 0; i < j->n && n < SPIN_MOST; i++) {
		if (!j->conns[i] || conn_state(j->conns[i]) != HUT_END_CHANNEL)
			continue;
		c[n] = j->conns[i];
		want[n++] = (short)(j->user[i].events & (POLLIN | POLLOUT));
	}
	return n && spin_for(c, want, n);
}

static bool accelerated(const struct poll_job *j)
{
	for (nfds_t i = 0; i < j->n; i++)
		if (j->conns[i] && conn_state(j->conns[i]) == HUT_END_CHANNEL)
			return true;
	return false;
}

/* What is asked for, as a number. */
static size_t asked(const struct poll_job *j)
{
	size_t h = j->n;

	for (nfds_t i = 0; i < j->n; i++)
		h = (h ^ ((size_t)(unsigned int)j->user[i].fd << 16 | (unsigned short)j->user[i].events)) * 0x100000001b3ull;
	return h;
}

static int poll_loop(struct poll_job *j, uint64_t deadline, const sigset_t *mask)
{
	static const struct timespec zero;
	struct timespec ts;
	bool stirred_raw = false;

	for (;;) {
		scan(j);
		if (j->ready || stirred_raw || deadline == 0 || (deadline != NS_FOREVER && now_ns() >= deadline)) {
			/* A poll without a wait, or one that has its answer: see wait_may_skip_kernel(). */
			if (!stirred_raw && accelerated(j) && wait_may_skip_kernel(j->user, asked(j)))
				return j->ready;
			int n = poll_raw(j, &zero, mask);

			if (n || !stirred_raw)
				return n;
			stirred_raw = false;
			continue;
		}
		if (poll_spin(j))
			continue;
		count_in(j);
		prepare_sleep(j);
		if (any_ready(j)) {
			count_out(j);
			continue;
		}
		int n = REAL(ppoll)(j->work, j->n + j->bells, until(sooner(deadline, j->deadline), &ts), mask);
		int saved = errno;

		if (n > 0)
			stirred_raw = after_sleep(j);
		count_out(j);
		errno = saved;
		if (n < 0)
			return -1;
	}
}

/* Also when the thread is cancelled in its sleep. */
static void poll_end(struct poll_job *j)
{
	int saved = errno;

	if (j->sleeping)
		count_out(j);
	for (nfds_t i = 0; i < j->n; i++)
		if (j->conns[i])
			conn_put(j->conns[i]);
	if (j->big != MAP_FAILED)
		munmap(j->big, j->big_size);
	errno = saved;
}

int wait_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct pollfd work_stack[2 * POLL_STACK];
	struct conn *conn_stack[POLL_STACK];
	bool counted_stack[POLL_STACK];
	size_t each = 2 * sizeof(struct pollfd) + sizeof(struct conn *) + sizeof(bool);
	struct poll_job j __attribute__((cleanup(poll_end))) = {
		.user = fds, .work = work_stack, .conns = conn_stack, .counted = counted_stack, .big = MAP_FAILED,
		.big_size = n * each,
	};
	uint64_t deadline = NS_FOREVER;

	if (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)) {
		errno = EINVAL;
		return -1;
	}
	if (n > POLL_STACK) { /* poll is async-signal-safe, malloc is not */
		j.big = mmap(NULL, j.big_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (j.big == MAP_FAILED) {
			errno = ENOMEM;
			return -1;
		}
		j.conns = j.big;
		j.work = (void *)(j.conns + n);
		j.counted = (void *)(j.work + 2 * n);
	}
	if (timeout)
		deadline = timeout->tv_sec || timeout->tv_nsec ?
				   now_ns() + (uint64_t)timeout->tv_sec * 1000000000ull + (uint64_t)timeout->tv_nsec :
				   0;
	for (nfds_t i = 0; i < n; i++) {
		j.conns[i] = fds[i].fd >= 0 ? conn_get(fds[i].fd) : NULL;
		if (j.conns[i] && !j.conns[i]->end) {
			conn_put(j.conns[i]);
			j.conns[i] = NULL;
		}
	}
	j.n = n;
	return poll_loop(&j, deadline, mask);
}
