/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bell.c - doorbells: eventfds whose open file a peer shares, rung and emptied without ever blocking.
 *
 * Whoever shares an open file may take its O_NONBLOCK away and fill or empty it between two of our calls, so that
 * neither read() nor write() can promise not to block (rule 13, decision 8).  The kernel rings instead: an asynchronous
 * poll of a descriptor that is always ready completes at once, and its completion signals the eventfd that the request
 * names; eventfd_signal() never waits.  Emptying uses RWF_NOWAIT, which eventfds have known since Linux 5.8.
 */
#include <linux/aio_abi.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "real.h"

#define BELL_QUEUE 32

/* One a process: contexts of asynchronous I/O do not go through fork. */
static _Atomic(aio_context_t) context;
static _Atomic pid_t context_pid; /* whose context it is; negative: there is none to be had */
static _Atomic int always_ready = -1; /* goes through fork, as descriptors do */

int bell_ready(void)
{
	int fd = atomic_load(&always_ready), none = -1;

	if (LIKELY(fd >= 0))
		return fd;
	fd = table_hide(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
	if (fd < 0 || atomic_compare_exchange_strong(&always_ready, &none, fd))
		return fd;
	table_unhide(fd); /* another thread was quicker */
	return none;
}

/* Two threads may come here at the same time: the second one's context is given back. */
static bool open_context(pid_t me)
{
	aio_context_t fresh = 0;

	if (bell_ready() < 0 || syscall(SYS_io_setup, BELL_QUEUE, &fresh))
		return false;
	if (atomic_load(&context_pid) != me) {
		atomic_store(&context, fresh);
		atomic_store(&context_pid, me);
		return true;
	}
	syscall(SYS_io_destroy, fresh);
	return true;
}

static bool usable(void)
{
	pid_t me = hut_pid, whose = atomic_load(&context_pid);

	if (LIKELY(whose == me))
		return true;
	if (whose == -me)
		return false;
	if (open_context(me))
		return true;
	atomic_store(&context_pid, -me);
	return false;
}

static bool submit(int fd)
{
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_POLL,
		.aio_fildes = (uint32_t)atomic_load(&always_ready),
		.aio_buf = POLLIN,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *list = &request;
	struct io_event done[BELL_QUEUE];

	for (int tries = 0; tries < 100; tries++) {
		if (syscall(SYS_io_submit, atomic_load(&context), 1, &list) == 1)
			return true;
		if (errno != EAGAIN)
			return false;
		/* Completions that nobody takes fill the queue. */
		syscall(SYS_io_getevents, atomic_load(&context), 0, BELL_QUEUE, done, NULL);
	}
	return false;
}

/* Where there is no asynchronous I/O (a seccomp filter, a used-up quota) the flag is at least looked at. */
static void ring_plainly(int fd)
{
	uint64_t one = 1;
	int flags = REAL(fcntl)(fd, F_GETFL);

	if (flags >= 0 && !(flags & O_NONBLOCK))
		REAL(fcntl)(fd, F_SETFL, flags | O_NONBLOCK);
	(void)!syscall(SYS_write, fd, &one, sizeof(one));
}

void bell_ring(int fd)
{
	int saved = errno;

	if (fd >= 0 && !(usable() && submit(fd)))
		ring_plainly(fd);
	errno = saved;
}

void bell_drain(int fd)
{
	uint64_t n;
	struct iovec iov = { &n, sizeof(n) };
	int saved = errno;

	if (fd >= 0)
		(void)!syscall(SYS_preadv2, fd, &iov, 1, -1L, -1L, RWF_NOWAIT);
	errno = saved;
}
