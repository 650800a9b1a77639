/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim.h - what the parts of libhutong.so know of each other.
 *
 * Files: real.c (libc underneath), ring.c, copy.c, pages.c (the byte rings), bell.c (doorbells), table.c (descriptors
 * -> connections), control.c (the agent), members.c (its table), policy.c (the environment's), conn.c (life of a
 * connection), offer.c (its way to a channel), switch.c (to the ring), stop.c (and back), remote.c (between hosts),
 * ready.c (what it is ready for), io.c, recv.c, recv_odd.c, send.c (moving bytes), wait.c (sleeping on one socket),
 * poll.c, epset.c, eptell.c, epwait.c (epoll), life.c (dup, close, exec), fork.c (fork, begin and end of the process),
 * signals.c (restarts), uring.c (who is declined), hooks_*.c (the interposed symbols).
 *
 * Locking order: epset.lock, then end.rx_lock, then end.tx_lock, then table/control locks.  No lock is held in a wait.
 * Rule numbers are those of switching.md.
 */
#ifndef HUTONG_SHIM_H
#define HUTONG_SHIM_H

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "hutong_abi.h"

#define HUT_EXPORT __attribute__((visibility("default")))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

#define LOAD(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define LOAD_ACQ(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE_REL(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#if defined(__x86_64__)
/* The same promise as the instruction that compilers of this age choose (mfence), for a third of its time. */
#define FULL_FENCE() __asm__ __volatile__("lock; orq $0, (%%rsp)" ::: "memory", "cc")
#else
#define FULL_FENCE() atomic_thread_fence(memory_order_seq_cst)
#endif

/* Programs may ask by the older names alone, which mean the same; epoll has the same bits. */
#define READABLE (POLLIN | POLLRDNORM)
#define WRITABLE (POLLOUT | POLLWRNORM)

#define NS_PER_MS 1000000ull
#define NS_FOREVER UINT64_MAX

/* ---- ring.c -------------------------------------------------------------------------------- */

/* How long blocks that memcpy() may be slow with are copied, see copy.c: turns left of the one way, or of the other. */
struct copying {
	uint8_t past;
	uint8_t plain;
	uint8_t next_past; /* turns of the one way, when its turn comes again */
};

/* How far the pages of one area are there, see pages.c. */
struct paging {
	uint64_t to;   /* stream offset; UINT64_MAX: all of the area, or left to faults */
	uint32_t done; /* bytes asked for so far */
};

/* One end's private view of one direction.  Sizes are private from set-up (decision 8). */
struct ring {
	struct hut_dir *dir;
	uint8_t *small; /* ring_size bytes */
	uint8_t *over;  /* over_size bytes */
	uint32_t small_size;
	uint32_t over_size;
	/* Consumer: what its last look at the shared cursors saw; written under rx_lock, see ring_ahead(). */
	uint64_t tail_seen;
	uint64_t split_seen;
	struct copying copying; /* producer, under tx_lock */
	struct paging small_pages, over_pages; /* under tx_lock or rx_lock */
};

/* Threading: one caller at a time for each `how`, which begins as zero. */
void copy_in(struct copying *how, uint8_t *dst, const uint8_t *src, size_t len);

/*
 * Makes the pages of [off, off + len) of an area present, many at a time; `write` for a producer.  Keeps errno.  A matter
 * of speed only: it may do nothing.
 */
void pages_get(struct paging *p, uint8_t *area, uint32_t size, uint64_t off, size_t len, bool write);

#define RING_POISON (-1) /* the peer published an impossible cursor */

/* Producer.  `end` holds the trusted cursors (tx_tail, tx_head, tx_split). */
ssize_t ring_space(const struct ring *r, struct hut_end *end, bool reader_slow);
void ring_put(struct ring *r, struct hut_end *end, const uint8_t *src, size_t len);
uint32_t ring_worth(const struct ring *r);
bool ring_publish(const struct ring *r, struct hut_end *end);
void ring_soon(const struct ring *r, const struct hut_end *end, size_t len);

/* Consumer.  `end` holds rx_head and rx_end. */
ssize_t ring_avail(const struct ring *r, const struct hut_end *end);
ssize_t ring_ahead(struct ring *r, const struct hut_end *end, size_t enough);
bool ring_some(const struct ring *r, const struct hut_end *end);
void ring_peek(struct ring *r, const struct hut_end *end, uint64_t skip, uint8_t *dst, size_t len);
bool ring_take(const struct ring *r, struct hut_end *end, size_t len);

/* ---- bell.c: never block, whatever a peer does to the eventfd; keep errno ------------------------ */

void bell_ring(int fd);
void bell_drain(int fd);
int bell_ready(void); /* a descriptor that is always readable; -1: there is none */

struct conn;

/* ---- xen.c: on Xen, an event channel where others have the peer's eventfd; never block, keep errno ---- */

void event_ring(int fd, uint32_t port);
bool event_take(int fd, uint32_t *port); /* true: the peer has rung; it can do so again after ... */
void event_allow(int fd, uint32_t port);
void xen_before_fork(void); /* no lock held */
void xen_in_child(void);    /* once the table is the child's own */
bool xen_pages_gone(const struct conn *c);
bool xen_round_lost(const struct conn *c);
void xen_let_go(struct conn *c); /* unmaps granted pages of a connection that was reset, and may stay open for long */

/* ---- connections ---------------------------------------------------------------------------- */

struct epset;

/* One registration of one descriptor in one epoll set. */
struct epreg {
	struct epset *set;
	struct conn *conn;
	int fd;            /* in the kernel's registration */
	int number;        /* the program's name for it; the same but for `kept` */
	uint32_t events;   /* as the program gave them */
	uint64_t data;
	bool kept;         /* `fd` is a number of ours: `number` has been closed, another of the connection stays */
	bool hidden;       /* the kernel's registration of the socket carries our tag */
	bool oneshot;      /* the kernel's registration is the program's but for the data: we must know when it has fired */
	bool bell;         /* the doorbell is in the set */
	bool event;        /* and so is the event channel */
	bool disabled;     /* EPOLLONESHOT has fired */
	bool hot;          /* on the set's hot list: not armed, so looked at before every sleep */
	bool stalled;      /* it has gone cold with a time when it has to be looked at again */
	bool fresh;        /* ADD or MOD since: an edge is due if ready */
	uint64_t seen_rx;  /* edge-triggered: what the last event told of ... */
	uint32_t seen_edges;
	uint32_t seen_short;
	uint32_t nudged_short; /* a sleeper has been told of so many sends that found too little room */
	uint32_t idle;     /* looks in a row that found nothing */
	uint32_t stir;     /* counts what made it hot: a sleeper-to-be must not undo what came meanwhile */
	uint32_t hide_no;  /* of the set's `hides`, when `hidden` became true */
	uint32_t mods;     /* counts EPOLL_CTL_MOD: what was seen before it is not for what the registration is now */
	uint32_t life;     /* counts uses of this object */
	struct epreg *next_in_conn;
	struct epreg *next_in_set, **link_in_set;
	struct epreg *next_hot, *prev_hot;
};

struct conn {
	struct hut_end *end; /* NULL while the socket is neither connected nor accepted */
	struct ring rx, tx;
	void *seg;
	size_t seg_len;
	int bell;      /* own doorbell, -1 when none */
	int peer_bell; /* the peer's doorbell, -1 when none; on Xen the event channel, which rings both ways */
	uint32_t port; /* the event channel's port; 0: not on Xen */
	_Atomic int pins;
	_Atomic int nfds;       /* descriptors of this process that name the connection */
	_Atomic uint32_t note_seen;
	_Atomic int rx_waiters; /* threads waiting, by direction (rule 13) */
	_Atomic int tx_waiters;
	_Atomic uint32_t yields;   /* rings in a row that were left in place for somebody who sleeps with an older view */
	_Atomic uint64_t sleepers; /* view << 32 | asleep with an older view << 16 | asleep with this view, see conn_changed() */
	_Atomic int callers;    /* threads in a sleeping recv or send */
	_Atomic int raw;        /* short calls under way on the socket by its number */
	uint32_t ref;
	uint32_t pool_slot;
	bool own_pool;   /* the slot is of this process's own pool, not of a parent's */
	bool inherited;  /* came through fork */
	bool held;       /* the fork that is under way has counted its child as a holder */
	uint32_t family; /* AF_INET or AF_INET6 */
	bool active;
	bool nonblock;   /* before `end` exists */
	int err;         /* error taken from the socket, to be told after the queued bytes (rule 16) */
	uint64_t born_ns;
	uint64_t rcvtimeo_ns, sndtimeo_ns; /* 0: none */
	bool timeo_known[2];               /* of rcvtimeo_ns, sndtimeo_ns */
	bool shut_due;       /* shutdown(SHUT_WR) is to follow the bytes that are owed to TCP */
	int closing;         /* the number that is being closed, or -1 */
	int keep_fd;         /* a hidden descriptor that outlives close(), or turning plain, while threads wait, or -1 */
	uint64_t stall_ns;   /* since when the ring has been short of room without the reader moving */
	uint64_t stall_head;
	uint64_t full_ns;    /* since when the ring has been short of room */
	uint64_t check_ns;   /* last look at the TCP socket's own state */
	uint64_t told;       /* a stopped round's bytes before this offset were there to be seen: a read must find them */
	uint64_t chaos_ns;   /* for tests: when the path changes next */
	uint64_t arm_ns;     /* last failed attempt to arm */
	uint64_t idle_ns;    /* on Xen: since when the peer has rung without news ... */
	uint32_t idle_rings; /* ... and how often, see storms() */
	uint64_t news;       /* what there was when it rang last */
	int more;            /* the last bytes that went by TCP wait there for others (MSG_MORE) */
	uint64_t stop_ns;    /* when this process has stopped both directions last */
	int late_err;        /* between hosts: an error of the socket that comes after bytes which are on their way */
	bool late_told;      /* ... or of any: a writer was told of it, and the stream's end is none of its own then */
	uint64_t fin_ns;     /* between hosts: when TCP's end was seen, which may not be the stream's, or later bytes */
	uint64_t fin_tail;   /* ... and how far the ring was written then */
	bool end_told;       /* between hosts: TCP's end was shown to the program, no round may follow */
	_Atomic unsigned int fin_told; /* ... 1: it is one, and was an edge; 2: which sort of end is known, too */
	int fd;              /* a descriptor of it, most likely */
	uint32_t index;      /* permanent place in conn_by_index(), survives recycling */
	_Atomic bool nudge;  /* a path has changed: who sleeps in an epoll set has to come and look */
	_Atomic bool sock_event; /* an epoll set was told of the socket itself */
	_Atomic uint64_t splicer; /* process and thread that moves bytes from it into a pipe, or 0 */
	_Atomic bool plain;  /* forgotten: its descriptors are plain TCP now, not closed */
	bool offered;        /* this session's agent knows of it; guarded by the control lock */
	bool gone_due;       /* the agent is still to be told that the channel was refused */
	bool rest_kept;      /* on Xen, after a fork: the segment is a copy of the granted pages, see xen.c */
	bool sets_due;       /* epoll sets are still to be told of the channel */
	bool sets_told;      /* ... and have been: from now on the kernel tells the program nothing of the socket */
	uint32_t spin_budget;
	uint32_t spin_miss;
	uint32_t ahead_pause; /* see let_run_ahead() */
	_Atomic pid_t sender; /* between hosts: the thread that has sent by TCP last, see direct_begin() */
	uint64_t bulk_ns;     /* between hosts: when the agent has heard last of bulk that goes by TCP */
	uint32_t one_way;     /* reads from the ring since the last send */
	uint32_t exec_state;  /* of the end, before an exec that may fail */
	_Atomic int waiter;   /* the thread that waits, or -1: several have */
	_Atomic uint32_t to_ring; /* counts how often a direction went to the ring */
	_Atomic uint32_t tx_short; /* counts writes that came short, for edge-triggered sets */
	_Atomic uint32_t edges;    /* counts switches and socket events, each an edge (rule 5) */
	struct epreg *regs;  /* guarded by table_lock */
	struct conn *next_free;
};

/* ---- table.c -------------------------------------------------------------------------------- */

extern _Atomic bool hut_enabled;
bool table_init(void);
struct conn *conn_get(int fd);              /* pinned, or NULL */
void conn_put(struct conn *c);
struct conn *table_peek(int fd);            /* not pinned: only to ask whether there is one */
bool raw_begin(struct conn *c, int fd);     /* until raw_end() the number means this connection's socket */
void raw_end(struct conn *c);
void raw_settle(struct conn *c);            /* waits until no other thread is inside */
struct conn *table_new(int fd, int family, bool nonblock);
void table_alias(int fd, struct conn *c);   /* another descriptor for the same connection */
struct conn *table_remove(int fd);          /* returns it pinned; nfds is already lower */
struct conn *conn_by_index(uint32_t index); /* pinned, or NULL */
void table_forget(struct conn *c);          /* every descriptor of it becomes plain TCP */
void table_child_closes(int fd);            /* in a vfork child, and for it alone */
int table_fd_of(struct conn *c);            /* any descriptor of it, or -1 */
void table_conns(void (*fn)(struct conn *c, void *arg), void *arg); /* not pinned: for who holds the control lock, or is alone */
void table_each(void (*fn)(int fd, struct conn *c, void *arg), void *arg);
struct epset *epset_get(int fd);
void epset_set(int fd, struct epset *s);
int table_epset_fd(const struct epset *s);  /* any descriptor of the set, or -1 */
int table_last_used(void);                  /* no descriptor above it was ever tracked */
unsigned int table_high(void);              /* as many descriptors as the process may have */
bool table_is_hidden(int fd);
int table_hide(int fd);                     /* moves fd out of the program's way, and returns the new number; -1, and fd closed, when few are free */
int table_hide_copy(int fd);                /* the same of a copy: fd stays as it is */
void table_unhide(int fd);                  /* closes a hidden descriptor */
bool table_lock(void);                      /* false: this very thread holds it (a signal handler's call) */
void table_unlock(void);
void table_after_fork_child(bool late);

/* ---- control.c ------------------------------------------------------------------------------ */

enum member_kind { MEMBER_UNKNOWN, MEMBER_NONE, MEMBER_SELF, MEMBER_REMOTE, MEMBER_NEAR };

bool control_session(void);
bool control_untried(void);                         /* no session was wanted yet: who is a member is not known */
bool control_is_silent(uint64_t ns);                 /* its hello has had no answer for that long */
bool members_take(int fd);                          /* a table from the agent; false: it is none */
bool control_is_lost(void);                         /* the agent has ended the session, or there is none */
bool control_agent_died(uint32_t holder);           /* that is in tx_lock */
bool control_ready(void);                           /* starts the session when there is none; never blocks */
enum member_kind control_member(const struct sockaddr *sa, bool ask); /* ask: open a session for that, if there was none */
uint32_t control_after_bytes(void);
uint64_t control_after_ns(void);
uint64_t control_spin_ns(void);
bool control_enabled(void);
bool control_remote(void);                          /* connections to other hosts may be offered */
bool control_slot(struct conn *c);                  /* gives c->end */
bool control_adopt(struct conn *c);                 /* a forked child becomes the owner */
void control_free_slot(struct conn *c);
void control_let_go(struct hut_end *e);             /* one holder less */
enum registered { REGISTER_DONE, REGISTER_BUSY, REGISTER_FAILED };
enum registered control_register(struct conn *c, int fd);
void control_gone(struct conn *c, uint32_t reason);
void control_poll(void);                            /* takes in what the agent sent */
void control_after_fork_child(void);
void control_fork(bool before);

/* ---- conn.c --------------------------------------------------------------------------------- */

void conn_connected(int fd, struct conn *c, const struct sockaddr *peer);
bool socket_has_odd_option(int fd); /* set, or inherited: it stays on TCP */
void conn_accepted(int listener, int fd, const struct sockaddr *peer, int flags);
bool conn_progress(struct conn *c, int fd);         /* false: the connection has become plain TCP */
void segment_unmap(struct conn *c);
void conn_on_channel(struct conn *c, const struct hut_msg *m, int seg_fd, int bell_fd);
void conn_on_declined(struct conn *c, uint32_t reason);
uint64_t conn_young_ns(const struct conn *c);       /* when the next look at rule 6 is due, NS_FOREVER if never */
void conn_stop(struct conn *c, int fd, uint32_t reason);
void conn_stop_here(struct conn *c, int fd, uint32_t reason); /* before a wait that is not ours */
void conn_never(int fd, uint32_t reason);           /* before a call that the shim cannot follow (rule 8) */
void conn_send_past(int fd, uint32_t reason);       /* before one that does not read */
void conn_release(struct conn *c);                  /* last descriptor and pin are gone */
void conn_check_socket(struct conn *c, int fd);
int conn_queued_by_tcp(struct conn *c, int fd);     /* bytes for the reader, or -1 if that cannot be known */
bool conn_is_dead(struct conn *c, int fd);          /* TCP says that it is over, and not how */
void conn_error_told(struct conn *c, int fd, int err); /* by getsockopt() */
void conn_cut(struct conn *c, int fd); /* resets the socket itself */
void conn_poison_by(struct conn *c, int fd, const char *who);
#define conn_poison(c, fd) conn_poison_by(c, fd, __func__)
bool conn_end_of_tcp(struct conn *c);               /* TCP has ended: true when the ring has bytes that come first */
size_t conn_rx_unclaimed(const struct conn *c);     /* bytes of a stopped round that may be claimed */
size_t conn_rx_tell(struct conn *c);                /* the same, and the program hears of them */
bool conn_rx_claim(struct conn *c, size_t want);    /* rx_lock held */
size_t conn_rx_told(const struct conn *c);          /* bytes that come by TCP at once, and were seen in the ring before */
void conn_rx_leave(struct conn *c);                 /* rx_lock held: the round is drained */
void conn_ring_peer(struct conn *c);
void conn_wake_self(struct conn *c);
bool conn_flush_debt(struct conn *c, int fd);       /* true: nothing is owed any more */
void conn_settle_debt(struct conn *c, int fd);      /* the same, and waits; resets if TCP does not take it */
void conn_leave(struct conn *c, int fd, uint32_t reason); /* a stop before it goes where the ring cannot be read (rule 8) */
bool conn_before_fin(struct conn *c, int fd, bool closing); /* true: the FIN may go out now */
void conn_tx_stopped(struct conn *c, int fd);       /* accepts the peer's stop, if there is one */
void conn_tx_done(struct conn *c);                    /* the round is over for us, and the peer is told */
bool conn_tx_turned(const struct conn *c);          /* after publishing: the peer's reader has stopped */
bool conn_willing(const struct conn *c);            /* may go to the ring */
bool conn_is_owner(const struct conn *c);
short conn_ready(struct conn *c, int fd, short want);      /* POLL* bits true now */
void conn_arm_waits(struct conn *c, short want);    /* asks the peer to ring; look again afterwards */
bool conn_all_by_tcp(const struct conn *c);         /* the kernel sees all that may come */
bool conn_stays_on_tcp(const struct conn *c);       /* nor may anything else before both ends have agreed on it */
short conn_sock_events(struct conn *c, short want); /* what a sleeper must ask the kernel about the socket */
int conn_sock_fd(const struct conn *c, int fd, short events); /* the number to ask about, -1: do not ask at all */
ssize_t conn_tx_room(struct conn *c, size_t enough); /* tx_lock held */
uint64_t conn_stall_ns(struct conn *c);             /* when a full ring is due for a second look, NS_FOREVER if not */
bool conn_has_bell(const struct conn *c);
bool conn_hears_bell(const struct conn *c);        /* and may wait for it */
void conn_drain(struct conn *c);                    /* empties whatever rings */
void conn_heard(struct conn *c);                    /* on Xen: the event channel has rung in an epoll set */
void conn_asks_else(struct conn *c);                /* sleepers have to ask the kernel something else ... */
void conn_changed(struct conn *c);                  /* ... and it is an edge */
uint32_t conn_sleep(struct conn *c);                /* before the sleeper finds out what to ask ... */
void conn_awake(struct conn *c, uint32_t view);
bool conn_sleeps(struct conn *c);                   /* somebody sleeps in recv, send, poll or select */
bool conn_oversleeps(struct conn *c);               /* somebody sleeps since before the last change */
#define TIMEO_AT_ONCE 1                             /* nanosecond: none that the kernel knows is as short */
uint64_t conn_timeo(struct conn *c, int fd, bool send); /* SO_RCVTIMEO, SO_SNDTIMEO; 0: none */
void conn_timeo_shared(struct conn *c);
bool lock_rx(struct hut_end *e);                    /* false: this very thread holds it (a signal handler's call) */
void unlock_rx(struct hut_end *e);
bool lock_tx(struct hut_end *e);
void unlock_tx(struct hut_end *e);

static inline bool conn_is_open(const struct ring *r, uint32_t round)
{
	return HUT_TURN_STATE(LOAD_ACQ(&r->dir->turn)) == HUT_STATE(round, HUT_TURN_OPEN);
}

/* Nobody reads our ring any more: what is sent goes by TCP, whatever the path, and the kernel knows what becomes of it. */
static inline bool conn_tx_unread(const struct conn *c)
{
	return (LOAD(&c->end->flags) & (HUT_ENDF_PEERGONE | HUT_ENDF_ERR)) ||
	       UNLIKELY(LOAD(&c->tx.dir->cons_mark) & HUT_MARK_GONE);
}

static inline uint32_t conn_state(const struct conn *c)
{
	uint32_t state = c->end ? LOAD_ACQ(&c->end->state) : (uint32_t)HUT_END_FREE;

	/* A child that was forked before the channel stood has no mapping of it: its calls go by TCP, and are counted. */
	if (UNLIKELY(state == HUT_END_CHANNEL && !c->seg))
		return HUT_END_PENDING;
	return state;
}

/* What the agent is told when it is over: a storm in any case, for it is counted there. */
static inline uint32_t conn_gone_reason(const struct conn *c, uint32_t otherwise)
{
	return LOAD(&c->end->flags) & HUT_ENDF_STORM ? (uint32_t)HUT_R_STORM : otherwise;
}

/* ---- remote.c: the peer is on another host ------------------------------------------------------- */

enum remote_next { REMOTE_OVER, REMOTE_MORE, REMOTE_WAIT };

bool remote_end_open(const struct conn *c);
void remote_ask_end(struct conn *c);
void remote_tcp_ended(struct conn *c);
bool remote_late_error(struct conn *c, int err);
int remote_take_late(struct conn *c);
int remote_tell_late(struct conn *c);
void remote_late_told(struct conn *c);
int remote_cut_error(struct conn *c);
bool remote_is_cut(const struct conn *c);
bool remote_end_unknown(const struct conn *c);
bool remote_early(struct conn *c, int fd);
void conn_end_named(struct conn *c, int fd);
uint64_t remote_due_ns(const struct conn *c);
short remote_hide_end(struct conn *c, int fd, short got);
enum remote_next remote_after_tcp(struct conn *c); /* rx_lock held */
uint64_t remote_rest(const struct conn *c);
void remote_asked_how_many(struct conn *c, int fd); /* rx_lock held; TCP has none */
#define USER_TIMEOUT 18           /* TCP_USER_TIMEOUT of linux/tcp.h, which only the kernel can keep */
bool remote_has_time_out(int fd);
void remote_sent_by_tcp(struct conn *c, uint64_t was, uint64_t n);
void remote_ask_back(struct conn *c);
void remote_is_back(struct conn *c);
bool remote_leave_agreed(struct conn *c);
bool remote_settle(struct conn *c, int fd, uint64_t until);
bool remote_needs_no_ring(struct conn *c, int fd);
bool conn_rx_rest(struct conn *c, uint64_t at, uint64_t *tail); /* rx_lock held: takes on what the ring has from `at` */

/* The event channel as a descriptor to wait for, -1 when there is none. */
static inline int conn_event(const struct conn *c)
{
	return c->port ? c->peer_bell : -1;
}

static inline bool conn_is_remote(const struct conn *c)
{
	return UNLIKELY(LOAD(&c->end->flags) & HUT_ENDF_REMOTE);
}

/* ---- recv.c, send.c, wait.c, epset.c ------------------------------------------------------------------- */

ssize_t io_recv(struct conn *c, int fd, struct msghdr *m, int flags);
/*
 * A call that sleeps on a connection, counted from its first sleep to its end (one in parts: from its beginning): a
 * close() by another thread meanwhile leaves the connection to it, as the kernel would.  wait_end() also runs when the
 * thread is cancelled.
 */
struct waiting {
	struct conn *c; /* NULL: is not counted yet */
	short want;
	bool more;      /* a call in parts, each of which is to go to the same socket */
};
#define WAITING __attribute__((cleanup(wait_end)))
void wait_begin(struct waiting *w, struct conn *c, short want);
void wait_end(struct waiting *w);
/* `w` is the program's call's, of which this may be a part. */
ssize_t io_send(struct conn *c, int fd, const struct msghdr *m, int flags, struct waiting *w);
/* `some`: bytes were moved already, of which an interrupted call tells. */
int wait_conn(struct conn *c, int fd, short want, uint64_t deadline_ns, bool some);
bool wait_by_others(const struct conn *c);
/* *began, unless NULL: when it began to wait, 0 if there was nothing to wait for. */
int wait_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask, uint64_t *began);
bool wait_poll_concerns(const struct pollfd *fds, nfds_t n);
bool wait_may_skip_kernel(const void *set, size_t n, bool foreign); /* foreign: others than accelerated ones are in it */
void wait_kernel_told(void);
#define SPIN_MOST 8 /* connections that one spin watches */
bool spin_for(struct conn *const *c, const short *want, int n);

struct epset *epset_new(int epfd);
int epset_ctl(struct epset *s, int epfd, int op, int fd, struct epoll_event *ev);
int epset_wait(struct epset *s, int epfd, struct epoll_event *ev, int max, const struct timespec *timeout,
	       const sigset_t *mask);
bool epset_busy(struct epset *s);
void epset_bell_added(struct conn *c, int fd);     /* registered with the agent: doorbell into every set */
void epset_switched(struct conn *c, int fd);       /* channel stands: socket registrations carry our tag */
void epset_conn_gone(struct conn *c, bool socket_stays); /* the kernel's registrations are the program's again, or end */
void epset_number_goes(struct conn *c, int fd);    /* closed, while other descriptors of the connection stay open */
void epset_leave(struct conn *c);                  /* out of every set, though the socket stays open */
void epset_nudge(struct conn *c);                  /* sleepers of its sets come and look at it */
void epset_activity(struct conn *c);               /* bytes moved: sets must look at it before they sleep */
void epset_young(struct conn *c);                  /* connected: to be tended until it has a doorbell */
void epset_drop(int epfd);
void epset_alias(int fd, struct epset *s);
void epset_nest(struct epset *inner, struct epset *outer); /* outer NULL: a set that we do not know */
void epset_watch_inner(struct epset *outer);       /* somebody is going to wait for `outer` */
void epset_watch(struct epset *s);                  /* something waits on the set itself: its connections go to TCP */
void epset_foreign(struct epset *s);                /* it gets a descriptor that is none of ours */
void epset_fork(bool before);                      /* holds the lock over fork() */
void epset_late_child(void);                        /* frees it in a child that fork() has not made */

/* ---- life.c, real.c ------------------------------------------------------------------------- */

extern pid_t *hut_pid_word; /* on a page that is zero in a child that no fork() of libc made (rule 18) */
#define hut_pid (*hut_pid_word)
int life_close(int fd, bool cancellable);
void life_replaced(int fd);                         /* dup2 is about to put something else at fd */
void life_duplicated(int from, int to);
void life_copied(int from, int to);                 /* the same, at a number that the kernel chose */
#define LAST_STDIO 2 /* stdio's own calls on these cannot be seen (rule 8) */
void life_given(int fd);                            /* a copy is made for another image where nothing is tracked */
void life_forgotten(int fd);                        /* the number has got another meaning behind our back */
void life_before_exec(void);
void life_exec_failed(void);
void life_before_spawn(void);
void life_before_unshare(void);                     /* a thread takes its own copy of the table of descriptors */
void life_last_close(struct conn *c, int fd);
void life_unkeep(struct conn *c);                   /* the last waiter is gone: the close that was put off */
void life_keep_plain(struct conn *c, int fd);       /* for who is counted by wait_begin() */
void life_forget(struct conn *c);                   /* table_forget(), but for who sleeps */
void life_unkeep_child(struct conn *c, void *arg);
bool life_in_vfork_child(void);
void fork_late_child(void);                         /* a child made by _Fork() or clone(): notices itself here */
void stdio_flush(void);                             /* FILEs whose calls are ours, before the end */
/*
 * The thread that ends the process, or 0.  Others go on until the kernel stops them; what they send between hosts by TCP, after
 * the end of our last round, would overtake what is in the ring: nobody tells the reader of that order any more.
 */
extern _Atomic pid_t hut_leaver;
void fork_child_exits(void);                        /* _exit(): the library's part of what exit() does */
/* Calls that may make some descriptor ready: after one the kernel is always asked. */
extern _Atomic uint32_t hut_stirs;
static inline void stir(void)
{
	atomic_fetch_add_explicit(&hut_stirs, 1, memory_order_relaxed);
}
/*
 * What has come from a ring may follow from what somebody did to another descriptor before: the kernel is asked once for
 * those.  Each question has a number; here the number of the last one is noted, and written only when it is a new one.
 */
extern _Atomic uint32_t hut_asked, hut_heard;
static inline void heard(void)
{
	uint32_t asked = atomic_load_explicit(&hut_asked, memory_order_relaxed);

	if (UNLIKELY(atomic_load_explicit(&hut_heard, memory_order_relaxed) != asked))
		atomic_store_explicit(&hut_heard, asked, memory_order_relaxed);
}
pid_t hut_tid(void);
void hut_log_init(bool on);
uint64_t now_ns(void);
uint64_t now_coarse_ns(void);
uint64_t coarse_step_ns(void); /* so much later than now_ns() may now_coarse_ns() pass a point in time */
/* A counter of the processor's, or the clock: for spans whose unit the caller measures.  It may jump when threads move. */
static inline uint64_t now_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#else
	return now_ns();
#endif
}
void hut_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void stats_add(const struct conn *c);
void stats_write(void);

enum going_past { NOTHING_PAST, MAY_GO_PAST, GOES_PAST };

enum going_past uring_in_use(void); /* by descriptors that we do not know: declined, or looked at again soon */

/* ---- signals.c ------------------------------------------------------------------------------ */

void signals_clear(void);
bool signals_sleep(int bell);
void signals_woke(void);
bool signals_interrupted(void); /* has a handler without SA_RESTART run in this thread since signals_clear()? */

#endif /* HUTONG_SHIM_H */
