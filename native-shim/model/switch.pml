/* SPDX-License-Identifier: Apache-2.0 */
/*
 * switch.pml - one direction's way to the ring and back, in rounds (rules 4, 5, 7, 8 and 16), as native-shim/src has it.
 *
 * Memory is x86-TSO: each side's plain stores wait in a buffer of its own, first in first out, and other loads of the
 * same side pass them; a locked instruction (compare-and-set, fetch-or), a full fence and a system call that the other
 * side can hear of (TCP bytes, FIN) wait until the buffer is empty.  Loads of several words are steps of their own where
 * the code has them apart and the other side moves them.  The stream's byte at offset o has the value o.
 *
 * Wake-ups are taken for granted here, wakeup.pml looks at them; so every guard below waits for what a call would find,
 * and a state in which nobody can go on is an error.  Each side's calls are serialized by its lock (end.rx_lock,
 * end.tx_lock), so one process a side, which does the sections under the lock in any order, stands for all its threads.
 *
 * N bytes, RS bytes of ring, TS bytes of TCP, ROUNDS rounds.  -DKILL: the producer is killed at any step.  -DLEAVE: the
 * consumer goes where the ring cannot be read.  The other flags break one thing each and must be found out, see check.sh.
 */
#ifndef N
#define N 5
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef RS
#define RS 2
#endif
#ifndef TS
#define TS 2
#endif

#define NONE 15

/* HUT_TURN(), HUT_STATE() and offset of hutong_abi.h in eight bits. */
#define OPEN 0
#define STOPPED 1
#define ENDED 2
#define OWED 3
#define TURN(round, how, offset) ((round) << 6 | (how) << 4 | (offset))
#define IS(round, how) (turn >> 4 == ((round) << 2 | (how)))
#define OFFSET (turn & 15)

#ifdef NO_TAKE_UP
#define FRESH 1 /* the producer may end a round that the consumer has not seen */
#else
#define FRESH 0
#endif
#ifdef IGNORE_DONE
#define DONE true
#else
#define DONE (prod_done == rx_round)
#endif

mtype = { TCP, SWITCH, RING, DRAIN };                                       /* enum hut_path */
mtype = { w_start, w_tail, w_prod_round, w_prod_done, w_shut };             /* stores of the producer ... */
mtype = { w_turn, w_cons_round, w_head, w_left };                           /* ... and of the consumer */

/* struct hut_dir, as memory has it */
byte turn, cons_round, prod_round, prod_done, start, tail, head;
bool shut, left;
byte ring[RS];
chan prod_buf = [4] of { mtype, byte };
chan cons_buf = [3] of { mtype, byte };

chan tcp = [TS] of { byte };
bool fin, killed, idle, rst;
byte accepted; /* bytes that the program has handed over */

/* The store buffers drain at any time. */
active proctype memory()
{
	byte v;
end:
	do
	:: d_step { prod_buf ? w_start(v) -> start = v; tail = v; v = 0 } /* nobody looks at one without the other */
	:: d_step { prod_buf ? w_tail(v) -> tail = v; v = 0 }
	:: d_step { prod_buf ? w_prod_round(v) -> prod_round = v; v = 0 }
	:: d_step { prod_buf ? w_prod_done(v) -> prod_done = v; v = 0 }
	:: d_step { prod_buf ? w_shut(v) -> shut = true; v = 0 }
	:: d_step { cons_buf ? w_turn(v) -> turn = v; v = 0 }
	:: d_step { cons_buf ? w_cons_round(v) -> cons_round = v; v = 0 }
	:: d_step { cons_buf ? w_head(v) -> head = v; v = 0 }
	:: d_step { cons_buf ? w_left(v) -> left = true; v = 0 }
	od
}

/* ---- the producer ---- */

/* io.c:ring_space(): a head before S is of a reader that has not come to this round. */
#define SEEN_HEAD (head < tx_start -> tx_start : head)

/* stop_tx.c:owe(); the reader's offset must be one that can be, or the connection is poisoned */
inline owe(from)
{
	assert(from >= tx_head && from <= out);
	tx_head = from;
	path = DRAIN
}

/* stop_tx.c:conn_tx_stopped(): the loop around the compare-and-set is one step */
inline accept()
{
	if
	:: d_step { path == RING && IS(tx_round, STOPPED) ->
		turn = TURN(tx_round, OWED, OFFSET);
		h = (OFFSET < tx_start -> tx_start : OFFSET);
		owe(h);
		h = 0 }
	:: else
	fi
}

/* stop_tx.c:end_round() with one of its two expected values */
inline end_round(seen)
{
	if
	:: d_step { turn == TURN(tx_round, OPEN, seen) ->
		turn = TURN(tx_round, ENDED, out);
		prod_buf ! w_prod_done(tx_round);
		path = TCP }
	:: else
	fi
}

/* stop_tx.c:conn_stop_tx(); each compare-and-set waits for the stores before it */
inline stop_tx(closing)
{
	len(prod_buf) == 0;
	end_round(1);
	if
	:: path == RING && closing -> end_round(0)
	:: else
	fi;
	if
	:: d_step { path == RING && turn == TURN(tx_round, OPEN, 0) ->
		turn = TURN(tx_round, OWED, tx_start);
		owe(tx_start) }
	:: else
	fi;
	if
	:: path == RING -> end_round(1);
		if
		:: path == RING && closing -> end_round(0)
		:: else
		fi
	:: else
	fi;
	accept()
}

/* stop_tx.c:pay(): one byte at a time; a system call */
#define CAN_PAY (path == DRAIN && tx_head < out && len(tcp) < TS && len(prod_buf) == 0)
inline pay()
{
	d_step { tcp ! ring[tx_head % RS]; tx_head++ }
}

proctype producer()
{
	byte out, tx_round, tx_start, tx_head, h;
	mtype path = TCP;

	{
	do
	/* conn.c:progress_tx(), switch.c:conn_start_tx() */
	:: path == TCP && cons_round == tx_round + 1 ->
		if
		:: d_step { IS(tx_round + 1, STOPPED) -> tx_round++; prod_buf ! w_prod_done(tx_round) }
		:: IS(tx_round + 1, OPEN) -> /* start_tx() */
			prod_buf ! w_start(out);
			d_step { tx_round++; tx_start = out; tx_head = out; path = RING;
				prod_buf ! w_prod_round(tx_round) }
		:: else
		fi
	/* conn.c:progress_tx() */
	:: path == RING && IS(tx_round, STOPPED) && len(prod_buf) == 0 -> accept()
	:: CAN_PAY -> pay()
	:: d_step { path == DRAIN && tx_head == out -> prod_buf ! w_prod_done(tx_round); path = TCP }
	/* io.c:tcp_send() */
	:: d_step { path == TCP && out < N && len(tcp) < TS && len(prod_buf) == 0 -> tcp ! out; out++; accepted = out }
	/* io.c:ring_send(): space, put and publish, full fence, look at the turn */
	:: d_step { path == RING && out < N && out - SEEN_HEAD < RS -> h = SEEN_HEAD;
			assert(h >= tx_head && h <= out);
			tx_head = h; h = 0 };
		d_step { ring[out % RS] = out; out++; accepted = out; prod_buf ! w_tail(out) };
		len(prod_buf) == 0;
		accept()
	/* stop.c:conn_pause(), conn_end_tx() */
	:: path == RING -> stop_tx(false)
#ifdef IDLE
	/* computes for ever and makes no call */
	:: path != DRAIN -> idle = true; goto gone
#endif
	/* stop_tx.c:conn_before_fin() of close() or shutdown() */
	:: break
	od;
	if
	:: path == RING -> stop_tx(true)
	:: else
	fi;
#ifdef NO_FENCE_SHUT
	prod_buf ! w_shut(1);
#else
	len(prod_buf) == 0;
	shut = true;
#endif
	if
	:: path == DRAIN && left -> /* conn_settle_debt(), or shutdown() that is put off */
		do
		:: CAN_PAY -> pay()
		:: d_step { tx_head == out -> prod_buf ! w_prod_done(tx_round); path = TCP }; break
		od
	:: else
	fi;
	do
	:: CAN_PAY -> pay() /* another thread's */
	:: break
	od
	} unless { atomic { killed || rst -> h = 0 } }
	len(prod_buf) == 0;
	fin = true;
gone:	skip
}

/* ---- the consumer ---- */

/* stop_rx.c:conn_rx_leave() */
inline rx_leave()
{
	armed = false;
	path = TCP
}

/* io.c: takes the next byte from TCP */
inline take_tcp()
{
	tcp ? v;
	assert(v == pos);
	v = 0;
	pos++
}

/* switch.c:conn_start_rx() */
inline start_rx()
{
	len(cons_buf) == 0;
	if /* take_up() */
	:: d_step { turn == TURN(rx_round, OPEN, FRESH) -> turn = TURN(rx_round, OPEN, 1); k = 1 }
	:: d_step { IS(rx_round, ENDED) -> k = 1 }
	:: d_step { IS(rx_round, OWED) -> armed = false; stopped = true }
	:: else -> assert(false)
	fi;
	if
	:: d_step { k -> k = 0;
		assert(start >= pos);
		rx_start = start;
		cons_buf ! w_head(start);
		path = (start == pos -> RING : SWITCH) }
	:: else
	fi
}

/* stop_rx.c:conn_rx_ended() */
#define ENDS ((path == RING || path == SWITCH) && rx_end == NONE && IS(rx_round, ENDED))
inline rx_ended()
{
	d_step {
		rx_end = OFFSET;
		assert(rx_end >= (path == RING -> pos : rx_start) && rx_end <= tail);
		if
		:: path == RING && pos == rx_end -> rx_leave()
		:: else
		fi
	}
}

/* stop_rx.c:conn_stop_rx(): a look at turn, then a compare-and-set, which the producer alone can make fail */
inline stop_rx()
{
	len(cons_buf) == 0;
	if
	:: d_step { armed && rx_end == NONE && IS(rx_round, OPEN) ->
		turn = TURN(rx_round, STOPPED, (path == SWITCH -> rx_start : pos));
		stopped = true;
		armed = false;
		path = TCP }
	:: else
	fi
}

proctype consumer()
{
	byte pos, rx_round, rx_start, rx_end = NONE, t, v, k;
	bool armed, stopped, fin_seen, excused;
#ifdef CHECK
	byte look, note;
#endif
	mtype path = TCP;

	do
	/* switch.c:arm() */
	:: d_step { path == TCP && !armed && !fin_seen && rx_round < ROUNDS && DONE ->
			rx_round++; rx_end = NONE; stopped = false; armed = true;
			cons_buf ! w_turn(TURN(rx_round, OPEN, FRESH));
			cons_buf ! w_cons_round(rx_round) }
	/* conn.c:conn_progress_rx() */
	:: path == TCP && armed && prod_round == rx_round -> start_rx()
	:: ENDS -> rx_ended()
	/* stop.c:conn_stop(), conn_pause() */
	:: armed && rx_end == NONE && IS(rx_round, OPEN) -> stop_rx()
	/* io.c:ring_recv(): tail, copy, head and full fence */
	:: d_step { path == RING && tail > pos && pos < rx_end -> k = (tail < rx_end -> tail : rx_end) };
		if
		:: k = pos + 1
		:: k > pos + 1
		fi;
		d_step { do
			:: pos < k -> assert(ring[pos % RS] == pos); pos++
			:: else -> break
			od;
			k = 0;
			cons_buf ! w_head(pos);
			if
			:: pos == rx_end -> rx_leave()
			:: else
			fi };
		len(cons_buf) == 0
	/* io.c:ring_end(): nothing in the ring after the end of TCP was seen */
	:: path == RING && fin_seen && tail == pos && pos != rx_end -> break
	/* ready.c:conn_check_socket(): saw_fin() */
	:: path == RING && !fin_seen && len(tcp) == 0 && fin -> fin_seen = true
#ifdef CHECK
	/*
	 * The same in another thread, which finds TCP's bytes where none may be: notes the round, looks at the path,
	 * looks at the socket, and judges under the lock.
	 */
#ifndef NOTE_LATE
	:: d_step { look == 0 -> look = 1; note = rx_round }
	:: look == 1 && path == RING -> look = 2
#else
	:: look == 0 && path == RING -> look = 1
	:: d_step { look == 1 -> look = 2; note = rx_round }
#endif
	:: look == 2 && len(tcp) > 0 -> look = 3
	:: d_step { look == 3 ->
			assert(!(rx_round == note && path == RING && armed && rx_end == NONE && IS(rx_round, OPEN)));
			look = 4; note = 0 }
#else
	:: path == RING && len(tcp) > 0 && armed && rx_end == NONE && IS(rx_round, OPEN) -> assert(false)
#endif
	/* io.c:switch_recv() */
	:: d_step { path == SWITCH && len(tcp) > 0 ->
			do
			:: pos < rx_start && len(tcp) > 0 -> take_tcp()
			:: else -> break
			od;
			if
			:: pos == rx_start -> path = RING;
				if
				:: pos == rx_end -> rx_leave()
				:: else
				fi
			:: else
			fi }
	:: path == SWITCH && len(tcp) == 0 && fin -> assert(false)
	/* io.c:unclaimed_recv(), stop_rx.c:conn_rx_unclaimed() and conn_rx_claim() */
#ifndef NO_CLAIM
	:: d_step { path == TCP && stopped && IS(rx_round, STOPPED) && prod_round == rx_round && pos >= start &&
			tail > pos -> t = turn };
		k = tail;
		if
		:: k = pos + 1
		:: k > pos + 1
		fi;
		len(cons_buf) == 0;
		if
		:: d_step { turn == t -> turn = TURN(rx_round, STOPPED, k); rx_end = k; path = RING }
		:: else
		fi;
		d_step { t = 0; k = 0 }
#endif
	/* io.c:plain_recv(): one byte, or all that there is */
	:: d_step { path == TCP && len(tcp) > 0 -> take_tcp() }
	:: d_step { path == TCP && len(tcp) > 1 ->
			do
			:: len(tcp) > 0 -> take_tcp()
			:: else -> break
			od;
			v = 0 }
	/* stop_rx.c:conn_end_of_tcp() */
	:: path == TCP && len(tcp) == 0 && fin ->
		if
		:: !rx_round || prod_round != rx_round -> break
		:: rx_round && prod_round == rx_round && armed -> start_rx()
		:: rx_round && prod_round == rx_round && !armed ->
#ifndef NO_SALVAGE
			if
			:: stopped && prod_done != rx_round && tail != pos ->
				assert(pos >= start && tail > pos);
				d_step { rx_end = tail; path = RING }
			:: else -> break
			fi
#else
			break
#endif
		fi
#ifdef IDLE
	:: idle && pos == accepted && path != SWITCH -> break
#endif
#ifdef LEAVE
	:: goto leave
#endif
	od;
	goto done;
#ifdef LEAVE
leave:	/* stop.c:conn_leave() */
#ifdef NO_FENCE_LEFT
	cons_buf ! w_left(1);
	if
	:: armed -> stop_rx()
	:: else
	fi;
#else
	len(cons_buf) == 0;
	left = true;
	stop_rx();
#endif
#ifndef NO_LOOK_AGAIN
	if /* conn_progress_rx() */
	:: path == TCP && armed && prod_round == rx_round -> start_rx()
	:: else
	fi;
	if
	:: ENDS -> rx_ended()
	:: else
	fi;
#endif
	/* another process, which has none of this, reads */
	excused = !fin;
	if
#ifdef LEFT_IN_RING_ONLY
	:: path == RING && tail > pos && rx_end > pos -> goto reset
#else
	:: path != TCP && tail > (path == RING -> pos : rx_start) && rx_end > (path == RING -> pos : rx_start) -> goto reset
#endif
	:: path == TCP && stopped && prod_round == rx_round && (shut || fin) && prod_done != rx_round && tail > pos ->
		goto reset
	:: else
	fi;
	do
	:: d_step { len(tcp) > 0 -> take_tcp() }
	:: len(tcp) == 0 && fin -> break
	od;
	assert(pos == accepted || (killed && excused));
	goto reset;
#endif
done:	assert(pos == accepted);
reset:	rst = true
}

init {
	atomic {
		run producer();
		run consumer();
	}
#ifdef KILL
	killed = true
#endif
}
