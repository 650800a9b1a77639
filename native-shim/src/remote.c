/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remote.c - what is different when the peer is on another host and an agent stands at the other end of the segment.
 *
 * TCP and the ring are no longer ordered with each other: the FIN overtakes what the light protocol still carries.  So
 * TCP's end is only a hint (rule 17): the stream's is where the agents say that it is, and what has come by then is in
 * the ring.  A writer does not end a round by itself but asks its agent, who agrees an offset with the other one and
 * stops it (D5); so no byte comes by TCP before this host knows that it comes that way.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/syscall.h>

#include "real.h"
#include "conn.h"

/* The agent's own limit is shorter; this is for one that is not there.  It counts while nothing comes, and nothing is left. */
#define END_PATIENCE_NS (60000 * NS_PER_MS)
#define LEAVE_PATIENCE_NS (10000 * NS_PER_MS)

/* May bytes still come by the ring, whatever TCP says?  The last round is not over, and nobody has named the end. */
bool remote_end_open(const struct conn *c)
{
	const struct hut_end *e = c->end;
	uint32_t round = LOAD(&e->rx_round);

	return conn_is_remote(c) && c->seg && round && LOAD_ACQ(&c->rx.dir->prod_done) != round &&
	       !(LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_END);
}

/* Nobody has said yet whether a FIN is a close or a half-close: that comes with END, also where all goes by TCP. */
bool remote_end_unknown(const struct conn *c)
{
	return conn_is_remote(c) && c->seg && !(LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_END);
}

/* The FIN has come: the agent is to find out where the stream ends. */
void remote_ask_end(struct conn *c)
{
	struct hut_dir *d = c->rx.dir;

	if (!c->fin_ns) /* the mark may be another process's, who has seen the FIN before */
		c->fin_ns = now_ns();
	if (LOAD(&d->cons_mark) & HUT_MARK_FIN)
		return;
	if (!(__atomic_fetch_or(&d->cons_mark, HUT_MARK_FIN, __ATOMIC_ACQ_REL) & HUT_MARK_FIN))
		conn_ring_peer(c);
}

/* TCP has nothing more for the reader.  From now on only the doorbell tells it anything. */
void remote_tcp_ended(struct conn *c)
{
	remote_ask_end(c);
	if (!(LOAD(&c->end->flags) & HUT_ENDF_EARLY)) {
		conn_set_flags(c->end, HUT_ENDF_EARLY);
		conn_asks_else(c); /* no edge: there is nothing to be told ... */
		if (remote_rest(c))
			atomic_fetch_add(&c->edges, 1); /* ... but for what is in the ring already and comes next */
	}
}

/*
 * A reset overtakes data as a FIN does: it is told when the agents have brought what was sent before it.  False: nothing
 * is on its way.
 */
bool remote_late_error(struct conn *c, int err)
{
	if (!remote_end_open(c))
		return false;
	c->late_err = err;
	remote_tcp_ended(c);
	return true;
}

/* That error, for whoever tells it; 0: there is none, or somebody else tells it. */
int remote_take_late(struct conn *c)
{
	return UNLIKELY(LOAD(&c->late_err)) ? __atomic_exchange_n(&c->late_err, 0, __ATOMIC_ACQ_REL) : 0;
}

/* Before the bytes that come first: their end is no second error, and for a writer it is over (the kernel answers). */
void remote_late_told(struct conn *c)
{
	STORE(&c->late_told, true);
	conn_set_flags(c->end, HUT_ENDF_PEERGONE);
}

/* The same as remote_take_late() for a call that does not wait for those bytes. */
int remote_tell_late(struct conn *c)
{
	int err = LOAD(&c->late_err);

	if (LIKELY(!err))
		return 0;
	if (err == EPIPE) /* behind the peer's FIN: it says nothing of what is to be read */
		conn_set_flags(c->end, HUT_ENDF_PEERGONE);
	else
		remote_late_told(c); /* first: between the two nobody shall tell the end as another error */
	return remote_take_late(c);
}

/*
 * Bytes are missing, or none can come any more: what is to be told of that?  0: nothing, it has been, by this process; of
 * another one that holds the end it is not known what it has told.
 */
int remote_cut_error(struct conn *c)
{
	bool alone = !c->inherited && LOAD(&c->end->holders) == 1;
	int late = remote_take_late(c), err = c->err ? c->err : late;

	if ((err && err != EPIPE) || LOAD(&c->late_told) || (alone && (LOAD(&c->end->flags) & HUT_ENDF_ERR)))
		return err;
	return ECONNRESET;
}

static void no_longer_early(struct conn *c, bool cut)
{
	int late = remote_take_late(c);

	if (!c->err)
		c->err = late;
	if (cut)
		c->err = remote_cut_error(c);
	if (cut || late)
		conn_set_flags(c->end, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	/* Release: whoever sees the flag gone sees the error too. */
	__atomic_fetch_and(&c->end->flags, ~(uint32_t)HUT_ENDF_EARLY, __ATOMIC_ACQ_REL);
	conn_changed(c);
}

/* Has the agent given up what is missing, and have we not said so yet? */
bool remote_is_cut(const struct conn *c)
{
	return c->seg && UNLIKELY(LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_CUT) &&
	       !(LOAD(&c->end->flags) & (HUT_ENDF_ERR | HUT_ENDF_POISONED));
}

/*
 * TCP told of an end together with bytes, and the end was hidden: when it is one after all it is an edge of its own.  And
 * when the agent has said which sort of end it is, close or half-close, the writer has to hear of that.
 */
static void hidden_end_is_known(struct conn *c, int fd)
{
	unsigned int told = atomic_load(&c->fin_told), none = 0;

	if (LIKELY(!c->fin_ns) || told == 2 || remote_end_open(c))
		return;
	if (!told && atomic_compare_exchange_strong(&c->fin_told, &none, 1))
		atomic_fetch_add(&c->edges, 1);
	if (!remote_end_unknown(c) && atomic_exchange(&c->fin_told, 2) != 2)
		conn_end_named(c, fd);
}

/* The writer has announced the round that we have armed last, and it is not over. */
static bool round_goes_on(const struct conn *c)
{
	uint32_t round = LOAD(&c->end->rx_round);

	return c->seg && round && LOAD_ACQ(&c->rx.dir->prod_round) == round && LOAD_ACQ(&c->rx.dir->prod_done) != round;
}

/* Is all that the ring holds of a stopped round, past what was read from it, older than the stream's next byte? */
static bool only_known(const struct conn *c, uint64_t *n)
{
	const struct hut_end *e = c->end;
	uint64_t head = LOAD(&e->rx_head), tail = LOAD_ACQ(&c->rx.dir->tail);

	*n = tail - head;
	return tail > head && tail <= LOAD(&e->tcp_in) + LOAD(&e->ring_in);
}

/*
 * rx_lock held.  What came by the ring before the writer was stopped, and by TCP after it, is given up: its room is wanted
 * for what follows, of which nobody could be told while there is none.
 */
static void give_up_known(struct conn *c)
{
	struct hut_end *e = c->end;
	uint64_t n;

	if (LOAD(&e->rx_path) == HUT_PATH_TCP && !(LOAD(&e->flags) & HUT_ENDF_ARMED) &&
	    round_goes_on(c) && only_known(c, &n) && ring_take(&c->rx, e, n))
		conn_ring_peer(c);
}

/* The same for one who waits, and reads only when there is something. */
static void make_room(struct conn *c)
{
	uint64_t n;

	if (LIKELY(!only_known(c, &n)) || !lock_rx(c->end))
		return;
	give_up_known(c);
	unlock_rx(c->end);
}

/*
 * rx_lock held.  Who asks only how many bytes there are must bring on what follows TCP's end, as who reads or polls does:
 * the agents carry it once they know that somebody has come there, and as far as there is room.
 */
void remote_asked_how_many(struct conn *c, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (LOAD(&c->end->rx_path) != HUT_PATH_TCP || !remote_end_open(c) || (LOAD(&c->end->flags) & HUT_ENDF_RDSHUT))
		return;
	if (!(LOAD(&c->end->flags) & HUT_ENDF_EARLY)) {
		if (poll_now(&p, 1) <= 0 || !(p.revents & (POLLRDHUP | POLLHUP)) || (p.revents & POLLERR) ||
		    conn_queued_by_tcp(c, fd) != 0)
			return;
		remote_tcp_ended(c);
	}
	give_up_known(c);
}

/* EARLY is set, perhaps by another process that has the connection too: has nothing come for too long? */
static bool end_overdue(struct conn *c)
{
	uint64_t now = now_ns(), tail = LOAD_ACQ(&c->rx.dir->tail);
	bool left = LOAD(&c->end->rx_path) == HUT_PATH_TCP ? remote_rest(c) : LOAD(&c->end->rx_head) != tail;
	uint64_t since = LOAD(&c->fin_ns);

	if (!since || tail != LOAD(&c->fin_tail) || left) {
		STORE(&c->fin_tail, tail);
		STORE(&c->fin_ns, now);
		return false;
	}
	return now > since && now - since >= END_PATIENCE_NS; /* another thread may have looked at the clock after us */
}

/* Is TCP's end to be ignored still?  Notices when the agent has spoken, or is silent for too long. */
bool remote_early(struct conn *c, int fd)
{
	uint32_t mark;

	if (LIKELY(!(LOAD(&c->end->flags) & HUT_ENDF_EARLY))) {
		hidden_end_is_known(c, fd);
		return false;
	}
	mark = LOAD_ACQ(&c->rx.dir->prod_mark);
	if (mark & HUT_MARK_CUT)
		no_longer_early(c, true);
	else if (!remote_end_open(c))
		no_longer_early(c, false);
	else if (end_overdue(c))
		no_longer_early(c, true);
	else {
		make_room(c);
		return true;
	}
	return false;
}

/* When a sleeper has to look again although nobody rings. */
uint64_t remote_due_ns(const struct conn *c)
{
	if (LIKELY(!(LOAD(&c->end->flags) & HUT_ENDF_EARLY)))
		return NS_FOREVER;
	uint64_t since = LOAD(&c->fin_ns);

	return (since ? since : now_ns()) + END_PATIENCE_NS;
}

/*
 * The program is going to hear of TCP's end, unless a round is open; then none may be armed any more, though another
 * thread may just have looked whether it may be.
 */
static bool end_stays_open(struct conn *c)
{
	bool open;

	if (LOAD(&c->end_told) || !lock_rx(c->end))
		return remote_end_open(c);
	open = remote_end_open(c);
	if (!open)
		STORE(&c->end_told, true);
	unlock_rx(c->end);
	return open;
}

/*
 * poll() looks without the socket's lock, and may come between the two steps by which the kernel takes a FIN in: that
 * has been counted as a byte, and nothing says yet that it was none (tcp_queue_rcv() and tcp_fin()).  SIOCINQ takes the
 * lock: after it poll() knows.
 */
static bool end_looks_like_bytes(struct conn *c, int fd, short got)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	if (!(got & READABLE) || LOAD(&c->end->rx_path) != HUT_PATH_TCP || !remote_end_open(c) ||
	    conn_queued_by_tcp(c, fd) != 0 || !raw_begin(c, fd))
		return false;
	bool ended = poll_now(&p, 1) > 0;

	raw_end(c);
	return ended;
}

/* The kernel's answer about the socket, without an end that may not be the stream's. */
short remote_hide_end(struct conn *c, int fd, short got)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (!(got & (POLLRDHUP | POLLHUP | POLLERR)) && LIKELY(!end_looks_like_bytes(c, fd, got)))
		return got;
	if (!end_stays_open(c)) {
		/* The agent may have named it since the ring was looked at: a read must find it, too. */
		if (LOAD(&c->end->rx_path) == HUT_PATH_RING && !(LOAD(&c->end->flags) & HUT_ENDF_FIN))
			conn_check_socket(c, fd);
		return got;
	}
	if (conn_peer_shut(c, fd))
		remote_ask_end(c);
	if ((got & POLLERR) && raw_begin(c, fd)) {
		if (REAL(getsockopt)(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err)
			c->late_err = err;
		raw_end(c);
	}
	got &= (short)~(POLLRDHUP | POLLHUP | POLLERR);
	if (LOAD(&c->end->rx_path) != HUT_PATH_TCP || (LOAD(&c->end->flags) & HUT_ENDF_RDSHUT) ||
	    conn_queued_by_tcp(c, fd) != 0)
		return got;
	remote_tcp_ended(c);
	return got & (short)~READABLE;
}

/*
 * rx_lock held.  TCP gives no more bytes: what the ring holds from here on comes next, since the writer's agent carries
 * on what a writer that went away has left in its own.
 */
enum remote_next remote_after_tcp(struct conn *c)
{
	struct hut_end *e = c->end;
	uint64_t at = e->tcp_in + e->ring_in, tail;
	bool open = remote_end_open(c); /* acquire, before the look at the ring: the end is named after the last bytes */

	if (!c->seg || !e->rx_round)
		return REMOTE_OVER;
	if (round_goes_on(c)) {
		if (e->flags & HUT_ENDF_ARMED)
			return REMOTE_MORE; /* conn_start_rx() has not been called yet */
		if (at >= LOAD(&c->rx.dir->start) && conn_rx_rest(c, at, &tail))
			return REMOTE_MORE;
		give_up_known(c);
	}
	/* Our own SHUT_RD is no FIN: nothing is to be asked for, or waited for. */
	if (open && !(e->flags & HUT_ENDF_RDSHUT)) {
		remote_tcp_ended(c);
		return REMOTE_WAIT;
	}
	if (remote_is_cut(c)) {
		c->err = remote_cut_error(c);
		conn_set_flags(e, HUT_ENDF_ERR | HUT_ENDF_FIN | HUT_ENDF_PEERGONE);
	}
	return REMOTE_OVER;
}

/* Without a lock: how many bytes would remote_after_tcp() find? */
uint64_t remote_rest(const struct conn *c)
{
	const struct hut_end *e = c->end;
	uint64_t at = LOAD(&e->tcp_in) + LOAD(&e->ring_in), tail;

	if (!round_goes_on(c) || (!(LOAD(&e->flags) & HUT_ENDF_ARMED) && at < LOAD(&c->rx.dir->start)))
		return 0;
	tail = LOAD_ACQ(&c->rx.dir->tail);
	return tail > at ? tail - at : 0; /* a round may have been announced just now, with nothing in it */
}

bool remote_has_time_out(int fd)
{
	unsigned int ms = 0;
	socklen_t len = sizeof(ms);

	return REAL(getsockopt)(fd, IPPROTO_TCP, USER_TIMEOUT, &ms, &len) == 0 && ms;
}

/*
 * Whether bulk goes by TCP is the agent's measure for the choice of the path: it hears of steps of so many bytes, but not
 * more often than it measures with.  Each bell costs it some 20 us, which a stream on a fast link would pay for.
 */
#define BULK_STEP_BITS 20
#define BULK_BELL_NS (20 * NS_PER_MS)

void remote_sent_by_tcp(struct conn *c, uint64_t was, uint64_t n)
{
	uint64_t now;

	if (LIKELY((was + n) >> BULK_STEP_BITS == was >> BULK_STEP_BITS))
		return;
	now = now_ns();
	if (now - LOAD(&c->bulk_ns) < BULK_BELL_NS)
		return;
	STORE(&c->bulk_ns, now);
	conn_ring_peer(c);
}

/* The writer asks to be stopped. */
void remote_ask_back(struct conn *c)
{
	if (!(__atomic_fetch_or(&c->tx.dir->prod_mark, HUT_MARK_BACK, __ATOMIC_ACQ_REL) & HUT_MARK_BACK))
		conn_ring_peer(c);
}

/* The writer has been stopped, as it asked or not. */
void remote_is_back(struct conn *c)
{
	__atomic_fetch_and(&c->tx.dir->prod_mark, ~(uint32_t)HUT_MARK_BACK, __ATOMIC_ACQ_REL);
}

/*
 * We have stopped as a reader and said LEFT: waits until the far writer's agent has agreed to that, since until then it
 * may have closed over bytes that only the ring can bring.  False: they are lost to a reader without the ring.
 */
bool remote_leave_agreed(struct conn *c)
{
	const struct hut_dir *d = c->rx.dir;
	uint64_t until = now_ns() + LEAVE_PATIENCE_NS;

	while (LOAD(&c->end->rx_round) && LOAD_ACQ(&d->prod_done) != LOAD(&c->end->rx_round)) {
		uint32_t mark = LOAD_ACQ(&d->prod_mark);

		if (mark & HUT_MARK_CUT)
			return false;
		if (mark & HUT_MARK_AGREED)
			return true;
		if (mark & HUT_MARK_END)
			return LOAD_ACQ(&d->prod_round) != LOAD(&c->end->rx_round) ||
			       LOAD_ACQ(&d->tail) <= LOAD(&c->end->tcp_in) + LOAD(&c->end->ring_in);
		if (now_ns() >= until)
			return false;
		REAL(ppoll)(NULL, 0, &(struct timespec){ 0, (long)NS_PER_MS / 2 }, NULL);
	}
	return true;
}

/* Has either agent something to tell us still, of our stop or of the other's? */
static bool unsettled(const struct conn *c)
{
	const struct hut_end *e = c->end;
	uint32_t round = LOAD(&e->rx_round);

	if (conn_state(c) != HUT_END_CHANNEL || (LOAD_ACQ(&c->rx.dir->prod_mark) & (HUT_MARK_CUT | HUT_MARK_END)))
		return false;
	return (round && LOAD_ACQ(&c->rx.dir->prod_done) != round) ||
	       (LOAD(&e->tx_path) == HUT_PATH_RING && !(LOAD(&e->flags) & (HUT_ENDF_WRSHUT | HUT_ENDF_ERR)));
}

/*
 * Before a wait of which we see nothing, after the stop: the agents still ring the doorbell, which the set holds, and the
 * kernel would take that for an event.  Waits until both rounds are over for them, and the doorbell can go; no longer than
 * until there is something that ends the wait anyway, or nobody is left who rings.  False: a signal's handler has run,
 * which the program may wait for.
 */
bool remote_settle(struct conn *c, int fd, uint64_t until)
{
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLRDHUP };
	bool quiet = true;

	while (quiet && unsettled(c) && now_ns() < until && !control_is_lost() && !poll_now(&p, 1)) {
		/* By the system call: this is no place to be cancelled at. */
		quiet = syscall(SYS_ppoll, NULL, 0, &(struct timespec){ 0, (long)NS_PER_MS / 2 }, NULL, 8) == 0;
		conn_progress(c, fd);
	}
	conn_progress(c, fd);
	return quiet;
}

/*
 * Is the last round that we have armed over for its writer, so that TCP has all behind its agreed offset?  One
 * that is not may have begun without our agent's having heard of it.
 */
static bool writer_is_back(const struct conn *c)
{
	const struct hut_end *e = c->end;

	return LOAD_ACQ(&c->rx.dir->prod_done) == e->rx_round && !(LOAD_ACQ(&c->rx.dir->prod_mark) & HUT_MARK_CUT) &&
	       (!(e->flags & HUT_ENDF_ARMED) || conn_turn_is(&c->rx, e->rx_round, HUT_TURN_OWED) ||
		conn_turn_is(&c->rx, e->rx_round, HUT_TURN_ENDED));
}

/* tx_lock held.  The same of ours; what a round of a writer that has shut its side left is nowhere else. */
static bool reader_has_all(const struct conn *c)
{
	const struct hut_end *e = c->end;

	return e->tx_path == HUT_PATH_TCP && LOAD_ACQ(&c->tx.dir->prod_done) == e->tx_round &&
	       (!conn_turn_is(&c->tx, e->tx_round, HUT_TURN_ENDED) || LOAD_ACQ(&c->tx.dir->head) == e->tx_tail);
}

/*
 * With nobody at the other end of the segment any more: does nothing have to cross it?  What is in our
 * reader's ring already is read from there, and then all goes by TCP.
 */
bool remote_needs_no_ring(struct conn *c, int fd)
{
	struct hut_end *e = c->end;
	bool none = false;

	conn_flush_debt(c, fd); /* agreed on: it takes no agent */
	if (!lock_rx(e))
		return false;
	if (lock_tx(e)) { /* both: nobody starts or arms now who has looked at NEVER before */
		/* The kernel would tell an end without the late error. */
		none = writer_is_back(c) && reader_has_all(c) && !LOAD(&c->late_err);
		if (none) {
			bool read = e->rx_path == HUT_PATH_TCP &&
				    (!(e->flags & HUT_ENDF_ARMED) || conn_turn_is(&c->rx, e->rx_round, HUT_TURN_OWED));
			uint32_t unsettled = read ? HUT_ENDF_ARMED | HUT_ENDF_STOPPED | HUT_ENDF_EARLY : 0;
			bool news = !(e->flags & HUT_ENDF_NEVER) || (e->flags & unsettled);

			if (!(e->flags & HUT_ENDF_NEVER))
				conn_mark_never(c, HUT_R_AGENT_DOWN);
			__atomic_fetch_and(&e->flags, ~unsettled, __ATOMIC_ACQ_REL);
			if (news)
				conn_changed(c); /* who sleeps may ask about too little */
		}
		unlock_tx(e);
	}
	unlock_rx(e);
	return none;
}
