/* SPDX-License-Identifier: Apache-2.0 */
/* conn.h - what conn.c, offer.c, switch.c, stop.c and ready.c share and nobody else needs. */
#ifndef HUTONG_CONN_H
#define HUTONG_CONN_H

#include "shim.h"

struct tcp_info;

/* netinet/tcp.h has the names, but an older struct tcp_info. */
#define TCP_IS_ESTABLISHED 1
#define TCP_IS_CLOSED 7
#define TCP_IS_CLOSE_WAIT 8

extern uint32_t conn_chaos; /* for tests: mean microseconds between changes of the path; 0: never */

void conn_set_flags(struct hut_end *e, uint32_t bits);
bool conn_offer(struct conn *c, int fd);      /* false: plain TCP from now on */
bool conn_established(int fd, struct tcp_info *ti);
bool conn_sent_by_tcp(struct conn *c, int fd, struct tcp_info *ti, uint64_t *bytes);
void conn_give_up(struct conn *c, uint32_t reason);
bool conn_forget(struct conn *c);           /* everything is plain TCP from now on; always false */
void conn_mark_never(struct conn *c, uint32_t reason);
bool conn_may_arm(const struct conn *c);
void conn_arm(struct conn *c, int fd);
void conn_start_tx(struct conn *c, int fd);
void conn_rx_on(struct conn *c, uint32_t path);   /* rx_lock held */
void conn_start_rx(struct conn *c, int fd);
void conn_stop_tx(struct conn *c, int fd, bool closing);
void conn_stop_rx(struct conn *c, int fd, uint32_t reason);
void conn_rx_ended(struct conn *c, int fd);
bool conn_move(struct ring *r, uint64_t from, uint64_t to); /* compare-and-set of `turn` */
void conn_progress_rx(struct conn *c, int fd);
bool conn_rx_due(const struct conn *c);             /* conn_progress_rx() has something to do */
void conn_end_tx(struct conn *c, int fd);
void conn_pause(struct conn *c, int fd, uint32_t reason);
void conn_resume(struct conn *c);
bool conn_half_closed_stall(const struct conn *c);
bool conn_overfull(struct conn *c);                 /* on Xen: the overflow area is full, and nobody reads */
bool conn_peer_shut(struct conn *c, int fd);        /* the end that the socket tells of is not our own SHUT_RD */

/* State and offset in one word; acquire: what the other side stored before it moved the word. */
static inline uint64_t conn_turn(const struct ring *r)
{
	return LOAD_ACQ(&r->dir->turn);
}

static inline bool conn_turn_is(const struct ring *r, uint32_t round, uint32_t how)
{
	return HUT_TURN_STATE(conn_turn(r)) == HUT_STATE(round, how);
}

/* The offset of a turn word: the one with these low 32 bits that is nearest to a trusted one. */
static inline uint64_t conn_turn_offset(uint64_t turn, uint64_t near)
{
	return near + (uint64_t)(int64_t)(int32_t)((uint32_t)turn - (uint32_t)near);
}

static inline uint32_t conn_next_round(uint32_t round)
{
	return (round + 1) & HUT_ROUND_MASK;
}

#endif /* HUTONG_CONN_H */
