/* SPDX-License-Identifier: Apache-2.0 */
/* epset.h - what epset.c (registrations), eptell.c (what happens to them) and epwait.c (waiting) share and nobody else needs. */
#ifndef HUTONG_EPSET_H
#define HUTONG_EPSET_H

#include "shim.h"

#define BATCH 32 /* on the stack, which may be small */
#define HOT_FEW 16   /* so many connections of a set are looked at from memory, however idle */
#define IDLE_LOOKS 2
#define TAG_SOCKET 0x800000u
#define TAG_ONESHOT 0x400000u
#define TAG_LIFE(r) (((r)->life & 0x3fu) << 16)
#define TAG_INDEX 0xffffu
#define KERNEL_EVENTS (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET)
#define YOUNG_NS (20 * NS_PER_MS)

struct epset {
	_Atomic int users;   /* threads in epoll_wait; survives recycling, since a late one may come and go */
	_Atomic bool gone;   /* closed under them: the last one gives it back */
	struct epreg *regs;
	struct epreg *hot_head, *hot_tail;
	_Atomic int sleepers;
	_Atomic bool young; /* may hold connections without a doorbell */
	uint32_t tended;    /* how many of those that are due have had their turn, see tend_young() */
	bool unsettled;     /* ... and connections of it have agents that may still ring */
	uint64_t settle_until;
	bool watched;       /* something waits on the set itself (poll, another set): only the kernel's registrations count */
	struct epset *nested_in; /* a set that this one was put into */
	bool foreign;       /* holds, or held, descriptors that are none of ours ... */
	int visible;        /* ... and so many registrations that are the program's own still */
	bool has_inner;     /* sets were put into this one, and nobody has waited for it since */
	bool kernel_first;  /* the last answer was full of ours: the kernel's turn */
	bool nudged;        /* holds a descriptor that is always readable, see nudge() */
	bool stalled;       /* somebody waits for room in a ring whose reader may be away (rule 9) */
	_Atomic uint32_t hides; /* counts registrations that became ours */
	int hot_count;
	int epfd;           /* one of the descriptors that name the set */
	int nfds;
	pid_t owner;
	struct epset *next_free;
};

extern uint64_t ep_tag_base;

/* A number that means the registration's connection in the table, which `fd` may not. */
static inline int ep_number(const struct epreg *r)
{
	return LIKELY(table_peek(r->fd) == r->conn) ? r->fd : table_fd_of(r->conn);
}

bool ep_lock(void);                     /* false: this very thread holds it (a signal handler's call) */
void ep_unlock(void);
void ep_make_hot(struct epreg *r);      /* lock held; also says that something has happened */
void ep_link_hot(struct epreg *r);      /* lock held; only puts it at the end of the list */
void ep_unlink_hot(struct epreg *r);    /* lock held */
struct epreg *ep_oneshot(const struct epset *s, const struct conn *c); /* lock held */
bool ep_enter(struct epset *s, int epfd); /* until ep_exit() the set is not used again; false: the number has changed */
void ep_exit(struct epset *s);
void ep_free(struct epreg *r);          /* lock held */
struct epoll_event ep_kernels(struct epreg *r);       /* lock held */
struct epoll_event ep_spent(const struct epreg *r);   /* lock held */
void ep_del_bell(const struct conn *c, int epfd);
void ep_add_bell(struct epreg *r, int epfd);          /* lock held */
int ep_hide(struct epreg *r, int epfd, int op);       /* lock held; 0, or -1 and errno */
void ep_restore(struct epreg *r);       /* lock held */
void ep_stir(struct epreg *r);          /* lock held: hot, and a sleeper looks */
void ep_stop_foreign(struct epset *s);  /* the set is used by a second process (rule 8) */

#endif /* HUTONG_EPSET_H */
