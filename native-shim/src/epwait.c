/* SPDX-License-Identifier: Apache-2.0 */
/* epwait.c - epoll_wait on sets that hold accelerated connections; see epset.c for the idea. */
#include <pthread.h>
#include <string.h>

#include "real.h"
#include "epset.h"
#include "wait.h"

#define LOOK_AGAIN (-3) /* in place of a number of events */

struct look {
	struct epreg *reg;
	struct conn *conn;
	int fd;
	short want;
	short got;
	uint32_t idle;
	uint32_t stir, life, mods;
	bool edge;
	bool told;    /* by an edge */
	bool stalled; /* to be looked at again although nobody rings */
	/* What `got` tells of, for edge-triggered registrations. */
	uint64_t tail;
	uint32_t edges, shorts;
};

/* Pins up to `max` hot connections; what was looked at goes to the tail, so that all get their turn. */
static int hot_batch(struct epset *s, struct look *l, int max)
{
	int n = 0;

	if (!s->hot_head || !ep_lock())
		return 0;
	for (int i = 0; i < max && s->hot_head; i++) {
		struct epreg *r = s->hot_head;
		struct conn *c = conn_by_index(r->conn->index);

		ep_unlink_hot(r);
		ep_link_hot(r);
		if (!c)
			continue;
		l[n++] = (struct look){ .reg = r, .conn = c, .idle = r->idle, .stir = r->stir, .life = r->life, .mods = r->mods,
					.edge = r->events & EPOLLET,
					.fd = ep_number(r),
					.want = (short)(r->events & (POLLIN | POLLPRI | POLLOUT | POLLRDNORM |
								     POLLWRNORM | POLLRDHUP)) };
	}
	ep_unlock();
	return n;
}

static bool still(const struct epset *s, const struct look *l)
{
	return l->reg->life == l->life && l->reg->mods == l->mods && l->reg->set == s && l->reg->hidden &&
	       !l->reg->disabled;
}

/* Readiness, and which bytes and edges it tells of: what comes after them is an event of its own. */
static void look_once(struct look *l)
{
	struct conn *c = l->conn;

	l->tail = LOAD_ACQ(&c->rx.dir->tail);
	l->edges = atomic_load(&c->edges);
	l->shorts = atomic_load(&c->tx_short);
	l->got = conn_ready(c, l->fd, l->want);
}

static void look_at(struct look *l)
{
	struct conn *c = l->conn;
	bool answered = false; /* what went by TCP to a peer that is gone, perhaps by a reset */

	l->got = 0;
	if (l->fd < 0 || !conn_progress(c, l->fd) || conn_state(c) != HUT_END_CHANNEL)
		return;
	if (atomic_load_explicit(&c->sock_event, memory_order_relaxed)) {
		atomic_store(&c->sock_event, false);
		conn_check_socket(c, l->fd);
		/* Bytes that still travel by TCP: each arrival is an edge. */
		if (LOAD(&c->end->rx_path) != HUT_PATH_RING || LOAD(&c->end->tx_path) != HUT_PATH_RING)
			atomic_fetch_add(&c->edges, 1);
		else
			answered = conn_tx_unread(c);
	}
	look_once(l);
	if (UNLIKELY(answered) && (l->got & (POLLERR | POLLHUP)))
		l->edges = atomic_fetch_add(&c->edges, 1) + 1;
	/* Something has come just now, and may have been seen: else it would be told of twice. */
	for (int more = 3; l->edge && more && (l->tail != LOAD(&c->rx.dir->tail) || l->edges != atomic_load(&c->edges)); more--)
		look_once(l);
}

/* Lock held: does the program get an event for what was seen, by the rules of its registration? */
static bool due(struct epreg *r, const struct look *l)
{
	short got = l->got;

	got &= (short)(r->events | EPOLLERR | EPOLLHUP); /* it may have been changed since we looked */
	if (!got)
		return false;
	if (!(r->events & EPOLLET))
		return true;
	bool edge = r->fresh || l->edges != r->seen_edges || ((got & READABLE) && l->tail != r->seen_rx) ||
		    ((got & WRITABLE) && l->shorts != r->seen_short);

	if (!edge)
		return false;
	if (got & READABLE)
		r->seen_rx = l->tail;
	r->seen_edges = l->edges;
	if (got & WRITABLE)
		r->seen_short = l->shorts;
	r->fresh = false;
	return true;
}

/* When a connection has to be looked at again although nobody rings. */
static uint64_t due_ns(struct conn *c, short want)
{
	uint64_t due = conn_state(c) == HUT_END_CHANNEL ? remote_due_ns(c) : NS_FOREVER;

	return want & WRITABLE ? wait_sooner(due, conn_stall_ns(c)) : due;
}

/*
 * Lock held.  Looking from memory pays for a few connections; among many, those that have been idle some times leave the
 * list, armed, and their peers ring: what a wait costs does not grow with the connections that rest.
 */
static void cool(const struct look *l, bool crowded)
{
	struct epreg *r = l->reg;

	if (r->idle < IDLE_LOOKS)
		r->idle++;
	else if (crowded && l->idle >= IDLE_LOOKS && r->stir == l->stir &&
		 due_ns(l->conn, l->want) == NS_FOREVER)
		ep_unlink_hot(r);
}

/* Has this registration become ours after the set had counted `hides`? */
static bool newer(const struct epreg *r, const uint32_t *hides)
{
	return UNLIKELY(hides) && (int32_t)(r->hide_no - *hides) > 0;
}

/*
 * An edge has been told, and its thread may be busy with it for long: what comes next is an edge of its own, for those that
 * sleep meanwhile.
 */
static void hand_on_edges(const struct look *l, int n)
{
	for (int i = 0; i < n; i++) {
		struct conn *c = l[i].conn;

		if (!l[i].told)
			continue;
		conn_arm_waits(c, l[i].want & READABLE);
		if (l[i].tail != LOAD(&c->rx.dir->tail) || l[i].edges != atomic_load(&c->edges))
			epset_nudge(c);
	}
}

static int collect_batch(struct epset *s, struct epoll_event *ev, int max, int batch, const uint32_t *hides)
{
	struct look l[BATCH];
	int n = hot_batch(s, l, batch), out = 0;
	const struct look *level = NULL;
	bool crowded = s->hot_count > HOT_FEW;

	for (int i = 0; i < n; i++) {
		if (crowded && l[i].idle >= IDLE_LOOKS)
			conn_arm_waits(l[i].conn, l[i].want);
		look_at(&l[i]);
	}
	if (n && ep_lock()) {
		for (int i = 0; i < n && out < max; i++) {
			struct epreg *r = l[i].reg;

			if (!still(s, &l[i]) || newer(r, hides))
				continue;
			if (!due(r, &l[i])) {
				cool(&l[i], crowded);
				continue;
			}
			r->idle = 0;
			ev[out].events = (uint32_t)(unsigned short)l[i].got & (r->events | EPOLLERR | EPOLLHUP);
			ev[out++].data.u64 = r->data;
			if (r->events & EPOLLONESHOT) {
				ep_unlink_hot(r);
				r->disabled = true;
			} else if (!(r->events & EPOLLET)) {
				level = &l[i];
			} else {
				l[i].told = true;
			}
		}
		ep_unlock();
	}
	if (out && atomic_load(&s->sleepers)) {
		/* As the kernel does: what is still ready is for other sleepers too. */
		if (level)
			epset_nudge(level->conn);
		hand_on_edges(l, n);
	}
	for (int i = 0; i < n; i++)
		conn_put(l[i].conn);
	return out;
}

/*
 * Events that are true now, from memory.  Unless `hides` is NULL only of those registrations that were ours when the set
 * had counted so many: of the others the kernel may have told in this same answer, while they were the program's own.
 */
static int collect(struct epset *s, struct epoll_event *ev, int max, const uint32_t *hides)
{
	int left = s->hot_count, out = 0;

	while (left > 0 && out < max) {
		int batch = left < BATCH ? left : BATCH;

		/* What was looked at goes to the tail: no more than can be told, or the rest would never get its turn. */
		if (batch > max - out)
			batch = max - out;
		out += collect_batch(s, ev + out, max - out, batch, hides);
		left -= batch;
	}
	return out;
}

/* A one-shot registration has fired.  If it is ours by now, the event is none: it is armed there as it was here. */
static bool fired(struct epset *s, struct conn *c, struct epoll_event *ev)
{
	bool locked = ep_lock(); /* not in a signal handler inside our own section: it goes on under that lock */
	struct epreg *r = ep_oneshot(s, c);
	const struct epreg any = { .life = ~0u };

	if (r && (r->disabled || (ev->data.u64 & TAG_LIFE(&any)) != TAG_LIFE(r)))
		r = NULL; /* it has fired already, see ep_spent(); or an event for the number's former connection */
	if (r) {
		r->disabled = true;
		ev->data.u64 = r->data;
	}
	if (locked)
		ep_unlock();
	return r != NULL;
}

/*
 * A set that is waited for from outside has only the kernel's registrations.  Bytes that its connections still find in a
 * stopped round are told by the doorbell, which is rung again as long as there are some, so that the set stays ready.
 */
static bool left_over(struct epset *s, struct conn *c, struct epoll_event *ev)
{
	int fd = table_fd_of(c);
	bool told = false;

	if (fd < 0 || conn_state(c) != HUT_END_CHANNEL || !conn_rx_tell(c) || !ep_lock())
		return false;
	for (struct epreg *r = c->regs; r && !told; r = r->next_in_conn) {
		told = r->set == s && !r->hidden && !r->disabled && (r->events & READABLE);
		if (told)
			*ev = (struct epoll_event){ .events = r->events & READABLE, .data.u64 = r->data };
	}
	ep_unlock();
	if (told)
		conn_wake_self(c);
	return told;
}

/* Takes our own events out of what the kernel gave; those connections become hot. */
static int translate(struct epset *s, struct epoll_event *ev, int n, bool *ours)
{
	int out = 0;

	for (int i = 0; i < n; i++) {
		if (LIKELY((ev[i].data.u64 & ~0xffffffull) != ep_tag_base)) {
			ev[out++] = ev[i];
			continue;
		}
		struct conn *c = conn_by_index((uint32_t)(ev[i].data.u64 & TAG_INDEX));

		if (c && (ev[i].data.u64 & TAG_ONESHOT) && fired(s, c, &ev[i])) {
			ev[out++] = ev[i];
			conn_put(c);
			continue;
		}
		*ours = true;
		if (!c)
			continue;
		if (ev[i].data.u64 & TAG_ONESHOT) {
			/* switched meanwhile */
		} else if (ev[i].data.u64 & TAG_SOCKET) {
			atomic_store(&c->sock_event, true);
		} else {
			if (conn_state(c) == HUT_END_PENDING || c->sets_due) {
				int fd = table_fd_of(c);

				if (fd >= 0)
					conn_progress(c, fd); /* the agent has answered */
			}
			if (UNLIKELY(c->port)) /* also if it was in the set before the set was told of the channel */
				conn_heard(c);
		}
		if (UNLIKELY(s->watched) && left_over(s, c, &ev[out]))
			out++;
		if (ep_lock()) {
			for (struct epreg *r = c->regs; r; r = r->next_in_conn)
				if (r->set == s)
					ep_make_hot(r);
			ep_unlock();
		}
		conn_put(c);
	}
	return out;
}

static bool arm_batch(struct epset *s, int batch, uint64_t *deadline)
{
	struct look l[BATCH];
	int n = hot_batch(s, l, batch);
	bool ready = false;

	for (int i = 0; i < n; i++) {
		conn_arm_waits(l[i].conn, l[i].want);
		look_at(&l[i]);
		uint64_t due_at = due_ns(l[i].conn, l[i].want);

		*deadline = wait_sooner(*deadline, due_at);
		l[i].stalled = due_at != NS_FOREVER;
	}
	if (n && ep_lock()) {
		for (int i = 0; i < n; i++) {
			struct epreg *r = l[i].reg, copy;

			if (!still(s, &l[i])) {
				ready |= r->mods != l[i].mods;
				continue;
			}
			r->stalled = l[i].stalled;
			s->stalled |= l[i].stalled;
			copy = *r; /* due() notes what it tells; here it only asks */
			/* What came after we looked has to be looked at, whoever noted it. */
			if (due(&copy, &l[i]) || r->stir != l[i].stir)
				ready = true;
			else
				ep_unlink_hot(r);
		}
		ep_unlock();
	}
	for (int i = 0; i < n; i++)
		conn_put(l[i].conn);
	return ready;
}

/* Arms what is hot, so that the peers ring; it leaves the list.  True: something is ready after all. */
static bool arm_all(struct epset *s, uint64_t *deadline)
{
	int left = s->hot_count;
	bool ready = false;

	for (; left > 0 && !ready; left -= BATCH)
		ready = arm_batch(s, left < BATCH ? left : BATCH, deadline);
	return ready;
}

/* True: some are to be looked at, by whoever sleeps if this thread leaves. */
static bool reheat_stalled(struct epset *s)
{
	bool some = false;

	if (!s->stalled || !ep_lock())
		return false;
	s->stalled = false;
	for (struct epreg *r = s->regs; r; r = r->next_in_set) {
		if (!r->stalled)
			continue;
		r->stalled = false;
		ep_make_hot(r);
		some = true;
	}
	ep_unlock();
	return some;
}

/* Candidates in the set are offered to the agent when they are old enough, though nobody touches them (rule 6). */
static uint64_t tend_young(struct epset *s)
{
	struct conn *c[BATCH];
	int fd[BATCH], n = 0;
	uint32_t before;
	bool any = false;
	uint64_t now = now_coarse_ns();

	if (!atomic_load(&s->young) || !ep_lock())
		return NS_FOREVER;
	before = s->tended; /* many that never come up must not keep the others from their turn */
	for (struct epreg *r = s->regs; r; r = r->next_in_set) {
		uint32_t st = conn_state(r->conn);

		if (conn_has_bell(r->conn) || st != HUT_END_CANDIDATE || LOAD(&r->conn->end->holders) != 1)
			continue;
		any = true;
		if (n == BATCH || now - r->conn->born_ns < control_after_ns())
			continue;
		if (before) {
			before--;
		} else {
			c[n] = conn_by_index(r->conn->index);
			fd[n] = ep_number(r);
			n += c[n] != NULL;
		}
	}
	s->tended = n == BATCH ? s->tended + BATCH : 0;
	if (!any)
		atomic_store(&s->young, false);
	ep_unlock();
	for (int i = 0; i < n; i++) {
		conn_progress(c[i], fd[i]);
		conn_put(c[i]);
	}
	return any ? now_ns() + YOUNG_NS : NS_FOREVER;
}

static bool spin_set(struct epset *s)
{
	struct look l[SPIN_MOST];
	struct conn *c[SPIN_MOST];
	short want[SPIN_MOST];
	int n = hot_batch(s, l, s->hot_count < SPIN_MOST ? s->hot_count : SPIN_MOST);
	bool hit;

	for (int i = 0; i < n; i++) {
		c[i] = l[i].conn;
		/* Room that was told of once is not worth watching: only what the program was refused. */
		want[i] = (short)(l[i].want & READABLE);
	}
	hit = n && spin_for(c, want, n);
	for (int i = 0; i < n; i++)
		conn_put(c[i]);
	return hit;
}

/* `fine`, unless NULL, is for the time that is left: parts of a millisecond count, if the kernel can do that. */
static int kernel_wait(int epfd, struct epoll_event *ev, int max, uint64_t deadline, struct timespec *fine,
		       const sigset_t *mask)
{
	int n, ms = -1;

	if (UNLIKELY(fine) && REAL(epoll_pwait2)) {
		n = REAL(epoll_pwait2)(epfd, ev, max, wait_until(deadline, fine), mask);
		if (n >= 0 || errno != ENOSYS)
			return n;
	}
	if (deadline != NS_FOREVER) {
		uint64_t now = now_ns(), left = deadline > now ? deadline - now : 0;

		left = (left + NS_PER_MS - 1) / NS_PER_MS;
		ms = left > 1000000 ? 1000000 : (int)left;
	}
	return REAL(epoll_pwait)(epfd, ev, max, ms, mask);
}

/*
 * This thread leaves with other events, and may stay away for long, while the kernel has told it of connections that
 * nobody has looked at yet: another sleeper has to.
 */
static void pass_on(struct epset *s)
{
	struct conn *c = NULL;

	if (!atomic_load(&s->sleepers) || !ep_lock())
		return;
	if (s->hot_head)
		c = conn_by_index(s->hot_head->conn->index);
	ep_unlock();
	if (c) {
		epset_nudge(c);
		conn_put(c);
	}
}

/* What the kernel has now, beside `have` events of ours.  False in *again: that is the answer. */
static int kernel_now(struct epset *s, int epfd, struct epoll_event *ev, int have, int max, const sigset_t *mask,
		      bool *again)
{
	bool ours = false;
	int k, asked = 0;

	*again = false;
	do { /* our own events must not take the program's places */
		k = kernel_wait(epfd, ev + have, max - have, 0, NULL, mask);
		if (k < 0)
			return have ? have : k;
		k = translate(s, ev + have, k, &ours);
	} while (!k && ours && ++asked < 3);
	if (k)
		wait_kernel_told();
	if (ours && (k || have))
		pass_on(s);
	*again = !have && !k && ours;
	return have + k;
}

/* A doorbell that is in the set, for signals_sleep(). */
static int some_bell(struct epset *s)
{
	int bell = -1;

	if (ep_lock()) {
		bell = s->regs ? s->regs->conn->bell : -1;
		ep_unlock();
	}
	return bell;
}

/* No connection of ours is in the set yet; another thread may add one while we sleep. */
static int wait_alone(struct epset *s, int epfd, struct epoll_event *ev, int max, uint64_t deadline, bool poll_only,
		      struct timespec *fine, const sigset_t *mask, bool *again)
{
	bool ours = false;
	int n = kernel_wait(epfd, ev, max, poll_only ? 0 : deadline, fine, mask);

	/* The kernel is never asked for more than kernel_wait() says at a time. */
	*again = n == 0 && !poll_only && (deadline == NS_FOREVER || now_ns() < deadline);
	if (n <= 0)
		return n;
	n = translate(s, ev, n, &ours);
	*again = !n && ours;
	if (ours && n)
		pass_on(s);
	return n;
}

/* Also left by cancellation, so that nobody is taken for a sleeper who is none. */
static void awake(struct epset **s)
{
	if (*s)
		atomic_fetch_sub(&(*s)->sleepers, 1);
}

/*
 * Sleeps, unless something is ready after all (LOOK_AGAIN).  *heated: the time had come to look at some connections again
 * although nobody rang, and this thread alone has slept with that in mind.
 */
static int sleep_in_set(struct epset *s, int epfd, struct epoll_event *ev, int max, uint64_t until, struct timespec *fine,
			const sigset_t *mask, bool *heated)
{
	struct epset *asleep __attribute__((cleanup(awake))) = s;
	uint64_t due_at = NS_FOREVER;
	int n = -1;

	atomic_fetch_add(&s->sleepers, 1);
	FULL_FENCE(); /* counted before the look at the hot list; pairs with that in ep_stir() */
	if (arm_all(s, &due_at)) {
		*heated |= reheat_stalled(s); /* what has been armed by then leaves its time to nobody */
		return LOOK_AGAIN;
	}
	errno = EINTR;
	if (signals_sleep(some_bell(s)))
		n = kernel_wait(epfd, ev, max, until < due_at ? until : due_at, fine, mask);
	signals_woke();
	int saved = errno;

	*heated = reheat_stalled(s);
	errno = saved;
	return n;
}

static int wait_inside(struct epset *s, int epfd, struct epoll_event *ev, int max, const struct timespec *timeout,
		       const sigset_t *mask, bool *heated)
{
	uint64_t deadline = NS_FOREVER;
	bool poll_only = timeout && !timeout->tv_sec && !timeout->tv_nsec;
	struct timespec left, *fine = timeout && timeout->tv_nsec % (long)NS_PER_MS ? &left : NULL;
	bool spun = false, again;

	signals_clear();
	epset_watch_inner(s);
	if (s->owner != hut_pid)
		ep_stop_foreign(s);
	if (timeout && !poll_only && wait_span(timeout) != NS_FOREVER)
		deadline = now_ns() + wait_span(timeout);
	if (LIKELY(!epset_busy(s))) {
		int n = wait_alone(s, epfd, ev, max, deadline, poll_only, fine, mask, &again);

		if (!again)
			return n;
	}
	for (;;) {
		int n = 0, k;
		bool kernel_was_first = s->kernel_first;
		uint64_t young;
		uint32_t hides = atomic_load(&s->hides);

		if (s->kernel_first) {
			/* Ready connections alone would fill every answer: others must get their turn. */
			s->kernel_first = false;
			n = kernel_now(s, epfd, ev, 0, max, mask, &again);
			if (n < 0)
				return n;
		}
		if (n < max)
			n += collect(s, ev + n, max - n, n ? &hides : NULL);
		if (n == max) {
			s->kernel_first = !kernel_was_first;
			return n;
		}
		/* Asked already: it would tell of the same descriptors once more. */
		if (n && kernel_was_first)
			return n;
		if ((n || poll_only) && !mask && s->hot_head && wait_may_skip_kernel(s, (size_t)max, s->foreign || s->visible))
			return n;
		if (!n && !poll_only && !spun) {
			spun = true;
			if (spin_set(s))
				continue;
		}
		young = tend_young(s);
		if (n || poll_only || (deadline != NS_FOREVER && now_ns() >= deadline)) {
			n = kernel_now(s, epfd, ev, n, max, mask, &again);
			return again ? collect(s, ev, max, NULL) : n;
		}
		k = sleep_in_set(s, epfd, ev, max, deadline < young ? deadline : young, fine, mask, heated);
		if (k == LOOK_AGAIN)
			continue;
		if (k < 0)
			return k;
		bool ours = false;

		k = translate(s, ev, k, &ours);
		if (k && ours)
			pass_on(s);
		if (k)
			return k;
		if (UNLIKELY(atomic_load(&s->gone))) { /* the number may name another set by now */
			errno = EBADF;
			return deadline == NS_FOREVER ? -1 : 0;
		}
		spun = false;
	}
}

static void leave(struct epset **s)
{
	ep_exit(*s);
}

/* Also left by cancellation: by pthread_exit(), which unwinds. */
int epset_wait(struct epset *s, int epfd, struct epoll_event *ev, int max, const struct timespec *timeout,
	       const sigset_t *mask)
{
	int saved = errno;

	pthread_testcancel();
	if (UNLIKELY(!ep_enter(s, epfd))) {
		errno = EBADF;
		return -1;
	}
	struct epset *inside __attribute__((cleanup(leave))) = s;
	bool heated = false;
	int n = wait_inside(inside, epfd, ev, max, timeout, mask, &heated);

	if (n < 0)
		saved = errno;
	if (UNLIKELY(heated))
		pass_on(inside);
	errno = saved; /* as after a system call that succeeds, unless it did not */
	return n;
}
