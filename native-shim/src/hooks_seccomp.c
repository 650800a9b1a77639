/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks_seccomp.c - interposed: the end of all calls but read(), write() and the exit of a thread (rule 8); and syscall().
 *
 * In strict mode every other call kills: the connections must be plain before, with nothing left for us to do.
 */
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "conn.h"
#include "real.h"

static void make_plain(int fd, struct conn *c, void *arg)
{
	(void)arg;
	conn_never(fd, HUT_R_OPTION);
	if (table_peek(fd) == c)
		conn_forget(c);
}

static void before_strict(void)
{
	int saved = errno;

	table_each(make_plain, NULL);
	errno = saved;
}

/*
 * A filter that the program installs itself lets through what its own code needs, and that is all that may happen from now
 * on.  One that was there before is somebody's who knew not what would run under it (a container's): that stays.
 */
static void before_filter(void)
{
	if (life_in_vfork_child())
		return;
	before_strict();
	atomic_store(&hut_enabled, false);
}

/*
 * One thread of several leaves the common table of descriptors: what a number means depends on who asks from then on,
 * and ours is a table for all.
 */
void life_before_unshare(void)
{
	struct stat st;

	if (!stat("/proc/self/task", &st) && st.st_nlink == 3)
		return; /* this thread is alone: its copy is the only one */
	before_filter();
}

HUT_EXPORT int unshare(int what)
{
	if (UNLIKELY(what & CLONE_FILES))
		life_before_unshare();
	return NEXT(unshare)(what);
}

/* Fewer descriptors than now: poll() takes no more entries than that, and has ours to ask beside the program's. */
static void before_limit(rlim_t n)
{
	struct rlimit was;

	if (!life_in_vfork_child() && !getrlimit(RLIMIT_NOFILE, &was) && n < was.rlim_cur)
		before_strict();
}

/* AddressSanitizer calls these while it starts, before instrumented code can run. */
#define EARLY __attribute__((no_sanitize("address", "undefined", "thread")))

HUT_EXPORT EARLY int setrlimit(__rlimit_resource_t resource, const struct rlimit *to)
{
	if (resource == RLIMIT_NOFILE && (uintptr_t)to >= HUT_PAGE)
		before_limit(to->rlim_cur);
	return NEXT(setrlimit)(resource, to);
}

HUT_EXPORT int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *to) __attribute__((alias("setrlimit")));

HUT_EXPORT EARLY int prlimit(pid_t pid, enum __rlimit_resource resource, const struct rlimit *to, struct rlimit *old)
{
	if (resource == RLIMIT_NOFILE && (uintptr_t)to >= HUT_PAGE && (!pid || pid == hut_pid))
		before_limit(to->rlim_cur);
	return NEXT(prlimit)(pid, resource, to, old);
}

HUT_EXPORT int prlimit64(pid_t pid, enum __rlimit_resource resource, const struct rlimit64 *to, struct rlimit64 *old)
	__attribute__((alias("prlimit")));

#undef syscall

HUT_EXPORT int prctl(int option, ...)
{
	va_list ap;
	unsigned long a[4];

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (UNLIKELY(option == PR_SET_SECCOMP && a[0] == SECCOMP_MODE_STRICT))
		before_strict();
	if (UNLIKELY(option == PR_SET_SECCOMP && a[0] == SECCOMP_MODE_FILTER))
		before_filter();
	return NEXT(prctl)(option, a[0], a[1], a[2], a[3]);
}

static bool ours(int fd)
{
	return table_peek(fd) || epset_get(fd) || table_is_hidden(fd);
}

/* libuv closes in this way, so that a signal cannot cancel it. */
HUT_EXPORT long syscall(long number, ...)
{
	va_list ap;
	long a[6];

	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long); /* as the kernel does, which takes six whatever the caller gave */
	va_end(ap);
	if (UNLIKELY(number == SYS_close) && ours((int)a[0]))
		return life_close((int)a[0], false);
	if (UNLIKELY(number == SYS_unshare && (a[0] & CLONE_FILES)))
		life_before_unshare();
	if (UNLIKELY(number == SYS_close_range && REAL(close_range)))
		return close_range((unsigned int)a[0], (unsigned int)a[1], (int)a[2]);
	if (UNLIKELY((number == SYS_seccomp && a[0] == SECCOMP_SET_MODE_STRICT) ||
		     (number == SYS_prctl && a[0] == PR_SET_SECCOMP && a[1] == SECCOMP_MODE_STRICT)))
		before_strict();
	if (UNLIKELY((number == SYS_seccomp && a[0] == SECCOMP_SET_MODE_FILTER) ||
		     (number == SYS_prctl && a[0] == PR_SET_SECCOMP && a[1] == SECCOMP_MODE_FILTER)))
		before_filter();
	return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
