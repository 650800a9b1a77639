/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - from descriptor numbers to connections and epoll sets.
 *
 * One word a descriptor: 0, a connection, or an epoll set (lowest bit).  Look-ups take no lock: connection objects are
 * never returned to the allocator, so a pin on a recycled one is harmless and is noticed by looking again.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "real.h"

#define TABLE_SIZE (1u << 20)
#define HIDDEN_MAX 65536

_Atomic bool hut_enabled;

static _Atomic uintptr_t *table; /* lazily populated: untouched pages cost nothing */
static _Atomic uint64_t *hidden; /* bitmap of our own descriptors ... */
static _Atomic unsigned int n_hidden; /* ... and how many they are */
static struct conn *free_list;                /* guarded by the lock ... */
static _Atomic(struct conn *) returned; /* ... and what was given back since, without it */
static _Atomic pid_t lock_holder;
static _Atomic unsigned int used_high; /* no descriptor at or above it was ever tracked */
#define INDEX_MAX 65535u /* the last that fits means none, see nudge() */
static struct conn **by_index;
static uint32_t index_count;

#define TAG_EPSET 1u

static void used(int fd);

bool table_init(void)
{
	size_t len = TABLE_SIZE * sizeof(*table);
	size_t extra = TABLE_SIZE / 8 + INDEX_MAX * sizeof(*by_index);
	void *m = mmap(NULL, len + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (m == MAP_FAILED)
		return false;
	table = m;
	hidden = (void *)((char *)m + len);
	by_index = (void *)((char *)m + len + TABLE_SIZE / 8);
	return true;
}

/* A short lock of this library's own: usable in a fork child, never held over a blocking call. */
bool table_lock(void)
{
	pid_t me = hut_tid(), free_tid = 0;
	unsigned int turns = 0;

	while (!atomic_compare_exchange_weak_explicit(&lock_holder, &free_tid, me, memory_order_acquire,
						      memory_order_relaxed)) {
		if (free_tid == me)
			return false;
		free_tid = 0;
		give_way(turns++);
	}
	return true;
}

void table_unlock(void)
{
	atomic_store_explicit(&lock_holder, 0, memory_order_release);
}

/*
 * Numbers that a vfork child has closed, or given another meaning.  It runs in the memory of the parent, whose thread waits
 * for its end, but has descriptors of its own: this table is right for the others still.
 */
#define GONE_MOST 64

static __thread struct {
	pid_t child;    /* 0: none */
	unsigned int n; /* beyond GONE_MOST: all of them */
	int fd[GONE_MOST];
} gone __attribute__((tls_model("initial-exec")));

static bool gone_in_child(int fd)
{
	if (gone.child != (pid_t)syscall(SYS_getpid)) { /* it has ended */
		gone.child = 0;
		return false;
	}
	for (unsigned int i = 0; i < gone.n && i < GONE_MOST; i++)
		if (gone.fd[i] == fd)
			return true;
	return gone.n > GONE_MOST;
}

void table_child_closes(int fd)
{
	pid_t me = (pid_t)syscall(SYS_getpid);

	if (gone.child != me) {
		gone.n = 0;
		gone.child = me;
	}
	if (gone.n < GONE_MOST)
		gone.fd[gone.n] = fd;
	if (gone.n <= GONE_MOST)
		gone.n++;
}

static uintptr_t slot_of(int fd)
{
	uintptr_t v;

	if (UNLIKELY((unsigned int)fd >= TABLE_SIZE || !table))
		return 0;
	v = atomic_load_explicit(&table[fd], memory_order_acquire);
	return v && UNLIKELY(gone.child) && gone_in_child(fd) ? 0 : v;
}

struct conn *table_peek(int fd)
{
	uintptr_t v = slot_of(fd);

	return v & TAG_EPSET ? NULL : (struct conn *)v;
}

/* Pins that this thread holds, tables' own apart: above zero it is in the middle of a call, see table_after_fork_child(). */
static __thread int pins_held __attribute__((tls_model("initial-exec")));

/* Never the first pin: a connection with none is on its way to the free list, or there. */
static bool pin(struct conn *c)
{
	int pins = atomic_load_explicit(&c->pins, memory_order_relaxed);

	while (LIKELY(pins > 0)) {
		if (LIKELY(atomic_compare_exchange_weak(&c->pins, &pins, pins + 1))) {
			pins_held++;
			return true;
		}
	}
	return false;
}

struct conn *conn_get(int fd)
{
	for (;;) {
		uintptr_t v = slot_of(fd);

		if (LIKELY(!v) || (v & TAG_EPSET))
			return NULL;
		struct conn *c = (struct conn *)v;

		if (UNLIKELY(!pin(c)))
			continue; /* the number has just got another meaning: who takes its last pin has cleared it first */
		if (LIKELY(slot_of(fd) == v))
			return c;
		conn_put(c);
	}
}

void conn_put(struct conn *c)
{
	pins_held--;
	if (atomic_fetch_sub(&c->pins, 1) != 1)
		return;
	/* The table's own pin is gone too: nobody can find it any more. */
	conn_release(c);
	struct conn *first = atomic_load(&returned);

	do
		c->next_free = first;
	while (!atomic_compare_exchange_weak(&returned, &first, c));
}

static struct conn *take_free(void)
{
	if (!free_list)
		free_list = atomic_exchange(&returned, NULL);
	if (!free_list) {
		size_t n = 64;
		struct conn *block;

		if (!by_index || index_count + n > INDEX_MAX)
			return NULL;
		block = mmap(NULL, n * sizeof(*block), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		if (block == MAP_FAILED)
			return NULL;
		for (size_t i = 0; i < n; i++) {
			block[i].index = index_count;
			by_index[index_count++] = &block[i];
			block[i].next_free = free_list;
			free_list = &block[i];
		}
	}
	struct conn *c = free_list;

	free_list = c->next_free;
	return c;
}

struct conn *table_new(int fd, int family, bool nonblock)
{
	static uint32_t next_ref;

	if ((unsigned int)fd >= TABLE_SIZE || !table)
		return NULL;
	if (!table_lock())
		return NULL; /* in a signal handler, in the middle of the same: it stays plain TCP */
	struct conn *c = take_free();

	if (c) {
		/* A racing conn_get() of the former life may hold and drop a pin: leave `pins` to atomics. */
		uint32_t index = c->index;

		memset(c, 0, offsetof(struct conn, pins));
		memset((char *)c + offsetof(struct conn, note_seen), 0, sizeof(*c) - offsetof(struct conn, note_seen));
		c->index = index;
		c->fd = fd;
		c->bell = c->peer_bell = c->keep_fd = c->closing = -1;
		c->family = (uint32_t)family;
		c->nonblock = nonblock;
		c->ref = ++next_ref;
		atomic_store(&c->nfds, 1);
		atomic_fetch_add(&c->pins, 1);
		used(fd);
		atomic_store_explicit(&table[fd], (uintptr_t)c, memory_order_release);
	}
	table_unlock();
	return c;
}

void table_alias(int fd, struct conn *c)
{
	if ((unsigned int)fd >= TABLE_SIZE)
		return;
	atomic_fetch_add(&c->pins, 1);
	atomic_fetch_add(&c->nfds, 1);
	used(fd);
	atomic_store_explicit(&table[fd], (uintptr_t)c, memory_order_release);
}

struct conn *table_remove(int fd)
{
	if ((unsigned int)fd >= TABLE_SIZE || !table)
		return NULL;
	uintptr_t v = atomic_exchange(&table[fd], 0);
	struct conn *c = v & TAG_EPSET ? NULL : (struct conn *)v;

	if (c) {
		atomic_fetch_sub(&c->nfds, 1);
		pins_held++; /* the table's pin goes to the caller */
	}
	return c;
}

static __thread int raw_depth __attribute__((tls_model("initial-exec")));

/*
 * A number may be closed and used again by another thread at any time.  Between these two calls it cannot: close()
 * takes the number out of the table first, and then waits in raw_settle() for whoever is inside.  What is done inside
 * never blocks.
 */
bool raw_begin(struct conn *c, int fd)
{
	raw_depth++;
	atomic_fetch_add(&c->raw, 1);
	if (LIKELY(slot_of(fd) == (uintptr_t)c || c->closing == fd))
		return true;
	raw_end(c);
	return false;
}

void raw_end(struct conn *c)
{
	atomic_fetch_sub(&c->raw, 1);
	raw_depth--;
}

void raw_settle(struct conn *c)
{
	/* A signal handler that closes what this very thread is in the middle of cannot wait for it. */
	for (unsigned int turns = 0; UNLIKELY(atomic_load(&c->raw)) && !raw_depth; turns++)
		give_way(turns);
}

void table_forget(struct conn *c)
{
	atomic_store(&c->plain, true);
	for (int fd; (fd = table_fd_of(c)) >= 0;) {
		uintptr_t v = (uintptr_t)c;

		if (atomic_compare_exchange_strong(&table[fd], &v, 0)) {
			atomic_fetch_sub(&c->nfds, 1);
			pins_held++; /* the table's */
			conn_put(c);
		}
	}
}

static void used(int fd)
{
	unsigned int high = atomic_load_explicit(&used_high, memory_order_relaxed);

	while (UNLIKELY((unsigned int)fd >= high) &&
	       !atomic_compare_exchange_weak(&used_high, &high, (unsigned int)fd + 1))
		;
}

struct conn *conn_by_index(uint32_t index)
{
	struct conn *c = index < INDEX_MAX && by_index ? by_index[index] : NULL;

	return c && pin(c) ? c : NULL;
}

unsigned int table_high(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) || lim.rlim_cur > TABLE_SIZE)
		return TABLE_SIZE;
	return (unsigned int)lim.rlim_cur;
}

int table_fd_of(struct conn *c)
{
	if (atomic_load(&c->nfds) <= 0)
		return -1;
	if (slot_of(c->fd) == (uintptr_t)c)
		return c->fd;
	for (unsigned int fd = 0, n = atomic_load(&used_high); fd < n; fd++)
		if (atomic_load_explicit(&table[fd], memory_order_relaxed) == (uintptr_t)c)
			return c->fd = (int)fd;
	return -1;
}

void table_each(void (*fn)(int fd, struct conn *c, void *arg), void *arg)
{
	if (!table)
		return;
	for (unsigned int fd = 0, n = atomic_load(&used_high); fd < n; fd++) {
		struct conn *c = conn_get((int)fd);

		if (!c)
			continue;
		fn((int)fd, c, arg);
		conn_put(c);
	}
}

int table_last_used(void)
{
	return (int)atomic_load(&used_high) - 1;
}

struct epset *epset_get(int fd)
{
	uintptr_t v = slot_of(fd);

	return v & TAG_EPSET ? (struct epset *)(v & ~(uintptr_t)TAG_EPSET) : NULL;
}

void epset_set(int fd, struct epset *s)
{
	if ((unsigned int)fd >= TABLE_SIZE || !table)
		return;
	used(fd);
	atomic_store_explicit(&table[fd], s ? (uintptr_t)s | TAG_EPSET : 0, memory_order_release);
}

int table_epset_fd(const struct epset *s)
{
	for (unsigned int fd = 0, n = atomic_load(&used_high); fd < n; fd++)
		if (epset_get((int)fd) == s)
			return (int)fd;
	return -1;
}

bool table_is_hidden(int fd)
{
	if (LIKELY((unsigned int)fd >= TABLE_SIZE || !hidden))
		return false;
	return atomic_load_explicit(&hidden[fd / 64], memory_order_relaxed) >> (fd % 64) & 1;
}

/*
 * Rule 15: out of the way of programs that count on the lowest free descriptor or on select(), and less than all when
 * few are left.  At each fork the kernel walks the table up to its highest descriptor (measured: 10 ns each, so 10 ms
 * where the limit is a million, as containers often have it).  So they are not at the limit, but beyond 64 times what the
 * program has now: `lowest` is the first number that is free.
 */
#define FAR_OFF 64u

static unsigned int hide_from(unsigned int lowest, unsigned int limit)
{
	unsigned int from = lowest * FAR_OFF, top = limit - limit / 4;

	if (from < FD_SETSIZE)
		from = FD_SETSIZE;
	return from < top ? from : top;
}

int table_hide(int fd)
{
	unsigned int limit = table_high();
	int got = -1;

	if (fd < 0)
		return -1;
	if ((unsigned int)fd < limit - limit / 4 && atomic_load(&n_hidden) < limit / 4)
		got = REAL(fcntl)(fd, F_DUPFD_CLOEXEC, (int)hide_from((unsigned int)fd, limit));
	if (got >= (int)TABLE_SIZE) {
		sys_close(got);
		got = -1;
	}
	sys_close(fd);
	if (got < 0)
		return -1;
	atomic_fetch_or(&hidden[got / 64], 1ull << (got % 64));
	atomic_fetch_add(&n_hidden, 1);
	return got;
}

int table_hide_copy(int fd)
{
	return table_hide(REAL(fcntl)(fd, F_DUPFD_CLOEXEC, 3));
}

void table_unhide(int fd)
{
	if (fd < 0 || (unsigned int)fd >= TABLE_SIZE)
		return;
	atomic_fetch_and(&hidden[fd / 64], ~(1ull << (fd % 64)));
	atomic_fetch_sub(&n_hidden, 1);
	sys_close(fd);
}

void table_conns(void (*fn)(struct conn *c, void *arg), void *arg)
{
	for (uint32_t i = 0; by_index && i < index_count; i++)
		fn(by_index[i], arg);
}

static void drop_pins(struct conn *c, void *arg)
{
	bool in_call = *(bool *)arg;

	/* A free one has nothing to give up: its page need not be copied. */
	if (!c->end && !atomic_load(&c->pins) && !atomic_load(&c->nfds))
		return;
	/*
	 * Other threads' pins do not exist in the child: the table's are all there are.  But one that is in the middle of a
	 * call (forked by a signal handler, or late in noticing what it is) goes on with it and gives its pins back; for
	 * its sake others' stay too, and what they hold is let go when the child ends.
	 */
	if (!in_call)
		atomic_store(&c->pins, atomic_load(&c->nfds));
	atomic_store(&c->rx_waiters, 0);
	atomic_store(&c->tx_waiters, 0);
	atomic_store(&c->callers, 0);
	atomic_store(&c->sleepers, 0);
	atomic_store(&c->raw, 0);
	c->inherited = true;
	c->own_pool = false;
}

void table_after_fork_child(bool late)
{
	atomic_store(&lock_holder, 0);
	raw_depth = 0;
	bool in_call = late || pins_held > 0;

	/* Also those that another thread of the parent was closing: in the child they stay as they are. */
	table_conns(drop_pins, &in_call);
}
