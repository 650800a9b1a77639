/* SPDX-License-Identifier: Apache-2.0 */
/* fresh.c - what fresh eyes found. */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "harness.h"

static void limit_files(rlim_t n)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = n;
	setrlimit(RLIMIT_NOFILE, &r);
}

/* A program that shuts itself in: no more descriptors (vsftpd, djb's). */
static void a_no_files(int fd)
{
	limit_files(0);
	go(TO_B);
	rd(fd, 4, 0);
	pl(fd, POLLIN, 0);
	limit_files(1);
	pl(fd, POLLIN, 0);
	go(TO_B);
	pl(fd, POLLIN, 3000);
	rd(fd, 4, 0);
	limit_files(256);
}

static void b_no_files(int fd)
{
	await(TO_B);
	ms(50);
	wr(fd, "data");
	await(TO_B);
	ms(50);
	wr(fd, "more");
}

/* An array as long as the limit allows. */
static void a_whole_array(int fd)
{
	struct rlimit r;
	static struct pollfd p[1 << 20];

	getrlimit(RLIMIT_NOFILE, &r);
	for (rlim_t i = 0; i < r.rlim_cur; i++)
		p[i].fd = -1;
	p[7] = (struct pollfd){ .fd = fd, .events = POLLIN };
	go(TO_B);
	int n = poll(p, r.rlim_cur, 3000);

	note(" poll=%d/%s:%x", n, err(n), p[7].revents);
	rd(fd, 4, 0);
}

static void b_whole_array(int fd)
{
	await(TO_B);
	ms(50);
	wr(fd, "data");
}

/* n too small: the kernel clears what is beyond it in the last word. */
static void a_select_beyond(int fd)
{
	fd_set r;
	struct timeval tv = { 0, 0 };

	FD_ZERO(&r);
	FD_SET(fd, &r);
	int more = fd % 64 < 60 ? fd + 2 : fd + 64;
	FD_SET(more, &r);
	int n = select(fd + 1, &r, NULL, NULL, &tv);
	note(" n=%d fd=%d more=%d", n, FD_ISSET(fd, &r) != 0, FD_ISSET(more, &r) != 0);
	go(TO_B);
	until_readable(fd);
	FD_SET(fd, &r);
	FD_SET(more, &r);
	tv.tv_sec = 3;
	n = select(fd + 1, &r, NULL, NULL, &tv);
	note(" n=%d fd=%d more=%d", n, FD_ISSET(fd, &r) != 0, FD_ISSET(more, &r) != 0);
}

static void b_select_beyond(int fd)
{
	await(TO_B);
	wr(fd, "data");
}

/* O_NONBLOCK set past us (rustix). */
static void a_raw_nonblock(int fd)
{
	int on = 1;
	void *volatile p = &on;

	syscall(SYS_ioctl, fd, FIONBIO, p);
	rd(fd, 4, 0);
	go(TO_B);
}

static void b_raw_nonblock(int fd)
{
	await(TO_B);
	wr(fd, "data");
}

/* the same young */
static void a_raw_nonblock_young(int fd)
{
	int on = 1;

	syscall(SYS_ioctl, fd, FIONBIO, &on);
	rd(fd, 4, 0);
	go(TO_B);
}

static void b_raw_nonblock_young(int fd)
{
	await(TO_B);
	(void)fd;
}

/* A set that is made, filled and waited for past us, and all bytes by us (rustix' polling, smol). */
static void a_raw_epoll(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLRDHUP, .data.u64 = 7 };
	int ep = (int)syscall(SYS_epoll_create1, EPOLL_CLOEXEC);
	char b[8];
	int got = 0, bad = 0;

	syscall(SYS_epoll_ctl, ep, EPOLL_CTL_ADD, fd, &ev);
	for (int i = 0; i < 100 && !bad; i++) {
		long n = syscall(SYS_epoll_pwait, ep, &ev, 1, 2000, NULL, 8);

		if (n != 1)
			bad = 1;
		got += recv(fd, b, 1, MSG_DONTWAIT) == 1;
		if (send(fd, "x", 1, 0) != 1)
			bad = 1;
	}
	note(" got=%d bad=%d", got, bad);
	close(ep);
}

static void b_raw_epoll(int fd)
{
	char b;
	int got = 0;

	rcvtimeo(fd, 3000);
	for (int i = 0; i < 100; i++) {
		send(fd, "y", 1, 0);
		ms(1);
		if (recv(fd, &b, 1, 0) != 1)
			break;
		got++;
	}
	note(" got=%d", got);
}

/* The kernel's own pace. */
static void a_pacing(int fd)
{
	unsigned int rate = 1000000;
	static char buf[65536];
	size_t sum = 0;
	struct timespec t0, t1;

	noted("set", setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &rate, sizeof(rate)));
	clock_gettime(CLOCK_MONOTONIC, &t0);
	go(TO_B);
	while (sum < 2000000) {
		ssize_t n = send(fd, buf, sizeof(buf), 0);
		if (n <= 0)
			break;
		sum += (size_t)n;
	}
	char b;
	recv(fd, &b, 1, 0);
	clock_gettime(CLOCK_MONOTONIC, &t1);
	double s = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
	note(" paced=%d", s > 1.0);
}

static void b_pacing(int fd)
{
	static char buf[65536];
	size_t sum = 0;

	await(TO_B);
	while (sum < 2000000) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);
		if (n <= 0)
			break;
		sum += (size_t)n;
	}
	send(fd, "x", 1, 0);
}

static void a_timeo_new(int fd)
{
	long long tv[2] = { 0, 100000 };

	noted("set", setsockopt(fd, SOL_SOCKET, 66, tv, sizeof(tv)));
	rd(fd, 4, 0);
	go(TO_B);
}

static void b_timeo_new(int fd)
{
	for (int i = 0; i < 1; i++)
		await(TO_B);
	(void)fd;
}

/* Only what the program itself needs is allowed; all else is EPERM. */
static void filter(uint32_t otherwise)
{
	static const int allowed[] = { SYS_read, SYS_write, SYS_recvfrom, SYS_sendto, SYS_poll, SYS_exit, SYS_exit_group,
				SYS_close, SYS_rt_sigreturn, SYS_brk, SYS_mmap, SYS_munmap, SYS_gettid, SYS_getpid, SYS_ppoll,
				SYS_openat, SYS_fstat, SYS_newfstatat, SYS_unlinkat, SYS_futex, SYS_clock_nanosleep, SYS_lseek, SYS_wait4, SYS_kill };
	struct sock_filter f[4 + 2 * sizeof(allowed) / sizeof(allowed[0])];
	size_t n = 0;

	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)allowed[i], 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, otherwise);
	struct sock_fprog p = { (unsigned short)n, f };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	noted("filter", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &p));
}

static void filtered(int fd, uint32_t otherwise)
{
	char b[8];

	filter(otherwise);
	ssize_t n = read(fd, b, 4);
	note(" read=%zd/%s", n, err(n));
	n = write(fd, "abc", 3);
	note(" write=%zd/%s", n, err(n));
	go(TO_B);
	n = read(fd, b, 4);
	note(" read=%zd/%s", n, err(n));
	n = write(fd, "def", 3);
	note(" write=%zd/%s", n, err(n));
	pl(fd, POLLIN, 1000);
	n = read(fd, b, 4);
	note(" read=%zd/%s", n, err(n));
}

static void a_filter_errno(int fd)
{
	go(TO_B);
	filtered(fd, SECCOMP_RET_ERRNO | EPERM);
}

static void b_filter_errno(int fd)
{
	await(TO_B);
	ms(100);
	wr(fd, "1234");
	await(TO_B);
	ms(100);
	wr(fd, "5678");
	rcvtimeo(fd, 3000);
	rd(fd, 6, MSG_WAITALL);
}

static void a_filter_kill(int fd)
{
	go(TO_B);
	filtered(fd, SECCOMP_RET_KILL_PROCESS);
}

static void b_filter_kill(int fd)
{
	b_filter_errno(fd);
}

static void a_filter_kill_young(int fd)
{
	go(TO_B);
	filtered(fd, SECCOMP_RET_KILL_PROCESS);
}

static void b_filter_kill_young(int fd)
{
	b_filter_errno(fd);
}

static void a_atmark(int fd)
{
	fd_set e, r;
	struct timeval tv = { 3, 0 };
	int on = 1;

	go(TO_B);
	await(TO_A);
	ms(100);
	FD_ZERO(&e);
	FD_ZERO(&r);
	FD_SET(fd, &e);
	FD_SET(fd, &r);
	int n = select(fd + 1, &r, NULL, &e, &tv);
	note(" n=%d r=%d e=%d", n, FD_ISSET(fd, &r) != 0, FD_ISSET(fd, &e) != 0);
	noted("mark", sockatmark(fd));
	rd(fd, 100, 0);
	noted("mark", sockatmark(fd));
	rd(fd, 1, MSG_OOB);
	rd(fd, 100, 0);
	noted("mark", sockatmark(fd));
	setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
	go(TO_B);
	await(TO_A);
	ms(100);
	rd(fd, 100, 0);
	noted("mark", sockatmark(fd));
	rd(fd, 100, 0);
}

static void b_atmark(int fd)
{
	await(TO_B);
	wr(fd, "before");
	wrf(fd, "!", MSG_OOB | MSG_NOSIGNAL);
	wr(fd, "after");
	go(TO_A);
	await(TO_B);
	wr(fd, "BEFORE");
	wrf(fd, "!", MSG_OOB | MSG_NOSIGNAL);
	wr(fd, "AFTER");
	go(TO_A);
}

/* the reader sleeps, in each way */
static void a_oob_set(int fd)
{
	int ep = epoll_create1(0);

	ep_add(ep, fd, EPOLLIN | EPOLLPRI | EPOLLET, 5);
	ew(ep, 0);
	go(TO_B);
	await(TO_A);
	ms(50);
	ew(ep, 2000);
	ew(ep, 50);
	rd(fd, 100, 0);
	go(TO_B);
	await(TO_A);
	ms(50);
	ew(ep, 2000);
	rd(fd, 1, MSG_OOB);
	rd(fd, 100, MSG_DONTWAIT);
	rd(fd, 100, MSG_DONTWAIT);
	close(ep);
}

static void b_oob_set(int fd)
{
	await(TO_B);
	wr(fd, "before");
	go(TO_A);
	await(TO_B);
	wrf(fd, "!", MSG_OOB | MSG_NOSIGNAL);
	wr(fd, "after");
	go(TO_A);
}

static void a_no_memory(int fd)
{
	struct rlimit r = { 1 << 20, RLIM_INFINITY };

	setrlimit(RLIMIT_AS, &r);
	go(TO_B);
	rd(fd, 100, 0);
	pl(fd, POLLIN, 2000);
	rd(fd, 100, 0);
	size_t n = put(fd, 0, 3000000);
	note(" put=%zu", n);
	r.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_AS, &r);
}

static void b_no_memory(int fd)
{
	await(TO_B);
	ms(50);
	wr(fd, "data");
	ms(50);
	wr(fd, "data");
	note(" took=%zu", take(fd, 0, 3000000));
}

/* SIOCOUTQNSD, and the option of the filter */
static void a_drop_filter(int fd)
{
	struct sock_filter f[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	struct sock_fprog p = { 1, f };

	noted("attach", setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p)));
	go(TO_B);
	pl(fd, POLLIN, 600);
	int none = 0;
	noted("detach", setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &none, sizeof(none)));
	pl(fd, POLLIN, 5000);
	rd(fd, 10, 0);
}
static void b_drop_filter(int fd)
{
	await(TO_B);
	wr(fd, "data");
}

/* A set that was not made by our call. */
static void a_strange_set(int fd)
{
	int ep = (int)syscall(SYS_epoll_create1, 0);

	ep_add(ep, fd, EPOLLIN, 3);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 9, 0);
	go(TO_B);
	ew(ep, 2000);
	rd(fd, 9, 0);
	close(ep);
}
static void b_strange_set(int fd)
{
	await(TO_B);
	ms(50);
	wr(fd, "data");
	await(TO_B);
	ms(50);
	wr(fd, "more");
}

struct zc {
	uint64_t address;
	uint32_t length, recv_skip_hint, inq;
	int32_t err;
	uint64_t copybuf_address;
	int32_t copybuf_len;
	uint32_t flags;
};

/* Bytes come by getsockopt */
static void a_zc_receive(int fd)
{
	static char buf[4096];
	struct zc z = { 0 };
	socklen_t len = sizeof(z);
	void *m = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fd, 0);

	note(" mmap=%d", m != MAP_FAILED);
	until_queued(fd, 4);
	z.address = (uint64_t)(uintptr_t)m;
	z.length = 4;
	z.copybuf_address = (uint64_t)(uintptr_t)buf;
	z.copybuf_len = 4;
	for (int i = 0; i < 200; i++) {
		z.copybuf_len = 4;
		if (getsockopt(fd, IPPROTO_TCP, 35, &z, &len) || z.copybuf_len)
			break;
		ms(10);
	}
	note(" copied=%d %.4s", z.copybuf_len, buf);
	wr(fd, "x");
}
static void b_zc_receive(int fd)
{
	wr(fd, "data");
	rd(fd, 1, 0);
}

/* A limited address space, as a batch system gives its jobs: segments count whole there, so the connection stays on TCP. */
static bool limit_space(void)
{
	struct rlimit limit = { 132 << 20, RLIM_INFINITY }; /* a segment would fit in, but be more than a sixteenth */
	FILE *f = fopen("/proc/self/statm", "r");
	unsigned long pages = 0;

	if (!f || fscanf(f, "%lu", &pages) != 1 || pages > (122 << 20) / 4096)
		pages = 0; /* under a sanitizer no limit can be that small */
	if (f)
		fclose(f);
	return pages && !setrlimit(RLIMIT_AS, &limit);
}

static void a_little_space(int listener)
{
	int fd = pick(listener);
	char c;

	limit_space();
	for (int i = 0; i < 60 && recv(fd, &c, 1, 0) == 1; i++)
		send(fd, &c, 1, MSG_NOSIGNAL);
	rd(fd, 1, 0);
}

static void b_little_space(int none)
{
	bool limited = limit_space();
	int fd = dial(), right = 0;
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);
	char c = 'x';

	(void)none;
	for (int i = 0; i < 60; i++) {
		right += send(fd, &c, 1, MSG_NOSIGNAL) == 1 && recv(fd, &c, 1, 0) == 1;
		ms(2);
	}
	noted("info", getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len));
	note(" right=%d by_tcp=%d", right, !limited || ti.tcpi_bytes_sent == 60);
}

/* A child shares the socket, and so its time-outs. */
static void a_timeo_by_child(int fd)
{
	pid_t p;

	rcvtimeo(fd, 50);
	rd(fd, 1, 0);
	rcvtimeo(fd, 0);
	go(TO_B);
	rd(fd, 1, 0); /* without one, and that is known now */
	p = kid();
	if (p == 0) {
		rcvtimeo(fd, 100);
		_exit(0);
	}
	reap(p);
	rd(fd, 1, 0);
	go(TO_B);
}

static void b_timeo_by_child(int fd)
{
	await(TO_B);
	ms(50);
	wr(fd, "x");
	await(TO_B);
}

static void a_timeo_by_child_young(int fd)
{
	a_timeo_by_child(fd);
}

static void b_timeo_by_child_young(int fd)
{
	b_timeo_by_child(fd);
}

static void a_timeo_by_sender(int fd)
{
	pid_t p = kid();

	if (p == 0) {
		sndtimeo(fd, 100);
		_exit(0);
	}
	reap(p);
	for (int i = 0; i < 1000; i++) {
		static char buf[65536];
		ssize_t n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL);

		if (n != sizeof(buf)) {
			note(" short=%d", n < (ssize_t)sizeof(buf));
			break;
		}
	}
	go(TO_B);
}

static void b_timeo_by_sender(int fd)
{
	await(TO_B);
	(void)fd;
}

/* For ever, as a program that counts in microseconds may say it. */
static void a_timeo_long(int fd)
{
	struct timeval tv = { INT64_MAX / 1000000, 775807 };

	noted("set", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	go(TO_B);
	rd(fd, 1, 0);
	tv.tv_sec = 18446744073;
	tv.tv_usec = 709000;
	noted("set", setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	go(TO_B);
	rd(fd, 1, 0);
}

static void b_timeo_long(int fd)
{
	for (int i = 0; i < 2; i++) {
		await(TO_B);
		ms(200);
		wr(fd, "x");
	}
}

/* abort() is not all that sends it. */
static void a_abort_sent(int fd)
{
	struct poker p;

	handle(SIGABRT, 0);
	poke_me(&p, SIGABRT, TO_B);
	rd(fd, 1, 0);
	poke_done(&p);
	rd(fd, 1, 0);
}

static void b_abort_sent(int fd)
{
	await(TO_B);
	wr(fd, "x");
}

static const struct test_case cases[] = {
	CASE(timeo_by_child, "14,18", WARM),
	CASE(timeo_by_child_young, "14,18", COLD),
	CASE(timeo_by_sender, "14,18", WARM),
	CASE(timeo_long, "14", WARM),
	CASE(abort_sent, "14", WARM),
	CASE(strange_set, "8", WARM),
	CASE(zc_receive, "8", WARM),
	CASE(no_files, "15", WARM),
	CASE(whole_array, "15", WARM),
	CASE(select_beyond, "11", WARM),
	CASE(raw_nonblock, "8", WARM),
	CASE(raw_nonblock_young, "8", COLD),
	CASE(raw_epoll, "4,8", COLD),
	CASE_F(pacing, "8", WARM, SLOW),
	CASE(timeo_new, "14", WARM),
	CASE(filter_errno, "8", WARM),
	CASE(filter_kill, "8", WARM),
	CASE(filter_kill_young, "8", COLD),
	CASE(atmark, "8", WARM),
	CASE(oob_set, "8", WARM),
	CASE(no_memory, "8", WARM),
	CASE(drop_filter, "8", WARM),
	CASE(little_space, "15", RAW_COLD),
};
GROUP(fresh);
