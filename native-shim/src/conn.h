/* SPDX-License-Identifier: Apache-2.0 */
/* conn.h - what conn.c, switch.c and ready.c share and nobody else needs. */
#ifndef HUTONG_CONN_H
#define HUTONG_CONN_H

#include "shim.h"

struct tcp_info;

void conn_set_flags(struct hut_end *e, uint32_t bits);
bool conn_established(int fd, struct tcp_info *ti);
void conn_give_up(struct conn *c, uint32_t reason);
bool conn_forget(struct conn *c, int fd);           /* everything is plain TCP from now on; always false */
void conn_mark_never(struct conn *c, uint32_t reason);
void conn_arm(struct conn *c, int fd);
void conn_start_tx(struct conn *c, int fd);
void conn_start_rx(struct conn *c, int fd);
void conn_tx_stopped(struct conn *c, int fd);
void conn_rx_ended(struct conn *c, int fd);

#endif /* HUTONG_CONN_H */
