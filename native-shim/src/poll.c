/* SPDX-License-Identifier: Apache-2.0 */
/* poll.c - poll and select over tracked connections and whatever else is in the set (rules 11 to 13); see wait.c. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "real.h"
#include "wait.h"

#define POLL_STACK 60

bool wait_poll_concerns(const struct pollfd *fds, nfds_t n)
{
	if (UNLIKELY(n > 1024 && n > table_high()))
		return false; /* more than a process can have: the kernel says EINVAL */
	bool any = false;

	for (nfds_t i = 0; i < n; i++) { /* all of them: each epoll set must know that it is watched */
		struct conn *c = table_peek(fds[i].fd);
		struct epset *s;

		if (UNLIKELY(c != NULL))
			any |= c->end != NULL;
		else if (UNLIKELY((s = epset_get(fds[i].fd)) != NULL))
			epset_watch(s);
	}
	return any;
}

struct poll_job {
	bool slept;            /* all are counted as waited for, see wait_begin() */
	void *big;             /* memory of its own, or MAP_FAILED */
	size_t big_size;
	bool *counted;         /* raw waits noted, by entry */
	uint32_t *view;        /* of conn_sleep(), by entry */
	bool sleeping;         /* count_in() without its count_out() */
	bool by_kernel;        /* the kernel is to be asked for one of the connections */
	struct pollfd *user;
	nfds_t n;
	struct pollfd *work;   /* n entries for the program's, then up to 2 n doorbells */
	struct conn **conns;   /* pinned, NULL where not tracked */
	nfds_t bells;
	uint64_t span;         /* how long the program would wait at most, NS_FOREVER without end */
	uint64_t began;        /* when it began to wait; 0: it has not, and the clock was not looked at */
	uint64_t deadline;     /* earliest need to look again */
	int ready;
};

/* The descriptor, if it is still the connection's; -1: untracked, or closed meanwhile, of which the kernel tells. */
static int fd_at(const struct poll_job *j, nfds_t i)
{
	struct conn *c = j->conns[i];

	return c && table_peek(j->user[i].fd) == c ? j->user[i].fd : -1;
}

/* Looks at everything without sleeping.  Fills `work` with what a sleep would need. */
static void scan(struct poll_job *j)
{
	j->ready = 0;
	j->by_kernel = false;
	j->deadline = NS_FOREVER;
	for (nfds_t i = 0; i < j->n; i++) {
		struct pollfd *u = &j->user[i];
		struct conn *c = j->conns[i];
		int fd = fd_at(j, i);

		/* Not as a whole: a load over a store that is just under way, and is narrower, waits for it. */
		j->work[i].fd = u->fd;
		j->work[i].events = u->events;
		u->revents = 0;
		if (fd < 0)
			continue;
		if (!conn_progress(c, fd) || conn_state(c) != HUT_END_CHANNEL)
			continue;
		/* The kernel answers for it together with all others, as without us: MPI asks for all of them all the time. */
		if (conn_stays_on_tcp(c)) {
			j->by_kernel = true;
			continue;
		}
		u->revents = conn_ready(c, fd, u->events);
		if (u->revents)
			j->ready++;
		j->work[i].fd = -1;
	}
}

/* The doorbell, and behind it the event channel where there is one. */
static nfds_t with_bells(struct poll_job *j, nfds_t k, const struct conn *c)
{
	j->work[k++] = (struct pollfd){ .fd = c->bell, .events = POLLIN };
	if (UNLIKELY(c->port))
		j->work[k++] = (struct pollfd){ .fd = conn_event(c), .events = POLLIN };
	return k;
}

static void prepare_sleep(struct poll_job *j)
{
	nfds_t k = j->n;

	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];
		struct pollfd *u = &j->user[i];
		int fd = fd_at(j, i);

		if (fd < 0) {
			j->work[i] = *u; /* perhaps plain TCP since the scan: the kernel is asked */
			continue;
		}
		j->deadline = wait_sooner(j->deadline, conn_young_ns(c));
		if (u->events & WRITABLE)
			j->deadline = wait_sooner(j->deadline, conn_stall_ns(c));
		conn_arm_waits(c, u->events);
		if (conn_state(c) == HUT_END_CHANNEL) {
			j->work[i].events = conn_sock_events(c, u->events);
			j->work[i].fd = conn_sock_fd(c, fd, j->work[i].events);
		}
		if (conn_hears_bell(c))
			k = with_bells(j, k, c);
	}
	j->bells = k - j->n;
}

static bool any_ready(struct poll_job *j)
{
	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];
		int fd = fd_at(j, i);

		if (fd >= 0 && conn_state(c) == HUT_END_CHANNEL && !conn_all_by_tcp(c) &&
		    conn_ready(c, fd, j->user[i].events))
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
		int fd = fd_at(j, i);
		bool channel = fd >= 0 && conn_state(c) == HUT_END_CHANNEL;

		/* An end is to be known as such, also where the kernel tells of it. */
		if (channel && (j->work[i].revents & (conn_stays_on_tcp(c) ? POLLRDHUP | POLLHUP | POLLERR : ~0)))
			conn_check_socket(c, fd);
		if (j->work[i].revents && (!channel || conn_stays_on_tcp(c)))
			raw = true;
		if (fd < 0)
			continue;
		if (k < j->n + j->bells && j->work[k].fd == c->bell) {
			bool rung = j->work[k++].revents;

			if (UNLIKELY(c->port) && k < j->n + j->bells && j->work[k].fd == conn_event(c))
				rung |= j->work[k++].revents != 0;
			if (rung)
				wait_drain(c, fd, j->user[i].events);
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
		if (!j->slept)
			wait_count(c, j->user[i].events, 1);
		j->view[i] = conn_sleep(c);
		counted[i] = !conn_hears_bell(c);
		if (counted[i])
			__atomic_fetch_add(&c->end->raw_waits, 1, __ATOMIC_SEQ_CST);
	}
	j->slept = true;
}

static void count_out(struct poll_job *j)
{
	bool *counted = j->counted;

	j->sleeping = false;
	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];

		if (!c)
			continue;
		conn_awake(c, j->view[i]);
		if (counted[i])
			__atomic_fetch_sub(&c->end->raw_waits, 1, __ATOMIC_SEQ_CST);
	}
}

/*
 * poll() takes no more entries than the process may have descriptors.  The program's array may be that long already, most of
 * it empty: the doorbells are asked for in empty places then.  Leaves in the doorbells' own entries where each has gone.
 */
static int ppoll_packed(struct poll_job *j, const struct timespec *ts, const sigset_t *mask)
{
	nfds_t at = 0, k = 0;
	int n;

	for (; k < j->bells; k++) {
		struct pollfd *bell = &j->work[j->n + k];

		while (at < j->n && j->work[at].fd >= 0)
			at++;
		if (at == j->n)
			break;
		j->work[at] = *bell;
		bell->fd = (int)at;
	}
	/* With too few places the kernel refuses once more. */
	n = REAL(ppoll)(j->work, k < j->bells ? j->n + j->bells : j->n, ts, mask);
	while (k-- > 0) {
		struct pollfd *bell = &j->work[j->n + k];

		at = (nfds_t)bell->fd;
		*bell = j->work[at];
		j->work[at].fd = -1;
		j->work[at].revents = 0;
	}
	return n;
}

static int poll_all(struct poll_job *j, const struct timespec *ts, const sigset_t *mask)
{
	int n = REAL(ppoll)(j->work, j->n + j->bells, ts, mask);

	return UNLIKELY(n < 0 && errno == EINVAL && j->bells) ? ppoll_packed(j, ts, mask) : n;
}

static int poll_raw(struct poll_job *j, const struct timespec *ts, const sigset_t *mask)
{
	/* With an answer already a pending signal stays pending, as in the kernel. */
	int n = REAL(ppoll)(j->work, j->n, ts, j->ready ? NULL : mask);

	if (n < 0)
		return n;
	for (nfds_t i = 0; i < j->n; i++) {
		struct conn *c = j->conns[i];
		int fd = fd_at(j, i);

		if (j->work[i].fd < 0 || !j->work[i].revents)
			continue;
		/* A connection that was left to the kernel, and is no more: what TCP tells of it is not all. */
		if (fd >= 0 && conn_state(c) == HUT_END_CHANNEL && !conn_stays_on_tcp(c))
			j->work[i].revents = conn_ready(c, fd, j->user[i].events);
		if (!j->work[i].revents)
			continue;
		j->user[i].revents = j->work[i].revents;
		j->ready++;
		wait_kernel_told();
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
		want[n++] = (short)(j->user[i].events & (READABLE | WRITABLE));
	}
	return n && spin_for(c, want, n);
}

/* Does it ask for accelerated connections, and for others as well? */
static bool accelerated(const struct poll_job *j, bool *foreign)
{
	bool any = false;

	*foreign = false;
	for (nfds_t i = 0; i < j->n; i++) {
		if (j->conns[i] && conn_state(j->conns[i]) == HUT_END_CHANNEL)
			any = true;
		else
			*foreign |= j->user[i].fd >= 0;
	}
	return any;
}

/* What is asked for, as a number. */
static size_t asked(const struct poll_job *j)
{
	size_t h = j->n;

	for (nfds_t i = 0; i < j->n; i++)
		h = (h ^ ((size_t)(unsigned int)j->user[i].fd << 16 | (unsigned short)j->user[i].events)) * 0x100000001b3ull;
	return h;
}

/* The time is up, or there was none.  The clock runs from the first time that there is something to wait for. */
static bool time_is_up(struct poll_job *j)
{
	uint64_t now;

	if (!j->span || j->span == NS_FOREVER)
		return !j->span;
	now = now_ns();
	if (!j->began)
		j->began = now;
	return now - j->began >= j->span;
}

static int poll_loop(struct poll_job *j, const sigset_t *mask)
{
	static const struct timespec zero;
	struct timespec ts;
	bool stirred_raw = false, foreign;

	for (;;) {
		scan(j);
		if (j->ready || stirred_raw || time_is_up(j)) {
			/* A poll without a wait, or one that has its answer: see wait_may_skip_kernel(). */
			if (!stirred_raw && !mask && !j->by_kernel && accelerated(j, &foreign) &&
			    wait_may_skip_kernel(j->user, asked(j), foreign))
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
		int n = -1;
		uint64_t deadline = j->span == NS_FOREVER ? NS_FOREVER : j->began + j->span;

		errno = EINTR;
		if (signals_sleep(j->bells ? j->work[j->n].fd : -1))
			n = poll_all(j, wait_until(wait_sooner(deadline, j->deadline), &ts), mask);
		signals_woke();
		int saved = errno;

		count_out(j);
		if (n > 0)
			stirred_raw = after_sleep(j);
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
	for (nfds_t i = 0; i < j->n; i++) {
		if (j->conns[i] && j->slept)
			wait_count(j->conns[i], j->user[i].events, -1);
		if (j->conns[i])
			conn_put(j->conns[i]);
	}
	if (j->big != MAP_FAILED)
		munmap(j->big, j->big_size);
	errno = saved;
}

/*
 * A look without a wait at connections that are the kernel's to tell of, which MPI takes between hosts all the time: the
 * program's own array goes to the kernel as it is, and nothing is got ready for a sleep.
 */
#define LOOK_MOST 16

struct look {
	struct conn *conns[LOOK_MOST]; /* pinned */
	unsigned int n;
};

static void look_end(struct look *l)
{
	int saved = errno;

	while (l->n > 0)
		conn_put(l->conns[--l->n]);
	errno = saved;
}

/* True: whatever the kernel says of it is all that there is to say. */
static bool is_kernels(const struct conn *c)
{
	return conn_state(c) != HUT_END_CHANNEL || conn_stays_on_tcp(c);
}

/* -2: the set is not of that kind, or no more since the kernel was asked; what it has written there does not count. */
static int __attribute__((noinline)) look_by_kernel(struct pollfd *fds, nfds_t n)
{
	struct look l __attribute__((cleanup(look_end))) = { .n = 0 };
	int saved = errno, rc;

	for (nfds_t i = 0; i < n; i++) {
		struct conn *c = fds[i].fd >= 0 ? conn_get(fds[i].fd) : NULL;

		if (!c)
			continue;
		if (!c->end) { /* never connected: not one of those that are counted */
			conn_put(c);
			continue;
		}
		if (l.n == LOOK_MOST) {
			conn_put(c);
			return -2;
		}
		l.conns[l.n++] = c;
		/* Between neighbours it is a ring, mostly: nothing is looked at twice for those who ask as often. */
		if (conn_state(c) == HUT_END_CHANNEL && !conn_is_remote(c))
			return -2;
		if (conn_progress(c, fds[i].fd) && !is_kernels(c))
			return -2;
	}
	errno = saved;
	rc = REAL(poll)(fds, n, 0);
	for (unsigned int i = 0; i < l.n; i++)
		if (UNLIKELY(l.conns[i]->end && !is_kernels(l.conns[i])))
			return -2;
	if (rc > 0)
		wait_kernel_told();
	return rc;
}

static int __attribute__((noinline))
poll_job(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, uint64_t *began)
{
	struct pollfd work_stack[3 * POLL_STACK];
	struct conn *conn_stack[POLL_STACK];
	bool counted_stack[POLL_STACK];
	uint32_t view_stack[POLL_STACK];
	size_t each = 3 * sizeof(struct pollfd) + sizeof(struct conn *) + sizeof(bool) + sizeof(uint32_t);
	struct poll_job j __attribute__((cleanup(poll_end))) = {
		.user = fds, .work = work_stack, .conns = conn_stack, .counted = counted_stack,
		.view = view_stack, .big = MAP_FAILED,
		.big_size = n * each,
	};

	int saved = errno;

	pthread_testcancel();
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
		j.view = (void *)(j.work + 3 * n);
		j.counted = (void *)(j.view + n);
	}
	j.span = timeout ? wait_span(timeout) : NS_FOREVER;
	for (nfds_t i = 0; i < n; i++) {
		j.conns[i] = fds[i].fd >= 0 ? conn_get(fds[i].fd) : NULL;
		if (j.conns[i] && !j.conns[i]->end) {
			conn_put(j.conns[i]);
			j.conns[i] = NULL;
		}
	}
	j.n = n;
	signals_clear();
	int rc = poll_loop(&j, mask);

	if (began)
		*began = j.began;
	if (rc >= 0)
		errno = saved; /* as after a system call that succeeds: some tell a time-out from a signal by it */
	return rc;
}

int wait_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, uint64_t *began)
{
	if (timeout && !timeout->tv_sec && !timeout->tv_nsec && !mask) {
		int saved = errno, rc;

		signals_clear();
		rc = look_by_kernel(fds, n);
		if (rc != -2) {
			if (began)
				*began = 0;
			return rc;
		}
		errno = saved;
	}
	return poll_job(fds, n, timeout, mask, began);
}
