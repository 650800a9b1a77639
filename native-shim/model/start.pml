/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start.pml - a reader that waits for TCP while its peer goes to the ring: the peer rings whether it sees the reader's
 * flag or not, and the reader looks for the round again after it has set the flag.  Each alone is enough; memory is
 * x86-TSO, as in wakeup.pml.
 */
bool cons_round, prod_round, cons_wait, bell, tail, taken;
mtype = { w_cons_round, w_cons_wait, w_prod_round, w_tail };
chan prod_buf = [3] of { mtype };
chan cons_buf = [3] of { mtype };

active proctype memory()
{
end:
	do
	:: d_step { prod_buf ? w_prod_round -> prod_round = true }
	:: d_step { prod_buf ? w_tail -> tail = true }
	:: d_step { cons_buf ? w_cons_round -> cons_round = true }
	:: d_step { cons_buf ? w_cons_wait -> cons_wait = true }
	od
}

active proctype producer()
{
	bool was;

	cons_round;              /* conn.c:progress_tx() */
	prod_buf ! w_prod_round; /* switch.c:start_tx() */
#ifndef NO_RING_AT_START
	d_step { len(prod_buf) == 0 -> bell = true };
#endif
	prod_buf ! w_tail;       /* ring.c:ring_publish() */
	len(prod_buf) == 0;
	if
	:: cons_wait -> d_step { was = cons_wait; cons_wait = false };
		if
		:: was -> bell = true
		:: else
		fi
	:: else
	fi
}

active proctype consumer()
{
	bool on; /* rx_path is RING */

	cons_buf ! w_cons_round; /* switch.c:arm() */
	do
	:: on = (on || prod_round);       /* conn.c:conn_progress_rx() */
		if
		:: on && tail -> break    /* io.c:recv_once() */
		:: else
		fi;
		cons_buf ! w_cons_wait;   /* ready.c:conn_arm_waits() */
		len(cons_buf) == 0;
#ifndef NO_LOOK_AGAIN
		on = (on || prod_round);  /* ready.c:conn_ready(), conn.c:conn_rx_due() */
#endif
		if
		:: on && tail -> break
		:: else
		fi;
endsleep:	d_step { bell -> bell = false } /* wait.c:sleep_once(), drain(): no byte comes by TCP */
	od;
	taken = true
}

active proctype judge()
{
	timeout;
	assert(taken)
}
