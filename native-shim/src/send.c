/* SPDX-License-Identifier: Apache-2.0 */
/* send.c - sending on a tracked connection, by TCP or ring, as one stream (rule 5). */
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"
#include "io.h"

#define FIRST_CHUNK 8192u
#define LONG_MESSAGE (2 * CHUNK + 1) /* more than a stream's usual blocks */
#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE | MSG_EOR | MSG_CONFIRM)

static ssize_t tcp_send(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct iovec iov[IOV_STACK];
	struct msghdr m = { .msg_iov = iov };
	char together[TOGETHER];
	struct iovec one;
	bool all;
	ssize_t n;

	io_parts(k, want, want, iov, &m, &all);
	if (want <= TOGETHER)
		io_put_together(c, &m, &one, together);
	if (!raw_begin(c, fd)) {
		errno = EAGAIN;
		return IO_AGAIN;
	}
	/* SIGPIPE is raised by the caller, when no lock is held: its handler may never come back. */
	n = io_raw_send(fd, &m, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
	raw_end(c);
	STORE(&c->more, flags & MSG_MORE);
	if (n > 0) {
		uint64_t was = __atomic_fetch_add(&c->end->tcp_out, (uint64_t)n, __ATOMIC_RELAXED);

		if (conn_is_remote(c) && c->seg) {
			atomic_store_explicit(&c->sender, hut_tid(), memory_order_relaxed);
			remote_sent_by_tcp(c, was, (uint64_t)n);
		}
	}
	return n;
}

/*
 * The kernel's own sendfile() while no channel stands: it spares a copy, and the switch waits for the call, which must
 * not block.  Its SIGPIPE comes when nothing is held any more.  False: it is not for here.
 */
bool io_send_file(struct conn *c, int fd, int in, off_t *offset, size_t count, ssize_t *n)
{
	sigset_t pipe, mask;

	if (!io_resolve(c, &fd) || !conn_progress(c, fd) || !io_early_begin(c))
		return false;
	if (!raw_begin(c, fd)) {
		io_early_end(c);
		return false;
	}
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, &mask);
	*n = REAL(sendfile)(fd, in, offset, count);
	int saved = errno;

	if (*n > 0)
		__atomic_fetch_add(&c->end->tcp_out, (uint64_t)*n, __ATOMIC_RELAXED);
	if (*n < 0 || (size_t)*n < count)
		atomic_fetch_add(&c->tx_short, 1);
	raw_end(c);
	io_early_end(c);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	errno = saved;
	return true;
}

/*
 * How much of a message is copied before the reader is shown it.  The reader of a long one shall begin early, and have
 * little left to do when we are done; in between, and for all others, showing costs more than it gains.
 */
static size_t piece(size_t done, size_t left)
{
	size_t n = CHUNK;

	if (done + left < LONG_MESSAGE)
		return n;
	if (done < n)
		n = done;
	if (left / 2 < n)
		n = left / 2;
	return n < FIRST_CHUNK ? FIRST_CHUNK : n;
}

/* tx_lock held */
static ssize_t ring_send(struct conn *c, const struct cursor *k, size_t want)
{
	struct hut_end *e = c->end;
	struct cursor r = *k;
	size_t done = 0, shown = 0, limit = piece(0, want);
	ssize_t room = conn_tx_room(c, want);

	if (room < 0)
		return IO_POISONED;
	while (done < want && room > 0) {
		size_t n = r.iov->iov_len - r.at;

		if (n > (size_t)room)
			n = (size_t)room;
		if (n > shown + limit - done)
			n = shown + limit - done;
		if (n > want - done)
			n = want - done;
		if (n) {
			ring_put(&c->tx, e, (const uint8_t *)r.iov->iov_base + r.at, n);
			done += n;
			room -= (ssize_t)n;
		}
		io_advance(&r, n);
		/* Small parts of one call are shown together. */
		if (done < want && room > 0 && done < shown + limit)
			continue;
		if (ring_publish(&c->tx, e))
			conn_ring_peer(c); /* never waits, see bell.c */
		if (UNLIKELY(conn_tx_turned(c)))
			break; /* after the fence in ring_publish(): see conn_rx_unclaimed() */
		shown = done;
		limit = piece(done, want - done);
		if (!room && done < want)
			room = conn_tx_room(c, want - done);
	}
	if (room < 0)
		return IO_POISONED;
	STORE(&e->ring_out, e->ring_out + done);
	ring_soon(&c->tx, e, done);
	STORE(&c->one_way, 0);
	if (done)
		return (ssize_t)done;
	errno = EAGAIN;
	return -1;
}

/* tx_lock held: what the kernel does not know, or does not know any more. */
static bool failed(struct conn *c)
{
	if (c->err && (c->end->flags & HUT_ENDF_ERR)) {
		errno = c->err;
		c->err = 0;
		return true;
	}
	int late = remote_tell_late(c);

	if (UNLIKELY(late)) { /* to a writer a reset is told at once, whatever is still to be read */
		errno = late;
		return true;
	}
	if (UNLIKELY(c->end->flags & (HUT_ENDF_WRSHUT | HUT_ENDF_RESET | HUT_ENDF_ERR)) && conn_state(c) == HUT_END_CHANNEL) {
		/* Shut by us; the kernel is told when it has the bytes that are still owed.  Or its error has been told. */
		errno = EPIPE;
		return true;
	}
	return false;
}

/* The process ends, by another thread, and our last round may be over. */
static bool too_late(const struct conn *c)
{
	pid_t leaver = atomic_load_explicit(&hut_leaver, memory_order_relaxed);

	return UNLIKELY(leaver) && conn_is_remote(c) && leaver != hut_tid();
}

static ssize_t send_locked(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;

	if (UNLIKELY(failed(c)))
		return -1;
	if (UNLIKELY(too_late(c))) {
		errno = EAGAIN;
		return -1;
	}
	if (conn_tx_unread(c))
		return tcp_send(c, fd, k, want, flags);
	switch (e->tx_path) {
	case HUT_PATH_RING:
		return ring_send(c, k, want);
	case HUT_PATH_DRAIN:
		errno = EAGAIN;
		return -1;
	default:
		return tcp_send(c, fd, k, want, flags);
	}
}

static ssize_t send_once(struct conn *c, int fd, const struct cursor *k, size_t want, int flags)
{
	struct hut_end *e = c->end;
	ssize_t n;
	int saved;

	if (conn_state(c) != HUT_END_CHANNEL && io_early_begin(c)) {
		n = tcp_send(c, fd, k, want, flags);
		saved = errno;
		io_early_end(c);
		errno = saved;
		return n;
	}
	if (UNLIKELY(too_late(c))) { /* here the thread can wait for its end; once it has the lock it is only turned away */
		REAL(ppoll)(NULL, 0, &(struct timespec){ 0, NS_PER_MS }, NULL);
		errno = EAGAIN;
		return -1;
	}
	/* A close is to be noticed at once, as by TCP: the first bytes after it go out, the next ones fail. */
	if (now_coarse_ns() - c->check_ns >= CHECK_NS ||
	    (UNLIKELY(LOAD(&c->tx.dir->cons_mark) & HUT_MARK_GONE) && !(LOAD(&e->flags) & HUT_ENDF_PEERGONE)))
		conn_check_socket(c, fd);
	if (!lock_tx(e)) {
		errno = EINTR;
		return -1;
	}
	n = send_locked(c, fd, k, want, flags);
	saved = errno;
	unlock_tx(e);
	if (UNLIKELY(LOAD(&e->tx_path) == HUT_PATH_RING && conn_tx_turned(c)))
		conn_tx_stopped(c, fd); /* the caller may make no other call for long */
	if (n == IO_POISONED) {
		conn_poison(c, fd);
		return IO_AGAIN;
	}
	errno = saved;
	return n;
}

/*
 * The connection has become plain TCP.  Where the call has slept its time-out goes on, and a signal that came meanwhile
 * counts; where bytes have been moved the kernel must not find an error that is the next call's to tell.  So then it never
 * sleeps in there, nor raises a signal.
 */
static ssize_t send_plainly(struct conn *c, int fd, const struct cursor *k, const struct msghdr *whole, size_t done,
			    size_t want, int flags, bool slept, uint64_t deadline, struct waiting *w)
{
	struct plain s = { c, w, io_plain_fd(c, fd, w) };
	struct iovec iov[IOV_STACK];
	struct cursor rest = *k;
	ssize_t n = -1;

	if (w->more)
		io_plain_own(&s, POLLOUT);
	if (!done && (!slept || (deadline == NS_FOREVER && !signals_interrupted())))
		return REAL(sendmsg)(s.fd, whole, flags);
	while (done < want) {
		struct msghdr m = { 0 };
		bool all;

		if (done && io_error_waits(c, s.fd, POLLOUT))
			break;
		io_parts(&rest, want - done, want - done, iov, &m, &all);
		n = REAL(sendmsg)(s.fd, &m, flags | MSG_DONTWAIT | (done ? MSG_NOSIGNAL : 0));
		if (n > 0) {
			done += (size_t)n;
			io_advance(&rest, (size_t)n);
		} else if (!io_wait_plainly(&s, POLLOUT, n, deadline, !done)) {
			break;
		}
	}
	return done ? (ssize_t)done : n;
}

/* As the kernel does it: raise() would say that somebody has sent it to this thread. */
void io_raise_sigpipe(void)
{
	siginfo_t info = { .si_signo = SIGPIPE, .si_code = SI_USER };
	pid_t me = (pid_t)syscall(SYS_getpid);

	info.si_pid = me;
	info.si_uid = getuid();
	if (syscall(SYS_rt_tgsigqueueinfo, me, syscall(SYS_gettid), SIGPIPE, &info))
		raise(SIGPIPE);
}

/* The end of a call that failed, or came short. */
static ssize_t broken(struct conn *c, int fd, struct waiting *w, size_t done, ssize_t n, int flags)
{
	if (done && n < 0)
		io_put_back(c, errno);
	else if (n < 0)
		io_told(c, io_plain_fd(c, fd, w), errno);
	n = io_finish(c, done, n);
	if (n >= 0 || errno != EPIPE || (flags & MSG_NOSIGNAL))
		return n;
	wait_end(w);
	w->c = NULL;
	io_raise_sigpipe();
	errno = EPIPE;
	return n;
}

/* Sends no bytes, but fails as others do. */
static ssize_t send_nothing(struct conn *c, int fd, const struct msghdr *m, int flags)
{
	struct waiting none = { 0 };
	bool bad = false;

	if (conn_progress(c, fd) && conn_state(c) == HUT_END_CHANNEL && lock_tx(c->end)) {
		bad = failed(c);
		int saved = errno;

		unlock_tx(c->end);
		errno = saved;
	}
	return bad ? broken(c, fd, &none, 0, -1, flags) : REAL(sendmsg)(fd, m, flags);
}

ssize_t io_send(struct conn *c, int fd, const struct msghdr *m, int flags, struct waiting *w)
{
	struct cursor k = { m->msg_iov, m->msg_iovlen, 0 };
	size_t want = io_total(m), done = 0;
	bool timed = false;
	bool blocks = io_blocks(c, flags); /* asked once, as the kernel does: later changes are for later calls */
	uint64_t deadline = blocks ? NS_FOREVER : 0;

	signals_clear();
	if ((flags & ~SEND_FLAGS) || want > SSIZE_MAX || m->msg_controllen) {
		conn_send_past(fd, HUT_R_OPTION);
		return REAL(sendmsg)(fd, m, flags);
	}
	if (!want)
		return send_nothing(c, fd, m, flags);
	if (want > IO_MOST)
		want = IO_MOST;
	if (io_bad_address(m)) {
		errno = EFAULT;
		return -1;
	}
	for (;;) {
		if (!io_resolve(c, &fd))
			return io_finish(c, done, -1);
		if (!conn_progress(c, fd))
			return send_plainly(c, fd, &k, m, done, want, flags, timed,
					    timed || !blocks ? deadline : io_deadline(conn_timeo(c, fd, true)), w);
		if (done && io_error_waits(c, fd, POLLOUT))
			return io_finish(c, done, -1);
		ssize_t n = send_once(c, fd, &k, want - done, flags);

		if (n == IO_AGAIN)
			continue;
		if (n > 0) {
			done += (size_t)n;
			io_advance(&k, (size_t)n);
			if (done == want)
				return io_finish(c, done, n);
			continue;
		}
		if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK))
			return broken(c, fd, w, done, n, flags);
		atomic_fetch_add(&c->tx_short, 1);
		if (!blocks)
			return io_finish(c, done, -1);
		if (!timed) {
			deadline = io_deadline(conn_timeo(c, fd, true));
			timed = true;
		}
		wait_begin(w, c, POLLOUT);
		int r = wait_conn(c, fd, POLLOUT, deadline, done > 0);

		if (r == 0)
			errno = EAGAIN;
		if (r <= 0)
			return io_finish(c, done, -1);
	}
}
