/* SPDX-License-Identifier: Apache-2.0 */
/* Draft: rounds as docs/segment-abi.md has them.  -DLOOSE_RECV: recv() without a second look; -DLEAVE: the reader execs. */
#ifndef N
#define N 5
#endif
#ifndef ROUNDS
#define ROUNDS 3
#endif
#ifndef RS
#define RS 2
#endif
#ifndef TS
#define TS 2
#endif
#define NONE 255
mtype = { TCP, SWITCH, RING, DRAIN };
#define OPEN 0
#define STOPPED 1
#define ENDED 2
#define T(r, w) ((r) * 4 + (w))

byte turn, cons_round, prod_round, prod_done, start, tail, end_, stop, head;
bool left_mark;
byte ring[RS];
chan tcp = [TS] of { byte };
bool fin, rst, killed;
byte accepted;

#ifdef IGNORE_DONE
#define DONE true
#else
#define DONE (prod_done == rx_round)
#endif

proctype producer()
{
	byte out, tx_round, tx_start, tx_head, h, t;
	bool wrshut;
	mtype path = TCP;
	{
	do
	/* conn_progress -> conn_start_tx */
	:: path == TCP && cons_round == tx_round + 1 ->
		t = turn;
		if
		:: t == T(tx_round + 1, OPEN) ->
			tail = out;
			start = out;
			atomic { tx_round++; prod_round = tx_round; tx_start = out; tx_head = out; path = RING }
		:: t == T(tx_round + 1, STOPPED) ->
			atomic { tx_round++; prod_done = tx_round }
		:: else -> assert(false)
		fi
	/* conn_tx_stopped */
	:: path == RING && turn == T(tx_round, STOPPED) ->
		atomic {
		h = stop;
		if :: h < tx_start -> h = tx_start :: else fi;
		assert(h >= tx_head && h <= out);
		tx_head = h; path = DRAIN; h = 0 }
	/* conn_flush_debt */
	:: path == DRAIN && tx_head < out && nfull(tcp) -> tcp!ring[tx_head % RS]; tx_head++
	:: path == DRAIN && tx_head == out -> prod_done = tx_round; path = TCP
	/* write */
	:: path == TCP && out < N && nfull(tcp) -> atomic { tcp!out; out++; accepted = out }
	:: path == RING && out < N ->
		atomic { h = head;
		if :: h < tx_start -> h = tx_start :: else fi;
		assert(h <= out && h >= tx_head);
		tx_head = h; h = 0 }
		if
		:: out - tx_head < RS -> ring[out % RS] = out; atomic { out++; tail = out; accepted = out }
		:: else -> head > tx_head || turn != T(tx_round, OPEN)
		fi
	/* stop_tx */
	:: path == RING ->
		end_ = out;
		if
		:: atomic { turn == T(tx_round, OPEN) -> turn = T(tx_round, ENDED) }; prod_done = tx_round; path = TCP
		:: else
		fi
	/* close */
#ifndef LEAVE
	:: break
#else
	:: path == TCP -> break
	:: path == DRAIN && !left_mark -> break
	:: path == RING && turn == T(tx_round, OPEN) -> break
#endif
	od
	} unless { atomic { killed -> h = 0; t = 0 } }
	fin = true
}

proctype consumer()
{
	byte pos, rx_round, rx_start, rx_end = NONE, v, k;
	bool armed, stopped, left;
	mtype path = TCP;

	do
	:: atomic { path == TCP && !armed && rx_round < ROUNDS && DONE ->
		rx_round++ }
		turn = T(rx_round, OPEN);
		atomic { cons_round = rx_round; armed = true; stopped = false; rx_end = NONE }
	:: armed && turn == T(rx_round, OPEN) ->
do_stop:
		stop = (path == RING -> pos : 0);
		if
		:: atomic { turn == T(rx_round, OPEN) -> turn = T(rx_round, STOPPED) }; atomic { path = TCP; stopped = true; armed = false }
		:: else
		fi
#ifdef LEAVE
	:: left_mark = true;
		stop = (path == RING -> pos : 0);
		if
		:: armed ->
			if
			:: atomic { turn == T(rx_round, OPEN) -> turn = T(rx_round, STOPPED) }
			:: turn == T(rx_round, ENDED) ->
				if
				:: path == RING && pos == end_
				:: else -> rst = true; goto done
				fi
			fi
		:: else
		fi;
		/* the new image: plain TCP */
		do
		:: atomic { tcp?v -> assert(v == pos); pos++; v = 0 }
		:: empty(tcp) && fin -> goto done
		od
#endif
	:: atomic { path == TCP && armed && prod_round == rx_round -> skip }
do_start:
		atomic { rx_start = start;
		assert(rx_start >= pos) }
		head = rx_start;
		path = (rx_start == pos -> RING : SWITCH)
	/* recvmsg on TCP */
	:: path == TCP && !(armed && prod_round == rx_round) && !(!armed && rx_round < ROUNDS && DONE) ->
#ifndef LOOSE_RECV
		k = len(tcp);
		if
		:: armed && prod_round == rx_round -> goto again
		:: else
		fi;
#else
		k = TS;
#endif
		do
		:: k > 0 && nempty(tcp) -> atomic { tcp?v -> assert(v == pos); pos++; v = 0; k-- }
		:: k == 0 && nempty(tcp) -> break
		:: empty(tcp) && fin -> k = 0; goto eof
		:: armed && prod_round == rx_round -> break
		:: !armed && rx_round < ROUNDS && DONE -> break
		:: armed && turn == T(rx_round, OPEN) -> k = 0; goto do_stop
		od;
again:		k = 0
	:: path == SWITCH && turn == T(rx_round, ENDED) && rx_end == NONE -> rx_end = end_
	:: path == SWITCH ->
		if
		:: pos == rx_start -> path = RING
		:: pos < rx_start && nempty(tcp) -> atomic { tcp?v -> assert(v == pos); pos++; v = 0 }
		:: pos < rx_start && empty(tcp) && fin -> assert(false)
		:: turn == T(rx_round, OPEN) -> k = 0; goto do_stop
		fi
	:: path == RING && turn == T(rx_round, ENDED) && rx_end == NONE ->
		rx_end = end_;
		assert(rx_end >= pos)
	:: path == RING && pos == rx_end -> atomic { path = TCP; armed = false }
	:: path == RING && tail > pos && pos < rx_end ->
		assert(ring[pos % RS] == pos);
		atomic { pos++; head = pos }
	:: path == RING && tail == pos && nempty(tcp) && rx_end == NONE -> assert(turn == T(rx_round, ENDED))
	:: path == RING && tail == pos && pos != rx_end ->
		if
		:: empty(tcp) && fin ->
			if
			:: tail > pos
			:: else -> goto done
			fi
		:: turn == T(rx_round, ENDED)
		:: tail > pos
		:: turn == T(rx_round, OPEN) -> k = 0; goto do_stop
		fi
	od;
eof:
	if
	:: armed && prod_round == rx_round -> goto do_start
	:: stopped && prod_round == rx_round && prod_done != rx_round && pos < tail ->
#ifndef NO_SALVAGE
		assert(pos >= start);
		do
		:: pos < tail -> atomic { assert(ring[pos % RS] == pos); pos++ }
		:: else -> break
		od
#endif
		goto done
	:: else -> goto done
	fi;
done:
	assert(rst || pos == accepted)
}

proctype killer() { killed = true }

init { atomic { run producer(); run consumer(); 
#ifndef NODEATH
	run killer()
#endif
} }
