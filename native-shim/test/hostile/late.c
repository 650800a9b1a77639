/* SPDX-License-Identifier: Apache-2.0 */
/*
 * late.c - with the real kernel, between hosts: an error of the socket that comes before the bytes which are still on
 * their way, and an agent that then says that they are lost.  The program hears of it once.  And an agent that cannot go on
 * with the line: what is on TCP stays there, and everything else is an error.
 */
#include "hostile.h"

#include "../../src/io.h"

static int victim_fd = -1, peer_fd = -1;

static void begin_with(uint32_t marks)
{
	struct hut_msg m = { .type = HUT_MSG_CHANNEL, .ring_size = SMALL, .over_size = OVER };

	victim_fd = live_pair(&peer_fd);
	victim = live_track(victim_fd, &m, live_segment(HUT_PAGE + 2 * (SMALL + OVER), true));
	conn_get(victim_fd);
	victim_end = victim->end;
	victim_end->nonblock = 0;
	conn_set_flags(victim_end, HUT_ENDF_REMOTE);
	STORE_REL(&victim->rx.dir->prod_mark, marks);
	conn_progress(victim, victim_fd);
	if (remote_end_open(victim) != (marks == HUT_MARK_WISH))
		violation("the victim arms: %d", remote_end_open(victim));
}

static void begin(void)
{
	begin_with(HUT_MARK_WISH);
}

/* The peer resets; its error is taken from the socket, as the shim does it when it looks. */
static void reset(int expect)
{
	struct linger hard = { 1, 0 };
	int err = 0;
	socklen_t len = sizeof(err);

	if (expect == EPIPE) /* behind a FIN */
		REAL(shutdown)(peer_fd, SHUT_WR);
	REAL(setsockopt)(peer_fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	sys_close(peer_fd);
	peer_fd = -1;
	if (REAL(getsockopt)(victim_fd, SOL_SOCKET, SO_ERROR, &err, &len) || err != expect)
		violation("the peer does not reset: %d", err);
	remote_late_error(victim, err);
}

static void end(void)
{
	close(victim_fd);
	if (peer_fd >= 0)
		sys_close(peer_fd);
	conn_put(victim);
}

/* The agent gives up what is missing. */
static void cut(void)
{
	__atomic_fetch_or(&victim->rx.dir->prod_mark, HUT_MARK_END | HUT_MARK_CUT, __ATOMIC_ACQ_REL);
}

static void told_once(const char *what)
{
	char byte;

	if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != ECONNRESET)
		violation("%s: no error, but %d", what, errno);
	if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) != 0)
		violation("%s: after it no end, but error %d", what, errno);
	if (send(victim_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno != EPIPE)
		violation("%s: a writer is told %d", what, errno);
}

/* TCP's reset has been seen by a read that has waited for the bytes. */
static void waits(void)
{
	begin();
	reset(ECONNRESET);
	cut();
	told_once("a reset that waits");
	end();
}

/* A writer has taken it, but had sent something: it is for whoever calls next. */
static void put_back(void)
{
	struct pollfd p = { .events = POLLIN };

	begin();
	p.fd = victim_fd;
	reset(ECONNRESET);
	if (remote_tell_late(victim) != ECONNRESET)
		violation("a writer is not told");
	io_put_back(victim, ECONNRESET);
	cut();
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLERR))
		violation("an error that was put back is not shown: %d", p.revents);
	told_once("a reset that was put back");
	end();
}

/* A writer has been told, and the agent says afterwards that something is missing. */
static void told(void)
{
	char byte = 0;

	begin();
	reset(ECONNRESET);
	if (send(victim_fd, &byte, 1, MSG_NOSIGNAL) >= 0 || errno != ECONNRESET)
		violation("a writer is told %d", errno);
	cut();
	if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) != 0)
		violation("a reset is told twice: %d", errno);
	end();
}

/* To a writer a reset behind the FIN is EPIPE, which says nothing of what is to be read. */
static void behind_the_fin(bool lost)
{
	char byte = 0;

	begin();
	reset(EPIPE);
	if (lost) {
		if (send(victim_fd, &byte, 1, MSG_NOSIGNAL) >= 0 || errno != EPIPE)
			violation("a writer is told %d", errno);
		cut();
		told_once("missing bytes behind EPIPE");
	} else {
		__atomic_fetch_or(&victim->rx.dir->prod_mark, HUT_MARK_END, __ATOMIC_ACQ_REL);
		for (int i = 0; i < 2; i++)
			if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) != 0)
				violation("no end behind EPIPE, but %d", errno);
		if (send(victim_fd, &byte, 1, MSG_NOSIGNAL) >= 0 || errno != EPIPE)
			violation("a writer is told %d", errno);
	}
	end();
}

/* Nobody has told of anything. */
static void cut_alone(void)
{
	begin();
	cut();
	told_once("missing bytes");
	end();
}

static void no_patience(void)
{
	victim->fin_ns -= 61000 * NS_PER_MS;
}

static void shows(short want, const char *what)
{
	struct pollfd p = { .fd = victim_fd, .events = POLLIN };

	poll(&p, 1, 0);
	if (p.revents != want)
		violation("%s: poll shows %d", what, p.revents);
}

/*
 * The FIN has come, and the agent brings bytes still: however long the reader stays away it finds them.  Only when nothing
 * is there, and nothing comes, nobody may be there to bring it.
 */
static void slow_reader(void)
{
	struct hut_dir *d;
	char bytes[64];

	begin();
	d = victim->rx.dir;
	STORE(&d->start, 0);
	STORE_REL(&d->tail, 40);
	STORE_REL(&d->prod_round, victim_end->rx_round);
	REAL(shutdown)(peer_fd, SHUT_WR);
	shows(POLLIN, "bytes before the end");
	no_patience();
	shows(POLLIN, "bytes for a minute");
	if (recv(victim_fd, bytes, 40, 0) != 40)
		violation("the bytes cannot be read");
	shows(0, "nothing for the moment");
	no_patience();
	STORE_REL(&d->tail, 60);
	shows(POLLIN, "more bytes after a minute");
	if (recv(victim_fd, bytes, sizeof(bytes), 0) != 20)
		violation("the other bytes cannot be read");
	shows(0, "nothing again");
	no_patience();
	shows(POLLIN | POLLERR | POLLHUP, "nothing for a minute");
	told_once("nothing for a minute");
	end();
}

/*
 * The peer's end is lost, for good: its agent has said so, or nobody has heard of it for long.  Its reader was on the ring,
 * its writer on TCP, where nothing will ever come: the writer must hear of it.
 */
static void writer_lost(bool fin, uint32_t marks)
{
	struct hut_dir *d;
	char byte = 0;
	int n = 0;

	begin();
	d = victim->tx.dir;
	STORE(&d->turn, HUT_TURN(1, HUT_TURN_OPEN, 0));
	STORE_REL(&d->cons_round, 1);
	while (send(victim_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 && LOAD(&victim_end->tx_path) != HUT_PATH_RING)
		if (++n > 1000)
			violation("the writer does not come to the ring");
	if (fin)
		REAL(shutdown)(peer_fd, SHUT_WR);
	__atomic_fetch_or(&victim->rx.dir->prod_mark, marks, __ATOMIC_ACQ_REL);
	__atomic_fetch_or(&d->cons_mark, HUT_MARK_GONE, __ATOMIC_ACQ_REL);
	for (n = 0; send(victim_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 || errno == EAGAIN;)
		if (++n > 100000)
			violation("a writer whose peer is lost is told nothing");
	if (errno != EPIPE && errno != ECONNRESET)
		violation("a writer whose peer is lost is told %d", errno);
	end();
}

/* ---- an agent that cannot go on with the line ---- */

static void one_by_tcp(const char *what, bool to_victim)
{
	char byte = 'x';
	ssize_t n = to_victim ? REAL(write)(peer_fd, &byte, 1) : send(victim_fd, &byte, 1, 0);

	byte = 0;
	if (n != 1 || (to_victim ? recv(victim_fd, &byte, 1, 0) : REAL(read)(peer_fd, &byte, 1)) != 1 || byte != 'x')
		violation("%s: a byte by TCP is lost (%d)", what, to_victim);
}

/* It is TCP's, in both directions and to its end. */
static void lost_on_tcp(const char *what)
{
	char byte;

	STORE(&victim_end->agent_stop, HUT_R_POISONED);
	if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN || table_peek(victim_fd))
		violation("%s: not left to TCP, error %d", what, errno);
	one_by_tcp(what, true);
	one_by_tcp(what, false);
	REAL(shutdown)(peer_fd, SHUT_WR);
	if (recv(victim_fd, &byte, 1, 0) != 0)
		violation("%s: no end, but error %d", what, errno);
	close(victim_fd);
	if (REAL(read)(peer_fd, &byte, 1) != 0)
		violation("%s: no end for the peer, but error %d", what, errno);
	sys_close(peer_fd);
	conn_put(victim);
}

static void lost_on_the_way(const char *what)
{
	STORE(&victim_end->agent_stop, HUT_R_POISONED);
	told_once(what);
	end();
}

/* The agent lets the victim write to the ring, and it does. */
static void write_to_ring(void)
{
	struct hut_dir *d = victim->tx.dir;
	char byte = 0;
	int n = 0;

	STORE(&d->turn, HUT_TURN(1, HUT_TURN_OPEN, 0));
	STORE_REL(&d->cons_round, 1);
	while (send(victim_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1 && LOAD(&victim_end->tx_path) != HUT_PATH_RING)
		if (++n > 1000)
			violation("the writer does not come to the ring");
	STORE(&d->turn, HUT_TURN(1, HUT_TURN_OPEN, 1));
}

/* All of a round's bytes but the last have come to the far program. */
static void stop_writer(void)
{
	struct hut_dir *d = victim->tx.dir;
	char byte;

	STORE_REL(&d->turn, HUT_TURN(1, HUT_TURN_STOPPED, victim_end->tx_tail - 1));
	STORE(&victim_end->agent_stop, HUT_R_POISONED); /* it finds both at the same time */
	for (uint64_t n = victim_end->tcp_out; n; n--)
		if (REAL(read)(peer_fd, &byte, 1) != 1)
			violation("what came by TCP before is lost");
}

static void writer_off_ring(void)
{
	struct hut_dir *d = victim->tx.dir;
	char byte = 1;

	begin_with(0);
	write_to_ring();
	stop_writer();
	STORE(&victim_end->agent_stop, 0);
	conn_progress(victim, victim_fd);
	if (LOAD(&d->prod_done) != 1 || REAL(read)(peer_fd, &byte, 1) != 1 || byte)
		violation("what is owed does not come by TCP");
	lost_on_tcp("a writer that has gone back");

	begin_with(0);
	write_to_ring();
	d = victim->tx.dir;
	STORE_REL(&d->turn, HUT_TURN(1, HUT_TURN_STOPPED, victim_end->tx_tail));
	conn_progress(victim, victim_fd);
	STORE(&d->turn, HUT_TURN(2, HUT_TURN_OPEN, 0));
	STORE_REL(&d->cons_round, 2);
	for (uint64_t n = victim_end->tcp_out; n; n--)
		(void)!REAL(read)(peer_fd, &byte, 1);
	lost_on_tcp("a writer that may go to the ring again");

	begin_with(0);
	write_to_ring();
	lost_on_the_way("a writer on the ring");

	begin_with(0);
	write_to_ring();
	stop_writer(); /* it does not know yet, and whether it could still pay is not asked */
	lost_on_the_way("a writer that has not gone back");

	for (int all = 0; all < 2; all++) {
		begin_with(0);
		write_to_ring();
		d = victim->tx.dir;
		if (shutdown(victim_fd, SHUT_WR) || HUT_TURN_STATE(LOAD(&d->turn)) != HUT_STATE(1, HUT_TURN_ENDED))
			violation("the writer does not end its round");
		STORE_REL(&d->head, victim_end->tx_tail - !all);
		STORE(&victim_end->agent_stop, HUT_R_POISONED);
		if (all) {
			if (recv(victim_fd, &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
				violation("a half-closed stream that was read: error %d", errno);
			one_by_tcp("a half-closed stream", true);
			end();
		} else {
			lost_on_the_way("a half-closed stream with a byte in the ring");
		}
	}
}

/* The far writer has not begun, or has gone back, or nobody can say so any more. */
static void reader_off_ring(void)
{
	struct hut_dir *d;
	char byte;

	begin_with(0);
	lost_on_tcp("nothing has ever left TCP");

	begin();
	lost_on_the_way("a reader that has armed");

	begin();
	d = victim->rx.dir;
	STORE(&d->turn, HUT_TURN(1, HUT_TURN_OWED, 0)); /* an agent has refused the round before its bytes were looked at */
	STORE(&d->prod_done, 1);
	STORE_REL(&d->prod_round, 1);
	lost_on_tcp("a round that was none");

	for (int done = 0; done < 2; done++) {
		for (int never = 0; never < 2; never++) {
			begin();
			if (never)
				conn_stop(victim, victim_fd, HUT_R_OFF);
			else
				conn_pause(victim, victim_fd, HUT_R_OFF);
			if (victim_end->flags & HUT_ENDF_ARMED)
				violation("the victim does not stop");
			STORE_REL(&victim->rx.dir->prod_done, done);
			if (done)
				lost_on_tcp("a reader that has stopped, as its writer knows");
			else
				lost_on_the_way("a reader that has stopped");
		}
	}
	begin();
	conn_pause(victim, victim_fd, HUT_R_OFF);
	STORE_REL(&victim->rx.dir->prod_done, 1);
	cut();
	lost_on_the_way("an agent that had said that bytes are missing");

	for (int ended = 0; ended < 3; ended++) {
		begin();
		d = victim->rx.dir;
		STORE_REL(&d->tail, 2);
		STORE_REL(&d->prod_round, 1);
		if (recv(victim_fd, &byte, 1, 0) != 1)
			violation("a byte of the ring does not come");
		if (ended)
			STORE(&d->turn, HUT_TURN(1, HUT_TURN_ENDED, 2)); /* by the agent; the other byte is to be read */
		if (ended < 2) {
			lost_on_the_way("a reader on the ring");
			continue;
		}
		STORE_REL(&d->prod_done, 1);
		STORE(&victim_end->agent_stop, HUT_R_POISONED);
		(void)!REAL(write)(peer_fd, "y", 1);
		if (recv(victim_fd, &byte, 1, MSG_PEEK) != 1 || byte != 0 || recv(victim_fd, &byte, 1, 0) != 1 || byte != 0 ||
		    recv(victim_fd, &byte, 1, 0) != 1 || byte != 'y')
			violation("what was left in the ring is not read");
		lost_on_tcp("a reader that has come to the end of its ring");
	}
}

void late_run(void)
{
	writer_lost(false, HUT_MARK_END | HUT_MARK_CUT);
	writer_lost(true, HUT_MARK_END | HUT_MARK_CUT);
	writer_lost(true, HUT_MARK_END | HUT_MARK_SHUT);
	slow_reader();
	waits();
	put_back();
	told();
	cut_alone();
	behind_the_fin(false);
	behind_the_fin(true);
	writer_off_ring();
	reader_off_ring();
}
