/* SPDX-License-Identifier: Apache-2.0 */
/* traced.c - calls that tell their outcome, the states that a case may wait for, and bytes that tell their place. */
#include <sys/syscall.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "harness.h"

#define STATE_MS 3000
#define FAR_MS 25 /* some messages, each up to 8 * 300 us late */

const char *err(ssize_t r)
{
	return r < 0 ? strerrorname_np(errno) : "-";
}

void noted(const char *what, ssize_t r)
{
	note(" %s=%zd/%s", what, r, err(r));
}

void ms(int n)
{
	struct timespec t = { n / 1000, (n % 1000) * 1000000l };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* ---- states ---- */

/* Between hosts the agents' word about an end comes after TCP's. */
static void hear_of_it(void)
{
	if (getenv("CONF_FAR"))
		ms(FAR_MS);
}

void until_state(int fd, int state)
{
	for (int i = 0; i < STATE_MS && tcp_state(fd) != state; i++)
		ms(1);
	hear_of_it();
}

void until_ended(int fd)
{
	for (int i = 0; i < STATE_MS && tcp_state(fd) == ESTABLISHED; i++)
		ms(1);
	hear_of_it();
}

void until_queued(int fd, int bytes)
{
	int n = 0;

	for (int i = 0; i < STATE_MS && (ioctl(fd, FIONREAD, &n) || n < bytes); i++)
		ms(1);
}

void until_readable(int fd)
{
	struct pollfd p = { fd, POLLIN, 0 };

	poll(&p, 1, STATE_MS);
}

static char state_of(pid_t tid)
{
	char path[64], line[400];
	const char *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, line, sizeof(line) - 1);
	close(fd);
	line[n > 0 ? n : 0] = 0;
	end = strrchr(line, ')');
	return end && end[1] ? end[2] : 0;
}

/* Asleep means: seen so several times, with time between for a spin to end. */
void until_asleep(pid_t tid)
{
	int seen = 0;

	for (int i = 0; i < STATE_MS / 2 && seen < 4; i++) {
		char c = state_of(tid);

		if (!c || c == 'Z')
			return;
		seen = c == 'S' ? seen + 1 : 0;
		ms(2);
	}
}

static __thread struct rusage before;

void rest_begin(void)
{
	getrusage(RUSAGE_THREAD, &before);
}

static long used_ms(const struct rusage *r)
{
	return (r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1000 + (r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1000;
}

/* What the thread has used of the processor and how often it woke, not how long it took. */
void rest_end(void)
{
	struct rusage now;

	getrusage(RUSAGE_THREAD, &now);
	if (used_ms(&now) - used_ms(&before) > 100)
		note(" BUSY");
	else
		note(" %s", now.ru_nvcsw - before.ru_nvcsw < 15 ? "rests" : "WAKES ALL THE TIME");
}

void reap(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		note(" kid:%s", sigabbrev_np(WTERMSIG(status)));
	else
		note(" kid:%d", WEXITSTATUS(status));
}

/* ---- signals ---- */

_Atomic int signals;

void on_signal(int sig)
{
	(void)sig;
	signals++;
}

void handle(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

static void *poker_main(void *arg)
{
	struct poker *p = arg;
	int before = signals;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	until_asleep(p->target);
	pthread_kill(p->thread, p->sig);
	for (int i = 0; i < STATE_MS && signals == before; i++)
		ms(1);
	if (p->whom >= 0) {
		until_asleep(p->target);
		go(p->whom);
	}
	return NULL;
}

void poke_me(struct poker *p, int sig, int whom)
{
	*p = (struct poker){ .target = gettid(), .thread = pthread_self(), .sig = sig, .whom = whom };
	pthread_create(&p->t, NULL, poker_main, p);
}

void poke_done(struct poker *p)
{
	pthread_join(p->t, NULL);
	note(" signals=%d", signals);
}

/* ---- traced calls ---- */

static void told(const char *buf, ssize_t r)
{
	if (r > 0 && r <= 16)
		note(":%.*s", (int)r, buf);
}

void rd(int fd, size_t n, int flags)
{
	static __thread char buf[65536];
	ssize_t r = recv(fd, buf, n < sizeof(buf) ? n : sizeof(buf), flags);

	note(" recv(%zu,%x)=%zd/%s", n, (unsigned int)flags, r, err(r));
	told(buf, r);
}

void rdx(int fd, size_t n)
{
	static __thread char buf[65536];
	ssize_t r = read(fd, buf, n < sizeof(buf) ? n : sizeof(buf));

	note(" read(%zu)=%zd/%s", n, r, err(r));
	told(buf, r);
}

void wrf(int fd, const char *s, int flags)
{
	ssize_t r = send(fd, s, strlen(s), flags);

	note(" send(%zu)=%zd/%s", strlen(s), r, err(r));
}

void wr(int fd, const char *s)
{
	wrf(fd, s, MSG_NOSIGNAL);
}

void pl(int fd, short want, int timeout)
{
	struct pollfd p = { fd, want, 0 };
	int r = poll(&p, 1, timeout);

	note(" poll(%x)=%d:%x", (unsigned int)want, r, (unsigned int)p.revents);
	if (r < 0)
		note("/%s", err(r));
}

static int by_data(const void *a, const void *b)
{
	const struct epoll_event *x = a, *y = b;

	return x->data.u64 < y->data.u64 ? -1 : x->data.u64 > y->data.u64;
}

/* The order of ready descriptors is nobody's promise: they are told by their data. */
void ewn(int ep, int max, int timeout)
{
	struct epoll_event got[16];
	int n = epoll_wait(ep, got, max, timeout);

	note(" epoll=%d", n);
	if (n < 0)
		note("/%s", err(n));
	if (n > 1)
		qsort(got, (size_t)n, sizeof(got[0]), by_data);
	for (int i = 0; i < n; i++)
		note(":%llu:%x", (unsigned long long)got[i].data.u64, got[i].events);
}

void ew(int ep, int timeout)
{
	ewn(ep, 8, timeout);
}

int ep_add(int ep, int fd, uint32_t events, uint64_t data)
{
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){ events, { .u64 = data } });
}

int ep_mod(int ep, int fd, uint32_t events, uint64_t data)
{
	return epoll_ctl(ep, EPOLL_CTL_MOD, fd, &(struct epoll_event){ events, { .u64 = data } });
}

void soerr(int fd)
{
	int e = -1;
	socklen_t l = sizeof(e);
	int r = getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &l);

	note(" so_error=%d:%s", r, e ? strerrorname_np(e) : "0");
}

void nonblock(int fd, bool on)
{
	int f = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, on ? f | O_NONBLOCK : f & ~O_NONBLOCK);
}

static void timeo(int fd, int name, int n_ms)
{
	struct timeval tv = { n_ms / 1000, n_ms % 1000 * 1000 };

	setsockopt(fd, SOL_SOCKET, name, &tv, sizeof(tv));
}

void rcvtimeo(int fd, int n_ms)
{
	timeo(fd, SO_RCVTIMEO, n_ms);
}

void sndtimeo(int fd, int n_ms)
{
	timeo(fd, SO_SNDTIMEO, n_ms);
}

void linger_of(int fd, int on, int seconds)
{
	struct linger l = { on, seconds };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

/* ---- bytes that tell their place ---- */

static char byte_at(size_t at)
{
	uint64_t x = (at >> 2) * 0x9e3779b97f4a7c15ull;

	return (char)(x >> (40 + 4 * (at & 3)));
}

void pattern(char *buf, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf[i] = byte_at(from + i);
}

bool same(const char *buf, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (buf[i] != byte_at(from + i)) {
			note(" WRONG BYTE at %zu", from + i);
			return false;
		}
	}
	return true;
}

size_t put(int fd, size_t from, size_t n)
{
	static __thread char buf[65536];
	size_t done = 0;

	while (done < n) {
		size_t part = n - done < sizeof(buf) ? n - done : sizeof(buf);
		ssize_t r;

		pattern(buf, from + done, part);
		r = send(fd, buf, part, MSG_NOSIGNAL);
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return done;
}

size_t take(int fd, size_t from, size_t n)
{
	static __thread char buf[65536];
	size_t done = 0;

	while (done < n) {
		ssize_t r = recv(fd, buf, n - done < sizeof(buf) ? n - done : sizeof(buf), 0);

		if (r <= 0 || !same(buf, from + done, (size_t)r))
			break;
		done += (size_t)r;
	}
	return done;
}

void t_recv(struct thr *t)
{
	rd(t->fd, (size_t)t->arg, 0);
}

void read_out(int fd)
{
	static __thread char buf[65536];
	size_t n = 0;
	ssize_t r;

	while ((r = recv(fd, buf, sizeof(buf), 0)) > 0)
		n += (size_t)r;
	note(" got=%zu end=%s", n, err(r));
}

size_t fill(int fd, size_t from)
{
	size_t n = 0;
	int idle = 0;

	nonblock(fd, true);
	while (idle < 3) {
		size_t part = put(fd, from + n, 1 << 20);

		n += part;
		idle = part ? 0 : idle + 1;
		if (!part)
			ms(10);
	}
	nonblock(fd, false);
	return n;
}

void write_until_error(int fd)
{
	ssize_t r = 0;

	for (int i = 0; i < STATE_MS && r >= 0; i++) {
		r = send(fd, "x", 1, MSG_NOSIGNAL);
		if (r >= 0)
			ms(1);
	}
	noted("writes_end", r < 0 ? r : 0);
}
