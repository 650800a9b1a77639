/* SPDX-License-Identifier: Apache-2.0 */
/* A reader still on TCP goes to sleep while its peer goes to the ring (sequentially consistent is enough). */
bool cons_round, prod_round, cons_wait, bell; byte tail, head;
active proctype producer() {
	cons_round;
	prod_round = true;              /* conn_start_tx */
#ifdef RING_AT_START
	bell = true;                    /* conn_ring_peer, whatever the flag says */
#endif
	tail = 1;                       /* ring_put, ring_publish */
	if :: atomic { cons_wait -> cons_wait = false }; bell = true :: else fi
}
active proctype consumer() {
	bool on;
	cons_round = true;              /* conn_arm */
	do
	:: /* conn_progress */
		if :: prod_round -> on = true :: else fi;
		/* conn_ready, recv */
		if :: on && tail > head -> break :: else fi;
		cons_wait = true;       /* conn_arm_waits, conn_ready */
		if
		:: on && tail > head
#ifdef LOOK_AGAIN
		:: !on && prod_round
#endif
		:: else -> atomic { bell -> bell = false }  /* ppoll, drain */
		fi
	od;
	head = 1
}
