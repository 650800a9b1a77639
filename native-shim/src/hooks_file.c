/* SPDX-License-Identifier: Apache-2.0 */
/* hooks_file.c - interposed: files and sockets together, and calls that libc makes inside, past us. */
#include <aio.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "real.h"
#include "io.h"

#define FILE_CHUNK 65536
#define FILE_FEW 2048 /* the stack may be small */

/* Memory of its own for what is more than a few bytes. */
struct room {
	char few[FILE_FEW];
	char *buf;
	size_t size;
};

static _Atomic(char *) spare; /* of FILE_CHUNK bytes: to make and to unmap one costs more than to copy into it */

static void room_get(struct room *r, size_t want)
{
	r->buf = r->few;
	r->size = FILE_FEW;
	if (want <= FILE_FEW)
		return;
	void *m = atomic_exchange(&spare, NULL);

	if (!m)
		m = mmap(NULL, FILE_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (m == MAP_FAILED)
		return;
	r->buf = m;
	r->size = FILE_CHUNK;
}

static void room_end(struct room *r)
{
	int saved = errno;
	char *none = NULL;

	if (r->buf != r->few && !atomic_compare_exchange_strong(&spare, &none, r->buf))
		munmap(r->buf, r->size);
	errno = saved;
}

/* Reads and sends; *at goes on with what was sent.  Not to be cancelled: its parts could be, the kernel's call is not. */
static ssize_t send_from(struct conn *c, int out, int in, off_t *at, size_t count)
{
	struct room r __attribute__((cleanup(room_end)));
	struct waiting w WAITING = { .more = true };
	ssize_t total = 0;

	room_get(&r, count);
	wait_begin(&w, c, POLLOUT); /* also while it reads: a close() meanwhile leaves the connection to it */
	for (int flags = 0; count;) {
		ssize_t n = pread(in, r.buf, count < r.size ? count : r.size, *at);

		if (n <= 0)
			return total ? total : n;
		struct msghdr m = { .msg_iov = &(struct iovec){ r.buf, (size_t)n }, .msg_iovlen = 1 };

		ssize_t sent = io_send(c, out, &m, flags, &w);

		if (sent < 0) /* the kernel forgets this error too, if something was sent before */
			return total ? total : sent;
		*at += sent;
		total += sent;
		count -= (size_t)sent;
		if (sent < n)
			flags = MSG_DONTWAIT; /* why it came short: the kernel asks as well */
	}
	return total;
}

/*
 * What is seen and what is taken are the same bytes only if no other thread moves some between the two.  NULL: this very
 * thread does so, and a signal has interrupted it.  A child does not know its parent's threads.
 */
static struct conn *splice_begin(struct conn *c)
{
	uint64_t me = (uint64_t)hut_pid << 32 | (uint32_t)hut_tid(), is = 0;

	while (!atomic_compare_exchange_strong(&c->splicer, &is, me)) {
		if (is == me) {
			errno = EINTR;
			return NULL;
		}
		if (is >> 32 == (uint64_t)hut_pid) {
			is = 0;
			sched_yield();
		}
	}
	return c;
}

/* Also when the thread is cancelled. */
static void splice_end(struct conn **c)
{
	if (*c)
		atomic_store(&(*c)->splicer, 0);
}

/* Peeks first: what the pipe does not take stays where it is. */
static ssize_t splice_queued(struct conn *c, int in, int out, size_t len)
{
	char buf[FILE_FEW];
	struct iovec iov = { buf, len < sizeof(buf) ? len : sizeof(buf) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct conn *mine __attribute__((cleanup(splice_end))) = splice_begin(c);
	ssize_t n = mine ? io_recv(c, in, &m, MSG_DONTWAIT | MSG_PEEK) : -1, done;

	if (n <= 0)
		return n;
	done = REAL(write)(out, buf, (size_t)n);
	if (done > 0) {
		iov.iov_len = (size_t)done;
		io_recv(c, in, &m, MSG_DONTWAIT);
	}
	return done;
}

static ssize_t splice_piece(struct conn *c, int in, int out, size_t len, bool wait)
{
	struct msghdr m = { .msg_iov = &(struct iovec){ &(char){ 0 }, 1 }, .msg_iovlen = 1 };
	ssize_t n;

	do {
		n = wait ? io_recv(c, in, &m, MSG_PEEK) : 1;
		if (n > 0)
			n = splice_queued(c, in, out, len);
		else
			wait = false;
	} while (n < 0 && wait && errno == EAGAIN && io_blocks(c, 0)); /* another thread was quicker */
	return n;
}

/* A pipe with room takes so much that a piece never waits for the rest. */
static ssize_t splice_pieces(struct conn *c, int in, int out, size_t len, bool wait)
{
	struct pollfd p = { .fd = out, .events = POLLOUT };
	ssize_t total = 0;

	while ((size_t)total < len) {
		if (total && io_error_waits(c, in, POLLIN))
			break;
		int room = REAL(poll)(&p, 1, total || !wait ? 0 : -1);

		if (room > 0 && (p.revents & POLLERR)) { /* nobody reads from the pipe any more */
			if (total)
				break;
			io_raise_sigpipe();
			errno = EPIPE;
			return -1;
		}
		ssize_t n = room > 0 ? splice_piece(c, in, out, len - (size_t)total, !total) : -1;

		if (room == 0)
			errno = EAGAIN;
		else if (n < 0 && total)
			io_put_back(c, errno);
		if (n <= 0)
			return total ? total : n;
		total += n;
	}
	return total;
}

/*
 * From a connection on a channel: it goes back to TCP, where the kernel's own call is better, but what is in the ring until
 * then is there now, and its writer may be away.  False: the kernel says what becomes of it.
 */
static bool splice_from_ring(int in, int out, size_t len, unsigned int flags, ssize_t *n)
{
	struct conn *c PINNED = tracked(in);
	struct stat st;
	int mode = c ? REAL(fcntl)(out, F_GETFL) : -1;

	if (!c || conn_state(c) != HUT_END_CHANNEL || !conn_progress(c, in) || !len || len > SSIZE_MAX || mode < 0 ||
	    (mode & O_ACCMODE) == O_RDONLY || fstat(out, &st) || !S_ISFIFO(st.st_mode))
		return false;
	if (!(LOAD(&c->end->flags) & HUT_ENDF_NEVER))
		conn_stop(c, in, HUT_R_OPTION);
	*n = splice_pieces(c, in, out, len, !((flags & SPLICE_F_NONBLOCK) || (mode & O_NONBLOCK)));
	return true;
}

/* The kernel's own would go past us: read and send, with the same account of the file's offset. */
HUT_EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t count)
{
	struct conn *c PINNED = tracked(out);
	struct stat st;
	int saved = errno, state;
	ssize_t n;

	if (UNLIKELY(table_peek(in) != NULL) && !offset && splice_from_ring(in, out, count, 0, &n)) {
		if (n >= 0)
			errno = saved;
		return n; /* into a pipe this is a splice */
	}
	if (UNLIKELY(table_peek(in) != NULL))
		conn_never(in, HUT_R_OPTION);
	if (LIKELY(!c)) {
		stir();
		return REAL(sendfile)(out, in, offset, count);
	}
	int mode = REAL(fcntl)(in, F_GETFL), to = REAL(fcntl)(out, F_GETFL);

	if (count > SSIZE_MAX || mode < 0 || (to & O_APPEND) || (mode & (O_PATH | O_ACCMODE)) == (O_PATH | O_RDONLY) ||
	    fstat(in, &st) || !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))) {
		conn_send_past(out, HUT_R_OPTION); /* whatever the kernel makes of it */
		return REAL(sendfile)(out, in, offset, count);
	}
	if ((to & O_NONBLOCK) && io_send_file(c, out, in, offset, count, &n))
		return n;
	if (count > IO_MOST)
		count = IO_MOST;
	off_t at = offset ? *offset : lseek(in, 0, SEEK_CUR);

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	ssize_t total = send_from(c, out, in, &at, count);

	pthread_setcancelstate(state, NULL);
	if (offset)
		*offset = at;
	else if (total > 0)
		lseek(in, at, SEEK_SET);
	if (total >= 0)
		errno = saved; /* why it came short is not told */
	return total;
}

HUT_EXPORT ssize_t sendfile64(int out, int in, off_t *offset, size_t count) __attribute__((alias("sendfile")));

#define SPLICE_FLAGS (SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)

HUT_EXPORT ssize_t splice(int in, off64_t *inoff, int out, off64_t *outoff, size_t len, unsigned int flags)
{
	int saved = errno;
	ssize_t n;

	stir();
	if (UNLIKELY(table_peek(in) && !inoff && !outoff && !(flags & ~SPLICE_FLAGS)) &&
	    splice_from_ring(in, out, len, flags, &n)) {
		if (n >= 0)
			errno = saved;
		return n;
	}
	if (table_peek(in))
		conn_never(in, HUT_R_OPTION);
	if (table_peek(out))
		conn_send_past(out, HUT_R_OPTION);
	return REAL(splice)(in, inoff, out, outoff, len, flags);
}

/* ---- calls whose own system calls are made inside libc, past us ---- */

HUT_EXPORT int eventfd_write(int fd, eventfd_t value)
{
	return write(fd, &value, sizeof(value)) == (ssize_t)sizeof(value) ? 0 : -1;
}

HUT_EXPORT int vdprintf(int fd, const char *format, va_list ap)
{
	char *text = NULL;
	int len, done = 0;

	stir();
	if (!table_peek(fd))
		return REAL(vdprintf)(fd, format, ap);
	len = vasprintf(&text, format, ap);
	while (len > 0 && done < len) {
		ssize_t n = write(fd, text + done, (size_t)(len - done));

		if (n < 0) {
			len = -1;
			break;
		}
		done += (int)n;
	}
	int saved = errno;

	free(text);
	errno = saved;
	return len;
}

HUT_EXPORT int dprintf(int fd, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vdprintf(fd, format, ap);
	va_end(ap);
	return n;
}

HUT_EXPORT int __vdprintf_chk(int fd, int flag, const char *format, va_list ap)
{
	if (!table_peek(fd)) {
		stir();
		return REAL(__vdprintf_chk)(fd, flag, format, ap);
	}
	return vdprintf(fd, format, ap);
}

HUT_EXPORT int __dprintf_chk(int fd, int flag, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = __vdprintf_chk(fd, flag, format, ap);
	va_end(ap);
	return n;
}

/* ---- POSIX asynchronous I/O, which libc does with threads of its own ---- */

static void asynchronous(const struct aiocb *cb)
{
	if (!cb)
		return;
	stir();
	conn_never(cb->aio_fildes, HUT_R_OPTION);
}

HUT_EXPORT int aio_read(struct aiocb *cb)
{
	asynchronous(cb);
	return NEXT(aio_read)(cb);
}

HUT_EXPORT int aio_write(struct aiocb *cb)
{
	asynchronous(cb);
	return NEXT(aio_write)(cb);
}

HUT_EXPORT int lio_listio(int mode, struct aiocb *const list[], int n, struct sigevent *ev)
{
	for (int i = 0; list && i < n; i++)
		asynchronous(list[i]);
	return NEXT(lio_listio)(mode, list, n, ev);
}

/* The same on machines whose off_t has 64 bits, and all others are 32-bit ones. */
HUT_EXPORT int aio_read64(struct aiocb64 *cb) __attribute__((alias("aio_read")));
HUT_EXPORT int aio_write64(struct aiocb64 *cb) __attribute__((alias("aio_write")));
HUT_EXPORT int lio_listio64(int mode, struct aiocb64 *const list[], int n, struct sigevent *ev)
	__attribute__((alias("lio_listio")));
