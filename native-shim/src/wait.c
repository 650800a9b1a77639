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
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"
#include "io.h"
#include "wait.h"

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("yield");
#endif
}

/*
 * One look at the cursors, without locks: is it worth asking conn_ready()?  Only for what the next try takes in: a word
 * that stays as it is must not keep a waiter going round.
 */
static bool stirred(const struct conn *c, short want)
{
	const struct hut_end *e = c->end;
	uint64_t head;

	if ((want & READABLE) && (LOAD(&c->rx.dir->tail) != LOAD(&e->rx_head) ||
				conn_turn_is(&c->rx, LOAD(&e->rx_round), HUT_TURN_ENDED)))
		return true;
	if (!(want & WRITABLE))
		return false;
	head = LOAD(&c->tx.dir->head);
	return (head > LOAD(&e->tx_start) && head != LOAD(&e->tx_head)) ||
	       conn_turn_is(&c->tx, LOAD(&e->tx_round), HUT_TURN_STOPPED);
}

static bool can_spin(const struct conn *c, short want)
{
	/* Between hosts an answer takes longer than any spin, and the agents need the cores. */
	return conn_state(c) == HUT_END_CHANNEL && !conn_is_remote(c) && (want & (READABLE | WRITABLE)) &&
	       !((want & READABLE) && LOAD(&c->end->rx_path) != HUT_PATH_RING) &&
	       !((want & WRITABLE) && (LOAD(&c->end->tx_path) != HUT_PATH_RING || conn_tx_unread(c)));
}

/*
 * A short spin instead of a sleep, only while it has been paying: a miss costs as much credit as half a dozen hits, and
 * without credit only every sixteenth wait spins.  Yields all the time, so that on a busy machine the peer gets this
 * core.
 */
#define SPIN_BUDGET 16
#define SPIN_MISS 6
#define CROWDED_NS 200000ull                  /* a yield that took so long has let somebody else run */
#define CROWDED_FOR_NS (10 * NS_PER_MS)

/*
 * The reader of a stream that is as fast as its writer would take each piece as it comes, and the two cores would spend
 * their time on handing the cursor to and fro (measured: 1 KiB pieces at half the rate).  So once a ring that was
 * empty stirs, and nothing has gone the other way for a while, its writer gets a moment to run ahead; no longer than
 * an eventfd's wake-up takes, and not the next times if it did not use it.
 */
#define AHEAD_NS 1500
#define AHEAD_TURNS 1000 /* the limit, should the clock stand still */
#define AHEAD_READS 16
#define AHEAD_PAUSE 63

static void let_run_ahead(struct conn *c)
{
	uint64_t tail, until;

	tail = LOAD(&c->rx.dir->tail);
	if (LOAD(&c->one_way) < AHEAD_READS || tail == LOAD(&c->end->rx_head))
		return;
	if (c->ahead_pause) {
		c->ahead_pause--;
		return;
	}
	until = now_ns() + AHEAD_NS;
	for (int i = 0; i < AHEAD_TURNS && now_ns() < until; i++)
		relax();
	if (LOAD(&c->rx.dir->tail) == tail)
		c->ahead_pause = AHEAD_PAUSE;
}

bool spin_for(struct conn *const *c, const short *want, int n)
{
	static _Atomic uint64_t crowded_until;
	uint64_t max, until, now, before;
	bool any = false, paying = false;

	for (int i = 0; i < n; i++) {
		if (!can_spin(c[i], want[i]))
			continue;
		any = true;
		paying |= c[i]->spin_budget || ++c[i]->spin_miss % 16 == 0;
	}
	if (!any || !paying || !(max = control_spin_ns()))
		return false;
	now = now_ns();
	if (now < atomic_load_explicit(&crowded_until, memory_order_relaxed))
		return false;
	until = now + max;
	do {
		for (int k = 0; k < 50; k++) {
			for (int i = 0; i < n; i++) {
				if (!can_spin(c[i], want[i]) || !stirred(c[i], want[i]))
					continue;
				if (c[i]->spin_budget < SPIN_BUDGET)
					c[i]->spin_budget++;
				if (want[i] & READABLE)
					let_run_ahead(c[i]);
				return true;
			}
			relax();
		}
		sched_yield();
		before = now;
		now = now_ns();
		if (now - before > CROWDED_NS) { /* others need this core more: sleep, and be woken in time */
			atomic_store(&crowded_until, now + CROWDED_FOR_NS);
			break;
		}
	} while (now < until);
	for (int i = 0; i < n; i++)
		c[i]->spin_budget -= c[i]->spin_budget < SPIN_MISS ? c[i]->spin_budget : SPIN_MISS;
	return false;
}

_Atomic uint32_t hut_stirs;
_Atomic uint32_t hut_asked, hut_heard;

#define FRESH_NS 50000ull /* twenty times what the question costs on a slow machine */

/*
 * Busy pollers (MPI polls with timeout 0 all the time) are answered from memory as far as accelerated connections go.
 * What the kernel knows of the other descriptors in the set may then be as old as FRESH_NS, but never older than this
 * process's last call that could have made one of them ready, nor than the last bytes that it took from a ring: they may
 * have been sent because of it.  `n` says what is asked for, beside the address.
 *
 * The age is taken from the processor's counter, which costs a fourth of the clock.  How many ticks FRESH_NS is, is
 * measured against the clock from one question to the next; until that is known, and when it is used up, the clock says.
 */
#define TICKS_A_NS_MOST 8 /* no processor's counter is faster: limits what a wrong measurement can do */

static __thread struct {
	const void *set;
	size_t n;
	uint64_t asked_ns;
	uint64_t asked_ticks;
	uint64_t fresh_ticks;
	uint32_t stirs;
	uint32_t asked;
} last __attribute__((tls_model("initial-exec")));

static void measure_ticks(uint64_t ticks, uint64_t ns)
{
	if (ns < FRESH_NS || ns > 1000 * FRESH_NS)
		return;
	ticks = ticks / (ns / 1000) * (FRESH_NS / 1000);
	last.fresh_ticks = ticks < TICKS_A_NS_MOST * FRESH_NS ? ticks : 0;
}

bool wait_may_skip_kernel(const void *set, size_t n, bool foreign)
{
	uint64_t ticks = now_ticks(), now;
	uint32_t stirs = atomic_load(&hut_stirs);
	bool news = foreign && (int32_t)(atomic_load_explicit(&hut_heard, memory_order_relaxed) - last.asked) >= 0;
	bool same = last.set == set && last.n == n && last.stirs == stirs && !news;

	if (LIKELY(same && ticks - last.asked_ticks < last.fresh_ticks))
		return true;
	now = now_ns();
	if (same && now - last.asked_ns < FRESH_NS)
		return true;
	measure_ticks(ticks - last.asked_ticks, now - last.asked_ns);
	last.set = set;
	last.n = n;
	last.stirs = stirs;
	last.asked = atomic_fetch_add(&hut_asked, 1) + 1;
	last.asked_ns = now;
	last.asked_ticks = ticks;
	return false;
}

/* The kernel has told of a descriptor, which may be ready still: it is asked again the next time. */
void wait_kernel_told(void)
{
	last.set = NULL;
}

struct timespec *wait_until(uint64_t deadline, struct timespec *ts)
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

/*
 * After a drain others may have lost a ring that was theirs (rule 13): whoever drains looks for them, and rings again
 * if what they wait for is there.
 */
void wait_drain(struct conn *c, int fd, short mine)
{
	short others = 0;

	if (UNLIKELY(conn_oversleeps(c))) {
		/* One that has left its sleep by a jump never looks (known-limits.md): not with a whole processor for that. */
		if (atomic_fetch_add(&c->yields, 1) < 1000)
			sched_yield();
		else
			syscall(SYS_ppoll, NULL, 0, &(struct timespec){ 0, (long)NS_PER_MS }, NULL, 8);
		return;
	}
	atomic_store(&c->yields, 0);
	conn_drain(c);
	if (conn_state(c) != HUT_END_CHANNEL)
		return;
	epset_nudge(c);
	if (atomic_load(&c->rx_waiters) > ((mine & READABLE) ? 1 : 0))
		others |= POLLIN;
	if (atomic_load(&c->tx_waiters) > ((mine & WRITABLE) ? 1 : 0))
		others |= POLLOUT;
	/* Who is awake looks before he sleeps. */
	if (!others || !conn_sleeps(c))
		return;
	conn_arm_waits(c, others);
	if (conn_ready(c, fd, others) & others) {
		conn_wake_self(c);
		sched_yield();
	}
}

/*
 * Does anybody but this thread sleep on it?  What this thread has counted in is a sleep that its own signal handler has
 * interrupted, or has left by a jump, which runs no clean-up.
 */
bool wait_by_others(const struct conn *c)
{
	return (atomic_load(&c->rx_waiters) || atomic_load(&c->tx_waiters)) && atomic_load(&c->waiter) != hut_tid();
}

void wait_count(struct conn *c, short want, int by)
{
	if (by > 0) {
		bool several = wait_by_others(c);

		atomic_store(&c->waiter, several ? -1 : hut_tid());
	}
	if (want & READABLE)
		atomic_fetch_add(&c->rx_waiters, by);
	if (want & WRITABLE)
		atomic_fetch_add(&c->tx_waiters, by);
	if (UNLIKELY(by < 0 && c->keep_fd >= 0) && !atomic_load(&c->rx_waiters) && !atomic_load(&c->tx_waiters))
		life_unkeep(c);
}

void wait_begin(struct waiting *w, struct conn *c, short want)
{
	if (w->c)
		return;
	w->want = want;
	wait_count(c, want, 1);
	atomic_fetch_add(&c->callers, 1);
	w->c = c;
}

void wait_end(struct waiting *w)
{
	int saved = errno;

	if (w->c) {
		atomic_fetch_sub(&w->c->callers, 1);
		wait_count(w->c, w->want, -1);
	}
	errno = saved;
}

/* A sleep that the doorbell cannot end: no switch meanwhile (rule 4b).  Ends also when the thread is cancelled. */
static void raw_wait_end(struct conn **c)
{
	if (*c)
		__atomic_fetch_sub(&(*c)->end->raw_waits, 1, __ATOMIC_SEQ_CST);
}

struct asleep {
	struct conn *c;
	uint32_t view;
};

static void asleep_end(struct asleep *a)
{
	if (a->c)
		conn_awake(a->c, a->view);
	a->c = NULL;
}

/* O_NONBLOCK set where we do not see it (Rust's rustix makes its own system calls): asked before a real sleep only. */
static bool made_nonblocking(struct conn *c, int fd)
{
	if (LOAD(&c->end->nonblock) || !(REAL(fcntl)(fd, F_GETFL) & O_NONBLOCK))
		return false;
	c->nonblock = true;
	STORE(&c->end->nonblock, true);
	return true;
}

#define SEEN_READY 3

static int sleep_once(struct conn *c, int fd, short want, uint64_t deadline)
{
	bool bell = conn_hears_bell(c);
	struct pollfd p[3] = { { .fd = fd }, { .fd = bell ? c->bell : -1, .events = POLLIN },
			       { .fd = conn_event(c), .events = POLLIN } };
	struct timespec ts;
	struct conn *raw __attribute__((cleanup(raw_wait_end))) = NULL;
	int n;

	if (!bell) {
		__atomic_fetch_add(&c->end->raw_waits, 1, __ATOMIC_SEQ_CST);
		raw = c;
	}
	struct asleep a __attribute__((cleanup(asleep_end))) = { c, conn_sleep(c) };

	conn_arm_waits(c, want);
	if (conn_state(c) == HUT_END_CHANNEL && !conn_all_by_tcp(c) && conn_ready(c, fd, want))
		return SEEN_READY;
	p[0].events = conn_sock_events(c, want);
	p[0].fd = conn_sock_fd(c, fd, p[0].events);
	deadline = wait_sooner(deadline, conn_young_ns(c));
	if (want & WRITABLE)
		deadline = wait_sooner(deadline, conn_stall_ns(c));
	n = -1;
	errno = EINTR;
	if (signals_sleep(p[1].fd))
		n = REAL(ppoll)(p, !bell ? 1 : c->port ? 3 : 2, wait_until(deadline, &ts), NULL);
	signals_woke();
	bool told = n > 0 && p[0].revents;
	int saved = errno;

	asleep_end(&a);
	if (told && conn_state(c) == HUT_END_CHANNEL)
		conn_check_socket(c, fd);
	if (n > 0 && bell && (p[1].revents || p[2].revents))
		wait_drain(c, fd, want);
	errno = saved;
	return told && (conn_state(c) != HUT_END_CHANNEL || conn_all_by_tcp(c)) ? SEEN_READY : n;
}

/* 1: worth another try; 0: the deadline has passed; -1: errno (EINTR, EBADF) */
int wait_conn(struct conn *c, int fd, short want, uint64_t deadline, bool some)
{
	for (;;) {
		if (!io_resolve(c, &fd))
			return -1;
		if (atomic_load(&c->plain))
			return 1;
		/* What comes by TCP the sleep itself asks for; before a spin memory is asked. */
		if (!conn_progress(c, fd) ||
		    (can_spin(c, want) && (conn_ready(c, fd, want) || spin_for(&c, &want, 1))))
			return 1;
		if (UNLIKELY(made_nonblocking(c, fd))) {
			errno = EAGAIN;
			return -1;
		}
		int n = sleep_once(c, fd, want, deadline);

		if (n == SEEN_READY)
			return 1;

		/*
		 * A handler with SA_RESTART ran: recv and send go on (rule 14), unless they have a time-out, or have
		 * moved bytes already, of which they tell then.
		 */
		if (n < 0 && errno == EINTR && !some && !((want & POLLIN) ? c->rcvtimeo_ns : c->sndtimeo_ns) &&
		    !signals_interrupted())
			continue;
		if (n < 0)
			return -1;
		/* Whatever has ended the sleep: somebody else's ring may do so all the time. */
		if (deadline != NS_FOREVER && now_ns() >= deadline)
			return n && conn_ready(c, fd, want) ? 1 : 0;
	}
}
