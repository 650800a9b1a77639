/* SPDX-License-Identifier: Apache-2.0 */
/* hooks_wait.c - interposed: poll, select, epoll. */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "real.h"
#include "wait.h"

static struct timespec *from_ms(int ms, struct timespec *ts)
{
	if (ms < 0)
		return NULL;
	ts->tv_sec = ms / 1000;
	ts->tv_nsec = (long)(ms % 1000) * 1000000;
	return ts;
}

HUT_EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct timespec ts;

	if (LIKELY(!fds || !wait_poll_concerns(fds, n)))
		return REAL(poll)(fds, n, timeout);
	return wait_poll(fds, n, from_ms(timeout, &ts), NULL, NULL);
}

HUT_EXPORT int __poll(struct pollfd *fds, nfds_t n, int timeout) __attribute__((alias("poll")));

HUT_EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	if (LIKELY(!fds || !wait_poll_concerns(fds, n)))
		return REAL(ppoll)(fds, n, timeout, mask);
	return wait_poll(fds, n, timeout, mask, NULL);
}

void __chk_fail(void) __attribute__((noreturn));

HUT_EXPORT int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	if (room / sizeof(*fds) < n)
		__chk_fail();
	return poll(fds, n, timeout);
}

HUT_EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
			   size_t room)
{
	if (room / sizeof(*fds) < n)
		__chk_fail();
	return ppoll(fds, n, timeout, mask);
}

/* ---- select, by way of poll ---- */

/* Sets may be larger than FD_SETSIZE when the program made them so: the kernel goes by n alone. */
static bool has(const fd_set *set, int fd)
{
	return set && ((const unsigned long *)(const void *)set)[fd / 64] >> (fd % 64) & 1;
}

static void clear(fd_set *set, int fd)
{
	((unsigned long *)(void *)set)[fd / 64] &= ~(1ul << (fd % 64));
}

/*
 * Programs pass getdtablesize() beside an fd_set of 1,024: the kernel looks no further than the process's table of
 * descriptors reaches, which ours, at the top, make very large.  How far it would reach without them: the program's
 * highest number, by the steps in which tables grow.
 */
static int without_ours(int n)
{
	char buf[2048];
	int dir, high = 0, size = 256;
	long got;

	if (LIKELY(n <= FD_SETSIZE) || table_last_used() < 0 || !atomic_load_explicit(&hut_enabled, memory_order_relaxed))
		return n;
	dir = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return n;
	while ((got = syscall(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
		for (long at = 0; at < got;) {
			const struct dirent64 *d = (const void *)(buf + at);
			int fd = atoi(d->d_name);

			if (fd > high && fd != dir && !table_is_hidden(fd))
				high = fd;
			at += d->d_reclen;
		}
	}
	sys_close(dir);
	while (size <= high)
		size *= 2;
	return n < size ? n : size;
}

static bool select_concerns(int n, fd_set *r, fd_set *w, fd_set *e)
{
	bool any = false;

	for (int fd = 0; fd < n; fd++) { /* all of them: each epoll set must know that it is watched */
		struct conn *c = table_peek(fd);
		struct epset *s = c ? NULL : epset_get(fd);

		if (LIKELY(!c && !s) || !(has(r, fd) || has(w, fd) || has(e, fd)))
			continue;
		if (s)
			epset_watch(s);
		else
			any |= c->end != NULL;
	}
	return any;
}

#define SELECT_IN (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR)
#define SELECT_OUT (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR)

/* The kernel writes whole words: what is beyond n in the last one is cleared, whoever had set it. */
static void clear_beyond(fd_set *set, int n)
{
	if (set && n % 64)
		((unsigned long *)(void *)set)[n / 64] &= (1ul << (n % 64)) - 1;
}

static int select_answer(const struct pollfd *p, nfds_t k, int n, fd_set *r, fd_set *w, fd_set *e)
{
	const struct {
		fd_set *set;
		short bits;
	} of[3] = { { r, SELECT_IN }, { w, SELECT_OUT }, { e, POLLPRI } };
	int count = 0;

	for (nfds_t i = 0; i < k; i++) {
		if (p[i].revents & POLLNVAL) {
			errno = EBADF;
			return -1;
		}
	}
	for (nfds_t i = 0; i < k; i++) {
		for (int s = 0; s < 3; s++) {
			if (!has(of[s].set, p[i].fd))
				continue;
			if (p[i].revents & of[s].bits)
				count++;
			else
				clear(of[s].set, p[i].fd);
		}
	}
	for (int s = 0; s < 3; s++)
		clear_beyond(of[s].set, n);
	return count;
}

/* Does what poll told of answer select() as well?  A hang-up is nothing to who waits for room, or for urgent bytes, alone. */
static bool answers(const struct pollfd *p, nfds_t k)
{
	for (nfds_t i = 0; i < k; i++) {
		short bits = POLLNVAL;

		bits |= p[i].events & POLLIN ? SELECT_IN : 0;
		bits |= p[i].events & POLLOUT ? SELECT_OUT : 0;
		bits |= p[i].events & POLLPRI ? POLLPRI : 0;
		if (p[i].revents & bits)
			return true;
	}
	return false;
}

/* Those that tell of nothing that was asked for are left out of the next wait.  True: some may answer later all the same. */
static bool leave_out(struct pollfd *p, nfds_t k)
{
	bool later = false;

	for (nfds_t i = 0; i < k; i++) {
		if (p[i].revents && p[i].fd >= 0)
			p[i].fd = ~p[i].fd;
		later |= p[i].fd < 0 && (p[i].events & POLLOUT);
	}
	return later;
}

static void put_back(struct pollfd *p, nfds_t k, short events)
{
	for (nfds_t i = 0; i < k; i++)
		if (p[i].fd < 0 && (p[i].events & events))
			p[i].fd = ~p[i].fd;
}

#define LOOK_AGAIN_NS (20 * NS_PER_MS)

static int wait_select(struct pollfd *p, nfds_t k, const struct timespec *timeout, const sigset_t *mask,
		       uint64_t *began)
{
	int rc = wait_poll(p, k, timeout, mask, began);
	uint64_t end = NS_FOREVER, ignored;
	struct timespec left;

	if (LIKELY(rc <= 0 || answers(p, k)))
		return rc;
	if (!*began)
		*began = now_ns();
	if (timeout && wait_span(timeout) != NS_FOREVER)
		end = *began + wait_span(timeout);
	do {
		uint64_t until = leave_out(p, k) ? wait_sooner(end, now_ns() + LOOK_AGAIN_NS) : end;

		rc = wait_poll(p, k, wait_until(until, &left), mask, &ignored);
		if (rc == 0)
			put_back(p, k, POLLOUT);
		if (rc == 0 && signals_interrupted()) { /* between two of these waits */
			errno = EINTR;
			rc = -1;
		}
	} while ((rc > 0 && !answers(p, k)) || (rc == 0 && (end == NS_FOREVER || now_ns() < end)));
	put_back(p, k, ~0);
	return rc;
}

#define SELECT_FEW 64 /* the stack may be small */

/* Descriptors that are in any of the sets, or a few more: of a last word that is not looked at to its end. */
static nfds_t count_bits(int n, const fd_set *r, const fd_set *w, const fd_set *e)
{
	const unsigned long *set[3] = { (const void *)r, (const void *)w, (const void *)e };
	nfds_t k = 0;

	for (int i = 0; i < (n + 63) / 64; i++)
		k += (nfds_t)__builtin_popcountl((r ? set[0][i] : 0) | (w ? set[1][i] : 0) | (e ? set[2][i] : 0));
	return k;
}

static int do_select(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout, const sigset_t *mask,
		     uint64_t *since)
{
	struct pollfd few[SELECT_FEW], *p = few;
	nfds_t k = count_bits(n, r, w, e);
	size_t size = k * sizeof(*p);
	uint64_t began = 0;
	int rc;

	if (k > SELECT_FEW) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED) {
			errno = ENOMEM;
			return -1;
		}
	}
	k = 0;
	for (int fd = 0; fd < n; fd++) {
		short ev = (short)((has(r, fd) ? POLLIN | POLLRDNORM : 0) | (has(w, fd) ? POLLOUT | POLLWRNORM : 0) |
				   (has(e, fd) ? POLLPRI : 0));

		if (ev)
			p[k++] = (struct pollfd){ .fd = fd, .events = ev };
	}
	rc = wait_select(p, k, timeout, mask, &began);
	if (since)
		*since = began;
	if (rc >= 0)
		rc = select_answer(p, k, n, r, w, e);
	if (p != few)
		munmap(p, size);
	return rc;
}

HUT_EXPORT int select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout)
{
	struct timespec ts;
	uint64_t began = 0;
	int rc;

	n = without_ours(n);
	if (LIKELY(!select_concerns(n, r, w, e)))
		return REAL(select)(n, r, w, e, timeout);
	if (!timeout)
		return do_select(n, r, w, e, NULL, NULL, NULL);
	if (timeout->tv_sec < 0 || timeout->tv_usec < 0) {
		errno = EINVAL;
		return -1;
	}
	/* More than a second of microseconds is allowed here. */
	ts = (struct timespec){ timeout->tv_sec + timeout->tv_usec / 1000000, (long)(timeout->tv_usec % 1000000) * 1000 };
	rc = do_select(n, r, w, e, &ts, NULL, &began);
	/* Linux writes back what is left. */
	uint64_t all = wait_span(&ts), used = began ? now_ns() - began : 0;
	if (all == NS_FOREVER)
		return rc; /* nothing that could be told apart is gone */
	uint64_t left = used < all && rc != 0 ? all - used : 0;

	timeout->tv_sec = (time_t)(left / 1000000000ull);
	timeout->tv_usec = (suseconds_t)(left % 1000000000ull / 1000);
	return rc;
}

HUT_EXPORT int __select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout) __attribute__((alias("select")));

HUT_EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout, const sigset_t *mask)
{
	n = without_ours(n);
	if (LIKELY(!select_concerns(n, r, w, e)))
		return REAL(pselect)(n, r, w, e, timeout, mask);
	return do_select(n, r, w, e, timeout, mask, NULL);
}

/* ---- epoll ---- */

static int epoll_made(int fd)
{
	if (fd < 0)
		return fd;
	if (table_peek(fd) || epset_get(fd))
		life_replaced(fd);
	if (atomic_load_explicit(&hut_enabled, memory_order_relaxed) && !life_in_vfork_child())
		epset_new(fd);
	return fd;
}

HUT_EXPORT int epoll_create(int size)
{
	return epoll_made(REAL(epoll_create)(size));
}

HUT_EXPORT int epoll_create1(int flags)
{
	return epoll_made(REAL(epoll_create1)(flags));
}

HUT_EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct epset *s = epset_get(epfd), *inner;

	stir(); /* what is asked for has changed: see wait_may_skip_kernel() */
	if (UNLIKELY(op == EPOLL_CTL_ADD && (inner = epset_get(fd)) != NULL))
		epset_nest(inner, s);
	if (LIKELY(!s || !table_peek(fd))) {
		if (s && op == EPOLL_CTL_ADD)
			epset_foreign(s);
		else if (UNLIKELY(!s && table_peek(fd)))
			conn_never(fd, HUT_R_OPTION); /* a set that came by exec, or in a message: the kernel alone tends it */
		return REAL(epoll_ctl)(epfd, op, fd, ev);
	}
	return epset_ctl(s, epfd, op, fd, ev);
}

HUT_EXPORT int epoll_pwait(int epfd, struct epoll_event *ev, int max, int timeout, const sigset_t *mask)
{
	struct epset *s = epset_get(epfd);
	struct timespec ts;

	if (!s || max <= 0 || !ev)
		return REAL(epoll_pwait)(epfd, ev, max, timeout, mask);
	return epset_wait(s, epfd, ev, max, from_ms(timeout, &ts), mask);
}

HUT_EXPORT int epoll_wait(int epfd, struct epoll_event *ev, int max, int timeout)
{
	/* A filter of system calls may know this one alone. */
	if (UNLIKELY(!atomic_load_explicit(&hut_enabled, memory_order_relaxed)))
		return REAL(epoll_wait)(epfd, ev, max, timeout);
	return epoll_pwait(epfd, ev, max, timeout, NULL);
}

HUT_EXPORT int epoll_pwait2(int epfd, struct epoll_event *ev, int max, const struct timespec *timeout,
			    const sigset_t *mask)
{
	struct epset *s = epset_get(epfd);

	if (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)) {
		errno = EINVAL;
		return -1;
	}
	if (s && max > 0 && ev)
		return epset_wait(s, epfd, ev, max, timeout, mask);
	return REAL(epoll_pwait2) ? REAL(epoll_pwait2)(epfd, ev, max, timeout, mask) : (errno = ENOSYS, -1);
}
