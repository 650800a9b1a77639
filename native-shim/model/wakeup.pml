/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wakeup.pml - who sleeps is woken (rule 13): a reader for bytes, a writer for room, as native-shim/src has it.
 *
 * Memory is x86-TSO: each thread's plain stores wait in a buffer of its own, first in first out, and its loads pass
 * them; a locked instruction and a full fence wait until the buffer is empty.  No thread loads what it has in its own
 * buffer.  Doorbells are eventfds: a ring counts up, a sleeper sleeps while the count is 0, a read takes all of it.
 * There are no time-outs, which in the code would hide a lost wake-up for a while (conn_stall_ns()).
 *
 * WRITERS threads of one process write N bytes through a ring of SMALL bytes and an overflow area of OVER bytes to
 * READERS threads of another; the second reader takes one byte and then computes for ever.  -DTAKE=k: so does the first
 * one after k bytes.  What breaks one thing each is in check.sh, and must be found out.
 */
#ifndef N
#define N 6
#endif
#ifndef WRITERS
#define WRITERS 1
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef TAKE
#define TAKE (N - READERS + 1)
#endif
#define SMALL 2
#define OVER 4
#define NONE 15

#ifdef NO_FENCE_WAIT
#define FENCE_WAIT true
#else
#define FENCE_WAIT (len(buf[me]) == 0)
#endif
#ifdef NO_FENCE_PUBLISH
#define FENCE_PUBLISH true
#else
#define FENCE_PUBLISH (len(buf[me]) == 0)
#endif
#ifdef NO_FENCE_TAKE
#define FENCE_TAKE true
#else
#define FENCE_TAKE (len(buf[me]) == 0)
#endif

/* struct hut_dir */
byte tail, head, split = NONE;
bool cons_wait, prod_wait;
/* the doorbells of the two processes */
bool cons_bell, prod_bell;
/* private to a process, under its lock */
bool rx_lock, tx_lock;
byte rx_head, tx_tail, tx_head, tx_split = NONE;
byte rx_waiters, tx_waiters;
byte taken, asleep_tx;

mtype = { w_tail, w_split, w_prod_wait, w_tx_unlock, w_head, w_cons_wait, w_rx_unlock };
chan buf[WRITERS + READERS] = [4] of { mtype, byte };

inline drain(b)
{
	if
	:: b ? w_tail(v) -> tail = v
	:: b ? w_split(v) -> split = v
	:: b ? w_prod_wait(v) -> prod_wait = true
	:: b ? w_tx_unlock(v) -> tx_lock = false
	:: b ? w_head(v) -> head = v
	:: b ? w_cons_wait(v) -> cons_wait = true
	:: b ? w_rx_unlock(v) -> rx_lock = false
	fi;
	v = 0
}

/* A store buffer drains at any time. */
proctype memory(byte who)
{
	byte v;
end:
	do
	:: d_step { len(buf[who]) > 0 -> drain(buf[who]) }
	od
}

/* ---- writers ---- */

/* ready.c:conn_tx_room() and ring.c:ring_space(); `slow` is a question of time */
inline tx_room(slow, room)
{
	d_step {
		assert(head >= tx_head && head <= tx_tail);
		tx_head = head
	};
	if
	:: tx_split == NONE && tx_tail - tx_head < SMALL -> room = SMALL - (tx_tail - tx_head)
	:: tx_split == NONE && tx_tail - tx_head == SMALL ->
		if
		:: slow -> d_step { tx_split = tx_tail; room = OVER }; buf[me] ! w_split(tx_tail)
		:: !slow -> room = 0
		fi
	:: tx_split != NONE && tx_head == tx_tail -> d_step { tx_split = NONE; room = SMALL }; buf[me] ! w_split(NONE)
	:: tx_split != NONE && tx_head != tx_tail ->
		if
		:: slow -> room = OVER - (tx_tail - (tx_head > tx_split -> tx_head : tx_split))
		:: !slow -> room = 0
		fi
	fi
}

/* ready.c:reader_slow() */
inline time_passes(slow)
{
#if defined(SLOW)
	slow = true
#elif defined(FAST)
	slow = false
#else
	if
	:: slow = true
	:: slow = false
	fi
#endif
}

/* ready.c:ring_out_ready() */
inline out_ready(yes)
{
	atomic { !tx_lock && len(buf[me]) == 0 -> tx_lock = true };
	time_passes(slow);
	tx_room(slow, room);
	d_step { yes = (room >= SMALL / 2 || (room > 0 && slow)); room = 0; slow = false };
	buf[me] ! w_tx_unlock(0)
}

proctype writer(byte me; byte left)
{
	byte room, n;
	bool slow, yes, waits;

	do
	:: left == 0 -> break
	:: left > 0 ->
		/* io.c:ring_send() under tx_lock */
		atomic { !tx_lock && len(buf[me]) == 0 -> tx_lock = true };
		time_passes(slow);
		tx_room(slow, room);
		d_step { slow = false; n = (room < left -> room : left); room = 0 };
		if
		:: n > 0 ->
			if
			:: true
			:: n > 1 -> n = 1
			fi;
			/* ring_put(), ring_publish() */
			d_step { tx_tail = tx_tail + n; left = left - n; n = 0; buf[me] ! w_tail(tx_tail) };
			FENCE_PUBLISH;
			if
			:: cons_wait -> d_step { len(buf[me]) == 0 -> n = cons_wait; cons_wait = false };
				if
				:: d_step { n > 0 -> n = 0; cons_bell = true }
				:: n == 0
				fi
			:: !cons_wait
			fi;
			buf[me] ! w_tx_unlock(0);
			/* The call is over: io_send() goes on until it has put everything. */
			if
			:: waits && left == 0 -> atomic { len(buf[me]) == 0 -> tx_waiters--; waits = false }
			:: else
			fi
		:: n == 0 ->
			buf[me] ! w_tx_unlock(0);
			/* wait.c:wait_begin(), wait_conn() */
			atomic { len(buf[me]) == 0 -> tx_waiters = tx_waiters + !waits; waits = true };
			do
			:: out_ready(yes);
				if
				:: yes -> break
				:: !yes
				fi;
				/* sleep_once(), conn_arm_waits() */
				buf[me] ! w_prod_wait(1);
				FENCE_WAIT;
#ifndef NO_LOOK
				out_ready(yes);
				if
				:: yes -> break
				:: !yes
				fi;
#endif
				asleep_tx++;
endsleep:			d_step { prod_bell -> prod_bell = false; asleep_tx-- }; /* ppoll(), drain() */
#ifndef NO_RING_ON
				if
				:: tx_waiters > 1 -> buf[me] ! w_prod_wait(1);
					FENCE_WAIT;
					out_ready(yes);
					if
					:: yes -> prod_bell = true
					:: !yes
					fi
				:: tx_waiters <= 1
				fi
#endif
			od;
			yes = false
		fi
	od
}

/* ---- readers ---- */

/*
 * ready.c:ring_in_ready(), ring.c:ring_avail(): no lock, and the two loads are apart; only under the lock is it the peer
 * who is wrong when they do not fit.
 */
inline in_ready(yes)
{
	t = tail;
	if
	:: d_step { t >= rx_head -> yes = (t > rx_head); t = 0 }
	:: t < rx_head ->
#ifdef NO_LOCKED_LOOK
		assert(false);
#endif
		atomic { !rx_lock && len(buf[me]) == 0 -> rx_lock = true };
		d_step { assert(tail >= rx_head); yes = (tail > rx_head); t = 0 };
		buf[me] ! w_rx_unlock(0)
	fi
}

proctype reader(byte me; byte want)
{
	byte t, n;
	bool yes, wake, waits;

	do
	:: want == 0 -> break
	:: want > 0 ->
		/* io.c:ring_recv() under rx_lock */
		atomic { !rx_lock && len(buf[me]) == 0 -> rx_lock = true };
		d_step { assert(tail >= rx_head); n = tail - rx_head; n = (n < want -> n : want) };
		if
		:: n > 0 ->
			if
			:: true
			:: n > 1 -> n = 1
			fi;
			/* ring_take() */
			d_step { rx_head = rx_head + n; want = want - n; taken = taken + n; n = 0; buf[me] ! w_head(rx_head) };
			FENCE_TAKE;
			if
			:: prod_wait ->
				t = tail - rx_head;
#ifdef SMALL_ONLY
				n = SMALL;
#else
				n = (split == NONE -> SMALL : OVER);
#endif
				if
				:: t > n / 2 -> n = 0
				:: t <= n / 2 -> d_step { len(buf[me]) == 0 -> n = 0; wake = prod_wait; prod_wait = false }
				fi;
				t = 0
			:: !prod_wait
			fi;
			buf[me] ! w_rx_unlock(0);
			if
			:: d_step { wake -> wake = false; prod_bell = true }
			:: !wake
			fi;
			if /* the call is over */
			:: waits -> atomic { len(buf[me]) == 0 -> rx_waiters--; waits = false }
			:: !waits
			fi
		:: n == 0 ->
			buf[me] ! w_rx_unlock(0);
			/* wait.c:wait_begin(), wait_conn() */
			atomic { len(buf[me]) == 0 -> rx_waiters = rx_waiters + !waits; waits = true };
			do
			:: in_ready(yes);
				if
				:: yes -> break
				:: !yes
				fi;
				/* sleep_once(), conn_arm_waits() */
				buf[me] ! w_cons_wait(1);
				FENCE_WAIT;
#ifndef NO_LOOK
				in_ready(yes);
				if
				:: yes -> break
				:: !yes
				fi;
#endif
endsleep:			d_step { cons_bell -> cons_bell = false }; /* ppoll(), drain() */
#ifndef NO_RING_ON
				if
				:: rx_waiters > 1 -> buf[me] ! w_cons_wait(1);
					FENCE_WAIT;
					in_ready(yes);
					if
					:: yes -> cons_bell = true
					:: !yes
					fi
				:: rx_waiters <= 1
				fi
#endif
			od;
			yes = false
		fi
	od
}

/* When nobody can go on: all that is wanted has been taken, and no writer sleeps beside room that is worth it. */
proctype judge()
{
	timeout;
	assert(taken == TAKE + READERS - 1);
	assert(!asleep_tx || tail - head > (split == NONE -> SMALL : OVER) / 2)
}

init {
	atomic {
		run memory(0);
		run memory(1);
		run writer(0, N / WRITERS);
		run reader(WRITERS, TAKE);
#if WRITERS > 1
		run writer(1, N / WRITERS);
		run memory(2);
#elif READERS > 1
		run reader(WRITERS + 1, 1);
		run memory(2);
#endif
		run judge()
	}
}
