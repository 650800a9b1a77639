/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - the life of a connection: its beginning, the step that every call takes, its end.
 *
 * Every intercepted call on a tracked socket passes conn_progress(), which is where a connection moves on; nothing
 * moves in the background.  In the steady state it is a handful of loads.
 */
#include <netinet/in.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"
#include "wait.h"

uint32_t conn_chaos;

/* ---- locks of an end: shared by the processes that hold it, so the holder may be a dead one ---- */

#define DEAD_NS (100 * NS_PER_MS)
#define AGENT_DEAD_NS (1000 * NS_PER_MS)

/* The last holder that was found to be none, and since when. */
struct suspect {
	uint32_t holder;
	uint64_t since;
};

/*
 * A thread that cannot be found is dead, or is one of a child's in another pid namespace: that one goes on, since nobody
 * waits or computes for long with the lock held.
 */
static bool is_dead(struct suspect *s, uint32_t holder)
{
	bool agent = holder & HUT_LOCK_AGENT;
	uint64_t now;

	if (agent ? !control_agent_died(holder) : !syscall(SYS_tkill, (pid_t)holder, 0) || errno != ESRCH)
		return false;
	now = now_ns();
	if (s->holder != holder)
		*s = (struct suspect){ holder, now };
	return now - s->since >= (agent ? AGENT_DEAD_NS : DEAD_NS);
}

static bool end_lock(uint32_t *word)
{
	uint32_t me = (uint32_t)hut_tid(), holder = 0;
	struct suspect suspect = { 0 };

	for (unsigned int spins = 0; !__atomic_compare_exchange_n(word, &holder, me, false, __ATOMIC_ACQUIRE,
								  __ATOMIC_RELAXED); spins++) {
		if (holder == me)
			return false;
		if (spins > 100)
			give_way(spins - 100);
		if (spins % 1024 == 1023 && is_dead(&suspect, holder))
			__atomic_compare_exchange_n(word, &holder, 0, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
		holder = 0;
	}
	return true;
}

bool lock_rx(struct hut_end *e)
{
	return end_lock(&e->rx_lock);
}

void unlock_rx(struct hut_end *e)
{
	STORE_REL(&e->rx_lock, 0);
}

bool lock_tx(struct hut_end *e)
{
	return end_lock(&e->tx_lock);
}

void unlock_tx(struct hut_end *e)
{
	STORE_REL(&e->tx_lock, 0);
}

void conn_set_flags(struct hut_end *e, uint32_t bits)
{
	__atomic_fetch_or(&e->flags, bits, __ATOMIC_ACQ_REL);
}

bool conn_is_owner(const struct conn *c)
{
	if (LIKELY(LOAD(&c->end->owner_pid) == (uint32_t)hut_pid))
		return true;
	if (UNLIKELY(hut_pid == 0))
		fork_late_child();
	return LOAD(&c->end->owner_pid) == (uint32_t)hut_pid;
}

bool conn_has_bell(const struct conn *c)
{
	return c->bell >= 0;
}

/*
 * A forked child has its parent's doorbell, which it must not empty: somebody there may sleep for it (rule 13).  What the
 * child itself waits for comes by TCP, since it stops the ring before; until that is obeyed it looks again now and then.
 */
bool conn_hears_bell(const struct conn *c)
{
	return conn_has_bell(c) && conn_is_owner(c);
}

/* ---- who sleeps with which view of the paths ---- */

#define VIEW(s) ((uint32_t)((s) >> 32))
#define OLDER 0x10000u
#define COUNTS 0xffffu

uint32_t conn_sleep(struct conn *c)
{
	return VIEW(atomic_fetch_add(&c->sleepers, 1));
}

void conn_awake(struct conn *c, uint32_t view)
{
	uint64_t s = atomic_load(&c->sleepers);

	while (!atomic_compare_exchange_weak(&c->sleepers, &s, s - (VIEW(s) == view ? 1 : OLDER)))
		;
}

bool conn_sleeps(struct conn *c)
{
	return (uint32_t)atomic_load(&c->sleepers);
}

bool conn_oversleeps(struct conn *c)
{
	return atomic_load(&c->sleepers) >> 16 & COUNTS;
}

/*
 * A path has changed.  A thread that sleeps asks the kernel what was right for the old one: it is rung, and whoever
 * wakes up first leaves the ring in place until all that slept have looked.
 */
void conn_asks_else(struct conn *c)
{
	uint64_t s = atomic_load(&c->sleepers), older;

	do
		older = (s >> 16 & COUNTS) + (s & COUNTS);
	while (!atomic_compare_exchange_weak(&c->sleepers, &s, (uint64_t)(VIEW(s) + 1) << 32 | older << 16));
	if (older)
		conn_wake_self(c);
	atomic_store(&c->nudge, true);
}

void conn_changed(struct conn *c)
{
	conn_asks_else(c);
	atomic_fetch_add(&c->edges, 1);
}

void conn_ring_peer(struct conn *c)
{
	if (UNLIKELY(c->port))
		event_ring(c->peer_bell, c->port);
	else
		bell_ring(c->peer_bell);
}

void conn_wake_self(struct conn *c)
{
	bell_ring(c->bell);
}

/* How far the stream has come to us, and ours to the peer's reader.  Bytes make it grow, and nothing that costs less. */
static uint64_t news(const struct conn *c)
{
	const struct hut_end *e = c->end;
	uint64_t at = LOAD(&e->tcp_in) + LOAD(&e->ring_in), from = LOAD(&e->tx_head), head = LOAD(&c->tx.dir->head);

	if (LOAD(&e->rx_path) == HUT_PATH_RING) {
		ssize_t there = ring_avail(&c->rx, e);

		at = LOAD(&e->rx_head) + (there > 0 ? (uint64_t)there : 0);
	}
	return at + (head > from && head <= LOAD(&e->tx_tail) ? head : from);
}

/*
 * A lawful peer rings for something that is new since it rang last.  One that rings on and on without that would have a
 * sleeper up all the time: it is not heard any more, and the connection goes to TCP for good.
 */
#define STORM_RINGS 1000
#define STORM_NS (10000 * NS_PER_MS)

static bool storms(struct conn *c)
{
	uint64_t now = now_coarse_ns(), n = news(c);

	if (n > c->news) {
		c->news = n;
		c->idle_rings -= c->idle_rings > 0;
		return false;
	}
	if (!c->idle_rings || now - c->idle_ns > STORM_NS) {
		c->idle_rings = 0;
		c->idle_ns = now;
	}
	return ++c->idle_rings >= STORM_RINGS;
}

/* One thread at a time: the event channel tells nobody again before it is allowed to. */
static bool take_event(struct conn *c)
{
	uint32_t port;

	if (!event_take(conn_event(c), &port))
		return false;
	if (LIKELY(!storms(c)))
		event_allow(conn_event(c), port);
	else
		conn_set_flags(c->end, HUT_ENDF_STORM); /* for obey() */
	return true;
}

void conn_drain(struct conn *c)
{
	bell_drain(c->bell);
	if (UNLIKELY(c->port))
		take_event(c);
}

/* An epoll set has been told of the event channel, which rings again only when that has been taken: for all of us. */
void conn_heard(struct conn *c)
{
	struct epreg *r = c->regs;

	if (take_event(c) &&
	    (atomic_load(&c->rx_waiters) || atomic_load(&c->tx_waiters) || (r && r->next_in_conn)))
		conn_wake_self(c);
}

/*
 * SO_RCVTIMEO or SO_SNDTIMEO in nanoseconds, 0 for none, NS_FOREVER for one that does not end in our time.  Asked for once,
 * since a listener may have handed it down; and each time while another process shares the socket, which may set it.
 */
uint64_t conn_timeo(struct conn *c, int fd, bool send)
{
	uint64_t *ns = send ? &c->sndtimeo_ns : &c->rcvtimeo_ns;
	struct timeval tv = { 0, 0 };
	socklen_t len = sizeof(tv);

	if (c->timeo_known[send] || !raw_begin(c, fd))
		return *ns;
	if (REAL(getsockopt)(fd, SOL_SOCKET, send ? SO_SNDTIMEO : SO_RCVTIMEO, &tv, &len) == 0) {
		*ns = wait_span(&(struct timespec){ tv.tv_sec, tv.tv_usec * 1000 });
		c->timeo_known[send] = LOAD(&c->end->holders) == 1;
	}
	raw_end(c);
	return *ns;
}

/* A child is about to share the socket.  What getsockopt() cannot tell stays as it is, see note_timeo(). */
void conn_timeo_shared(struct conn *c)
{
	for (int send = 0; send < 2; send++)
		if (c->timeo_known[send] && (send ? c->sndtimeo_ns : c->rcvtimeo_ns) != TIMEO_AT_ONCE)
			c->timeo_known[send] = false;
}

/* ---- beginning ---- */

static bool may_move(enum member_kind kind)
{
	return kind == MEMBER_NEAR || kind == MEMBER_UNKNOWN || (kind == MEMBER_REMOTE && control_remote());
}

static bool start(struct conn *c, int fd, enum member_kind kind, bool active)
{
	if (!may_move(kind))
		return false;
	if (!control_slot(c))
		return false;
	c->end->nonblock = c->nonblock;
	c->end->fd = (uint32_t)fd;
	c->end->flags = active ? HUT_ENDF_ACTIVE : 0;
	c->end->reason = HUT_R_YOUNG;
	c->born_ns = now_coarse_ns();
	c->spin_budget = 1;
	STORE_REL(&c->end->state, HUT_END_CANDIDATE);
	return true;
}

void conn_connected(int fd, struct conn *c, const struct sockaddr *peer)
{
	if (c->end) { /* connect() once more, after a failure or to hear the outcome */
		if (c->end->tcp_in || c->end->tcp_out || conn_state(c) != HUT_END_CANDIDATE)
			return;
		control_free_slot(c);
	}
	/* A vfork child's is one of the parent's: what the agent is to get would be in the child's table of descriptors. */
	if (life_in_vfork_child() || !start(c, fd, control_member(peer, false), true)) {
		epset_conn_gone(c, true);
		table_forget(c);
	} else {
		epset_young(c);
	}
}

void conn_accepted(int listener, int fd, const struct sockaddr *peer, int flags)
{
	struct conn *c;
	enum member_kind kind = control_member(peer, false);

	(void)listener;
	if (!may_move(kind) || socket_has_odd_option(fd) || life_in_vfork_child()) /* see socket() */
		return;
	c = table_new(fd, peer->sa_family, flags & SOCK_NONBLOCK);
	if (c && !start(c, fd, kind, false))
		table_forget(c);
}

/* See conn_hears_bell(): soon at first, seldom where the peer makes no call and may not for hours. */
static uint64_t child_looks_ns(const struct conn *c)
{
	uint64_t now = now_ns(), pause = (now - c->stop_ns) / 8;

	if (pause < 2 * NS_PER_MS)
		pause = 2 * NS_PER_MS;
	return now + (pause < 50 * NS_PER_MS ? pause : 50 * NS_PER_MS);
}

uint64_t conn_young_ns(const struct conn *c)
{
	uint64_t due;

	if (UNLIKELY(conn_state(c) == HUT_END_CHANNEL)) {
		due = remote_due_ns(c);
		if (UNLIKELY(!conn_is_owner(c)) && !conn_all_by_tcp(c))
			due = wait_sooner(due, child_looks_ns(c));
		return due;
	}
	/* Shared with another process it cannot be offered; its next call looks again. */
	if (conn_state(c) != HUT_END_CANDIDATE || LOAD(&c->end->holders) != 1)
		return NS_FOREVER;
	due = c->born_ns + control_after_ns();
	if (due > now_coarse_ns()) /* so says conn_offer(), and by its clock it must be over when the sleeper looks again */
		return due + coarse_step_ns();
	return now_coarse_ns() + 20 * NS_PER_MS; /* was not possible yet: look again */
}

void conn_give_up(struct conn *c, uint32_t reason)
{
	STORE(&c->end->reason, reason);
	STORE_REL(&c->end->state, HUT_END_TCP);
}

/* Everything of this connection is plain TCP from now on. */
bool conn_forget(struct conn *c)
{
	bool gone = c->gone_due;

	c->gone_due = false;
	epset_conn_gone(c, true);
	life_forget(c);
	if (gone) {
		/* Before the agent hears of it: a domain may be saved then.  Threads that sleep in a call hold `c` for long. */
		xen_let_go(c);
		control_gone(c, conn_gone_reason(c, c->end->reason));
	}
	return false;
}

bool conn_established(int fd, struct tcp_info *ti)
{
	socklen_t len = sizeof(*ti);

	memset(ti, 0, sizeof(*ti));
	return REAL(getsockopt)(fd, IPPROTO_TCP, TCP_INFO, ti, &len) == 0 && ti->tcpi_state == TCP_IS_ESTABLISHED;
}

/* ---- the step that every call takes ---- */

/* Nothing of this connection is, or can come, into a ring any more. */
static bool over(const struct conn *c)
{
	const struct hut_end *e = c->end;
	uint32_t flags = LOAD(&e->flags);

	if (!(flags & HUT_ENDF_NEVER) || (flags & (HUT_ENDF_ARMED | HUT_ENDF_POISONED)) || c->shut_due ||
	    LOAD(&e->rx_path) != HUT_PATH_TCP || LOAD(&e->tx_path) != HUT_PATH_TCP || c->err || conn_rx_told(c))
		return false;
	/* Between hosts the ring's end may bring more than TCP's until the round is over. */
	if (conn_is_remote(c) && LOAD_ACQ(&c->rx.dir->prod_done) != LOAD(&e->rx_round))
		return false;
	/* Until the peer has sent by TCP what we left in the ring, its end may make us fetch it from there. */
	return !(flags & HUT_ENDF_STOPPED) || LOAD_ACQ(&c->rx.dir->prod_done) == LOAD(&e->rx_round);
}

/* For tests, HUTONG_CHAOS=N: at random times, N microseconds apart on average, to TCP, and back where that can be. */
static bool chaos(struct conn *c)
{
	static _Atomic uint64_t state;
	uint64_t now, x;

	if (LIKELY(!conn_chaos))
		return false;
	now = now_ns();
	if (now < c->chaos_ns)
		return false;
	x = atomic_fetch_add(&state, 0x9e3779b97f4a7c15ull) ^ now;
	x = (x ^ (x >> 31) ^ c->index) * 0xbf58476d1ce4e5b9ull;
	c->chaos_ns = now + (x >> 33) % (2000ull * conn_chaos);
	return true;
}

/*
 * On Xen, of a peer whose VM is gone, or has become another domain: nothing of the stream is in its memory or in ours.
 * TCP knows what becomes of the connection, and the pages can be let go of.
 */
static bool needs_no_ring(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	bool none;

	if (conn_is_remote(c))
		return remote_needs_no_ring(c, fd);
	if (!c->port || LOAD(&e->tx_path) != HUT_PATH_TCP || xen_round_lost(c) || !lock_rx(e))
		return false;
	none = e->rx_path == HUT_PATH_TCP &&
	       (LOAD_ACQ(&c->rx.dir->prod_round) != e->rx_round || LOAD(&c->rx.dir->prod_done) == e->rx_round);
	if (none) {
		conn_mark_never(c, HUT_R_PEER_STOP);
		__atomic_fetch_and(&e->flags, ~(uint32_t)(HUT_ENDF_ARMED | HUT_ENDF_STOPPED), __ATOMIC_ACQ_REL);
	}
	unlock_rx(e);
	return none && LOAD(&e->tx_path) == HUT_PATH_TCP;
}

/* What somebody else wants of the connection: the operator, the agent, a test, another process (rules 8 and 18). */
static void obey(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint32_t flags = LOAD(&e->flags), asked = LOAD(&e->agent_stop);
	bool paused = flags & HUT_ENDF_PAUSED, off = !control_enabled();

	if (flags & HUT_ENDF_NEVER) {
		/* all of it has been done, unless its writer has not answered and never will */
		if (asked == HUT_R_POISONED && (c->port || conn_is_remote(c)) && !c->rest_kept &&
		    !(flags & HUT_ENDF_POISONED) && !needs_no_ring(c, fd))
			conn_poison(c, fd);
	} else if (!conn_is_owner(c)) {
		conn_stop(c, fd, HUT_R_SHARED);
	} else if (asked == HUT_R_POISONED) {
		if (!needs_no_ring(c, fd))
			conn_poison(c, fd); /* bytes are lost */
	} else if (asked == HUT_R_PEER_STOP) {
		needs_no_ring(c, fd); /* or in a while: the peer's end has been closed before its VM went */
	} else if (asked) {
		conn_stop(c, fd, asked);
	} else if (flags & HUT_ENDF_STORM) {
		conn_stop(c, fd, HUT_R_STORM);
	} else if (off && !paused) {
		conn_pause(c, fd, HUT_R_OFF);
	} else if (chaos(c)) {
		if (paused)
			conn_resume(c);
		else
			conn_pause(c, fd, HUT_R_OFF);
	} else if (paused && !off && !conn_chaos) {
		conn_resume(c);
	}
	if ((flags & HUT_ENDF_HALF) && !(flags & HUT_ENDF_PEERGONE) &&
	    (LOAD_ACQ(&c->tx.dir->cons_mark) & HUT_MARK_GONE))
		conn_check_socket(c, fd);
	if ((flags & HUT_ENDF_HALF) && LOAD(&e->tx_path) == HUT_PATH_RING &&
	    (LOAD(&e->agent_gone) || conn_half_closed_stall(c)))
		conn_end_tx(c, fd);
}

/* Is there nothing for obey() to do?  A handful of loads. */
static bool at_ease(const struct conn *c)
{
	const struct hut_end *e = c->end;

	return LIKELY(LOAD(&e->owner_pid) == (uint32_t)hut_pid) && LIKELY(!LOAD(&e->agent_stop)) &&
	       LIKELY(!(LOAD(&e->flags) & (HUT_ENDF_PAUSED | HUT_ENDF_HALF | HUT_ENDF_STORM))) && LIKELY(!conn_chaos) &&
	       LIKELY(control_enabled());
}

bool conn_tx_turned(const struct conn *c)
{
	return !conn_is_open(&c->tx, LOAD(&c->end->tx_round));
}

static void progress_tx(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	uint32_t path = LOAD(&e->tx_path), round = LOAD(&e->tx_round);

	if (path == HUT_PATH_RING) {
		if (UNLIKELY(conn_tx_turned(c)))
			conn_tx_stopped(c, fd);
		else if (UNLIKELY(c->port) && UNLIKELY(conn_overfull(c)))
			conn_end_tx(c, fd);
	} else if (path == HUT_PATH_DRAIN) {
		conn_flush_debt(c, fd);
	} else if (LOAD_ACQ(&c->tx.dir->cons_round) == conn_next_round(round)) {
		conn_start_tx(c, fd);
	}
}

bool conn_rx_due(const struct conn *c)
{
	return (LOAD(&c->end->flags) & HUT_ENDF_ARMED) && LOAD_ACQ(&c->rx.dir->prod_round) == LOAD(&c->end->rx_round);
}

void conn_progress_rx(struct conn *c, int fd)
{
	struct hut_end *e = c->end;

	if (LOAD(&e->rx_path) == HUT_PATH_TCP) {
		if (!(LOAD(&e->flags) & HUT_ENDF_ARMED)) {
			if (conn_may_arm(c))
				conn_arm(c, fd);
			return;
		}
		if (LOAD_ACQ(&c->rx.dir->prod_round) != LOAD(&e->rx_round))
			return;
		conn_start_rx(c, fd);
	}
	if (UNLIKELY(conn_turn_is(&c->rx, LOAD(&e->rx_round), HUT_TURN_ENDED)) && LOAD(&e->rx_end) == HUT_NO_SPLIT)
		conn_rx_ended(c, fd);
}

/*
 * What came before a cut is read first, as before a reset of TCP.  But not where our writer is on the ring: nobody carries
 * on what it writes, and it must hear of that.
 */
static bool cut_can_wait(struct conn *c, int fd)
{
	return LOAD(&c->end->tx_path) == HUT_PATH_TCP && !(LOAD(&c->end->flags) & HUT_ENDF_RDSHUT) &&
	       (remote_rest(c) != 0 || conn_queued_by_tcp(c, fd) > 0);
}

static bool progress_channel(struct conn *c, int fd)
{
	if (UNLIKELY(c->sets_due)) {
		c->sets_due = false;
		epset_switched(c, fd);
		if (c->port)
			conn_asks_else(c); /* who sleeps does not know of the event channel yet */
		STORE_REL(&c->sets_told, true);
	}
	if (UNLIKELY(!at_ease(c)))
		obey(c, fd);
	if (conn_is_remote(c) && remote_is_cut(c) && !cut_can_wait(c, fd))
		conn_poison(c, fd); /* bytes are lost: neither side shall take it for an end, or wait for more */
	progress_tx(c, fd);
	conn_progress_rx(c, fd);
	if (UNLIKELY(over(c))) {
		c->gone_due = c->port && conn_is_owner(c); /* domain 0 may wait for granted pages to be let go of */
		return conn_forget(c);
	}
	return true;
}

bool conn_progress(struct conn *c, int fd)
{
	uint32_t note;

	if (UNLIKELY(atomic_load_explicit(&c->plain, memory_order_relaxed)))
		return false;
	if (LIKELY(conn_state(c) == HUT_END_CHANNEL))
		return progress_channel(c, fd);
	switch (conn_state(c)) {
	case HUT_END_CANDIDATE:
		return conn_offer(c, fd);
	case HUT_END_PENDING:
		note = LOAD_ACQ(&c->end->agent_note);
		if (note == atomic_load(&c->note_seen) || life_in_vfork_child()) /* whose table the answer's descriptors would be in */
			return true;
		atomic_store(&c->note_seen, note);
		control_poll();
		return conn_progress(c, fd);
	case HUT_END_TCP:
		return conn_forget(c);
	default:
		return true;
	}
}

/* ---- end ---- */

void conn_release(struct conn *c)
{
	if (c->end)
		stats_add(c);
	if (c->seg)
		segment_unmap(c);
	if (c->bell >= 0)
		table_unhide(c->bell);
	if (c->peer_bell >= 0)
		table_unhide(c->peer_bell);
	c->bell = c->peer_bell = -1;
	c->port = 0;
	control_free_slot(c);
}
