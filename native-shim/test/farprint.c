/* SPDX-License-Identifier: Apache-2.0 */
/*
 * farprint.c - a line's words, for people.
 */
#include "farline.h"

static void print_dir(const char *what, const struct hut_dir *d)
{
	fprintf(stderr, "    %s: start %llu head %llu tail %llu turn %u.%u:%u cons %u/%x/%u prod %u/%x/%u done %u\n", what,
		(unsigned long long)d->start, (unsigned long long)d->head, (unsigned long long)d->tail,
		(uint32_t)(d->turn >> 34), (uint32_t)(d->turn >> 32) & 3, (uint32_t)d->turn, d->cons_round, d->cons_mark,
		d->cons_wait, d->prod_round, d->prod_mark, d->prod_wait, d->prod_done);
}

void far_print_half(const struct far_half *h)
{
	const struct outgoing *o = &h->out;
	const struct incoming *i = &h->in;

	fprintf(stderr, "  half:%s%s%s%s\n", h->leaving ? " leaving" : "", h->gone ? " gone" : "",
		h->peer_gone ? " peer-gone" : "", h->removed ? " removed" : "");
	fprintf(stderr, "    out: phase %d round %u started %u agreed %u done %u%s%s%s%s peer armed %u stopped %u\n",
		(int)o->phase, o->round, o->started, o->agreed, o->done, o->ended ? " ended" : "",
		o->delivered ? " delivered" : "", o->flow ? " flow" : "", o->routed ? " routed" : "", o->peer.armed,
		o->peer.stopped);
	print_dir("out", tx(h));
	fprintf(stderr, "    in: phase %d round %u opened %u stopped %u%s%s%s%s%s\n", (int)i->phase, i->round, i->opened,
		i->stopped, i->announced ? " announced" : "", i->ask ? " ask" : "", i->told ? " told" : "",
		i->flow ? " flow" : "", i->routed ? " routed" : "");
	print_dir("in", rx(h));
	if (h->end)
		fprintf(stderr, "    end: rx %u/%u tx %u/%u flags %x tcp %llu %llu ring %llu %llu reason %u\n", h->end->rx_path,
			h->end->rx_round, h->end->tx_path, h->end->tx_round, h->end->flags,
			(unsigned long long)h->end->tcp_in, (unsigned long long)h->end->tcp_out,
			(unsigned long long)h->end->ring_in, (unsigned long long)h->end->ring_out, h->end->reason);
}
