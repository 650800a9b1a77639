/* SPDX-License-Identifier: Apache-2.0 */
/* hooks_life.c - interposed: close, dup, stdio on a socket, daemon, exec and its relatives. */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "real.h"

extern char **environ;

HUT_EXPORT int close(int fd)
{
	/* libc's is a cancellation point where it begins, and the number stays open then. */
	if (UNLIKELY(table_peek(fd) || epset_get(fd)))
		pthread_testcancel();
	return life_close(fd, true);
}

HUT_EXPORT int __close(int fd) __attribute__((alias("close")));

#define CLOSE_RANGE_UNSHARE_FLAG 2u
#define CLOSE_RANGE_CLOEXEC_FLAG 4u

HUT_EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	unsigned int from = first, top;

	if (first > last || (flags & ~7)) {
		errno = EINVAL;
		return -1;
	}
	if (UNLIKELY((unsigned int)flags & CLOSE_RANGE_UNSHARE_FLAG))
		life_before_unshare();
	if (((unsigned int)flags & CLOSE_RANGE_CLOEXEC_FLAG) || !REAL(close_range))
		return REAL(close_range) ? REAL(close_range)(first, last, flags) : (errno = ENOSYS, -1);
	/* Ours are spared: the gaps between them are closed, tracked ones by their own way. */
	top = last < 1u << 20 ? last : (1u << 20) - 1;
	for (unsigned int fd = first; fd <= top; fd++) {
		if (table_is_hidden((int)fd)) {
			if (fd > from && REAL(close_range)(from, fd - 1, flags))
				return -1;
			from = fd + 1;
		} else if (table_peek((int)fd) || epset_get((int)fd)) {
			life_close((int)fd, false);
		}
	}
	return from <= last ? REAL(close_range)(from, last, flags) : 0;
}

HUT_EXPORT void closefrom(int low)
{
	struct rlimit lim;
	int first = low < 0 ? 0 : low;

	if (close_range((unsigned int)first, ~0u, 0) == 0 || getrlimit(RLIMIT_NOFILE, &lim))
		return;
	/* A kernel without it, or a filter that forbids it: libc's own has no error to tell either. */
	for (int fd = first; (rlim_t)fd < lim.rlim_max && fd < 1 << 20; fd++)
		if (!table_is_hidden(fd))
			close(fd);
}

HUT_EXPORT int dup(int fd)
{
	int to;

	if (UNLIKELY(table_peek(fd) && life_in_vfork_child()))
		life_given(fd);
	to = REAL(dup)(fd);
	if (to >= 0)
		life_forgotten(to);
	life_copied(fd, to);
	return to;
}

static bool dup_prepare(int fd, int to)
{
	if (fd == to)
		return true;
	if (table_is_hidden(to)) {
		errno = EBUSY;
		return false;
	}
	if (table_peek(fd) && life_in_vfork_child())
		life_given(fd);
	else if (table_peek(fd) && to <= LAST_STDIO)
		conn_never(fd, HUT_R_STDIO);
	return true;
}

HUT_EXPORT int dup2(int fd, int to)
{
	int rc;

	if (!dup_prepare(fd, to))
		return -1;
	if (fd != to && REAL(fcntl)(fd, F_GETFD) >= 0)
		life_replaced(to);
	rc = REAL(dup2)(fd, to);
	if (fd != to)
		life_duplicated(fd, rc);
	return rc;
}

HUT_EXPORT int __dup2(int fd, int to) __THROW __attribute__((alias("dup2")));

HUT_EXPORT int dup3(int fd, int to, int flags)
{
	int rc;

	if (UNLIKELY(flags & ~O_CLOEXEC))
		return REAL(dup3)(fd, to, flags); /* which refuses it */
	if (!dup_prepare(fd, to))
		return -1;
	if (fd != to && REAL(fcntl)(fd, F_GETFD) >= 0)
		life_replaced(to);
	rc = REAL(dup3)(fd, to, flags);
	if (fd != to)
		life_duplicated(fd, rc);
	return rc;
}

/* ---- the end of a process that does not go by exit() ---- */

HUT_EXPORT void _exit(int status)
{
	fork_child_exits();
	for (;;)
		syscall(SYS_exit_group, status);
}

HUT_EXPORT void _Exit(int status) __attribute__((alias("_exit"), noreturn));

/* libc's own ends the parent past us, which would count as a holder of its connections for ever. */
HUT_EXPORT int daemon(int nochdir, int noclose)
{
	struct stat st;
	int fd;

	switch (fork()) {
	case -1:
		return -1;
	case 0:
		break;
	default:
		_exit(0);
	}
	if (setsid() < 0)
		return -1;
	if (!nochdir)
		(void)!chdir("/");
	if (noclose)
		return 0;
	fd = open("/dev/null", O_RDWR);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) || !S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3)) {
		close(fd);
		errno = ENODEV;
		return -1;
	}
	for (int to = 0; to <= 2; to++)
		dup2(fd, to);
	if (fd > 2)
		close(fd);
	return 0;
}

/* ---- exec ---- */

HUT_EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
	int rc;

	life_before_exec();
	rc = REAL(execve)(path, argv, envp);
	life_exec_failed();
	return rc;
}

HUT_EXPORT int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

HUT_EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
	int rc;

	life_before_exec();
	rc = REAL(execvpe)(file, argv, envp);
	life_exec_failed();
	return rc;
}

HUT_EXPORT int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

HUT_EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
	int rc;

	life_before_exec();
	rc = REAL(fexecve)(fd, argv, envp);
	life_exec_failed();
	return rc;
}

/* The variadic forms: the arguments are gathered on the stack, as libc does. */
#define GATHER(arg, argv, ap)                                                                                          \
	size_t count_ = 1;                                                                                             \
	va_start(ap, arg);                                                                                             \
	while (va_arg(ap, char *))                                                                                     \
		count_++;                                                                                              \
	va_end(ap);                                                                                                    \
	char *argv[count_ + 1];                                                                                        \
	argv[0] = (char *)arg;                                                                                         \
	va_start(ap, arg);                                                                                             \
	for (size_t i_ = 1; i_ <= count_; i_++)                                                                        \
		argv[i_] = va_arg(ap, char *)

HUT_EXPORT int execl(const char *path, const char *arg, ...)
{
	va_list ap;

	GATHER(arg, argv, ap);
	va_end(ap);
	return execve(path, argv, environ);
}

HUT_EXPORT int execlp(const char *file, const char *arg, ...)
{
	va_list ap;

	GATHER(arg, argv, ap);
	va_end(ap);
	return execvpe(file, argv, environ);
}

HUT_EXPORT int execle(const char *path, const char *arg, ...)
{
	va_list ap;
	char **envp;

	GATHER(arg, argv, ap);
	envp = va_arg(ap, char **);
	va_end(ap);
	return execve(path, argv, envp);
}

HUT_EXPORT int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
	int rc;

	life_before_exec();
	rc = REAL(execveat)(dir, path, argv, envp, flags);
	life_exec_failed();
	return rc;
}
