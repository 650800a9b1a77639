/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testagent.c - an agent for the shim's own tests: one network namespace, both ends of every connection in it.
 *
 * It speaks the control protocol of hutong_abi.h and matches ends by address pair, and does nothing else that the real
 * agent does; unless it plays the agents of two hosts, see far.c.
 *
 * usage: testagent [-r RING] [-o OVERFLOW] [-b AFTER_BYTES] [-m AFTER_MS] [-s SPIN_US] [-d ADDRESS]...
 *                  [-f DELAY_US,SEED[,LEAVE_US[,WISH_US]]] MEMBER...
 * Connections whose own address is an ADDRESS are declined, as the real agent does for a policy or a tunnel.
 * Every MEMBER (IPv4 or IPv6 address) is listed as co-resident; with -f as on another host: what the agents tell each
 * other and what they carry comes up to DELAY_US late, or eight times that now and then, and they leave the wire every
 * LEAVE_US by themselves; SIGUSR1 has the lines printed, and on SIGHUP agents lose them, as after an upgrade: if
 * acceleration is off, not before all are on TCP.  SIGUSR2 turns acceleration off and on.  Prints "ready" when it listens,
 * and "lost"; ends on SIGTERM.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "far.h"
#include "hutong_abi.h"

#define MAX_SHIMS 256
#define MAX_REGS 8192

struct shim {
	int fd;
	pid_t pid;
	struct hut_pool *pool;
};

struct reg {
	int shim;
	uint32_t ref, slot;
	int bell;
	bool matched, free;
	uint64_t cookie;
	struct far_half *far;
	uint8_t local[18], remote[18];
};

static struct shim shims[MAX_SHIMS];
static struct reg regs[MAX_REGS];
static int members_fd;
static uint8_t declined[8][16];
static int n_declined;
static uint32_t ring_size = 65536, over_size = 262144, next_chan = 1;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int sealed(const char *name, size_t len)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, (off_t)len) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		die("memfd");
	return fd;
}

static void send_msg(int to, const struct hut_msg *m, const int *fds, int n)
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} u;
	struct iovec iov = { (void *)m, sizeof(*m) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n) {
		memset(&u, 0, sizeof(u));
		mh.msg_control = u.buf;
		mh.msg_controllen = CMSG_SPACE((size_t)n * sizeof(int));
		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, (size_t)n * sizeof(int));
	}
	sendmsg(to, &mh, MSG_NOSIGNAL);
}

static void flat(const struct sockaddr_storage *ss, uint8_t out[18])
{
	memset(out, 0, 18);
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)ss;

		out[10] = out[11] = 0xff;
		memcpy(out + 12, &in->sin_addr, 4);
		memcpy(out + 16, &in->sin_port, 2);
	} else {
		const struct sockaddr_in6 *in = (const void *)ss;

		memcpy(out, &in->sin6_addr, 16);
		memcpy(out + 16, &in->sin6_port, 2);
	}
}

static void notify(struct reg *r)
{
	uint64_t one = 1;

	__atomic_fetch_add(&shims[r->shim].pool->end[r->slot].agent_note, 1, __ATOMIC_RELEASE);
	if (write(r->bell, &one, sizeof(one)) != sizeof(one))
		perror("bell");
}

static void drop(struct reg *r)
{
	if (r->far)
		far_gone(r->far);
	close(r->bell);
	memset(r, 0, sizeof(*r));
	r->shim = -1;
}

static bool parse(const char *text, uint8_t out[16])
{
	memset(out, 0, 16);
	out[10] = out[11] = 0xff;
	return inet_pton(AF_INET, text, out + 12) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

static void decline(struct reg *r, uint32_t reason)
{
	struct hut_msg m = { .type = HUT_MSG_DECLINED, .version = HUT_ABI_VERSION, .ref = r->ref, .reason = reason };

	send_msg(shims[r->shim].fd, &m, NULL, 0);
	notify(r);
	drop(r);
}

static bool unwelcome(const struct reg *r)
{
	for (int i = 0; i < n_declined; i++)
		if (!memcmp(declined[i], r->local, 16))
			return true;
	return false;
}

/* The number may stand for another socket by now. */
static bool same_socket(int fd, uint64_t cookie)
{
	uint64_t found = 0;
	socklen_t len = sizeof(found);

	return !getsockopt(fd, SOL_SOCKET, SO_COOKIE, &found, &len) && found == cookie;
}

/* fds: segment, and the bell of who is at its other end */
static void give(struct reg *both[2], uint32_t i, const int fds[2])
{
	struct hut_msg m = { .type = HUT_MSG_CHANNEL, .version = HUT_ABI_VERSION, .ref = both[i]->ref,
			     .side = far_on ? 0 : i, .ring_size = ring_size, .over_size = over_size, .chan = next_chan + i,
			     .peer_chan = next_chan + 1 - i, .flags = far_on ? HUT_MSGF_REMOTE : 0 };

	send_msg(shims[both[i]->shim].fd, &m, fds, 2);
}

#define DIE_AFTER_US 20000

/* Both have their message.  Or, for tests: they have it, and look for it when we have died, a while after that. */
static void given(struct reg *both[2])
{
	struct itimerval end = { .it_value = { .tv_usec = DIE_AFTER_US } };
	bool dies = far_die_at == FAR_DIE_GIVING;
	int life[2];
	char none;

	if (dies && pipe(life))
		die("pipe");
	if (dies && fork()) {
		setitimer(ITIMER_REAL, &end, NULL);
		return;
	}
	if (dies) {
		for (int i = 0; i < MAX_SHIMS; i++)
			close(shims[i].fd);
		close(life[1]);
		(void)!read(life[0], &none, 1);
	}
	for (int i = 0; i < 2; i++)
		notify(both[i]);
	if (dies)
		_exit(0);
}

static void match_far(struct reg *both[2])
{
	struct far_program program[2];
	struct far_channel channel[2];

	for (int i = 0; i < 2; i++) {
		struct reg *r = both[i];

		program[i] = (struct far_program){ r->bell, &shims[r->shim].pool->end[r->slot], r->cookie, r->local,
						   r->remote };
	}
	far_connect(program, channel);
	for (uint32_t i = 0; i < 2; i++) {
		both[i]->far = channel[i].half;
		give(both, i, (int[2]){ channel[i].segment, channel[i].bell });
		close(channel[i].segment);
	}
	given(both);
	next_chan += 2;
}

static void match(struct reg *a)
{
	struct reg *b = NULL;

	for (int i = 0; i < MAX_REGS; i++)
		if (regs[i].shim >= 0 && !regs[i].matched && !memcmp(regs[i].local, a->remote, 18) && !memcmp(regs[i].remote, a->local, 18))
			b = &regs[i];
	if (!b)
		return;
	a->matched = b->matched = true;
	struct reg *both[2] = { a, b };

	if (far_on) {
		match_far(both);
		return;
	}
	size_t len = HUT_PAGE + 2ull * ring_size + 2ull * over_size;
	int seg = sealed("hutong-segment", len);
	struct hut_segment *s = mmap(NULL, HUT_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, seg, 0);

	s->magic = HUT_SEG_MAGIC;
	s->version = HUT_ABI_VERSION;
	s->ring_size = ring_size;
	s->over_size = over_size;
	s->dir[0].split = s->dir[1].split = HUT_NO_SPLIT;
	munmap(s, HUT_PAGE);
	for (uint32_t i = 0; i < 2; i++)
		give(both, i, (int[2]){ seg, both[1 - i]->bell });
	given(both);
	next_chan += 2;
	close(seg);
}

static void registered(int shim, const struct hut_msg *m, int bell)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct reg *r = NULL;
	int pidfd, fd;

	for (int i = 0; i < MAX_REGS && !r; i++)
		if (regs[i].shim < 0)
			r = &regs[i];
	pidfd = (int)syscall(SYS_pidfd_open, shims[shim].pid, 0);
	fd = pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, m->fd, 0);
	if (!r || fd < 0 || m->slot >= HUT_POOL_SLOTS) {
		perror("register");
		close(bell);
	} else {
		r->shim = shim;
		r->ref = m->ref;
		r->slot = m->slot;
		r->bell = bell;
		r->cookie = m->cookie;
		getsockname(fd, (struct sockaddr *)&ss, &len);
		flat(&ss, r->local);
		len = sizeof(ss);
		bool up = !getpeername(fd, (struct sockaddr *)&ss, &len);

		flat(&ss, r->remote);
		if (!up)
			decline(r, HUT_R_STATE); /* over already: it would match itself */
		else if (!same_socket(fd, m->cookie))
			decline(r, HUT_R_NOT_OWNER);
		else if (unwelcome(r))
			decline(r, HUT_R_TUNNEL);
		else
			match(r);
	}
	if (fd >= 0)
		close(fd);
	if (pidfd >= 0)
		close(pidfd);
}

static bool handle(int shim)
{
	union {
		char buf[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} u;
	struct hut_msg m;
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.buf, .msg_controllen = sizeof(u.buf) };
	ssize_t n = recvmsg(shims[shim].fd, &mh, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cm = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;
	int fd = -1;

	if (n <= 0)
		return false;
	if (cm && cm->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(cm), sizeof(int));
	if (m.type == HUT_MSG_HELLO) {
		struct hut_msg w = { .type = HUT_MSG_WELCOME, .version = HUT_ABI_VERSION, .ref = far_mark() };

		shims[shim].pool = mmap(NULL, sizeof(struct hut_pool), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
		send_msg(shims[shim].fd, &w, &members_fd, 1);
	} else if (m.type == HUT_MSG_REGISTER) {
		registered(shim, &m, fd);
	} else if (m.type == HUT_MSG_GONE) {
		for (int i = 0; i < MAX_REGS; i++)
			if (regs[i].shim == shim && regs[i].ref == m.ref)
				drop(&regs[i]);
	}
	return true;
}

static int by_addr(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

static struct hut_members *members;

static void make_members(int n, char **addrs, uint32_t bytes, uint32_t ms, uint32_t spin)
{
	members_fd = sealed("hutong-members", sizeof(struct hut_members));
	struct hut_members *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED, members_fd, 0);

	members = t;
	t->magic = HUT_MEMBERS_MAGIC;
	t->version = HUT_ABI_VERSION;
	t->enabled = 1;
	t->after_bytes = bytes;
	t->after_ms = ms;
	t->spin_us = spin;
	t->remote = far_on;
	for (int i = 0; i < n; i++) {
		struct hut_member *e = &t->member[t->count++];

		if (!parse(addrs[i], e->addr))
			die(addrs[i]);
		e->flags = far_on ? 0 : HUT_MEMBER_CORESIDENT;
	}
	qsort(t->member, t->count, sizeof(t->member[0]), by_addr);
}

static void gone(int i)
{
	close(shims[i].fd);
	for (int k = 0; k < MAX_REGS; k++)
		if (regs[k].shim == i)
			drop(&regs[k]);
	if (shims[i].pool)
		munmap(shims[i].pool, sizeof(struct hut_pool));
	shims[i] = (struct shim){ .fd = -1 };
}

/* A program that found no room for its GONE tells it with its next business, and may have none. */
static void sweep(void)
{
	for (int i = 0; i < MAX_REGS; i++) {
		struct reg *r = &regs[i];
		bool before = r->free;

		if (r->shim < 0)
			continue;
		r->free = __atomic_load_n(&shims[r->shim].pool->end[r->slot].state, __ATOMIC_ACQUIRE) == HUT_END_FREE;
		if (before && r->free)
			drop(r);
	}
}

static void accept_shim(int listener)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return;
	for (int i = 0; i < MAX_SHIMS; i++) {
		if (shims[i].fd >= 0)
			continue;
		shims[i] = (struct shim){ .fd = fd, .pid = cred.pid };
		return;
	}
	close(fd);
}

static volatile sig_atomic_t asked, to_lose;

static void on_hup(int sig)
{
	to_lose = sig;
}

static void lose_lines(void)
{
	if (!to_lose || (!members->enabled && !far_on_tcp()))
		return;
	to_lose = 0;
	far_lose();
	for (int i = 0; i < MAX_REGS; i++)
		if (regs[i].shim >= 0 && regs[i].far && far_is_lost(regs[i].far))
			regs[i].far = NULL;
	puts("lost");
	fflush(stdout);
}

#define SWEEP_NS 1000000000ull

/* What a wait may last, for ppoll(); sweeps when it is time. */
static struct timespec *wait_for(struct timespec *ts)
{
	static uint64_t sweep_at;
	uint64_t due = far_on ? far_due_ns() : UINT64_MAX, now;

	clock_gettime(CLOCK_MONOTONIC, ts);
	now = (uint64_t)ts->tv_sec * 1000000000ull + (uint64_t)ts->tv_nsec;
	if (sweep_at <= now) {
		sweep();
		sweep_at = now + SWEEP_NS;
	}
	if (due > sweep_at)
		due = sweep_at;
	if (to_lose && due > now + 1000000)
		due = now + 1000000;
	due = due > now ? due - now : 0;
	*ts = (struct timespec){ (time_t)(due / 1000000000ull), (long)(due % 1000000000ull) };
	return ts;
}

/* The operator's switch: everything back to TCP, and the next time on again. */
static void on_usr2(int sig)
{
	(void)sig;
	__atomic_fetch_xor(&members->enabled, 1, __ATOMIC_ACQ_REL);
}

static void on_usr1(int sig)
{
	asked = sig;
}

int main(int argc, char **argv)
{
	const char *far = NULL;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	uint32_t bytes = 4096, ms = 5, spin = 20;
	int opt, listener;

	while ((opt = getopt(argc, argv, "r:o:b:m:s:d:f:")) != -1) {
		uint32_t v = opt == 'd' || opt == 'f' ? 0 : (uint32_t)strtoul(optarg ? optarg : "0", NULL, 0);

		switch (opt) {
		case 'r': ring_size = v; break;
		case 'o': over_size = v; break;
		case 'b': bytes = v; break;
		case 'm': ms = v; break;
		case 's': spin = v; break;
		case 'f': far = optarg; break;
		case 'd':
			if (n_declined == 8 || !parse(optarg, declined[n_declined++]))
				return 2;
			break;
		default: return 2;
		}
	}
	if (far) {
		far_init(far, ring_size, over_size);
		signal(SIGUSR1, on_usr1);
		signal(SIGHUP, on_hup);
	}
	make_members(argc - optind, argv + optind, bytes, ms, spin);
	signal(SIGUSR2, on_usr2);
	for (int i = 0; i < MAX_SHIMS; i++)
		shims[i].fd = -1;
	for (int i = 0; i < MAX_REGS; i++)
		regs[i].shim = -1;
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	memcpy(sa.sun_path + 1, HUT_AGENT_NAME, sizeof(HUT_AGENT_NAME) - 1);
	if (bind(listener, (struct sockaddr *)&sa, offsetof(struct sockaddr_un, sun_path) + sizeof(HUT_AGENT_NAME)) ||
	    listen(listener, 128))
		die("listen");
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd p[MAX_SHIMS + 2] = { { .fd = listener, .events = POLLIN } };
		struct timespec ts;

		for (int i = 0; i < MAX_SHIMS; i++)
			p[i + 1] = (struct pollfd){ .fd = shims[i].fd, .events = POLLIN };
		p[MAX_SHIMS + 1] = (struct pollfd){ .fd = far_on ? far_fd() : -1, .events = POLLIN };
		bool any = ppoll(p, MAX_SHIMS + 2, wait_for(&ts), NULL) >= 0;

		if (asked)
			far_print();
		asked = 0;
		lose_lines();
		if (!any)
			continue;
		if (far_on)
			far_run();
		if (p[0].revents)
			accept_shim(listener);
		for (int i = 0; i < MAX_SHIMS; i++)
			if (p[i + 1].fd >= 0 && p[i + 1].revents && !handle(i))
				gone(i);
	}
}
