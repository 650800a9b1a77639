/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eptell.c - what epoll sets are told: by connections that get a doorbell, a channel, bytes, or end; and by whoever waits
 * on a set itself, which takes its connections back to TCP (rules 5, 8 and 12).
 */
#include "real.h"
#include "conn.h"
#include "epset.h"

/* The kernel's registration of the socket becomes the program's again. */
void ep_restore(struct epreg *r)
{
	struct epoll_event ev = { .events = r->events, .data.u64 = r->data };

	/* Also by a child that uses the set: the connection is on TCP then, and the kernel's word is all there is. */
	if (!(r->hidden || r->oneshot) || r->set->epfd < 0)
		return;
	if (r->disabled)
		ev = ep_spent(r);
	REAL(epoll_ctl)(r->set->epfd, EPOLL_CTL_MOD, r->fd, &ev);
	ep_unlink_hot(r);
	if (r->hidden)
		r->set->visible++;
	r->hidden = false;
	r->oneshot = false;
}

/*
 * Lock held.  Raises an event that means nothing in itself, so that a sleeper of this set comes and looks at what is hot:
 * of a descriptor that is always readable, and tells so once for each time that its registration is changed.  The doorbell
 * would wake others too, who would empty it and ring again without end.
 */
static void nudge(struct epreg *r)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = ep_tag_base | TAG_INDEX };
	int epfd = r->set->epfd, ready;

	/* A child's count of sleepers is its parent's, which nobody here has to wake. */
	if (!r->hidden || epfd < 0 || r->set->owner != hut_pid)
		return;
	ready = bell_ready();
	if (ready >= 0 && REAL(epoll_ctl)(epfd, r->set->nudged ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, ready, &ev) == 0) {
		r->set->nudged = true;
		return;
	}
	ev = ep_kernels(r); /* without one: as long as the socket has room, or bytes */
	REAL(epoll_ctl)(epfd, EPOLL_CTL_MOD, r->fd, &ev);
}

/* Lock held.  What has happened to a connection is for a sleeper to look at, unless somebody is awake who will. */
void ep_stir(struct epreg *r)
{
	ep_make_hot(r);
	FULL_FENCE(); /* on the list before the look for sleepers; pairs with that in sleep_in_set() */
	if (atomic_load(&r->set->sleepers))
		nudge(r);
}

/* ---- by connections ---- */

void epset_bell_added(struct conn *c, int fd)
{
	(void)fd;
	if (!c->regs || !ep_lock())
		return;
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		ep_add_bell(r, r->set->epfd);
	ep_unlock();
}

void epset_switched(struct conn *c, int fd)
{
	(void)fd;
	if (!c->regs || !ep_lock())
		return;
	for (struct epreg *r = c->regs; r; r = r->next_in_conn) {
		if (r->hidden || r->set->watched || (r->events & EPOLLEXCLUSIVE) || r->set->owner != hut_pid)
			continue;
		ep_add_bell(r, r->set->epfd);
		ep_hide(r, r->set->epfd, EPOLL_CTL_MOD);
	}
	ep_unlock();
}

void epset_conn_gone(struct conn *c, bool socket_stays)
{
	if (!c->regs || !ep_lock())
		return;
	while (c->regs) {
		struct epreg *r = c->regs;
		int epfd = r->set->epfd;

		/* A set is shared with the process that made it: a child's close must not change it. */
		if (r->bell && epfd >= 0 && r->set->owner == hut_pid)
			ep_del_bell(c, epfd);
		if (socket_stays) {
			ep_restore(r);
			r->set->foreign = true;
		}
		ep_free(r);
	}
	ep_unlock();
}

/*
 * The kernel keeps a registration as long as the open file lives, and names it by a number that it will not take any
 * more once that is closed, or takes for something else: it goes over to a number of ours.
 */
static bool keep_number(struct epreg *r)
{
	struct epoll_event ev;
	int kept;

	/* The kernel would tell of an edge once more that it has told of already. */
	if (!r->hidden && (r->events & EPOLLET) && !r->disabled)
		return false;
	ev = ep_kernels(r);
	kept = table_hide_copy(r->fd);
	if (kept < 0)
		return false;
	if (REAL(epoll_ctl)(r->set->epfd, EPOLL_CTL_ADD, kept, &ev)) {
		table_unhide(kept);
		return false;
	}
	REAL(epoll_ctl)(r->set->epfd, EPOLL_CTL_DEL, r->fd, NULL);
	r->fd = kept;
	r->kept = true;
	return true;
}

/* Lock held.  The kernel's registration becomes the program's, and is none of our business from now on. */
static void let_go(struct epreg *r)
{
	struct conn *c = r->conn;
	struct epset *s = r->set;

	if (r->bell)
		ep_del_bell(c, s->epfd);
	ep_restore(r);
	ep_free(r);
	for (r = c->regs; r; r = r->next_in_conn) { /* another number's in the same set shares the doorbell */
		if (r->set == s && r->bell) {
			r->bell = r->event = false;
			ep_add_bell(r, s->epfd);
		}
	}
}

static struct epreg *of_number(const struct conn *c, int fd)
{
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		if (r->fd == fd && r->set->epfd >= 0 && r->set->owner == hut_pid)
			return r;
	return NULL;
}

void epset_number_goes(struct conn *c, int fd)
{
	struct epreg *r;
	bool kept = true;

	if (LIKELY(!c->regs) || atomic_load(&c->nfds) < 2 || !ep_lock())
		return;
	while (kept && (r = of_number(c, fd)) != NULL)
		kept = keep_number(r);
	ep_unlock();
	if (kept)
		return;
	/* Nobody but the kernel can tend it: so the connection goes to TCP, while the number means it still. */
	conn_never(fd, HUT_R_DESCRIPTORS);
	if (!ep_lock())
		return;
	while ((r = of_number(c, fd)) != NULL)
		let_go(r);
	ep_unlock();
}

void epset_leave(struct conn *c)
{
	if (!c->regs || !ep_lock())
		return;
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		if (r->set->epfd >= 0 && r->set->owner == hut_pid)
			REAL(epoll_ctl)(r->set->epfd, EPOLL_CTL_DEL, r->fd, NULL);
	ep_unlock();
	epset_conn_gone(c, false);
}

/*
 * Lock held.  An edge-triggered sleeper had been told of room before it slept, so it has armed nothing that would wake it
 * when there is some again; since then another thread's send has found too little.
 */
static bool short_since(struct epreg *r)
{
	uint32_t shorts = atomic_load(&r->conn->tx_short);

	if (!(r->events & EPOLLET) || !(r->events & WRITABLE) || shorts == r->seen_short || shorts == r->nudged_short)
		return false;
	r->nudged_short = shorts;
	return true;
}

void epset_activity(struct conn *c)
{
	struct epreg *r = c->regs;
	bool wake = false, refused = false;

	if (LIKELY(!r))
		return;
	if (UNLIKELY(r->set && r->set->watched) && !conn_rx_unclaimed(c) && conn_is_owner(c))
		bell_drain(c->bell); /* see left_over() */
	/* The usual case, one set that nobody sleeps in: nothing to do. */
	if (r->hot && !r->next_in_conn && r->set && !atomic_load(&r->set->sleepers))
		return;
	if (!ep_lock())
		return;
	for (r = c->regs; r; r = r->next_in_conn) {
		ep_make_hot(r);
		FULL_FENCE(); /* as in ep_stir() */
		if (r->hidden && atomic_load(&r->set->sleepers) > 0) {
			wake = true;
			refused |= short_since(r);
		}
	}
	ep_unlock();
	if (wake) {
		/* Somebody sleeps for this connection and nobody else will arm it. */
		conn_arm_waits(c, POLLIN | POLLOUT);
		if (refused || LOAD(&c->rx.dir->tail) != LOAD(&c->end->rx_head) ||
		    !conn_is_open(&c->rx, LOAD(&c->end->rx_round)) || atomic_exchange(&c->nudge, false))
			epset_nudge(c);
	}
}

void epset_nudge(struct conn *c)
{
	if (!c->regs || !ep_lock())
		return;
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		ep_stir(r);
	ep_unlock();
}

void epset_young(struct conn *c)
{
	if (!c->regs || !ep_lock())
		return;
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		atomic_store(&r->set->young, true);
	ep_unlock();
}

void epset_foreign(struct epset *s)
{
	s->foreign = true;
}

/* ---- by who uses the set in ways that only the kernel can serve ---- */

/* Stops every connection of the set; then the kernel's registrations are the program's own again, where `restore`. */
static void stop_all(struct epset *s, uint32_t reason, bool restore)
{
	struct conn *c[BATCH];
	int fd[BATCH], n;

	do {
		n = 0;
		if (!ep_lock())
			return;
		for (struct epreg *r = s->regs; r && n < BATCH; r = r->next_in_set) {
			bool done = !r->conn->end || (LOAD(&r->conn->end->flags) & HUT_ENDF_NEVER);

			if (!done && (c[n] = conn_by_index(r->conn->index)) != NULL)
				fd[n++] = ep_number(r);
		}
		ep_unlock();
		for (int i = 0; i < n; i++) {
			if (conn_state(c[i]) == HUT_END_CHANNEL)
				conn_stop_here(c[i], fd[i], reason);
			else if (table_peek(fd[i]) == c[i])
				conn_never(fd[i], reason);
			else
				conn_mark_never(c[i], reason); /* its last number is going: not to be found again */
			conn_put(c[i]);
		}
	} while (n == BATCH);
	if (!restore || !ep_lock())
		return;
	for (struct epreg *r = s->regs; r; r = r->next_in_set)
		ep_restore(r);
	ep_unlock();
}

#define SETTLE_NS (10000 * NS_PER_MS) /* in all, for one set */

/*
 * Between hosts the agents still ring after a stop, and the kernel takes the doorbell in the set for an event: it goes when
 * the round is over for them, too.
 */
static void settle_all(struct epset *s)
{
	struct conn *c[BATCH];
	int fd[BATCH], n, all = 0;
	bool quiet = true;

	if (!s->settle_until)
		s->settle_until = now_ns() + SETTLE_NS;
	do {
		int skip = all;

		n = 0;
		if (!ep_lock())
			return;
		for (struct epreg *r = s->regs; r && n < BATCH; r = r->next_in_set) {
			if (!r->conn->end || !conn_is_remote(r->conn) || conn_state(r->conn) != HUT_END_CHANNEL)
				continue;
			if (skip-- <= 0 && (c[n] = conn_by_index(r->conn->index)) != NULL)
				fd[n++] = ep_number(r);
		}
		ep_unlock();
		for (int i = 0; i < n; i++) {
			quiet = quiet && remote_settle(c[i], fd[i], s->settle_until);
			all += conn_state(c[i]) == HUT_END_CHANNEL; /* those that have settled are in no set any more */
			conn_put(c[i]);
		}
	} while (quiet && n == BATCH);
	s->unsettled = all != 0 || !quiet;
}

void ep_stop_foreign(struct epset *s)
{
	stop_all(s, HUT_R_SHARED, false);
}

/*
 * Programs put sets into sets that they hardly ever wait for (UCX does, below MPICH): only the wait itself needs the
 * inner set's connections on TCP.
 */
void epset_nest(struct epset *inner, struct epset *outer)
{
	if (!outer || (inner->nested_in && inner->nested_in != outer) || outer->watched) {
		epset_watch(inner);
		return;
	}
	inner->nested_in = outer;
	outer->has_inner = true;
}

void epset_watch_inner(struct epset *outer)
{
	if (LIKELY(!outer->has_inner))
		return;
	outer->has_inner = false;
	for (int fd = 0, last = table_last_used(); fd <= last; fd++) {
		struct epset *s = epset_get(fd);

		if (s && s->nested_in == outer) {
			epset_watch(s);
			outer->has_inner |= s->unsettled || s->has_inner; /* the next wait must see to it again */
		}
	}
}

/* Whoever waits on the set itself knows only what the kernel knows. */
void epset_watch(struct epset *s)
{
	if (LIKELY(s->watched)) {
		epset_watch_inner(s);
		if (UNLIKELY(s->unsettled))
			settle_all(s);
		return;
	}
	s->watched = true;
	epset_watch_inner(s);
	stop_all(s, HUT_R_OPTION, true);
	settle_all(s);
	if (!ep_lock())
		return;
	if (s->nudged && s->epfd >= 0)
		REAL(epoll_ctl)(s->epfd, EPOLL_CTL_DEL, bell_ready(), NULL); /* it would be told of from outside */
	s->nudged = false;
	for (struct epreg *r = s->regs; r; r = r->next_in_set) {
		if (conn_state(r->conn) == HUT_END_CHANNEL && conn_rx_unclaimed(r->conn))
			conn_wake_self(r->conn); /* see left_over() */
	}
	ep_unlock();
}
