/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xen.c - what is different when the peer is in another VM of a Xen host (M5.3, M5.4, decision 14).
 *
 * The agent has bound the event channel's port and hands over the open device.  The kernel masks a port when it has told
 * of an event, until the port is written back: a peer that rings without end makes us work no more often than we look,
 * and not even that when it does so for nothing, see storms() (decision 8).
 *
 * Granted pages are mapped in the process that has asked for them and do not go through fork: there the connections go
 * to TCP for good, before the child has them.  What a writer that has closed has left in the ring is copied for both.
 */
#include <linux/ioctl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

typedef uint16_t domid_t; /* which the next one expects of its includer */
#include <xen/evtchn.h>

#include "conn.h"
#include "real.h"

void event_ring(int fd, uint32_t port)
{
	struct ioctl_evtchn_notify notify = { .port = port };
	int saved = errno;

	(void)!syscall(SYS_ioctl, fd, IOCTL_EVTCHN_NOTIFY, &notify);
	errno = saved;
}

bool event_take(int fd, uint32_t *port)
{
	int saved = errno;
	bool rung = syscall(SYS_read, fd, port, sizeof(*port)) == (long)sizeof(*port);

	errno = saved;
	return rung;
}

void event_allow(int fd, uint32_t port)
{
	int saved = errno;

	(void)!syscall(SYS_write, fd, &port, sizeof(port));
	errno = saved;
}

/*
 * A VM that is saved while it maps another's pages comes back without them, in the middle of whatever it did: all bits read
 * as ones then, and writes go nowhere.  They all go at once and never come back, so what was read before the mark is seen
 * has been there.
 */
bool xen_pages_gone(const struct conn *c)
{
	/* Acquire: the copies before the look at the mark. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !c->rest_kept && LOAD(&((const struct hut_segment *)c->seg)->magic) != HUT_SEG_MAGIC;
}

/* Could the round that we have armed, or stopped, have had bytes of which nothing can be known any more? */
bool xen_round_lost(const struct conn *c)
{
	return UNLIKELY(c->port) && (LOAD(&c->end->flags) & (HUT_ENDF_ARMED | HUT_ENDF_STOPPED)) && xen_pages_gone(c);
}

/* Whatever still looks at the segment finds an empty one. */
static void empty(struct conn *c)
{
	if (mmap(c->seg, c->seg_len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		hut_log("no memory in the place of granted pages");
}

/* The number stays, since sleepers wait for it; from now on it is another one of our own bell. */
static void close_event(struct conn *c)
{
	if (c->bell >= 0)
		(void)!syscall(SYS_dup3, c->bell, c->peer_bell, O_CLOEXEC);
}

void xen_let_go(struct conn *c)
{
	int saved = errno;

	if (c->port && c->seg) {
		/* Whoever copies from the pages, or into them, comes to the end of it first; nobody begins any more. */
		if (lock_rx(c->end))
			unlock_rx(c->end);
		if (lock_tx(c->end))
			unlock_tx(c->end);
		empty(c);
		close_event(c);
	}
	errno = saved;
}

/* rx_lock held.  Has the writer gone, and left what nobody will send by TCP any more? */
static bool rest_is_left(const struct conn *c)
{
	const struct hut_end *e = c->end;

	return e->rx_path != HUT_PATH_TCP && conn_turn_is(&c->rx, e->rx_round, HUT_TURN_ENDED) &&
	       LOAD_ACQ(&c->rx.dir->prod_done) == e->rx_round && ring_avail(&c->rx, e) != 0;
}

/* rx_lock held, and nothing goes by our own ring.  Memory that goes through fork, in the place of the peer's. */
static bool copy_rest(struct conn *c)
{
	void *copy = mmap(NULL, c->seg_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		return false;
	memcpy(copy, c->seg, c->seg_len);
	if (xen_pages_gone(c) || mremap(copy, c->seg_len, c->seg_len, MREMAP_MAYMOVE | MREMAP_FIXED, c->seg) == MAP_FAILED) {
		munmap(copy, c->seg_len);
		return false;
	}
	return true;
}

static bool keep_rest(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	bool left;

	if (conn_state(c) != HUT_END_CHANNEL || !conn_progress(c, fd) || !lock_rx(e))
		return false;
	left = rest_is_left(c);
	unlock_rx(e);
	if (!left)
		return false;
	conn_stop(c, fd, HUT_R_SHARED); /* our own direction goes back to TCP */
	conn_settle_debt(c, fd);
	if (!lock_rx(e))
		return false;
	c->rest_kept = rest_is_left(c) && LOAD(&e->tx_path) == HUT_PATH_TCP && copy_rest(c);
	unlock_rx(e);
	if (!c->rest_kept)
		return false;
	close_event(c);
	if (conn_is_owner(c))
		control_gone(c, conn_gone_reason(c, e->reason)); /* nothing is shared any more */
	return true;
}

static void leave_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (!c->port || !c->end || c->inherited || c->rest_kept || keep_rest(c, fd))
		return;
	conn_leave(c, fd, HUT_R_SHARED);
	conn_progress(c, fd); /* plain at once, where that can be: the child cannot go on with what is hidden from it */
	__atomic_fetch_or(&c->end->flags, HUT_ENDF_HANDED, __ATOMIC_ACQ_REL);
}

void xen_before_fork(void)
{
	int saved = errno;

	table_each(leave_one, NULL);
	errno = saved;
}

/* The pages are not there. */
static void forget_one(struct conn *c, void *arg)
{
	(void)arg;
	if (!c->port || !c->end || !c->seg || c->rest_kept)
		return;
	empty(c);
	/* Sets that both processes go on with hear of the socket itself, where the parent has left the channel, too. */
	epset_conn_gone(c, LOAD(&c->end->flags) & HUT_ENDF_HANDED);
	table_forget(c);
}

void xen_in_child(void)
{
	int saved = errno;

	table_conns(forget_one, NULL);
	errno = saved;
}
