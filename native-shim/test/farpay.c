/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farpay.c - what an agent does for a program that was stopped and makes no call: it sends what the program owes, on the
 * program's own socket and under its own lock (rule 7); as hutong.intercept's Payer does.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "far.h"

#define LOAD(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

static int program_socket(const struct hut_end *e, uint64_t cookie)
{
	uint64_t found = 0;
	socklen_t len = sizeof(found);
	int process = (int)syscall(SYS_pidfd_open, LOAD(&e->owner_pid), 0);
	int fd = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, LOAD(&e->fd), 0);

	if (process >= 0)
		close(process);
	if (fd >= 0 && (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &found, &len) || found != cookie)) {
		close(fd); /* closed under that number; the real agent looks for it among the others */
		return -1;
	}
	return fd;
}

/* Accepts the stop if the program has not done so.  Is something owed in that round? */
static bool owes(struct hut_end *e, const struct far_debt *debt)
{
	uint64_t turn = LOAD(&debt->dir->turn), from;

	if (LOAD(&e->tx_round) != debt->round || (LOAD(&e->flags) & HUT_ENDF_PAYER))
		return false;
	if (LOAD(&e->tx_path) != HUT_PATH_RING)
		return LOAD(&e->tx_path) == HUT_PATH_DRAIN;
	if (HUT_TURN_STATE(turn) != HUT_STATE(debt->round, HUT_TURN_STOPPED))
		return false;
	from = e->tx_tail + (uint64_t)(int64_t)(int32_t)((uint32_t)turn - (uint32_t)e->tx_tail);
	STORE(&debt->dir->turn, HUT_TURN(debt->round, HUT_TURN_OWED, turn));
	__atomic_fetch_and(&debt->dir->prod_mark, ~(uint32_t)HUT_MARK_BACK, __ATOMIC_ACQ_REL);
	if (from < e->tx_start)
		from = e->tx_start;
	e->tx_head = from;
	e->ring_out -= e->tx_tail - from;
	STORE(&e->reason, HUT_R_PEER_STOP);
	STORE(&e->tx_path, HUT_PATH_DRAIN); /* release: the cursors before the path that they are for */
	return true;
}

static void send_it(struct hut_end *e, int fd, const struct far_debt *debt)
{
	__atomic_fetch_or(&e->flags, HUT_ENDF_PAYER, __ATOMIC_ACQ_REL);
	while (e->tx_head < e->tx_tail) {
		size_t n = e->tx_tail - e->tx_head;
		const uint8_t *from = debt->place(debt->half, e->tx_head, &n);
		ssize_t sent = send(fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (debt->die)
			_exit(0); /* as if killed: nobody has written down how much it was, and the lock is held */
		if (sent <= 0)
			break;
		e->tx_head += (uint64_t)sent;
		__atomic_fetch_add(&e->tcp_out, (uint64_t)sent, __ATOMIC_RELAXED);
	}
	__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_PAYER, __ATOMIC_ACQ_REL);
	if (e->tx_head == e->tx_tail)
		STORE(&debt->dir->prod_done, debt->round);
}

void far_pay(struct hut_end *e, uint64_t cookie, const struct far_debt *debt)
{
	uint32_t none = 0;
	int fd;

	if (LOAD(&e->cookie) != cookie || LOAD(&e->state) != HUT_END_CHANNEL ||
	    !__atomic_compare_exchange_n(&e->tx_lock, &none, HUT_LOCK_AGENT | 1, false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return;
	fd = program_socket(e, cookie);
	if (fd >= 0) {
		if (owes(e, debt))
			send_it(e, fd, debt);
		close(fd);
	}
	STORE(&e->tx_lock, 0);
}
