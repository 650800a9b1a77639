/* SPDX-License-Identifier: Apache-2.0 */
/*
 * epset.c - epoll sets that hold tracked connections.
 *
 * Until a channel stands, the kernel's registration is the program's own (one-shot ones carry a tag of ours, since the
 * kernel does not tell whether they have fired).  From then on the set holds the socket and
 * its doorbell edge-triggered under a tag of ours, and level, edge and one-shot are produced here from the state of the
 * connection (rules 4c, 5 and 12).  A connection that moves bytes is *hot*: it is looked at from memory at every
 * epoll_wait and asks its peer for no doorbell.  Before a real sleep hot connections are armed and leave the list, so
 * that a set's cost does not grow with the idle connections in it.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "real.h"
#include "epset.h"

static _Atomic pid_t holder;
uint64_t ep_tag_base;
static struct epreg *free_regs;
static struct epset *free_sets;

/* One lock for all sets: sections are short, and a set's own work is done outside. */
bool ep_lock(void)
{
	pid_t me = hut_tid(), none = 0;
	unsigned int turns = 0;

	while (!atomic_compare_exchange_weak_explicit(&holder, &none, me, memory_order_acquire,
						      memory_order_relaxed)) {
		if (none == me)
			return false; /* a signal handler inside one of our own sections */
		none = 0;
		give_way(turns++);
	}
	return true;
}

void ep_unlock(void)
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
		uint32_t life = r->life;

		free_regs = r->next_in_set;
		memset(r, 0, sizeof(*r));
		r->life = life + 1;
	}
	return r;
}

struct epset *epset_new(int epfd)
{
	struct epset *s = NULL;

	if (!ep_lock())
		return NULL;
	if (!ep_tag_base) {
		uint64_t r = 0;

		if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != (ssize_t)sizeof(r))
			r = now_ns() * 0x9e3779b97f4a7c15ull;
		/* No pointer of a program and no small number looks like this. */
		ep_tag_base = (r | 0x8000000000000000ull) & ~0xffffffull;
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
		memset((char *)s + offsetof(struct epset, gone), 0, sizeof(*s) - offsetof(struct epset, gone));
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

void ep_link_hot(struct epreg *r)
{
	struct epset *s = r->set;

	if (r->hot || r->disabled || !r->hidden)
		return;
	r->hot = true;
	r->next_hot = NULL;
	r->prev_hot = s->hot_tail;
	if (s->hot_tail)
		s->hot_tail->next_hot = r;
	else
		s->hot_head = r;
	s->hot_tail = r;
	s->hot_count++;
}

void ep_make_hot(struct epreg *r)
{
	r->stir++;
	r->idle = 0;
	ep_link_hot(r);
}

void ep_unlink_hot(struct epreg *r)
{
	struct epset *s = r->set;

	if (!r->hot)
		return;
	if (r->prev_hot)
		r->prev_hot->next_hot = r->next_hot;
	else
		s->hot_head = r->next_hot;
	if (r->next_hot)
		r->next_hot->prev_hot = r->prev_hot;
	else
		s->hot_tail = r->prev_hot;
	s->hot_count--;
	r->hot = false;
}

static struct epreg *find(const struct epset *s, const struct conn *c, int fd)
{
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		if (r->set == s && (fd < 0 || r->number == fd))
			return r;
	return NULL;
}

struct epreg *ep_oneshot(const struct epset *s, const struct conn *c)
{
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		if (r->set == s && r->oneshot)
			return r;
	return NULL;
}

/*
 * A one-shot that has fired, and whose registration the kernel does not know as such: it would still tell of a hang-up.
 * By the tag that event is known as none, also when the registration is not here any more, see fired().
 */
struct epoll_event ep_spent(const struct epreg *r)
{
	return (struct epoll_event){ .events = EPOLLONESHOT,
				     .data.u64 = ep_tag_base | TAG_ONESHOT | TAG_LIFE(r) | r->conn->index };
}

/* What the kernel is to be told: its own registration, or ours. */
struct epoll_event ep_kernels(struct epreg *r)
{
	struct epreg *other = ep_oneshot(r->set, r->conn);

	if (r->hidden)
		return (struct epoll_event){ .events = KERNEL_EVENTS, .data.u64 = ep_tag_base | TAG_SOCKET | r->conn->index };
	if (r->disabled)
		return ep_spent(r);

	r->oneshot = (r->events & EPOLLONESHOT) && r->set->owner == hut_pid && (!other || other == r);
	return (struct epoll_event){
		.events = r->events,
		.data.u64 = r->oneshot ? ep_tag_base | TAG_ONESHOT | TAG_LIFE(r) | r->conn->index : r->data,
	};
}

static bool add_bell(const struct conn *c, int epfd, int bell)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = ep_tag_base | c->index };

	/* EEXIST: another descriptor of the same connection has brought it. */
	return REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, bell, &ev) == 0 || errno == EEXIST;
}

void ep_add_bell(struct epreg *r, int epfd)
{
	struct conn *c = r->conn;

	if (!conn_has_bell(c))
		return;
	if (!r->bell)
		r->bell = add_bell(c, epfd, c->bell);
	if (UNLIKELY(c->port) && !r->event)
		r->event = add_bell(c, epfd, conn_event(c));
}

void ep_del_bell(const struct conn *c, int epfd)
{
	REAL(epoll_ctl)(epfd, EPOLL_CTL_DEL, c->bell, NULL);
	if (UNLIKELY(c->port))
		REAL(epoll_ctl)(epfd, EPOLL_CTL_DEL, conn_event(c), NULL);
}

int ep_hide(struct epreg *r, int epfd, int op)
{
	struct epoll_event ev;

	r->hidden = true;
	ev = ep_kernels(r);
	if (REAL(epoll_ctl)(epfd, op, r->fd, &ev)) {
		r->hidden = false;
		return -1;
	}
	r->set->visible--;
	r->hide_no = atomic_fetch_add(&r->set->hides, 1) + 1;
	r->oneshot = false;
	r->fresh = true;
	ep_stir(r);
	return 0;
}

void ep_free(struct epreg *r)
{
	ep_unlink_hot(r);
	for (struct epreg **p = &r->conn->regs; *p; p = &(*p)->next_in_conn) {
		if (*p == r) {
			*p = r->next_in_conn;
			break;
		}
	}
	*r->link_in_set = r->next_in_set;
	if (r->next_in_set)
		r->next_in_set->link_in_set = r->link_in_set;
	if (r->kept)
		table_unhide(r->fd);
	if (!r->hidden)
		r->set->visible--;
	r->life++;
	r->set = NULL;
	r->conn = NULL;
	r->next_in_set = free_regs;
	free_regs = r;
}

/* ---- epoll_ctl ---- */

static int ctl_add(struct epset *s, int epfd, struct conn *c, int fd, struct epoll_event *ev)
{
	struct epreg *r = reg_alloc();
	bool channel = conn_state(c) == HUT_END_CHANNEL && !c->sets_due && !s->watched &&
		       !(ev->events & EPOLLEXCLUSIVE);
	int rc;

	if (!r)
		return REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, fd, ev);
	r->set = s;
	r->conn = c;
	r->fd = r->number = fd;
	r->events = ev->events;
	r->data = ev->data.u64;
	r->fresh = true;
	r->next_in_conn = c->regs;
	c->regs = r;
	r->next_in_set = s->regs;
	r->link_in_set = &s->regs;
	if (s->regs)
		s->regs->link_in_set = &r->next_in_set;
	s->regs = r;
	s->visible++;
	/* The doorbell first: once the socket is in, the set must see everything (rule 4c). */
	ep_add_bell(r, epfd);
	if (channel) {
		rc = ep_hide(r, epfd, EPOLL_CTL_ADD);
	} else {
		struct epoll_event own = ep_kernels(r);

		rc = REAL(epoll_ctl)(epfd, EPOLL_CTL_ADD, fd, &own);
	}
	if (rc) {
		int saved = errno;

		ep_free(r);
		errno = saved;
	} else if (!conn_has_bell(c)) {
		atomic_store(&s->young, true);
	}
	return rc;
}

static int ctl_mod(int epfd, struct epreg *r, struct epoll_event *ev)
{
	struct epreg before = *r;

	r->disabled = false;

	r->events = ev->events;
	r->data = ev->data.u64;
	if (!r->hidden) {
		struct epoll_event own = ep_kernels(r);
		int rc = REAL(epoll_ctl)(epfd, EPOLL_CTL_MOD, r->fd, &own);

		if (rc) {
			r->events = before.events;
			r->data = before.data;
			r->oneshot = before.oneshot;
			r->disabled = before.disabled;
			return rc;
		}
	}
	r->fresh = true;
	r->mods++;
	if (r->hidden)
		ep_stir(r);
	return 0;
}

static int ctl_del(int epfd, struct epreg *r)
{
	struct conn *c = r->conn;
	struct epset *s = r->set;
	int rc = REAL(epoll_ctl)(epfd, EPOLL_CTL_DEL, r->fd, NULL), saved = errno;
	bool bell = r->bell;

	ep_free(r);
	if (bell && !find(s, c, -1))
		ep_del_bell(c, epfd);
	errno = saved;
	return rc;
}

static bool second_oneshot(const struct epset *s, const struct conn *c, int fd)
{
	bool found = false;

	if (!c->regs || !ep_lock())
		return false;
	for (struct epreg *r = c->regs; r; r = r->next_in_conn)
		found |= r->set == s && r->number != fd && (r->events & EPOLLONESHOT);
	ep_unlock();
	return found;
}

int epset_ctl(struct epset *s, int epfd, int op, int fd, struct epoll_event *ev)
{
	struct conn *c = conn_get(fd);
	struct epreg *r;
	int rc;

	/* An argument that the kernel refuses is its to refuse. */
	if (!c || (op != EPOLL_CTL_DEL && !ev) || (op == EPOLL_CTL_MOD && (ev->events & EPOLLEXCLUSIVE))) {
		if (c)
			conn_put(c);
		return REAL(epoll_ctl)(epfd, op, fd, ev);
	}
	if ((op == EPOLL_CTL_ADD && (s->watched || (ev->events & EPOLLEXCLUSIVE))) ||
	    (op != EPOLL_CTL_DEL && (ev->events & EPOLLONESHOT) && second_oneshot(s, c, fd))) {
		/*
		 * An exclusive registration cannot be modified, so it could never carry our tag; and of two one-shots only
		 * one can carry it, so that we would not know whether the other has fired.
		 */
		conn_put(c);
		conn_never(fd, HUT_R_OPTION);
		c = conn_get(fd);
		if (!c)
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
		rc = ctl_mod(epfd, r, ev);
	else if (op == EPOLL_CTL_DEL && r)
		rc = ctl_del(epfd, r);
	else if (op == EPOLL_CTL_ADD && r->kept)
		rc = (errno = EEXIST, -1); /* to the kernel it is the registration that has never gone */
	else
		rc = REAL(epoll_ctl)(epfd, op, fd, ev);
	ep_unlock();
	conn_put(c);
	return rc;
}

/* Lock held: unless somebody is inside still, who will do it. */
static void give_back(struct epset *s)
{
	if (!atomic_load(&s->gone) || atomic_load(&s->users))
		return;
	atomic_store(&s->gone, false);
	s->next_free = free_sets;
	free_sets = s;
}

bool ep_enter(struct epset *s, int epfd)
{
	atomic_fetch_add(&s->users, 1);
	if (LIKELY(epset_get(epfd) == s))
		return true;
	ep_exit(s);
	return false;
}

void ep_exit(struct epset *s)
{
	if (atomic_fetch_sub(&s->users, 1) != 1 || LIKELY(!atomic_load(&s->gone)) || !ep_lock())
		return;
	give_back(s);
	ep_unlock();
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
			ep_free(s->regs);
		atomic_store(&s->gone, true);
		give_back(s);
	} else if (s->epfd == epfd) {
		s->epfd = table_epset_fd(s);
	}
	ep_unlock();
}

/* Nobody has seen to it that no thread of the parent held the lock, and that thread is not here to give it back. */
void epset_late_child(void)
{
	ep_unlock();
}

void epset_fork(bool before)
{
	static bool held;

	if (before)
		held = ep_lock();
	else if (held)
		ep_unlock();
}
