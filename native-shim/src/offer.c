/* SPDX-License-Identifier: Apache-2.0 */
/* offer.c - from candidate to channel: whether and when a connection is offered to the agent, and the agent's answers. */
#include <netinet/in.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "real.h"
#include "conn.h"
#include "policy.h"

#define TCP_IS_SYN_SENT 2 /* netinet/tcp.h has the names, but an older struct tcp_info */
#define TCP_IS_SYN_RECV 3
#define RETRY_NS NS_PER_MS
#define SILENT_NS (1000 * NS_PER_MS)
#define MAX_AREA (64u << 20)

static uint32_t near_or_reason(int fd)
{
	struct sockaddr_storage ss, own;
	socklen_t len = sizeof(ss), own_len = sizeof(own);
	int proto = 0;
	socklen_t plen = sizeof(proto);

	if (getpeername(fd, (struct sockaddr *)&ss, &len) || getsockname(fd, (struct sockaddr *)&own, &own_len))
		return HUT_R_STATE;
	if (!policy_allows((struct sockaddr *)&own, (struct sockaddr *)&ss))
		return HUT_R_POLICY;
	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_PROTOCOL, &proto, &plen) || proto != IPPROTO_TCP)
		return HUT_R_OPTION;
	switch (control_member((struct sockaddr *)&ss, true)) {
	case MEMBER_NEAR:
		return HUT_R_NONE;
	case MEMBER_UNKNOWN:
		return HUT_R_YOUNG; /* the agent has not answered yet */
	case MEMBER_SELF:
		return HUT_R_SAME_VM;
	case MEMBER_REMOTE:
		return !control_remote() ? HUT_R_INTER_HOST : remote_has_time_out(fd) ? HUT_R_OPTION : HUT_R_NONE;
	default:
		return HUT_R_NOT_MEMBER;
	}
}

/* Not to be offered; unless another thread is just doing so, whose connection it is then. */
static bool turn_down(struct conn *c, uint32_t reason)
{
	uint32_t state = HUT_END_CANDIDATE;

	if (!__atomic_compare_exchange_n(&c->end->state, &state, HUT_END_TCP, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return true;
	STORE(&c->end->reason, reason);
	return conn_forget(c);
}

/* Rule 6, by the agent's table if there is one yet: old enough or busy enough. */
static bool due(const struct conn *c, uint64_t now)
{
	return now - c->born_ns >= control_after_ns() ||
	       LOAD(&c->end->tcp_in) + LOAD(&c->end->tcp_out) >= control_after_bytes();
}

/* Due, and not yet offered. */
bool conn_offer(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	struct tcp_info ti;
	uint32_t state = HUT_END_CANDIDATE, reason;
	uint64_t now = now_coarse_ns();

	if (!due(c, now))
		return true;
	if (!conn_is_owner(c)) {
		/* A forked child that is left alone with the socket becomes its owner (a forking server's child). */
		if (LOAD(&e->holders) != 1)
			return true;
		if (!control_adopt(c))
			return conn_forget(c);
		e = c->end;
	}
	if (LOAD(&e->holders) != 1)
		return true;
	if (!control_enabled() || (LOAD(&e->flags) & HUT_ENDF_NEVER))
		return turn_down(c, HUT_R_OFF);
	if (c->arm_ns && now - c->arm_ns < RETRY_NS)
		return true;
	if (life_in_vfork_child()) /* descriptors that it makes would be its own, and not the parent's */
		return true;
	if (!raw_begin(c, fd))
		return true;
	bool up = conn_established(fd, &ti);

	raw_end(c);
	if (!up) {
		c->arm_ns = now;
		if (ti.tcpi_state == TCP_IS_SYN_SENT || ti.tcpi_state == TCP_IS_SYN_RECV)
			return true;
		return turn_down(c, HUT_R_STATE); /* one side is closed already: it is over soon */
	}
	enum going_past past = uring_in_use();

	reason = past == GOES_PAST ? (uint32_t)HUT_R_IO_URING : past == MAY_GO_PAST ? (uint32_t)HUT_R_YOUNG : near_or_reason(fd);
	if (reason == HUT_R_YOUNG) {
		c->arm_ns = now;
		if (now - c->born_ns < SILENT_NS || !control_is_silent(SILENT_NS))
			return true;
		reason = HUT_R_AGENT_DOWN;
	}
	if (reason != HUT_R_NONE)
		return turn_down(c, reason);
	/* The agent's answer may have come just now, and have another idea of when, or wish for none at all. */
	if (!due(c, now) || !control_enabled())
		return true;
	if (!__atomic_compare_exchange_n(&e->state, &state, HUT_END_PENDING, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return true;
	if (c->bell < 0)
		c->bell = table_hide(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (c->bell < 0) {
		conn_give_up(c, HUT_R_DESCRIPTORS);
		return conn_forget(c);
	}
	epset_bell_added(c, fd);
	STORE(&e->reason, HUT_R_PEER_SILENT);
	switch (control_register(c, fd)) {
	case REGISTER_BUSY: /* many at a time: the agent has not read the others yet */
		STORE(&e->reason, HUT_R_YOUNG);
		STORE_REL(&e->state, HUT_END_CANDIDATE);
		c->arm_ns = now;
		return true;
	case REGISTER_FAILED:
		conn_give_up(c, HUT_R_AGENT_DOWN);
		return conn_forget(c);
	default:
		/* Closed meanwhile by another thread, which may have found nothing yet to tell the agent. */
		if (UNLIKELY(atomic_load(&c->nfds) == 0))
			control_gone(c, HUT_R_NONE);
		return true;
	}
}

/* ---- the agent's answers; the control lock is held, so nothing here may wait or talk to the agent ---- */

void conn_on_declined(struct conn *c, uint32_t reason)
{
	if (conn_state(c) == HUT_END_PENDING)
		conn_give_up(c, reason);
}

static size_t segment_length(const struct hut_msg *m)
{
	return HUT_PAGE + 2ull * m->ring_size + 2ull * m->over_size;
}

static _Atomic size_t mapped;

/* A segment is mostly untouched, but counts whole where a program's address space is limited: a sixteenth of it is for us. */
static bool address_space_for(size_t len)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_AS, &limit) || limit.rlim_cur == RLIM_INFINITY ||
	       atomic_load(&mapped) + len <= limit.rlim_cur / 16;
}

void segment_unmap(struct conn *c)
{
	munmap(c->seg, c->seg_len);
	atomic_fetch_sub(&mapped, c->seg_len);
	c->seg = NULL;
}

/* A file that could shrink would kill the program by SIGBUS; what Xen's devices map cannot. */
static bool fixed_size(const struct hut_msg *m, int fd, size_t len)
{
	int seals;
	struct stat st;

	if (fstat(fd, &st))
		return false;
	if (m->flags & HUT_MSGF_XEN)
		return S_ISCHR(st.st_mode);
	seals = REAL(fcntl)(fd, F_GET_SEALS);
	return seals >= 0 && (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) == (F_SEAL_SHRINK | F_SEAL_GROW) &&
	       (size_t)st.st_size == len;
}

static bool map_segment(struct conn *c, const struct hut_msg *m, int fd)
{
	size_t len = segment_length(m);

	if (m->ring_size < HUT_PAGE || m->ring_size > MAX_AREA || (m->ring_size & (m->ring_size - 1)) ||
	    m->over_size < HUT_PAGE || m->over_size > MAX_AREA || (m->over_size & (m->over_size - 1)) || m->side > 1)
		return false;
	if (!fixed_size(m, fd, len))
		return false;
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return false;
	struct hut_segment *seg = p;

	if (seg->magic != HUT_SEG_MAGIC || seg->version != HUT_ABI_VERSION) {
		munmap(p, len);
		return false;
	}
	uint8_t *rings = (uint8_t *)p + HUT_PAGE, *overs = rings + 2ull * m->ring_size;

	for (uint32_t i = 0; i < 2; i++) {
		struct ring *r = i == m->side ? &c->tx : &c->rx;

		r->dir = &seg->dir[i];
		r->small = rings + (size_t)i * m->ring_size;
		r->over = overs + (size_t)i * m->over_size;
		r->small_size = m->ring_size;
		r->over_size = m->over_size;
	}
	c->seg_len = len;
	c->seg = p;
	atomic_fetch_add(&mapped, len);
	return true;
}

void conn_on_channel(struct conn *c, const struct hut_msg *m, int seg_fd, int bell_fd)
{
	if (conn_state(c) != HUT_END_PENDING || c->seg || !conn_is_owner(c)) {
		sys_close(bell_fd);
		return;
	}
	c->peer_bell = table_hide(bell_fd);
	bool room = address_space_for(segment_length(m));

	if (c->peer_bell < 0 || !room || !map_segment(c, m, seg_fd)) {
		c->gone_due = true;
		conn_give_up(c, c->peer_bell < 0 ? HUT_R_DESCRIPTORS : !room ? HUT_R_MEMORY : HUT_R_SEGMENT);
		return;
	}
	c->port = m->flags & HUT_MSGF_XEN ? m->port : 0;
	c->end->chan = m->chan;
	c->end->bell_fd = (uint32_t)c->bell;
	c->end->peer_bell_fd = (uint32_t)c->peer_bell;
	if (m->flags & HUT_MSGF_REMOTE)
		conn_set_flags(c->end, HUT_ENDF_REMOTE);
	c->sets_due = true;
	STORE(&c->end->reason, HUT_R_NONE);
	STORE_REL(&c->end->state, HUT_END_CHANNEL);
	hut_log("fd %u: channel %x", c->end->fd, m->chan);
}
