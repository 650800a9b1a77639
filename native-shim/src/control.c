/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.c - the session with this VM's agent: hello, member table, registrations, end pool.
 *
 * Nothing here ever waits: a silent agent only means that connections stay on TCP a little longer.  The agent is
 * believed only when it runs as root (SO_PEERCRED), because any process of the namespace may bind an abstract address.
 */
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "real.h"

#define RETRY_NS (500 * NS_PER_MS)
#define SLOT_BITS 14
#define SLOT_MASK ((1u << SLOT_BITS) - 1)

static _Atomic pid_t ctl_holder;
static int ctl_fd = -1;
static bool welcomed;
static uint32_t agent_mark; /* what this session's agent puts into locks; 0: not known yet */
static uint64_t retry_at;
static uint64_t opened_at;   /* the session */
static _Atomic bool tried;   /* this process has asked for a session at least once */
static int pool_fd = -1;
static struct hut_pool *pool;
static struct paging pool_pages;
static struct conn *slot_conn[HUT_POOL_SLOTS];
static uint32_t ref_gen;

/* False: this very thread holds it, and a signal handler's call has come in between: it does without the agent. */
static bool ctl_lock(void)
{
	pid_t me = hut_tid(), none = 0;
	unsigned int turns = 0;

	while (!atomic_compare_exchange_weak_explicit(&ctl_holder, &none, me, memory_order_acquire,
						      memory_order_relaxed)) {
		if (none == me)
			return false;
		none = 0;
		give_way(turns++);
	}
	return true;
}

static void ctl_unlock(void)
{
	atomic_store_explicit(&ctl_holder, 0, memory_order_release);
}

/* Without a lock: is there nobody at the other end?  Not by a read: a message that is unread still would hide the end. */
bool control_is_lost(void)
{
	struct pollfd p = { .fd = LOAD(&ctl_fd) };

	return p.fd < 0 || (poll_now(&p, 1) > 0 && (p.revents & (POLLHUP | POLLERR)));
}

/* Is that holder of a lock an agent that is no more?  Another one may have come since. */
bool control_agent_died(uint32_t holder)
{
	uint32_t mark = LOAD(&agent_mark);

	return (mark && mark != holder) || control_is_lost();
}

/* ---- end pool ---- */

static bool pool_open(void)
{
	struct rlimit most;
	int fd;

	if (pool)
		return true;
	if (!getrlimit(RLIMIT_FSIZE, &most) && most.rlim_cur < sizeof(struct hut_pool))
		return false; /* ftruncate() would kill the program by SIGXFSZ */
	fd = memfd_create("hutong-ends", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return false;
	if (ftruncate(fd, sizeof(struct hut_pool)) ||
	    REAL(fcntl)(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		sys_close(fd);
		return false;
	}
	fd = table_hide(fd);
	if (fd < 0)
		return false;
	void *m = mmap(NULL, sizeof(struct hut_pool), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (m == MAP_FAILED) {
		table_unhide(fd);
		return false;
	}
	pool_fd = fd;
	pool = m;
	pool->magic = HUT_POOL_MAGIC;
	pool->version = HUT_ABI_VERSION;
	pool->slots = HUT_POOL_SLOTS;
	return true;
}

static bool slot_free(const struct hut_end *e)
{
	return LOAD(&e->state) == HUT_END_FREE && LOAD(&e->holders) == 0 && LOAD(&e->tx_lock) == 0;
}

static int find_slot(void)
{
	static uint32_t cursor;

	if (pool->used < HUT_POOL_SLOTS)
		cursor = pool->used;
	/* Slots are used again only when the pool has been walked through once: a late reader sees stale, not foreign. */
	for (uint32_t i = 0; i < HUT_POOL_SLOTS; i++) {
		uint32_t s = (cursor + i) % HUT_POOL_SLOTS;

		if (!slot_conn[s] && slot_free(&pool->end[s])) {
			uint64_t at = offsetof(struct hut_pool, end) + (uint64_t)s * HUT_END_SIZE;

			if (at + HUT_END_SIZE > pool_pages.to)
				pages_get(&pool_pages, (uint8_t *)pool, sizeof(*pool), at, HUT_END_SIZE, true);
			cursor = s + 1;
			if (s >= pool->used)
				STORE(&pool->used, s + 1);
			return (int)s;
		}
	}
	return -1;
}

static bool send_msg(const struct hut_msg *m, int fd)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u;
	struct iovec iov = { (void *)m, sizeof(*m) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		memset(&u, 0, sizeof(u));
		mh.msg_control = u.buf;
		mh.msg_controllen = sizeof(u.buf);
		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	}
	return syscall(SYS_sendmsg, ctl_fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(*m);
}

/* What the agent must be told of connections that are over, and had no room for when they were.  ctl_lock. */
static struct {
	uint32_t ref, reason;
} owed[HUT_POOL_SLOTS];
static uint32_t n_owed;

/* Why the last message could not be sent: the agent has not read the others yet. */
static bool no_room(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK;
}

static bool send_gone(uint32_t ref, uint32_t reason)
{
	struct hut_msg m = { .type = HUT_MSG_GONE, .version = HUT_ABI_VERSION, .ref = ref, .reason = reason };

	return send_msg(&m, -1);
}

/* ctl_lock held; with each business that there is with the agent, and with each new connection */
static void tell_owed(void)
{
	int saved = errno;

	while (UNLIKELY(n_owed) && ctl_fd >= 0) {
		if (!send_gone(owed[n_owed - 1].ref, owed[n_owed - 1].reason) && no_room())
			break;
		n_owed--; /* told, or the session has ended and all is forgotten */
	}
	errno = saved;
}

bool control_slot(struct conn *c)
{
	int s;

	if (!ctl_lock())
		return false;
	tell_owed();
	s = pool_open() ? find_slot() : -1;
	if (s >= 0) {
		struct hut_end *e = &pool->end[s];

		memset(e, 0, sizeof(*e));
		e->owner_pid = (uint32_t)hut_pid;
		e->holders = 1;
		e->rx_end = HUT_NO_SPLIT;
		e->tx_split = HUT_NO_SPLIT;
		c->end = e;
		c->pool_slot = (uint32_t)s;
		c->own_pool = true;
		c->inherited = c->offered = false;
		c->ref = (uint32_t)s | (++ref_gen << SLOT_BITS);
		slot_conn[s] = c;
	}
	ctl_unlock();
	return s >= 0;
}

/* Whoever is the last one, the process that made the slot or a child of it, gives it back. */
void control_let_go(struct hut_end *e)
{
	if (__atomic_sub_fetch(&e->holders, 1, __ATOMIC_ACQ_REL) == 0)
		STORE_REL(&e->state, HUT_END_FREE);
}

/* Is this the process' only thread?  libc does not say so again to a child of one that had several. */
static bool alone(void)
{
	struct stat st;

	return __libc_single_threaded || (stat("/proc/self/task", &st) == 0 && st.st_nlink == 3);
}

/*
 * A forked child's connection gets a slot of the child's own pool; the counts go along.  Not those of who is in a call: no
 * other thread may be, nor this one below a signal handler.
 */
bool control_adopt(struct conn *c)
{
	struct hut_end *old = c->end;
	struct hut_end *fresh;

	if (!alone() || LOAD(&old->raw_waits) || LOAD(&old->inflight))
		return false;
	if (!control_slot(c)) {
		c->end = old;
		return false;
	}
	fresh = c->end;
	fresh->cookie = old->cookie;
	fresh->tcp_in = old->tcp_in;
	fresh->tcp_out = old->tcp_out;
	fresh->nonblock = old->nonblock;
	fresh->flags = old->flags;
	fresh->fd = old->fd;
	fresh->reason = HUT_R_YOUNG;
	c->inherited = false;
	STORE_REL(&fresh->state, HUT_END_CANDIDATE);
	control_let_go(old);
	return true;
}

void control_free_slot(struct conn *c)
{
	struct hut_end *e = c->end;

	if (!e)
		return;
	bool locked = ctl_lock();

	if (c->own_pool && slot_conn[c->pool_slot] == c)
		slot_conn[c->pool_slot] = NULL;
	c->end = NULL;
	control_let_go(e);
	if (locked)
		ctl_unlock();
}

/* ---- session ---- */

static void session_lost(void)
{
	if (ctl_fd >= 0)
		table_unhide(ctl_fd);
	ctl_fd = -1;
	n_owed = 0;
	welcomed = false;
	STORE(&agent_mark, 0);
	retry_at = now_coarse_ns() + RETRY_NS;
	/* What waited for the old agent may be offered to the next one; what is about to be offered it does not concern. */
	for (uint32_t s = 0; pool && s < pool->used; s++) {
		struct conn *c = slot_conn[s];
		uint32_t pending = HUT_END_PENDING;

		if (!c || !c->offered)
			continue;
		c->offered = false;
		if (c->end)
			__atomic_compare_exchange_n(&c->end->state, &pending, HUT_END_CANDIDATE, false,
						    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	}
}

static int agent_socket(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd = REAL(socket)(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	memcpy(sa.sun_path + 1, HUT_AGENT_NAME, sizeof(HUT_AGENT_NAME) - 1);
	if (syscall(SYS_connect, fd, &sa, offsetof(struct sockaddr_un, sun_path) + sizeof(HUT_AGENT_NAME)) ||
	    REAL(getsockopt)(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) || cred.uid != 0) {
		sys_close(fd);
		return -1;
	}
	return table_hide(fd);
}

/* ctl_lock held */
static bool session_open(void)
{
	struct hut_msg m = { .type = HUT_MSG_HELLO, .version = HUT_ABI_VERSION };

	if (ctl_fd >= 0)
		return true;
	atomic_store(&tried, true);
	if (retry_at && now_coarse_ns() < retry_at)
		return false;
	STORE(&opened_at, now_coarse_ns());
	if (!pool_open() || (ctl_fd = agent_socket()) < 0) {
		retry_at = now_coarse_ns() + RETRY_NS;
		return false;
	}
	if (!send_msg(&m, pool_fd)) {
		session_lost();
		return false;
	}
	hut_log("session with the agent opened");
	return true;
}

/*
 * ctl_lock held.  Pinned, or NULL.  A connection without a pin is on its way out in another thread, which has given
 * back its descriptors and segment already, or is about to; it keeps its slot until it gets our lock.
 */
static struct conn *conn_of_ref(uint32_t ref)
{
	uint32_t s = ref & SLOT_MASK;
	struct conn *c = s < HUT_POOL_SLOTS ? slot_conn[s] : NULL;

	return c && c->ref == ref && c->end ? conn_by_index(c->index) : NULL;
}

static void dispatch(const struct hut_msg *m, int *fds, int nfds)
{
	struct conn *c = NULL;

	switch (m->type) {
	case HUT_MSG_WELCOME:
		STORE(&agent_mark, m->ref);
		if (nfds == 1 && members_take(fds[0]))
			STORE_REL(&welcomed, true);
		break;
	case HUT_MSG_DECLINED:
		c = conn_of_ref(m->ref);
		if (c)
			conn_on_declined(c, m->reason);
		break;
	case HUT_MSG_CHANNEL:
		c = conn_of_ref(m->ref);
		/*
		 * An agent that has died since is followed by one that looks for what programs share, and for lines to go on
		 * with, when it starts: it would not know of this.  Neither when the VM is to be saved, nor when the other one
		 * is destroyed, and nobody would bring what goes to another host.
		 */
		if (c && nfds == 2 && !(m->flags & (HUT_MSGF_XEN | HUT_MSGF_REMOTE) && control_is_lost())) {
			conn_on_channel(c, m, fds[0], fds[1]);
			fds[1] = -1; /* taken, or closed there */
		}
		break;
	default:
		break;
	}
	if (c)
		conn_put(c);
	for (int i = 0; i < nfds; i++)
		if (fds[i] >= 0)
			sys_close(fds[i]);
}

/* ctl_lock held; false when the session is over */
static bool receive_one(bool *more)
{
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} u;
	struct hut_msg m;
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf) };
	int fds[4], nfds = 0;
	ssize_t n = syscall(SYS_recvmsg, ctl_fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*more = false;
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(&mh); cm; cm = CMSG_NXTHDR(&mh, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		int k = (int)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		for (int i = 0; i < k && nfds < 4; i++)
			memcpy(&fds[nfds++], CMSG_DATA(cm) + (size_t)i * sizeof(int), sizeof(int));
	}
	if (n == 0)
		return false;
	*more = true;
	if (n == (ssize_t)sizeof(m) && m.version == HUT_ABI_VERSION) {
		dispatch(&m, fds, nfds);
		return true;
	}
	for (int i = 0; i < nfds; i++)
		sys_close(fds[i]);
	return true;
}

void control_poll(void)
{
	bool more = true;
	int saved = errno;

	if (!ctl_lock())
		return;
	while (more && ctl_fd >= 0)
		if (!receive_one(&more))
			session_lost();
	tell_owed();
	ctl_unlock();
	errno = saved;
}

bool control_ready(void)
{
	int saved = errno;

	if (LIKELY(LOAD(&welcomed)))
		return true;
	if (life_in_vfork_child() || !ctl_lock()) /* such a child's session would be in its own table of descriptors */
		return false;
	bool open = session_open();

	ctl_unlock();
	if (open)
		control_poll();
	errno = saved;
	return LOAD(&welcomed);
}

enum registered control_register(struct conn *c, int fd)
{
	struct hut_msg m = { .type = HUT_MSG_REGISTER, .version = HUT_ABI_VERSION };
	socklen_t len = sizeof(m.cookie);
	bool ok, busy;

	if (REAL(getsockopt)(fd, SOL_SOCKET, SO_COOKIE, &m.cookie, &len))
		return REGISTER_FAILED;
	m.ref = c->ref;
	m.fd = (uint32_t)fd;
	m.slot = c->pool_slot;
	c->end->cookie = m.cookie;
	c->end->fd = (uint32_t)fd;
	if (!ctl_lock())
		return REGISTER_BUSY;
	tell_owed();
	if (n_owed) { /* it may know our slot by its former owner still */
		ctl_unlock();
		return REGISTER_BUSY;
	}
	ok = session_open() && send_msg(&m, c->bell);
	busy = !ok && ctl_fd >= 0 && (no_room() || errno == ETOOMANYREFS);
	if (!ok && !busy && ctl_fd >= 0) {
		session_lost();
		retry_at = 0; /* the agent may have been restarted: look at once */
		ok = session_open() && send_msg(&m, c->bell);
	}
	c->offered = ok;
	ctl_unlock();
	return ok ? REGISTER_DONE : busy ? REGISTER_BUSY : REGISTER_FAILED;
}

void control_gone(struct conn *c, uint32_t reason)
{
	int saved = errno;
	bool locked = ctl_lock();

	if (locked) /* else a handler has interrupted just that */
		tell_owed();
	if (ctl_fd >= 0 && !send_gone(c->ref, reason) && no_room() && locked && n_owed < HUT_POOL_SLOTS) {
		owed[n_owed].ref = c->ref;
		owed[n_owed++].reason = reason;
	}
	if (locked)
		ctl_unlock();
	errno = saved;
}

void control_fork(bool before)
{
	static bool held;

	if (before)
		held = ctl_lock();
	else if (held)
		ctl_unlock();
}

void control_after_fork_child(void)
{
	/* SO_PEERCRED of the parent's session names the parent: the child starts its own, with its own pool. */
	atomic_store(&ctl_holder, 0);
	if (ctl_fd >= 0)
		table_unhide(ctl_fd);
	if (pool_fd >= 0)
		table_unhide(pool_fd);
	ctl_fd = pool_fd = -1;
	n_owed = 0;
	pool_pages = (struct paging){ 0 };
	if (pool) /* what was never used is not written, so that its pages need not be copied */
		memset(slot_conn, 0, LOAD(&pool->used) * sizeof(*slot_conn));
	pool = NULL; /* the mapping stays: inherited connections use it */
	agent_mark = 0;
	welcomed = false;
	retry_at = 0;
	atomic_store(&tried, false);
}

/*
 * There is a session, though the agent may not have answered yet; or this very thread is just opening one, and a signal
 * handler of its asks.
 */
bool control_session(void)
{
	return LOAD(&ctl_fd) >= 0 || atomic_load_explicit(&ctl_holder, memory_order_relaxed) == hut_tid();
}

/*
 * Nobody has asked for the agent yet.  A session costs the process and the agent a millisecond, as much as a hundred
 * short connections: it is opened when one has lasted long enough to be offered, not for those that are over before.
 */
bool control_untried(void)
{
	return !atomic_load_explicit(&tried, memory_order_relaxed);
}

/* The agent has left the session's hello unanswered for that long. */
bool control_is_silent(uint64_t ns)
{
	return !LOAD(&welcomed) && now_coarse_ns() - LOAD(&opened_at) >= ns;
}
