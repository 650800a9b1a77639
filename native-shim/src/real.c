/* SPDX-License-Identifier: Apache-2.0 */
/* real.c - finds libc's own functions; clocks, thread ids, log. */
#include "real.h"

#include <dlfcn.h>
#include <sched.h>
#include <sys/syscall.h>

struct real real;
static int log_fd = -1;

void real_init(void)
{
#define X(ret, name, args)                                                                                             \
	if (!real.name)                                                                                                \
		*(void **)&real.name = dlsym(RTLD_NEXT, #name);
	REAL_FUNCTIONS(X)
#undef X
}

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

uint64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

uint64_t now_coarse_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC_COARSE);
}

uint64_t coarse_step_ns(void)
{
	struct timespec ts = { 0 };

	clock_getres(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_nsec;
}

void sys_close(int fd)
{
	(void)syscall(SYS_close, fd);
}

#define YIELDS 200
#define REST_NS 20000

void give_way(unsigned int turns)
{
	static const struct timespec rest = { 0, REST_NS };

	if (turns < YIELDS)
		sched_yield();
	else
		(void)syscall(SYS_nanosleep, &rest, NULL);
}

int poll_now(struct pollfd *p, nfds_t n)
{
	static const struct timespec zero;

	return (int)syscall(SYS_ppoll, p, n, &zero, NULL, 0);
}

static __thread pid_t tid_cache __attribute__((tls_model("initial-exec")));
static __thread pid_t tid_process __attribute__((tls_model("initial-exec")));

/* The process is part of the key: a child copies the thread's memory, and not every way to make one asks us. */
pid_t hut_tid(void)
{
	if (UNLIKELY(!tid_cache || tid_process != hut_pid)) {
		tid_process = hut_pid;
		tid_cache = (pid_t)syscall(SYS_gettid);
	}
	return tid_cache;
}

/* For people who look for a fault: HUTONG_LOG=1 writes to stderr.  Never used on the hot path. */
void hut_log_init(bool on)
{
	log_fd = on ? 2 : -1;
}

void hut_log(const char *fmt, ...)
{
	char line[300];
	va_list ap;
	int n, m;

	if (log_fd < 0)
		return;
	int saved = errno;

	n = snprintf(line, sizeof(line), "hutong[%d]: ", (int)getpid());
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m > (int)sizeof(line) - n - 2)
		m = (int)sizeof(line) - n - 2;
	line[n + m] = '\n';
	(void)!REAL(write)(log_fd, line, (size_t)(n + m + 1));
	errno = saved;
}
