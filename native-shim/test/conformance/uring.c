/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uring.c - cases about io_uring, whose calls no library can see.  Programs that hold such descriptors are declined;
 * and where they come later, the byte counts must keep the connection on TCP (rule 4a).
 *
 * Where the kernel refuses io_uring the same bytes go by other calls that cannot be intercepted.
 */
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "harness.h"

struct uring {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static bool uring_open(struct uring *u)
{
	struct io_uring_params p = { 0 };
	size_t len;
	char *ring;

	u->fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (u->fd < 0)
		return false;
	len = p.sq_off.array + p.sq_entries * sizeof(unsigned int);
	if (len < p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe))
		len = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
	if (!(p.features & IORING_FEAT_SINGLE_MMAP))
		return false;
	ring = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQ_RING);
	u->sqes = mmap(NULL, p.sq_entries * sizeof(*u->sqes), PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, IORING_OFF_SQES);
	if (ring == MAP_FAILED || u->sqes == MAP_FAILED)
		return false;
	u->sq_tail = (unsigned int *)(void *)(ring + p.sq_off.tail);
	u->sq_mask = (unsigned int *)(void *)(ring + p.sq_off.ring_mask);
	u->sq_array = (unsigned int *)(void *)(ring + p.sq_off.array);
	u->cq_head = (unsigned int *)(void *)(ring + p.cq_off.head);
	u->cq_tail = (unsigned int *)(void *)(ring + p.cq_off.tail);
	u->cq_mask = (unsigned int *)(void *)(ring + p.cq_off.ring_mask);
	u->cqes = (struct io_uring_cqe *)(void *)(ring + p.cq_off.cqes);
	return true;
}

/* One send or receive, submitted and waited for. */
static int uring_do(struct uring *u, int op, int fd, char *buf, unsigned int n)
{
	unsigned int tail = *u->sq_tail, i = tail & *u->sq_mask;
	int r;

	if (u->fd < 0)
		return (int)(op == IORING_OP_SEND ? syscall(SYS_sendto, fd, buf, n, MSG_NOSIGNAL, NULL, 0) :
						    syscall(SYS_recvfrom, fd, buf, n, 0, NULL, NULL));
	u->sqes[i] = (struct io_uring_sqe){ .opcode = (uint8_t)op, .fd = fd, .addr = (uintptr_t)buf, .len = n };
	u->sq_array[i] = i;
	__atomic_store_n(u->sq_tail, tail + 1, __ATOMIC_RELEASE);
	do
		r = (int)syscall(SYS_io_uring_enter, u->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return r;
	while (__atomic_load_n(u->cq_tail, __ATOMIC_ACQUIRE) == *u->cq_head)
		ms(1);
	r = u->cqes[*u->cq_head & *u->cq_mask].res;
	__atomic_store_n(u->cq_head, *u->cq_head + 1, __ATOMIC_RELEASE);
	return r;
}

static void echo(int fd)
{
	int right = 0;

	for (int i = 0; i < 60; i++) {
		char c;

		right += recv(fd, &c, 1, 0) == 1 && c == (char)i && send(fd, &c, 1, MSG_NOSIGNAL) == 1;
	}
	note(" right=%d", right);
	rd(fd, 1, 0);
}

/* The first `rounds` messages by io_uring, the others by libc. */
static void by_uring(int fd, int rounds)
{
	static unsigned int dummy;
	struct uring u = { .fd = -1, .sq_tail = &dummy, .sq_mask = &dummy };
	int right = 0;

	if (!uring_open(&u))
		u.fd = -1;
	for (int i = 0; i < 60; i++) {
		char c = (char)i;

		if (i < rounds)
			right += uring_do(&u, IORING_OP_SEND, fd, &c, 1) == 1 &&
				 uring_do(&u, IORING_OP_RECV, fd, &c, 1) == 1 && c == (char)i;
		else
			right += send(fd, &c, 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1 && c == (char)i;
		ms(1);
	}
	note(" right=%d", right);
	shutdown(fd, SHUT_WR);
	rd(fd, 1, 0);
}

static void a_uring_always(int fd)
{
	echo(fd);
}

static void b_uring_always(int fd)
{
	by_uring(fd, 60);
}

static void a_uring_first(int fd)
{
	echo(fd);
}

static void b_uring_first(int fd)
{
	by_uring(fd, 2);
}

static const struct test_case cases[] = {
	CASE(uring_always, "4,8", COLD),
	CASE(uring_first, "4,8", COLD),
};
GROUP(uring);
