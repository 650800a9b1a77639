/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xen.c - what is different when the peer is in another VM of a Xen host (M5.3, M5.4, decision 14).
 *
 * The agent has bound the event channel's port and hands over the open device.  The kernel masks a port when it has told
 * of an event, until the port is written back: a peer that rings without end makes us work no more often than we look,
 * and not even that when it does so for nothing, see storms() (decision 8).
 *
 * Granted pages are mapped in the process that has asked for them and do not go through fork: there the connections go
 * to TCP for good, before the child has them.
 */
#include <linux/ioctl.h>
#include <stdint.h>
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

static void leave_one(int fd, struct conn *c, void *arg)
{
	(void)arg;
	if (!c->port || !c->end || c->inherited)
		return;
	conn_leave(c, fd, HUT_R_SHARED);
	__atomic_fetch_or(&c->end->flags, HUT_ENDF_HANDED, __ATOMIC_ACQ_REL);
}

void xen_before_fork(void)
{
	int saved = errno;

	table_each(leave_one, NULL);
	errno = saved;
}

/* Whatever still looks at the segment finds an empty one. */
static void empty(struct conn *c)
{
	if (mmap(c->seg, c->seg_len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		hut_log("no memory in the place of granted pages");
}

void xen_let_go(struct conn *c)
{
	int saved = errno;

	if (c->port && c->seg)
		empty(c);
	errno = saved;
}

/* The pages are not there. */
static void forget_one(struct conn *c, void *arg)
{
	(void)arg;
	if (!c->port || !c->end || !c->seg)
		return;
	empty(c);
	table_forget(c);
}

void xen_in_child(void)
{
	int saved = errno;

	table_conns(forget_one, NULL);
	errno = saved;
}
