/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - with the real kernel: a peer in another VM of a Xen host, who rings without end, or whose VM goes.
 *
 * A socket pair stands for the event channel, of which a write allows the next ring.
 */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "hostile.h"

static int bell_end = -1, victim_fd = -1, peer_fd = -1;
static _Atomic unsigned int rings;

static bool ring_bell(void)
{
	uint32_t port = 1;

	if (syscall(SYS_sendto, bell_end, &port, sizeof(port), MSG_NOSIGNAL, NULL, 0) != sizeof(port))
		return false;
	atomic_fetch_add(&rings, 1);
	return true;
}

static bool answered(int patience_ms)
{
	struct pollfd p = { .fd = bell_end, .events = POLLIN };
	uint32_t port;

	return REAL(poll)(&p, 1, patience_ms) == 1 && syscall(SYS_read, bell_end, &port, sizeof(port)) == sizeof(port);
}

/* Rings whenever it may, and has the victim's sleep end when it is not heard any more, or after some seconds. */
static void *ring_on(void *arg)
{
	uint64_t until = now_ns() + 12000 * NS_PER_MS;

	(void)arg;
	while (now_ns() < until && ring_bell())
		while (!answered(1000))
			if (now_ns() >= until || (LOAD(&victim_end->flags) & HUT_ENDF_STORM)) {
				until = 0; /* deaf, and not just slow */
				break;
			}
	(void)!REAL(write)(peer_fd, "x", 1);
	return NULL;
}

static void *ring_lawfully(void *arg)
{
	struct hut_dir *in = victim->rx.dir;
	unsigned int n = *(unsigned int *)arg;

	while (n--) {
		STORE_REL(&in->tail, in->tail + 1);
		if (!ring_bell() || !answered(n ? 20000 : 0)) /* after the last byte nobody sleeps */
			return NULL;
		while (LOAD(&in->head) != in->tail)
			sched_yield();
	}
	return NULL;
}

static void with_event_channel(int *ep)
{
	struct hut_msg m = { .type = HUT_MSG_CHANNEL, .ring_size = SMALL, .over_size = OVER };
	struct epoll_event ev = { .events = EPOLLIN };
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends))
		live_die("socketpair");
	bell_end = ends[1];
	atomic_store(&rings, 0);
	victim_fd = live_pair(&peer_fd);
	victim = live_track(victim_fd, &m, live_segment(HUT_PAGE + 2 * (SMALL + OVER), true));
	conn_get(victim_fd);
	victim_end = victim->end;
	victim_end->nonblock = 0;
	table_unhide(victim->peer_bell);
	victim->peer_bell = table_hide(ends[0]);
	victim->port = 1;
	*ep = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(*ep, EPOLL_CTL_ADD, victim_fd, &ev))
		live_die("epoll_ctl");
}

static void without_event_channel(int ep)
{
	close(victim_fd);
	close(ep);
	sys_close(peer_fd);
	sys_close(bell_end);
	conn_put(victim);
}

/* It is not heard for ever, and the connection goes to TCP; whatever the victim sleeps in. */
static void storm(unsigned int how)
{
	struct pollfd p = { .fd = -1, .events = POLLIN };
	struct epoll_event ev;
	pthread_t thread;
	char byte;
	int ep, n;

	with_event_channel(&ep);
	p.fd = victim_fd;
	if (pthread_create(&thread, NULL, ring_on, NULL))
		live_die("thread");
	n = how == 0 ? 1 : how == 1 ? poll(&p, 1, -1) : epoll_wait(ep, &ev, 1, -1);
	if (n != 1 || recv(victim_fd, &byte, 1, 0) != 1 || byte != 'x')
		violation("a byte by TCP is lost in a storm (%u)", how);
	pthread_join(thread, NULL);
	if (atomic_load(&rings) > 1100)
		violation("a peer that rings without end is heard %u times (%u)", atomic_load(&rings), how);
	if (!(victim_end->flags & HUT_ENDF_STORM) || victim_end->reason != HUT_R_STORM || conn_willing(victim))
		violation("a storm does not send the connection to TCP (%u)", how);
	without_event_channel(ep);
}

/* As many rings as one likes, if there is something new each time. */
static void no_storm(void)
{
	unsigned int n = 5000;
	struct hut_dir *in;
	pthread_t thread;
	char byte;
	int ep;

	with_event_channel(&ep);
	in = victim->rx.dir;
	conn_progress(victim, victim_fd);
	if (in->cons_round != 1)
		violation("the victim does not arm");
	STORE_REL(&in->prod_round, 1);
	if (pthread_create(&thread, NULL, ring_lawfully, &n))
		live_die("thread");
	for (unsigned int i = 0; i < n; i++)
		if (recv(victim_fd, &byte, 1, 0) != 1)
			violation("byte %u does not come", i);
	pthread_join(thread, NULL);
	if (victim_end->flags & (HUT_ENDF_STORM | HUT_ENDF_NEVER))
		violation("a lawful peer is taken for a storm after %u rings", atomic_load(&rings));
	without_event_channel(ep);
}

/*
 * The agent says that the peer's VM is gone: only what was in the ring is lost with it, and no page stays mapped.  If the
 * peer's end had been closed before, nothing is lost.
 */
static void gone(bool on_the_ring, bool closed)
{
	struct hut_dir *in;
	char byte;
	int ep;
	bool good;

	with_event_channel(&ep);
	in = victim->rx.dir;
	conn_progress(victim, victim_fd);
	if (on_the_ring) {
		STORE_REL(&in->prod_round, 1);
		STORE_REL(&in->tail, 1);
		conn_progress(victim, victim_fd);
	}
	STORE(&victim_end->agent_stop, closed ? HUT_R_PEER_STOP : HUT_R_POISONED);
	if (on_the_ring && closed)
		good = recv(victim_fd, &byte, 1, MSG_DONTWAIT) == 1 && table_peek(victim_fd);
	else if (on_the_ring)
		good = recv(victim_fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET && in->tail == 0;
	else
		good = recv(victim_fd, &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN && !table_peek(victim_fd) &&
		       REAL(write)(peer_fd, "x", 1) == 1 && recv(victim_fd, &byte, 1, 0) == 1 && byte == 'x';
	if (!good)
		violation("a peer whose VM is gone, %s, %d: error %d", on_the_ring ? "on the ring" : "on TCP", closed, errno);
	without_event_channel(ep);
}

/*
 * The same after the connection was to go to TCP anyway, while its writer has not answered yet: it never will, and by TCP
 * nothing comes either.
 */
static void gone_on_the_way_back(void)
{
	struct hut_dir *in;
	char byte;
	int ep;

	with_event_channel(&ep);
	in = victim->rx.dir;
	conn_progress(victim, victim_fd);
	STORE_REL(&in->prod_round, 1);
	conn_progress(victim, victim_fd);
	STORE(&victim_end->agent_stop, HUT_R_OFF);
	if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN || !(victim_end->flags & HUT_ENDF_STOPPED))
		violation("the victim does not stop: error %d", errno);
	STORE(&victim_end->agent_stop, HUT_R_POISONED);
	if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != ECONNRESET || in->prod_round)
		violation("a peer whose VM is gone before it has answered a stop: error %d, pages %s", errno,
			  in->prod_round ? "mapped" : "let go of");
	if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) != 0)
		violation("after a reset there is no end: error %d", errno);
	without_event_channel(ep);
}

/*
 * This VM was saved while it mapped the peer's pages, and is back without them: whatever was in them, the program gets
 * none of what is read there now.
 */
static void vanished(int flags)
{
	char byte = 0;
	int ep;

	with_event_channel(&ep);
	conn_progress(victim, victim_fd);
	STORE_REL(&victim->rx.dir->prod_round, 1);
	STORE_REL(&victim->rx.dir->tail, 3);
	if (recv(victim_fd, &byte, 1, 0) != 1)
		violation("a byte of the ring does not come");
	memset(victim->seg, 0xff, victim->seg_len);
	if (recv(victim_fd, &byte, 1, flags | MSG_DONTWAIT) >= 0 || errno != ECONNRESET)
		violation("a byte of pages that are not there: error %d", errno);
	if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) != 0)
		violation("after a reset there is no end: error %d", errno);
	without_event_channel(ep);
}

/* The round that we had armed may have had bytes before the end that TCP tells of. */
static void vanished_before_the_end(void)
{
	char byte;
	int ep;

	with_event_channel(&ep);
	conn_progress(victim, victim_fd);
	if (!(victim_end->flags & HUT_ENDF_ARMED))
		violation("the victim does not arm");
	memset(victim->seg, 0xff, victim->seg_len);
	REAL(shutdown)(peer_fd, SHUT_WR);
	if (recv(victim_fd, &byte, 1, 0) >= 0 || errno != ECONNRESET)
		violation("an end behind pages that are not there: error %d", errno);
	without_event_channel(ep);
}

void events_run(void)
{
	for (unsigned int how = 0; how < 3; how++)
		storm(how);
	no_storm();
	for (int how = 0; how < 4; how++)
		gone(how & 1, how & 2);
	gone_on_the_way_back();
	vanished(0);
	vanished(MSG_PEEK);
	vanished_before_the_end();
}
