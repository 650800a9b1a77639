/* SPDX-License-Identifier: Apache-2.0 */
/*
 * live.c - the same with the real kernel: TCP connections over the loopback device, sealed segments, eventfds, epoll.
 *
 * The channel is set up by the shim's own conn_on_channel().  A second thread writes to the segment while calls run, in
 * every other round, and closes the peer's socket under a call that sleeps; a call that goes on after that is a finding.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "hostile.h"

#define CLOSE_AFTER_NS (5 * NS_PER_MS)
#define HANG_NS (20000 * NS_PER_MS)

static int listener = -1, peer_fd = -1, victim_fd = -1;
static _Atomic uint64_t in_call_since; /* 0: not in a call */
static _Atomic int to_close = -1;      /* the peer's socket, for the thread to close */
static _Atomic bool scribbling, over, hung;
static _Atomic uint64_t writes;
static pthread_mutex_t segment_lock = PTHREAD_MUTEX_INITIALIZER; /* the mapping stays while the thread writes */
static uint8_t *buffer;
static const char *calling = "nothing";

void live_die(const char *what)
{
	perror(what);
	exit(2);
}

static void *helper(void *arg)
{
	uint64_t x = *(uint64_t *)arg;

	while (!atomic_load(&over)) {
		uint64_t since = atomic_load(&in_call_since), now = now_ns();

		if (since && now - since > CLOSE_AFTER_NS) {
			int fd = atomic_exchange(&to_close, -1);

			if (fd >= 0)
				sys_close(fd);
		}
		if (since && now - since > HANG_NS && !atomic_exchange(&hung, true)) {
			fprintf(stderr, "hostile: VIOLATION: %s does not come back\n", calling);
			world_print(stderr);
			abort();
		}
		if (!since || !atomic_load(&scribbling)) {
			syscall(SYS_ppoll, NULL, 0, &(struct timespec){ 0, 200000 }, NULL, 0);
			continue;
		}
		pthread_mutex_lock(&segment_lock);
		for (int i = 0; i < 20 && atomic_load(&in_call_since) && atomic_load(&scribbling); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			struct step s = { STEP_WRITE, (uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16), (uint32_t)(x >> 32) };

			if (move_write(&s))
				atomic_fetch_add(&writes, 1);
		}
		pthread_mutex_unlock(&segment_lock);
	}
	return NULL;
}

static void listen_here(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	listener = REAL(socket)(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&sa, sizeof(sa)) || REAL(listen)(listener, 16))
		live_die("listen");
}

int live_pair(int *peer)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	/* No TIME_WAIT: there are more connections than ports. */
	struct linger hard = { 1, 0 };
	int small = 4096, fd = REAL(socket)(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	getsockname(listener, (struct sockaddr *)&sa, &len);
	if (fd < 0 || REAL(connect)(fd, (struct sockaddr *)&sa, len))
		live_die("connect");
	*peer = REAL(accept4)(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (*peer < 0)
		live_die("accept");
	REAL(setsockopt)(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	REAL(setsockopt)(*peer, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (below(2))
		REAL(setsockopt)(*peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	return fd;
}

int live_segment(size_t len, bool sealed)
{
	struct hut_segment head = { HUT_SEG_MAGIC, HUT_ABI_VERSION, SMALL, OVER, { 0 }, { { 0 } } };
	int fd = memfd_create("segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)len) || REAL(write)(fd, &head, sizeof(head)) != sizeof(head))
		live_die("memfd");
	if (sealed && REAL(fcntl)(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		live_die("seals");
	return fd;
}

struct conn *live_track(int fd, struct hut_msg *m, int seg)
{
	struct conn *c = table_new(fd, AF_INET, true);
	int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), ours = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (!c || !control_slot(c) || bell < 0 || ours < 0)
		live_die("connection");
	c->end->fd = (uint32_t)fd;
	c->end->flags = HUT_ENDF_ACTIVE;
	c->end->nonblock = 1;
	c->bell = table_hide(ours);
	c->end->state = HUT_END_PENDING;
	conn_on_channel(c, m, seg, bell);
	sys_close(seg);
	return c;
}

static void refuses(void)
{
	struct hut_msg m = { .type = HUT_MSG_CHANNEL, .ring_size = SMALL, .over_size = OVER };
	size_t len = HUT_PAGE + 2 * (SMALL + OVER);
	int peer, fd = live_pair(&peer);
	unsigned int how = below(6);

	if (how == 1)
		m.ring_size = below(2) ? (uint32_t)rnd() | 1 : 1u << below(12);
	else if (how == 2)
		m.over_size = below(2) ? 0x80000000u : 0;
	else if (how == 3)
		m.side = 2 + (uint32_t)rnd() % 1000;
	else if (how == 4)
		len += below(2) ? 4096 : (size_t)-4096;
	struct conn *c = live_track(fd, &m, live_segment(len, how != 0));
	bool refused = conn_state(c) == HUT_END_TCP && c->end->reason == HUT_R_SEGMENT;

	if (how != 5 && !refused)
		violation("a segment that is none was taken (%u)", how);
	if (how == 5 && refused)
		violation("a good segment was refused");
	close(fd);
	sys_close(peer);
}

static void peer_on_tcp(void)
{
	static char bytes[2000];
	size_t n = 1 + below(sizeof(bytes));
	ssize_t done;

	if (atomic_load(&to_close) < 0)
		return;
	switch (below(6)) {
	case 0:
	case 1:
		done = syscall(SYS_sendto, peer_fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
		ksock[0].in_total += done > 0 ? (uint64_t)done : 0;
		break;
	case 2:
	case 3:
		(void)!syscall(SYS_recvfrom, peer_fd, bytes, n, MSG_DONTWAIT, NULL, NULL);
		break;
	case 4:
		if (below(8) == 0)
			syscall(SYS_shutdown, peer_fd, SHUT_WR);
		break;
	default:
		if (below(16) == 0)
			sys_close(atomic_exchange(&to_close, -1));
		break;
	}
}

static void moved(ssize_t n, size_t asked)
{
	int err = errno;

	if (n < -1 || n > (ssize_t)asked)
		violation("%s of %zu gives %zd", calling, asked, n);
	if (n < 0 && err != EAGAIN && err != ECONNRESET && err != EPIPE)
		violation("%s: error %d", calling, err);
}

/* One call of the victim's program. */
static void one_call(int ep)
{
	static const char *const names[] = { "recv", "recv PEEK", "send", "poll", "epoll_wait", "recv, blocking",
					     "send, blocking", "recv WAITALL, blocking", "poll for ever", "ioctl", "conn_stop",
					     "conn_pause", "shutdown", "epoll_wait 1 ms", "conn_leave" };
	unsigned int a = below(3) ? below(5) : below(15);
	size_t len = 1 + below(below(2) ? 200 : 20000);
	uint8_t *p = buffer + 20000 - len;
	struct pollfd pf = { .fd = victim_fd, .events = (short)(below(2) ? POLLIN | POLLOUT : POLLIN | POLLRDHUP) };
	struct epoll_event ev[4];
	int n = 0;

	if ((a == 10 || a == 12 || a == 14) && below(4))
		a = 0;
	calling = names[a];
	bool tracked = table_peek(victim_fd) == victim;
	bool block = a >= 5 && a <= 7;

	if (!tracked && a > 4 && a != 8)
		return;
	STORE(&victim_end->nonblock, !block);
	atomic_store(&in_call_since, now_ns());
	errno = 0;
	switch (a) {
	case 0:
	case 1:
	case 5:
	case 7:
		moved(recv(victim_fd, p, len, (block ? 0 : MSG_DONTWAIT) | (a == 1 ? MSG_PEEK : a == 7 ? MSG_WAITALL : 0)), len);
		break;
	case 2:
	case 6:
		moved(send(victim_fd, p, len, MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT)), len);
		break;
	case 3:
	case 8:
		n = poll(&pf, 1, a == 3 ? 0 : -1);
		if (n < 0 || n > 1 || (n == 0 && a == 8))
			violation("%s gives %d, error %d", calling, n, errno);
		break;
	case 4:
	case 13:
		n = epoll_wait(ep, ev, 4, a == 4 ? 0 : 1);
		if (n < 0 || n > 1 || (n && ev[0].data.u64 != 42))
			violation("%s gives %d, error %d", calling, n, errno);
		break;
	case 9:
		if (ioctl(victim_fd, FIONREAD, &n) || n < 0)
			violation("%s gives %d, error %d", calling, n, errno);
		break;
	case 10:
		conn_stop(victim, victim_fd, HUT_R_OPTION);
		break;
	case 11:
		conn_pause(victim, victim_fd, HUT_R_OFF);
		break;
	case 12:
		shutdown(victim_fd, (int)below(3));
		break;
	default:
		conn_leave(victim, victim_fd, HUT_R_PASSED);
		break;
	}
	atomic_store(&in_call_since, 0);
	if (tracked && table_peek(victim_fd) == victim && !(victim_end->flags & HUT_ENDF_POISONED))
		world_check_cursors(calling);
}

static uint64_t one_round(void)
{
	struct hut_msg m = { .type = HUT_MSG_CHANNEL, .ring_size = SMALL, .over_size = OVER, .side = below(2) };
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | (below(2) ? EPOLLET : 0), .data.u64 = 42 };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t n = 0, before;

	victim_fd = live_pair(&peer_fd);
	victim = live_track(victim_fd, &m, live_segment(HUT_PAGE + 2 * (SMALL + OVER), true));
	conn_get(victim_fd);
	victim_end = victim->end;
	if (conn_state(victim) != HUT_END_CHANNEL)
		violation("no channel");
	atomic_store(&to_close, peer_fd);
	ksock[0] = (struct ksock){ 0 };
	epoll_ctl(ep, EPOLL_CTL_ADD, victim_fd, &ev);
	atomic_store(&scribbling, below(2));
	for (int i = 0; i < 100 && !(victim_end->flags & HUT_ENDF_POISONED) && !atomic_load(&victim->plain); i++) {
		struct step s = { STEP_WRITE, (uint8_t)rnd(), (uint8_t)rnd(), (uint8_t)rnd(), (uint32_t)rnd() };
		uint64_t sent = ksock[0].in_total;
		bool dirty = false;

		before = atomic_load(&writes);
		/* It begins lawfully, or nothing ever comes to the ring. */
		for (int k = 0; k < 3; k++, s = (struct step){ 0, (uint8_t)rnd(), (uint8_t)rnd(), (uint8_t)rnd(), (uint32_t)rnd() }) {
			if (i > 8 && below(3) == 0)
				dirty |= move_write(&s);
			else
				move_peer(&s);
		}
		ksock[0].in_total = sent;
		if (below(3) == 0)
			peer_on_tcp();
		one_call(ep);
		n += dirty || atomic_load(&writes) != before;
	}
	calling = "close";
	atomic_store(&in_call_since, now_ns());
	if (close(victim_fd))
		violation("close: error %d", errno);
	atomic_store(&in_call_since, 0);
	pthread_mutex_lock(&segment_lock);
	atomic_store(&scribbling, false);
	pthread_mutex_unlock(&segment_lock);
	int fd = atomic_exchange(&to_close, -1);

	if (fd >= 0)
		sys_close(fd);
	close(ep);
	conn_put(victim);
	return n;
}

/* A connection that had nothing to do with it. */
static void check_bystander(int fd, int peer)
{
	char out[100], in[100];

	memset(out, 7, sizeof(out));
	if (send(fd, out, sizeof(out), 0) != sizeof(out) || recv(peer, in, sizeof(in), MSG_WAITALL) != sizeof(in) ||
	    memcmp(in, out, sizeof(in)) || send(peer, out, 10, 0) != 10 || recv(fd, in, 10, 0) != 10)
		violation("the other connection is disturbed");
}

uint64_t live_run(double seconds, uint64_t seed)
{
	struct hut_msg m = { .type = HUT_MSG_CHANNEL, .ring_size = SMALL, .over_size = OVER };
	uint64_t n = 0, rounds = 0, begin, x = seed | 1;
	int other_peer, other_fd;
	pthread_t thread;

	buffer = malloc(20000);
	listen_here();
	other_fd = live_pair(&other_peer);
	REAL(fcntl)(other_peer, F_SETFL, 0);
	other = live_track(other_fd, &m, live_segment(HUT_PAGE + 2 * (SMALL + OVER), true));
	other->end->nonblock = 0;
	events_run();
	late_run();
	begin = now_ns();
	if (pthread_create(&thread, NULL, helper, &x))
		live_die("thread");
	while ((double)(now_ns() - begin) / 1e9 < seconds) {
		n += one_round();
		if (++rounds % 16 == 0)
			refuses();
		if (rounds % 16 == 0)
			check_bystander(other_fd, other_peer);
	}
	atomic_store(&over, true);
	pthread_join(thread, NULL);
	printf("hostile: %llu states on %llu real connections, no finding, seed %llu\n", (unsigned long long)n,
	       (unsigned long long)rounds, (unsigned long long)seed);
	return n;
}
