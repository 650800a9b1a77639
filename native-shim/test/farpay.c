/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farpay.c - what an agent does for a program that was stopped and makes no call: it sends what the program owes, on the
 * program's own socket and under its own lock (rule 7); as hutong.intercept's Payer does.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "farline.h"

/* A send would take the error of a socket that was reset, which is for the program. */
static bool was_reset(int fd)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len) || ti.tcpi_state == TCP_CLOSE;
}

static int program_socket(const struct hut_end *e, uint64_t cookie)
{
	uint64_t found = 0;
	socklen_t len = sizeof(found);
	int process = (int)syscall(SYS_pidfd_open, LOAD(&e->owner_pid), 0);
	int fd = process < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, process, LOAD(&e->fd), 0);

	if (process >= 0)
		close(process);
	if (fd >= 0 && (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &found, &len) || found != cookie || was_reset(fd))) {
		close(fd); /* closed under that number; the real agent looks for it among the others */
		return -1;
	}
	return fd;
}

/* As if killed here, for tests. */
static void die_at(const struct far_debt *debt, int stage)
{
	if (debt->die == stage)
		_exit(0);
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
	e->ring_out = from - LOAD(&e->tcp_out);
	die_at(debt, FAR_DIE_ACCEPTING);
	STORE(&e->reason, HUT_R_PEER_STOP);
	STORE(&e->tx_path, HUT_PATH_DRAIN); /* release: the cursors before the path that they are for */
	return true;
}

static bool send_it(struct hut_end *e, int fd, const struct far_debt *debt)
{
	uint64_t head = e->tx_head;

	__atomic_fetch_or(&e->flags, HUT_ENDF_PAYER, __ATOMIC_ACQ_REL);
	while (e->tx_head < e->tx_tail) {
		size_t n = e->tx_tail - e->tx_head;
		const uint8_t *from = debt->place(debt->half, e->tx_head, &n);
		ssize_t sent = send(fd, from, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		die_at(debt, FAR_DIE_SENDING);
		if (sent <= 0)
			break;
		e->tx_head += (uint64_t)sent;
		die_at(debt, FAR_DIE_COUNTING);
		__atomic_fetch_add(&e->tcp_out, (uint64_t)sent, __ATOMIC_RELAXED);
	}
	__atomic_fetch_and(&e->flags, ~(uint32_t)HUT_ENDF_PAYER, __ATOMIC_ACQ_REL);
	if (e->tx_head == e->tx_tail)
		STORE(&debt->dir->prod_done, debt->round);
	return e->tx_head != head || e->tx_head == e->tx_tail;
}

bool far_pay(struct hut_end *e, uint64_t cookie, const struct far_debt *debt)
{
	uint32_t none = 0, mark = far_mark();
	bool moved = false;
	int fd;

	if (LOAD(&e->tx_round) != debt->round || LOAD(&e->tx_path) == HUT_PATH_TCP)
		return false;
	fd = program_socket(e, cookie);
	if (fd < 0)
		return false;
	if (__atomic_compare_exchange_n(&e->tx_lock, &none, mark, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		/* Only now: the slot might have become another connection's. */
		if (LOAD(&e->cookie) == cookie && LOAD(&e->state) == HUT_END_CHANNEL && owes(e, debt))
			moved = send_it(e, fd, debt);
		close(fd); /* before the lock goes: it would hold back the program's FIN */
		__atomic_compare_exchange_n(&e->tx_lock, &mark, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	} else {
		close(fd);
	}
	return moved;
}

/* Whoever holds a lock with that is this agent; the shims know it from their welcome. */
uint32_t far_mark(void)
{
	return HUT_LOCK_AGENT | (uint32_t)getpid();
}
