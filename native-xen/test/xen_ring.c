/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xen_ring.c - the bare grant ring: what two programs get that do nothing but copy 64 KiB pieces through granted pages and
 * ring an event channel.  What Hutong's channel is measured against.
 *
 *   xen_ring take DOMID PORT                     in the VM that maps; DOMID is the other's
 *   xen_ring give DOMID ADDRESS PORT SECONDS     in the VM that grants; prints Mbit/s
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "hutong_xen.h"

#define PAGE 4096u
#define RING (64u * PAGE)
#define PAGES (RING / PAGE + 1)
#define PIECE 65536u

struct ring {
	uint64_t tail, pad0[7];
	uint64_t head, pad1[7];
	uint32_t reader_sleeps, pad2[15];
	uint32_t writer_sleeps;
	uint32_t end;
};

struct end {
	struct ring *r;
	uint8_t *data;
	int event;
	uint32_t port;
};

static uint8_t piece[PIECE];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void whole(int fd, void *what, size_t len, int out)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = out ? write(fd, (char *)what + done, len - done) : read(fd, (char *)what + done, len - done);

		if (n <= 0)
			die("the other program");
		done += (size_t)n;
	}
}

static void map_ring(struct end *e, int fd)
{
	uint8_t *p = fd < 0 ? MAP_FAILED : mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		die("granted pages");
	e->r = (struct ring *)p;
	e->data = p + PAGE;
}

/* Sleeps until the other end rings, unless `there` has become true after the flag was set. */
#define SLEEP_UNLESS(e, flag, there)                                                                      \
	do {                                                                                              \
		uint32_t port_;                                                                           \
		struct pollfd p_ = { .fd = (e)->event, .events = POLLIN };                                \
		__atomic_store_n(flag, 1, __ATOMIC_SEQ_CST);                                              \
		if (!(there))                                                                             \
			poll(&p_, 1, 1000);                                                               \
		if (read((e)->event, &port_, sizeof(port_)) == sizeof(port_))                             \
			(void)!write((e)->event, &port_, sizeof(port_));                                  \
	} while (0)

static void ring_if(struct end *e, uint32_t *flag)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(flag, __ATOMIC_RELAXED) && __atomic_exchange_n(flag, 0, __ATOMIC_ACQ_REL))
		hutong_xen_event_ring(e->event, e->port);
}

static uint64_t copy(struct end *e, uint64_t at, uint64_t len, int out)
{
	for (uint64_t done = 0; done < len;) {
		uint64_t from = (at + done) % RING, part = RING - from < len - done ? RING - from : len - done;

		if (out)
			memcpy(e->data + from, piece + done, part);
		else
			memcpy(piece + done, e->data + from, part);
		done += part;
	}
	return len;
}

static void give(struct end *e, double seconds)
{
	double until = now() + seconds;
	uint64_t tail = 0;

	while (now() < until)
		for (uint64_t left = PIECE; left;) {
			uint64_t room = RING - (tail - __atomic_load_n(&e->r->head, __ATOMIC_ACQUIRE));

			if (!room) {
				SLEEP_UNLESS(e, &e->r->writer_sleeps,
					     tail - __atomic_load_n(&e->r->head, __ATOMIC_SEQ_CST) < RING);
				continue;
			}
			room = copy(e, tail, room < left ? room : left, 1);
			tail += room;
			left -= room;
			__atomic_store_n(&e->r->tail, tail, __ATOMIC_RELEASE);
			ring_if(e, &e->r->reader_sleeps);
		}
	__atomic_store_n(&e->r->end, 1, __ATOMIC_SEQ_CST);
	hutong_xen_event_ring(e->event, e->port);
}

static uint64_t take(struct end *e)
{
	uint64_t head = 0;

	for (;;) {
		uint32_t end = __atomic_load_n(&e->r->end, __ATOMIC_ACQUIRE);
		uint64_t there = __atomic_load_n(&e->r->tail, __ATOMIC_ACQUIRE) - head;

		if (!there && end)
			return head;
		if (!there) {
			SLEEP_UNLESS(e, &e->r->reader_sleeps, __atomic_load_n(&e->r->tail, __ATOMIC_SEQ_CST) != head);
			continue;
		}
		head += copy(e, head, there < PIECE ? there : PIECE, 0);
		__atomic_store_n(&e->r->head, head, __ATOMIC_RELEASE);
		if (__atomic_load_n(&e->r->tail, __ATOMIC_ACQUIRE) - head <= RING / 2)
			ring_if(e, &e->r->writer_sleeps);
	}
}

static int run_take(uint32_t domid, int port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct end e = { 0 };
	uint32_t ticket[1 + PAGES];
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0), s;
	uint64_t moved;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&sa, sizeof(sa)) || listen(listener, 1))
		die("listen");
	s = accept(listener, NULL, NULL);
	whole(s, ticket, sizeof(ticket), 0);
	map_ring(&e, hutong_xen_map(domid, PAGES, ticket + 1));
	e.event = hutong_xen_event_bind(domid, ticket[0], &e.port);
	if (e.event < 0)
		die("event channel");
	whole(s, &one, sizeof(one), 1);
	moved = take(&e);
	whole(s, &moved, sizeof(moved), 1);
	return 0;
}

static int run_give(uint32_t domid, const char *address, int port, double seconds)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct end e = { 0 };
	uint32_t ticket[1 + PAGES];
	int one, s = socket(AF_INET, SOCK_STREAM, 0);
	uint64_t moved;
	double began;

	if (inet_pton(AF_INET, address, &sa.sin_addr) != 1 || connect(s, (struct sockaddr *)&sa, sizeof(sa)))
		die("connect");
	map_ring(&e, hutong_xen_grant(domid, PAGES, ticket + 1));
	e.event = hutong_xen_event_new(domid, &e.port);
	if (e.event < 0)
		die("event channel");
	ticket[0] = e.port;
	whole(s, ticket, sizeof(ticket), 1);
	whole(s, &one, sizeof(one), 0);
	began = now();
	give(&e, seconds);
	whole(s, &moved, sizeof(moved), 0);
	printf("mbit=%.1f\n", (double)moved * 8 / 1e6 / (now() - began));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "take"))
		return run_take((uint32_t)atoi(argv[2]), atoi(argv[3]));
	if (argc == 6 && !strcmp(argv[1], "give"))
		return run_give((uint32_t)atoi(argv[2]), argv[3], atoi(argv[4]), atof(argv[5]));
	fprintf(stderr, "usage: xen_ring take DOMID PORT | xen_ring give DOMID ADDRESS PORT SECONDS\n");
	return 2;
}
