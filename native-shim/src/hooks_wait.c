/* SPDX-License-Identifier: Apache-2.0 */
/* hooks_wait.c - interposed: poll, select, epoll, and the signal dispositions that decide about restarts. */
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "real.h"

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
	return wait_poll(fds, n, from_ms(timeout, &ts), NULL);
}

HUT_EXPORT int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	if (LIKELY(!fds || !wait_poll_concerns(fds, n)))
		return REAL(ppoll)(fds, n, timeout, mask);
	return wait_poll(fds, n, timeout, mask);
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

static bool select_concerns(int n, fd_set *r, fd_set *w, fd_set *e)
{
	for (int fd = 0; fd < n; fd++) {
		struct conn *c = table_peek(fd);

		if (UNLIKELY(c != NULL) && c->end && (has(r, fd) || has(w, fd) || has(e, fd)))
			return true;
	}
	return false;
}

#define SELECT_IN (POLLIN | POLLRDNORM | POLLRDBAND | POLLHUP | POLLERR)
#define SELECT_OUT (POLLOUT | POLLWRNORM | POLLWRBAND | POLLERR)

static int select_answer(const struct pollfd *p, nfds_t k, fd_set *r, fd_set *w, fd_set *e)
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
	return count;
}

static int do_select(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout, const sigset_t *mask)
{
	struct pollfd few[FD_SETSIZE], *p = few;
	size_t size = (size_t)n * sizeof(*p);
	nfds_t k = 0;
	int rc;

	if (n > FD_SETSIZE) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED) {
			errno = ENOMEM;
			return -1;
		}
	}
	for (int fd = 0; fd < n; fd++) {
		short ev = (short)((has(r, fd) ? POLLIN | POLLRDNORM : 0) | (has(w, fd) ? POLLOUT | POLLWRNORM : 0) |
				   (has(e, fd) ? POLLPRI : 0));

		if (ev)
			p[k++] = (struct pollfd){ .fd = fd, .events = ev };
	}
	rc = wait_poll(p, k, timeout, mask);
	if (rc >= 0)
		rc = select_answer(p, k, r, w, e);
	if (p != few)
		munmap(p, size);
	return rc;
}

HUT_EXPORT int select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout)
{
	struct timespec ts;
	uint64_t start;
	int rc;

	if (LIKELY(!select_concerns(n, r, w, e)))
		return REAL(select)(n, r, w, e, timeout);
	if (!timeout)
		return do_select(n, r, w, e, NULL, NULL);
	ts = (struct timespec){ timeout->tv_sec, (long)timeout->tv_usec * 1000 };
	start = now_ns();
	rc = do_select(n, r, w, e, &ts, NULL);
	/* Linux writes back what is left. */
	uint64_t all = (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec, used = now_ns() - start;
	uint64_t left = used < all && rc != 0 ? all - used : 0;

	timeout->tv_sec = (time_t)(left / 1000000000ull);
	timeout->tv_usec = (suseconds_t)(left % 1000000000ull / 1000);
	return rc;
}

HUT_EXPORT int pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout, const sigset_t *mask)
{
	if (LIKELY(!select_concerns(n, r, w, e)))
		return REAL(pselect)(n, r, w, e, timeout, mask);
	return do_select(n, r, w, e, timeout, mask);
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
	struct epset *s = epset_get(epfd);

	if (LIKELY(!s || !table_peek(fd)))
		return REAL(epoll_ctl)(epfd, op, fd, ev);
	return epset_ctl(s, epfd, op, fd, ev);
}

HUT_EXPORT int epoll_pwait(int epfd, struct epoll_event *ev, int max, int timeout, const sigset_t *mask)
{
	struct epset *s = epset_get(epfd);
	struct timespec ts;

	if (LIKELY(!s || !epset_busy(s) || max <= 0 || !ev))
		return REAL(epoll_pwait)(epfd, ev, max, timeout, mask);
	return epset_wait(s, epfd, ev, max, from_ms(timeout, &ts), mask);
}

HUT_EXPORT int epoll_wait(int epfd, struct epoll_event *ev, int max, int timeout)
{
	return epoll_pwait(epfd, ev, max, timeout, NULL);
}

HUT_EXPORT int epoll_pwait2(int epfd, struct epoll_event *ev, int max, const struct timespec *timeout,
			    const sigset_t *mask)
{
	struct epset *s = epset_get(epfd);
	int ms = -1;

	if (s && epset_busy(s) && max > 0 && ev)
		return epset_wait(s, epfd, ev, max, timeout, mask);
	if (timeout) {
		if (timeout->tv_sec > 1000000)
			ms = 1000000000;
		else
			ms = (int)(timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000);
	}
	return REAL(epoll_pwait)(epfd, ev, max, ms, mask);
}

/* ---- signals (rule 14) ---- */

static _Atomic uint64_t interrupting[2]; /* handlers without SA_RESTART, a bit a signal */

HUT_EXPORT int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	int rc = REAL(sigaction)(sig, act, old);

	if (rc == 0 && act && sig > 0 && sig < 128) {
		bool handler = act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN;
		uint64_t bit = 1ull << (sig % 64);

		/* Faults come from the thread's own instructions, never in the middle of a wait. */
		bool fault = sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP ||
			     sig == SIGABRT || sig == SIGSYS;

		if (handler && !fault && !(act->sa_flags & SA_RESTART))
			atomic_fetch_or(&interrupting[sig / 64], bit);
		else
			atomic_fetch_and(&interrupting[sig / 64], ~bit);
	}
	return rc;
}

/*
 * poll tells of every signal, recv only of those without SA_RESTART.  With none of the latter installed a wait goes
 * on; otherwise it reports the interruption, which is what the program asked for with at least one of its handlers.
 */
bool wait_restarts(void)
{
	return !atomic_load(&interrupting[0]) && !atomic_load(&interrupting[1]);
}
