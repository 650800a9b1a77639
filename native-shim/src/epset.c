/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epset.c - epoll sets that hold tracked connections.
 *
 * Until a channel stands, the kernel's registration is the program's own.  From then on the set holds the socket and
 * its doorbell edge-triggered under a tag of ours, and level, edge and one-shot are produced here from the state of the
 * connection (rules 4c, 5 and 12).  A connection that moves bytes is *hot*: it is looked at from memory at every
 * epoll_wait and asks its peer for no doorbell.  Before a real sleep hot connections are armed and leave the list, so
 * that a set's cost does not grow with the idle connections in it.
 */
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "real.h"

#define BATCH 64
#define TAG_SOCKET 0x800000u
#define TAG_INDEX 0x7fffffu
#define KERNEL_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define YOUNG_NS (20 * NS_PER_MS)

struct epset {
	struct epreg *regs;
	struct epreg *hot_head, **hot_tail;
	_Atomic int sleepers;
	_Atomic bool young; /* may hold connections without a doorbell */
	bool stalled;       /* somebody waits for room in a ring whose reader may be away (rule 9) */
	int hot_count;
	int epfd;           /* one of the descriptors that name the set */
	int nfds;
	pid_t owner;
	struct epset *next_free;
};

static _Atomic pid_t holder;
static uint64_t tag_base;
static struct epreg *free_regs;
static struct epset *free_sets;

/* One lock for all sets: sections are short, and a set's own work is done outside. */
static bool ep_lock(void)
{
	pid_t me = hut_tid(), none = 0;

	while (!atomic_compare_exchange_weak_explicit(&holder, &none, me, memory_order_acquire,
						      memory_order_relaxed)) {
		if (none == me)
			return false; /* a signal handler inside one of our own sections */
		none = 0;
		sched_yield();
	}
	return true;
}

static void ep_unlock(void)
{
	atomic_store_explicit(&holder, 0, memory_order_release);
}

static void *carve(size_t size, size_t *count)
{
	void *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*count = 65536 / size;
	return p == MAP_FAILED ? NULL : p;
}

static struct epreg *reg_alloc(void)
{
	if (!free_regs) {
		size_t n;
		struct epreg *r = carve(sizeof(*r), &n);

		for (size_t i = 0; r && i < n; i++) {
			r[i].next_in_set = free_regs;
			free_regs = &r[i];
		}
	}
	struct epreg *r = free_regs;

	if (r) {
		free_regs = r->next_in_set;
		memset(r, 0, sizeof(*r));
	}
	return r;
}

struct epset *epset_new(int epfd)
{
	struct epset *s = NULL;

	if (!ep_lock())
		return NULL;
	if (!tag_base) {
		uint64_t r = 0;

		if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != (ssize_t)sizeof(r))
			r = now_ns() * 0x9e3779b97f4a7c15ull;
		/* No pointer of a program and no small number looks like this. */
		tag_base = (r | 0x8000000000000000ull) & ~0xffffffull;
	}
	if (!free_sets) {
		size_t n;
		struct epset *p = carve(sizeof(*p), &n);

		for (size_t i = 0; p && i < n; i++) {
			p[i].next_free = free_sets;
			free_sets = &p[i];
		}
	}
	s = free_sets;
	if (s) {
		free_sets = s->next_free;
		memset(s, 0, sizeof(*s));
		s->hot_tail = &s->hot_head;
		s->nfds = 1;
		s->epfd = epfd;
		s->owner = hut_pid;
		epset_set(epfd, s);
	}
	ep_unlock();
	return s;
}

void epset_alias(int fd, struct epset *s)
{
	s->nfds++;
	epset_set(fd, s);
}

bool epset_busy(struct epset *s)
{
	return s->regs != NULL;
}

/* ---- the hot list; lock held ---- */

static void make_hot(struct epreg *r)
{
	if (r->hot || r->disabled || !r->hidden)
		return;
	r->hot = true;
	r->next_hot = NULL;
	*r->set->hot_tail = r;
	r->set->hot_tail = &r->next_hot;
	r->set->hot_count++;
}

static void unlink_hot(struct epreg *r)
{
	struct epset *s = r->set;

	if (!r->hot)
		return;
	for (struct epreg **p = &s->hot_head; *p; p = &(*p)->next_hot) {
		if (*p != r)
			continue;
		*p = r->next_hot;
		if (s->hot_tail == &r->next_hot)
			s->hot_tail = p;
		s->hot_count--;
		break;
	}
	r->hot = false;
}

static struct epreg *find(const struct epset *s, const struct conn *c, int fd)
{
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		if (r->set == s && (fd < 0 || r->fd == fd))
			return r;
	return NULL;
}

static void add_bell(struct epreg *r, int epfd)
{
	struct conn *c = r->conn;
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = tag_base | c->index };

	if (r->bell || !conn_has_bell(c))
		return;
	/* EEXIST: another descriptor of the same connection has brought it. */
	if (REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, c->bell, &ev) == 0 || errno == EEXIST)
		r->bell = true;
}

static int hide_socket(struct epreg *r, int epfd, int op)
{
	struct epoll_event ev = { .events = KERNEL_EVENTS, .data.u64 = tag_base | TAG_SOCKET | r->conn->index };

	if (REAL(epoll_ctl)(epfd, op, r->fd, &ev))
		return -1;
	r->hidden = true;
	r->fresh = true;
	make_hot(r);
	return 0;
}

static void reg_free(struct epreg *r)
{
	struct epset *s = r->set;

	unlink_hot(r);
	for (struct epreg **p = &r->conn->regs; *p; p = &(*p)->next_in_conn) {
		if (*p == r) {
			*p = r->next_in_conn;
			break;
		}
	}
	for (struct epreg **p = &s->regs; *p; p = &(*p)->next_in_set) {
		if (*p == r) {
			*p = r->next_in_set;
			break;
		}
	}
	r->set = NULL;
	r->conn = NULL;
	r->next_in_set = free_regs;
	free_regs = r;
}

/* ---- epoll_ctl ---- */

static int ctl_add(struct epset *s, int epfd, struct conn *c, int fd, struct epoll_event *ev)
{
	struct epreg *r = reg_alloc();
	bool channel = conn_state(c) == HUT_END_CHANNEL && !c->sets_due;
	int rc;

	if (!r)
		return REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, fd, ev);
	r->set = s;
	r->conn = c;
	r->fd = fd;
	r->events = ev->events;
	r->data = ev->data.u64;
	r->fresh = true;
	r->next_in_conn = c->regs;
	c->regs = r;
	r->next_in_set = s->regs;
	s->regs = r;
	/* The doorbell first: once the socket is in, the set must see everything (rule 4c). */
	add_bell(r, epfd);
	rc = channel ? hide_socket(r, epfd, EPOLL_CTL_ADD) : REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, fd, ev);
	if (rc) {
		int saved = errno;

		reg_free(r);
		errno = saved;
	} else if (!conn_has_bell(c)) {
		atomic_store(&s->young, true);
	}
	return rc;
}

static int ctl_mod(struct epset *s, int epfd, struct epreg *r, struct epoll_event *ev)
{
	if (!r->hidden) {
		int rc = REAL(epoll_ctl)(epfd, EPOLL_CTL_MOD, r->fd, ev);

		if (rc)
			return rc;
	}
	r->events = ev->events;
	r->data = ev->data.u64;
	r->disabled = false;
	r->fresh = true;
	if (r->hidden) {
		make_hot(r);
		if (atomic_load(&s->sleepers))
			conn_wake_self(r->conn); /* a sleeper in the kernel looks again */
	}
	return 0;
}

static int ctl_del(int epfd, struct epreg *r)
{
	struct conn *c = r->conn;
	struct epset *s = r->set;
	int rc = REAL(epoll_ctl)(epfd, EPOLL_CTL_DEL, r->fd, NULL), saved = errno;
	bool bell = r->bell;

	reg_free(r);
	if (bell && !find(s, c, -1))
		REAL(epoll_ctl)(epfd, EPOLL_CTL_DEL, c->bell, NULL);
	errno = saved;
	return rc;
}

static void stop_foreign(struct epset *s)
{
	struct conn *c[BATCH];
	int fd[BATCH], n = 0;

	if (!ep_lock())
		return;
	for (struct epreg *r = s->regs; r && n < BATCH; r = r->next_in_set) {
		if (!r->hidden)
			continue;
		c[n] = conn_by_index(r->conn->index);
		fd[n] = r->fd;
		n += c[n] != NULL;
	}
	ep_unlock();
	for (int i = 0; i < n; i++) {
		conn_stop(c[i], fd[i], HUT_R_SHARED);
		conn_put(c[i]);
	}
}

int epset_ctl(struct epset *s, int epfd, int op, int fd, struct epoll_event *ev)
{
	struct conn *c = conn_get(fd);
	struct epreg *r;
	int rc;

	if (!c || (op != EPOLL_CTL_DEL && !ev)) {
		if (c)
			conn_put(c);
		return REAL(epoll_ctl)(epfd, op, fd, ev);
	}
	if (!ep_lock()) {
		conn_put(c);
		errno = EINTR;
		return -1;
	}
	r = find(s, c, fd);
	if (op == EPOLL_CTL_ADD && !r)
		rc = ctl_add(s, epfd, c, fd, ev);
	else if (op == EPOLL_CTL_MOD && r)
		rc = ctl_mod(s, epfd, r, ev);
	else if (op == EPOLL_CTL_DEL && r)
		rc = ctl_del(epfd, r);
	else
		rc = REAL(epoll_ctl)(epfd, op, fd, ev);
	ep_unlock();
	conn_put(c);
	return rc;
}

/* ---- what connections tell their sets ---- */

void epset_bell_added(struct conn *c, int fd)
{
	(void)fd;
	if (!c->regs || !ep_lock())
		return;
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		add_bell(r, r->set->epfd);
	ep_unlock();
}

void epset_switched(struct conn *c, int fd)
{
	(void)fd;
	if (!c->regs || !ep_lock())
		return;
	for (struct epreg *r = c->regs; r; r = r->next_in_conn) {
		if (r->hidden)
			continue;
		add_bell(r, r->set->epfd);
		/* Also raises an edge: whoever sleeps in the set comes and looks. */
		hide_socket(r, r->set->epfd, EPOLL_CTL_MOD);
	}
	ep_unlock();
}

void epset_conn_gone(struct conn *c, int fd, bool socket_stays)
{
	(void)fd;
	if (!c->regs || !ep_lock())
		return;
	while (c->regs) {
		struct epreg *r = c->regs;
		int epfd = r->set->epfd;

		if (r->bell && epfd >= 0)
			REAL(epoll_ctl)(epfd, EPOLL_CTL_DEL, c->bell, NULL);
		if (r->hidden && socket_stays && epfd >= 0) {
			struct epoll_event ev = { .events = r->disabled ? EPOLLONESHOT : r->events };

			ev.data.u64 = r->data;
			REAL(epoll_ctl)(epfd, EPOLL_CTL_MOD, r->fd, &ev);
		}
		reg_free(r);
	}
	ep_unlock();
}

void epset_activity(struct conn *c)
{
	struct epreg *r = c->regs;
	bool wake = false;

	if (LIKELY(!r))
		return;
	/* The usual case, one set that nobody sleeps in: nothing to do. */
	if (r->hot && !r->next_in_conn && r->set && !atomic_load(&r->set->sleepers))
		return;
	if (!ep_lock())
		return;
	for (r = c->regs; r; r = r->next_in_conn) {
		make_hot(r);
		wake |= r->hidden && atomic_load(&r->set->sleepers) > 0;
	}
	ep_unlock();
	if (wake) {
		/* Somebody sleeps for this connection and nobody else will arm it. */
		conn_arm_waits(c, POLLIN | POLLOUT);
		if (LOAD(&c->rx.dir->tail) != LOAD(&c->end->rx_head) || LOAD(&c->rx.dir->turn))
			conn_wake_self(c);
	}
}

void epset_drop(int epfd)
{
	struct epset *s = epset_get(epfd);

	if (!s)
		return;
	epset_set(epfd, NULL);
	if (!ep_lock())
		return;
	if (--s->nfds == 0) {
		while (s->regs)
			reg_free(s->regs);
		s->next_free = free_sets;
		free_sets = s;
	} else if (s->epfd == epfd) {
		s->epfd = table_epset_fd(s);
	}
	ep_unlock();
}

void epset_fork(bool before)
{
	if (before)
		(void)ep_lock();
	else
		ep_unlock();
}

/* ---- epoll_wait ---- */

struct look {
	struct epreg *reg;
	struct conn *conn;
	int fd;
	short want;
	short got;
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

		unlink_hot(r);
		make_hot(r);
		if (!c)
			continue;
		l[n++] = (struct look){ .reg = r, .conn = c, .fd = r->fd,
					.want = (short)(r->events & (POLLIN | POLLPRI | POLLOUT | POLLRDNORM |
								     POLLWRNORM | POLLRDHUP)) };
	}
	ep_unlock();
	return n;
}

static bool still(const struct epset *s, const struct look *l)
{
	return l->reg->set == s && l->reg->conn == l->conn && l->reg->hidden && !l->reg->disabled;
}

static void look_at(struct look *l)
{
	struct conn *c = l->conn;

	l->got = 0;
	if (!conn_progress(c, l->fd) || conn_state(c) != HUT_END_CHANNEL)
		return;
	if (atomic_load_explicit(&c->sock_event, memory_order_relaxed)) {
		atomic_store(&c->sock_event, false);
		conn_check_socket(c, l->fd);
		/* Bytes that still travel by TCP: each arrival is an edge. */
		if (LOAD(&c->end->rx_path) != HUT_PATH_RING || LOAD(&c->end->tx_path) != HUT_PATH_RING)
			atomic_fetch_add(&c->edges, 1);
	}
	l->got = conn_ready(c, l->fd, l->want);
}

/* Lock held: does the program get an event for what was seen, by the rules of its registration? */
static bool due(struct epreg *r, short got)
{
	struct conn *c = r->conn;
	uint64_t tail;
	uint32_t edges, shorts;

	if (!got)
		return false;
	if (!(r->events & EPOLLET))
		return true;
	tail = LOAD(&c->rx.dir->tail);
	edges = atomic_load(&c->edges);
	shorts = atomic_load(&c->tx_short);
	bool edge = r->fresh || edges != r->seen_edges || ((got & POLLIN) && tail != r->seen_rx) ||
		    ((got & POLLOUT) && shorts != r->seen_short);

	if (!edge)
		return false;
	r->seen_rx = tail;
	r->seen_edges = edges;
	if (got & POLLOUT)
		r->seen_short = shorts;
	r->fresh = false;
	return true;
}

static int collect_batch(struct epset *s, struct epoll_event *ev, int max, int batch)
{
	struct look l[BATCH];
	int n = hot_batch(s, l, batch), out = 0;

	for (int i = 0; i < n; i++)
		look_at(&l[i]);
	if (n && ep_lock()) {
		for (int i = 0; i < n && out < max; i++) {
			struct epreg *r = l[i].reg;

			if (!still(s, &l[i]) || !due(r, l[i].got))
				continue;
			ev[out].events = (uint32_t)(unsigned short)l[i].got;
			ev[out++].data.u64 = r->data;
			if (r->events & EPOLLONESHOT) {
				unlink_hot(r);
				r->disabled = true;
			}
		}
		ep_unlock();
	}
	for (int i = 0; i < n; i++)
		conn_put(l[i].conn);
	return out;
}

/* Events that are true now, from memory. */
static int collect(struct epset *s, struct epoll_event *ev, int max)
{
	int left = s->hot_count, out = 0;

	while (left > 0 && out < max) {
		int batch = left < BATCH ? left : BATCH;

		out += collect_batch(s, ev + out, max - out, batch);
		left -= batch;
	}
	return out;
}

/* Takes our own events out of what the kernel gave; those connections become hot. */
static int translate(struct epset *s, struct epoll_event *ev, int n, bool *ours)
{
	int out = 0;

	for (int i = 0; i < n; i++) {
		if (LIKELY((ev[i].data.u64 & ~0xffffffull) != tag_base)) {
			ev[out++] = ev[i];
			continue;
		}
		struct conn *c = conn_by_index((uint32_t)(ev[i].data.u64 & TAG_INDEX));

		*ours = true;
		if (!c)
			continue;
		if (ev[i].data.u64 & TAG_SOCKET)
			atomic_store(&c->sock_event, true);
		else if (conn_state(c) == HUT_END_PENDING || c->sets_due) {
			int fd = table_fd_of(c);

			if (fd >= 0)
				conn_progress(c, fd); /* the agent has answered */
		}
		if (ep_lock()) {
			for (struct epreg *r = c->regs; r; r = r->next_in_conn)
				if (r->set == s)
					make_hot(r);
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
		uint64_t stall = l[i].want & POLLOUT ? conn_stall_ns(l[i].conn) : NS_FOREVER;

		if (stall < *deadline)
			*deadline = stall;
		if (stall != NS_FOREVER)
			s->stalled = true;
	}
	if (n && ep_lock()) {
		for (int i = 0; i < n; i++) {
			struct epreg *r = l[i].reg, copy;

			if (!still(s, &l[i])) {
				if (r->set == s)
					unlink_hot(r);
				continue;
			}
			copy = *r; /* due() notes what it tells; here it only asks */
			if (due(&copy, l[i].got))
				ready = true;
			else
				unlink_hot(r);
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

static void reheat_stalled(struct epset *s)
{
	if (!s->stalled || !ep_lock())
		return;
	s->stalled = false;
	for (struct epreg *r = s->regs; r; r = r->next_in_set)
		if (r->events & EPOLLOUT)
			make_hot(r);
	ep_unlock();
}

/* Candidates in the set are offered to the agent when they are old enough, though nobody touches them (rule 6). */
static uint64_t tend_young(struct epset *s)
{
	struct conn *c[BATCH];
	int fd[BATCH], n = 0;
	bool any = false;
	uint64_t now = now_coarse_ns();

	if (!atomic_load(&s->young) || !ep_lock())
		return NS_FOREVER;
	for (struct epreg *r = s->regs; r; r = r->next_in_set) {
		uint32_t st = conn_state(r->conn);

		if (conn_has_bell(r->conn) || st == HUT_END_TCP)
			continue;
		any = true;
		if (n < BATCH && st == HUT_END_CANDIDATE && now - r->conn->born_ns >= control_after_ns()) {
			c[n] = conn_by_index(r->conn->index);
			fd[n] = r->fd;
			n += c[n] != NULL;
		}
	}
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
		want[i] = (short)(l[i].want & POLLIN);
	}
	hit = n && spin_for(c, want, n);
	for (int i = 0; i < n; i++)
		conn_put(c[i]);
	return hit;
}

static int kernel_wait(int epfd, struct epoll_event *ev, int max, uint64_t deadline, const sigset_t *mask)
{
	int ms = -1;

	if (deadline != NS_FOREVER) {
		uint64_t now = now_ns(), left = deadline > now ? deadline - now : 0;

		left = (left + NS_PER_MS - 1) / NS_PER_MS;
		ms = left > 1000000 ? 1000000 : (int)left;
	}
	return REAL(epoll_pwait)(epfd, ev, max, ms, mask);
}

int epset_wait(struct epset *s, int epfd, struct epoll_event *ev, int max, const struct timespec *timeout,
	       const sigset_t *mask)
{
	uint64_t deadline = NS_FOREVER;
	bool poll_only = timeout && !timeout->tv_sec && !timeout->tv_nsec;
	bool spun = false;

	if (s->owner != hut_pid)
		stop_foreign(s);
	if (timeout && !poll_only)
		deadline = now_ns() + (uint64_t)timeout->tv_sec * 1000000000ull + (uint64_t)timeout->tv_nsec;
	for (;;) {
		bool ours = false;
		int n = collect(s, ev, max), k;
		uint64_t due_at = NS_FOREVER, young;

		if (n == max)
			return n;
		if ((n || poll_only) && s->hot_head && wait_may_skip_kernel(s, (size_t)max))
			return n;
		if (!n && !poll_only && !spun) {
			spun = true;
			if (spin_set(s))
				continue;
		}
		young = tend_young(s);
		if (n || poll_only || (deadline != NS_FOREVER && now_ns() >= deadline)) {
			k = kernel_wait(epfd, ev + n, max - n, 0, mask);
			if (k < 0)
				return n ? n : k;
			k = translate(s, ev + n, k, &ours);
			if (!n && !k && ours)
				return collect(s, ev, max);
			return n + k;
		}
		atomic_fetch_add(&s->sleepers, 1);
		if (arm_all(s, &due_at)) {
			atomic_fetch_sub(&s->sleepers, 1);
			continue;
		}
		if (deadline < due_at)
			due_at = deadline;
		if (young < due_at)
			due_at = young;
		k = kernel_wait(epfd, ev, max, due_at, mask);
		atomic_fetch_sub(&s->sleepers, 1);
		reheat_stalled(s);
		if (k < 0)
			return k;
		k = translate(s, ev, k, &ours);
		if (k)
			return k;
		spun = false;
	}
}
